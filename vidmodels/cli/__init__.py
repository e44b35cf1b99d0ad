"""The command line: one file per command, found by file name.

  exit_code = main(['evaluate', '--workdir', 'runs/first'])

The file of a command defines `HELP` (a line), `add_arguments(parser)` and
`run(args)`, which returns the exit code. Heavy imports happen in `run`, so that
`--help` is fast. `COMPILES = True` keeps what it compiles for the next start.
"""

import argparse
import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from vidmodels import __version__, object_store
from vidmodels.cli import compilation_cache, signals
from vidmodels.fields import modules_with
from vidmodels.typing import InputError, escape, local_path, user_path

DONE, FAILED, WRONG_INPUT, PREEMPTED, PEER_LOST = 0, 1, 2, 42, 43
INTERRUPTED = signals.INTERRUPTED
# Errors that a path from the user can raise.
PATH_ERRORS = (
  *(FileNotFoundError, FileExistsError, PermissionError),
  *(NotADirectoryError, IsADirectoryError),
)
EPILOG = """\
A first run:  vidmodels demo
Your videos:  vidmodels prepare videos/train --out records --split train \\
                --flip free
              vidmodels train --config=timesformer --workdir=runs/first \\
                --config.data.dir=records
              vidmodels evaluate --workdir runs/first
              vidmodels predict clip.mp4 --workdir runs/first

Exit codes: 0 done, 1 failed, 2 wrong usage or input, 42 preempted and saved
(start the same command again), 43 another process of the run is gone (start
all of them again), 130 stopped by the keyboard."""


def path_argument(text: str) -> str:
  """Argparse's type 'path' in our parsers; see `typing.local_path`."""
  try:
    return local_path(text)
  except InputError as error:
    raise argparse.ArgumentTypeError(str(error)) from error


def place_argument(text: str) -> str:
  """Argparse's type 'place', also in a store; see `typing.user_path`."""
  try:
    return user_path(text)
  except InputError as error:
    raise argparse.ArgumentTypeError(str(error)) from error


def make_parser() -> argparse.ArgumentParser:
  """Makes the parser of all commands."""
  style: Any = {
    'formatter_class': argparse.RawDescriptionHelpFormatter,
    'allow_abbrev': False,
  }
  text = 'Video transformers in JAX: prepare, train, evaluate, predict.'
  parser = argparse.ArgumentParser(
    prog='vidmodels', description=text, epilog=EPILOG, **style
  )
  parser.add_argument('--version', action='version', version=__version__)
  subparsers = parser.add_subparsers(dest='command', metavar='COMMAND')
  subparsers.required = True
  for name, module in modules_with('cli', 'HELP').items():
    sub = subparsers.add_parser(
      name, help=module.HELP, description=module.__doc__, **style
    )
    sub.register('type', 'path', path_argument)
    sub.register('type', 'place', place_argument)
    sub.add_argument(
      '--json',
      action='store_true',
      help='one JSON document on standard output; logs go to standard error',
    )
    module.add_arguments(sub)
    if getattr(module, 'COMPILES', False):
      compilation_cache.add_argument(sub)
    sub.set_defaults(module=module)
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a command and returns its exit code.

  An `InputError` becomes its message and code 2; an unexpected error keeps its
  traceback.
  """
  parser = make_parser()
  argv, program = _split_program(sys.argv[1:] if argv is None else argv)
  args, rest = parser.parse_known_args(argv)
  args.program = program
  takes = getattr(args.module, 'TAKES_CONFIG', False)
  unknown = [a for a in rest if not (takes and a.startswith('--config.'))]
  if unknown:
    parser.error(
      f'got {" ".join(unknown)}, which {args.command} does not know; try '
      f'vidmodels {args.command} --help'
    )
  args.overrides = rest
  # Orbax warns about every folder that is opened for reading.
  logging.getLogger('absl').setLevel(logging.ERROR)
  if getattr(args.module, 'COMPILES', False) and (
    note := compilation_cache.switch_on(args.compilation_cache)
  ):
    print(escape(f'vidmodels {args.command}: {note}'), file=sys.stderr)
  try:
    return args.module.run(args)
  except BrokenPipeError:  # the reader has closed, as `| head` does
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE
  except (InputError, *PATH_ERRORS) as error:
    return _report_error(args, error, code=WRONG_INPUT)
  except object_store.StoreError as error:
    return _report_error(args, error, code=FAILED)
  except MemoryError as error:
    return _report_error(args, _out_of_memory(error), code=FAILED)
  except OSError as error:  # e.g. a full disk or a lost network
    return _report_error(args, error, code=FAILED)
  except KeyboardInterrupt:
    return _report_error(args, 'stopped by the keyboard', code=INTERRUPTED)
  except Exception as error:
    if text := _out_of_memory(error):
      return _report_error(args, text, code=FAILED)
    # A bug: the traceback says where.
    traceback.print_exc()
    return _report_error(args, repr(error), code=FAILED)


def _split_program(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """A command's own arguments, and the command line after -- if it takes one.

  Argparse leaves the -- in or out, depending on its version.
  """
  argv = list(argv)
  module = modules_with('cli', 'TAKES_PROGRAM').get(argv[0] if argv else '')
  if module is None or '--' not in argv:
    return argv, []
  end = argv.index('--')
  return argv[:end], argv[end + 1 :]


def _out_of_memory(error: Exception) -> str:
  """The message for an error of that kind, or ''."""
  advice = (
    'expected enough for the command and its files; try fewer --workers or a '
    'smaller batch where the command has them, and end other programs'
  )
  # The dynamic linker's words for a library that finds no room.
  linker = ('failed to map segment', 'cannot allocate memory')
  if isinstance(error, ImportError) and any(
    words in str(error).lower() for words in linker
  ):
    return f'out of memory: got no room for a library; {advice}'
  try:
    from vidmodels.train import memory
  except (ImportError, MemoryError):  # nothing is left for that either
    known = isinstance(error, MemoryError)
    return f'out of memory: got no room; {advice}' if known else ''
  if isinstance(error, memory.OutOfMemoryError):
    return str(error)
  if not memory.is_out_of_memory(error):
    return ''
  return (
    f'out of memory: {memory.request(error)} of this machine, which has '
    f'{memory.host_room()}; {advice}'
  )


def run_and_exit() -> NoReturn:
  """Runs a command as the whole of a process.

  After an error or Ctrl-C the process ends at once: it waits neither for the
  threads of JAX and orbax, which may be in the middle of something long, nor
  for the other processes of a run, which may be gone.
  """
  signals.heed_ctrl_c()
  try:
    code = main()
  except KeyboardInterrupt:
    signals.exit_interrupted()
  except Exception as error:  # before a command began
    if not (text := _out_of_memory(error)):
      raise
    print(f'vidmodels: {text}', file=sys.stderr)
    code = FAILED
  if code in (FAILED, WRONG_INPUT, INTERRUPTED):
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


def _report_error(args: argparse.Namespace, error, *, code: int) -> int:
  """Prints the error on standard error, and as JSON with `--json`."""
  # On one line: a newline in it is that of somebody's name.
  text = escape(f'vidmodels {args.command}: {error}', keep='')
  print(text, file=sys.stderr)
  if args.json:
    print(json.dumps({'error': str(error), 'exit_code': code}))
  return code
