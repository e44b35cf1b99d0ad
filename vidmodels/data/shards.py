"""A split of records on disk: shards, their manifest and random access.

A split is `<split>-00000-of-00004.tfrecord` and so on; beside them
`<split>.manifest.json` says how many records each holds, its size and
checksum, `<split>.offsets.npy` where each record starts, and `classes.txt`
what a label means. Any TFRecord reader can read the shards alone.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import threading
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from vidmodels.data import records
from vidmodels.data.datasets import CLASSES_FILE, ClassList, FlipPolicy
from vidmodels.data.tfrecord import (
  ShardWriter,
  find_shards,
  read_at,
  scan,
  shard_name,
  write_atomically,
)
from vidmodels.typing import InputError

__all__ = [
  'FORMAT',
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

FORMAT = 'vidmodels-records-1'


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of a split, as the manifest knows it; `offsets` int64 [count]."""

  name: str
  count: int
  bytes: int
  sha256: str
  offsets: np.ndarray = dataclasses.field(repr=False, compare=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """What one split of a record set holds, and what it lost on the way.

  Attributes:
    split: its name.
    shards: its files in order; records are numbered through them.
    classes_sha256: hash of the class list the labels refer to.
    flip: what a mirror does to the labels.
    listed: videos the source listed, records plus lost.
    lost: (video, reason) of each video that gave no record.
    damaged: (video, packets that did not decode) of records with holes.
    options: how the records were made: short_side, quality, fps, source, ...
    labels: records of each class, K counts.
  """

  split: str
  shards: tuple[Shard, ...]
  classes_sha256: str
  flip: FlipPolicy
  listed: int
  lost: tuple[tuple[str, str], ...] = ()
  damaged: tuple[tuple[str, int], ...] = ()
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  labels: tuple[int, ...] = ()

  @property
  def count(self) -> int:
    """Records in the split."""
    return sum(shard.count for shard in self.shards)

  @property
  def fingerprint(self) -> str:
    """Identifies the data: the shards' bytes and the meaning of labels."""
    parts = [*(shard.sha256 for shard in self.shards), self.classes_sha256]
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()

  def as_json(self) -> dict[str, Any]:
    """Everything but the offsets, for JSON."""
    value = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
    }
    value['options'] = dict(self.options)
    value['flip'] = self.flip.to_json()
    value['shards'] = [
      {k: getattr(s, k) for k in ('name', 'count', 'bytes', 'sha256')}
      for s in self.shards
    ]
    return value | {'count': self.count, 'fingerprint': self.fingerprint}

  def save(self, dir: str | os.PathLike[str]) -> None:
    """Writes the offsets, then the manifest that vouches for them."""
    folder = pathlib.Path(dir)
    offsets = [np.asarray(s.offsets, np.int64) for s in self.shards]
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate([np.zeros(0, np.int64), *offsets]))
    data = buffer.getvalue()
    write_atomically(folder / f'{self.split}.offsets.npy', data)
    value = {'format': FORMAT, **self.as_json()}
    value['offsets_sha256'] = hashlib.sha256(data).hexdigest()
    text = json.dumps(value, indent=1, ensure_ascii=False) + '\n'
    write_atomically(manifest_path(folder, self.split), text.encode())

  @classmethod
  def load(cls, dir: str | os.PathLike[str], split: str) -> Self:
    """Reads what `save` wrote.

    Raises:
      InputError: if there is no manifest, or it is damaged or not ours.
    """
    path = manifest_path(dir, split)
    if not path.exists():
      raise InputError(_no_manifest(pathlib.Path(dir), split))
    try:
      value = json.loads(path.read_text(encoding='utf-8'))
      data = (path.parent / f'{split}.offsets.npy').read_bytes()
      if hashlib.sha256(data).hexdigest() != value['offsets_sha256']:
        raise ValueError(f'{split}.offsets.npy belongs to another manifest')
      return cls._from_json(value, np.load(io.BytesIO(data)))
    except (ValueError, KeyError, TypeError, OSError) as e:
      raise InputError(
        f'{path} cannot be used ({type(e).__name__}: {e}); wanted a manifest '
        f'of format {FORMAT}; run `vidmodels prepare` or `inspect --index` '
        'again'
      ) from e

  @classmethod
  def _from_json(cls, value: Mapping[str, Any], offsets: np.ndarray) -> Self:
    if value['format'] != FORMAT:
      raise ValueError(f'format {value["format"]!r}')
    ends = np.cumsum([s['count'] for s in value['shards']])
    parts = np.split(offsets, ends[:-1]) if len(ends) else []
    return cls(
      split=value['split'],
      shards=tuple(
        Shard(**s, offsets=part)
        for s, part in zip(value['shards'], parts, strict=True)
      ),
      classes_sha256=value['classes_sha256'],
      flip=FlipPolicy.from_json(value['flip']),
      listed=value['listed'],
      lost=tuple((video, reason) for video, reason in value['lost']),
      damaged=tuple((video, packets) for video, packets in value['damaged']),
      options=value['options'],
      labels=tuple(value['labels']),
    )


def manifest_path(dir: str | os.PathLike[str], split: str) -> pathlib.Path:
  """Where the manifest of a split is kept."""
  return pathlib.Path(dir) / f'{split}.manifest.json'


def splits(dir: str | os.PathLike[str]) -> tuple[str, ...]:
  """The splits of a folder that have a manifest, sorted."""
  end = '.manifest.json'
  found = pathlib.Path(dir).glob(f'*{end}')
  return tuple(sorted(path.name.removesuffix(end) for path in found))


def _no_manifest(folder: pathlib.Path, split: str) -> str:
  if not folder.is_dir():
    return (
      f'{folder} is no folder; wanted one that `vidmodels prepare` wrote; '
      'check the path'
    )
  if find_shards(folder, split):
    return (
      f'{folder} has shards of {split!r} but no manifest; wanted '
      f'{split}.manifest.json; if another tool wrote them run `vidmodels '
      f'inspect {folder} --index --classes FILE`, else finish `vidmodels '
      'prepare`'
    )
  have = ', '.join(splits(folder)) or 'none'
  return (
    f'{folder} has no split {split!r}; its splits: {have}; run `vidmodels '
    f'prepare SOURCE --out {folder} --split {split}`'
  )


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
    self._fds: dict[int, int] = {}
    self._lock = threading.Lock()

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
    path = self.dir / shard.name
    return read_at(self._fd(k), int(shard.offsets[j]), name=str(path))

  def record(self, i: int) -> records.Record:
    """Record `i`, parsed.

    Raises:
      InputError: if it is corrupt; the message names shard and offset.
    """
    raw = self[i]
    try:
      return records.parse(raw)
    except InputError as e:
      raise InputError('{} at offset {}: {}'.format(*self.where(i), e)) from e

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

  def _fd(self, k: int) -> int:
    with self._lock:
      if k not in self._fds:
        path = self.dir / self.manifest.shards[k].name
        self._fds[k] = os.open(path, os.O_RDONLY)
      return self._fds[k]

  def close(self) -> None:
    """Closes the files; the next read opens them again."""
    with self._lock:
      while self._fds:
        os.close(self._fds.popitem()[1])

  def __del__(self):
    if hasattr(self, '_lock'):
      self.close()

  def __reduce__(self):
    # Descriptors and locks stay behind; the copy opens its own.
    return RecordSet, (self.dir, self.manifest, self.classes)
