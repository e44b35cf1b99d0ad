"""The command line: one file a command, found by file name.

A command's file has `HELP` (a line), `add_arguments(parser)` and `run(args)`,
which returns the exit code. Heavy imports wait until `run`, so that `--help`
answers at once.
"""

import argparse
import importlib
import json
import logging
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence

from vidmodels import __version__
from vidmodels.typing import InputError

DONE, FAILED, WRONG_INPUT, PREEMPTED, INTERRUPTED = 0, 1, 2, 42, 130
# What a path that the user gave may raise.
PATHS = (
  FileNotFoundError,
  FileExistsError,
  NotADirectoryError,
  IsADirectoryError,
  PermissionError,
)
SHARED = ('recipe', 'terminal')  # modules here that are not commands
EPILOG = """\
A first run:  vidmodels demo
Your videos:  vidmodels prepare videos/train --out records --split train \\
                --flip free
              vidmodels train --config=timesformer --workdir=runs/first \\
                --config.data.dir=records
              vidmodels evaluate --workdir runs/first
              vidmodels predict clip.mp4 --workdir runs/first

Exit codes: 0 done, 1 failed, 2 wrong usage or input, 42 preempted and saved
(start the same command again), 130 stopped by the keyboard."""


def commands() -> list[str]:
  """Names of the commands, which are the modules of this package."""
  found = [m.name for m in pkgutil.iter_modules(__path__)]
  return [name for name in found if name not in SHARED]


def make_parser() -> argparse.ArgumentParser:
  """The whole command line as a parser."""
  parser = argparse.ArgumentParser(
    prog='vidmodels',
    description='Video transformers in JAX: prepare, train, evaluate, predict.',
    epilog=EPILOG,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument('--version', action='version', version=__version__)
  subparsers = parser.add_subparsers(dest='command', metavar='COMMAND')
  subparsers.required = True
  for name in commands():
    module = importlib.import_module(f'{__name__}.{name}')
    sub = subparsers.add_parser(
      name,
      help=module.HELP,
      description=module.__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )
    sub.add_argument(
      '--json',
      action='store_true',
      help='one JSON document on standard output; logs go to standard error',
    )
    module.add_arguments(sub)
    sub.set_defaults(module=module)
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a command and returns its exit code.

  An `InputError` becomes its message and code 2; what nobody expected keeps
  its traceback.
  """
  parser = make_parser()
  args, rest = parser.parse_known_args(argv)
  takes_overrides = getattr(args.module, 'TAKES_CONFIG', False)
  unknown = [
    a for a in rest if not (takes_overrides and a.startswith('--config.'))
  ]
  if unknown:
    parser.error(
      f'{args.command} does not know {" ".join(unknown)}; see '
      f'vidmodels {args.command} --help'
    )
  args.overrides = rest
  # Orbax warns of every folder that is opened to be read.
  logging.getLogger('absl').setLevel(logging.ERROR)
  try:
    return args.module.run(args)
  except InputError as error:
    return _complain(args, error, code=WRONG_INPUT)
  except BrokenPipeError:  # the reader has left, as `| head` does
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE
  except PATHS as error:
    return _complain(args, error, code=WRONG_INPUT)
  except OSError as error:  # a full disk, a network that went away
    return _complain(args, error, code=FAILED)
  except KeyboardInterrupt:
    return _complain(args, 'stopped by the keyboard', code=INTERRUPTED)
  except Exception as error:  # ours to mend: the traceback says where
    traceback.print_exc()
    return _complain(args, repr(error), code=FAILED)


def _complain(args: argparse.Namespace, error, *, code: int) -> int:
  """One message on standard error, and as JSON where JSON was asked for."""
  print(f'vidmodels {args.command}: {error}', file=sys.stderr)
  if args.json:
    print(json.dumps({'error': str(error), 'exit_code': code}))
  return code
