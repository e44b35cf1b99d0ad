"""Measures the accuracy of videos with several views of each.

  vidmodels evaluate --workdir runs/first --views 4x3

Recipe, preprocessing and classes come from the checkpoint. Writes
evaluation/<split>_<views>_step<n>.json with the numbers and an .npz beside it
with every view's scores.
"""

import argparse
import dataclasses
import json
import sys

HELP = 'accuracy of videos over several views'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  add_checkpoint_arguments(parser)
  add_view_arguments(parser)
  parser.add_argument('--data', help="record folder; default the recipe's")
  parser.add_argument('--split', help="default the recipe's test split")
  parser.add_argument('--out', help='default WORKDIR/evaluation')


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
  """Flags that say which weights."""
  parser.add_argument('--workdir', required=True, help='of a training run')
  parser.add_argument('--step', type=int, help='default the newest checkpoint')
  parser.add_argument(
    '--weights',
    choices=('auto', 'params', 'ema'),
    default='auto',
    help='auto: the averaged weights if the run kept them',
  )


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
  """Flags that say which views; each defaults to the recipe's."""
  parser.add_argument(
    '--views', metavar='TxS', help='views over time x crops, e.g. 4x3 or 1x1'
  )
  parser.add_argument(
    '--average', choices=('logits', 'probs'), help='what views average'
  )
  parser.add_argument('--batch', type=int, help='views a step')


def chosen_views(views, args: argparse.Namespace):
  """The recipe's views with what the flags change.

  Raises:
    InputError: for a number of views that does not exist.
  """
  from vidmodels.typing import InputError

  changes = {}
  if args.views:
    temporal, _, spatial = args.views.partition('x')
    if not (temporal.isdecimal() and spatial in ('1', '3') and int(temporal)):
      raise InputError(
        f'--views {args.views} came; wanted TxS with T at least 1 and S 1 or '
        '3, e.g. 4x3'
      )
    changes |= {'temporal': int(temporal), 'spatial': int(spatial)}
  if args.average:
    changes['average'] = args.average
  if args.batch is not None:
    if args.batch < 1:
      raise InputError(f'--batch {args.batch} came; wanted at least 1')
    changes['batch'] = args.batch
  return dataclasses.replace(views, **changes)


def run(args: argparse.Namespace) -> int:
  """Evaluates and prints the line or the JSON."""
  from vidmodels.cli import DONE, terminal
  from vidmodels.evaluate import run as running
  from vidmodels.evaluate import trained

  model = trained.load(args.workdir, step=args.step, weights=args.weights)
  data = model.config.data
  with terminal.Reporter('evaluate') as report:
    result = running.evaluate(
      model,
      dir=args.data or data.dir,
      split=args.split or data.test,
      views=chosen_views(model.config.views, args),
      out=args.out,
      progress=report,
    )
  # What was measured is always said, beside the JSON too.
  print(result.line(), file=sys.stderr if args.json else sys.stdout)
  if args.json:
    print(json.dumps(result.as_json()))
  else:
    print(f'scores of every view: {result.scores}')
  return DONE
