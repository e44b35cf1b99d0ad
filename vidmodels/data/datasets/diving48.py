"""Diving48, version 2 of October 2020: json lists of dives.

`{"vid_name": "_8Vy3dlHg2w_00000", "label": 12, "start_frame": 0, "end_frame":
86}`, and `Diving48_vocab.json`, for each label its four words. The frames are
those of the released mp4, which is the dive alone: the whole file is taken.
Version 1 has wrong labels and is refused. No class knows left from right.
"""

import pathlib
from typing import Any

from vidmodels.data.datasets.build_listing import gather
from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing import text_files
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.listing.sniff import looks_like_json
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

_KEYS = ('vid_name', 'label', 'start_frame', 'end_frame')
_WHAT = 'a Diving48 list'
_MOST_FRAMES = 10_000_000
_FIRST = 'version 1, whose labels are partly wrong; wanted version 2 of October'


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads a split; the vocabulary is held to the class list if beside it.

  Raises:
    InputError: if the json is not such a list or is of version 1, an entry is
      damaged, or the vocabulary is another.
  """
  path = _find(dataset, request)
  classes = request.classes or dataset.classes()
  if request.classes is None:
    _check_vocabulary(path, classes)
  entries = text_files.read_objects(path, _KEYS, _WHAT)
  files = VideoFiles(request.videos)
  rows, late = [], 0
  for number, entry in enumerate(entries, 1):
    with text_files.at(path, f'entry {number}'):
      rows.append(_row(entry, classes, files))
      late += text_files.whole(entry['start_frame'], most=_MOST_FRAMES) > 0
  notes = []
  if late:
    notes = [f'{late} clips do not start at frame 0; their files are whole']
  return gather(
    dataset,
    request,
    rows,
    files,
    classes=classes,
    notes=notes + _know_other(path, request.split, files),
  )


def _find(dataset: Dataset, request: Request) -> pathlib.Path:
  place, split = request.annotations, request.split
  first = f'Diving48_{split}.json'
  if place.is_dir() and not text_files.find_all(place, _name(split)):
    found = text_files.find_all(place, first)
    place = found[0] if found else place
  what = f'the {dataset.title} V2 {split} json'
  path = text_files.find_one(place, (_name(split),), what)
  if path.name.lower() == first.lower():
    raise InputError(f'{path} is {_FIRST} 2020, {_name(split)}')
  return path


def _name(split: str) -> str:
  return f'Diving48_V2_{split}.json'


def _row(
  entry: dict[str, Any], classes: ClassList, files: VideoFiles
) -> VideoRow:
  name = text_files.clip_name(entry['vid_name'])
  try:
    label = text_files.whole(entry['label'], most=len(classes) - 1)
  except InputError as e:
    raise InputError(f'label: {e}; labels beyond are of version 1') from e
  start, end = (
    text_files.whole(entry[key], most=_MOST_FRAMES)
    for key in ('start_frame', 'end_frame')
  )
  if end < start:
    raise InputError(f'frames {start} to {end} came; get the file again')
  path = files.find(f'{name}.mp4', name)
  return VideoRow(path=path, video=name, labels=(label,))


def _check_vocabulary(path: pathlib.Path, classes: ClassList) -> None:
  vocabulary = text_files.beside(path, ('Diving48_vocab.json',))
  if vocabulary is None:
    return
  value = text_files.read_json(vocabulary)
  try:
    theirs = ClassList.from_names(['+'.join(words) for words in value])
  except (TypeError, InputError) as e:
    raise InputError(
      f'{vocabulary} is not a list of dives in four words ({e}); it looks like '
      f'{looks_like_json(value)}; get it again'
    ) from e
  difference = theirs.first_difference(classes)
  if difference:
    raise InputError(f'{vocabulary} is {_FIRST} 2020, or damaged: {difference}')


def _know_other(path: pathlib.Path, split: str, files: VideoFiles) -> list[str]:
  """Videos of the other split are not outside, if its json lies beside."""
  other = 'test' if split == 'train' else 'train'
  found = text_files.beside(path, (_name(other),)) if len(files) else None
  if found is None:
    return []
  try:
    for entry in text_files.read_objects(found, _KEYS, _WHAT):
      files.know(text_files.clip_name(entry['vid_name']))
  except InputError as e:
    return [f'videos of the {other} split count as outside: {e}']
  return []


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
