"""Runs the rows of a paper's table or figure: trains, evaluates, compares.

  python -m experiments.run --list
  python -m experiments.run timesformer/table1 --scale=tiny
  python -m experiments.run vidtr/table5 --row "Joint" --seeds 3 --scale=tiny
  python -m experiments.run xvit/table1 --launch=dry-run \\
    --start imagenet-21k=B_16-i21k.npz
  python -m experiments.run timesformer/table1 --estimate --topology=v5e:2x4

At full scale (the default) a row trains on records/NAME as `vidmodels prepare`
writes them. It starts from the weights that its recipe expects, which --start
names, or from the run of another row, which is made first. At tiny scale it
trains a reduced model on a made-up set (experiments/tiny.py has the rule).

What is done is skipped, what was interrupted goes on. `python -m
experiments.tables` prints the results beside the paper's. With --launch=slurm
or tpu the trainings are submitted by the scripts in experiments/launch; the
same command without --launch evaluates them when they are done.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from vidmodels import config as cfg
from vidmodels.analysis import paper_rows
from vidmodels.analysis.paper_rows import PaperTable, Row
from vidmodels.cli import (
  DONE,
  FAILED,
  INTERRUPTED,
  PREEMPTED,
  WRONG_INPUT,
  compilation_cache,
  recipe,
  terminal,
)
from vidmodels.data.datasets import registry
from vidmodels.typing import InputError, escape

from . import jobs, schedule, tiny
from .jobs import Job

LAUNCH = pathlib.Path(__file__).resolve().parent / 'launch'


def make_parser() -> argparse.ArgumentParser:
  """The command line."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.run',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  add = parser.add_argument
  add('table', nargs='?', metavar='TABLE', help='such as timesformer/table1')
  add('--list', action='store_true', help='all tables, or the rows of TABLE')
  add('--json', action='store_true', help='one JSON document')
  add('--row', action='append', metavar='NAME', help='only this row; again')
  add('--scale', choices=('full', 'tiny'), default='full')
  add('--set', action='append', choices=('motion', 'textures', 'mixed'),
      help="tiny: the made-up set; again for more (the row's own)")  # fmt: skip
  add('--seeds', type=int, default=1, help='how many (1)')
  add('--first-seed', type=int, default=0, help='the first of them (0)')
  add('--steps', type=int, default=tiny.STEPS,
      help=f'tiny: of a training ({tiny.STEPS})')  # fmt: skip
  add('--workdir', type=pathlib.Path, default=pathlib.Path('runs/experiments'))
  add('--records', default='records', help='full: folder of all record sets')
  add('--start', action='append', default=[], metavar='KIND=FILE',
      help='full: weights, such as imagenet-21k=B_16.npz; again')  # fmt: skip
  add('--launch', choices=('local', 'slurm', 'tpu', 'dry-run'),
      default='local')  # fmt: skip
  add('--jobs', type=int, default=1, help='rows at a time on this machine (1)')
  add('--estimate', action='store_true', help='chip-hours a row; runs nothing')
  add('--topology', default='v5e:2x4', help='of --estimate (v5e:2x4)')
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit code."""
  args = make_parser().parse_args(argv)
  try:
    return _run(args)
  except jobs.PreemptedError as error:
    terminal.say(f'preempted and saved: {error}; the same command goes on',
                 file=sys.stderr)  # fmt: skip
    return PREEMPTED
  except KeyboardInterrupt:
    print('experiments.run: stopped by the keyboard; the same command goes on',
          file=sys.stderr)  # fmt: skip
    return INTERRUPTED
  except InputError as error:
    text = f'experiments.run: {error}'
    print(escape(text, keep=''), file=sys.stderr)
    if args.json:
      print(json.dumps({'error': str(error), 'exit_code': WRONG_INPUT}))
    return WRONG_INPUT


def _run(args: argparse.Namespace) -> int:
  if args.list:
    _list(args)
    return DONE
  if args.table is None:
    raise InputError(
      'got no table; expected one such as timesformer/table1; try --list'
    )
  for flag in ('seeds', 'jobs', 'steps'):
    if getattr(args, flag) < 1:
      raise InputError(
        f'got --{flag}={getattr(args, flag)}; expected at least 1'
      )
  table = paper_rows.find(args.table)
  rows = [table.row(name) for name in args.row or ()]
  rows = rows or [row for row in table.rows if row.ours]
  for row in rows:
    if not row.ours:
      raise InputError(
        f'got the row {row.name!r}, which is another system; expected one of '
        'ours; try --list'
      )
  if args.estimate:
    return _estimate(args, table, rows)
  todo = list(_jobs(args, table, rows))
  if args.launch == 'local':
    if note := compilation_cache.switch_on():
      terminal.say(note, file=sys.stderr)
    return _run_here(args, todo)
  return _launch(args, todo)


def _jobs(
  args: argparse.Namespace, table: PaperTable, rows: Sequence[Row]
) -> Iterator[Job]:
  starts = {}
  for text in args.start:
    kind, equals, file = text.partition('=')
    if not equals or not file:
      raise InputError(
        f'got --start {text}; expected KIND=FILE; try --start '
        'imagenet-21k=B_16.npz'
      )
    starts[kind] = file
  if args.scale == 'full' and args.set:
    raise InputError(
      f'got --set={args.set[0]} at full scale; expected none, as a row has its '
      'data set; try --scale=tiny'
    )
  for row in rows:
    sets = args.set or [row.tiny_set]
    for name in sets if args.scale == 'tiny' else ['']:
      for seed in range(args.first_seed, args.first_seed + args.seeds):
        yield Job(
          table=table,
          row=row,
          scale=args.scale,
          workdir=args.workdir.absolute(),
          seed=seed,
          set=name,
          records=args.records,
          starts=starts,
          steps=args.steps,
        )


def _run_here(args: argparse.Namespace, todo: Sequence[Job]) -> int:
  """Runs jobs on this machine and prints what they found."""
  for job in todo:
    job.config() if job.row.recipe else None  # says at once what is missing
  with terminal.Reporter('experiments') as report:
    failed = schedule.run_all(todo, report, parallel=args.jobs)
  done = [job.result() for job in todo]
  if args.json:
    print(json.dumps({'results': done, 'failed': failed}))
  else:
    for job, result in zip(todo, done, strict=True):
      terminal.say(f'{job.name}: {schedule.in_words(result)}')
  return FAILED if failed else DONE


def _list(args: argparse.Namespace) -> None:
  """Prints the tables, or the rows of one."""
  tables = paper_rows.all_tables()
  if args.table is not None:
    tables = {args.table: paper_rows.find(args.table)}
  if args.json:
    tree = [
      {
        'name': name,
        'source': table.source,
        'title': table.title,
        'origin': table.origin,
        'rows': [
          {
            'name': row.name,
            'ours': row.ours,
            'recipe': row.recipe,
            'figures': dict(row.figures),
            'missing': row.missing,
          }
          for row in table.rows
        ],
      }
      for name, table in tables.items()
    ]
    print(json.dumps({'tables': tree}))
    return
  for name, table in tables.items():
    ours = sum(row.ours for row in table.rows)
    print(f'{name:28} {ours:3} rows of ours  {table.source}: {table.title}')
    if args.table is None:
      continue
    for row in table.rows:
      figures = ', '.join(f'{k} {v:g}' for k, v in row.figures.items())
      what = row.recipe or ('an ensemble' if row.parts else 'not ours')
      print(f'  {row.name}: {what}{"; " if figures else ""}{figures}')


def flags_of(job: Job) -> list[str]:
  """The flags with which `vidmodels train` and `evaluate` know the recipe."""
  base = cfg.flatten(cfg.as_dict(recipe.load(job.row.recipe)))
  ours = cfg.flatten(cfg.as_dict(job.config()))
  changed = {k: v for k, v in ours.items() if base.get(k) != v}
  flags = [f'--config={job.row.recipe}']
  return flags + [f'--config.{k}={_as_flag(v)}' for k, v in changed.items()]


def _as_flag(value: Any) -> str:
  if isinstance(value, list):
    return repr(_tuples(value))
  return str(value)


def _tuples(value: Any) -> Any:
  return tuple(map(_tuples, value)) if isinstance(value, list) else value


def commands(job: Job) -> list[list[str]]:
  """The commands that a job is, without those of the jobs that it needs."""
  run = job.folder / 'run'
  if job.row.parts or job.row.trained_as:  # nothing is trained
    again = ['python', '-m', 'experiments.run', job.table.name]
    again += ['--row', job.row.name, f'--scale={job.scale}']
    return [[*again, f'--workdir={job.workdir}']]
  evaluate = ['vidmodels', 'evaluate', f'--workdir={run}']
  return [
    ['vidmodels', 'train', *flags_of(job), f'--workdir={run}'],
    [*evaluate, f'--out={job.folder / "evaluation"}'],
  ]


def _launch(args: argparse.Namespace, todo: Sequence[Job]) -> int:
  """Prints the commands, or submits the trainings in the order they need."""
  ordered = schedule.in_order(todo)
  if args.launch == 'dry-run':
    plan = [
      {
        'job': job.name,
        'needs': [other.name for other in job.needs()],
        'commands': [shlex.join(line) for line in commands(job)],
      }
      for job in ordered
    ]
    if args.json:
      print(json.dumps({'jobs': plan}))
      return DONE
    for each in plan:
      print(f'# {each["job"]}')
      print('\n'.join(each['commands']))
    return DONE
  submitted: dict[str, str] = {}
  for job in ordered:
    if not job.row.recipe or job.row.trained_as or job.result() is not None:
      continue
    _, _, *flags = commands(job)[0]
    if args.launch == 'tpu':
      code = subprocess.call([str(LAUNCH / 'tpu_vm.sh'), *flags])
      if code:
        raise InputError(
          f'got exit code {code} from tpu_vm.sh for {job.name}; expected 0; '
          'try what it printed'
        )
      continue
    before = [submitted[o.name] for o in job.needs() if o.name in submitted]
    after = [f'--dependency=afterok:{":".join(before)}'] if before else []
    line = ['sbatch', '--parsable', *after, str(LAUNCH / 'slurm.sbatch')]
    try:
      done = subprocess.run(
        [*line, *flags], capture_output=True, text=True, check=False
      )
    except FileNotFoundError as error:
      raise InputError(
        'got no sbatch on this machine; expected a login node of a SLURM '
        'cluster; try --launch=dry-run, which prints the commands'
      ) from error
    if done.returncode:
      raise InputError(
        f'got from sbatch for {job.name}: {done.stderr.strip()}; expected a '
        'submitted job; try the same after mending what it says'
      )
    submitted[job.name] = done.stdout.strip().partition(';')[0]
    terminal.say(f'{job.name}: job {submitted[job.name]}')
  return DONE


def _estimate(
  args: argparse.Namespace, table: PaperTable, rows: Sequence[Row]
) -> int:
  """Prints chip-hours of each row's training, from its compiled step."""
  from vidmodels.train import planner, step_plan, topology

  where = topology.parse(args.topology)
  topology.check_installed(where)
  lines: list[dict[str, Any]] = []
  with (
    terminal.Reporter('estimate') as report,
    planner.Planner(where) as compiler,
  ):
    for row in rows:
      report(len(lines), len(rows), row.name)
      lines.append({'row': row.name})
      if not row.recipe or row.trained_as:
        lines[-1] |= {'chip_hours': 0.0, 'why': 'nothing is trained'}
        continue
      config = recipe.of_row(row)
      if 'scan' in config.model:
        config = step_plan.with_scan(config)
      dataset = registry.find(recipe.dataset(row.recipe))
      try:
        made = compiler.make(
          config,
          classes=recipe.classes_of(row),
          examples=dataset.splits.get(config.data.train) or 240_000,
          task=dataset.task,
        )
      except (InputError, planner.PlanError) as error:
        lines[-1] |= {'chip_hours': None, 'why': str(error)}
        continue
      hours = made.estimated_hours
      lines[-1] |= {
        'chip_hours': None if hours is None else hours * made.chips,
        'fits': made.fits,
        'memory_bytes': made.memory_bytes,
        'why': '' if made.fits else 'does not fit; see vidmodels plan --search',
      }
  if args.json:
    tree = {'table': table.name, 'topology': args.topology, 'rows': lines}
    print(json.dumps(tree))
    return DONE
  for each in lines:
    hours = each['chip_hours']
    text = '?' if hours is None else f'{hours:.1f}'
    terminal.say(f'{each["row"]:40} {text:>9} chip-hours, at least '
                 f'{each["why"]}'.rstrip())  # fmt: skip
  return DONE


if __name__ == '__main__':
  with contextlib.suppress(BrokenPipeError):
    sys.exit(main())
  os._exit(DONE)
