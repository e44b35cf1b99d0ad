"""Something-Something V2: json lists of clips, named by a number.

`{"id": "78687", "label": a free caption, "template": the class, "placeholders":
[...]}`; of the test split only `id`. The class is the template without its
brackets: 174 of them, in the order of their texts. Videos are `<id>.webm`,
12 frames a second. Only videos are read, no frames extracted from them.

Three pairs of classes trade places in a mirror; a plain flip is forbidden, and
`--flip=swap` means these pairs. They are numbers: the names of other classes
hold commas. The 'right' of class 50, 'pulling it right out', is no direction.
"""

import pathlib
import re
from typing import Any

from vidmodels.data.datasets.build_listing import ClassNames, gather
from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing import text_files
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.listing.sniff import looks_like_json
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

# What file names call a split; 'val' is short for 'validation'.
_FILES = {'train': 'train', 'validation': 'validation', 'test': 'test'}
_WHAT = 'a Something-Something V2 list'
_ID = re.compile(r'\d{1,9}', re.ASCII)


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads a split; labels.json and the test answers are used if beside it.

  Raises:
    InputError: if the json is not such a list, an entry is damaged, a template
      is no class, or labels.json numbers the classes otherwise.
  """
  split = {'val': 'validation'}.get(request.split, request.split)
  what = f'the {dataset.title} {split} json'
  path = text_files.find_one(request.annotations, _patterns(split), what)
  classes = request.classes or dataset.classes()
  if request.classes is None:
    _check_labels(path, classes)
  entries = text_files.read_objects(path, ('id',), _WHAT)
  labels, notes = _labels(path, split, entries, ClassNames(classes))
  files = VideoFiles(request.videos)
  rows = [
    VideoRow(path=files.find(f'{name}.webm', name), video=name, labels=found)
    for name, found in zip(_ids(path, entries), labels, strict=True)
  ]
  return gather(
    dataset,
    request,
    rows,
    files,
    classes=classes,
    labelled=bool(rows) and bool(rows[0].labels),
    notes=notes + _know_others(path, split, files),
  )


def _patterns(split: str) -> list[str]:
  name = _FILES[split]
  return [f'something-something-v2-{name}.json', f'{name}.json']


def _ids(path: pathlib.Path, entries: list[dict[str, Any]]) -> list[str]:
  names = []
  for number, entry in enumerate(entries, 1):
    value = entry['id']
    if not _ID.fullmatch(str(value)):  # 'True', 1.0 and -1 are none
      raise InputError(
        f'{path} entry {number}: id {str(value)[:40]!r} came; wanted a number '
        'of up to 9 digits; get the file again'
      )
    names.append(str(value))
  return names


def _labels(
  path: pathlib.Path,
  split: str,
  entries: list[dict[str, Any]],
  names: ClassNames,
) -> tuple[list[tuple[int, ...]], list[str]]:
  """The labels of each entry, and what to say of them."""
  if 'template' in entries[0]:
    labels = []
    for number, entry in enumerate(entries, 1):
      with text_files.at(path, f'entry {number}'):
        labels.append((_label(entry.get('template'), names),))
    return labels, []
  odd = [i for i, entry in enumerate(entries, 1) if 'template' in entry]
  if split != 'test' or odd:
    raise InputError(
      f'{path} has no template in entry 1; wanted one in all entries, and in '
      f'none only of the test split; it looks like {looks_like_json(entries)}'
    )
  answers = text_files.beside(
    path, ('something-something-v2-test-answers.csv', 'test-answers.csv')
  )
  if answers is None:
    return [()] * len(entries), []
  found = _answers(answers, names)
  videos = _ids(path, entries)
  lacking = [video for video in videos if video not in found]
  if lacking:
    raise InputError(
      f'{answers} has no answer for {len(lacking)} videos of {path.name}, as '
      f'{lacking[0]}; wanted all; get it again, or take it out of the folder'
    )
  labels = [(found[video],) for video in videos]
  return labels, [f'labels are from {answers.name}']


def _label(template: object, names: ClassNames) -> int:
  if not isinstance(template, str):
    raise InputError(f'template {str(template)[:40]!r} came; wanted a text')
  return names.label(re.sub(r'[\[\]]', '', template).strip())


def _answers(path: pathlib.Path, names: ClassNames) -> dict[str, int]:
  """Labels by id, of lines `id;class`."""
  found: dict[str, int] = {}
  for number, line in enumerate(text_files.read_text(path).split('\n'), 1):
    if not line.strip():
      continue
    video, _, template = line.strip().partition(';')
    with text_files.at(path, number):
      if not _ID.fullmatch(video):
        raise InputError(f'{line[:40]!r} came; wanted `id;class`')
      label = _label(template, names)
      if found.setdefault(video, label) != label:
        raise InputError(f'a second answer for {video} came; wanted one')
  return found


def _check_labels(path: pathlib.Path, classes: ClassList) -> None:
  """Holds labels.json, if it is there, to the class list."""
  labels = text_files.beside(
    path, ('something-something-v2-labels.json', 'labels.json')
  )
  if labels is None:
    return
  value = text_files.read_json(labels)
  try:
    numbers = {name: text_files.whole(v, most=999) for name, v in value.items()}
    theirs = ClassList.from_names(sorted(numbers, key=numbers.__getitem__))
  except (AttributeError, InputError) as e:
    raise InputError(
      f'{labels} does not number the classes ({e}); wanted an object of '
      f'"class": "number"; it looks like {looks_like_json(value)}'
    ) from e
  difference = theirs.first_difference(classes)
  if difference is None and max(numbers.values()) != len(classes) - 1:
    difference = f'the last class is number {max(numbers.values())} here'
  if difference:
    raise InputError(
      f'{labels} numbers the classes otherwise than published models: '
      f'{difference}; wanted the file of version 2'
    )


def _know_others(
  path: pathlib.Path, split: str, files: VideoFiles
) -> list[str]:
  """Videos of the other splits are not outside, if their json lies beside."""
  notes = []
  others = [other for other in _FILES if other != split]
  for other in others if len(files) else ():
    found = text_files.beside(path, _patterns(other))
    try:
      entries = text_files.read_objects(found, ('id',), _WHAT) if found else []
      files.know(*_ids(found or path, entries))
    except InputError as e:
      notes.append(f'videos of the {other} split count as outside: {e}')
  return notes


DATASETS = (
  Dataset(
    name='ssv2',
    title='Something-Something V2',
    splits={
      'train': 168_913,
      'validation': 24_777,
      'val': 24_777,
      'test': 27_157,
    },
    metric='top1',
    reported_split='val',
    flip=FlipPolicy('forbid'),
    mirror=(('86', '87'), ('93', '94'), ('166', '167')),
    read=read,
    lists=('ssv2',),
    aliases=('something-something-v2', 'sthv2', 'sth-sth-v2'),
  ),
)
