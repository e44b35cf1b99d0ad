"""Charades: whole videos, each with any number of 157 actions.

A video's classes are the actions that it has anywhere; when they happen does
not matter here. The classes are in the user's files.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator

from vidmodels.data.datasets.build_listing import gather
from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.listing.text_files import (
  at,
  beside,
  clip_name,
  find_one,
  read_csv,
  read_text,
)
from vidmodels.data.listing.values import seconds, some
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import Task
from vidmodels.typing import InputError

_CLASSES = 157
_FILES = {split: f'Charades_v1_{split}.csv' for split in ('train', 'test')}
_CLASS_FILE = 'Charades_v1_classes.txt'
_COLUMNS = ('id', 'actions', 'length')
_CODE = re.compile(r'c(\d{3})', re.ASCII)


@dataclasses.dataclass
class _Odd:
  """What official files have and nobody expects, counted."""

  empty: int = 0
  late_ends: int = 0
  late_starts: int = 0
  backward: int = 0
  repeated: int = 0

  def notes(self) -> tuple[str, ...]:
    return (
      *some('videos without an action, kept with all classes 0', self.empty),
      *some('actions that end after their video', self.late_ends),
      *some('actions that start after it; they count', self.late_starts),
      *some('actions that end before they start; they count', self.backward),
      *some('actions that their video has already', self.repeated),
    )


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads `Charades_v1_{train,test}.csv`; videos are `<id>.mp4`.

  Raises:
    InputError: if a file is not the official one, or an action is malformed or
      of no class.
  """
  path = find_one(
    request.annotations,
    [_FILES[request.split]],
    f'the Charades {request.split} csv',
  )
  classes = _classes(request, path)
  files, odd, rows = VideoFiles(request.videos), _Odd(), []
  for line, fields in _entries(path):
    with at(path, line):
      name, length_s = clip_name(fields['id']), seconds(fields['length'])
      rows.append(
        VideoRow(
          path=files.find(f'{name}.mp4', name),
          video=name,
          labels=_labels(fields['actions'], length_s, odd),
          seconds=length_s if length_s > 0 else None,
        )
      )
  # The videos of both splits come in one archive.
  for name in _FILES.values():
    other = beside(path, [name])
    files.know(*(f['id'] for _, f in _entries(other)) if other else ())
  return gather(
    dataset, request, rows, files, classes=classes, notes=odd.notes()
  )


def _entries(path: pathlib.Path) -> Iterator[tuple[int, dict[str, str]]]:
  # The script and the descriptions are prose, with whatever prose has.
  return read_csv(path, _COLUMNS, 'a Charades csv', multiline=True)


def _labels(actions: str, length_s: float, odd: _Odd) -> tuple[int, ...]:
  """Classes of 'c092 11.90 21.20;c147 0.00 12.60', each once, sorted."""
  found = []
  for action in actions.split(';') if actions.strip() else ():
    parts = action.split()
    code = _CODE.fullmatch(parts[0]) if len(parts) == 3 else None
    if code is None or int(code[1]) >= _CLASSES:
      raise InputError(
        f'the action {action[:60]!r} came; wanted a class from c000 to '
        f'c{_CLASSES - 1}, its start and its end, as c092 11.90 21.20'
      )
    start_s, end_s = seconds(parts[1]), seconds(parts[2])
    odd.late_ends += end_s > length_s
    odd.late_starts += start_s > length_s
    odd.backward += end_s < start_s
    found.append(int(code[1]))
  odd.empty += not found
  odd.repeated += len(found) - len(set(found))
  return tuple(sorted(set(found)))


def _classes(request: Request, path: pathlib.Path) -> ClassList:
  """The names that the user gives, else those of the official class file."""
  if request.classes is not None:
    if len(request.classes) != _CLASSES:
      raise InputError(
        f'{len(request.classes)} classes came; wanted the {_CLASSES} of '
        f'Charades, in the order of {_CLASS_FILE}'
      )
    return request.classes
  file = beside(path, [_CLASS_FILE])
  if file is None:
    raise InputError(
      f'{path.parent} has no {_CLASS_FILE}; wanted it beside the csv: it has '
      'the names of the classes; or give them with --classes'
    )
  names = []
  for line in read_text(file).rstrip().split('\n'):
    code, _, name = line.strip().partition(' ')
    if code != f'c{len(names):03d}' or not name.strip():
      raise InputError(
        f'{file} line {len(names) + 1} is {line[:60]!r}; wanted '
        f'c{len(names):03d} and the name of the class'
      )
    names.append(name.strip())
  if len(names) != _CLASSES:
    raise InputError(f'{file} has {len(names)} classes; wanted {_CLASSES}')
  with at(file, 'as a class list'):
    return ClassList.from_names(names)


DATASETS = (
  Dataset(
    name='charades',
    title='Charades',
    splits={'train': 7985, 'test': 1863},
    metric='map',
    flip=FlipPolicy('free'),
    read=read,
    task=Task('multi'),
  ),
)
