"""Paths that the user gives: what is there, and what can be put there.

What the system says of a path ('[Errno 36]') becomes the user's error before
anything is read or written; a full disk stays what it is.
"""

import os
import pathlib
import tempfile

from vidmodels.typing import InputError

SHOWN = 120  # letters of a path in an error
_ROOM = 12  # letters that names beside a file have before and after its own


def found(path: str | pathlib.Path, wanted: str) -> pathlib.Path:
  """A path that something lies at.

  Args:
    path: as the user gave it.
    wanted: what the user might give instead, for errors.

  Raises:
    InputError: for a link to nothing, a folder nobody may look into, or a name
      that no system has. Whether a file is there is left to the caller.
  """
  path = pathlib.Path(path)
  try:
    path.stat()
  except FileNotFoundError as error:
    if path.is_symlink():
      raise InputError(
        f'{shown(path)} is a link to {shown(os.readlink(path))}, which is not '
        f'there; {wanted}'
      ) from error
  except (OSError, ValueError) as error:  # a name with a zero byte in it
    raise InputError(f'{_said(path, error)}; {wanted}') from error
  return path


def unreadable(path: pathlib.Path, error: OSError) -> InputError:
  """The error for a file that is there and does not give its bytes."""
  return InputError(
    f'{_said(path, error)}, so it cannot be read; give a file that you may '
    'read, or copy it to a disk'
  )


def free(path: str | pathlib.Path) -> pathlib.Path:
  """A path that nothing lies at yet and something can be put at.

  Tried with a folder that is taken away again: nothing is left behind.

  Raises:
    InputError: if something is there, or nothing can be made there.
  """
  path = pathlib.Path(path)
  try:
    if os.path.lexists(path):
      raise InputError(f'{path} exists; give another name or remove it')
    whole = pathlib.Path(os.path.abspath(path))
    above = next(p for p in whole.parents if os.path.lexists(p))
    with tempfile.TemporaryDirectory(dir=above, prefix='.') as trial:
      rest = whole.relative_to(above)
      name = rest.name + 'x' * _ROOM
      (pathlib.Path(trial) / rest).with_name(name).mkdir(parents=True)
  except InputError:
    raise
  except (OSError, ValueError) as error:
    raise InputError(
      f'{_said(path, error)}, so nothing can be written there; give another '
      'place'
    ) from error
  return path


def shown(path: str | pathlib.Path) -> str:
  """A path for an error: of a very long one both ends."""
  text = str(path)
  if len(text) <= SHOWN:
    return text
  return f'{text[: SHOWN // 2]}...{text[-SHOWN // 4 :]} ({len(text)} letters)'


def _said(path: str | pathlib.Path, error: Exception) -> str:
  """What the system says of a path, and of which part of it."""
  said = getattr(error, 'strerror', None) or str(error)
  return f'{shown(path)!r}: {said[:1].lower()}{said[1:]}'
