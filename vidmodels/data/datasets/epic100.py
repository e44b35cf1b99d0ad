"""EPIC-KITCHENS-100: clips of long videos, each with a verb and a noun.

Clips are cut by their seconds. The frame columns number the released JPEGs, at
60 or 50 a second whatever rate the video file has, so they are not read.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

from vidmodels.data.datasets.build_listing import gather
from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.listing.text_files import (
  at,
  beside,
  clip_name,
  find_one,
  read_csv,
  whole,
)
from vidmodels.data.listing.values import clock, python_list, seconds, some
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import Task
from vidmodels.typing import InputError

_VERBS, _NOUNS = 97, 300
_CLIP = (
  *('narration_id', 'participant_id', 'video_id'),
  *('start_timestamp', 'stop_timestamp'),
)
_LABELS = ('verb_class', 'noun_class', 'all_noun_classes')
_FILES = {
  'train': 'EPIC_100_train.csv',
  'validation': 'EPIC_100_validation.csv',
  'test': 'EPIC_100_test_timestamps.csv',
}
_INFO = 'EPIC_100_video_info.csv'
_OTHER_NOUNS = 'EPIC_100_noun_classes_v2.csv'
_OTHER = (
  f'{_OTHER_NOUNS} is not used: it has other nouns than the {_NOUNS} of action '
  'recognition'
)
_SLACK_S = 0.1  # durations are of containers; a frame more or less is none


@dataclasses.dataclass
class _Clips:
  """The rows of a csv, whose they are, and what is odd in them."""

  rows: list[VideoRow] = dataclasses.field(default_factory=list)
  participants: dict[str, set[str]] = dataclasses.field(
    default_factory=lambda: collections.defaultdict(set)
  )
  several: int = 0
  late: int = 0


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads `EPIC_100_{train,validation,test_timestamps}.csv`.

  A clip is called by its narration_id. Its labels are the verb and the first
  of its nouns, numbers in the list of both. The test split has none.

  Raises:
    InputError: if a file is not the official one, or a line of it has a class
      out of range, a noun that is not the first of its nouns, or no time.
  """
  split = 'validation' if request.split == 'val' else request.split
  labelled = split != 'test'
  what = f'the EPIC-KITCHENS-100 {split} csv'
  path = find_one(request.annotations, [_FILES[split]], what)
  classes = _classes(dataset, request, path)
  files = VideoFiles(request.videos)
  if files.images and not len(files):
    raise _only_frames(path, request, files)
  clips = _clips(path, what, files, labelled=labelled)
  subsets, unknown = _unseen(path, split, clips)
  tails, no_tails = _tails(path)
  notes = (
    *some('clips with several nouns; the first is the label', clips.several),
    *some(f'clips that stop after their video by {_INFO}', clips.late),
    *unknown,
    *no_tails,
    *((_OTHER,) if beside(path, [_OTHER_NOUNS]) else ()),
  )
  listing = gather(
    dataset,
    request,
    clips.rows,
    files,
    classes=classes,
    labelled=labelled,
    notes=notes,
  )
  return dataclasses.replace(listing, subsets=subsets, class_subsets=tails)


def _clips(
  path: pathlib.Path, what: str, files: VideoFiles, *, labelled: bool
) -> _Clips:
  """Reads the csv line by line."""
  durations = _durations(path)
  files.know(*durations)  # the videos of all splits
  clips = _Clips()
  columns = _CLIP + _LABELS if labelled else _CLIP
  for line, fields in read_csv(path, columns, what, multiline=True):
    with at(path, line):
      labels = _labels(fields, clips) if labelled else ()
      _add(clips, fields, labels, files, durations)
  return clips


def jpegs_per_second(video: str) -> int:
  """At what rate the released frames of a video were extracted.

  50 for the videos that came with this edition, which have three digits
  (P01_101), 60 for those of EPIC-KITCHENS-55 with two (P01_01); whatever the
  video file has itself.
  """
  return 50 if len(video.rpartition('_')[2]) == 3 else 60


def _only_frames(
  path: pathlib.Path, request: Request, files: VideoFiles
) -> InputError:
  """What to do with the released JPEGs: they are cut as videos are."""
  lines = read_csv(path, _CLIP, path.name, multiline=True)
  _, fields = next(lines, (0, {'video_id': 'P01_01'}))
  video = clip_name(fields['video_id'])
  return InputError(
    f'{request.videos} holds {files.images} images and no video: extracted '
    'frames are not read one by one; wanted videos; make one of each folder, '
    'which codes nothing anew: ffmpeg -framerate '
    f'{jpegs_per_second(video)} -i {video}/frame_%010d.jpg -c copy '
    f'{video}.mkv (-framerate 60 for names of two digits as P01_01, 50 for '
    'three as P01_101)'
  )


def _add(
  clips: _Clips,
  fields: Mapping[str, str],
  labels: tuple[int, ...],
  files: VideoFiles,
  durations: Mapping[str, float],
) -> None:
  name = clip_name(fields['narration_id'])
  participant = clip_name(fields['participant_id'])
  video = clip_name(fields['video_id'])
  start_s = clock(fields['start_timestamp'])
  stop_s = clock(fields['stop_timestamp'])
  if stop_s <= start_s:
    raise InputError(
      f'{name} goes from {start_s:g} to {stop_s:g} s; wanted a stop after the '
      'start'
    )
  # As the download scripts put it, or anywhere.
  official = f'{participant}/videos/{video}.MP4'
  clips.rows.append(
    VideoRow(
      path=files.find(official, f'{video}.MP4', video),
      video=name,
      labels=labels,
      start_s=start_s,
      end_s=stop_s,
    )
  )
  clips.participants[participant].add(name)
  clips.late += stop_s > durations.get(video, stop_s) + _SLACK_S


def _labels(fields: Mapping[str, str], clips: _Clips) -> tuple[int, int]:
  verb = whole(fields['verb_class'], most=_VERBS - 1)
  noun = whole(fields['noun_class'], most=_NOUNS - 1)
  nouns = python_list(fields['all_noun_classes'])
  if not nouns or any(type(n) is not int or n != noun for n in nouns[:1]):
    raise InputError(
      f'noun_class {noun} came with all_noun_classes {str(nouns)[:60]}; '
      'wanted the first of them'
    )
  clips.several += len(nouns) > 1
  return verb, _VERBS + noun


def _classes(
  dataset: Dataset, request: Request, path: pathlib.Path
) -> ClassList:
  """Ours, held against the class files that lie beside the csv."""
  official = dataset.classes()
  if request.classes is not None and len(request.classes) != len(official):
    raise InputError(
      f'{len(request.classes)} classes came; wanted {_VERBS} verbs and then '
      f'{_NOUNS} nouns, {len(official)} names'
    )
  for head, part in dataset.task.parts(len(official)).items():
    file = beside(path, [f'EPIC_100_{head}_classes.csv'])
    if file is None:
      continue
    names = []
    for line, fields in read_csv(file, ('id', 'key'), 'an EPIC class csv'):
      with at(file, line):
        if whole(fields['id'], most=100_000) != len(names):
          raise InputError(f'id {fields["id"]} came; wanted {len(names)}')
      names.append(f'{head}/{fields["key"].strip()}')
    with at(file, 'is not what action recognition uses'):
      ours = ClassList.from_names(official.names[part])
      difference = ClassList.from_names(names).first_difference(ours)
      if difference:
        raise InputError(f'{difference}; wanted the official {head} classes')
  return request.classes or official


def _durations(path: pathlib.Path) -> dict[str, float]:
  """Seconds of each video, if the file that says them is there."""
  file = beside(path, [_INFO])
  found = {}
  for line, fields in (
    read_csv(file, ('video_id', 'duration'), _INFO) if file else ()
  ):
    with at(file, line):
      found[fields['video_id'].strip()] = seconds(fields['duration'])
  return found


def _unseen(
  path: pathlib.Path, split: str, clips: _Clips
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
  """Clips of participants that training has not, and a note if unknown."""
  if split == 'train':
    return {}, ()
  name = f'EPIC_100_unseen_participant_ids_{split}.csv'
  file = beside(path, [name])
  if file is None:
    return {}, (f'{name} is not beside the csv: no result for unseen people',)
  unseen = set()
  for _, fields in read_csv(file, ('participant_id',), name):
    unseen |= clips.participants.get(fields['participant_id'].strip(), set())
  names = dict.fromkeys(row.video for row in clips.rows)
  return {'unseen': tuple(name for name in names if name in unseen)}, ()


def _tails(
  path: pathlib.Path,
) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
  """The rare classes of each head, as numbers in the whole list."""
  found, notes = {}, []
  for head, size, first in (('verb', _VERBS, 0), ('noun', _NOUNS, _VERBS)):
    name = f'EPIC_100_tail_{head}s.csv'
    file = beside(path, [name])
    if file is None:
      notes.append(f'{name} is not beside the csv: no result for its classes')
      continue
    found[f'tail_{head}'] = tuple(_tail(file, head, size, first))
  return found, tuple(notes)


def _tail(
  file: pathlib.Path, head: str, size: int, first: int
) -> Iterator[int]:
  for line, fields in read_csv(file, (head,), file.name):
    with at(file, line):
      yield first + whole(fields[head], most=size - 1)


DATASETS = (
  Dataset(
    name='epic100',
    title='EPIC-KITCHENS-100',
    splits={'train': 67217, 'validation': 9668, 'val': 9668, 'test': 13092},
    metric='action_top1',
    reported_split='val',
    flip=FlipPolicy('free'),
    read=read,
    task=Task(heads=(('verb', _VERBS), ('noun', _NOUNS))),
    lists=('epic100_verbs', 'epic100_nouns'),
    aliases=('epic', 'epic_kitchens_100', 'epic-kitchens-100'),
  ),
)
