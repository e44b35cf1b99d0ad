"""Flags with which several processes of one command become one run.

  processes.add_arguments(parser)
  with processes.joined('train', args) as first: ...  # one run of all

`vidmodels launch` sets them; docs/launching.md has each kind of cluster.
"""

import argparse
import contextlib
import functools
import json
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

_FINISHED_S = 24 * 3600.0  # for process 0 to write what all have computed


# fmt: off
def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that say who the other processes are."""
  add = parser.add_argument
  add('--distributed', action='store_true', help='join as the cluster says')
  add('--coordinator', default='', help='host:port of process 0')
  add('--processes', type=int, default=0, help='number of processes')
  add('--process', type=int, default=-1, help='number of this process, from 0')
  add('--join-timeout', type=float, default=300.0, metavar='SECONDS',
      help='how long to wait for other processes (default 300)')
# fmt: on


def commands() -> list[str]:
  """Names of the commands that several processes can run together."""
  from vidmodels.fields import modules_with

  return [
    name
    for name, module in modules_with('cli', 'HELP').items()
    if getattr(module, 'JOINS_PROCESSES', False)
  ]


@contextlib.contextmanager
def joined(command: str, args: argparse.Namespace) -> Iterator[bool]:
  """Joins the other processes, and ends with them; nothing without the flags.

  Yields whether this is process 0, which reports and writes for all. At the end
  the others wait for it.
  """
  from vidmodels.cli import terminal
  from vidmodels.train import distributed

  peers = distributed.connect(
    auto=args.distributed,
    coordinator=args.coordinator,
    count=args.processes,
    number=args.process,
    seconds=args.join_timeout,
    say=lambda line: terminal.say(f'{command}: {line}', file=sys.stderr),
  )
  if peers is not None:
    _keep_stdout_clean()
    peers.watch(functools.partial(_end_without, command, args))
  with distributed.explained(peers):
    yield distributed.is_first()
    distributed.agree('done', seconds=_FINISHED_S)


def _keep_stdout_clean() -> None:
  """What C++ prints on standard output goes to standard error from now on.

  Gloo says there that its ranks are connected: in the middle of our JSON.
  """
  sys.stdout.flush()
  own = os.dup(sys.stdout.fileno())
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
  sys.stdout = os.fdopen(own, 'w', buffering=1, encoding='utf-8')


def _end_without(
  command: str, args: argparse.Namespace, text: str, wrong: bool
) -> NoReturn:
  """Ends the process: another one is gone, and JAX would wait for it."""
  from vidmodels.cli import PEER_LOST, WRONG_INPUT
  from vidmodels.typing import escape

  code = WRONG_INPUT if wrong else PEER_LOST
  error = f'{text}; this process ends with it'
  if not wrong:
    if command == 'train':
      error += '; the last checkpoint is whole'
    error += '; give the same command again on every host'
  print(escape(f'vidmodels {command}: {error}'), file=sys.stderr, flush=True)
  if args.json:
    print(json.dumps({'error': error, 'exit_code': code}), flush=True)
  os._exit(code)
