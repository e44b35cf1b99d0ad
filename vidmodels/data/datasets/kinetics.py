"""Kinetics-400, 600, 700 and 700-2020: csv files with a header.

`label,youtube_id,time_start,time_end,split[,is_cc]`, without `label` where it
is not published. A clip is ten seconds of a video. One video may give several
clips, so a clip's name is its id and its times. `youtube_clips.py` says how the
files are called.
"""

import pathlib
from collections.abc import Iterator

from vidmodels.data.datasets.dataset import (
  Dataset,
  Request,
  build_listing,
  mark_other_splits,
)
from vidmodels.data.listing import text_files, youtube_clips
from vidmodels.data.listing.class_names import ExactNames
from vidmodels.data.listing.rows import Listing
from vidmodels.data.listing.youtube_clips import YoutubeClip
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

# What file names and the column `split` call a split.
_WORDS = {
  'train': ('train',),
  'val': ('validate', 'val', 'validation'),
  'test': ('test', 'holdout'),
}


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads a split of any Kinetics."""
  patterns = {split: _patterns(dataset, split) for split in _WORDS}
  what = f'the {dataset.title} {request.split} csv'
  path = text_files.find_file(
    request.annotations, patterns.pop(request.split), what
  )
  if dataset.name == 'k700' and '2020' in path.name:
    raise InputError(
      f'got {path}, which is of Kinetics-700-2020 by its name; expected that '
      'of Kinetics-700; try to prepare k700_2020'
    )
  clips = list(_read_clips(path, request.split))
  classes = request.classes or dataset.classes()
  names, folded = ExactNames(classes), {_fold(n): n for n in classes.names}
  meant: dict[str, str] = {}  # the names of classes that are spelt otherwise
  labelled = bool(clips) and bool(clips[0][1].label)
  labels: list[tuple[int, ...]] = []
  for line, clip in clips:
    with text_files.locate_errors(path, line):
      if bool(clip.label) != labelled:
        raise InputError(
          f'got label {clip.label!r}; expected labels for all clips or for none'
        )
      name = clip.label
      if name not in names and _fold(name) in folded:
        meant[name] = folded[_fold(name)]
      label = meant.get(name, name)
      labels.append((names.label(label),) if labelled else ())
  files = request.files
  parts = [clip for _, clip in clips]
  rows, notes = youtube_clips.find_clips(parts, labels, files)
  notes += _note_edition(dataset, path)
  notes += [f'class {a!r} is taken for {b!r}' for a, b in meant.items()]
  notes += mark_other_splits(files, path, patterns, _file_names)
  return build_listing(dataset, request, rows, classes=classes, notes=notes)


def _fold(name: str) -> str:
  """A name without regard to case, and to `_` for a space."""
  return name.replace('_', ' ').casefold()


def _patterns(dataset: Dataset, split: str) -> list[str]:
  digits = dataset.name.removeprefix('k').replace('_', '*')
  starts = ('', f'*{digits}*', 'kinetics*')
  return [f'{start}{word}.csv' for start in starts for word in _WORDS[split]]


def _read_clips(
  path: pathlib.Path, split: str
) -> Iterator[tuple[int, YoutubeClip]]:
  """Line number and clip of each row."""
  rows = text_files.read_csv(path, youtube_clips.COLUMNS, 'a Kinetics csv')
  for line, fields in rows:
    with text_files.locate_errors(path, line):
      clip = youtube_clips.parse_clip(fields)
      if fields['split'].strip().lower() not in _WORDS[split]:
        raise InputError(
          f'got split {fields["split"][:40]!r}; expected only {split!r}; try '
          'the csv of that split'
        )
    yield line, clip


def _file_names(path: pathlib.Path, split: str) -> Iterator[str]:
  for _, clip in _read_clips(path, split):
    yield from (*clip.files(), *clip.whole_files())


def _note_edition(dataset: Dataset, path: pathlib.Path) -> list[str]:
  """A doubt about which Kinetics-700 a file is: both call it train.csv."""
  folders = ''.join(path.absolute().parts[-3:-1])
  if dataset.name == 'k700' and '2020' in folders:
    return [
      f'{path} lies in a folder that says 2020; if it is of '
      'Kinetics-700-2020, which has other clips, prepare k700_2020 instead'
    ]
  if dataset.name == 'k700_2020' and '2020' not in path.name + folders:
    return [
      f'neither the name nor the folder of {path} says 2020; if it is of '
      'Kinetics-700 as of 2019, which has other clips, prepare k700 instead'
    ]
  return []


def _dataset(name: str, title: str, classes: str, **splits: int) -> Dataset:
  return Dataset(
    name=name,
    title=title,
    splits=splits,
    metric='top1',
    reported_split='val',
    flip=FlipPolicy('free'),
    read=read,
    lists=(classes,),
    aliases=(name.replace('k', 'kinetics', 1), title.lower()),
  )


# Clips in the csv files: counted in them, or as the releases say; 0 where
# neither is at hand.
K400 = dict(train=246_534, val=19_906, test=38_685)
K600 = dict(train=0, val=30_000, test=72_924)
K700 = dict(train=0, val=0, test=0)
DATASETS = (
  _dataset('k400', 'Kinetics-400', 'kinetics400', **K400),
  _dataset('k600', 'Kinetics-600', 'kinetics600', **K600),
  _dataset('k700', 'Kinetics-700', 'kinetics700', **K700),
  _dataset('k700_2020', 'Kinetics-700-2020', 'kinetics700', **K700),
)
