"""The bytes of a video file, and which errors are the machine's.

FFmpeg says of a disk that does not answer what it says of a damaged file:
'Input/output error', or that the file ends. So it reads through `VideoFile`,
which sees every error of the system itself. Such an error is tried again and
then stops the program as a `ReadError`: it says nothing about the video.
"""

import contextlib
import errno
import mmap
import os
import pathlib
import stat
from collections.abc import Iterator

import av

from vidmodels import files
from vidmodels.typing import AnyPath

NO_FILE = 'no such file'
NO_PERMISSION = 'permission denied'
# What FFmpeg answers if it runs out of something. Not here are EIO and EPERM,
# which its demuxers answer for files that are cut short.
_OF_THE_MACHINE = frozenset(
  {
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.ESTALE),
    *(errno.ETIMEDOUT, errno.ENOBUFS, errno.ENODEV, errno.ENOTCONN),
  }
)
_ROOM_BYTES = 1 << 28  # more than a decoder asks for at once


class BadVideo(Exception):
  """A file without a usable frame; `reason` says why in a few words."""

  def __init__(self, reason: str):
    super().__init__(reason)
    self.reason = reason


class VideoFile:
  """A file that FFmpeg reads through; `error` is the machine's, if it failed.

  After an error it reads as a file that ends, and the caller looks at `error`
  (`raise_errors`): an exception would have to pass through FFmpeg.
  """

  def __init__(self, path: pathlib.Path):
    """Opens a file; BadVideo or ReadError if that fails."""
    self.path = path
    self.name = f'file:{path}'  # for FFmpeg, which guesses by the suffix too
    self.error: files.ReadError | None = None
    self.was_read = False
    self._at = 0
    self._fd: int | None = None
    self._size: int | None = None
    try:
      files.retry_reading(path, self._open)
    except FileNotFoundError as e:
      raise BadVideo(NO_FILE) from e
    except (OSError, ValueError) as e:
      if isinstance(e, files.ReadError):
        raise
      raise BadVideo(system_reason(e)) from e

  def __str__(self) -> str:
    return self.name

  def read(self, size: int) -> bytes:
    """The next bytes; none at the end, or after an error."""
    self.was_read = True
    if self.error is not None:
      return b''
    try:
      data = files.retry_reading(self.path, lambda: self._read(size))
    except OSError as e:
      failure = files.ReadError(e.errno, e.strerror, str(self.path))
      self.error = e if isinstance(e, files.ReadError) else failure
      return b''
    self._at += len(data)
    return data

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    """Moves as `io.IOBase.seek` does."""
    base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence, self._size or 0)
    self._at = max(0, base + offset)
    return self._at

  def tell(self) -> int:
    """Where the next byte is read."""
    return self._at

  def close(self) -> None:
    """Closes the file."""
    fd, self._fd = self._fd, None
    if fd is not None:
      os.close(fd)

  @contextlib.contextmanager
  def raise_errors(self) -> Iterator[None]:
    """Raises the machine's errors of a block in which FFmpeg reads the file.

    ReadError if reading failed or FFmpeg ran out of something, MemoryError if
    that was memory. Other errors of FFmpeg are the file's and stay.
    """
    try:
      yield
    except MemoryError:
      raise
    except OSError as e:
      # An error before the first byte was read is not about the content.
      untouched = isinstance(e, av.FFmpegError) and not self.was_read
      if self.error is None and (e.errno in _OF_THE_MACHINE or untouched):
        raise files.ReadError(e.errno, e.strerror, str(self.path)) from e
      if self.error is None:
        raise
    except av.FFmpegError:
      if self.error is None:
        raise
    if self.error is not None:
      raise self.error

  def _open(self) -> int:
    if self._fd is None:
      try:
        self._fd = os.open(self.path, os.O_RDONLY | getattr(os, 'O_BINARY', 0))
      except PermissionError as e:
        refuse_unreadable(self.path, e)
        raise
      size = os.fstat(self._fd).st_size
      if self._size not in (None, size):
        raise OSError(errno.ESTALE, 'it changed while it was read')
      self._size = size
    return self._fd

  def _read(self, size: int) -> bytes:
    try:
      data = os.pread(self._open(), size, self._at)
      if not data and size and self._at < (self._size or 0):
        raise OSError(errno.EIO, 'it became shorter while it was read')
      return data
    except OSError:
      self.close()  # a handle that is stale stays so
      raise


@contextlib.contextmanager
def pass_over_damage() -> Iterator[None]:
  """Ends a block at FFmpeg's first error, unless memory ran out."""
  try:
    yield
  except MemoryError:  # FFmpeg's is both
    raise
  except av.FFmpegError:
    require_memory()


def require_memory() -> None:
  """Raises MemoryError if too little is left to blame a file for an error.

  Under a limit on memory, FFmpeg's H.264 decoder calls frames that it has no
  room for invalid data. Nothing is touched, so this costs microseconds.
  """
  try:
    mmap.mmap(-1, _ROOM_BYTES).close()
  except (OSError, ValueError) as e:
    raise MemoryError('less than 256 MB are left') from e


@contextlib.contextmanager
def name_memory_errors(path: AnyPath) -> Iterator[None]:
  """Raises a MemoryError of a block as a ReadError that names the file."""
  try:
    yield
  except MemoryError as e:
    raise files.ReadError(
      errno.ENOMEM, os.strerror(errno.ENOMEM), os.fspath(path)
    ) from e


def refuse_unreadable(path: pathlib.Path, error: OSError) -> None:
  """Raises BadVideo if the file's own mode is why it may not be read.

  Else the way to it is closed, or a login has expired: the machine's error.
  """
  status = path.stat()
  may = stat.S_IROTH
  if os.geteuid() == status.st_uid:
    may = stat.S_IRUSR
  elif status.st_gid in {os.getegid(), *os.getgroups()}:
    may = stat.S_IRGRP
  if os.geteuid() == 0:
    may = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
  if not status.st_mode & may:
    raise BadVideo(NO_PERMISSION) from error


def system_reason(error: OSError | ValueError) -> str:
  """What the system says, without the path: reasons are kept in manifests."""
  return getattr(error, 'strerror', None) or str(error)
