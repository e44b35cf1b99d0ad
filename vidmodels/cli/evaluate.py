"""Measures the accuracy of videos with several views of each.

  vidmodels evaluate --workdir runs/first --views 4x3
  vidmodels evaluate --scores runs/first/evaluation --views 2x1
  vidmodels evaluate --workdir runs/vidtr runs/i3d

Recipe, preprocessing and classes come from the checkpoint. Writes a .json with
the numbers and an .npz with every view's scores to WORKDIR/evaluation. From
such .npz files numbers are counted again, with fewer views or another average,
without the model. Several models, or several files, are an ensemble: the mean
of their probabilities.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import sys

from vidmodels import files

HELP = 'accuracy of videos over several views'
# What only a model can be asked.
_OF_MODELS = ('step', 'mesh', 'data', 'split', 'batch')


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  source = parser.add_mutually_exclusive_group(required=True)
  source.add_argument(
    '--workdir', nargs='+', help='of a training run, or of several'
  )
  source.add_argument(
    '--scores',
    nargs='+',
    metavar='NPZ',
    help='what evaluations wrote: a file, or a folder with one of them',
  )
  add_weights_arguments(parser)
  add_view_arguments(parser)
  parser.add_argument('--data', help="record folder; default the recipe's")
  parser.add_argument('--split', help="default the recipe's test split")
  parser.add_argument(
    '--out',
    help='folder; default WORKDIR/evaluation, nowhere for --scores and for '
    'the numbers of several models',
  )
  parser.add_argument(
    '--shares',
    metavar='A,B',
    help="each model's share of the mean (default equal)",
  )
  parser.add_argument(
    '--per-class', metavar='CSV', help='also write a row a class'
  )
  parser.add_argument(
    '--submission', metavar='FILE', help='also write what the official test '
    'of ssv2 (.csv) or epic100 (.zip) reads',
  )  # fmt: skip
  parser.add_argument(
    '--submission-format',
    choices=('ssv2', 'epic100'),
    help="default the records' data set",
  )
  parser.add_argument(
    '--levels',
    metavar='P,L,D',
    help='supervision levels of an epic100 submission, each 0 to 5',
  )


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
  """Flags that say which weights of which run."""
  parser.add_argument('--workdir', required=True, help='of a training run')
  add_weights_arguments(parser)


def add_weights_arguments(parser: argparse.ArgumentParser) -> None:
  """Flags that say which weights of a run, and where they go."""
  parser.add_argument('--step', type=int, help='default the newest checkpoint')
  parser.add_argument(
    '--weights',
    choices=('auto', 'params', 'ema'),
    default='auto',
    help='auto: the averaged weights if the run kept them',
  )
  parser.add_argument(
    '--mesh',
    metavar='D,F,T',
    help='devices along data, fsdp and tensor (default -1,1,1)',
  )


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
  """Flags that say which views; each defaults to the recipe's."""
  parser.add_argument(
    '--views', metavar='TxS', help='views over time x crops, e.g. 4x3 or 1x1'
  )
  parser.add_argument(
    '--average',
    choices=('logits', 'probs', 'max'),
    help='what views average; max: their highest logit, where a video may '
    'have any number of classes',
  )
  parser.add_argument('--batch', type=int, help='views a step')


def load(args: argparse.Namespace, workdir: str | None = None):
  """The trained model that the flags name.

  Raises:
    InputError: if there is none, or the mesh cannot be.
  """
  from vidmodels import config as cfg
  from vidmodels.train import restore

  sizes = None
  if args.mesh:
    data, fsdp, tensor = _numbers('--mesh', args.mesh, 3, 'e.g. -1,4,1')
    sizes = cfg.Mesh(data=data, fsdp=fsdp, tensor=tensor)
  return restore.load(
    workdir or args.workdir, step=args.step, weights=args.weights, sizes=sizes
  )


def chosen_views(views, args: argparse.Namespace):
  """The recipe's views with what the flags change.

  Raises:
    InputError: for a number of views that does not exist.
  """
  from vidmodels.typing import InputError

  changes = {}
  if args.views:
    changes |= dict(zip(('temporal', 'spatial'), _counts(args), strict=True))
  if args.average:
    changes['average'] = args.average
  if args.batch is not None:
    if args.batch < 1:
      raise InputError(f'--batch {args.batch} came; wanted at least 1')
    changes['batch'] = args.batch
  return dataclasses.replace(views, **changes)


def run(args: argparse.Namespace) -> int:
  """Evaluates and prints the line or the JSON."""
  from vidmodels.cli import DONE
  from vidmodels.evaluate import ensemble, results

  extras, shares = _extras(args), ()
  if args.shares is not None:
    shares = _numbers('--shares', args.shares, 0, 'e.g. 0.6,0.4')
  members = _saved(args) if args.scores else _plans(args)
  # What can fail does so here, before hours of scoring.
  names = [one.file for one in members] if args.scores else args.workdir
  ensemble.check(members, names, shares)
  ensemble.check_distinct(members, names)
  inputs = [path for one in members for path in one.inputs]
  extras.check(members[0].about, members[0].videos, inputs)
  if args.out is not None:
    files.output_folder(args.out)
  scored = members if args.scores else _score(members, args)
  found = results.result(
    scored,
    views=_counts(args) if args.scores and args.views else None,
    average=(args.scores and args.average) or '',
    shares=shares,
  )
  said = [found.report.line(), *found.report.details()]
  if len(scored) == 1 and not args.scores:
    found.write(pathlib.Path(scored[0].file).parent)
  elif args.out:
    report = found.write(pathlib.Path(args.out), [one.file for one in scored])
    said.append(f'report: {report}')
  if not args.json:
    said.append(f'scores of every view: {found.report.scores}')
  # What was measured is always said, beside the JSON too, and before anything
  # else can fail.
  to = sys.stderr if args.json else sys.stdout
  print('\n'.join(said), file=to)
  for line in extras.write(found.answers):
    print(line, file=to)
  if args.json:
    print(json.dumps(found.report.as_json()))
  return DONE


def _extras(args: argparse.Namespace):
  """The files that are wanted beside the report."""
  from vidmodels.evaluate.side_files import Extras

  levels = ()
  if args.levels is not None:
    levels = _numbers('--levels', args.levels, 3, 'e.g. 2,3,3')
  return Extras(
    per_class=args.per_class,
    submission=args.submission,
    format=args.submission_format,
    levels=levels,
  )


def _saved(args: argparse.Namespace) -> list:
  """What the files hold; no model is asked, and JAX is not loaded.

  Raises:
    InputError: if a file is none of ours, or a flag is for models.
  """
  from vidmodels.evaluate import score_files
  from vidmodels.evaluate.score_file import Scored
  from vidmodels.typing import InputError

  given = [
    f'--{name}' for name in _OF_MODELS if getattr(args, name) is not None
  ]
  given += ['--weights'] if args.weights != 'auto' else []
  if given:
    raise InputError(
      f'{", ".join(given)} came with --scores; wanted none of them, since the '
      'scores are there already; give --workdir to ask the model'
    )
  return [Scored.load(score_files.find(path)) for path in args.scores]


def _plans(args: argparse.Namespace) -> list:
  """Every model with its records, all opened before any is asked."""
  from vidmodels.evaluate import score_split as running

  plans = []
  for workdir in args.workdir:
    model = load(args, workdir)
    data = model.config.data
    plans.append(
      running.plan(
        model,
        dir=args.data or data.dir,
        split=args.split or data.test,
        views=chosen_views(model.config.views, args),
      )
    )
  return plans


def _score(plans: list, args: argparse.Namespace) -> list:
  """Scores of each model, which are written; takes the plans away."""
  from vidmodels.cli import terminal

  # Results of several models stay apart: their names may be the same.
  alone = args.out if len(plans) == 1 else None
  outs = [
    files.output_folder(alone or plan.trained.workdir / 'evaluation')
    for plan in plans
  ]
  scored = []
  for out in outs:
    plan = plans.pop(0)  # its weights are free once it has spoken
    with terminal.Reporter('evaluate') as report:
      scored.append(plan.score(out, report))
  return scored


def _counts(args: argparse.Namespace) -> tuple[int, int]:
  from vidmodels.typing import InputError

  temporal, _, spatial = args.views.partition('x')
  if not (temporal.isdecimal() and spatial in ('1', '3') and int(temporal)):
    raise InputError(
      f'--views {args.views} came; wanted TxS with T at least 1 and S 1 or '
      '3, e.g. 4x3'
    )
  return int(temporal), int(spatial)


def _numbers(flag: str, text: str, count: int, example: str) -> list:
  """Numbers between commas.

  Args:
    flag: that they are of.
    text: what came.
    count: of whole numbers; 0 for any count of shares, finite and above 0.
    example: of what was wanted.
  """
  from vidmodels.typing import InputError

  try:
    found = [(int if count else float)(part) for part in text.split(',')]
  except ValueError:
    found = []
  if count:
    good, wanted = len(found) == count, f'{count} numbers'
  else:
    good = all(math.isfinite(number) and number > 0 for number in found)
    wanted = 'finite numbers above 0'
  if not found or not good:
    raise InputError(
      f'{flag} {text} came; wanted {wanted} with commas between, {example}'
    )
  return found
