"""From what a user has, a folder or a list, to rows that `prepare` takes.

A label means the same everywhere because the class list is settled first:
1. the one that is given,
2. else `classes.txt` beside the list or in the source folder,
3. else the class list of the set that a further split joins,
4. else the names found, sorted; or, if a list's labels are all numbers,
   classes named '0' to the largest.
"""

import dataclasses
import os
import pathlib
from typing import Literal

from vidmodels.data.listing import folder, lists
from vidmodels.data.listing.rows import VIDEO_SUFFIXES, Listing
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
  """Reads a folder per class or a list file.

  Args:
    source: a folder whose folders are named as classes, or a text file.
    classes: what labels refer to; see the rule above if None.
    root: what the paths of a list are relative to; its own folder if None.
    default: what labels refer to if nothing else says; for a second split.
    labels: what a video has: one class; any number of classes, none included;
      or one or more, each of them a right answer. See `Task`.
    need_files: whether a list none of whose files is there is an error.

  Raises:
    InputError: if the source cannot be read as either, is empty, or has an
      unknown label or a video twice.
  """
  source, task = pathlib.Path(source), Task(labels)
  if not source.exists():
    raise InputError(
      f'{source} does not exist; wanted a folder with a folder per class, or '
      'a list with `path label` on each line; check the path'
    )
  if source.is_dir():
    if root is not None:
      raise InputError(
        f'a root ({root}) came with the folder {source}; wanted it only with '
        'a list; leave it out'
      )
    listing = folder.read(source, classes or _beside(source) or default)
    return dataclasses.replace(listing, task=task)
  if source.suffix.lower() in VIDEO_SUFFIXES:
    raise InputError(
      f'{source} is a video; wanted a folder with a folder per class, or a '
      'list with `path label` on each line'
    )
  base = source.parent if root is None else pathlib.Path(root)
  classes = classes or _beside(source.parent) or default
  return lists.read(
    source, classes, root=base, task=task, need_files=need_files
  )


def _beside(beside: pathlib.Path) -> ClassList | None:
  path = beside / CLASSES_FILE
  return ClassList.load(path) if path.is_file() else None
