"""Runs a command in several processes of this machine, as one run.

  vidmodels launch --processes 2 --restarts 3 -- \\
    train --config=timesformer:base --workdir=runs/k400

Each process is the command after --, with the address of process 0 and its
number. On GPUs each gets an equal share of them (CUDA_VISIBLE_DEVICES), with as
many processes as GPUs one each, as JAX does under SLURM and Open MPI; on CPUs
--devices-per-process says how many devices it has. Lines of process 0 on
standard output stay as they are; all others go to standard error with a number
before them, and one that several processes say is shown once.

SIGTERM, SIGUSR1 and Ctrl-C save in all processes, and the exit code is 42; a
second one ends them at once, with code 130. When a process dies, the others
end, and with --restarts all start again from the last checkpoint; never after
wrong input (2), or after a run that has ended (0), saved (42) or was stopped
(130). On several machines: docs/launching.md.
"""

import argparse
import json
import sys

from vidmodels.typing import InputError

HELP = 'run a command in several processes of this machine'
TAKES_PROGRAM = True  # the command line after -- is not this command's


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  add = parser.add_argument
  add('--processes', type=int, required=True, metavar='N', help='how many')
  add('--devices-per-process', type=int, default=0, metavar='D',
      help='CPU devices or GPUs of each (default: an equal share of the GPUs; '
           'of CPUs what XLA_FLAGS says)')  # fmt: skip
  add('--restarts', type=int, default=0, metavar='K',
      help='new starts after a process has died (default 0)')  # fmt: skip
  parser.usage = (
    'vidmodels launch --processes N [--devices-per-process D] [--restarts K] '
    '[--json] -- COMMAND ...'
  )


def run(args: argparse.Namespace) -> int:
  """Runs the command; returns its exit code."""
  from vidmodels.cli import processes, terminal
  from vidmodels.train import launcher

  if args.processes < 1 or args.devices_per_process < 0 or args.restarts < 0:
    raise InputError(
      f'got --processes {args.processes}, --devices-per-process '
      f'{args.devices_per_process}, --restarts {args.restarts}; expected at '
      'least 1 process, and no number below 0; try --processes 2'
    )
  launcher.check_program(args.program, processes.commands())
  code = launcher.Launcher(
    args.program,
    count=args.processes,
    devices=args.devices_per_process,
    restarts=args.restarts,
    say=lambda line: terminal.say(line, file=sys.stderr),
    out=lambda line: print(line, flush=True),
  ).run()
  if args.json and '--json' not in args.program:
    print(json.dumps({'exit_code': code}))
  return code
