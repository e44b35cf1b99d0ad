"""ActivityNet 1.3: its segments one by one, or its videos whole.

`activitynet` is trimmed: each annotated segment is a clip of one class.
`activitynet_untrimmed` has whole videos, and each class that a video has
anywhere is a right answer.
"""

import collections
import dataclasses
import difflib
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from vidmodels.data.datasets.build_listing import build_listing
from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing import text_files
from vidmodels.data.listing.rows import Listing, VideoRow, note_count
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


@dataclasses.dataclass(frozen=True)
class _Segment:
  """An annotation, cut to its video; its length may be zero or negative."""

  label: int
  start_s: float
  end_s: float


@dataclasses.dataclass
class _Video:
  """A video of the subset that is read."""

  name: str
  path: pathlib.Path
  segments: list[_Segment]
  duration_s: float  # 0 if not given


class _Reader:
  """Reads the videos of one subset and counts what is odd in them."""

  def __init__(self, dataset: Dataset, request: Request):
    self.path = text_files.find_file(
      request.annotations,
      ['activity_net.v1-3*.json', '*activity*net*.json'],
      'the ActivityNet 1.3 json',
    )
    self.subset = _SUBSETS[request.split]
    self.labelled = self.subset != 'testing'
    self.classes = request.classes or dataset.classes()
    self.files = request.files
    self.cut = 0  # segments that leave their video
    self._labels = {name: i for i, name in enumerate(self.classes.names)}

  def videos(self) -> Iterator[_Video]:
    """The videos in the order of the file."""
    for name, entry in _read_database(self.path).items():
      with text_files.locate_errors(self.path, f'video {name[:40]!r}'):
        text_files.parse_clip_name(name)
        names = (f'v_{name}.mp4', f'v_{name}', name)
        subset = _get(entry, 'subset', str)
        if subset not in _VIDEOS:
          raise InputError(
            f'got subset {subset[:40]!r}; expected training, validation or '
            'testing'
          )
        if subset != self.subset:
          self.files.mark_known(*names)  # in the same folder
          continue
        duration_s, segments = 0.0, []
        if self.labelled or 'duration' in entry:
          duration_s = text_files.parse_seconds(entry.get('duration'))
        if self.labelled:
          segments = list(self._segments(entry, duration_s))
        yield _Video(name, self.files.find(*names), segments, duration_s)

  def _segments(
    self, entry: Mapping[str, Any], duration_s: float
  ) -> Iterator[_Segment]:
    for annotation in _get(entry, 'annotations', list):
      times = _get(annotation, 'segment', list)
      if len(times) != 2:
        raise InputError(
          f'got segment {str(times)[:40]}; expected [start, end]'
        )
      start_s, end_s = map(text_files.parse_seconds, times)
      self.cut += start_s < 0 or end_s > duration_s
      yield _Segment(
        label=self._parse_label(_get(annotation, 'label', str)),
        start_s=max(0.0, start_s),
        end_s=min(duration_s, end_s),
      )

  def _parse_label(self, label: str) -> int:
    """By the exact name: inner nodes of the taxonomy are not classes."""
    if label not in self._labels:
      near = difflib.get_close_matches(label, self._labels, 1, 0.5)
      hint = f'; did you mean {near[0]!r}?' if near else ''
      raise InputError(
        f'got label {label[:60]!r}; expected one of {len(self.classes)} '
        f'classes{hint}'
      )
    return self._labels[label]


def read_trimmed(dataset: Dataset, request: Request) -> Listing:
  """Reads the segments of a subset; number k of a video is `<id>_<k>`.

  A segment that leaves its video is cut to it. One without length is dropped,
  and so is one that repeats an earlier one.

  Raises:
    InputError: if the file is not version 1.3, a video has no duration, or a
      segment does not have two times and one of the classes.
  """
  reader, rows, odd = _Reader(dataset, request), [], collections.Counter[str]()
  for video in reader.videos():
    earlier = set()
    for k, segment in enumerate(video.segments):
      if segment.end_s <= segment.start_s:
        odd['empty'] += 1
      elif segment in earlier:
        odd['repeated'] += 1
      else:
        earlier.add(segment)
        row = VideoRow(
          path=video.path,
          video=f'{video.name}_{k:03d}',
          labels=(segment.label,),
          start_s=segment.start_s,
          end_s=segment.end_s,
        )
        rows.append(row)
    odd['bare'] += not video.segments
  notes = (
    *note_count('segments that leave their video, cut to it', reader.cut),
    *note_count('segments of no length in their video, dropped', odd['empty']),
    *note_count(
      'segments that their video has already, dropped', odd['repeated']
    ),
    *note_count('videos without a segment, left out', odd['bare']),
  )
  return build_listing(
    dataset, request, rows, classes=reader.classes, notes=notes
  )


def read_untrimmed(dataset: Dataset, request: Request) -> Listing:
  """Reads the videos of a subset, each with all its classes.

  Testing videos have none: their labels are not published.

  Raises:
    InputError: as `read_trimmed`.
  """
  reader, rows, bare = _Reader(dataset, request), [], 0
  for video in reader.videos():
    labels = tuple(sorted({segment.label for segment in video.segments}))
    if reader.labelled and not labels:
      bare += 1
      continue
    row = VideoRow(
      path=video.path,
      video=video.name,
      labels=labels,
      seconds=video.duration_s if video.duration_s > 0 else None,
    )
    rows.append(row)
  several = sum(len(row.labels) > 1 for row in rows)
  return build_listing(
    dataset,
    request,
    rows,
    classes=reader.classes,
    labelled=reader.labelled,
    notes=(
      *note_count('videos without a label, left out', bare),
      *note_count('videos with several classes', several),
    ),
  )


def _read_database(path: pathlib.Path) -> dict[str, Any]:
  value = text_files.read_json(path)
  if not isinstance(value, dict) or not isinstance(value.get('database'), dict):
    is_object = isinstance(value, dict)
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
