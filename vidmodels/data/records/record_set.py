"""A split of records on disk: shards, their manifest and random access.

  records = RecordSet.open('records', 'train')
  record = records.record(7)

The shards of a split are `<split>-00000-of-00004.tfrecord` and so on. Beside
them, `<split>.manifest.json` has the number of records, size and checksum of
each, `<split>.index.json` where each record starts, and `classes.txt` what a
label means. Any TFRecord reader can read the shards alone.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from vidmodels.data.records import video_record
from vidmodels.data.records.class_list import CLASSES_FILE, ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.data.records.tfrecord import find_shards, read_record
from vidmodels.files import write_atomically
from vidmodels.typing import AnyPath, InputError

FORMAT = 'vidmodels-records-1'
_MANIFEST_END = '.manifest.json'


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of a split, as its manifest and index describe it."""

  name: str  # of the file
  count: int  # its records
  bytes: int  # its size
  sha256: str  # of the whole file
  # offsets: where each record starts, int64 [count]
  offsets: np.ndarray = dataclasses.field(repr=False, compare=False)
  # videos: the name of each record's video, count of them
  videos: tuple[str, ...] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """What a split of a record set holds, and what it lost when it was made."""

  split: str  # its name
  shards: tuple[Shard, ...]  # its files; records are numbered through them
  classes_sha256: str  # hash of the class list that the labels refer to
  flip: FlipPolicy  # what a mirror does to the labels
  listed: int  # videos that the source listed, records plus lost
  lost: tuple[tuple[str, str], ...] = ()  # (video, reason) without a record
  damaged: tuple[tuple[str, int], ...] = ()  # (video, undecoded packets)
  # options: how the records were made: short_side, quality, fps, source, ...
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  labels: tuple[int, ...] = ()  # records of each class; empty if not counted
  task: Task = SINGLE  # what the labels are
  labelled: bool = True  # False if the labels of the split are not published
  expected: int = 0  # clips that the split officially has; 0 if unknown
  # subsets: videos that are also reported on their own, by name of the subset
  subsets: Mapping[str, tuple[str, ...]] = dataclasses.field(
    default_factory=dict, repr=False
  )
  # class_subsets: classes that are also reported on their own
  class_subsets: Mapping[str, tuple[int, ...]] = dataclasses.field(
    default_factory=dict, repr=False
  )

  @property
  def count(self) -> int:
    """Records in the split."""
    return sum(shard.count for shard in self.shards)

  @property
  def fingerprint(self) -> str:
    """Identifies the data: the bytes of the shards and what labels mean."""
    parts = [shard.sha256 for shard in self.shards]
    parts += [self.classes_sha256, json.dumps(self.flip.to_json())]
    if self.task != SINGLE:
      parts.append(json.dumps(self.task.to_json()))
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()

  def as_json(self) -> dict[str, Any]:
    """Everything but the index, for JSON."""
    keys = ('name', 'count', 'bytes', 'sha256')
    return vars(self) | {
      'options': dict(self.options),
      'flip': self.flip.to_json(),
      'task': self.task.to_json(),
      'shards': [{k: getattr(s, k) for k in keys} for s in self.shards],
      'count': self.count,
      'fingerprint': self.fingerprint,
    }

  def save(self, dir: AnyPath) -> None:
    """Writes the index, then the manifest with the index's checksum."""
    folder = pathlib.Path(dir)
    index = {
      'offsets': [np.asarray(s.offsets).tolist() for s in self.shards],
      'videos': [s.videos for s in self.shards],
    }
    data = json.dumps(index, ensure_ascii=False).encode()
    write_atomically(index_path(folder, self.split), data)
    value = {'format': FORMAT, **self.as_json()}
    value['index_sha256'] = hashlib.sha256(data).hexdigest()
    text = json.dumps(value, indent=1, ensure_ascii=False) + '\n'
    write_atomically(manifest_path(folder, self.split), text.encode())

  @classmethod
  def load(cls, dir: AnyPath, split: str) -> Self:
    """Reads what `save` wrote; InputError if that is damaged or not ours."""
    path = manifest_path(dir, split)
    if not path.exists():
      raise InputError(_explain_missing(pathlib.Path(dir), split))
    try:
      value = json.loads(path.read_text(encoding='utf-8'))
      data = index_path(dir, split).read_bytes()
      if hashlib.sha256(data).hexdigest() != value['index_sha256']:
        raise ValueError(f'{split}.index.json belongs to another manifest')
      if value['format'] != FORMAT:
        raise ValueError(f'format {value["format"]!r}')
      return cls._from_json(value, json.loads(data))
    except (ValueError, KeyError, TypeError, OSError) as e:
      raise InputError(
        f'got {path}, which cannot be used ({type(e).__name__}: {e}); expected '
        f'a manifest of format {FORMAT}; try `vidmodels prepare` or `inspect '
        '--index` again'
      ) from e

  @classmethod
  def _from_json(cls, value: Mapping[str, Any], index: Mapping) -> Self:
    tuples: Any = lambda entries: {k: tuple(v) for k, v in entries.items()}
    return cls(
      split=value['split'],
      shards=tuple(
        Shard(**s, offsets=np.array(starts, np.int64), videos=tuple(names))
        for s, starts, names in zip(
          value['shards'], index['offsets'], index['videos'], strict=True
        )
      ),
      classes_sha256=value['classes_sha256'],
      flip=FlipPolicy.from_json(value['flip']),
      listed=value['listed'],
      lost=tuple((video, reason) for video, reason in value['lost']),
      damaged=tuple((video, packets) for video, packets in value['damaged']),
      options=value['options'],
      labels=tuple(value['labels']),
      # Manifests of the first release do not have these.
      task=Task.from_json(value.get('task', SINGLE.to_json())),
      labelled=value.get('labelled', True),
      expected=value.get('expected', 0),
      subsets=tuples(value.get('subsets', {})),
      class_subsets=tuples(value.get('class_subsets', {})),
    )


def manifest_path(dir: AnyPath, split: str) -> pathlib.Path:
  """Where the manifest of a split is kept."""
  return pathlib.Path(dir) / f'{split}{_MANIFEST_END}'


def index_path(dir: AnyPath, split: str) -> pathlib.Path:
  """Where the offsets and video names of a split are kept."""
  return pathlib.Path(dir) / f'{split}.index.json'


def parts_folder(dir: AnyPath, split: str) -> pathlib.Path:
  """Where `prepare` keeps the state of a split until it is complete."""
  return pathlib.Path(dir) / f'{split}.parts'


def list_splits(dir: AnyPath) -> tuple[str, ...]:
  """The splits of a folder that have a manifest, sorted."""
  paths = pathlib.Path(dir).glob(f'*{_MANIFEST_END}')
  return tuple(sorted(path.name.removesuffix(_MANIFEST_END) for path in paths))


def _explain_missing(folder: pathlib.Path, split: str) -> str:
  if not folder.is_dir():
    return (
      f'got {folder}, which is no folder; expected one that `vidmodels '
      'prepare` wrote; try another path'
    )
  if parts_folder(folder, split).is_dir():
    return (
      f'got split {split!r} of {folder}, which is not complete; expected '
      f'{split}.manifest.json; try the same `vidmodels prepare` again, it '
      'continues where it stopped'
    )
  if find_shards(folder, split):
    return (
      f'got {folder}, which has shards of {split!r} but no manifest; expected '
      f'{split}.manifest.json; if another tool wrote them, try `vidmodels '
      f'inspect {folder} --split {split} --index --classes FILE`'
    )
  existing = ', '.join(list_splits(folder)) or 'none'
  return (
    f'got {folder}, which has no split {split!r}; its splits: {existing}; try '
    f'`vidmodels prepare SOURCE --out {folder} --split {split}`'
  )


class RecordSet:
  """A split with random access; threads may share it, processes may copy it."""

  def __init__(self, dir: pathlib.Path, manifest: Manifest, classes: ClassList):
    self.dir = dir
    self.manifest = manifest
    self.classes = classes
    self._ends = np.cumsum([shard.count for shard in manifest.shards])

  @classmethod
  def open(cls, dir: AnyPath, split: str) -> Self:
    """Opens a split and checks it against its manifest.

    Raises InputError if the split is missing or empty, a shard is missing or
    has another size, or the class list is not the one the labels refer to.
    """
    folder = pathlib.Path(dir)
    manifest = Manifest.load(folder, split)
    classes = ClassList.load(folder / CLASSES_FILE)
    if classes.sha256 != manifest.classes_sha256:
      raise InputError(
        f'got {folder / CLASSES_FILE} with hash {classes.sha256[:12]}; '
        f'expected {manifest.classes_sha256[:12]}, which the labels of split '
        f'{split!r} refer to; try to put it back or prepare the split again'
      )
    if not manifest.count:
      raise InputError(
        f'got split {split!r} of {folder}, which is empty ({manifest.listed} '
        f'listed, {len(manifest.lost)} lost); expected at least one record; '
        f'see {split}.lost.txt'
      )
    for shard in manifest.shards:
      path = folder / shard.name
      size = path.stat().st_size if path.exists() else None
      if size != shard.bytes:
        state = 'missing' if size is None else f'with {size} bytes'
        raise InputError(
          f'got shard {path} {state}; expected {shard.bytes} bytes, as in the '
          'manifest; try to restore it, or `vidmodels prepare --overwrite`'
        )
    return cls(folder, manifest, classes)

  def __len__(self) -> int:
    return self.manifest.count

  def __getitem__(self, i: int) -> bytes:
    """The bytes of record `i`, verified; see `read_record` for errors."""
    name, offset = self.where(i)
    # Opened for every read: 1,024 shards would need as many descriptors, which
    # is all that a process may have on most machines; an open takes
    # microseconds.
    return read_record(self.dir / name, offset)

  def record(self, i: int) -> video_record.Record:
    """Record `i`, parsed; an error names shard and offset."""
    name, offset = self.where(i)
    try:
      return video_record.parse(read_record(self.dir / name, offset))
    except InputError as e:
      raise InputError(f'{name} at offset {offset}: {e}') from e

  def video(self, i: int) -> str:
    """The name of record `i`'s video; reads nothing."""
    shard, j = self._locate(i)
    return shard.videos[j]

  def where(self, i: int) -> tuple[str, int]:
    """The file name of the shard and the offset of record `i`."""
    shard, j = self._locate(i)
    return shard.name, int(shard.offsets[j])

  def _locate(self, i: int) -> tuple[Shard, int]:
    """The shard of record `i` and its number there."""
    count = self._ends[-1]
    if not 0 <= i < count:
      raise IndexError(f'got record {i}; expected 0 to {count - 1}')
    k = int(np.searchsorted(self._ends, i, side='right'))
    return self.manifest.shards[k], int(i - (self._ends[k - 1] if k else 0))
