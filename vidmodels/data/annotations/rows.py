"""What `prepare` takes: one row a video."""

import dataclasses
import os
import pathlib

# By these a file is taken for a video where only its name is looked at.
VIDEO_SUFFIXES = frozenset(
  {
    *('.3gp', '.avi', '.flv', '.gif', '.m2ts', '.m4v', '.mkv', '.mov', '.mp4'),
    *('.mpeg', '.mpg', '.mts', '.ogv', '.ts', '.vob', '.webm', '.wmv'),
  }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One video of a split.

  Attributes:
    path: the file, which may not be there.
    video: its name, unique in the split: the path below the source folder, or
      as the list gives it.
    label: class index.
    start_s: where the clip starts in the file, seconds.
    end_s: where it ends; None for the file's end.
  """

  path: pathlib.Path
  video: str
  label: int
  start_s: float = 0.0
  end_s: float | None = None


def utf8(name: str) -> str:
  """A file name as text that UTF-8 can hold; odd bytes become \\xNN."""
  return os.fsencode(name).decode(errors='backslashreplace')
