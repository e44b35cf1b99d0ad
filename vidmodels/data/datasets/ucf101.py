"""UCF101: three splits, each a list to train on and one to test on.

`trainlist01.txt` has `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1` a line,
`testlist01.txt` the path alone, `classInd.txt` `1 ApplyEyeMakeup`. Numbers are
from 1 and in an order that knows no case: HammerThrow after Hammering. Clips of
one group (`g08`) are cut from one video, so the official lists keep groups
apart. The class HandstandPushups has files called `v_HandStandPushups_...`.
"""

import pathlib
import re

from vidmodels.data.datasets.build_listing import ClassNames, gather
from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing import text_files
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.listing.sniff import looks_like
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

_LINE = re.compile(r'([^/\\\s]+)/([^/\\\s]+\.avi)(?:\s+(\S+))?', re.ASCII)
_GROUP = re.compile(r'_(g\d+)_c\d+\.avi$')
_SPELLINGS = ('HandStand', 'Handstand')  # files and lists mix them


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads a list; classInd.txt is held to the class list if beside it.

  Raises:
    InputError: if a line is damaged, a folder is no class or has another
      number, or the two lists of a split share a clip.
  """
  part, split = request.split.rstrip('123'), request.split[-1]
  split = split if split in '123' else '1'
  name = f'{part}list0{split}.txt'
  path = text_files.find_one(
    request.annotations, (name,), f'the {dataset.title} {name}'
  )
  _check_part(path, part)
  classes = request.classes or dataset.classes()
  if request.classes is None:
    _check_classes(path, classes)
  names = ClassNames(classes)
  files = VideoFiles(request.videos)
  rows = []
  for line, text in _lines(path):
    with text_files.at(path, line):
      rows.append(_row(text, names, files, numbered=part == 'train'))
  if request.split == part:
    notes = [f'{part} is taken for {part}1: UCF101 has three splits']
  else:
    notes = []
  return gather(
    dataset,
    request,
    rows,
    files,
    classes=classes,
    notes=notes + _other(path, part, split, rows, files),
  )


def _check_part(path: pathlib.Path, part: str) -> None:
  other = 'test' if part == 'train' else 'train'
  if path.name.lower().startswith(f'{other}list'):
    raise InputError(f'{path} is a {other} list by its name; wanted {part}')


def _lines(path: pathlib.Path) -> list[tuple[int, str]]:
  lines = enumerate(text_files.read_text(path).split('\n'), 1)
  return [(i, line.strip()) for i, line in lines if line.strip()]


def _row(
  text: str, names: ClassNames, files: VideoFiles, *, numbered: bool
) -> VideoRow:
  match = _LINE.fullmatch(text)
  if match is None:
    raise InputError(
      f'{text[:80]!r} came; wanted `Class/v_Class_g01_c01.avi'
      f'{" 1" if numbered else ""}`; it looks like {looks_like(text)}'
    )
  folder, file, number = match.groups()
  text_files.clip_name(file)
  label = names.label(folder)
  if number is None and numbered:
    raise InputError(f'{text[:80]!r} has no label; wanted a training list')
  if number is not None and number != str(label + 1):
    raise InputError(
      f'label {number[:40]} came for {folder}; wanted {label + 1}, counted '
      'from 1; get the file again'
    )
  return VideoRow(
    path=files.find(*_names(folder, file)),
    video=f'{folder}/{file}',
    labels=(label,),
  )


def _names(folder: str, file: str) -> list[str]:
  """What a file may be called: as listed, with another suffix or spelling."""
  stem = file.removesuffix('.avi')
  found = [f'{folder}/{file}', f'{folder}/{stem}', stem]
  for one, other in (_SPELLINGS, _SPELLINGS[::-1]):
    if one in stem:
      found.append(stem.replace(one, other))
  return found


def _check_classes(path: pathlib.Path, classes: ClassList) -> None:
  """Holds classInd.txt, if it is there, to the class list."""
  index = text_files.beside(path, ('classInd.txt',))
  if index is None:
    return
  names = []
  for line, text in _lines(index):
    number, _, name = text.partition(' ')
    if number != str(len(names) + 1) or not name.strip():
      raise InputError(
        f'{index} line {line} is {text[:60]!r}; wanted `{len(names) + 1} '
        'Class`, counted from 1; get the file again'
      )
    names.append(name.strip())
  with text_files.at(index, len(names)):
    difference = ClassList.from_names(names).first_difference(classes)
  if difference:
    raise InputError(
      f'{index} orders the classes otherwise than published models: '
      f'{difference}; wanted the official file'
    )


def _other(
  path: pathlib.Path,
  part: str,
  split: str,
  rows: list[VideoRow],
  files: VideoFiles,
) -> list[str]:
  """Reads the split's other list, if it is there: what the two share.

  Its videos are not outside.

  Raises:
    InputError: if a clip is in both lists.
  """
  other = 'test' if part == 'train' else 'train'
  found = text_files.beside(path, (f'{other}list0{split}.txt',))
  if found is None:
    return []
  try:
    theirs = [_LINE.fullmatch(text) for _, text in _lines(found)]
  except InputError as e:
    return [f'videos of the {other} split count as outside: {e}']
  theirs = [match.group(1, 2) for match in theirs if match]
  both = {'/'.join(names) for names in theirs} & {row.video for row in rows}
  if both:
    raise InputError(
      f'{path.name} and {found.name} both have {len(both)} clips, as '
      f'{min(both)}; wanted lists that share none; get the files again'
    )
  for folder, file in theirs:
    files.know(*_names(folder, file))
  return _share_groups(rows, theirs, found.name)


def _share_groups(
  rows: list[VideoRow], theirs: list[tuple[str, str]], name: str
) -> list[str]:
  """Says if clips of one source video are in both lists."""
  groups = {(folder, _group(file)) for folder, file in theirs}
  shared = [
    row.video
    for row in rows
    if (row.video.split('/')[0], _group(row.video)) in groups
  ]
  if not shared:
    return []
  return [
    f'{len(shared)} clips share their source video with clips of {name}, as '
    f'{shared[0]}: these are not the official lists'
  ]


def _group(file: str) -> str:
  match = _GROUP.search(file)
  return match.group(1) if match else file


DATASETS = (
  Dataset(
    name='ucf101',
    title='UCF101',
    splits={
      'train': 9_537,
      'test': 3_783,
      'train1': 9_537,
      'test1': 3_783,
      'train2': 9_586,
      'test2': 3_734,
      'train3': 9_624,
      'test3': 3_696,
    },
    metric='top1',
    flip=FlipPolicy('free'),
    read=read,
    lists=('ucf101',),
    aliases=('ucf-101', 'ucf'),
  ),
)
