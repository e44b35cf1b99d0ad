"""Keeps compiled programs for the next start, in a folder of the user.

  note = switch_on('')  # before JAX compiles; the default folder

A step of a real model compiles for minutes. The second start of the same recipe
on the same kind of devices reads the program instead. Processes of a run share
what is in one folder: where their home folders differ, give one beside the
workdir.
"""

import argparse
import hashlib
import os
import pathlib
import platform
import sys
import tempfile

from vidmodels.typing import quote

OFF = 'off'
# As JAX reads it; whoever has set it keeps it, and processes that we start
# inherit it.
VARIABLE = 'JAX_COMPILATION_CACHE_DIR'


def add_argument(parser: argparse.ArgumentParser) -> None:
  """Adds the flag that moves the folder."""
  parser.add_argument(
    '--compilation-cache',
    type='path',
    default='',
    metavar='FOLDER',
    help='where compiled programs are kept for the next start (default '
    f'~/.cache/vidmodels, or {VARIABLE}); {OFF} keeps none',
  )


def default_folder() -> pathlib.Path:
  """The folder of the user's caches, by the XDG convention."""
  # A relative path is not valid there and counts as none.
  base = pathlib.Path(os.environ.get('XDG_CACHE_HOME', ''))
  if not base.is_absolute():
    base = pathlib.Path.home() / '.cache'
  return base / 'vidmodels' / 'compiled'


def switch_on(folder: str = '') -> str:
  """Keeps compiled programs in `folder`; returns a note if it cannot.

  Programs for a CPU use the instructions of that CPU, so each kind of host has
  a folder of its own in it.
  """
  if folder == OFF:
    _set('')
    return ''
  if not folder and VARIABLE in os.environ:
    return ''
  try:
    place = pathlib.Path(folder or default_folder()).expanduser() / _host()
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryFile(dir=place):
      pass
  except (OSError, RuntimeError) as error:  # no home folder is a RuntimeError
    where = quote(folder or 'the cache folder of this user')
    why = getattr(error, 'strerror', None) or error
    return (
      f'compiled programs are not kept: {where} cannot be written ({why}); '
      '--compilation-cache=FOLDER names another'
    )
  _set(str(place.absolute()))
  return ''


def _set(place: str) -> None:
  os.environ[VARIABLE] = place
  _tell_jax(place)


def _tell_jax(place: str) -> None:
  """Sets it for a JAX that is loaded, which does not look again."""
  if 'jax' in sys.modules:
    sys.modules['jax'].config.update('jax_compilation_cache_dir', place or None)


def _host() -> str:
  """A name for hosts that run the same machine code."""
  features = platform.processor()
  try:
    text = pathlib.Path('/proc/cpuinfo').read_text(errors='replace')
  except OSError:  # not Linux
    text = ''
  for line in text.splitlines():
    if line.startswith(('flags', 'Features')):
      features = line
      break
  digest = hashlib.sha256(features.encode()).hexdigest()[:8]
  return f'{platform.machine()}-{digest}'
