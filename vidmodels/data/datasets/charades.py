"""Charades: whole videos, each with any number of 157 actions.

A video's classes are the actions that it has anywhere; their times are only
checked. The class names are in the user's files.
"""

import pathlib
import re
from collections.abc import Iterator

from vidmodels.data.datasets.dataset import Dataset, Request, build_listing
from vidmodels.data.listing import text_files
from vidmodels.data.listing.rows import Listing, VideoRow, note_counts
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import Task
from vidmodels.typing import InputError

_CLASSES = 157
_FILES = {split: f'Charades_v1_{split}.csv' for split in ('train', 'test')}
_CLASS_FILE = 'Charades_v1_classes.txt'
_COLUMNS = ('id', 'actions', 'length')
_CODE = re.compile(r'c(\d{3})', re.ASCII)
# What official files have and nobody expects.
_ODD = (
  'videos without an action, kept with all classes 0',
  'actions that end after their video',
  'actions that start after it; they count',
  'actions that end before they start; they count',
  'actions that their video has already',
)


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads `Charades_v1_{train,test}.csv`; videos are `<id>.mp4`."""
  what = f'the Charades {request.split} csv'
  path = text_files.find_file(
    request.annotations, [_FILES[request.split]], what
  )
  classes = _load_classes(request, path)
  files, rows = request.files, []
  odd = dict.fromkeys(_ODD, 0)
  for line, fields in _read_rows(path):
    with text_files.locate_errors(path, line):
      name = text_files.parse_clip_name(fields['id'])
      length_s = text_files.parse_seconds(fields['length'])
      rows.append(
        VideoRow(
          path=files.find(f'{name}.mp4', name),
          video=name,
          labels=_parse_actions(fields['actions'], length_s, odd),
          seconds=length_s if length_s > 0 else None,
        )
      )
  # The videos of both splits come in one archive.
  for name in _FILES.values():
    other = text_files.find_beside(path, [name])
    for _, fields in _read_rows(other) if other else ():
      files.mark_known(fields['id'])
  notes = note_counts(odd)
  return build_listing(dataset, request, rows, classes=classes, notes=notes)


def _read_rows(path: pathlib.Path) -> Iterator[tuple[int, dict[str, str]]]:
  # The script and the descriptions are prose and may span lines.
  return text_files.read_csv(path, _COLUMNS, 'a Charades csv', multiline=True)


def _parse_actions(
  actions: str, length_s: float, odd: dict[str, int]
) -> tuple[int, ...]:
  """Classes of 'c092 11.90 21.20;c147 0.00 12.60', each once, sorted."""
  empty, late_end, late_start, backward, repeated = _ODD
  labels = []
  for action in actions.split(';') if actions.strip() else ():
    parts = action.split()
    code = _CODE.fullmatch(parts[0]) if len(parts) == 3 else None
    if code is None or int(code[1]) >= _CLASSES:
      raise InputError(
        f'got the action {action[:60]!r}; expected a class from c000 to '
        f'c{_CLASSES - 1}, its start and its end, such as c092 11.90 21.20; '
        'try fetching the file again'
      )
    start_s, end_s = map(text_files.parse_seconds, parts[1:])
    odd[late_end] += end_s > length_s
    odd[late_start] += start_s > length_s
    odd[backward] += end_s < start_s
    labels.append(int(code[1]))
  odd[empty] += not labels
  odd[repeated] += len(labels) - len(set(labels))
  return tuple(sorted(set(labels)))


def _load_classes(request: Request, path: pathlib.Path) -> ClassList:
  """The names that the user gives, else those of the official class file."""
  if request.classes is not None:
    if len(request.classes) != _CLASSES:
      raise InputError(
        f'got {len(request.classes)} classes; expected the {_CLASSES} of '
        f'Charades; try the order of {_CLASS_FILE}'
      )
    return request.classes
  file = text_files.find_beside(path, [_CLASS_FILE])
  if file is None:
    raise InputError(
      f'{path.parent} has no {_CLASS_FILE}; expected it beside the csv, for '
      'the names of the classes; try --classes'
    )
  names: list[str] = []
  for line in text_files.read_text(file).rstrip().split('\n'):
    code, _, name = line.strip().partition(' ')
    if code != f'c{len(names):03d}' or not name.strip():
      raise InputError(
        f'{file} line {len(names) + 1} is {line[:60]!r}; expected '
        f'c{len(names):03d} and the name of the class; try fetching it again'
      )
    names.append(name.strip())
  if len(names) != _CLASSES:
    raise InputError(
      f'{file} has {len(names)} classes; expected {_CLASSES}; try fetching it '
      'again'
    )
  with text_files.locate_errors(file, 'as a class list'):
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
