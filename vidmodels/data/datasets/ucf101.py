"""UCF101: three splits, each a list to train on and one to test on.

`trainlist01.txt` has lines `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1`,
`testlist01.txt` the paths alone, `classInd.txt` lines `1 ApplyEyeMakeup`.
Numbers start at 1, in an order without regard to case: HammerThrow follows
Hammering. Clips of one group (`g08`) are cut from one video, so the official
lists keep groups apart. The files of class HandstandPushups are called
`v_HandStandPushups_...`.
"""

import pathlib
import re

from vidmodels.data.datasets.dataset import Dataset, Request, build_listing
from vidmodels.data.listing import text_files
from vidmodels.data.listing.class_names import ExactNames
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

_LINE = re.compile(r'([^/\\\s]+)/([^/\\\s]+\.avi)(?:\s+(\S+))?', re.ASCII)
_GROUP = re.compile(r'_(g\d+)_c\d+\.avi$')
_SPELLINGS = ('HandStand', 'Handstand')  # files and lists mix them


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads a list; compares classInd.txt with the class list if beside it."""
  part, split = request.split.rstrip('123'), request.split[-1]
  split = split if split in '123' else '1'
  other = 'test' if part == 'train' else 'train'
  name = f'{part}list0{split}.txt'
  what = f'the {dataset.title} {name}'
  path = text_files.find_file(request.annotations, (name,), what)
  if path.name.lower().startswith(f'{other}list'):
    raise InputError(
      f'{path} is a {other} list by its name; expected {part}; try {name}'
    )
  classes = request.classes or dataset.classes()
  if request.classes is None:
    _check_class_numbers(path, classes)
  names, files = ExactNames(classes), request.files
  rows = []
  for line, text in text_files.read_lines(path):
    with text_files.locate_errors(path, line):
      rows.append(_parse_line(text, names, files, numbered=part == 'train'))
  notes = []
  if request.split == part:
    notes = [f'{part} is taken for {part}1: UCF101 has three splits']
  other_path = text_files.find_beside(path, (f'{other}list0{split}.txt',))
  if other_path:
    notes += _compare_lists(path, rows, other_path, other, files)
  return build_listing(dataset, request, rows, classes=classes, notes=notes)


def _parse_line(
  text: str, names: ExactNames, files: VideoFiles, *, numbered: bool
) -> VideoRow:
  match = _LINE.fullmatch(text)
  if match is None:
    raise InputError(
      f'got {text[:80]!r}; expected `Class/v_Class_g01_c01.avi'
      f'{" 1" * numbered}`; it looks like {text_files.describe_text(text)}'
    )
  folder, file, number = match.groups()
  text_files.parse_clip_name(file)
  label = names.label(folder)
  if number is None and numbered:
    raise InputError(f'{text[:80]!r} has no label; expected a training list')
  if number is not None and number != str(label + 1):
    raise InputError(
      f'got label {number[:40]} for {folder}; expected {label + 1}, counted '
      'from 1'
    )
  path = files.find(*_file_names(folder, file))
  return VideoRow(path=path, video=f'{folder}/{file}', labels=(label,))


def _file_names(folder: str, file: str) -> list[str]:
  """What a file may be called: as listed, with another suffix or spelling."""
  stem = file.removesuffix('.avi')
  pairs = (_SPELLINGS, _SPELLINGS[::-1])
  others = [stem.replace(one, other) for one, other in pairs if one in stem]
  return [f'{folder}/{file}', f'{folder}/{stem}', stem, *others]


def _check_class_numbers(path: pathlib.Path, classes: ClassList) -> None:
  """Compares classInd.txt, if it is there, with the class list."""
  index = text_files.find_beside(path, ('classInd.txt',))
  if index is None:
    return
  names: list[str] = []
  for line, text in text_files.read_lines(index):
    number, _, name = text.partition(' ')
    if number != str(len(names) + 1) or not name.strip():
      raise InputError(
        f'{index} line {line} is {text[:60]!r}; expected `{len(names) + 1} '
        'Class`, counted from 1; try fetching the file again'
      )
    names.append(name.strip())
  with text_files.locate_errors(index, len(names)):
    difference = ClassList.from_names(names).first_difference(classes)
  if difference:
    raise InputError(
      f'{index} orders the classes differently from published models: '
      f'{difference}; expected the official file; try fetching it again'
    )


def _compare_lists(
  path: pathlib.Path,
  rows: list[VideoRow],
  other: pathlib.Path,
  part: str,
  files: VideoFiles,
) -> list[str]:
  """Compares a list with the other list of its split: `part`, in file `other`.

  The videos of the other list are marked as known. A clip in both lists is an
  error; clips of one source video in both give a note.
  """
  try:
    lines = text_files.read_lines(other)
  except InputError as e:
    return [f'videos of the {part} split count as outside: {e}']
  matches = (_LINE.fullmatch(text) for _, text in lines)
  theirs = [(match[1], match[2]) for match in matches if match]
  both = {'/'.join(names) for names in theirs} & {row.video for row in rows}
  if both:
    raise InputError(
      f'{path.name} and {other.name} both have {len(both)} clips, as '
      f'{min(both)}; expected lists that share none; try fetching them again'
    )
  for folder, file in theirs:
    files.mark_known(*_file_names(folder, file))
  groups = {(folder, _find_group(file)) for folder, file in theirs}
  shared = [
    row.video
    for row in rows
    if (row.video.split('/')[0], _find_group(row.video)) in groups
  ]
  what = f'clips share their source video with clips of {other.name}'
  return [
    f'{len(shared)} {what}, as {video}: these are not the official lists'
    for video in shared[:1]
  ]


def _find_group(file: str) -> str:
  match = _GROUP.search(file)
  return match[1] if match else file


DATASETS = (
  Dataset(
    name='ucf101',
    title='UCF101',
    splits={
      **dict(train=9_537, test=3_783, train1=9_537, test1=3_783),
      **dict(train2=9_586, test2=3_734, train3=9_624, test3=3_696),
    },
    metric='top1',
    flip=FlipPolicy('free'),
    read=read,
    lists=('ucf101',),
    aliases=('ucf-101', 'ucf'),
  ),
)
