"""Measures the accuracy of videos with several views of each.

  vidmodels evaluate --workdir runs/first --views 4x3

Recipe, preprocessing and classes come from the checkpoint. Writes
a .json with the numbers and an .npz with every view's scores to
WORKDIR/evaluation.
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
    '--average', choices=('logits', 'probs'), help='what views average'
  )
  parser.add_argument('--batch', type=int, help='views a step')


def load(args: argparse.Namespace):
  """The trained model that the flags name.

  Raises:
    InputError: if there is none, or the mesh cannot be.
  """
  from vidmodels import config as cfg
  from vidmodels.train import trained
  from vidmodels.typing import InputError

  sizes = None
  if args.mesh:
    try:
      data, fsdp, tensor = map(int, args.mesh.split(','))
    except ValueError as error:
      raise InputError(
        f'--mesh {args.mesh} came; wanted three numbers, e.g. -1,4,1'
      ) from error
    sizes = cfg.Mesh(data=data, fsdp=fsdp, tensor=tensor)
  return trained.load(
    args.workdir, step=args.step, weights=args.weights, sizes=sizes
  )


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

  model = load(args)
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
