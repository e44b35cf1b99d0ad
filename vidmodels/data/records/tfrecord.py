"""TFRecord files: written whole or not at all, read at any record.

A record in the file is its length, a masked CRC-32C of the length, the data and
a masked CRC-32C of the data. Nothing here knows what the data means.
"""

import contextlib
import hashlib
import io
import os
import pathlib
import re
import struct
from typing import Any, Self

import google_crc32c
import numpy as np

from vidmodels.files import remove_part_on_error
from vidmodels.typing import InputError

_HEADER = struct.Struct('<QI')  # length of the data, its masked CRC
_CRC = struct.Struct('<I')
_FRAME = _HEADER.size + _CRC.size  # bytes a record takes beside its data


def shard_name(split: str, k: int, count: int) -> str:
  """The file name of shard `k` of `count`."""
  return f'{split}-{k:05d}-of-{count:05d}.tfrecord'


class ShardWriter:
  """Writes one shard; the file gets its name when the `with` block ends well.

  Attributes:
    offsets: where each record written so far starts.
    bytes: size of the file so far.
  """

  def __init__(self, path: str | os.PathLike[str]):
    self.path = pathlib.Path(path)
    self._part = self.path.with_name(f'{self.path.name}.{os.getpid()}.part')
    self._file: io.BufferedWriter | None = None
    self._sha = hashlib.sha256()
    self.offsets: list[int] = []
    self.bytes = 0

  def __enter__(self) -> Self:
    with remove_part_on_error(self.path, self._part):
      self._file = open(self._part, 'wb')
    return self

  def write(self, data: bytes) -> None:
    """Appends one record; raises WriteError if the disk is full or fails."""
    length = struct.pack('<Q', len(data))
    self.offsets.append(self.bytes)
    with remove_part_on_error(self.path, self._part):
      for piece in (length, _masked_crc(length), data, _masked_crc(data)):
        self._file.write(piece)
        self._sha.update(piece)
        self.bytes += len(piece)

  def __exit__(self, kind: Any, *_: Any) -> None:
    try:
      if kind is None:
        with remove_part_on_error(self.path, self._part):
          self._file.flush()
          os.fsync(self._file.fileno())
          self._part.replace(self.path)
    finally:
      # A full disk has no room for what is left in the buffer either.
      with contextlib.suppress(OSError):
        self._file.close()
      self._part.unlink(missing_ok=True)

  @property
  def sha256(self) -> str:
    """Hex digest of the file so far."""
    return self._sha.hexdigest()


def read_at(
  shard: int | str | os.PathLike[str], offset: int, *, name: str = ''
) -> bytes:
  """One record, its length and both checksums verified.

  Args:
    shard: a path, or a file descriptor, which may be shared by threads.
    offset: where the record starts, bytes.
    name: what to call the shard in errors; the path by default.

  Raises:
    InputError: if the record is cut short or a checksum does not fit.
  """
  if not isinstance(shard, int):
    fd = os.open(shard, os.O_RDONLY)
    try:
      return read_at(fd, offset, name=name or os.fspath(shard))
    finally:
      os.close(fd)
  name = name or f'file descriptor {shard}'
  length = _length(shard, offset, name)
  body = os.pread(shard, length + _CRC.size, offset + _HEADER.size)
  if len(body) != length + _CRC.size:
    raise _corrupt(name, offset, f'ends after {len(body)} of {length} bytes')
  data = body[:length]
  if body[length:] != _masked_crc(data):
    raise _corrupt(name, offset, 'has data that does not fit its checksum')
  return data


def scan(path: str | os.PathLike[str]) -> np.ndarray:
  """Where the records of a shard start, int64 [count], by walking headers.

  Raises:
    InputError: if a header is corrupt or the last record is cut short.
  """
  offsets, offset, size = [], 0, os.path.getsize(path)
  with open(path, 'rb') as f:
    while offset < size:
      length = _length(f.fileno(), offset, os.fspath(path))
      if offset + _FRAME + length > size:
        raise _corrupt(os.fspath(path), offset, 'runs past the end of the file')
      offsets.append(offset)
      offset += _FRAME + length
  return np.asarray(offsets, np.int64)


def _length(fd: int, offset: int, name: str) -> int:
  header = os.pread(fd, _HEADER.size, offset)
  if len(header) != _HEADER.size:
    raise _corrupt(name, offset, 'has no whole header')
  if header[8:] != _masked_crc(header[:8]):
    raise _corrupt(name, offset, 'has a length that does not fit its checksum')
  return _HEADER.unpack(header)[0]


def _masked_crc(data: bytes) -> bytes:
  crc = google_crc32c.value(data)
  # TFRecord's mask: a CRC over data that holds CRCs would be weak.
  return _CRC.pack((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _corrupt(name: str, offset: int, what: str) -> InputError:
  return InputError(
    f'corrupt record in {name} at offset {offset}: it {what}; restore the '
    'shard from a copy, or delete it and the manifest and run `vidmodels '
    'prepare` again'
  )


def shard_files(dir: str | os.PathLike[str], split: str) -> list[pathlib.Path]:
  """Files named as shards of a split, with or without `.tfrecord`, sorted."""
  folder = pathlib.Path(dir)
  names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
  return [folder / name for name in names if _shard_match(split, name)]


def find_shards(dir: str | os.PathLike[str], split: str) -> list[pathlib.Path]:
  """The shards of a split in order; none if there is none.

  Raises:
    InputError: if some of the shards that their names promise are missing.
  """
  paths = shard_files(dir, split)
  matches = [_shard_match(split, path.name) for path in paths]
  counts = sorted({int(m[2]) for m in matches})
  if paths and (
    len(counts) != 1 or [int(m[1]) for m in matches] != list(range(counts[0]))
  ):
    raise InputError(
      f'{len(paths)} shards of {split!r} came in {dir}, of {counts}; wanted '
      f'one whole set, 0 to {counts[-1] - 1}; fetch the missing ones or remove '
      'those of another set'
    )
  return paths


def _shard_match(split: str, name: str) -> re.Match[str] | None:
  pattern = re.escape(split) + r'-(\d{5})-of-(\d{5})(\.tfrecord)?'
  return re.fullmatch(pattern, name, re.ASCII)
