"""Reads a user's own videos, a folder per class or a list, to rows.

  listing = read_source('videos/train')        # videos/train/<class>/<video>
  listing = read_source('val.csv', root='videos')

The class list is settled first, so that a label means the same everywhere:
1. the list that is given,
2. else `classes.txt` beside the list or in the source folder,
3. else the class list of the set that a further split joins,
4. else the names in the source, sorted; or, if all labels of a list are
   numbers, classes named '0' to the largest.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Literal

from vidmodels.data.listing import user_list
from vidmodels.data.listing.class_names import (
  AnySpelling,
  normalize_name,
  note_spellings,
)
from vidmodels.data.listing.rows import (
  VIDEO_SUFFIXES,
  Listing,
  VideoRow,
  escape_name,
)
from vidmodels.data.records.class_list import CLASSES_FILE, ClassList
from vidmodels.data.records.task import Task
from vidmodels.typing import InputError


def read_source(
  source: str | os.PathLike[str],
  classes: ClassList | None = None,
  *,
  root: str | os.PathLike[str] | None = None,
  default: ClassList | None = None,
  labels: Literal['single', 'multi', 'any'] = 'single',
  need_files: bool = True,
) -> Listing:
  """Reads a folder with a folder for each class, or a list in a text file.

  Args:
    source: the folder or the list.
    classes: what labels refer to; the rule above decides if None.
    root: what the paths of a list are relative to; its own folder if None.
    default: what labels refer to if nothing else says; for a second split.
    labels: how many classes a video has, see `Task`.
    need_files: whether a list without a single existing file is an error.
  """
  source, task = pathlib.Path(source), Task(labels)
  if not source.exists():
    raise InputError(
      f'{source} does not exist; expected a folder with a folder per class, or '
      'a list with `path label` on each line; try another path'
    )
  if source.is_dir():
    if root is not None:
      raise InputError(
        f'got a root ({root}) with the folder {source}; expected a root with a '
        'list only; try without it'
      )
    listing = _read_folder(source, classes or _load_classes(source) or default)
    return dataclasses.replace(listing, task=task)
  if source.suffix.lower() in VIDEO_SUFFIXES:
    raise InputError(
      f'{source} is a video; expected a folder with a folder per class, or a '
      'list with `path label` on each line'
    )
  return user_list.read_list(
    source,
    classes or _load_classes(source.parent) or default,
    root=source.parent if root is None else pathlib.Path(root),
    task=task,
    need_files=need_files,
  )


def _load_classes(folder: pathlib.Path) -> ClassList | None:
  path = folder / CLASSES_FILE
  return ClassList.load(path) if path.is_file() else None


def _read_folder(source: pathlib.Path, classes: ClassList | None) -> Listing:
  """Lists `SOURCE/<class>/<video>` in the order of the names.

  All files count as videos, whatever their suffix, so that none is lost
  silently. Hidden files (`.name`) and files beside the class folders do not. A
  folder with the name of a video (`x.mp4`) counts too: it is reported later.
  """
  entries = _list_folder(source)
  folders = [path for path in entries if path.is_dir()]
  strays = [path for path in entries if _is_video(path) and not path.is_dir()]
  if not folders or strays:
    content = f'the video {strays[0].name}' if strays else 'no folder'
    raise InputError(
      f'{source} holds {content}; expected only folders named as the classes, '
      'with the videos inside; try sorting them so, or a list of `path label`'
    )
  if classes is None:
    names = {normalize_name(escape_name(folder.name)) for folder in folders}
    classes = ClassList.from_names(sorted(names))
  lookup = AnySpelling(classes)
  rows = [row for folder in folders for row in _list_class(folder, lookup)]
  if not rows:
    raise InputError(
      f'the {len(folders)} class folders of {source} are empty; expected '
      'videos in them; try another path'
    )
  spellings = note_spellings(escape_name(path.name) for path in folders)
  return Listing(rows=tuple(rows), classes=classes, notes=tuple(spellings))


def _list_class(
  folder: pathlib.Path, lookup: AnySpelling
) -> Iterator[VideoRow]:
  name = escape_name(folder.name)
  try:
    label = lookup.label(name)
  except InputError as e:
    raise InputError(f'{folder}: {e}') from e
  for path in _list_folder(folder):
    if path.is_dir() and not _is_video(path):
      raise InputError(
        f'class folder {folder} holds the folder {path.name}; expected only '
        f'videos in it; if {folder.name!r} is a split and not a class, try '
        f'{folder} as the source'
      )
    video = f'{name}/{escape_name(path.name)}'
    yield VideoRow(path=path, video=video, labels=(label,))


def _list_folder(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(p for p in folder.iterdir() if not p.name.startswith('.'))


def _is_video(path: pathlib.Path) -> bool:
  return path.suffix.lower() in VIDEO_SUFFIXES
