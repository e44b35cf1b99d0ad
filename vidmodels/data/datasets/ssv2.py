"""Something-Something V2: json lists of clips, named by a number.

`{"id": "78687", "label": a free caption, "template": the class, "placeholders":
[...]}`; of the test split only `id`. The class is the template without its
brackets: 174 of them, in the order of their texts. Videos are `<id>.webm`,
12 frames a second. Only videos are read, no frames extracted from them.

Three pairs of classes trade places in a mirror. A plain flip is forbidden;
`--flip=swap` means these pairs. They are numbers, because the names of other
classes hold commas. The 'right' of class 50, 'pulling it right out', is not a
direction.
"""

import pathlib
import re
from typing import Any

from vidmodels.data.datasets.dataset import (
  Dataset,
  Request,
  build_listing,
  mark_other_splits,
)
from vidmodels.data.listing import text_files
from vidmodels.data.listing.class_names import ExactNames
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

_WHAT = 'a Something-Something V2 list'
_ID = re.compile(r'\d{1,9}', re.ASCII)


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads a split; labels.json and the test answers are used if beside it."""
  patterns = {
    split: [f'something-something-v2-{split}.json', f'{split}.json']
    for split in ('train', 'validation', 'test')
  }
  split = {'val': 'validation'}.get(request.split, request.split)
  what = f'the {dataset.title} {split} json'
  path = text_files.find_file(request.annotations, patterns.pop(split), what)
  classes = request.classes or dataset.classes()
  if request.classes is None:
    _check_label_numbers(path, classes)
  entries, videos = _read_entries(path)
  names = ExactNames(classes)
  labels, notes = _read_labels(path, split, entries, videos, names)
  files = request.files
  rows = [
    VideoRow(path=files.find(f'{name}.webm', name), video=name, labels=label)
    for name, label in zip(videos, labels, strict=True)
  ]
  notes += mark_other_splits(
    files, path, patterns, lambda other, _: _read_entries(other)[1]
  )
  return build_listing(dataset, request, rows, classes=classes, notes=notes)


def _read_entries(path: pathlib.Path) -> tuple[list[dict[str, Any]], list[str]]:
  """The entries of a list, and their ids."""
  entries = text_files.read_objects(path, ('id',), _WHAT)
  videos = [str(entry['id']) for entry in entries]
  for number, video in enumerate(videos, 1):
    if not _ID.fullmatch(video):  # 'True', 1.0 and -1 are not
      raise InputError(
        f'{path} entry {number}: got id {video[:40]!r}; expected a number of '
        'up to 9 digits; try fetching the file again'
      )
  return entries, videos


def _read_labels(
  path: pathlib.Path,
  split: str,
  entries: list[dict[str, Any]],
  videos: list[str],
  names: ExactNames,
) -> tuple[list[tuple[int, ...]], list[str]]:
  """The labels of each entry, and notes; the test split may have answers."""
  labels: list[tuple[int, ...]] = []
  if 'template' in entries[0]:
    for number, entry in enumerate(entries, 1):
      with text_files.locate_errors(path, f'entry {number}'):
        labels.append((_parse_label(entry.get('template'), names),))
    return labels, []
  if split != 'test' or any('template' in entry for entry in entries):
    raise InputError(
      f'{path} has no template in entry 1; expected one in all entries, and in '
      'none only of the test split; it looks like '
      f'{text_files.describe_json(entries)}; try the official file'
    )
  path_of_answers = text_files.find_beside(
    path, ('something-something-v2-test-answers.csv', 'test-answers.csv')
  )
  if path_of_answers is None:
    return [()] * len(entries), []
  answers = _read_answers(path_of_answers, names)
  missing = [video for video in videos if video not in answers]
  if missing:
    raise InputError(
      f'{path_of_answers} has no answer for {len(missing)} videos of '
      f'{path.name}, such as {missing[0]}; expected all of them; try fetching '
      'it again, or moving it out of the folder'
    )
  labels = [(answers[video],) for video in videos]
  return labels, [f'labels are from {path_of_answers.name}']


def _parse_label(template: object, names: ExactNames) -> int:
  if not isinstance(template, str):
    raise InputError(f'got template {str(template)[:40]!r}; expected a text')
  return names.label(re.sub(r'[\[\]]', '', template).strip())


def _read_answers(path: pathlib.Path, names: ExactNames) -> dict[str, int]:
  """Labels by id, of lines `id;class`."""
  answers: dict[str, int] = {}
  for number, line in text_files.read_lines(path):
    video, _, template = line.partition(';')
    with text_files.locate_errors(path, number):
      if not _ID.fullmatch(video):
        raise InputError(f'got {line[:40]!r}; expected `id;class`')
      label = _parse_label(template, names)
      if answers.setdefault(video, label) != label:
        raise InputError(f'got a second answer for {video}; expected one')
  return answers


def _check_label_numbers(path: pathlib.Path, classes: ClassList) -> None:
  """Compares labels.json, if it is there, with the class list."""
  labels = text_files.find_beside(
    path, ('something-something-v2-labels.json', 'labels.json')
  )
  if labels is None:
    return
  value = text_files.read_json(labels)
  try:
    numbers = {k: text_files.parse_int(v, most=999) for k, v in value.items()}
    theirs = ClassList.from_names(sorted(numbers, key=numbers.__getitem__))
  except (AttributeError, InputError) as e:
    raise InputError(
      f'{labels} does not number the classes ({e}); expected an object of '
      '"class": "number"; it looks like '
      f'{text_files.describe_json(value)}; try fetching it again'
    ) from e
  difference = theirs.first_difference(classes)
  if difference is None and max(numbers.values()) != len(classes) - 1:
    difference = f'the last class is number {max(numbers.values())} here'
  if difference:
    raise InputError(
      f'{labels} numbers the classes differently from published models: '
      f'{difference}; expected the file of version 2; try fetching it again'
    )


DATASETS = (
  Dataset(
    name='ssv2',
    title='Something-Something V2',
    splits=dict(train=168_913, validation=24_777, val=24_777, test=27_157),
    metric='top1',
    reported_split='val',
    flip=FlipPolicy('forbid'),
    mirror=(('86', '87'), ('93', '94'), ('166', '167')),
    read=read,
    lists=('ssv2',),
    aliases=('something-something-v2', 'sthv2', 'sth-sth-v2'),
  ),
)
