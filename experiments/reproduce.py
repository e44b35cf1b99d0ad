"""Eight claims of the papers, tried at a laptop's size; writes a page of them.

  python -m experiments.reproduce --seeds=3 --jobs=2 --out=docs/reproduction.md
  python -m experiments.reproduce --seeds=3 --page-only --out=page.md

Rows of the papers' tables are run at tiny scale (experiments/tiny.py) on the
made-up sets. What a claim needs to hold is written here as numbers, which were
fixed before any result was seen. Finished rows are skipped.
"""

import argparse
import dataclasses
import functools
import pathlib
import platform
import sys
from collections.abc import Callable, Mapping, Sequence

from vidmodels import files
from vidmodels.analysis import model_cost, paper_rows
from vidmodels.cli import DONE, FAILED, PREEMPTED, WRONG_INPUT, terminal
from vidmodels.train import build
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
  return tuple(
    Tried(f'{key} on {name}', 'timesformer/table1', row, name)
    for name in ('motion', 'textures')
    for key, row in rows.items()
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
      Tried('random', 'small/start', 'random', 'mixed'),
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


@functools.cache
def million_macs(job: Job) -> float:
  """Multiply-adds of one view of the tiny model, in millions."""
  config = job.config()
  model = build.make_model(config, classes=8)
  clip = config.clip
  count = model_cost.count_model(model, (clip.frames, clip.size, clip.size))
  return count.total_macs() / 1e6


def page(workdir: pathlib.Path, seeds: int) -> str:
  """The page in Markdown; rows without a result are said to be not run."""
  text = [_HEAD.format(**_facts(workdir, seeds))]
  verdicts = []
  for number, claim in enumerate(CLAIMS, 1):
    section, holds = _section(number, claim, workdir, seeds)
    verdicts.append(f'| {number} | {claim.source} | {holds} |')
    text.append(section)
  text.insert(1, '\n'.join(['| claim | source | result |', '|---|---|---|',
                            *verdicts, '']))  # fmt: skip
  text.append(_coverage(workdir))
  return '\n'.join(text).rstrip() + '\n'


_HEAD = """\
# The papers' claims at a laptop's size

This page is what `python -m experiments.reproduce --seeds={seeds}` wrote
(`make reproduce` runs one seed); {machine}. All its runs together took
{hours:.1f} hours of a CPU.

Nothing here is a figure of a paper: the models are reduced by one rule
(`experiments/tiny.py`: {steps} steps of {batch} clips for every family, the
same optimiser, heads of 16 units, a third of the layers), and the videos are
made up: `motion` needs the order of frames, `textures` needs space alone, and
in `mixed` four classes need one and four the other. Each set has {train:,}
training videos, {test} test videos and 8 classes. Steps, widths and the numbers
below were fixed before a result was seen, for all rows alike; no seed was
chosen. Accuracy is top-1 of all test videos; with several seeds the mean, and
the lowest and highest. A model that is blind to the order of frames reaches at
best 50 % of `motion` and 75 % of `mixed`; "fails" is at most {blind} %,
"succeeds" at least {succeeds:g} %.
"""


def _facts(workdir: pathlib.Path, seeds: int) -> dict:
  seconds = 0.0
  versions: set[str] = set()
  for claim in CLAIMS:
    for job in _unique_jobs(claim, workdir, seeds):
      if result := job.result():
        seconds += result['seconds'] * result['cpus']
        used = result['versions']
        versions.add(f'JAX {used["jax"]}, Python {used["python"]}')
  machine = '; '.join(sorted(versions)) or 'nothing was run'
  return {
    'seeds': seeds,
    'machine': f'{machine}, {platform.machine()}, no accelerator',
    'hours': seconds / 3600,
    'steps': tiny.STEPS,
    'batch': tiny.BATCH,
    'train': tiny.CLIPS['train'],
    'test': tiny.CLIPS['test'],
    'blind': BLIND,
    'succeeds': SUCCEEDS,
  }


def _unique_jobs(claim: Claim, workdir: pathlib.Path, seeds: int) -> list[Job]:
  todo = [
    job_of(tried, workdir=workdir, seed=seed)
    for tried in claim.tried
    for seed in range(seeds)
  ]
  return schedule.in_order(todo)


def _section(
  number: int, claim: Claim, workdir: pathlib.Path, seeds: int
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
    runs = [job_of(tried, workdir=workdir, seed=s) for s in range(seeds)]
    results = [job.result() for job in runs]
    values = tuple(r['metrics']['top1'] for r in results if r)
    cell = tables.Measured({'top1': values}, tried.set, 0.0).cell('top1')
    if len(values) == seeds:
      top1[tried.key] = sum(values) / seeds
    found.append((top1.get(tried.key, 0.0), tried, cell, runs[0]))
  for _, tried, cell, job in sorted(found, key=lambda each: -each[0]):
    lines.append(
      f'| {tried.key} | {tried.table}: {tried.row} | {tried.set} | '
      f'{million_macs(job):.1f} | {cell or tables.NOT_RUN} |'
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


def _coverage(workdir: pathlib.Path) -> str:
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
  for name, table in paper_rows.all_tables().items():
    ours = [row for row in table.rows if row.ours]
    run = {
      scale: sum(bool(tables.read(workdir, table, row, scale)) for row in ours)
      for scale in ('tiny', 'full')
    }
    lines.append(
      f'| {name} | {table.source} | {len(ours)} | {run["tiny"]} | '
      f'{run["full"]} |'
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
  add('--page-only', action='store_true', help='run nothing')
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit code."""
  args = make_parser().parse_args(argv)
  workdir, failed = args.workdir.absolute(), []
  try:
    if args.seeds < 1:
      raise InputError(f'got --seeds={args.seeds}; expected at least 1')
    todo = [job for c in CLAIMS for job in _unique_jobs(c, workdir, args.seeds)]
    if not args.page_only:
      with terminal.Reporter('reproduce') as report:
        failed = schedule.run_all(todo, report, parallel=args.jobs)
    text = page(workdir, args.seeds)
  except jobs.PreemptedError as error:
    print(escape(f'preempted and saved: {error}'), file=sys.stderr)
    return PREEMPTED
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
