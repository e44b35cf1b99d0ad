"""Checks the paths that a user gives, and writes files whole or not at all.

  place = files.place('s3://bucket/records')    # behaves as a pathlib.Path
  files.output_folder('runs/first/evaluation')  # made and tried, or InputError
  files.write_atomically(path, data)            # the whole file, or none

An error of the system about a path ('[Errno 36]') becomes an error that the
user understands, before anything is read or written.
"""

import contextlib
import errno
import os
import pathlib
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from vidmodels import object_store
from vidmodels.object_store import in_store
from vidmodels.typing import AnyPath, InputError, quote, user_path

SHORT_PATH_LENGTH = 120  # letters of a path in an error
# Temporary names add up to 12 letters to a file's own name.
_NAME_ROOM = 12
# Errors of the disk rather than of the path.
_DISK_ERRORS = (
  *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE),
  *(errno.EROFS, errno.ETIMEDOUT, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
)
# Errors that say something about a path; a second try would say the same.
_PATH_ERRORS = frozenset(
  {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.ELOOP, errno.EINVAL, errno.EILSEQ, errno.ENXIO),
  }
)
RETRY_WAITS_S = (0.1, 0.4, 1.5)  # before each further try of a read
_Result = TypeVar('_Result')


def place(path: AnyPath) -> pathlib.Path:
  """The path of a user's file or folder, on this machine or in a store.

  Raises InputError for another kind of address, and if the package for its
  kind is not installed.
  """
  text = user_path(path)
  if not in_store(text):
    return pathlib.Path(text)
  object_store.require_package(text)
  from vidmodels.store_path import StorePath

  result: Any = StorePath(text)  # it has the methods of a pathlib.Path
  return result


class WriteError(OSError):
  """A file could not be written; says which one and what to do next."""

  def __str__(self) -> str:
    fix = 'fix that'
    if self.errno in (errno.ENOSPC, errno.EDQUOT):
      fix = 'make room there, or write elsewhere'
    return (
      f'{self.filename} could not be written: {self.strerror}; nothing of it '
      f'is left, and finished files are unchanged; try to {fix}, and give the '
      'same command again'
    )


class ReadError(OSError):
  """The machine did not let a file be read, which says nothing of the file."""

  def __str__(self) -> str:
    fix = 'give the same command again when the disk or the network answers'
    if self.errno in (errno.EMFILE, errno.ENFILE):
      fix = 'allow more open files (`ulimit -n 4096`), or use fewer processes'
    elif self.errno == errno.ENOMEM:
      fix = (
        'use fewer processes; if it is always this file, it asks for more '
        'memory than there is: move it away'
      )
    elif self.errno in (errno.EACCES, errno.EPERM):
      fix = 'get the permission, log in again, or move it away'
    name = quote(short_path(os.fspath(self.filename or 'a file')))
    return (
      f'{name} could not be read: {self.strerror}; expected a machine that '
      'reads its files; this says nothing about the file itself, which counts '
      f'neither as lost nor as read, and finished work is kept; try to {fix}'
    )


def retry_reading(path: AnyPath, read: Callable[[], _Result]) -> _Result:
  """What `read()` returns; a few tries, some seconds, for the machine's errors.

  Raises ReadError if the machine still fails. An error that says something
  about the path (it does not exist) is raised at once, as it is. A read from an
  object store is tried again there.
  """
  if in_store(path):
    return read()
  for wait_s in (*RETRY_WAITS_S, None):
    try:
      return read()
    except OSError as error:
      if isinstance(error, ReadError) or error.errno in _PATH_ERRORS:
        raise
      if wait_s is None:
        raise ReadError(
          error.errno, error.strerror or str(error), os.fspath(path)
        ) from error
      time.sleep(wait_s)
  raise AssertionError


def write_atomically(path: pathlib.Path, data: bytes | memoryview) -> None:
  """Writes a temporary file and renames it: `path` is whole or not there.

  In an object store, an object appears when it is complete. Raises InputError
  as `check_output_path`, WriteError if the disk is full.
  """
  if in_store(path):
    object_store.write(path, bytes(data))
    return
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

  An error of the disk becomes a WriteError.
  """
  try:
    yield
  except BaseException as error:
    with contextlib.suppress(OSError):
      part.unlink(missing_ok=True)
    # Other errors have their own class and exit code.
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
      raise WriteError(error.errno, error.strerror, str(path)) from error
    raise


def check_output_path(path: pathlib.Path) -> None:
  """Raises InputError unless a file may be written as `path`."""
  if in_store(path):
    object_store.check_bucket(path)
    return
  if path.exists() and not path.is_file():
    # A rename would replace a device, even /dev/null for root.
    kind = 'folder' if path.is_dir() else 'device or a pipe'
    raise InputError(
      f'got {path}, which is a {kind}; expected the name of a file to write'
    )
  if not path.parent.is_dir():
    raise InputError(
      f'got {path} to write, but {path.parent} is no folder; expected an '
      'existing folder; try to make it first'
    )


def output_file(path: AnyPath) -> pathlib.Path:
  """The path of a file to write, in a folder that this makes if need be."""
  path = place(path)
  output_folder(path.parent)
  check_output_path(path)
  return path


def output_folder(path: AnyPath) -> pathlib.Path:
  """A folder for results; makes it if it does not exist."""
  path = place(path)
  if in_store(path):
    _try_to_write(path)
    return path
  try:
    path.mkdir(parents=True, exist_ok=True)
    # Only a write shows that a disk is read-only; this leaves nothing behind.
    tempfile.TemporaryFile(dir=path).close()
  except OSError as error:
    raise InputError(
      f'got {path} as the folder for results, and nothing can be written '
      f'there ({error.strerror}); expected your own folder, or the name of a '
      'new one; try another path'
    ) from error
  return path


def _try_to_write(folder: pathlib.Path) -> None:
  """Writes a small object and deletes it: only that tells the permission."""
  trial = folder / f'.trial-{socket.gethostname()}-{os.getpid()}'
  object_store.check_bucket(folder)
  object_store.write(trial, b'vidmodels may write here')
  trial.unlink(missing_ok=True)


def unused_path(path: AnyPath) -> pathlib.Path:
  """A path that does not exist yet, and where something can be written.

  Tries it with a folder that is removed again: nothing is left behind.
  """
  path = place(path)
  if in_store(path):
    object_store.check_bucket(path)
    if path.exists():
      raise InputError(
        f'got {path}, which exists; expected a new name; try another one, or '
        'remove it'
      )
    _try_to_write(path.parent)
    return path
  try:
    if os.path.lexists(path):
      raise InputError(
        f'got {path}, which exists; expected a new name; try another one, or '
        'remove it'
      )
    full = pathlib.Path(os.path.abspath(path))
    above = next(p for p in full.parents if os.path.lexists(p))
    with tempfile.TemporaryDirectory(dir=above, prefix='.') as trial:
      rest = full.relative_to(above)
      name = rest.name + 'x' * _NAME_ROOM
      (pathlib.Path(trial) / rest).with_name(name).mkdir(parents=True)
  except InputError:
    raise
  except (OSError, ValueError) as error:
    raise InputError(
      f'got {_system_message(path, error)}, so nothing can be written there; '
      'expected a path that can be written to; try another one'
    ) from error
  return path


def check_disk_space(path: pathlib.Path, size: int) -> None:
  """Raises InputError if a folder's disk has no room for `size` bytes."""
  if in_store(path):
    return
  disk = shutil.disk_usage(path)
  if disk.total and disk.free < size:  # 0: the file system does not say
    raise InputError(
      f'got {disk.free / 1e6:.2f} MB left on the disk of {path}; expected '
      f'{size / 1e6:.2f} MB for the scores; try to make room, or another place '
      'with --out'
    )


def check_no_overwrite(
  outputs: Iterable[AnyPath], inputs: Iterable[AnyPath]
) -> None:
  """Refuses to write over an input, or two outputs over each other.

  Inputs are files that must not change, and folders of such files.
  """
  protected = {place(path).resolve(): path for path in inputs}
  written: set[pathlib.Path] = set()
  for path in outputs:
    full = place(path).resolve()
    replaced = [protected[p] for p in (full, *full.parents) if p in protected]
    if replaced:
      raise InputError(
        f'got {path} as a file to write, which would replace '
        f'{"" if full in protected else "a part of "}{replaced[0]}, which this '
        'evaluation reads or writes; expected a separate file; try another name'
      )
    if full in written:
      raise InputError(f'got {path} as two files to write; expected two names')
    written.add(full)


def existing_path(path: AnyPath, expected: str) -> pathlib.Path:
  """A path that can be examined; the caller checks whether it exists.

  Raises InputError, which ends with `expected`, for a dangling link, a folder
  without permission, or a name that the system does not allow; for a bucket
  that cannot be used.
  """
  path = place(path)
  if in_store(path):
    object_store.check_bucket(path)
    return path
  try:
    path.stat()
  except FileNotFoundError as error:
    if path.is_symlink():
      raise InputError(
        f'got {short_path(path)}, which is a link to '
        f'{short_path(os.readlink(path))}, which does not exist; {expected}'
      ) from error
  except (OSError, ValueError) as error:  # a name with a zero byte in it
    message = f'got {_system_message(path, error)}; {expected}'
    raise InputError(message) from error
  return path


def unreadable_error(path: pathlib.Path, error: OSError) -> InputError:
  """The error for a file that exists but cannot be read."""
  return InputError(
    f'got {_system_message(path, error)}, so it cannot be read; expected a '
    'file that you may read; try to copy it to a disk'
  )


def short_path(path: AnyPath) -> str:
  """A path for an error message: a very long one is shown by both ends."""
  text = str(path)
  if len(text) <= SHORT_PATH_LENGTH:
    return text
  head, tail = SHORT_PATH_LENGTH // 2, SHORT_PATH_LENGTH // 4
  return f'{text[:head]}...{text[-tail:]} ({len(text)} letters)'


def _system_message(path: AnyPath, error: Exception) -> str:
  """A path and what the system says about it."""
  text = getattr(error, 'strerror', None) or str(error)
  return f'{short_path(path)!r}: {text[:1].lower()}{text[1:]}'
