"""What readers of annotations give: a row a video, and what to say of them."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import SINGLE, Task

# By these a file is taken for a video where only its name is looked at.
VIDEO_SUFFIXES = frozenset(
  {
    *('.3gp', '.avi', '.flv', '.gif', '.m2ts', '.m4v', '.mkv', '.mov', '.mp4'),
    *('.mpeg', '.mpg', '.mts', '.ogv', '.ts', '.vob', '.webm', '.wmv'),
  }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoRow:
  """One clip of a split: a video, or a stretch of one.

  Attributes:
    path: the file, which may not be there.
    video: the clip's name, unique in the split: as the list or the official
      file gives it, or the path below the source folder.
    labels: class indices; none if a video has none or nobody published them.
    start_s: where the clip starts in the file, seconds.
    end_s: where it ends; None for the file's end.
    seconds: length of the clip as the annotations say it; None if they do not.
  """

  path: pathlib.Path
  video: str
  labels: tuple[int, ...]
  start_s: float = 0.0
  end_s: float | None = None
  seconds: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
  """What was listed for a split.

  Attributes:
    rows: in the order of the source; every name once.
    classes: what labels refer to.
    task: what labels are.
    flip: what a mirror does to labels, if the source says.
    labelled: False if the labels of this split are not published.
    expected: clips that the split officially has; 0 if nobody says.
    duplicates: names that were listed more than once and kept once.
    outside: video files that nothing in the source names.
    subsets: names of clips that are also reported on their own.
    class_subsets: classes that are also reported on their own.
    notes: what the user should read, a line each.
  """

  rows: tuple[VideoRow, ...]
  classes: ClassList
  task: Task = SINGLE
  flip: FlipPolicy | None = None
  labelled: bool = True
  expected: int = 0
  duplicates: tuple[str, ...] = ()
  outside: tuple[str, ...] = ()
  subsets: Mapping[str, tuple[str, ...]] = dataclasses.field(
    default_factory=dict
  )
  class_subsets: Mapping[str, tuple[int, ...]] = dataclasses.field(
    default_factory=dict
  )
  notes: tuple[str, ...] = ()


def utf8(name: str) -> str:
  """A file name as text that UTF-8 can hold; odd bytes become \\xNN."""
  return os.fsencode(name).decode(errors='backslashreplace')
