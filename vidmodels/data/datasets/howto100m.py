"""HowTo100M as a set of long tasks: whole videos, each of one task.

TimeSformer's protocol (section 4.6): tasks with at least 100 videos are the
classes. Its authors had 1,059 of them and 120K videos, 85K to train and 35K to
test. A video belongs to the task with the best `rank`: its place in the results
of that task's search. The split is the user's, or drawn by a hash.
"""

import collections
import contextlib
import csv
import hashlib
import pathlib
from collections.abc import Collection, Sequence

from vidmodels.data.datasets.dataset import Dataset, Request, build_listing
from vidmodels.data.listing import text_files
from vidmodels.data.listing.rows import Listing, VideoRow, note_counts
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

_LEAST = 100  # a task with so many videos is a class
_CLASSES = 1059  # the number in the paper
_TEST_SHARE = 35 / 120
_SEED = 'vidmodels howto100m 0'
_MOST = 10**12  # a larger number is neither a task nor a rank
_COLUMNS = ('video_id', 'rank', 'task_id')
_SPLITS = ('train', 'test')
_WHAT = 'the HowTo100M csv'


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads `HowTo100M_v1.csv`, `task_ids.csv` and perhaps split files.

  Split files are `train.txt` and `test.txt` beside the csv, or
  `HowTo100M_train.txt` and so on, one video id a line. Without them a hash of
  its id decides the split of a video: 35 in 120 are for testing.
  """
  path = text_files.find_file(request.annotations, ['HowTo100M_v1.csv'], _WHAT)
  ranks, repeated = _read_ranks(path)
  sizes = collections.Counter(task for _, task in ranks)
  tasks = sorted(task for task, size in sizes.items() if size >= _LEAST)
  if not tasks:
    raise InputError(
      f'{path} has no task with {_LEAST} videos; expected the whole official '
      'csv; try fetching it again'
    )
  classes, untitled = _load_classes(request, path, tasks)
  number = {task: i for i, task in enumerate(tasks)}
  # Of equal ranks, the smaller task id counts.
  best: dict[str, tuple[int, int]] = {}
  videos = collections.Counter(v for v, task in ranks if task in number)
  for (video, task), rank in ranks.items():
    if task in number:
      best[video] = min(best.get(video, (rank, task)), (rank, task))
  several = sum(count > 1 for count in videos.values())
  chosen, split_notes = _choose_videos(path, request.split, best)
  files = request.files
  files.mark_known(*{video for video, _ in ranks if len(files)})
  rows = [
    VideoRow(path=files.find(f'{v}.mp4', v), video=v, labels=(number[task],))
    for v, (_, task) in best.items()
    if v in chosen
  ]
  counts = {
    'videos of several tasks; that of the best rank counts': several,
    'lines with the video and the task of an earlier one': repeated,
    'tasks without a title in task_ids.csv, called by number': untitled,
  }
  notes = (
    f'{len(tasks):,} tasks have {_LEAST} videos or more: the classes '
    f"(TimeSformer's paper counts {_CLASSES:,})",
    *note_counts(counts),
    *split_notes,
  )
  return build_listing(dataset, request, rows, classes=classes, notes=notes)


def _read_ranks(path: pathlib.Path) -> tuple[dict[tuple[str, int], int], int]:
  """The rank of each video in each task, and the number of repeated lines."""
  ranks: dict[tuple[str, int], int] = {}
  lines = 0
  for line, fields in text_files.read_csv(path, _COLUMNS, _WHAT):
    lines += 1
    try:  # not `locate_errors`: a million lines would take half as long again
      video = text_files.parse_clip_name(fields['video_id'])
      task = text_files.parse_int(fields['task_id'], most=_MOST)
      rank = text_files.parse_int(fields['rank'], most=_MOST)
    except InputError as e:
      raise InputError(
        f'{path} line {line}: {e}; try fetching the file again'
      ) from e
    ranks.setdefault((video, task), rank)
  return ranks, lines - len(ranks)


def _load_classes(
  request: Request, path: pathlib.Path, tasks: Sequence[int]
) -> tuple[ClassList, int]:
  """Titles of the tasks, by task id, and the number of tasks without a title.

  Equal titles get their task id added.
  """
  if request.classes is not None:
    if len(request.classes) != len(tasks):
      raise InputError(
        f'got {len(request.classes)} classes; expected {len(tasks)}, one for '
        f'each task of {path} with {_LEAST} videos; try them by task id'
      )
    return request.classes, 0
  file = text_files.find_beside(path, ['task_ids.csv'])
  if file is None:
    raise InputError(
      f'{path.parent} has no task_ids.csv; expected it beside {path.name}, '
      'for the titles of the tasks; try --classes'
    )
  titles = _read_titles(file)
  names = [titles.get(task, f'task {task}') for task in tasks]
  twice = collections.Counter(names)
  names = [
    name if twice[name] == 1 else f'{name} ({task})'
    for name, task in zip(names, tasks, strict=True)
  ]
  untitled = sum(task not in titles for task in tasks)
  with text_files.locate_errors(file, 'as a class list'):
    return ClassList.from_names(names), untitled


def _read_titles(file: pathlib.Path) -> dict[int, str]:
  """Task id to title, separated by a tab, or by a comma without a tab."""
  titles: dict[int, str] = {}
  for line, text in text_files.read_lines(file):
    task, tab, title = text.partition('\t')
    if not tab:  # a title may have commas of its own
      with contextlib.suppress(csv.Error):
        task, *rest = next(csv.reader([text]))
        title = ','.join(rest)
    title = ' '.join(title.split())
    if line == 1 and not task.strip().isdecimal() and title:
      continue  # the header
    with text_files.locate_errors(file, line):
      if not title:
        raise InputError(
          f'got {text[:60]!r}; expected a task id, a tab and a title'
        )
      titles[text_files.parse_int(task, most=_MOST)] = title
  return titles


def _choose_videos(
  path: pathlib.Path, split: str, best: Collection[str]
) -> tuple[Collection[str], list[str]]:
  """The videos of a split, and a note on who made the split."""
  files: dict[str, pathlib.Path] = {}
  for name in _SPLITS:
    patterns = [f'{name}.txt', f'HowTo100M_{name}.txt']
    if file := text_files.find_beside(path, patterns):
      files[name] = file
  if not files:
    return {video for video in best if split_of(video) == split}, [
      f'no train.txt and test.txt beside {path.name}: the split is ours, by a '
      'hash of the video id, in the proportion of the paper (85K to 35K); its '
      'accuracies do not compare with published ones video for video'
    ]
  missing = [name for name in _SPLITS if name not in files]
  if missing:
    raise InputError(
      f'{path.parent} has no {missing[0]}.txt; expected a video id a line in '
      'both train.txt and test.txt, or neither of them; try adding it'
    )
  listed = {name: _read_ids(file) for name, file in files.items()}
  both = listed['train'] & listed['test']
  if both:
    raise InputError(
      f'{len(both)} videos are in {files["train"].name} and in '
      f'{files["test"].name}, as {min(both)}; expected each in one of them; '
      'try removing one of the two lines'
    )
  unknown = len(listed[split].difference(best))
  notes = [f'the split is that of {files[split]}']
  what = f'ids of {files[split].name} in no such task, left out'
  return listed[split], notes + note_counts({what: unknown})


def split_of(video: str) -> str:
  """'train' or 'test', by a hash of the id; 35 in 120 times 'test'."""
  digest = hashlib.sha256(f'{_SEED} {video}'.encode()).digest()
  share = int.from_bytes(digest[:8], 'big') / 2**64
  return 'test' if share < _TEST_SHARE else 'train'


def _read_ids(file: pathlib.Path) -> set[str]:
  ids = set()
  for line, text in text_files.read_lines(file):
    with text_files.locate_errors(file, line):
      if len(text.split()) > 1 or ',' in text:
        raise InputError(
          f'got {text[:60]!r}; expected one video id; try one id a line'
        )
      ids.add(text_files.parse_clip_name(text))
  return ids


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
