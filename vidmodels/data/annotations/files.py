"""Where the videos of a data set are, whatever folders they were put in."""

import os
import pathlib

from vidmodels.data.annotations.rows import VIDEO_SUFFIXES, utf8


class VideoFiles:
  """The video files below a folder, found by name.

  A file is known by its path below the folder and by its name, each with and
  without the suffix. Where two files have the same name the first in the order
  of their paths is taken, and `ambiguous` says so: copies of a data set hold a
  video under several class folders.

  Attributes:
    folder: where they are; None to find nothing: every path is a mere name.
  """

  def __init__(self, folder: pathlib.Path | None):
    self.folder = folder
    self._files: dict[str, pathlib.Path] = {}  # by path below the folder
    self._names: dict[str, list[str]] = {}
    self._used: set[str] = set()
    self._asked: set[str] = set()
    if folder is not None:
      for path in sorted(_walk(folder)):
        self._add(path)

  def _add(self, path: pathlib.Path) -> None:
    below = path.relative_to(self.folder).as_posix()
    self._files[below] = path
    without = below.removesuffix(path.suffix)
    for name in dict.fromkeys((below, without, path.name, path.stem)):
      self._names.setdefault(name, []).append(below)

  def find(self, *names: str) -> pathlib.Path:
    """The file of the first name that there is.

    Args:
      *names: with or without folders and suffix, the best one first.

    Returns:
      Its path; if there is none, that which the first name would have, so that
      the video is reported as missing.
    """
    for name in names:
      if name in self._names:
        below = self._names[name][0]
        self._used.add(below)
        self._asked.add(name)
        return self._files[below]
    return (self.folder or pathlib.Path()) / names[0]

  @property
  def ambiguous(self) -> tuple[str, ...]:
    """Names that were asked for and that several files have."""
    return tuple(
      sorted(name for name in self._asked if len(self._names[name]) > 1)
    )

  def unused(self) -> tuple[str, ...]:
    """Files that nobody asked for, by their path below the folder."""
    copies = {other for name in self._asked for other in self._names[name]}
    left = self._files.keys() - self._used - copies
    return tuple(sorted(utf8(below) for below in left))


def _walk(folder: pathlib.Path) -> list[pathlib.Path]:
  found = []
  for root, folders, names in os.walk(folder, followlinks=True):
    folders[:] = sorted(f for f in folders if not f.startswith('.'))
    found += [
      pathlib.Path(root, name)
      for name in names
      if pathlib.Path(name).suffix.lower() in VIDEO_SUFFIXES
    ]
  return found
