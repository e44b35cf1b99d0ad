"""A folder per class: `SOURCE/<class>/<video>`, as UCF101 and Kinetics ship."""

import pathlib

from vidmodels.data.listing.rows import VIDEO_SUFFIXES, Listing, VideoRow, utf8
from vidmodels.data.listing.spelling import Spelt, nfc, spelt_twice
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError


def read(source: pathlib.Path, classes: ClassList | None) -> Listing:
  """Lists every file of every class folder, in the order of their names.

  All files count, whatever their suffix, so that none is lost in silence; only
  hidden ones (`.name`) and files beside the class folders are left out. A
  folder named as a video (`x.mp4`) counts too, to be reported as what it is.

  Raises:
    InputError: if there is no class folder or no video, a class folder holds
      folders, a video lies beside them, or a class is unknown.
  """
  folders, strays = [], []
  for path in _entries(source):
    if path.is_dir():
      folders.append(path)
    elif _is_video(path):
      strays.append(path)
  if not folders or strays:
    came = f'the video {strays[0].name}' if strays else 'no folder'
    raise InputError(
      f'{source} holds {came}; wanted only folders named as the classes, with '
      'the videos inside; sort them so, or give a list of `path label`'
    )
  if classes is None:
    names = [nfc(utf8(f.name)) for f in folders]
    classes = ClassList.from_names(sorted({*names}))
  known = Spelt(classes)
  rows = [row for path in folders for row in _class_rows(path, known)]
  if not rows:
    raise InputError(
      f'the {len(folders)} class folders of {source} are empty; wanted videos '
      'in them; check the path'
    )
  twice = spelt_twice(utf8(path.name) for path in folders)
  return Listing(rows=tuple(rows), classes=classes, notes=tuple(twice))


def _class_rows(folder: pathlib.Path, known: Spelt) -> list[VideoRow]:
  name = utf8(folder.name)
  try:
    label = known.label(name)
  except InputError as e:
    raise InputError(f'{folder}: {e}') from e
  rows = []
  for path in _entries(folder):
    if path.is_dir() and not _is_video(path):
      raise InputError(
        f'class folder {folder} holds the folder {path.name}; wanted only '
        f'videos in it; if {folder.name!r} is a split, not a class, give '
        f'{folder} as the source'
      )
    video = f'{name}/{utf8(path.name)}'
    rows.append(VideoRow(path=path, video=video, labels=(label,)))
  return rows


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(p for p in folder.iterdir() if not p.name.startswith('.'))


def _is_video(path: pathlib.Path) -> bool:
  return path.suffix.lower() in VIDEO_SUFFIXES
