"""Trains a recipe, or resumes from the last checkpoint in the workdir.

  vidmodels train --config=timesformer:base --workdir=runs/k400 \\
    --config.data.dir=records/k400 --config.batch=32

A recipe is a file, or the name of one that comes with the package; any of its
fields can be set with --config.FIELD=VALUE. SIGTERM saves and exits with code
42; the same command then continues exactly where it stopped.

  vidmodels train --fork=runs/k400@20000 --workdir=runs/longer \\
    --config.optim.steps=60000
  vidmodels train --workdir=runs/k400 --replay-step=1234

--fork goes on from a checkpoint of another run, in a new workdir and with other
fields. --replay-step makes one step of a run again and prints the loss of each
of its clips; it writes nothing. Without --config the recipe is that of the run.

On a TPU pod or under SLURM, start the command on every host with --distributed;
elsewhere with --coordinator HOST:PORT --processes N --process I. All hosts must
share the folder of the workdir. `vidmodels launch` starts several processes on
one machine. docs/launching.md has each kind of cluster.
"""

import argparse
import functools
import json
import math
from typing import Any

from vidmodels import files
from vidmodels.typing import InputError, quote

HELP = 'train a recipe, or resume it'
COMPILES = True
TAKES_CONFIG = True
JOINS_PROCESSES = True  # several processes of it can be one run


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  from vidmodels.cli import processes

  add = parser.add_argument
  add(
    '--config',
    metavar='RECIPE[:ARG]',
    help='file or name; default that of the run in --fork or --workdir',
  )
  add('--workdir', required=True, type='place',
      help='checkpoints, metrics.jsonl, config.json')  # fmt: skip
  add(
    '--fork',
    type='place',
    metavar='WORKDIR[@STEP]',
    help='go on from a checkpoint of another run (STEP: a number, latest or '
    'best; default latest)',
  )
  add(
    '--replay-step',
    type=int,
    metavar='N',
    help='make step N of the run in --workdir again, and write nothing',
  )
  add('--profile', default='', metavar='FROM:TO',
      help='trace these steps into WORKDIR/profile')  # fmt: skip
  processes.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
  """Trains; 0 when the last step is saved, 42 when preempted."""
  from vidmodels.cli import PREEMPTED, signals

  say = functools.partial(_report_preempted, args, 0)
  try:
    with signals.stops_the_start(PREEMPTED, say):
      return _run(args)
  except signals.StoppedEarlyError:
    return say()


def _run(args: argparse.Namespace) -> int:
  from vidmodels.cli import DONE, FAILED, PREEMPTED, processes, terminal
  from vidmodels.train import hooks, loop, replay, save_errors, step_trace

  traced = step_trace.parse(args.profile) if args.profile else None
  report = terminal.Reporter('train')
  try:
    with (
      processes.joined('train', args) as first,
      report,
      save_errors.hold_back_tracebacks(),
    ):
      point, config = _choose_recipe(args)
      if args.replay_step is not None:
        step = replay.replay(
          config, args.workdir, args.replay_step, progress=report
        )
        _print_replayed(args, step)
        return DONE
      outcome = loop.train(
        config, args.workdir, progress=report, fork=point, profile=traced
      )
  except hooks.NonFiniteLossError as error:
    report(0, 0, str(error))
    if args.json:
      print(json.dumps({'error': str(error), 'exit_code': FAILED}))
    return FAILED
  if not first:  # process 0 says it
    return PREEMPTED if outcome.preempted else DONE
  if outcome.preempted:
    return _report_preempted(args, outcome.step)
  if args.json:
    _print_outcome(args, outcome.step, preempted=False)
  else:
    print(f'trained to step {outcome.step}; everything is in {args.workdir}')
  return DONE


def _choose_recipe(args: argparse.Namespace) -> tuple[Any, Any]:
  """The checkpoint to fork, or None, and the recipe to train."""
  from vidmodels.cli import recipe
  from vidmodels.train import fork, workdirs

  if args.fork and args.replay_step is not None:
    raise InputError(
      'got --fork and --replay-step; expected one of them; try --replay-step '
      'with the workdir of the run'
    )
  point = fork.find(args.fork, args.workdir) if args.fork else None
  if args.config:
    return point, recipe.load(args.config, args.overrides)
  if point is not None:
    return point, recipe.of_run(point.config, args.overrides)
  if not workdirs.has_checkpoint(files.place(args.workdir)):
    raise InputError(
      f'got no --config, and {quote(args.workdir)} holds no run that has '
      'saved; expected a recipe; try --config=small'
    )
  config = workdirs.read_recipe(files.place(args.workdir))
  return None, recipe.of_run(config, args.overrides)


def _report_preempted(args: argparse.Namespace, step: int) -> int:
  """Says that a run stopped early, and how it goes on."""
  from vidmodels.cli import PREEMPTED

  if args.json:
    _print_outcome(args, step, preempted=True)
  elif step:
    print(f'preempted at step {step} and saved; start again to go on')
  else:
    print('preempted before its first step; nothing is lost, start again')
  return PREEMPTED


def _print_outcome(
  args: argparse.Namespace, step: int, *, preempted: bool
) -> None:
  workdir = str(files.place(args.workdir).absolute())
  outcome = {'workdir': workdir, 'step': step, 'preempted': preempted}
  print(json.dumps(outcome))


def _print_replayed(args: argparse.Namespace, replayed: Any) -> None:
  """Prints a step's numbers and its clips, those of the highest loss first."""
  import jax

  from vidmodels.cli import terminal

  if jax.process_index():
    return
  if args.json:
    finite = lambda v: v if math.isfinite(v) else None  # JSON has no NaN
    numbers = {k: finite(v) for k, v in replayed.metrics.items()}
    document = {
      'step': replayed.step,
      'restored': replayed.restored,
      'loss': numbers['loss'],
      'grad_norm': numbers['grad_norm'],
      'metrics': numbers,
      'clips': [c | {'loss': finite(c['loss'])} for c in replayed.clips],
    }
    print(json.dumps(document))
    return
  start = f'checkpoint {replayed.restored}'
  if not replayed.restored:
    start = 'the start of the run'
  values = '  '.join(f'{k} {v:.6g}' for k, v in replayed.metrics.items())
  terminal.say(f'step {replayed.step}, from {start}: {values}')
  for clip in sorted(replayed.clips, key=lambda c: -c['loss']):
    terminal.say(
      f'  loss {clip["loss"]:.4f}  {quote(clip["video"])}  (clip '
      f'{clip["clip"]}, example {clip["example"]})'
    )
