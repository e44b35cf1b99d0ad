"""ActivityNet 1.3: its segments one by one, or its videos whole.

`activitynet` is trimmed: each annotated segment is a clip of one class.
`activitynet_untrimmed` has whole videos, and each class that a video has
anywhere is a right answer.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from vidmodels.data.datasets.dataset import Dataset, Request, build_listing
from vidmodels.data.listing import text_files
from vidmodels.data.listing.class_names import ExactNames
from vidmodels.data.listing.rows import Listing, VideoRow, note_counts
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import Task
from vidmodels.typing import InputError

_SUBSETS = {
  'train': 'training',
  'training': 'training',
  'val': 'validation',
  'validation': 'validation',
  'test': 'testing',
  'testing': 'testing',
}
_VIDEOS = {'training': 10_024, 'validation': 4926, 'testing': 5044}
# What official files have and nobody expects.
_CUT = 'segments that leave their video, cut to it'
_EMPTY = 'segments of no length in their video, dropped'
_REPEATED = 'segments that their video has already, dropped'
_BARE = 'videos without a segment, left out'


@dataclasses.dataclass
class _Video:
  """A video of the subset that is read."""

  name: str
  path: pathlib.Path
  # segments: label, start and end in seconds, cut to the video; the length may
  # be zero or negative
  segments: list[tuple[int, float, float]]
  duration_s: float  # 0 if not given


def read_trimmed(dataset: Dataset, request: Request) -> Listing:
  """Reads the segments of a subset; number k of a video is `<id>_<k>`.

  A segment that leaves its video is cut to it. One without length is dropped,
  and so is one that repeats an earlier one.
  """
  classes = request.classes or dataset.classes()
  rows, odd = [], dict.fromkeys((_CUT, _EMPTY, _REPEATED, _BARE), 0)
  for video in _read_videos(request, classes, odd):
    earlier = set()
    for k, segment in enumerate(video.segments):
      label, start_s, end_s = segment
      if end_s <= start_s:
        odd[_EMPTY] += 1
      elif segment in earlier:
        odd[_REPEATED] += 1
      else:
        earlier.add(segment)
        name = f'{video.name}_{k:03d}'
        rows.append(
          VideoRow(
            path=video.path,
            video=name,
            labels=(label,),
            start_s=start_s,
            end_s=end_s,
          )
        )
    odd[_BARE] += not video.segments
  notes = note_counts(odd)
  return build_listing(dataset, request, rows, classes=classes, notes=notes)


def read_untrimmed(dataset: Dataset, request: Request) -> Listing:
  """Reads the videos of a subset, each with all its classes.

  Testing videos have none: their labels are not published.
  """
  classes = request.classes or dataset.classes()
  labelled = _SUBSETS[request.split] != 'testing'
  rows, bare = [], 0
  for video in _read_videos(request, classes, {_CUT: 0}):
    labels = tuple(sorted({label for label, _, _ in video.segments}))
    if labelled and not labels:
      bare += 1
      continue
    seconds = video.duration_s if video.duration_s > 0 else None
    rows.append(
      VideoRow(
        path=video.path, video=video.name, labels=labels, seconds=seconds
      )
    )
  counts = {
    'videos without a label, left out': bare,
    'videos with several classes': sum(len(row.labels) > 1 for row in rows),
  }
  notes = note_counts(counts)
  return build_listing(dataset, request, rows, classes=classes, notes=notes)


def _read_videos(
  request: Request, classes: ClassList, odd: dict[str, int]
) -> Iterator[_Video]:
  """The videos of a subset in the order of the file; counts cut segments."""
  path = text_files.find_file(
    request.annotations,
    ['activity_net.v1-3*.json', '*activity*net*.json'],
    'the ActivityNet 1.3 json',
  )
  # By the exact name: inner nodes of the taxonomy are not classes.
  names, files = ExactNames(classes), request.files
  labelled = _SUBSETS[request.split] != 'testing'
  for video, entry in _read_database(path).items():
    with text_files.locate_errors(path, f'video {video[:40]!r}'):
      text_files.parse_clip_name(video)
      paths = (f'v_{video}.mp4', f'v_{video}', video)
      subset = _get(entry, 'subset', str)
      if subset not in _VIDEOS:
        raise InputError(
          f'got subset {subset[:40]!r}; expected training, validation or '
          'testing'
        )
      if subset != _SUBSETS[request.split]:
        files.mark_known(*paths)  # in the same folder
        continue
      duration_s, segments = 0.0, []
      if labelled or 'duration' in entry:
        duration_s = text_files.parse_seconds(entry.get('duration'))
      for annotation in _get(entry, 'annotations', list) if labelled else ():
        times = _get(annotation, 'segment', list)
        if len(times) != 2:
          raise InputError(
            f'got segment {str(times)[:40]}; expected [start, end]'
          )
        start_s, end_s = map(text_files.parse_seconds, times)
        odd[_CUT] += start_s < 0 or end_s > duration_s
        label = names.label(_get(annotation, 'label', str))
        segments.append((label, max(0.0, start_s), min(duration_s, end_s)))
    yield _Video(video, files.find(*paths), segments, duration_s)


def _read_database(path: pathlib.Path) -> dict[str, Any]:
  value = text_files.read_json(path)
  is_object = isinstance(value, dict)
  if not is_object or not isinstance(value.get('database'), dict):
    content = ', '.join(value) if is_object else type(value).__name__
    raise InputError(
      f'{path} holds {content[:80]}; expected the ActivityNet json with '
      'version, taxonomy and database; try the official file'
    )
  version = str(value.get('version', 'none'))
  if not re.fullmatch(r'(version *)?1\.3', version.strip(), re.IGNORECASE):
    raise InputError(
      f'{path} is of version {version[:40]!r}; expected VERSION 1.3, which has '
      '200 classes: earlier ones have other videos and splits'
    )
  return value['database']


def _get(entry: Any, key: str, kind: type) -> Any:
  value = entry.get(key) if isinstance(entry, dict) else None
  if not isinstance(value, kind):
    raise InputError(
      f'got {key} {str(value)[:40]!r}; expected a {kind.__name__}'
    )
  return value


DATASETS = (
  Dataset(
    name='activitynet',
    title='ActivityNet 1.3 (trimmed)',
    # The testing segments are not published.
    splits={
      split: 0 for split, subset in _SUBSETS.items() if subset != 'testing'
    },
    metric='top1',
    reported_split='val',
    flip=FlipPolicy('free'),
    read=read_trimmed,
    lists=('activitynet_200',),
    aliases=('activitynet_trimmed', 'anet'),
  ),
  Dataset(
    name='activitynet_untrimmed',
    title='ActivityNet 1.3 (untrimmed)',
    splits={split: _VIDEOS[subset] for split, subset in _SUBSETS.items()},
    metric='map',
    reported_split='val',
    flip=FlipPolicy('free'),
    read=read_untrimmed,
    task=Task('any'),
    lists=('activitynet_200',),
    aliases=('anet_untrimmed',),
  ),
)
