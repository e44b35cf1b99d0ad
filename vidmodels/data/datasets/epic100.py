"""EPIC-KITCHENS-100: clips of long videos, each with a verb and a noun.

Clips are cut by seconds. The frame columns are not read: they number the
released JPEGs, extracted at 60 or 50 a second whatever rate the video has.
"""

import collections
import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

from vidmodels.data.datasets.dataset import Dataset, Request, build_listing
from vidmodels.data.listing import text_files
from vidmodels.data.listing.rows import Listing, VideoRow, note_counts
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
_SLACK_S = 0.1  # durations are of containers: a frame too long is no error


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads `EPIC_100_{train,validation,test_timestamps}.csv`.

  A clip's name is its narration_id. Its labels are the verb and the first noun,
  as numbers in the list of both. The test split has no labels.
  """
  split = {'val': 'validation'}.get(request.split, request.split)
  labelled = split != 'test'
  what = f'the EPIC-KITCHENS-100 {split} csv'
  path = text_files.find_file(request.annotations, [_FILES[split]], what)
  classes = _load_classes(dataset, request, path)
  files = request.files
  if files.images and not len(files):
    raise _only_frames(path, request, files)
  durations = _read_durations(path)
  files.mark_known(*durations)  # the videos of all splits
  columns = _CLIP + _LABELS if labelled else _CLIP
  rows, several, late = [], 0, 0
  participants = collections.defaultdict[str, set[str]](set)
  for line, fields in text_files.read_csv(path, columns, what, multiline=True):
    with text_files.locate_errors(path, line):
      labels, is_several = _parse_labels(fields) if labelled else ((), False)
      participant, video, row = _parse_clip(fields, labels, files)
    rows.append(row)
    participants[participant].add(row.video)
    several += is_several
    late += (row.end_s or 0.0) > durations.get(video, math.inf) + _SLACK_S
  subsets, unknown = _find_unseen(path, split, rows, participants)
  tails, no_tails = _read_tails(path)
  counts = {
    'clips with several nouns; the first is the label': several,
    f'clips that stop after their video by {_INFO}': late,
  }
  notes = (
    *note_counts(counts),
    *unknown,
    *no_tails,
    *((_OTHER,) if text_files.find_beside(path, [_OTHER_NOUNS]) else ()),
  )
  listing = build_listing(dataset, request, rows, classes=classes, notes=notes)
  return dataclasses.replace(listing, subsets=subsets, class_subsets=tails)


def jpegs_per_second(video: str) -> int:
  """The rate at which the released frames of a video were extracted.

  50 for the videos that are new in this edition, which have three digits
  (P01_101), 60 for those of EPIC-KITCHENS-55 with two (P01_01). The video file
  itself may have another rate.
  """
  return 50 if len(video.rpartition('_')[2]) == 3 else 60


def _only_frames(
  path: pathlib.Path, request: Request, files: VideoFiles
) -> InputError:
  """The error for a folder of JPEGs: they are cut as videos of their frames."""
  lines = text_files.read_csv(path, _CLIP, path.name, multiline=True)
  _, fields = next(lines, (0, {'video_id': 'P01_01'}))
  video = text_files.parse_clip_name(fields['video_id'])
  return InputError(
    f'{request.videos} holds {files.images} images and no video: extracted '
    'frames are not read one by one; expected videos; try making one of each '
    'folder, without re-encoding: ffmpeg -framerate '
    f'{jpegs_per_second(video)} -i {video}/frame_%010d.jpg -c copy '
    f'{video}.mkv (-framerate 60 for names of two digits as P01_01, 50 for '
    'three as P01_101)'
  )


def _parse_clip(
  fields: Mapping[str, str], labels: tuple[int, ...], files: VideoFiles
) -> tuple[str, str, VideoRow]:
  """The participant, the video, and the clip of one line."""
  values = [fields[column] for column in _CLIP]
  name, participant, video = map(text_files.parse_clip_name, values[:3])
  start_s, stop_s = map(text_files.parse_clock, values[3:])
  if stop_s <= start_s:
    raise InputError(
      f'{name} goes from {start_s:g} to {stop_s:g} s; expected a stop after '
      'the start'
    )
  # Where the download scripts put it, or anywhere.
  official = f'{participant}/videos/{video}.MP4'
  row = VideoRow(
    path=files.find(official, f'{video}.MP4', video),
    video=name,
    labels=labels,
    start_s=start_s,
    end_s=stop_s,
  )
  return participant, video, row


def _parse_labels(fields: Mapping[str, str]) -> tuple[tuple[int, int], bool]:
  """Verb and noun, and whether there are several nouns."""
  verb = text_files.parse_int(fields['verb_class'], most=_VERBS - 1)
  noun = text_files.parse_int(fields['noun_class'], most=_NOUNS - 1)
  nouns = text_files.parse_python_list(fields['all_noun_classes'])
  if not nouns or any(type(n) is not int or n != noun for n in nouns[:1]):
    raise InputError(
      f'got noun_class {noun} with all_noun_classes {str(nouns)[:60]}; '
      'expected the first of them'
    )
  return (verb, _VERBS + noun), len(nouns) > 1


def _load_classes(
  dataset: Dataset, request: Request, path: pathlib.Path
) -> ClassList:
  """Our class list, compared with the class files that lie beside the csv."""
  official = dataset.classes()
  if request.classes is not None and len(request.classes) != len(official):
    raise InputError(
      f'got {len(request.classes)} classes; expected {_VERBS} verbs and then '
      f'{_NOUNS} nouns; try a file with {len(official)} names'
    )
  for head, part in dataset.task.parts(len(official)).items():
    file = text_files.find_beside(path, [f'EPIC_100_{head}_classes.csv'])
    if file is None:
      continue
    names: list[str] = []
    lines = text_files.read_csv(file, ('id', 'key'), 'an EPIC class csv')
    for line, fields in lines:
      with text_files.locate_errors(file, line):
        if text_files.parse_int(fields['id'], most=100_000) != len(names):
          raise InputError(f'got id {fields["id"]}; expected {len(names)}')
      names.append(f'{head}/{fields["key"].strip()}')
    with text_files.locate_errors(file, 'is not what action recognition uses'):
      ours = ClassList.from_names(official.names[part])
      difference = ClassList.from_names(names).first_difference(ours)
      if difference:
        raise InputError(f'{difference}; expected the official {head} classes')
  return request.classes or official


def _read_durations(path: pathlib.Path) -> dict[str, float]:
  """Seconds of each video, if the file with them is there."""
  file = text_files.find_beside(path, [_INFO])
  durations: dict[str, float] = {}
  if file is None:
    return durations
  columns = ('video_id', 'duration')
  for line, fields in text_files.read_csv(file, columns, _INFO):
    with text_files.locate_errors(file, line):
      seconds = text_files.parse_seconds(fields['duration'])
    durations[fields['video_id'].strip()] = seconds
  return durations


def _find_unseen(
  path: pathlib.Path,
  split: str,
  rows: Sequence[VideoRow],
  participants: Mapping[str, set[str]],
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
  """Clips of participants that are not in training; a note if unknown."""
  if split == 'train':
    return {}, []
  name = f'EPIC_100_unseen_participant_ids_{split}.csv'
  file = text_files.find_beside(path, [name])
  if file is None:
    return {}, [f'{name} is not beside the csv: no result for unseen people']
  unseen: set[str] = set()
  for _, fields in text_files.read_csv(file, ('participant_id',), name):
    unseen |= participants.get(fields['participant_id'].strip(), set())
  names = dict.fromkeys(row.video for row in rows)
  return {'unseen': tuple(name for name in names if name in unseen)}, []


def _read_tails(
  path: pathlib.Path,
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
  """The rare classes of each head, as numbers in the whole list."""
  tails, notes = {}, []
  for head, size, first in (('verb', _VERBS, 0), ('noun', _NOUNS, _VERBS)):
    name = f'EPIC_100_tail_{head}s.csv'
    file = text_files.find_beside(path, [name])
    if file is None:
      notes.append(f'{name} is not beside the csv: no result for its classes')
      continue
    labels = []
    for line, fields in text_files.read_csv(file, (head,), name):
      with text_files.locate_errors(file, line):
        label = text_files.parse_int(fields[head], most=size - 1)
      labels.append(first + label)
    tails[f'tail_{head}'] = tuple(labels)
  return tails, notes


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
