"""HMDB51: 153 files, one a class and split.

`<class>_test_split<1|2|3>.txt` has `<file>.avi <0|1|2> ` a line, with a space
at its end: 1 to train on, 2 to test on, 0 to leave alone. 70 and 30 clips of
each class. No file numbers the classes: they are sorted. File names hold `#`,
`&`, `;` and `!`.
"""

import collections
import pathlib
import re

from vidmodels.data.datasets.build_listing import gather
from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing import text_files
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.listing.sniff import looks_like
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

_FLAGS = {'train': 1, 'test': 2}
_LINE = re.compile(r'(.+\.avi)\s+([012])')


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads the files of a split, one a class.

  Raises:
    InputError: if a class has no file, a file is of no class, a line is
      damaged, or a clip has two flags.
  """
  part, split = request.split.rstrip('123'), request.split[-1]
  split = split if split in '123' else '1'
  classes = request.classes or dataset.classes()
  paths = _files(request.annotations, split, classes.names)
  files = VideoFiles(request.videos)
  rows, flags = [], collections.Counter()
  for label, (name, path) in enumerate(zip(classes.names, paths, strict=True)):
    for file, flag in _lines(path):
      stem = file.removesuffix('.avi')
      names = f'{name}/{file}', f'{name}/{stem}', stem
      flags[flag] += 1
      if flag != _FLAGS[part]:
        files.know(*names)
        continue
      path_of = files.find(*names)
      rows.append(
        VideoRow(path=path_of, video=f'{name}/{file}', labels=(label,))
      )
  notes = [
    f'{flags.total() - len(rows)} lines are left out: '
    f'{flags[3 - _FLAGS[part]]} of the other part, {flags[0]} of neither'
  ]
  if request.split == part:
    notes.append(f'{part} is taken for {part}1: HMDB51 has three splits')
  return gather(dataset, request, rows, files, classes=classes, notes=notes)


def _files(
  place: pathlib.Path, split: str, classes: tuple[str, ...]
) -> list[pathlib.Path]:
  """The file of each class, in their order."""
  end = f'_test_split{split}.txt'
  if not place.is_dir():
    raise InputError(
      f'{place} is one file; wanted the folder with the {len(classes)} files '
      f'<class>{end} (testTrainMulti_7030_splits)'
    )
  every = text_files.find_all(place, f'*{end}')
  found = {path.name[: -len(end)]: path for path in every}
  if len(found) < len(every):
    raise InputError(
      f'{place} has {len(every)} files <class>{end} for {len(found)} classes; '
      'wanted one folder with the official files; give that folder'
    )
  lacking = [name for name in classes if name not in found]
  if lacking:
    raise InputError(
      f'{place} has {len(found)} files <class>{end}; wanted {len(classes)}, '
      f'also {lacking[0]}{end}; unpack the official files there'
    )
  unknown = sorted(found.keys() - set(classes))
  if unknown:
    raise InputError(
      f'{found[unknown[0]]} is of no class of HMDB51; wanted only its '
      f'{len(classes)} classes there; take it out of the folder'
    )
  return [found[name] for name in classes]


def _lines(path: pathlib.Path) -> list[tuple[str, int]]:
  """File and flag of each line."""
  text = text_files.read_text(path)
  entries, flags = [], {}
  for number, line in enumerate(text.split('\n'), 1):
    if not line.strip():
      continue
    with text_files.at(path, number):
      match = _LINE.fullmatch(line.strip())
      if match is None:
        raise InputError(
          f'{line[:80]!r} came; wanted `<file>.avi` and 0, 1 or 2; it looks '
          f'like {looks_like(text)}'
        )
      file, flag = text_files.clip_name(match[1]), int(match[2])
      if flags.setdefault(file, flag) != flag:
        raise InputError(
          f'{file} came with {flags[file]} and {flag}; wanted one of train '
          '(1), test (2) and neither (0); get the file again'
        )
      entries.append((file, flag))
  if not entries:
    raise InputError(f'{path} is empty; wanted the clips of its class')
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
