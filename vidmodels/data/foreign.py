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
from collections.abc import Iterator, Sequence

import numpy as np

from vidmodels.data import records, tfrecord
from vidmodels.data.classes import CLASSES_FILE, ClassList
from vidmodels.data.flip import FlipPolicy
from vidmodels.data.manifest import Manifest, Shard, splits
from vidmodels.data.task import SINGLE, Task
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
  paths = _shards(folder, split)
  classes = _classes(folder, split, paths, classes)
  flip = flip or FlipPolicy()
  flip.check(classes, task)
  tally = _Tally(classes, task)
  found = tuple(_index_shard(path, tally) for path in paths)
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


def _classes(
  folder: pathlib.Path,
  split: str,
  paths: Sequence[pathlib.Path],
  given: ClassList | None,
) -> ClassList:
  """The list by the rule of `index`; it must be that of the other splits."""
  others = set(splits(folder)) - {split}
  have = ClassList.load(folder / CLASSES_FILE) if others else None
  classes = given or have or _said(paths)
  difference = have and classes.first_difference(have)
  if difference:
    raise InputError(
      f'the class list differs from {folder / CLASSES_FILE}, which other '
      f'splits use: {difference} ("there" is that file); give that one'
    )
  return classes


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

  def add(self, record: records.Record) -> str:
    """Checks and counts a record; returns a name that none has had."""
    self.task.check(record.labels, len(self.classes))
    _check_texts(record, self.classes)
    self.labels[list(record.labels)] += 1
    self.padded += _padded(record)
    name = record.video or 'unnamed'
    while name in self.names:
      # Results are kept by name: two clips of one name would become one.
      self.again[record.video] += 1
      name = f'{record.video or "unnamed"}#{self.again[record.video] + 1}'
    self.names.add(name)
    return name


def _index_shard(path: pathlib.Path, tally: _Tally) -> Shard:
  """Reads a shard to its end."""
  offsets, videos = tfrecord.scan(path), []
  for offset, record in zip(offsets, _records(path, offsets), strict=True):
    try:
      videos.append(tally.add(record))
    except InputError as e:
      raise InputError(f'{path} at offset {offset}: {e}') from e
  with open(path, 'rb') as f:
    digest = hashlib.file_digest(f, 'sha256').hexdigest()
    size = f.tell()
  return Shard(path.name, len(offsets), size, digest, offsets, tuple(videos))


def _records(
  path: pathlib.Path, offsets: Sequence[int]
) -> Iterator[records.Record]:
  for offset in offsets:
    raw = tfrecord.read_at(path, int(offset))
    try:
      yield records.parse(raw)
    except InputError as e:
      raise InputError(f'{path} at offset {offset}: {e}') from e


def _padded(record: records.Record) -> bool:
  """Whether DMVR's script put copies of the first frame before the clip.

  At 10 frames a second it writes those of 0 to `end`, not of `start` to `end`.
  """
  n, start, end = len(record.frames), record.start_us, record.end_us
  tenths, late = end / 100_000, start / 100_000
  return not record.timed and late >= 2 and abs(n - tenths) < 2


def _check_texts(record: records.Record, classes: ClassList) -> None:
  """Names that a record gives its labels must be those of the list."""
  if not any(record.label_texts):
    return
  if len(record.label_texts) != len(record.labels):
    raise InputError(
      f'it has the labels {record.labels} and the names '
      f'{record.label_texts}; wanted a name for each, or none'
    )
  for label, text in zip(record.labels, record.label_texts, strict=True):
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


def _said(paths: Sequence[pathlib.Path]) -> ClassList:
  """The class list that records spell out, number by number."""
  names: dict[int, str] = {}
  for path in paths:
    for record in _records(path, tfrecord.scan(path)):
      if len(record.label_texts) != len(record.labels):
        raise InputError(
          f'{record.video} of {path} does not name its labels '
          f'{record.labels}; wanted their names with --classes'
        )
      for label, text in zip(record.labels, record.label_texts, strict=True):
        if names.setdefault(label, text) != text:
          raise InputError(
            f'label {label} is {names[label]!r} and {text!r} in {path}; wanted '
            'one name for it; the records were written with two class lists'
          )
  missing = [i for i in range(len(names)) if i not in names]
  if missing or not names:
    came = f'label {missing[0]} has none' if missing else 'there is no label'
    raise InputError(
      f'the records name {len(names)} labels and {came}; wanted a class list '
      'with --classes'
    )
  return ClassList.from_names([names[i] for i in range(len(names))])
