"""Finds every data set that can be prepared from its official files.

  registry.find('k400').classes()
  registry.read('k400', annotations='val.csv', videos='videos', split='val')

A module beside this one that has `DATASETS` adds data sets; nothing else has to
know. `dataset.py` says what a data set is.
"""

import dataclasses
import difflib
import functools
import os
import pathlib

from vidmodels import files
from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing.rows import Listing
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.fields import modules_with
from vidmodels.typing import InputError

__all__ = ['Dataset', 'Request', 'all_datasets', 'find', 'load_classes', 'read']


@functools.cache
def all_datasets() -> dict[str, Dataset]:
  """All data sets by their name, sorted; two with one name are an error."""
  by_name: dict[str, Dataset] = {}
  modules: dict[str, str] = {}
  for module in modules_with('data.datasets', 'DATASETS').values():
    path = module.__name__
    for dataset in module.DATASETS:
      for name in {dataset.name, *dataset.aliases}:
        if name in modules:
          raise InputError(
            f'got the data set {name!r} from {modules[name]} and from {path}; '
            'expected different names and aliases; try renaming one'
          )
        modules[name] = path
      folder = pathlib.Path(str(module.__file__)).parent
      by_name[dataset.name] = dataclasses.replace(dataset, folder=folder)
  return dict(sorted(by_name.items()))


def find(name: str) -> Dataset:
  """The data set with a name or an alias; the error has the nearest name."""
  known = {
    alias: dataset
    for dataset in all_datasets().values()
    for alias in (dataset.name, *dataset.aliases)
  }
  if name.lower() in known:
    return known[name.lower()]
  near = difflib.get_close_matches(name.lower(), known, 1, 0.6)
  hint = f'did you mean {near[0]}? ' if near else ''
  raise InputError(
    f'no data set {name!r} is known; {hint}expected one of '
    f'{", ".join(all_datasets())}, or a folder or list of your own'
  )


def load_classes(source: str | os.PathLike[str]) -> tuple[ClassList, Task]:
  """The classes and the task of a file, one name a line, or of a data set."""
  path = files.place(source)
  # A bare word is a name; an address in a store is never one.
  if path.name == str(source) and not path.suffix and not path.exists():
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

  `annotations` is the official file or the folder with all of them; `videos`,
  the folder with the videos, may be None to read only the annotations;
  `classes` is used instead of the official class list.
  """
  dataset = find(name)
  dataset.check_split(split)
  for kind, path in (('annotations', annotations), ('videos', videos)):
    if path is not None and not os.path.exists(path):
      raise InputError(
        f'--{kind} {path} does not exist; expected the {dataset.title} {kind}; '
        'try another path'
      )
  request = Request(
    annotations=pathlib.Path(annotations),
    videos=None if videos is None else pathlib.Path(videos),
    split=split,
    classes=classes,
  )
  return dataset.read(dataset, request)
