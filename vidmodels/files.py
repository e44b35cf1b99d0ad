"""Files that a user names: reading places, writing places, whole files only.

  files.output_folder('runs/first/evaluation')   # made and tried, or InputError
  files.write_atomically(path, data)             # whole, or not there

What the system says of a path ('[Errno 36]') becomes the user's error before
anything is read or written.
"""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator

from vidmodels.typing import InputError

SHORT_PATH_LENGTH = 120  # letters of a path in an error
# Temporary names add up to 12 letters to a file's own name.
_NAME_ROOM = 12
# Errors of the disk rather than of the path.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class WriteError(OSError):
  """A file could not be written; says which one and what to do next."""

  def __str__(self) -> str:
    move = 'mend that'
    if self.errno in (errno.ENOSPC, errno.EDQUOT):
      move = 'make room there, or write elsewhere'
    return (
      f'{self.filename} could not be written: {self.strerror}; nothing of it '
      f'is left, and all that was finished stays as it was; {move}, and give '
      'the same command again'
    )


def write_atomically(path: pathlib.Path, data: bytes | memoryview) -> None:
  """Writes a file beside its name and renames it: whole or not there.

  Raises:
    InputError: if no file can be there; see `check_output_path`.
    WriteError: if the disk is full or fails.
  """
  check_output_path(path)
  part = path.with_name(f'{path.name}.{os.getpid()}.part')
  with remove_part_on_error(path, part):
    with open(part, 'wb') as f:
      f.write(data)
      f.flush()
      os.fsync(f.fileno())
    part.replace(path)


@contextlib.contextmanager
def remove_part_on_error(
  path: pathlib.Path, part: pathlib.Path
) -> Iterator[None]:
  """Removes `part`, the half-written `path`, if the block raises.

  Raises:
    WriteError: if the disk is full or fails.
  """
  try:
    yield
  except BaseException as error:
    with contextlib.suppress(OSError):
      part.unlink(missing_ok=True)
    # Other errors have a kind and an exit code of their own.
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
      raise WriteError(error.errno, error.strerror, str(path)) from error
    raise


def check_output_path(path: pathlib.Path) -> None:
  """Raises InputError unless a file may be written as `path`."""
  if path.is_dir():
    raise InputError(f'{path} is a folder; wanted the name of a file to write')
  if path.exists() and not path.is_file():
    # A rename would replace it: /dev/null itself, where root asks.
    raise InputError(
      f'{path} is a device or a pipe; wanted the name of a file to write'
    )
  if not path.parent.is_dir():
    raise InputError(
      f'{path} cannot be written: {path.parent} is no folder; make it first'
    )


def output_file(path: str | pathlib.Path) -> pathlib.Path:
  """The path of a file to be written; makes its folder.

  Raises:
    InputError: if no file can be there.
  """
  path = pathlib.Path(path)
  output_folder(path.parent)
  check_output_path(path)
  return path


def output_folder(path: str | pathlib.Path) -> pathlib.Path:
  """A folder that can be written to; made if it is not there.

  Raises:
    InputError: if it cannot be made or written to.
  """
  path = pathlib.Path(path)
  try:
    path.mkdir(parents=True, exist_ok=True)
    # Only a write shows that a disk is read-only; this leaves nothing behind.
    tempfile.TemporaryFile(dir=path).close()
  except OSError as error:
    raise InputError(
      f'{path} came as the folder for results, and nothing can be written '
      f'there ({error.strerror}); wanted a folder of yours, or the name of a '
      'new one; choose another place'
    ) from error
  return path


def unused_path(path: str | pathlib.Path) -> pathlib.Path:
  """A path with nothing at it yet, where something can be put.

  Tries it with a folder that is removed again: nothing is left behind.

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
      name = rest.name + 'x' * _NAME_ROOM
      (pathlib.Path(trial) / rest).with_name(name).mkdir(parents=True)
  except InputError:
    raise
  except (OSError, ValueError) as error:
    raise InputError(
      f'{_system_message(path, error)}, so nothing can be written there; give '
      'another place'
    ) from error
  return path


def check_disk_space(path: pathlib.Path, size: int) -> None:
  """Raises InputError if a folder's disk has no room for `size` bytes."""
  disk = shutil.disk_usage(path)
  if disk.total and disk.free < size:  # 0: the file system does not say
    raise InputError(
      f'the scores take {size / 1e6:.2f} MB and the disk of {path} has '
      f'{disk.free / 1e6:.2f} MB left; wanted room for them; make some, or '
      'choose another place with --out'
    )


def check_no_overwrite(
  outputs: Iterable[str | pathlib.Path], inputs: Iterable[str | pathlib.Path]
) -> None:
  """Refuses to write over an input, or two outputs over one another.

  Args:
    outputs: files to be written.
    inputs: files that stay as they are, and folders of such files.

  Raises:
    InputError: if an output is, or lies in, one of the inputs.
  """
  kept = {pathlib.Path(path).resolve(): path for path in inputs}
  new: set[pathlib.Path] = set()
  for path in outputs:
    place = pathlib.Path(path).resolve()
    hit = [kept[p] for p in (place, *place.parents) if p in kept]
    if hit:
      raise InputError(
        f'{path} came as a file to write, and would replace '
        f'{"" if place in kept else "a part of "}{hit[0]}, which this '
        'evaluation reads or writes; wanted a file of its own; choose another '
        'name'
      )
    if place in new:
      raise InputError(
        f'{path} came as two files to write; wanted a name for each'
      )
    new.add(place)


def existing_path(path: str | pathlib.Path, expected: str) -> pathlib.Path:
  """A path that can be looked at; whether a file is there the caller checks.

  Args:
    path: as the user gave it.
    expected: what the user might give instead, for errors.

  Raises:
    InputError: for a dangling link, a folder without permission, or a name
      that no system has.
  """
  path = pathlib.Path(path)
  try:
    path.stat()
  except FileNotFoundError as error:
    if path.is_symlink():
      raise InputError(
        f'{short_path(path)} is a link to {short_path(os.readlink(path))}, '
        f'which is not there; {expected}'
      ) from error
  except (OSError, ValueError) as error:  # a name with a zero byte in it
    raise InputError(f'{_system_message(path, error)}; {expected}') from error
  return path


def unreadable_error(path: pathlib.Path, error: OSError) -> InputError:
  """The error for a file that is there but cannot be read."""
  return InputError(
    f'{_system_message(path, error)}, so it cannot be read; give a file that '
    'you may read, or copy it to a disk'
  )


def short_path(path: str | pathlib.Path) -> str:
  """A path for an error: both ends of a very long one."""
  text = str(path)
  if len(text) <= SHORT_PATH_LENGTH:
    return text
  head, tail = SHORT_PATH_LENGTH // 2, SHORT_PATH_LENGTH // 4
  return f'{text[:head]}...{text[-tail:]} ({len(text)} letters)'


def _system_message(path: str | pathlib.Path, error: Exception) -> str:
  """What the system says of a path, and of which part of it."""
  text = getattr(error, 'strerror', None) or str(error)
  return f'{short_path(path)!r}: {text[:1].lower()}{text[1:]}'
