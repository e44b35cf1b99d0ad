"""A list of your own: a path and a label on each line.

`path label`, `path,label` or a tab between them; several labels if asked for; a
csv with a header or a JSON list of objects with `file` and `label`, whose
`start` and `end` cut the clip. The separator is a tab if every line has one,
else a comma if every line has one, else white space; between tabs and commas a
field may stand in quotes, and several labels in one, with , or ; between them.
A path ends where it ends as a video does (`.mp4`), or else before the last
separator, so it may hold spaces and commas. Frames extracted to folders are not
read.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence

from vidmodels.data.datasets.build_listing import same_files
from vidmodels.data.listing import lines as formats
from vidmodels.data.listing.rows import VIDEO_SUFFIXES, Listing, VideoRow
from vidmodels.data.listing.sniff import looks_like
from vidmodels.data.listing.spelling import Spelt, nfc, spelt_twice
from vidmodels.data.listing.tables import Entry
from vidmodels.data.listing.video_files import is_image, video_of_frames
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import Task
from vidmodels.typing import InputError

_MOST_CLASSES = 100_000  # a larger number is no label but a slip
_NUMBER = re.compile(r'[+-]?\d{1,18}', re.ASCII)
_REAL = re.compile(r'[+-]?\d+(\.\d*)?', re.ASCII)


def read(
  source: pathlib.Path,
  classes: ClassList | None,
  *,
  root: pathlib.Path,
  task: Task,
  need_files: bool = True,
) -> Listing:
  """Reads a list, each line of which is a video, or a stretch of one.

  Blank lines and comments are passed over, and a line that comes twice is kept
  once; comments and such lines are counted.

  Raises:
    InputError: if a line has no label, an unknown one or too many, a path comes
      twice, in whatever spelling, or a file by two paths, with different
      labels, or no file of the list is there, if one is needed.
  """
  found, notes, unit = formats.read(source, several=task.kind != 'single')
  _refuse_frames(source, found, root)
  if task.kind == 'single':
    found, more = _one_label(source, unit, found, classes)
    notes += more
  else:
    names = Spelt(classes) if classes else ()
    found = [
      _with(entry, (entry.joined,)) if entry.joined in names else entry
      for entry in found
    ]
  if classes is None:
    classes = _classes_of(source, found)
    notes += spelt_twice({label for entry in found for label in entry.labels})
  rows, duplicates = _rows(source, unit, found, classes, root, task)
  if need_files:
    _check_files(source, rows, root)
  notes += same_files(rows)
  return Listing(
    rows=tuple(rows),
    classes=classes,
    task=task,
    duplicates=tuple(duplicates),
    notes=tuple(notes + _counts_from_one(found)),
  )


def _rows(
  source: pathlib.Path,
  unit: str,
  found: Sequence[Entry],
  classes: ClassList,
  root: pathlib.Path,
  task: Task,
) -> tuple[list[VideoRow], list[str]]:
  """A row a name, and the names that came again."""
  known = Spelt(classes)
  rows: dict[str, VideoRow] = {}
  first, duplicates = {}, []
  for entry in found:
    try:
      row = _row(entry, known, classes, root, task)
    except InputError as e:
      raise InputError(f'{source} {unit} {entry.number}: {e}') from e
    if rows.setdefault(row.video, row) != row:
      raise InputError(
        f'{source} lists {row.video!r} twice, on {unit}s {first[row.video]} '
        f'and {entry.number}, with different labels; wanted one; remove the '
        'other'
      )
    if row.video in first:
      duplicates.append(row.video)
    first.setdefault(row.video, entry.number)
  return list(rows.values()), duplicates


def _counts_from_one(found: Sequence[Entry]) -> list[str]:
  labels = [label for entry in found for label in entry.labels]
  looks_so = 'UCF101' in looks_like(f'{found[0].video} 1')
  if not looks_so or min(map(_number, labels), default=0) < 1:
    return []
  return [
    'this looks like a list of UCF101, whose labels count from 1: `vidmodels '
    'prepare ucf101` takes the official files'
  ]


def _row(
  entry: Entry,
  known: Spelt,
  classes: ClassList,
  root: pathlib.Path,
  task: Task,
) -> VideoRow:
  labels = tuple(map(known.label, entry.labels))
  task.check(labels, len(classes))
  if entry.index is not None and (entry.index,) != labels:
    raise InputError(
      f'label {entry.joined!r} has the number {entry.index} here and {labels} '
      'in the class list; wanted the same order; give the names in order with '
      '--classes'
    )
  # 'v/a.mp4' is './v/a.mp4' and 'v//a.mp4'; of '..' a link may make another.
  video = str(pathlib.PurePosixPath(entry.video))
  if entry.start_s or entry.end_s is not None:
    end = '' if entry.end_s is None else f'{entry.end_s:.10g}'
    video += f'@{entry.start_s:.10g}-{end}'
  return VideoRow(
    path=root / entry.video,
    video=video,
    labels=labels,
    start_s=entry.start_s,
    end_s=entry.end_s,
  )


def _one_label(
  source: pathlib.Path,
  unit: str,
  found: Sequence[Entry],
  classes: ClassList | None,
) -> tuple[list[Entry], list[str]]:
  """Entries with their one label, which may hold the separator.

  `path number label`, where the number cannot be a label, is read too.
  """
  if _has_a_number_between(found, classes):
    kept = [_with(entry, entry.labels[-1:]) for entry in found]
    return kept, ['the middle one of three columns is no label: not read']
  kept, names = [], Spelt(classes) if classes else ()
  for entry in found:
    if entry.joined in names or len(entry.labels) == 1:
      kept.append(_with(entry, (entry.joined,)))
      continue
    came = f'{len(entry.labels)} labels ({entry.joined[:60]!r})'
    raise InputError(
      f'{source} {unit} {entry.number} has {came if entry.labels else "none"} '
      f'after {entry.video[-60:]!r}; wanted one label; for several labels a '
      'video give --labels=multi or --labels=any, for a label with spaces or '
      'commas a tab before it or --classes; cut other columns away'
    )
  return kept, []


def _has_a_number_between(
  found: Sequence[Entry], classes: ClassList | None
) -> bool:
  """Whether all lines are `path number label`, and numbers are no labels.

  They are none if half of them at least are fractions, negative, or beyond the
  last class. Without a class list that cannot be told of labels in numbers.
  """
  if any(len(entry.labels) != 2 for entry in found):
    return False
  between = [entry.labels[0] for entry in found]
  if not all(_REAL.fullmatch(number) for number in between):
    return False
  names = classes.names if classes else ()
  if not names and all(_NUMBER.fullmatch(e.labels[1]) for e in found):
    return False
  beyond = [
    number not in names and not 0 <= _number(number) < len(names)
    for number in between
  ]
  return 2 * sum(beyond) >= len(beyond)


def _number(label: str) -> int:
  return int(label) if _NUMBER.fullmatch(label) else -1


def _with(entry: Entry, labels: tuple[str, ...]) -> Entry:
  return dataclasses.replace(entry, labels=labels)


def _classes_of(source: pathlib.Path, found: Sequence[Entry]) -> ClassList:
  """The classes that the labels name, or number, or both."""
  labels = [nfc(label) for entry in found for label in entry.labels]
  if not labels:
    raise InputError(
      f'{source} has no label at all; wanted one; give the names with --classes'
    )
  numbered = {
    entry.index: nfc(label) for entry in found for label in entry.labels[:1]
  }
  if None not in numbered:
    if sorted(numbered) != list(range(len(numbered))):
      raise InputError(
        f'{source} has labels numbered {min(numbered)} to {max(numbered)} with '
        'gaps; wanted all; give the names in order with --classes'
      )
    return ClassList.from_names([numbered[i] for i in range(len(numbered))])
  if not all(_NUMBER.fullmatch(label) for label in labels):
    return ClassList.from_names(sorted(set(labels)))
  numbers = [int(label) for label in labels]
  for number in (min(numbers), max(numbers)):
    if not 0 <= number < _MOST_CLASSES:
      raise InputError(
        f'label {number} came; wanted 0 to {_MOST_CLASSES - 1} without a class '
        'list; correct the label, or give the names with --classes'
      )
  return ClassList.from_names([str(i) for i in range(max(numbers) + 1)])


def _refuse_frames(
  source: pathlib.Path, found: Sequence[Entry], root: pathlib.Path
) -> None:
  """Refuses `folder n_frames label`, as lists of extracted frames have it."""
  for entry in found[:3]:
    folder, *numbers = entry.video.split()
    if all(number.isdecimal() for number in numbers):
      _refuse_folder(source, entry, root, folder)
    _refuse_folder(source, entry, root, entry.video)


def _refuse_folder(
  source: pathlib.Path, entry: Entry, root: pathlib.Path, video: str
) -> None:
  is_video = pathlib.Path(video).suffix.lower() in VIDEO_SUFFIXES
  if not is_video and os.path.isdir(root / video):
    command = video_of_frames(video, _first_image(root / video))
    raise InputError(
      f'{source} has the folder {video} ({entry.number}); a list of extracted '
      'frames (`folder frames label`) is not read; wanted video files; make '
      f'one of each folder: {command}; then list `video label`'
    )


def _first_image(folder: pathlib.Path) -> str:
  names = (name for name in os.listdir(folder) if is_image(name))
  return min(names, default='')


def _check_files(
  source: pathlib.Path, rows: list[VideoRow], root: pathlib.Path
) -> None:
  """Refuses a list none of whose files is there; one by one they are lost."""
  if any(os.path.exists(row.path) for row in rows):
    return
  first = rows[0]
  raise InputError(
    f'none of the {len(rows)} files of {source} is there, as {first.path}; '
    'wanted paths relative to the list; give --root for another folder'
  )
