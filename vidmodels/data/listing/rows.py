"""What every reader of annotations returns: one row a clip, and notes.

row = VideoRow(path=folder / 'run/a.mp4', video='run/a.mp4', labels=(0,))
Listing(rows=(row,), classes=ClassList(('run', 'walk')))
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import field

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import InputError

# A file with one of these suffixes counts as a video where only names are read.
VIDEO_SUFFIXES = frozenset(
  {
    *('.3gp', '.avi', '.flv', '.gif', '.m2ts', '.m4v', '.mkv', '.mov', '.mp4'),
    *('.mpeg', '.mpg', '.mts', '.ogv', '.ts', '.vob', '.webm', '.wmv'),
  }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoRow:
  """One clip of a split: a whole video, or a part of one."""

  path: pathlib.Path  # the video file, which may be missing
  # video: the clip's name, unique in the split: as the list or the official
  # file gives it, or the path below the source folder
  video: str
  # labels: class indices; empty if a video has no class or its classes are not
  # published
  labels: tuple[int, ...]
  start_s: float = 0.0  # where the clip starts in the file, seconds
  end_s: float | None = None  # where it ends; None for the end of the file
  # seconds: length of the clip according to the annotations; None if they do
  # not say
  seconds: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
  """All clips of a split."""

  rows: tuple[VideoRow, ...]  # in the order of the source; each name once
  classes: ClassList  # what labels refer to
  task: Task = SINGLE  # how many labels a clip has, and of what
  # flip: what a mirror does to labels, if the source says
  flip: FlipPolicy | None = None
  labelled: bool = True  # False if the labels of this split are not published
  expected: int = 0  # official number of clips of the split; 0 if unknown
  # duplicates: names that were listed more than once and kept once
  duplicates: tuple[str, ...] = ()
  outside: tuple[str, ...] = ()  # video files that nothing in the source names
  # subsets: names of clips that are also reported on their own
  subsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
  # class_subsets: classes that are also reported on their own
  class_subsets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
  notes: tuple[str, ...] = ()  # what the user should read, one line each


def escape_name(name: str) -> str:
  """A file name as text that UTF-8 can hold; other bytes become \\xNN."""
  return os.fsencode(name).decode(errors='backslashreplace')


def join_names(names: Sequence[str]) -> str:
  """The first five names, and how many more there are."""
  more = len(names) - 5
  text = ', '.join(names[:5])
  return f'{text}, and {more} more' if more > 0 else text


def note_names(what: str, names: Sequence[str]) -> list[str]:
  """A note such as '2 in several places: a, b'; no note without names."""
  return [f'{len(names)} {what}: {join_names(names)}'] if names else []


def note_counts(counts: Mapping[str, int]) -> list[str]:
  """Notes such as 'videos without an action: 3'; no note for a count of 0."""
  return [f'{what}: {count:,}' for what, count in counts.items() if count]


def note_shared_files(rows: Sequence[VideoRow]) -> list[str]:
  """Notes on clips of different names that are the same part of one file.

  Annotators may give one part of a video two classes. Two clips that are the
  same whole file with different labels are an error: one took the other's file.
  """
  first: dict[tuple[str, float, float | None], VideoRow] = {}
  shared = []
  for row in rows:
    # '..' needs the file system: a link may lead elsewhere.
    path = str(row.path)
    path = os.path.realpath(path) if '..' in row.path.parts else path
    before = first.setdefault((path, row.start_s, row.end_s), row)
    if before is row or not os.path.exists(row.path):
      continue
    is_whole = not row.start_s and row.end_s is None
    if is_whole and before.labels != row.labels:
      raise InputError(
        f'got {row.path} as the only file for {before.video} and for '
        f'{row.video}, which have different labels; expected one file for '
        'each; try folders with the names of the classes, or remove one of '
        'the two from the list'
      )
    shared.append(f'{row.video} (as {before.video})')
  return note_names('the same stretch of the same file as another clip', shared)
