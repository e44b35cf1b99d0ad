"""Indexes shards that another tool wrote, such as DMVR's script.

  index_foreign.index_shards('shards', 'train', ClassList.load('names.txt'))

It makes the manifest that `prepare` makes for videos; then the shards are a
split like any other, and they do not change. Every record is read: its
checksums are verified, its labels must be those of the set, and its name is
made unique.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable

import numpy as np

from vidmodels.data.records import tfrecord, video_record
from vidmodels.data.records.class_list import CLASSES_FILE, ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.record_set import Manifest, Shard, list_splits
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import AnyPath, InputError, local_path


def index_shards(
  dir: AnyPath,
  split: str,
  classes: ClassList | None = None,
  *,
  task: Task = SINGLE,
  flip: FlipPolicy | None = None,
) -> Manifest:
  """Makes the manifest of a split of foreign shards.

  Its option `padded` counts the clips that DMVR's script began with frozen
  frames.

  Args:
    dir: the folder with `<split>-00000-of-00032` and so on.
    split: the part of their names before that.
    classes: what their labels refer to; becomes the folder's `classes.txt`. If
      None, the list of the folder's other splits, or else what the records
      say: DMVR's script writes number and name, and no list.
    task: what the labels are.
    flip: what a mirror does to the labels; 'forbid' by default.
  """
  folder = pathlib.Path(local_path(dir))  # every record is read
  files: Iterable[_File] = map(_read_shard, _find_shards(folder, split))
  others = set(list_splits(folder)) - {split}
  bound = ClassList.load(folder / CLASSES_FILE) if others else None
  classes = classes or bound
  if classes is None:  # the list needs all records
    files = list(files)
    classes = _collect_classes(files)
  classes.check_same(bound, folder)
  flip = flip or FlipPolicy()
  flip.check(classes, task)
  names: dict[str, int] = {}
  label_counts_K = np.zeros(len(classes), np.int64)
  shards, padded = [], 0
  for file in files:
    videos = []
    offsets = file.shard.offsets.tolist()
    for offset, record in zip(offsets, file.records, strict=True):
      try:
        task.check(record.labels, len(classes))
        _check_label_texts(record, classes)
      except InputError as e:
        raise InputError(f'{file.path} at offset {offset}: {e}') from e
      label_counts_K[list(record.labels)] += 1
      videos.append(_unique_name(record.video or 'unnamed', names))
    shards.append(dataclasses.replace(file.shard, videos=tuple(videos)))
    padded += file.padded
  classes.save(folder / CLASSES_FILE)
  manifest = Manifest(
    split=split,
    shards=tuple(shards),
    classes_sha256=classes.sha256,
    flip=flip,
    listed=len(names),
    options={'source': 'indexed', 'padded': padded},
    labels=tuple(label_counts_K.tolist()),
    task=task,
  )
  manifest.save(folder)
  return manifest


def _find_shards(folder: pathlib.Path, split: str) -> list[pathlib.Path]:
  paths = tfrecord.find_shards(folder, split)
  if not paths:
    raise InputError(
      f'got {folder}, which has no shards of {split!r}; expected files such as '
      f'{split}-00000-of-00032, with or without .tfrecord; try another --split'
    )
  if not any(path.stat().st_size for path in paths):
    raise InputError(
      f'the {len(paths)} shards of {split!r} in {folder} are empty; expected '
      'records in them'
    )
  return paths


@dataclasses.dataclass(frozen=True)
class _File:
  """A shard that was read to its end; its records are without frames."""

  path: pathlib.Path
  shard: Shard  # still without the names of its videos
  records: tuple[video_record.Record, ...]
  padded: int


def _read_shard(path: pathlib.Path) -> _File:
  offsets = tfrecord.scan_offsets(path)
  records, padded = [], 0
  for offset in offsets.tolist():
    raw = tfrecord.read_record(path, offset)
    try:
      record = video_record.parse(raw)
    except InputError as e:
      raise InputError(f'{path} at offset {offset}: {e}') from e
    padded += _is_padded(record)
    records.append(dataclasses.replace(record, frames=()))
  with open(path, 'rb') as f:
    digest = hashlib.file_digest(f, 'sha256').hexdigest()
    size = f.tell()
  shard = Shard(path.name, len(records), size, digest, offsets, videos=())
  return _File(path, shard, tuple(records), padded)


def _is_padded(record: video_record.Record) -> bool:
  """Whether DMVR's script put copies of the first frame before the clip.

  At 10 frames a second it writes those of 0 to `end`, not of `start` to `end`.
  """
  tenths, start_tenths = record.end_us / 100_000, record.start_us / 100_000
  frames = len(record.frames)
  return not record.timed and start_tenths >= 2 and abs(frames - tenths) < 2


def _unique_name(video: str, names: dict[str, int]) -> str:
  """A name for results, which are kept by name; counts it in `names`."""
  name = video
  while name in names:
    names[video] += 1
    name = f'{video}#{names[video]}'
  names[name] = 1
  return name


def _check_label_texts(record: video_record.Record, classes: ClassList) -> None:
  """Checks that the names a record gives its labels are those of the list."""
  labels, texts = record.labels, record.label_texts
  if not any(texts):
    return
  if len(texts) != len(labels):
    raise InputError(
      f'got the labels {labels} with the names {texts}; expected a name for '
      'each, or none'
    )
  for label, text in zip(labels, texts, strict=True):
    if text != classes.names[label]:
      place = ''
      if text in classes.names:
        place = f' and {text!r} as {classes.names.index(text)}'
      raise InputError(
        f'got label {label} as {text!r}; the class list has '
        f'{classes.names[label]!r} there{place}; try the list that the records '
        "were written with (DMVR's script numbers the classes anew each time "
        'it runs, so splits of two runs do not fit)'
      )


def _collect_classes(files: Iterable[_File]) -> ClassList:
  """The class list that the records spell out, number by number."""
  names: dict[int, str] = {}
  for file in files:
    for record in file.records:
      labels, texts = record.labels, record.label_texts
      if len(texts) != len(labels):
        raise InputError(
          f'got {record.video} of {file.path}, which does not name its labels '
          f'{labels}; expected their names; try --classes'
        )
      for label, text in zip(labels, texts, strict=True):
        if names.setdefault(label, text) != text:
          raise InputError(
            f'got label {label} as {names[label]!r} and {text!r} in '
            f'{file.path}; expected one name: there were two class lists'
          )
  missing = [i for i in range(len(names)) if i not in names]
  if missing or not names:
    gap = f'label {missing[0]} has none' if missing else 'there is no label'
    raise InputError(
      f'got names of {len(names)} labels in the records, but {gap}; expected a '
      'class list; try --classes'
    )
  return ClassList.from_names([names[i] for i in range(len(names))])
