"""TFRecord files: written whole or not at all, with random access to records.

  with ShardWriter('a.tfrecord') as writer: writer.write(data)
  data = read_record('a.tfrecord', writer.offsets[0])

A record in the file is its length, a masked CRC-32C of the length, the data and
a masked CRC-32C of the data. This module does not know what the data means.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import struct
import tempfile
from typing import Any, BinaryIO, Self

import google_crc32c
import numpy as np

from vidmodels import files, local_cache, object_store
from vidmodels.files import remove_part_on_error, retry_reading
from vidmodels.typing import AnyPath, InputError

_HEADER = struct.Struct('<QI')  # length of the data, its masked CRC
_CRC = struct.Struct('<I')
RECORD_HEADER = _HEADER.size  # bytes of a record before its data
OVERHEAD = _HEADER.size + _CRC.size  # bytes of a record besides its data
_SHARD_NAME = re.compile(r'([^/\\]+)-([0-9]{5}-of-[0-9]{5})(\.tfrecord)?')


def shard_name(split: str, k: int, count: int) -> str:
  """The file name of shard `k` of `count`."""
  return f'{split}-{k:05d}-of-{count:05d}.tfrecord'


class ShardWriter:
  """Writes one shard; the file gets its name when the `with` block succeeds.

  So far, `bytes` are written, and records start at `offsets`. A shard of an
  object store is written to a temporary file of this machine, and uploaded.
  """

  def __init__(self, path: AnyPath):
    self.path = files.place(path)
    self._part = self.path.with_name(f'{self.path.name}.{os.getpid()}.part')
    self._uploads = object_store.in_store(self.path)
    if self._uploads:
      self._part = pathlib.Path(tempfile.gettempdir()) / self._part.name
    self._sha = hashlib.sha256()
    self._file: BinaryIO
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
          if self._uploads:
            object_store.upload(self._part, self.path)
            return
          os.fsync(self._file.fileno())
          self._part.replace(self.path)
    finally:
      # A full disk has no room for the rest of the buffer either.
      with contextlib.suppress(OSError):
        self._file.close()
      self._part.unlink(missing_ok=True)

  @property
  def sha256(self) -> str:
    """Hex digest of the file so far."""
    return self._sha.hexdigest()


def read_record(
  path: AnyPath, offset: int, *, end: int | None = None, again: bool = True
) -> bytes:
  """Reads the record at an offset (bytes) of a shard.

  Raises InputError if it is cut short, a checksum does not fit, or the record
  does not end at `end`, where the next one starts. An error of the machine is
  tried again, if `again`, and then raises ReadError.
  """
  try:
    fd = os.open(path, os.O_RDONLY)
    try:
      length = _data_length(os.pread(fd, _HEADER.size, offset), path, offset)
      # A header may claim any length, and a read would make room for it first.
      there = os.fstat(fd).st_size - offset - OVERHEAD
      if length > there:
        raise _corrupt(path, offset, f'ends after {there} of {length} bytes')
      if end is not None and offset + OVERHEAD + length != end:
        raise _corrupt(
          path, offset, f'is not followed by a record at {end}, as in the index'
        )
      body = os.pread(fd, length + _CRC.size, offset + _HEADER.size)
    finally:
      os.close(fd)
  except OSError:
    if not again:
      raise
    return retry_reading(
      path, lambda: read_record(path, offset, end=end, again=False)
    )
  data = body[:length]
  if body[length:] != _masked_crc(data):
    raise _corrupt(path, offset, 'has data that does not fit its checksum')
  return data


def read_stored_record(
  path: AnyPath, offset: int, *, end: int, version: str
) -> bytes:
  """`read_record` from an object store, in one request or from the cache.

  `version` is the hash of the whole shard. What the cache holds and does not
  fit its checksum is read again from the store.
  """
  size = end - offset
  for fresh in (False, True):
    raw = local_cache.read_range(
      path, offset, end, version=version, fresh=fresh
    )
    try:
      return _data_of(raw, size, path, offset)
    except InputError:
      if fresh:
        raise
  raise AssertionError


def _data_of(raw: bytes, size: int, path: AnyPath, offset: int) -> bytes:
  """The data of a record of `size` bytes in all, verified."""
  if len(raw) != size:
    raise _corrupt(path, offset, f'ends after {len(raw)} of {size} bytes')
  length = _data_length(raw[: _HEADER.size], path, offset)
  if length + OVERHEAD != size:
    raise _corrupt(
      path,
      offset,
      f'is not followed by a record at {offset + size}, as in the index',
    )
  data = raw[_HEADER.size : -_CRC.size]
  if raw[-_CRC.size :] != _masked_crc(data):
    raise _corrupt(path, offset, 'has data that does not fit its checksum')
  return data


def record_end(path: AnyPath, offset: int) -> int:
  """Where the record at an offset ends, by its length; reads 12 bytes."""
  with open(path, 'rb') as f:
    header = os.pread(f.fileno(), _HEADER.size, offset)
  return offset + OVERHEAD + _data_length(header, path, offset)


def scan_offsets(path: AnyPath) -> np.ndarray:
  """Where the records of a shard start, int64 [count]; reads the headers.

  Raises InputError if one is corrupt or the last record is cut short, ReadError
  if the machine fails, also after some tries.
  """
  return retry_reading(path, lambda: _scan_headers(path))


def _scan_headers(path: AnyPath) -> np.ndarray:
  offsets, offset, size = [], 0, os.path.getsize(path)
  with open(path, 'rb') as f:
    while offset < size:
      header = os.pread(f.fileno(), _HEADER.size, offset)
      length = _data_length(header, path, offset)
      if offset + OVERHEAD + length > size:
        raise _corrupt(path, offset, 'runs past the end of the file')
      offsets.append(offset)
      offset += OVERHEAD + length
  return np.asarray(offsets, np.int64)


def _data_length(header: bytes, path: AnyPath, offset: int) -> int:
  """The length of a record's data, by its first 12 bytes."""
  if len(header) != _HEADER.size:
    raise _corrupt(path, offset, 'has no whole header')
  if header[8:] != _masked_crc(header[:8]):
    raise _corrupt(path, offset, 'has a length that does not fit its checksum')
  return _HEADER.unpack(header)[0]


def _masked_crc(data: bytes) -> bytes:
  crc = google_crc32c.value(data)
  # TFRecord's mask: a CRC over data that contains CRCs would be weak.
  return _CRC.pack((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _corrupt(path: AnyPath, offset: int, problem: str) -> InputError:
  return InputError(
    f'got a corrupt record in {os.fspath(path)} at offset {offset}: it '
    f'{problem}; expected the shard as it was written; try to restore it from '
    'a copy, or delete it and the manifest and run `vidmodels prepare` again'
  )


def is_shard_name(name: str) -> bool:
  """Whether it is the name of a shard, without a folder."""
  return name.isprintable() and _SHARD_NAME.fullmatch(name) is not None


def shard_files(dir: AnyPath, split: str) -> list[pathlib.Path]:
  """Files named as shards of a split, with or without `.tfrecord`, sorted."""
  folder = files.place(dir)
  paths = folder.iterdir() if folder.is_dir() else ()
  names = ((path, _SHARD_NAME.fullmatch(path.name)) for path in paths)
  return sorted(path for path, match in names if match and match[1] == split)


def find_shards(dir: AnyPath, split: str) -> list[pathlib.Path]:
  """The shards of a split in order, or none; InputError if some lack."""
  paths = shard_files(dir, split)
  places = [
    path.name[len(split) + 1 :].removesuffix('.tfrecord') for path in paths
  ]
  counts = sorted({int(place[-5:]) for place in places})
  if paths and places != [
    f'{k:05d}-of-{counts[-1]:05d}' for k in range(counts[-1])
  ]:
    raise InputError(
      f'got {len(paths)} shards of {split!r} in {dir}, of {counts}; expected '
      f'one whole set, 0 to {counts[-1] - 1}; try to fetch the missing ones or '
      'remove those of another set'
    )
  if odd := [path for path in paths if not path.is_file()]:
    raise InputError(
      f'got {odd[0]}, which is not a regular file; expected a shard; try to '
      'fetch it again'
    )
  return paths
