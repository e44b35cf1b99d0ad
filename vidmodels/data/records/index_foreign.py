"""An index for shards that another tool wrote, DMVR's script for one.

It makes `inspect --index` what `prepare` is to videos: after it the shards are
a split like any other. Nothing in them is changed. Every record is read: its
checksums are verified, its labels must be those of the set, and its name is
made unique.
"""

import collections
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from vidmodels.data.records import tfrecord, video_record
from vidmodels.data.records.class_list import CLASSES_FILE, ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.manifest import Manifest, Shard, splits
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import InputError


def index(
  dir: str | os.PathLike[str],
  split: str,
  classes: ClassList | None = None,
  *,
  task: Task = SINGLE,
  flip: FlipPolicy | None = None,
) -> Manifest:
  """Makes the manifest of a split of foreign shards.

  Args:
    dir: the folder with `<split>-00000-of-00032` and so on.
    split: the part of their names before that.
    classes: what their labels refer to; becomes the folder's `classes.txt`. If
      None, the list of the folder's other splits, else what the records say
      themselves: DMVR's script writes number and name, and no list.
    task: what the labels are.
    flip: what a mirror does to the labels; 'forbid' by default.

  Returns:
    The manifest; its option `padded` counts the clips that DMVR's script began
    with frozen frames.

  Raises:
    InputError: if there are no such shards, one is corrupt, a label does not
      fit the class list or the task, or the folder has another list.
  """
  folder = pathlib.Path(dir)
  files = map(_read, _shards(folder, split))
  have = _bound(folder, split)
  classes = classes or have
  if classes is None:  # the list is what all of the records say
    files = list(files)
    classes = _said(files)
  _compare(folder, classes, have)
  flip = flip or FlipPolicy()
  flip.check(classes, task)
  tally = _Tally(classes, task)
  found = tuple(_index_shard(file, tally) for file in files)
  classes.save(folder / CLASSES_FILE)
  manifest = Manifest(
    split=split,
    shards=found,
    classes_sha256=classes.sha256,
    flip=flip,
    listed=len(tally.names),
    options={'source': 'indexed', 'padded': tally.padded},
    labels=tuple(tally.labels.tolist()),
    task=task,
  )
  manifest.save(folder)
  return manifest


def _shards(folder: pathlib.Path, split: str) -> list[pathlib.Path]:
  paths = tfrecord.find_shards(folder, split)
  if not paths:
    raise InputError(
      f'{folder} has no shards of {split!r}; wanted files as '
      f'{split}-00000-of-00032, with or without .tfrecord; check --split'
    )
  if not any(path.stat().st_size for path in paths):
    raise InputError(
      f'the {len(paths)} shards of {split!r} in {folder} are empty; wanted '
      'records in them'
    )
  return paths


def _bound(folder: pathlib.Path, split: str) -> ClassList | None:
  """The list of the folder's other splits."""
  others = set(splits(folder)) - {split}
  return ClassList.load(folder / CLASSES_FILE) if others else None


def _compare(
  folder: pathlib.Path, classes: ClassList, have: ClassList | None
) -> None:
  difference = have and classes.first_difference(have)
  if difference:
    raise InputError(
      f'the class list differs from {folder / CLASSES_FILE}, which other '
      f'splits use: {difference} ("there" is that file); give that one'
    )


@dataclasses.dataclass(frozen=True)
class _Clip:
  """What is kept of a record: all but its frames."""

  offset: int
  video: str
  labels: tuple[int, ...]
  label_texts: tuple[str, ...]
  padded: bool


@dataclasses.dataclass(frozen=True)
class _File:
  """A shard that was read to its end."""

  path: pathlib.Path
  offsets: np.ndarray
  clips: tuple[_Clip, ...]


@dataclasses.dataclass
class _Tally:
  """What the records must fit, and what was seen of them so far."""

  classes: ClassList
  task: Task
  names: set[str] = dataclasses.field(default_factory=set)
  again: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  padded: int = 0

  def __post_init__(self):
    self.labels = np.zeros(len(self.classes), np.int64)

  def add(self, clip: _Clip) -> str:
    """Checks and counts a clip; returns a name that none has had."""
    self.task.check(clip.labels, len(self.classes))
    _check_texts(clip, self.classes)
    self.labels[list(clip.labels)] += 1
    self.padded += clip.padded
    name = clip.video or 'unnamed'
    while name in self.names:
      # Results are kept by name: two clips of one name would become one.
      self.again[clip.video] += 1
      name = f'{clip.video or "unnamed"}#{self.again[clip.video] + 1}'
    self.names.add(name)
    return name


def _index_shard(file: _File, tally: _Tally) -> Shard:
  videos = []
  for clip in file.clips:
    try:
      videos.append(tally.add(clip))
    except InputError as e:
      raise InputError(f'{file.path} at offset {clip.offset}: {e}') from e
  with open(file.path, 'rb') as f:
    digest = hashlib.file_digest(f, 'sha256').hexdigest()
    size = f.tell()
  return Shard(
    name=file.path.name,
    count=len(videos),
    bytes=size,
    sha256=digest,
    offsets=file.offsets,
    videos=tuple(videos),
  )


def _read(path: pathlib.Path) -> _File:
  """Reads and verifies every record of a shard, once."""
  offsets, clips = tfrecord.scan(path), []
  for offset in offsets.tolist():
    raw = tfrecord.read_at(path, offset)
    try:
      record = video_record.parse(raw)
    except InputError as e:
      raise InputError(f'{path} at offset {offset}: {e}') from e
    clips.append(
      _Clip(
        offset=offset,
        video=record.video,
        labels=record.labels,
        label_texts=record.label_texts,
        padded=_padded(record),
      )
    )
  return _File(path, offsets, tuple(clips))


def _padded(record: video_record.Record) -> bool:
  """Whether DMVR's script put copies of the first frame before the clip.

  At 10 frames a second it writes those of 0 to `end`, not of `start` to `end`.
  """
  n, start, end = len(record.frames), record.start_us, record.end_us
  tenths, late = end / 100_000, start / 100_000
  return not record.timed and late >= 2 and abs(n - tenths) < 2


def _check_texts(clip: _Clip, classes: ClassList) -> None:
  """Names that a record gives its labels must be those of the list."""
  if not any(clip.label_texts):
    return
  if len(clip.label_texts) != len(clip.labels):
    raise InputError(
      f'it has the labels {clip.labels} and the names '
      f'{clip.label_texts}; wanted a name for each, or none'
    )
  for label, text in zip(clip.labels, clip.label_texts, strict=True):
    if text != classes.names[label]:
      there = (
        f' and {text!r} as {classes.names.index(text)}'
        if text in classes.names
        else ''
      )
      raise InputError(
        f'it has label {label} as {text!r}; the class list has '
        f'{classes.names[label]!r} there{there}; give the list that the '
        "records were written with (DMVR's script numbers the classes anew "
        'each time it runs, so splits of two runs do not go together)'
      )


def _said(files: Sequence[_File]) -> ClassList:
  """The class list that records spell out, number by number."""
  names: dict[int, str] = {}
  for file in files:
    for clip in file.clips:
      if len(clip.label_texts) != len(clip.labels):
        raise InputError(
          f'{clip.video} of {file.path} does not name its labels '
          f'{clip.labels}; wanted their names with --classes'
        )
      for label, text in zip(clip.labels, clip.label_texts, strict=True):
        if names.setdefault(label, text) != text:
          raise InputError(
            f'label {label} is {names[label]!r} and {text!r} in {file.path}; '
            'wanted one name for it; the records were written with two class '
            'lists'
          )
  missing = [i for i in range(len(names)) if i not in names]
  if missing or not names:
    came = f'label {missing[0]} has none' if missing else 'there is no label'
    raise InputError(
      f'the records name {len(names)} labels and {came}; wanted a class list '
      'with --classes'
    )
  return ClassList.from_names([names[i] for i in range(len(names))])
