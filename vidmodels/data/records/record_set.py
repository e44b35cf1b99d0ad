"""A split of records on disk: shards, their manifest and random access.

A split is `<split>-00000-of-00004.tfrecord` and so on; beside them
`<split>.manifest.json` says how many records each holds, its size and
checksum, `<split>.index.json` where each record starts, and `classes.txt`
what a label means. Any TFRecord reader can read the shards alone.
"""

import os
import pathlib
from typing import Self

import numpy as np

from vidmodels.data.records import video_record
from vidmodels.data.records.class_list import CLASSES_FILE, ClassList
from vidmodels.data.records.manifest import (
  Manifest,
  Shard,
  manifest_path,
  splits,
)
from vidmodels.data.records.tfrecord import (
  ShardWriter,
  find_shards,
  read_at,
  scan,
  shard_name,
)
from vidmodels.typing import InputError

__all__ = [
  'Manifest',
  'RecordSet',
  'Shard',
  'ShardWriter',
  'find_shards',
  'manifest_path',
  'read_at',
  'scan',
  'shard_name',
  'splits',
]


class RecordSet:
  """A split with random access; threads may share it, processes may copy it.

  Attributes:
    dir: its folder.
    manifest: what it holds.
    classes: what its labels mean.
  """

  def __init__(self, dir: pathlib.Path, manifest: Manifest, classes: ClassList):
    self.dir = dir
    self.manifest = manifest
    self.classes = classes
    self._ends = np.cumsum([shard.count for shard in manifest.shards])

  @classmethod
  def open(cls, dir: str | os.PathLike[str], split: str) -> Self:
    """Opens a split and checks it against its manifest.

    Raises:
      InputError: if the split is missing or empty, a shard is missing or has
        another size, or the class list is not the one the labels refer to.
    """
    folder = pathlib.Path(dir)
    manifest = Manifest.load(folder, split)
    classes = ClassList.load(folder / CLASSES_FILE)
    if classes.sha256 != manifest.classes_sha256:
      raise InputError(
        f'{folder / CLASSES_FILE} has hash {classes.sha256[:12]}; the labels '
        f'of split {split!r} refer to {manifest.classes_sha256[:12]}; put the '
        'class list back or prepare the split again'
      )
    if not manifest.count:
      raise InputError(
        f'split {split!r} of {folder} is empty ({manifest.listed} listed, '
        f'{len(manifest.lost)} lost); wanted at least one record; see '
        f'{split}.lost.txt'
      )
    for shard in manifest.shards:
      path = folder / shard.name
      size = path.stat().st_size if path.exists() else None
      if size != shard.bytes:
        came = 'is missing' if size is None else f'has {size} bytes'
        raise InputError(
          f'shard {path} {came}; the manifest wants {shard.bytes} bytes; '
          'restore the shard or run `vidmodels prepare --overwrite`'
        )
    return cls(folder, manifest, classes)

  def __len__(self) -> int:
    return self.manifest.count

  def __getitem__(self, i: int) -> bytes:
    """The bytes of record `i`, verified; see `read_at` for errors."""
    k, j = self._place(i)
    shard = self.manifest.shards[k]
    # Opened for every read: 1,024 shards would be as many descriptors, which is
    # all that a process may have on most machines; an open costs microseconds.
    return read_at(self.dir / shard.name, int(shard.offsets[j]))

  def record(self, i: int) -> video_record.Record:
    """Record `i`, parsed.

    Raises:
      InputError: if it is corrupt; the message names shard and offset.
    """
    raw = self[i]
    try:
      return video_record.parse(raw)
    except InputError as e:
      raise InputError('{} at offset {}: {}'.format(*self.where(i), e)) from e

  def video(self, i: int) -> str:
    """The name of record `i`'s video; reads nothing."""
    k, j = self._place(i)
    return self.manifest.shards[k].videos[j]

  def where(self, i: int) -> tuple[str, int]:
    """The shard's file name and the offset of record `i`."""
    k, j = self._place(i)
    shard = self.manifest.shards[k]
    return shard.name, int(shard.offsets[j])

  def _place(self, i: int) -> tuple[int, int]:
    if not 0 <= i < len(self):
      raise IndexError(f'record {i} of {len(self)}')
    k = int(np.searchsorted(self._ends, i, side='right'))
    return k, int(i - (self._ends[k - 1] if k else 0))
