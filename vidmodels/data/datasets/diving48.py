"""Diving48, version 2 of October 2020: json lists of dives.

`{"vid_name": "_8Vy3dlHg2w_00000", "label": 12, "start_frame": 0, "end_frame":
86}`, and `Diving48_vocab.json`, four words for each label. The frames are those
of the released mp4, which is the dive alone: the whole file is taken. Version 1
has wrong labels and is refused. No class depends on left or right.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

from vidmodels.data.datasets.dataset import (
  Dataset,
  Request,
  build_listing,
  mark_other_splits,
)
from vidmodels.data.listing import text_files
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

_KEYS = ('vid_name', 'label', 'start_frame', 'end_frame')
_WHAT = 'a Diving48 list'
_MOST_FRAMES = 10_000_000
_FIRST = (
  'version 1, whose labels are partly wrong; expected version 2 of October'
)


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads a split; compares the vocabulary with the class list if beside it."""
  path = _find_list(dataset, request)
  classes = request.classes or dataset.classes()
  if request.classes is None:
    _check_vocabulary(path, classes)
  files = request.files
  rows, late = [], 0
  entries = text_files.read_objects(path, _KEYS, _WHAT)
  for number, entry in enumerate(entries, 1):
    with text_files.locate_errors(path, f'entry {number}'):
      row, start = _parse_dive(entry, classes, files)
    rows.append(row)
    late += start > 0
  notes = []
  if late:
    notes = [f'{late} clips do not start at frame 0; their files are whole']
  other = 'test' if request.split == 'train' else 'train'
  notes += mark_other_splits(
    files, path, {other: [_file_name(other)]}, _read_names
  )
  return build_listing(dataset, request, rows, classes=classes, notes=notes)


def _find_list(dataset: Dataset, request: Request) -> pathlib.Path:
  place, split = request.annotations, request.split
  first = f'Diving48_{split}.json'  # of version 1
  if place.is_dir() and not text_files.find_files(place, _file_name(split)):
    place = next(iter(text_files.find_files(place, first)), place)
  what = f'the {dataset.title} V2 {split} json'
  path = text_files.find_file(place, (_file_name(split),), what)
  if path.name.lower() == first.lower():
    raise InputError(f'got {path}, {_FIRST} 2020; try {_file_name(split)}')
  return path


def _file_name(split: str) -> str:
  return f'Diving48_V2_{split}.json'


def _read_names(path: pathlib.Path, split: str) -> Iterator[str]:
  for entry in text_files.read_objects(path, _KEYS, _WHAT):
    yield text_files.parse_clip_name(entry['vid_name'])


def _parse_dive(
  entry: dict[str, Any], classes: ClassList, files: VideoFiles
) -> tuple[VideoRow, int]:
  """A dive and its first frame."""
  name = text_files.parse_clip_name(entry['vid_name'])
  try:
    label = text_files.parse_int(entry['label'], most=len(classes) - 1)
  except InputError as e:
    raise InputError(f'label: {e}; larger labels are of version 1') from e
  start, end = (
    text_files.parse_int(entry[key], most=_MOST_FRAMES)
    for key in ('start_frame', 'end_frame')
  )
  if end < start:
    raise InputError(
      f'got frames {start} to {end}; expected the end after the start'
    )
  path = files.find(f'{name}.mp4', name)
  return VideoRow(path=path, video=name, labels=(label,)), start


def _check_vocabulary(path: pathlib.Path, classes: ClassList) -> None:
  vocabulary = text_files.find_beside(path, ('Diving48_vocab.json',))
  if vocabulary is None:
    return
  value = text_files.read_json(vocabulary)
  try:
    theirs = ClassList.from_names(['+'.join(words) for words in value])
  except (TypeError, InputError) as e:
    raise InputError(
      f'{vocabulary} is not a list of dives in four words ({e}); it looks like '
      f'{text_files.describe_json(value)}; try fetching it again'
    ) from e
  difference = theirs.first_difference(classes)
  if difference:
    raise InputError(
      f'got {vocabulary}, {_FIRST} 2020, or it is damaged: {difference}'
    )


DATASETS = (
  Dataset(
    name='diving48',
    title='Diving48',
    splits={'train': 15_027, 'test': 1_970},
    metric='top1',
    flip=FlipPolicy('free'),
    read=read,
    lists=('diving48',),
    aliases=('diving48_v2', 'diving-48'),
  ),
)
