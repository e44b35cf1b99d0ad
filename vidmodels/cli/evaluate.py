"""Measures the accuracy on videos, with several views of each.

  vidmodels evaluate --workdir runs/first --views 4x3
  vidmodels evaluate --scores runs/first/evaluation --views 2x1
  vidmodels evaluate --workdir runs/vidtr runs/i3d
  vidmodels evaluate --workdir runs/first --knn

Recipe, preprocessing and classes come from the checkpoint. The command writes a
.json with the numbers and an .npz with every view's scores to
WORKDIR/evaluation. Numbers can be counted again from such .npz files, with
fewer views or another average, without the model. Several models, or several
files, are an ensemble: the mean of their probabilities.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import sys
from typing import Any

from vidmodels import files
from vidmodels.evaluate import accuracy_report
from vidmodels.typing import InputError

HELP = 'accuracy of videos over several views'
COMPILES = True
JOINS_PROCESSES = True  # several processes of it can be one run
# Flags that need a model.
_MODEL_FLAGS = ('step', 'mesh', 'data', 'split', 'batch')


def step_choice(text: str) -> int | str:
  """Argparse's type of --step: a number, 'latest' or 'best'."""
  if text in ('latest', 'best'):
    return text
  if not text.isdecimal() or len(text) > 12:
    raise argparse.ArgumentTypeError(
      f'got {text!r:.40}; expected the step of a checkpoint, latest or best'
    )
  return int(text)


# fmt: off
def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  from vidmodels.cli import processes

  source = parser.add_mutually_exclusive_group(required=True)
  add = source.add_argument
  add('--workdir', type='place', nargs='+',
      help='workdir of a training run, or several')
  add('--scores', type='place', nargs='+', metavar='NPZ',
      help='.npz file of an evaluation, or a folder with one such file')
  add_weights_arguments(parser)
  add_view_arguments(parser)
  add = parser.add_argument
  add('--data', type='place', help="record folder; default the recipe's")
  add('--split', help="default the recipe's test split")
  add('--knn', action='store_true',
      help='the nearest training videos vote, by the features that the head '
           'sees; no head is used')
  add('--out', type='place',
      help='folder; default WORKDIR/evaluation; with --scores or several '
           'models the numbers are only written if it is given')
  add('--shares', metavar='A,B',
      help="each model's share of the mean (default equal)")
  add('--per-class', type='place', metavar='CSV',
      help='also write a table with a row per class')
  add('--submission', type='place', metavar='FILE',
      help='also write the file that the official test of ssv2 (.csv) or '
           'epic100 (.zip) reads')
  add('--submission-format', choices=('ssv2', 'epic100'),
      help="default the records' data set")
  processes.add_arguments(parser)
  add('--levels', metavar='P,L,D',
      help='supervision levels of an epic100 submission, each 0 to 5')


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that select a run and its weights."""
  parser.add_argument('--workdir', required=True, type='place',
                      help='workdir of a training run, or a file that '
                           '`vidmodels weights export` wrote')
  add_weights_arguments(parser)


def add_weights_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that select the weights of a run and their devices."""
  add = parser.add_argument
  add('--step', type=step_choice, metavar='N|latest|best',
      help="checkpoint; best: by the run's checkpoint.metric (default latest)")
  add('--weights', choices=('auto', 'params', 'ema'), default='auto',
      help='auto: the averaged weights if the run kept them')
  add('--mesh', metavar='D,F,T',
      help='devices along data, fsdp and tensor (default -1,1,1)')


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that select views; each defaults to the recipe's."""
  add = parser.add_argument
  add('--views', metavar='TxS', help='views over time x crops, e.g. 4x3 or 1x1')
  add('--average', choices=('logits', 'probs', 'max'),
      help='what is averaged over views; max: the highest logit, for videos '
           'with any number of classes')
  add('--batch', type=int, help='views per step')


# fmt: on
def load_model(
  args: argparse.Namespace,
  workdir: str | None = None,
  *,
  own_devices: bool = False,
):
  """Loads the trained model that the flags name.

  It is on the devices of all processes, or on those of this one alone.
  """
  from vidmodels import config as cfg
  from vidmodels.train import mesh, model_file

  sizes = None
  if args.mesh:
    data, fsdp, tensor = _parse_integers('--mesh', args.mesh, '-1,4,1')
    sizes = cfg.Mesh(data=data, fsdp=fsdp, tensor=tensor)
  return model_file.load(
    workdir or args.workdir,
    step=args.step,
    weights=args.weights,
    sizes=sizes,
    mesh=mesh.make_own_mesh(sizes) if own_devices else None,
  )


def apply_view_flags(views, args: argparse.Namespace):
  """Returns the recipe's views with the changes of the flags."""
  changes: dict[str, Any] = {}
  if args.views:
    changes['temporal'], changes['spatial'] = _parse_views(args)
  if args.average:
    changes['average'] = args.average
  if args.batch is not None:
    if args.batch < 1:
      raise InputError(
        f'got --batch {args.batch}; expected at least 1; try --batch 8'
      )
    changes['batch'] = args.batch
  return dataclasses.replace(views, **changes)


def run(args: argparse.Namespace) -> int:
  """Evaluates and prints the line or the JSON."""
  from vidmodels.cli import processes

  if not args.scores:
    with processes.joined('evaluate', args):
      return _evaluate(args)
  if args.distributed or args.coordinator:
    raise InputError(
      'got --scores and several processes; expected one, since the scores are '
      'already computed; try it without --distributed and --coordinator'
    )
  return _evaluate(args)


def _evaluate(args: argparse.Namespace) -> int:
  from vidmodels.cli import DONE, terminal
  from vidmodels.evaluate import ensemble
  from vidmodels.evaluate.side_files import SideFiles

  levels = []
  if args.levels is not None:
    levels = _parse_integers('--levels', args.levels, '2,3,3')
  side_files = SideFiles(
    per_class=args.per_class,
    submission=args.submission,
    format=args.submission_format,
    levels=levels,
  )
  shares = [] if args.shares is None else _parse_shares(args.shares)
  members = _saved_scores(args) if args.scores else _scoring_plans(args)
  # Check all that can fail here, before hours of scoring.
  names = [member.file for member in members] if args.scores else args.workdir
  ensemble.check_members(members, names, shares)
  ensemble.check_distinct_models(members, names)
  inputs = [path for member in members for path in member.inputs]
  side_files.check(members[0].info, members[0].videos, inputs)
  if args.out is not None:
    files.output_folder(args.out)
  scores = members if args.scores else _score_all(members, args)
  if None in scores:  # process 0 has them
    return DONE
  evaluation = accuracy_report.evaluate_scores(
    scores,
    views=_parse_views(args) if args.scores and args.views else None,
    average=(args.scores and args.average) or '',
    shares=shares,
  )
  report = evaluation.report
  lines = [report.line(), *report.details()]
  if len(scores) == 1 and not args.scores:
    evaluation.write(files.place(scores[0].file).parent)
  elif args.out:
    path = evaluation.write(files.place(args.out), [s.file for s in scores])
    lines.append(f'report: {path}')
  if not args.json:
    lines.append(f'scores of every view: {report.scores}')
  # The numbers are always printed, also beside the JSON, and before anything
  # else can fail.
  stream = sys.stderr if args.json else sys.stdout
  terminal.say('\n'.join(lines), file=stream)
  for line in side_files.write(evaluation.scores):
    terminal.say(line, file=stream)
  if args.json:
    print(json.dumps(report.as_json()))
  return DONE


def _saved_scores(args: argparse.Namespace) -> list:
  """Loads the score files; uses no model and does not load JAX."""
  from vidmodels.evaluate.score_file import SplitScores, find_score_file

  flags = [f'--{n}' for n in _MODEL_FLAGS if getattr(args, n) is not None]
  flags += ['--weights'] if args.weights != 'auto' else []
  flags += ['--knn'] if args.knn else []
  if flags:
    raise InputError(
      f'got {", ".join(flags)} with --scores; expected none of them, since the '
      'scores are already computed; try --workdir to run the model'
    )
  return [SplitScores.load(find_score_file(path)) for path in args.scores]


def _scoring_plans(args: argparse.Namespace) -> list:
  """Opens every model with its records, before any model runs."""
  from vidmodels.evaluate import score_split

  if args.knn and args.average not in (None, 'probs'):
    raise InputError(
      f'got --average={args.average} with --knn, whose scores are shares of '
      'votes; expected probs; try leaving --average out'
    )
  return [
    score_split.plan_scoring(
      model,
      dir=args.data or model.config.data.dir,
      split=args.split or model.config.data.test,
      views=apply_view_flags(model.config.views, args),
      knn=args.knn,
    )
    for model in (load_model(args, workdir) for workdir in args.workdir)
  ]


def _score_all(plans: list, args: argparse.Namespace) -> list:
  """Runs each model and writes its scores; empties `plans`."""
  from vidmodels.cli import terminal
  from vidmodels.train import distributed

  first = distributed.is_first()
  # Results of several models go to separate folders: names may be the same.
  alone = args.out if len(plans) == 1 else None
  workdirs = [plan.model.workdir for plan in plans]
  folders = [files.output_folder(alone or _results_of(w)) for w in workdirs]
  scores = []
  for folder in folders:
    plan = plans.pop(0)  # so that its weights are freed after scoring
    with terminal.Reporter('evaluate') as report:
      scores.append(plan.score(folder, report if first else None))
  return scores


def _results_of(workdir: pathlib.Path) -> pathlib.Path:
  """Where the results of a run go, or those of a file of weights."""
  if workdir.is_dir():
    return workdir / 'evaluation'
  return workdir.with_name(f'{workdir.stem}_evaluation')


def _parse_views(args: argparse.Namespace) -> tuple[int, int]:
  temporal, _, spatial = args.views.partition('x')
  if not (temporal.isdecimal() and spatial in ('1', '3') and int(temporal)):
    raise InputError(
      f'got --views {args.views}; expected TxS with T at least 1 and S 1 or 3; '
      'try --views 4x3'
    )
  return int(temporal), int(spatial)


def _parse_integers(flag: str, text: str, example: str) -> list[int]:
  """Parses whole numbers between commas, as many as in the example."""
  try:
    numbers = [int(part) for part in text.split(',')]
  except ValueError:
    numbers = []
  count = len(example.split(','))
  if len(numbers) != count:
    raise InputError(
      f'got {flag} {text}; expected {count} numbers with commas between; try '
      f'{flag}={example}'
    )
  return numbers


def _parse_shares(text: str) -> list[float]:
  """Parses finite numbers above 0 between commas."""
  try:
    shares = [float(part) for part in text.split(',')]
  except ValueError:
    shares = [math.nan]
  if not all(math.isfinite(share) and share > 0 for share in shares):
    raise InputError(
      f'got --shares {text}; expected finite numbers above 0 with commas '
      'between; try --shares 0.6,0.4'
    )
  return shares
