"""Trains a recipe, or resumes from the last checkpoint in the workdir.

  vidmodels train --config=timesformer:base --workdir=runs/k400 \\
    --config.data.dir=records/k400 --config.batch=32

A recipe is a file, or the name of one that comes with the package; any of its
fields can be set with --config.FIELD=VALUE. SIGTERM saves and exits with code
42; the same command then continues exactly where it stopped.

On a TPU pod or under SLURM, start the command on every host with --distributed;
elsewhere with --coordinator HOST:PORT --processes N --process I. All hosts must
share the folder of the workdir.
"""

import argparse
import functools
import json
import os
import sys
from typing import NoReturn

HELP = 'train a recipe, or resume it'
TAKES_CONFIG = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  add = parser.add_argument
  add('--config', required=True, metavar='RECIPE[:ARG]', help='file or name')
  add('--workdir', required=True, type='path',
      help='checkpoints, metrics.jsonl, config.json')  # fmt: skip
  add('--distributed', action='store_true', help='join as the cluster says')
  add('--coordinator', default='', help='host:port of process 0')
  add('--processes', type=int, default=0, help='number of processes')
  add('--process', type=int, default=-1, help='number of this process, from 0')
  add('--join-timeout', type=float, default=300.0, metavar='SECONDS',
      help='how long to wait for other processes (default 300)')  # fmt: skip


def run(args: argparse.Namespace) -> int:
  """Trains; 0 when the last step is saved, 42 when preempted."""
  from vidmodels.cli import DONE, FAILED, PREEMPTED, recipe, terminal
  from vidmodels.train import distributed, hooks, loop, save_errors

  peers = distributed.connect(
    auto=args.distributed,
    coordinator=args.coordinator,
    count=args.processes,
    number=args.process,
    seconds=args.join_timeout,
    say=lambda line: terminal.say(f'train: {line}', file=sys.stderr),
  )
  if peers is not None:
    peers.watch(functools.partial(_end_without, args))
  config = recipe.load(args.config, args.overrides)
  try:
    with (
      distributed.explained(peers),
      terminal.Reporter('train') as report,
      save_errors.hold_back_tracebacks(),
    ):
      outcome = loop.train(config, args.workdir, progress=report)
  except hooks.NonFiniteLossError as error:
    report(0, 0, str(error))
    if args.json:
      print(json.dumps({'error': str(error), 'exit_code': FAILED}))
    return FAILED
  result = {
    'workdir': str(outcome.workdir),
    'step': outcome.step,
    'preempted': outcome.preempted,
  }
  if args.json:
    print(json.dumps(result))
  elif outcome.preempted:
    print(f'preempted at step {outcome.step} and saved; start again to go on')
  else:
    print(f'trained to step {outcome.step}; everything is in {args.workdir}')
  return PREEMPTED if outcome.preempted else DONE


def _end_without(args: argparse.Namespace, text: str, wrong: bool) -> NoReturn:
  """Ends the process: another one is gone, and JAX would wait for it."""
  from vidmodels.cli import PEER_LOST, WRONG_INPUT
  from vidmodels.typing import escape

  code = WRONG_INPUT if wrong else PEER_LOST
  error = f'{text}; this process ends with it'
  if not wrong:
    error += (
      '; the last checkpoint is whole; give the same command again on every '
      'host'
    )
  print(escape(f'vidmodels train: {error}'), file=sys.stderr, flush=True)
  if args.json:
    print(json.dumps({'error': error, 'exit_code': code}), flush=True)
  os._exit(code)
