"""Every data set that can be prepared from its official files, found by file.

A module beside this one that has `DATASETS` adds to them; nothing else has to
know. `dataset.py` says what a data set is.
"""

import difflib
import functools
import importlib
import os
import pathlib
import pkgutil

from vidmodels.data import datasets
from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing.rows import Listing
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import InputError

__all__ = ['Dataset', 'Request', 'every', 'find', 'labels_of', 'read']


@functools.cache
def every() -> dict[str, Dataset]:
  """All data sets by their name, sorted."""
  found = {}
  for module in pkgutil.iter_modules(datasets.__path__):
    name = f'{datasets.__name__}.{module.name}'
    for dataset in getattr(importlib.import_module(name), 'DATASETS', ()):
      found[dataset.name] = dataset
  return dict(sorted(found.items()))


def find(name: str) -> Dataset:
  """The data set of a name or an alias.

  Raises:
    InputError: if there is none, with the nearest.
  """
  known = {
    alias: dataset
    for dataset in every().values()
    for alias in (dataset.name, *dataset.aliases)
  }
  if name.lower() in known:
    return known[name.lower()]
  near = difflib.get_close_matches(name.lower(), known, 1, 0.6)
  hint = f'did you mean {near[0]}? ' if near else ''
  raise InputError(
    f'no data set {name!r} is known; {hint}wanted one of '
    f'{", ".join(every())}, or a folder or list of your own'
  )


def labels_of(what: str | os.PathLike[str]) -> tuple[ClassList, Task]:
  """The classes that a file lists, or those of a data set, and their task.

  Args:
    what: a file with one class name a line, or the name of a data set.

  Raises:
    InputError: if it is neither.
  """
  path = pathlib.Path(what)
  if not path.exists() and path.name == str(what) and not path.suffix:
    dataset = find(path.name)
    return dataset.classes(), dataset.task
  return ClassList.load(path), SINGLE


def read(
  name: str,
  *,
  annotations: str | os.PathLike[str],
  videos: str | os.PathLike[str] | None,
  split: str,
  classes: ClassList | None = None,
) -> Listing:
  """Reads a split of a data set from its official files.

  Args:
    name: of the data set, or an alias.
    annotations: the official file, or the folder with all of them.
    videos: the folder with the videos; None to look at the annotations only.
    split: one of its splits.
    classes: another class list than the official one.

  Raises:
    InputError: if there is no such data set, split or file, or a file is not
      what it should be.
  """
  dataset = find(name)
  dataset.check_split(split)
  for kind, path in (('annotations', annotations), ('videos', videos)):
    if path is not None and not os.path.exists(path):
      raise InputError(
        f'--{kind} {path} does not exist; wanted the {dataset.title} {kind}; '
        'check the path'
      )
  request = Request(
    annotations=pathlib.Path(annotations),
    videos=None if videos is None else pathlib.Path(videos),
    split=split,
    classes=classes,
  )
  return dataset.read(dataset, request)
