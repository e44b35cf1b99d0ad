"""Finds the videos of a data set by name, in whatever folders they are."""

import dataclasses
import errno
import functools
import os
import pathlib
import re
import shlex

from vidmodels.data.listing.rows import VIDEO_SUFFIXES, escape_name
from vidmodels.files import retry_reading, short_path

_IMAGES = frozenset(
  {'.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm'}
)
# What Windows, macOS, Synology, QNAP and Linux put into folders of users, in
# small letters. Their other files begin with a dot ('.DS_Store', '._a.mp4').
_SYSTEM_NAMES = frozenset(
  {
    *('thumbs.db', 'ehthumbs.db', 'ehthumbs_vista.db', 'desktop.ini'),
    *('$recycle.bin', 'system volume information', 'recycler', 'recycled'),
    *('__macosx', 'icon\r', 'network trash folder', 'temporary items'),
    *('@eadir', '@tmp', '#recycle', '#snapshot', '@recycle', 'lost+found'),
    *('@recently-snapshot', '__pycache__'),
  }
)


class VideoFiles:
  """The video files below a folder, found by name.

  A name is the end of a file's path below the folder, with or without the
  suffix: 'a', 'a.mp4' and 'run/a' all find 'train/run/a.mp4'. If a name fits
  several files, the first in the order of their paths is taken, and `ambiguous`
  names it: copies of a data set have one video in several class folders. Links
  to folders are followed, but no folder is read twice.

  Attributes:
    folder: where they are; None if there is none: then nothing is found, and
      every path is only a name.
    images: number of image files; without videos, they are extracted frames.
    image: the path of the first image below the folder.
  """

  def __init__(self, folder: pathlib.Path | None):
    self.folder = folder
    self.images = 0
    self.image = ''
    self._stems: dict[str, list[str]] = {}  # paths below the folder
    self._used: set[str] = set()
    self._known: set[str] = set()
    self._ambiguous: set[str] = set()
    if folder is not None:
      self._walk(folder)

  def _walk(self, folder: pathlib.Path) -> None:
    """Visits every folder once, by its own path rather than through a link.

    With two links to folders above, the number of paths doubles at every level.
    """
    visited, links = set(), [os.fspath(folder)]
    for top in links:  # it grows: targets of links come last
      pending = [top]
      while pending:
        root = pending.pop()
        try:
          status = retry_reading(root, functools.partial(os.stat, root))
          entries = list_folder(root)
        except FileNotFoundError:  # it was removed
          continue
        if (status.st_dev, status.st_ino) in visited:
          continue
        visited.add((status.st_dev, status.st_ino))
        folders = [entry for entry in entries if entry.is_folder]
        links += [entry.path for entry in folders if entry.is_link]
        pending += [e.path for e in reversed(folders) if not e.is_link]
        below = pathlib.Path(root).relative_to(folder)
        self._add(below, [e.name for e in entries if not e.is_folder])

  def _add(self, below: pathlib.Path, names: list[str]) -> None:
    """Adds the videos of a folder and counts its images."""
    start = '' if below == pathlib.Path() else f'{below.as_posix()}/'
    for name in names:
      stem, suffix = os.path.splitext(name)
      path = f'{start}{name}'
      if suffix.lower() in VIDEO_SUFFIXES:
        self._stems.setdefault(stem, []).append(path)
      if is_image(name):
        self.images += 1
        self.image = self.image or path

  def __len__(self) -> int:
    return sum(map(len, self._stems.values()))

  @property
  def used(self) -> int:
    """Number of files that `find` has returned."""
    return len(self._used)

  def find(self, *names: str) -> pathlib.Path:
    """The file of the first name that has one.

    If none has, the path that the first name would have, so that the video is
    reported as missing.
    """
    folder = self.folder or pathlib.Path()
    for name in names if self._stems else ():
      if paths := self._matches(name):
        self._used.add(paths[0])
        self._known.update(paths)
        if len(paths) > 1:
          self._ambiguous.add(name)
        return folder / paths[0]
    return folder / names[0]

  def has(self, *names: str) -> bool:
    """Whether `find` would find a file."""
    return bool(self._stems) and any(map(self._matches, names))

  def mark_known(self, *names: str) -> None:
    """Marks files as belonging to another split: no longer `unused`."""
    for name in names:
      self._known.update(self._matches(name))

  def _matches(self, name: str) -> list[str]:
    """Paths that a name fits; if it fits a whole path, no others."""
    base = name.rsplit('/', 1)[-1]
    paths = self._stems.get(base, [])
    stem, dot, suffix = base.rpartition('.')
    if f'{dot}{suffix}'.lower() in VIDEO_SUFFIXES:
      paths = paths + self._stems.get(stem, [])
    if not paths:  # of most names that are asked for
      return []
    fit = [
      path
      for path in paths
      if f'/{path}'.endswith(f'/{name}')
      or f'/{os.path.splitext(path)[0]}'.endswith(f'/{name}')
    ]
    whole = [p for p in fit if name in (p, os.path.splitext(p)[0])]
    return sorted(whole or fit)

  @property
  def ambiguous(self) -> tuple[str, ...]:
    """Names given to `find` that fit several files."""
    return tuple(sorted(self._ambiguous))

  def unused(self) -> tuple[str, ...]:
    """Paths, below the folder, of files that no name has fitted."""
    every = {path for paths in self._stems.values() for path in paths}
    return tuple(sorted(escape_name(path) for path in every - self._known))


@dataclasses.dataclass(frozen=True)
class FolderEntry:
  """A file or a folder in a folder."""

  name: str
  path: str
  is_folder: bool  # or a link to one
  is_link: bool


def list_folder(folder: str | os.PathLike[str]) -> list[FolderEntry]:
  """What a folder contains, by name, without what systems put there.

  Raises ReadError if the machine does not say: videos that it does not list
  would count as missing.
  """

  def scan() -> list[FolderEntry]:
    with os.scandir(os.fspath(folder)) as entries:
      return [
        FolderEntry(e.name, e.path, _is_folder(e), e.is_symlink())
        for e in entries
        if not is_system_name(e.name)
      ]

  return sorted(retry_reading(folder, scan), key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
  try:
    return entry.is_dir()
  except OSError as e:
    if e.errno == errno.ELOOP:  # a link to itself
      return False
    raise


def is_system_name(name: str) -> bool:
  """Whether a file or folder is hidden, or one that a system puts there."""
  return name.startswith('.') or name.lower() in _SYSTEM_NAMES


def find_move(path: pathlib.Path, root: pathlib.Path) -> str:
  """What to try for a file of a list that is not there: 'try ...'."""
  named = os.path.relpath(path, root) if path.is_relative_to(root) else ''
  if named and os.path.exists(named):
    return f'try --root {os.getcwd()}, below which {short_path(named)} is'
  slashes = named.replace('\\', '/')
  if slashes != named and os.path.exists(root / slashes):
    return 'try / for each \\ in its paths'
  if os.path.exists(root / path.name):
    return f'try the names of files alone: {path.name} is in {root}'
  for suffix in sorted(VIDEO_SUFFIXES):
    if os.path.exists(f'{path}{suffix}'):
      return f'try names with their suffix: {path.name}{suffix} is there'
  return 'try --root for another folder'


def is_image(name: str) -> bool:
  """Whether a file is an image by its name."""
  return os.path.splitext(name)[1].lower() in _IMAGES


def video_of_frames(folder: str, image: str) -> str:
  """The command that makes a video of a folder of frames without re-encoding.

  `image` is the file name of the first frame; '' if unknown.
  """
  match = re.fullmatch(r'(.*?)([0-9]+)(\.\w+)', image)
  prefix, digits, suffix = match.groups() if match else ('', '00001', '.jpg')
  pattern = f'{prefix.replace("%", "%%")}%0{len(digits)}d{suffix}'
  # ffmpeg looks for the first frame from 0 to 4.
  start = f'-start_number {int(digits)} ' if int(digits) > 4 else ''
  return (
    f'ffmpeg -framerate 30 {start}-i {shlex.quote(f"{folder}/{pattern}")} '
    f'-c copy {shlex.quote(f"{folder}.mkv")} (30 is the number of frames '
    'a second at which they were extracted)'
  )
