"""HMDB51: 153 files, one for each class and split.

`<class>_test_split<1|2|3>.txt` has lines `<file>.avi <0|1|2> `, with a space at
the end: 1 for training, 2 for testing, 0 for neither. A class has 70 and 30
clips. No file numbers the classes: they are sorted. File names hold `#`, `&`,
`;` and `!`.
"""

import collections
import pathlib
import re

from vidmodels.data.datasets.dataset import Dataset, Request, build_listing
from vidmodels.data.listing import text_files
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

_FLAGS = {'train': 1, 'test': 2}
_LINE = re.compile(r'(.+\.avi)\s+([012])')


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads the files of a split, one for each class."""
  part, split = request.split.rstrip('123'), request.split[-1]
  split = split if split in '123' else '1'
  classes = request.classes or dataset.classes()
  lists = _find_files(request.annotations, split, classes.names)
  files = request.files
  rows, flags = [], collections.Counter[int]()
  for label, name in enumerate(classes.names):
    for file, flag in _read_flags(lists[name]):
      stem = file.removesuffix('.avi')
      names = f'{name}/{file}', f'{name}/{stem}', stem
      flags[flag] += 1
      if flag == _FLAGS[part]:
        path = files.find(*names)
        rows.append(VideoRow(path=path, video=names[0], labels=(label,)))
      else:
        files.mark_known(*names)
  notes = [
    f'{flags.total() - len(rows)} lines are left out: '
    f'{flags[3 - _FLAGS[part]]} of the other part, {flags[0]} of neither'
  ]
  if request.split == part:
    notes.append(f'{part} is taken for {part}1: HMDB51 has three splits')
  return build_listing(dataset, request, rows, classes=classes, notes=notes)


def _find_files(
  place: pathlib.Path, split: str, classes: tuple[str, ...]
) -> dict[str, pathlib.Path]:
  """The file of each class."""
  end = f'_test_split{split}.txt'
  if not place.is_dir():
    raise InputError(
      f'{place} is one file; expected the folder with the {len(classes)} files '
      f'<class>{end}; try testTrainMulti_7030_splits'
    )
  paths = text_files.find_files(place, f'*{end}')
  by_class = {path.name[: -len(end)]: path for path in paths}
  if len(by_class) < len(paths):
    raise InputError(
      f'{place} has {len(paths)} files <class>{end} for {len(by_class)} '
      'classes; expected one folder with the official files; try that folder'
    )
  missing = [name for name in classes if name not in by_class]
  if missing:
    raise InputError(
      f'{place} has {len(by_class)} files <class>{end}; expected '
      f'{len(classes)}, also {missing[0]}{end}; try unpacking them there'
    )
  unknown = sorted(by_class.keys() - set(classes))
  if unknown:
    raise InputError(
      f'{by_class[unknown[0]]} is of no class of HMDB51; expected only its '
      f'{len(classes)} classes there; try moving it out of the folder'
    )
  return by_class


def _read_flags(path: pathlib.Path) -> list[tuple[str, int]]:
  """File and flag of each line."""
  entries: list[tuple[str, int]] = []
  flags: dict[str, int] = {}
  for number, line in text_files.read_lines(path):
    with text_files.locate_errors(path, number):
      match = _LINE.fullmatch(line)
      if match is None:
        content = text_files.describe_text(text_files.read_text(path))
        raise InputError(
          f'got {line[:80]!r}; expected `<file>.avi` and 0, 1 or 2; it looks '
          f'like {content}'
        )
      file, flag = text_files.parse_clip_name(match[1]), int(match[2])
      if flags.setdefault(file, flag) != flag:
        raise InputError(
          f'got {file} with {flags[file]} and {flag}; expected one of train '
          '(1), test (2) and neither (0)'
        )
      entries.append((file, flag))
  if not entries:
    raise InputError(
      f'{path} is empty; expected the clips of its class; try fetching it again'
    )
  return entries


DATASETS = (
  Dataset(
    name='hmdb51',
    title='HMDB51',
    splits={
      part + split: count
      for split in ('', '1', '2', '3')
      for part, count in (('train', 3_570), ('test', 1_530))
    },
    metric='top1',
    flip=FlipPolicy('free'),
    read=read,
    lists=('hmdb51',),
    aliases=('hmdb-51', 'hmdb'),
  ),
)
