"""Eight claims of the papers, tried at a laptop's size; writes a page of them.

  python -m experiments.reproduce --seeds=3 --jobs=2 --out=page.md
  python -m experiments.reproduce --seeds=3 --results=docs/reproduction.json \\
    --out=docs/reproduction.md

Rows of the papers' tables are run at tiny scale (experiments/tiny.py) on the
made-up sets. What a claim needs to hold is written here as numbers, which were
fixed before any result was seen. Finished rows are skipped, in the workdir and
in the file of results, which keeps them for another machine or another day.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vidmodels import files
from vidmodels.analysis import paper_rows
from vidmodels.cli import (
  DONE,
  FAILED,
  INTERRUPTED,
  PREEMPTED,
  WRONG_INPUT,
  compilation_cache,
  terminal,
)
from vidmodels.typing import InputError, escape

from . import jobs, schedule, tables, tiny
from .jobs import Job

# A model that does not see the order of frames names at best the axis of a
# motion and guesses one of two directions: 50 %, and three standard deviations
# of 640 videos.
BLIND = 55.9
SUCCEEDS = 90.0  # percent of a set that a model can learn
CLOSE = 3.0  # points between what is called as good
FULL_TIMESFORMER = 'Divided Space-Time, K400'

Means = Mapping[str, float]  # top-1 of each row by its key, mean over seeds


@dataclasses.dataclass(frozen=True)
class Tried:
  """A row that a claim is about, on one made-up set."""

  key: str  # its name in the claim's check
  table: str
  row: str
  set: str


@dataclasses.dataclass(frozen=True)
class Claim:
  """What a paper says, and when a result at tiny scale bears it out."""

  text: str
  source: str
  tried: tuple[Tried, ...]
  # One (sentence, holds) for each part of the claim.
  check: Callable[[Means], list[tuple[str, bool]]]
  note: str = ''


def _parts(*parts: tuple[str, bool]) -> list[tuple[str, bool]]:
  return list(parts)


def _schemes() -> tuple[Tried, ...]:
  rows = {
    'space': 'Space, K400',
    'joint': 'Joint Space-Time, K400',
    'divided': FULL_TIMESFORMER,
    'local-global': 'Sparse Local Global, K400',
    'axial': 'Axial, K400',
  }
  tried = {'motion': rows, 'textures': ('space', 'joint', 'divided')}
  return tuple(
    Tried(f'{key} on {name}', 'timesformer/table1', rows[key], name)
    for name, keys in tried.items()
    for key in keys
  )


def _check_schemes(top1: Means) -> list[tuple[str, bool]]:
  others = [top1[f'{k} on textures'] for k in ('joint', 'divided')]
  return _parts(
    ('space-only fails on motion', top1['space on motion'] <= BLIND),
    (
      'space-only does as well as joint and divided on textures',
      top1['space on textures'] >= max(others) - CLOSE,
    ),
    *(
      (f'{key} succeeds on {name}', top1[f'{key} on {name}'] >= SUCCEEDS)
      for key in ('joint', 'divided')
      for name in ('motion', 'textures')
    ),
  )


CLAIMS = (
  Claim(
    text='Space-only attention fails where the order of frames matters and '
    'does as well as the others where it does not; joint and divided attention '
    'succeed on both.',
    source='TimeSformer, Table 1',
    tried=_schemes(),
    check=_check_schemes,
  ),
  Claim(
    text='Without positions in time, divided attention cannot tell opposite '
    'motions; with them it can.',
    source='TimeSformer, Table 4',
    tried=(
      Tried('none', 'timesformer/table4', 'None, K400', 'motion'),
      Tried('space-only', 'timesformer/table4', 'Space-only, K400', 'motion'),
      Tried('space-time', 'timesformer/table1', FULL_TIMESFORMER, 'motion'),
    ),
    check=lambda top1: _parts(
      ('no positions: blind to direction', top1['none'] <= BLIND),
      ('positions in space alone: blind', top1['space-only'] <= BLIND),
      ('positions in space and time succeed', top1['space-time'] >= SUCCEEDS),
    ),
  ),
  Claim(
    text='X-ViT with a window of 0 frames, averaged, is at chance for opposite '
    'motions; with a window of 1 it is not; temporal attention without mixing '
    'lies between.',
    source='X-ViT, Tables 1 and 2d',
    tried=(
      Tried('window 0', 'xvit/table1', 't_w = 0', 'motion'),
      Tried('window 1', 'xvit/table1', 't_w = 1', 'motion'),
      Tried('no mixing', 'xvit/table2c', 'nothing', 'motion'),
    ),
    check=lambda top1: _parts(
      ('window 0 is blind to direction', top1['window 0'] <= BLIND),
      ('window 1 is not', top1['window 1'] > BLIND),
      (
        'temporal attention without mixing lies between',
        top1['window 0'] < top1['no mixing'] < top1['window 1'],
      ),
    ),
  ),
  Claim(
    text='C-VidTr with top-K pooling keeps the accuracy of the model without '
    'pooling, at fewer multiply-adds.',
    source='VidTr, Tables 2 and 5d',
    tried=(
      Tried('full', 'vidtr/table2', 'VidTr-S', 'mixed'),
      Tried('top-K', 'vidtr/table5d', 'STD Pool.', 'mixed'),
      Tried('average', 'vidtr/table5d', 'Temp. Avg. Pool.', 'mixed'),
      Tried('convolution', 'vidtr/table5d', '1D Conv.', 'mixed'),
    ),
    check=lambda top1: _parts(
      (
        f'top-K is within {CLOSE:g} points of full',
        top1['top-K'] >= top1['full'] - CLOSE,
      ),
      (
        'top-K is better than the mean and the convolution',
        top1['top-K'] >= max(top1['average'], top1['convolution']),
      ),
    ),
  ),
  Claim(
    text='Local and global levels together are not worse than one kind alone; '
    'a model without positions is worse than one with PEG.',
    source='DualFormer, Tables 4 and 7',
    tried=(
      Tried('LL', 'dualformer/table4', '(LL, LL, LL, LL)', 'mixed'),
      Tried('GG', 'dualformer/table4', '(GG, GG, GG, GG)', 'mixed'),
      Tried('LG', 'dualformer/table4', '(LG, LG, LG, LG)', 'mixed'),
      Tried('no positions', 'dualformer/table7', 'w.o PEG', 'motion'),
      Tried('PEG', 'dualformer/table7', 'DWConv', 'motion'),
    ),
    check=lambda top1: _parts(
      (
        'LG is not the worst of the three',
        top1['LG'] >= min(top1['LL'], top1['GG']),
      ),
      (
        'no positions are worse than PEG on motion',
        top1['no positions'] < top1['PEG'],
      ),
    ),
  ),
  Claim(
    text='Modulation over space alone fails where the order of frames matters; '
    'parallel modulation over space and time succeeds.',
    source='Video-FocalNets, Figures 5 and 7',
    tried=(
      Tried(
        '(a) space',
        'video_focalnet/figure5',
        '(a) space, frames averaged',
        'motion',
      ),
      Tried(
        '(e) parallel, multiplied',
        'video_focalnet/figure5',
        '(e) parallel space and time',
        'motion',
      ),
      Tried('averaged', 'video_focalnet/figure7', '(a) average', 'motion'),
      Tried('projected', 'video_focalnet/figure7', '(a) projection', 'motion'),
    ),
    check=lambda top1: _parts(
      ('design (a) fails', top1['(a) space'] <= BLIND),
      ('design (e) succeeds', top1['(e) parallel, multiplied'] >= SUCCEEDS),
    ),
  ),
  Claim(
    text='Starting from an image model beats random weights at equal steps.',
    source='TimeSformer, section 4.2',
    tried=(
      # From random weights at this scale, as all rows without a parent.
      Tried('random', 'timesformer/figure4', 'TimeSformer, K400, 100%',
            'mixed'),
      Tried('image model', 'small/start', 'image model', 'mixed'),
      Tried('its backbone frozen', 'small/start', 'frozen', 'mixed'),
      Tried('at a tenth of the rate', 'small/start', 'a tenth', 'mixed'),
    ),
    check=lambda top1: _parts(
      (
        'the image model is a better start than random weights',
        top1['image model'] > top1['random'],
      ),
    ),
  ),
  Claim(
    text='More training videos help.',
    source='TimeSformer, Figure 4',
    tried=tuple(
      Tried(share, 'timesformer/figure4', f'TimeSformer, K400, {share}',
            'mixed')
      for share in ('25%', '50%', '75%', '100%')
    ),
    check=lambda top1: _parts(
      (
        'accuracy rises from 25 to 50, 75 and 100 %',
        top1['25%'] < top1['50%'] < top1['75%'] < top1['100%'],
      ),
    ),
  ),
)  # fmt: skip


def job_of(tried: Tried, *, workdir: pathlib.Path, seed: int) -> Job:
  """The run of a row that a claim is about."""
  table = paper_rows.find(tried.table)
  return Job(
    table=table,
    row=table.row(tried.row),
    scale='tiny',
    workdir=workdir,
    seed=seed,
    set=tried.set,
  )


Results = dict[str, dict[str, Any]]  # by the name of the job


def load_results(path: pathlib.Path | None) -> Results:
  """The results that a file keeps; none without one."""
  if path is None or not path.exists():
    return {}
  return json.loads(path.read_text())


def save_results(path: pathlib.Path, results: Results) -> None:
  """Writes results without their recipes, which the rows say."""
  kept = {
    name: {k: v for k, v in result.items() if k != 'config'}
    for name, result in sorted(results.items())
  }
  text = json.dumps(kept, indent=1, sort_keys=True) + '\n'
  files.write_atomically(path, text.encode())


def known_results(todo: Sequence[Job], kept: Results) -> Results:
  """The finished jobs: those of the workdir, and those kept of this recipe."""
  found = {}
  for job in todo:
    result = job.result()
    if result is None and job.name in kept:
      same = kept[job.name]['recipe_sha256'] == job.fingerprint()
      result = kept[job.name] if same else None
    if result is not None:
      found[job.name] = result
  return found


def page(results: Results, seeds: int) -> str:
  """The page in Markdown; rows without a result are said to be not run."""
  sections, verdicts = [], []
  for number, claim in enumerate(CLAIMS, 1):
    section, holds = _section(number, claim, results, seeds)
    verdicts.append(f'| {number} | {claim.source} | {holds} |')
    sections.append(section)
  text = [
    _HEAD.format(**_facts(results, seeds)),
    '| claim | source | result |',
    '|---|---|---|',
    *verdicts,
    '',
    *sections,
    _coverage(results),
  ]
  return '\n'.join(text).rstrip() + '\n'


_HEAD = """\
# The papers' claims at a laptop's size

This page is what `python -m experiments.reproduce --seeds={seeds}` wrote
(`make reproduce` runs one seed); {machine}.
All its runs together took {hours:.1f} hours of a CPU.

Nothing here is a figure of a paper: the models are reduced by one rule
(`experiments/tiny.py`: {steps} steps of {batch} clips for every family, the
same optimiser, heads of 16 units, a third of the layers), and the videos are
made up: `motion` needs the order of frames, `textures` needs space alone, and
in `mixed` four classes need one and four the other. Each set has {train:,}
training videos, {test} test videos and 8 classes. Steps, widths and the numbers
below were fixed before a result was seen, for all rows alike; no seed was
chosen. The number of steps, the rate and its warm-up were set on one row,
divided attention on `motion`: in 18 trials of 400 to 1,200 steps, 16 to 64
clips and rates of 5e-4 to 4e-3 it had 51 to 89 %, and 95.5 % with 800 steps of
2e-3, which take more time than there was. DualFormer and Video-FocalNets draw
their kernels by fan-in, which was added after a trial in which they learned
nothing of `motion`
from the initialisation that is made for image weights. Accuracy is top-1 of all
test videos; with several seeds the mean, and the lowest and highest. A model
that is blind to the order of frames reaches at best 50 % of `motion` and 75 %
of `mixed`; "fails" is at most {blind} %,
"succeeds" at least {succeeds:g} %.
"""


def _facts(results: Results, seeds: int) -> dict[str, Any]:
  """The numbers of the page's first lines."""
  used = [result['versions'] for result in results.values()]
  versions = {f'JAX {v["jax"]}, Python {v["python"]}' for v in used}
  devices = {v['device'] for v in used}
  hours = sum(r['seconds'] * r['cpus'] for r in results.values()) / 3600
  return {
    'seeds': seeds,
    'machine': '; '.join(sorted(versions | devices)) or 'nothing was run yet',
    'hours': hours,
    'steps': tiny.STEPS,
    'batch': tiny.BATCH,
    'train': tiny.CLIPS['train'],
    'test': tiny.CLIPS['test'],
    'blind': BLIND,
    'succeeds': SUCCEEDS,
  }


def claim_jobs(claim: Claim, workdir: pathlib.Path, seeds: int) -> list[Job]:
  """The runs of a claim's rows, one of each seed."""
  return [
    job_of(tried, workdir=workdir, seed=seed)
    for tried in claim.tried
    for seed in range(seeds)
  ]


def _section(
  number: int, claim: Claim, results: Results, seeds: int
) -> tuple[str, str]:
  """A claim's table and what came of it, and that in a word."""
  lines = [
    f'## {number}. {claim.source}',
    '',
    claim.text,
    '',
    '| row | of | set | multiply-adds, M | top-1 |',
    '|---|---|---|---:|---:|',
  ]
  top1: dict[str, float] = {}
  found = []
  for tried in claim.tried:
    names = [
      job_of(tried, workdir=pathlib.Path(), seed=seed).name
      for seed in range(seeds)
    ]
    done = [results[name] for name in names if name in results]
    values = tuple(result['metrics']['top1'] for result in done)
    cell = tables.Measured({'top1': values}, tried.set).cell('top1')
    if len(values) == seeds:
      top1[tried.key] = sum(values) / seeds
    macs = f'{done[0]["macs"] / 1e6:.1f}' if done else '-'
    found.append((top1.get(tried.key, 0.0), tried, macs, cell))
  for _, tried, macs, cell in sorted(found, key=lambda each: -each[0]):
    lines.append(
      f'| {tried.key} | {tried.table}: {tried.row} | {tried.set} | {macs} | '
      f'{cell or tables.NOT_RUN} |'
    )
  lines.append('')
  if len(top1) < len(claim.tried):
    lines += ['Not all rows were run.', '']
    return '\n'.join(lines), tables.NOT_RUN
  parts = claim.check(top1)
  lines += [f'- {text}: {"yes" if ok else "**no**"}' for text, ok in parts]
  lines += ['', claim.note, ''] if claim.note else ['']
  if all(ok for _, ok in parts):
    return '\n'.join(lines), 'reproduced'
  held = sum(ok for _, ok in parts)
  return '\n'.join(lines), f'{held} of {len(parts)} parts reproduced'


def _coverage(results: Results) -> str:
  """Each table: how many of its rows were run here, and at what scale."""
  lines = [
    "## Each paper's tables",
    '',
    'What was run here, at tiny scale, and what was not. No row was run at '
    'full scale on this machine: that needs the data sets and accelerators. '
    '`python -m experiments.run TABLE` runs them.',
    '',
    '| table | of | rows of ours | run at tiny scale | at full scale |',
    '|---|---|---:|---:|---:|',
  ]
  run = {(r['table'], r['row'], r['scale']) for r in results.values()}
  for name, table in paper_rows.all_tables().items():
    ours = [row for row in table.rows if row.ours]
    tiny_rows, full_rows = (
      sum((name, row.name, scale) in run for row in ours)
      for scale in ('tiny', 'full')
    )
    lines.append(
      f'| {name} | {table.source} | {len(ours)} | {tiny_rows} | {full_rows} |'
    )
  return '\n'.join(lines)


def make_parser() -> argparse.ArgumentParser:
  """The command line."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.reproduce',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  add = parser.add_argument
  add('--seeds', type=int, default=1, help='how many (1)')
  add('--jobs', type=int, default=2, help='rows at a time (2)')
  add('--workdir', type=pathlib.Path, default=pathlib.Path('runs/experiments'))
  add('--out', type=pathlib.Path, help='the page; default standard output')
  help_ = 'file that keeps results, and whose rows are not run again'
  add('--results', type=pathlib.Path, help=help_)
  add(
    '--page-only', action='store_true', help='run nothing; takes what is done'
  )
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit code."""
  args = make_parser().parse_args(argv)
  workdir = args.workdir.absolute()
  failed: list[str] = []
  try:
    if args.seeds < 1:
      raise InputError(f'got --seeds={args.seeds}; expected at least 1')
    todo = schedule.in_order(
      job for claim in CLAIMS for job in claim_jobs(claim, workdir, args.seeds)
    )
    kept = load_results(args.results)
    done = known_results(todo, kept)
    if not args.page_only:
      # A second seed reads what the first one compiled.
      if note := compilation_cache.switch_on():
        terminal.say(note, file=sys.stderr)
      left = [job for job in todo if job.name not in done]
      with terminal.Reporter('reproduce') as report:
        failed = schedule.run_all(left, report, parallel=args.jobs)
      done = known_results(todo, kept)
    if args.results:
      save_results(args.results, {**kept, **done})
    text = page(done, args.seeds)
  except jobs.PreemptedError as error:
    print(escape(f'preempted and saved: {error}'), file=sys.stderr)
    return PREEMPTED
  except KeyboardInterrupt:
    print('experiments.reproduce: stopped by the keyboard; the same command '
          'goes on', file=sys.stderr)  # fmt: skip
    return INTERRUPTED
  except InputError as error:
    print(escape(f'experiments.reproduce: {error}', keep=''), file=sys.stderr)
    return WRONG_INPUT
  if args.out:
    args.out.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(args.out, text.encode())
  else:
    terminal.say(text.rstrip('\n'))
  return FAILED if failed else DONE


if __name__ == '__main__':
  sys.exit(main())
