"""HowTo100M as a set of long tasks: whole videos, each of one task.

TimeSformer's protocol (section 4.6): tasks with at least 100 videos are the
classes, which gave its authors 1,059 of them and 120K videos, 85K to train and
35K to test. A video belongs to the task that found it first: `rank` is its
place in that task's search. The split is the user's, or drawn by a hash.
"""

import collections
import contextlib
import csv
import dataclasses
import hashlib
import pathlib
from collections.abc import Collection, Mapping, Sequence

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
  whole,
)
from vidmodels.data.listing.values import some
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

_LEAST = 100  # videos of a task that is a class
_CLASSES = 1059  # what the paper counts
_TEST_SHARE = 35 / 120
_SEED = 'vidmodels howto100m 0'
_MOST = 10**12  # a larger number is no task and no rank
_COLUMNS = ('video_id', 'rank', 'task_id')
_SPLITS = ('train', 'test')


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
  """A video that a task's search found."""

  video: str
  task: int
  rank: int


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads `HowTo100M_v1.csv`, `task_ids.csv` and perhaps split files.

  Split files are `train.txt` and `test.txt` beside the csv, or
  `HowTo100M_train.txt` and so on, one video id a line. Without them a video is
  of the test split if a hash of its id says so, for 35 in 120 of them.

  Raises:
    InputError: if a file is not what it should be, or a video is in both
      splits.
  """
  path = find_one(
    request.annotations, ['HowTo100M_v1.csv'], 'the HowTo100M csv'
  )
  entries, again = _entries(path)
  videos = collections.Counter(entry.task for entry in entries)
  tasks = sorted(task for task, n in videos.items() if n >= _LEAST)
  if not tasks:
    raise InputError(
      f'{path} has no task with {_LEAST} videos; wanted the whole official csv'
    )
  classes, untitled = _classes(request, path, tasks)
  number = {task: i for i, task in enumerate(tasks)}
  best, several = _best(entries, number)
  wanted, split_notes = _split(path, request.split, best)
  files = VideoFiles(request.videos)
  files.know(*{entry.video for entry in entries if len(files)})
  rows = [
    VideoRow(path=files.find(f'{v}.mp4', v), video=v, labels=(number[task],))
    for v, task in best.items()
    if v in wanted
  ]
  notes = (
    f'{len(tasks):,} tasks have {_LEAST} videos or more: the classes '
    f"(TimeSformer's paper counts {_CLASSES:,})",
    *some('videos of several tasks; that of the best rank counts', several),
    *some('lines with the video and the task of an earlier one', again),
    *untitled,
    *split_notes,
  )
  return gather(dataset, request, rows, files, classes=classes, notes=notes)


def _entries(path: pathlib.Path) -> tuple[list[_Entry], int]:
  """Every video of every task once, and the lines that say one again."""
  found: dict[tuple[str, int], _Entry] = {}
  lines = 0
  for line, fields in read_csv(path, _COLUMNS, 'the HowTo100M csv'):
    lines += 1
    try:  # not `at`: a million lines would take half as long again
      entry = _Entry(
        video=clip_name(fields['video_id']),
        task=whole(fields['task_id'], most=_MOST),
        rank=whole(fields['rank'], most=_MOST),
      )
    except InputError as e:
      raise InputError(f'{path} line {line}: {e}') from e
    found.setdefault((entry.video, entry.task), entry)
  return list(found.values()), lines - len(found)


def _best(
  entries: Sequence[_Entry], number: Mapping[int, int]
) -> tuple[dict[str, int], int]:
  """The task of each video that has one of these, and how many had several.

  Of equal ranks the smaller task id counts.
  """
  first: dict[str, _Entry] = {}
  several = set()
  for entry in entries:
    if entry.task not in number:
      continue
    before = first.setdefault(entry.video, entry)
    if before is not entry:
      several.add(entry.video)
      first[entry.video] = min(before, entry, key=lambda e: (e.rank, e.task))
  return {video: entry.task for video, entry in first.items()}, len(several)


def _classes(
  request: Request, path: pathlib.Path, tasks: Sequence[int]
) -> tuple[ClassList, tuple[str, ...]]:
  """Titles of the tasks, by task id; of equal titles each has its id added."""
  if request.classes is not None:
    if len(request.classes) != len(tasks):
      raise InputError(
        f'{len(request.classes)} classes came; wanted {len(tasks)}, one for '
        f'each task of {path} with {_LEAST} videos, by task id'
      )
    return request.classes, ()
  file = beside(path, ['task_ids.csv'])
  if file is None:
    raise InputError(
      f'{path.parent} has no task_ids.csv; wanted it beside {path.name}: it '
      'has the titles of the tasks; or give them with --classes'
    )
  titles = _titles(file)
  names = [titles.get(task, f'task {task}') for task in tasks]
  twice = collections.Counter(names)
  names = [
    name if twice[name] == 1 else f'{name} ({task})'
    for name, task in zip(names, tasks, strict=True)
  ]
  untitled = sum(task not in titles for task in tasks)
  with at(file, 'as a class list'):
    return ClassList.from_names(names), some(
      'tasks without a title in task_ids.csv, called by number', untitled
    )


def _titles(file: pathlib.Path) -> dict[int, str]:
  """Task id to title: a tab between them, or a comma where there is none."""
  titles = {}
  for line, text in enumerate(read_text(file).split('\n'), 1):
    if not text.strip():
      continue
    task, title = _task(text)
    if line == 1 and not task.strip().isdecimal() and title:
      continue  # names of columns
    with at(file, line):
      if not title:
        raise InputError(
          f'{text[:60]!r} came; wanted a task id, a tab and a title'
        )
      titles[whole(task, most=_MOST)] = title
  return titles


def _task(line: str) -> tuple[str, str]:
  """A task id and its title, which may have commas of its own."""
  task, tab, title = line.partition('\t')
  if not tab:
    with contextlib.suppress(csv.Error):
      task, *rest = next(csv.reader([line]))
      title = ','.join(rest)
  return task, ' '.join(title.split())


def _split(
  path: pathlib.Path, split: str, best: Mapping[str, int]
) -> tuple[Collection[str], tuple[str, ...]]:
  """The videos of a split, and a note on who made it."""
  files = {
    name: beside(path, [f'{name}.txt', f'HowTo100M_{name}.txt'])
    for name in _SPLITS
  }
  if not any(files.values()):
    drawn = {video for video in best if split_of(video) == split}
    return drawn, (
      f'no train.txt and test.txt beside {path.name}: the split is ours, by a '
      'hash of the video id, in the proportion of the paper (85K to 35K); its '
      'accuracies do not compare with published ones video for video',
    )
  if not all(files.values()):
    missing = next(name for name, file in files.items() if file is None)
    raise InputError(
      f'{path.parent} has no {missing}.txt; wanted a video id a line in both '
      'train.txt and test.txt, or neither of them'
    )
  listed = {name: _ids(file) for name, file in files.items()}
  both = listed['train'] & listed['test']
  if both:
    raise InputError(
      f'{len(both)} videos are in {files["train"].name} and in '
      f'{files["test"].name}, as {min(both)}; wanted each in one of them'
    )
  unknown = len(listed[split] - best.keys())
  return listed[split], (
    f'the split is that of {files[split]}',
    *some(f'ids of {files[split].name} in no such task, left out', unknown),
  )


def split_of(video: str) -> str:
  """'train' or 'test': what a hash of the id says, 35 in 120 times 'test'."""
  digest = hashlib.sha256(f'{_SEED} {video}'.encode()).digest()
  share = int.from_bytes(digest[:8], 'big') / 2**64
  return 'test' if share < _TEST_SHARE else 'train'


def _ids(file: pathlib.Path) -> set[str]:
  found = set()
  for line, text in enumerate(read_text(file).split('\n'), 1):
    with at(file, line):
      if len(text.split()) > 1 or ',' in text:
        raise InputError(f'{text[:60]!r} came; wanted one video id')
      if text.strip():
        found.add(clip_name(text))
  return found


DATASETS = (
  Dataset(
    name='howto100m',
    title='HowTo100M long-term tasks',
    splits=dict.fromkeys(_SPLITS, 0),  # the paper gives thousands only
    metric='top1',
    flip=FlipPolicy('free'),
    read=read,
    aliases=('howto100m_tasks',),
    usual_s=400.0,  # the paper prints "around 7 minutes"
  ),
)
