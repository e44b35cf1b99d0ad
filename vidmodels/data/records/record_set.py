"""A split of records on disk: shards, their manifest and random access.

  records = RecordSet.open('records', 'train')
  record = records.record(7)

The shards of a split are `<split>-00000-of-00004.tfrecord` and so on. Beside
them, `<split>.manifest.json` has the number of records, size and checksum of
each, `<split>.index.json` where each record starts, and `classes.txt` what a
label means. Any TFRecord reader can read the shards alone.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np

from vidmodels import checked_json, files, local_cache, object_store
from vidmodels.data.records import video_record
from vidmodels.data.records.class_list import CLASSES_FILE, ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.data.records.tfrecord import (
  OVERHEAD,
  RECORD_HEADER,
  find_shards,
  is_shard_name,
  read_record,
  read_stored_record,
  record_end,
)
from vidmodels.files import ReadError, retry_reading, write_atomically
from vidmodels.typing import (
  AnyPath,
  Count,
  FrameRate,
  InputError,
  Name,
  NotNegative,
  brief,
  check_value,
  quote,
)

FORMAT = 'vidmodels-records-1'
_MANIFEST_END = '.manifest.json'
# Bytes; the index of 1.2 million clips has 80 MB.
_LARGEST_INDEX = 1 << 30
# Of a record, to find its labels: all but its frames are some hundred bytes.
_HEAD_BYTES = 1 << 16
_READERS = 16  # threads that do; a read of a store takes 20 to 100 ms
Sha256 = Annotated[
  str, '64 hexadecimal digits', re.compile('[0-9a-f]{64}').fullmatch
]
_Names = tuple[str, ...]
# What a manifest has besides its shards, as in `Manifest`.
_FIELDS: Mapping[str, Any] = {
  'split': Name,
  'shards': tuple[dict[str, Any], ...],
  'classes_sha256': Sha256,
  'flip': dict[str, Any],
  'listed': Count,
  'lost': tuple[tuple[str, str], ...],
  'damaged': tuple[tuple[str, Count], ...],
  'short': tuple[tuple[str, NotNegative, NotNegative], ...],
  'options': dict[str, Any],
  'labels': tuple[Count, ...],
  'task': dict[str, Any],
  'labelled': bool,
  'expected': Count,
  'subsets': dict[str, _Names],
  'class_subsets': dict[str, tuple[Count, ...]],
}
# Manifests of the first release do not have these.
_NEW_FIELDS: Mapping[str, Any] = {
  'short': (),
  'task': SINGLE.to_json(),
  'labelled': True,
  'expected': 0,
  'subsets': {},
  'class_subsets': {},
}
_SHARD_FIELDS = {'name': str, 'count': Count, 'bytes': Count, 'sha256': Sha256}
# Of the options: what evaluation and prediction read.
_OPTION_FIELDS = {
  'fps': FrameRate,
  'limit': Count,
  'padded': Count,
  'source': str,
}
_INDEX_FIELDS = {'offsets': tuple[list, ...], 'videos': tuple[list, ...]}


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

  @classmethod
  def from_json(
    cls,
    entry: Mapping[str, Any],
    offsets: Sequence[Any],
    videos: Sequence[Any],
    *,
    number: int,
  ) -> Self:
    """A shard by its manifest and index, which must agree.

    Its name is that of a file beside them: a stranger's manifest reads no other
    file. Its records begin with the file and follow each other.
    """
    known = checked_json.fields(entry, _SHARD_FIELDS, name=f'shard {number}')
    name, count, end = known['name'], known['count'], known['bytes']
    if not is_shard_name(name):
      raise InputError(
        f'got {brief(name)} as the name of shard {number}; expected that of a '
        'file beside the manifest, such as train-00000-of-00001.tfrecord'
      )
    # By type, not one by one as the fields: there may be a million.
    if {*map(type, offsets)} - {int} or {*map(type, videos)} - {str}:
      raise InputError(
        f'the index of {name} holds other things than numbers and names'
      )
    if max(offsets, default=0) > end:
      raise InputError(f'the index of {name} has a record behind its end')
    starts = np.asarray(offsets, np.int64)
    ends = np.append(starts[1:], end)
    if not count == len(starts) == len(videos):
      raise InputError(
        f'got {count} as the count of {name}, whose index has {len(starts)} '
        f'records and {len(videos)} videos'
      )
    if count and (starts[0] or (ends - starts < OVERHEAD).any()):
      raise InputError(
        f'the records of {name} in the index do not follow each other from 0 '
        f'to {end} bytes'
      )
    return cls(**known, offsets=starts, videos=tuple(videos))


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
  # short: (video, seconds, expected seconds) of clips that are clearly shorter
  # than their annotations, or than the others
  short: tuple[tuple[str, float, float], ...] = ()
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

  def check_classes(self, classes: ClassList) -> None:
    """Raises InputError if labels, flips or subsets are of other classes."""
    self.task.parts(len(classes))
    self.flip.check(classes, self.task)
    numbers = [k for part in self.class_subsets.values() for k in part]
    if len(self.labels) not in (0, len(classes)) or (
      max(numbers, default=0) >= len(classes)
    ):
      raise InputError(
        f'got a manifest of {self.split} that counts {len(self.labels)} '
        f'classes and names class {max(numbers, default=0)}; expected '
        f'{len(classes)}, as in {CLASSES_FILE}; try to prepare the split again'
      )

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
    folder = files.place(dir)
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
      raise InputError(_explain_missing(files.place(dir), split))
    try:
      value = checked_json.read(path)
      data = checked_json.read_bytes(
        index_path(dir, split), largest=_LARGEST_INDEX
      )
      if not isinstance(value, dict) or value.get('format') != FORMAT:
        raise InputError(f'it is not of format {FORMAT}')
      if hashlib.sha256(data).hexdigest() != value.get('index_sha256'):
        raise InputError(f'{split}.index.json belongs to another manifest')
      index = checked_json.parse(data, largest=_LARGEST_INDEX)
      manifest = cls._from_json(value, index)
      if manifest.split != split:
        raise InputError(f'it is of split {quote(manifest.split)}')
      if (manifest.count, manifest.fingerprint) != (
        value.get('count'),
        value.get('fingerprint'),
      ):
        raise InputError('its count or fingerprint is not that of its shards')
      return manifest
    except (InputError, checked_json.JsonError, OSError) as e:
      raise InputError(
        f'got {path}, which cannot be used ({e}); expected a manifest of '
        f'format {FORMAT}; try `vidmodels prepare` or `inspect --index` again'
      ) from e

  @classmethod
  def _from_json(cls, value: Mapping[str, Any], index: Any) -> Self:
    known = checked_json.fields(
      value, _FIELDS, optional=_NEW_FIELDS, name='the manifest'
    )
    lists = checked_json.fields(index, _INDEX_FIELDS, name='the index')
    for name in (*known['subsets'], *known['class_subsets']):
      check_value(name, Name, path='a subset')
    read = {k: h for k, h in _OPTION_FIELDS.items() if k in known['options']}
    checked_json.fields(known['options'], read, name='its options')
    entries, starts, names = known['shards'], lists['offsets'], lists['videos']
    if not len(entries) == len(starts) == len(names):
      raise InputError(
        f'it has {len(entries)} shards and its index {len(starts)} and '
        f'{len(names)}'
      )
    shards = tuple(
      Shard.from_json(entry, offsets, videos, number=k)
      for k, (entry, offsets, videos) in enumerate(
        zip(entries, starts, names, strict=True)
      )
    )
    count, lost = sum(shard.count for shard in shards), len(known['lost'])
    if known['listed'] != count + lost:
      raise InputError(
        f'it lists {known["listed"]} videos; {count} are there, {lost} lost'
      )
    if repeated := len(shards) - len({shard.name for shard in shards}):
      raise InputError(f'{repeated} of its shards are named twice')
    return cls(
      **known
      | {
        'shards': shards,
        'flip': FlipPolicy.from_json(known['flip']),
        'task': Task.from_json(known['task']),
      }
    )


def check_stored_shards(folder: pathlib.Path, manifest: Manifest) -> None:
  """Raises InputError unless a store has the manifest's shards, by their sizes.

  One request for a thousand of them. Their records are not looked into: each
  one that is read is held to its checksums and to the index.
  """
  found = object_store.entries(folder)
  for shard in manifest.shards:
    size = found.get(shard.name, {}).get('size')
    if size != shard.bytes:
      state = 'is missing' if size is None else f'has {size} bytes'
      raise InputError(
        f'got shard {folder / shard.name}, which {state}; expected an object '
        f'of {shard.bytes} bytes, as in the manifest; try to restore it, or '
        '`vidmodels prepare --overwrite`'
      )


def _check_shard(folder: pathlib.Path, shard: Shard) -> None:
  """Raises InputError unless the file of a shard is there, as it was written.

  A link may lead to another file of the folder, not out of it: a stranger's
  folder would read files of this machine.
  """
  path = folder / shard.name
  try:
    state = retry_reading(path, lambda: _fault(path, shard))
  except ReadError:  # which says nothing of the shard
    raise
  except (OSError, RuntimeError) as error:  # a link in a circle
    state = f'cannot be read ({error})'
  if state:
    raise InputError(
      f'got shard {path}, which {state}; expected a file of {shard.bytes} '
      'bytes in that folder, as in the manifest; try to restore it, or '
      '`vidmodels prepare --overwrite`'
    )


def _fault(path: pathlib.Path, shard: Shard) -> str:
  """What is wrong with the file of a shard, in words; '' for nothing."""
  folder = path.parent
  if path.is_symlink() and path.resolve().parent != folder.resolve():
    return f'is a link to {quote(os.readlink(path))}'
  if not path.is_file():
    return 'is missing' if not path.exists() else 'is not a regular file'
  size = path.stat().st_size
  if size != shard.bytes:
    return f'has {size} bytes'
  end = record_end(path, int(shard.offsets[-1])) if shard.count else size
  if end != shard.bytes:
    return f'has records behind {end}, where the last of its index ends'
  return ''


def manifest_path(dir: AnyPath, split: str) -> pathlib.Path:
  """Where the manifest of a split is kept."""
  return files.place(dir) / f'{split}{_MANIFEST_END}'


def index_path(dir: AnyPath, split: str) -> pathlib.Path:
  """Where the offsets and video names of a split are kept."""
  return files.place(dir) / f'{split}.index.json'


def parts_folder(dir: AnyPath, split: str) -> pathlib.Path:
  """Where `prepare` keeps the state of a split until it is complete."""
  return files.place(dir) / f'{split}.parts'


def _read_bytes(path: pathlib.Path, start: int, stop: int) -> bytes:
  with open(path, 'rb') as file:
    return os.pread(file.fileno(), stop - start, start)


def list_splits(dir: AnyPath) -> tuple[str, ...]:
  """The splits of a folder that have a manifest, sorted."""
  paths = files.place(dir).glob(f'*{_MANIFEST_END}')
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

  def __init__(
    self,
    dir: pathlib.Path,
    manifest: Manifest,
    classes: ClassList,
    numbers: np.ndarray | None = None,
  ):
    self.dir = dir
    self.manifest = manifest  # of the whole split
    self.classes = classes
    # The records of the split that count, int64; None for all of them.
    self._numbers = numbers
    self._labels: list[tuple[int, ...]] | None = None
    self._ends = np.cumsum([shard.count for shard in manifest.shards])
    self._stored = object_store.in_store(dir)

  @classmethod
  def open(cls, dir: AnyPath, split: str) -> Self:
    """Opens a split and checks it against its manifest.

    Raises InputError if the split is missing or empty, a shard is missing or
    has another size, or the class list is not the one the labels refer to.
    """
    folder = files.place(dir)
    if stored := object_store.in_store(folder):
      object_store.check_bucket(folder)
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
    manifest.check_classes(classes)
    if stored:
      check_stored_shards(folder, manifest)
    else:
      for shard in manifest.shards:
        _check_shard(folder, shard)
    return cls(folder, manifest, classes)

  def __len__(self) -> int:
    if self._numbers is not None:
      return len(self._numbers)
    return self.manifest.count

  def take(self, numbers: np.ndarray) -> Self:
    """Some records of this set, in the order given; `numbers` are those here.

    Record i of the new set is record `numbers[i]` of this one.
    """
    own = np.arange(len(self)) if self._numbers is None else self._numbers
    part = type(self)(self.dir, self.manifest, self.classes, own[numbers])
    if self._labels is not None:
      part._labels = [self._labels[i] for i in numbers]
    return part

  @property
  def fingerprint(self) -> str:
    """Identifies the data: that of the manifest, and which records count."""
    if self._numbers is None:
      return self.manifest.fingerprint
    numbers = self._numbers.astype('<i8').tobytes()
    return hashlib.sha256(
      self.manifest.fingerprint.encode() + numbers
    ).hexdigest()

  def labels(self) -> list[tuple[int, ...]]:
    """The labels of every record, checked against task and classes.

    Reads the start of each record, 64 KiB at most, once; frames come later. So
    the checksum of a record is not verified here but when its frames are read.
    """
    if self._labels is None:
      with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        self._labels = list(pool.map(self._read_labels, range(len(self))))
    return self._labels

  def _read_labels(self, i: int) -> tuple[int, ...]:
    shard, j = self._locate(i)
    path, offset = self.dir / shard.name, int(shard.offsets[j])
    ends = int(shard.offsets[j + 1]) if j + 1 < shard.count else shard.bytes
    stop = min(offset + _HEAD_BYTES, ends)
    head = (
      local_cache.read_range(path, offset, stop, version=shard.sha256)
      if self._stored
      else retry_reading(path, lambda: _read_bytes(path, offset, stop))
    )
    labels = video_record.parse_labels(head[RECORD_HEADER:])
    if labels is None:
      labels = self.record(i).labels
    try:
      self.manifest.task.check(labels, len(self.classes))
    except InputError as e:
      raise InputError(f'{shard.name} at offset {offset}: {e}') from e
    return labels

  def __getitem__(self, i: int) -> bytes:
    """The bytes of record `i`, verified; see `read_record` for errors."""
    shard, j = self._locate(i)
    # Where the next one starts: an index that leaves records out is refused.
    ends = shard.offsets[j + 1] if j + 1 < shard.count else shard.bytes
    if self._stored:
      return read_stored_record(
        self.dir / shard.name,
        int(shard.offsets[j]),
        end=int(ends),
        version=shard.sha256,
      )
    # Opened for every read: 1,024 shards would need as many descriptors, which
    # is all that a process may have on most machines; an open takes
    # microseconds.
    return read_record(
      self.dir / shard.name, int(shard.offsets[j]), end=int(ends)
    )

  def record(self, i: int) -> video_record.Record:
    """Record `i`, parsed; an error names shard and offset."""
    try:
      return video_record.parse(self[i])
    except InputError as e:
      name, offset = self.where(i)
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
    numbers = self._numbers
    count = self._ends[-1] if numbers is None else len(numbers)
    if not 0 <= i < count:
      raise IndexError(f'got record {i}; expected 0 to {count - 1}')
    if numbers is not None:
      i = int(numbers[i])
    k = int(np.searchsorted(self._ends, i, side='right'))
    return self.manifest.shards[k], int(i - (self._ends[k - 1] if k else 0))
