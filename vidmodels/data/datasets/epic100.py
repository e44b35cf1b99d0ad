"""EPIC-KITCHENS-100: clips of long videos, each with a verb and a noun.

Clips are cut by seconds. The frame columns are not read: they number the
released JPEGs, extracted at 60 or 50 a second whatever rate the video has.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

from vidmodels.data.datasets.build_listing import build_listing
from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing.parse_values import (
  parse_clip_name,
  parse_clock,
  parse_int,
  parse_python_list,
  parse_seconds,
)
from vidmodels.data.listing.rows import Listing, VideoRow, note_count
from vidmodels.data.listing.text_files import (
  find_beside,
  find_file,
  locate_errors,
  read_csv,
)
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


@dataclasses.dataclass
class _Clips:
  """The rows of a csv, the clips of each participant, and counts."""

  rows: list[VideoRow] = dataclasses.field(default_factory=list)
  participants: dict[str, set[str]] = dataclasses.field(
    default_factory=lambda: collections.defaultdict(set)
  )
  several: int = 0
  late: int = 0


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads `EPIC_100_{train,validation,test_timestamps}.csv`.

  A clip's name is its narration_id. Its labels are the verb and the first noun,
  as numbers in the list of both. The test split has no labels.

  Raises:
    InputError: if a file is not the official one, or a line of it has a class
      out of range, a noun_class that is not the first of its nouns, or no time.
  """
  split = {'val': 'validation'}.get(request.split, request.split)
  labelled = split != 'test'
  what = f'the EPIC-KITCHENS-100 {split} csv'
  path = find_file(request.annotations, [_FILES[split]], what)
  classes = _load_classes(dataset, request, path)
  files = VideoFiles(request.videos)
  if files.images and not len(files):
    raise _only_frames(path, request, files)
  clips = _read_clips(path, what, files, labelled=labelled)
  subsets, unknown = _find_unseen(path, split, clips)
  tails, no_tails = _read_tails(path)
  notes = (
    *note_count(
      'clips with several nouns; the first is the label', clips.several
    ),
    *note_count(f'clips that stop after their video by {_INFO}', clips.late),
    *unknown,
    *no_tails,
    *((_OTHER,) if find_beside(path, [_OTHER_NOUNS]) else ()),
  )
  listing = build_listing(
    dataset,
    request,
    clips.rows,
    files,
    classes=classes,
    labelled=labelled,
    notes=notes,
  )
  return dataclasses.replace(listing, subsets=subsets, class_subsets=tails)


def _read_clips(
  path: pathlib.Path, what: str, files: VideoFiles, *, labelled: bool
) -> _Clips:
  """Reads the csv line by line."""
  durations = _read_durations(path)
  files.mark_known(*durations)  # the videos of all splits
  clips = _Clips()
  columns = _CLIP + _LABELS if labelled else _CLIP
  for line, fields in read_csv(path, columns, what, multiline=True):
    with locate_errors(path, line):
      labels = _parse_labels(fields, clips) if labelled else ()
      _add_clip(clips, fields, labels, files, durations)
  return clips


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
  lines = read_csv(path, _CLIP, path.name, multiline=True)
  _, fields = next(lines, (0, {'video_id': 'P01_01'}))
  video = parse_clip_name(fields['video_id'])
  return InputError(
    f'{request.videos} holds {files.images} images and no video: extracted '
    'frames are not read one by one; expected videos; try making one of each '
    'folder, without re-encoding: ffmpeg -framerate '
    f'{jpegs_per_second(video)} -i {video}/frame_%010d.jpg -c copy '
    f'{video}.mkv (-framerate 60 for names of two digits as P01_01, 50 for '
    'three as P01_101)'
  )


def _add_clip(
  clips: _Clips,
  fields: Mapping[str, str],
  labels: tuple[int, ...],
  files: VideoFiles,
  durations: Mapping[str, float],
) -> None:
  name = parse_clip_name(fields['narration_id'])
  participant = parse_clip_name(fields['participant_id'])
  video = parse_clip_name(fields['video_id'])
  start_s = parse_clock(fields['start_timestamp'])
  stop_s = parse_clock(fields['stop_timestamp'])
  if stop_s <= start_s:
    raise InputError(
      f'{name} goes from {start_s:g} to {stop_s:g} s; expected a stop after '
      'the start; try fetching the file again'
    )
  # Where the download scripts put it, or anywhere.
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


def _parse_labels(fields: Mapping[str, str], clips: _Clips) -> tuple[int, int]:
  verb = parse_int(fields['verb_class'], most=_VERBS - 1)
  noun = parse_int(fields['noun_class'], most=_NOUNS - 1)
  nouns = parse_python_list(fields['all_noun_classes'])
  if not nouns or any(type(n) is not int or n != noun for n in nouns[:1]):
    raise InputError(
      f'got noun_class {noun} with all_noun_classes {str(nouns)[:60]}; '
      'expected the first of them'
    )
  clips.several += len(nouns) > 1
  return verb, _VERBS + noun


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
    file = find_beside(path, [f'EPIC_100_{head}_classes.csv'])
    if file is None:
      continue
    names: list[str] = []
    for line, fields in read_csv(file, ('id', 'key'), 'an EPIC class csv'):
      with locate_errors(file, line):
        if parse_int(fields['id'], most=100_000) != len(names):
          raise InputError(f'got id {fields["id"]}; expected {len(names)}')
      names.append(f'{head}/{fields["key"].strip()}')
    with locate_errors(file, 'is not what action recognition uses'):
      ours = ClassList.from_names(official.names[part])
      difference = ClassList.from_names(names).first_difference(ours)
      if difference:
        raise InputError(
          f'{difference}; expected the official {head} classes; try fetching '
          'the file again'
        )
  return request.classes or official


def _read_durations(path: pathlib.Path) -> dict[str, float]:
  """Seconds of each video, if the file with them is there."""
  file = find_beside(path, [_INFO])
  durations: dict[str, float] = {}
  if file is None:
    return durations
  for line, fields in read_csv(file, ('video_id', 'duration'), _INFO):
    with locate_errors(file, line):
      name = fields['video_id'].strip()
      durations[name] = parse_seconds(fields['duration'])
  return durations


def _find_unseen(
  path: pathlib.Path, split: str, clips: _Clips
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
  """Clips of participants that are not in training; a note if unknown."""
  if split == 'train':
    return {}, ()
  name = f'EPIC_100_unseen_participant_ids_{split}.csv'
  file = find_beside(path, [name])
  if file is None:
    return {}, (f'{name} is not beside the csv: no result for unseen people',)
  unseen = set()
  for _, fields in read_csv(file, ('participant_id',), name):
    unseen |= clips.participants.get(fields['participant_id'].strip(), set())
  names = dict.fromkeys(row.video for row in clips.rows)
  return {'unseen': tuple(name for name in names if name in unseen)}, ()


def _read_tails(
  path: pathlib.Path,
) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
  """The rare classes of each head, as numbers in the whole list."""
  tails, notes = {}, []
  for head, size, first in (('verb', _VERBS, 0), ('noun', _NOUNS, _VERBS)):
    name = f'EPIC_100_tail_{head}s.csv'
    file = find_beside(path, [name])
    if file is None:
      notes.append(f'{name} is not beside the csv: no result for its classes')
      continue
    tails[f'tail_{head}'] = tuple(_read_tail(file, head, size, first))
  return tails, tuple(notes)


def _read_tail(
  file: pathlib.Path, head: str, size: int, first: int
) -> Iterator[int]:
  for line, fields in read_csv(file, (head,), file.name):
    with locate_errors(file, line):
      yield first + parse_int(fields[head], most=size - 1)


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
