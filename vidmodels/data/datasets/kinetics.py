"""Kinetics-400, 600, 700 and 700-2020: csv files with a header.

`label,youtube_id,time_start,time_end,split[,is_cc]`, without `label` where it
is not published. A clip is ten seconds of a video; one video may give several,
so that its id alone is no name. Files are `<id>_<start:06d>_<end:06d>` in
folders called as the classes, with spaces or `_`; or named by the id alone
(`kinetics_files.py`).
"""

import pathlib
import re

from vidmodels.data.datasets.build_listing import ClassNames, gather
from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.datasets.kinetics_files import KineticsClip, rows_of
from vidmodels.data.listing import text_files
from vidmodels.data.listing.rows import Listing
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

_COLUMNS = ('youtube_id', 'time_start', 'time_end', 'split')
# What file names and the column `split` call a split.
_WORDS = {
  'train': ('train',),
  'val': ('validate', 'val', 'validation'),
  'test': ('test', 'holdout'),
}
_ID = re.compile(r'[\w-]{11}', re.ASCII)
_MOST_S = 999_999  # file names have six digits


class _Spelt(ClassNames):
  """Labels by class name; another spelling of case or `_` is noted."""

  def __init__(self, classes: ClassList):
    super().__init__(classes)
    self._folded = {_fold(name): name for name in classes.names}
    self._spelt: dict[str, str] = {}

  def label(self, name: str) -> int:
    if name not in self and _fold(name) in self._folded:
      self._spelt[name] = self._folded[_fold(name)]
    return super().label(self._spelt.get(name, name))

  def notes(self) -> list[str]:
    return [f'class {a!r} is taken for {b!r}' for a, b in self._spelt.items()]


def _fold(name: str) -> str:
  return name.replace('_', ' ').casefold()


def read(dataset: Dataset, request: Request) -> Listing:
  """Reads a split of any Kinetics.

  Raises:
    InputError: if the csv is not of this data set and split, a row is damaged,
      or a label is no class.
  """
  patterns = _patterns(dataset, request.split)
  what = f'the {dataset.title} {request.split} csv'
  path = text_files.find_one(request.annotations, patterns, what)
  if dataset.name == 'k700' and '2020' in path.name:
    raise InputError(
      f'{path} is of Kinetics-700-2020 by its name; wanted that of '
      'Kinetics-700; prepare k700_2020'
    )
  clips = _clips(path, request.split)
  names = _Spelt(request.classes or dataset.classes())
  labelled = bool(clips) and bool(clips[0][1].label)
  labels = []
  for line, clip in clips:
    with text_files.at(path, line):
      if bool(clip.label) != labelled:
        raise InputError(
          f'label {clip.label!r} came; wanted one for all clips or for none'
        )
      labels.append((names.label(clip.label),) if labelled else ())
  files = VideoFiles(request.videos)
  rows, notes = rows_of([clip for _, clip in clips], labels, files)
  notes += _edition_notes(dataset, path)
  notes += names.notes() + _know_others(dataset, path, request.split, files)
  return gather(
    dataset,
    request,
    rows,
    files,
    classes=names.classes,
    labelled=labelled,
    notes=notes,
  )


def _edition_notes(dataset: Dataset, path: pathlib.Path) -> list[str]:
  """Doubts about which Kinetics-700 a file is: both call it train.csv."""
  folders = path.absolute().parts[-3:-1]
  if dataset.name == 'k700' and '2020' in ''.join(folders):
    return [
      f'{path} lies in a folder that says 2020; if it is of '
      'Kinetics-700-2020, which has other clips, prepare k700_2020 instead'
    ]
  if dataset.name == 'k700_2020' and '2020' not in path.name + ''.join(folders):
    return [
      f'neither the name nor the folder of {path} says 2020; if it is of '
      'Kinetics-700 as of 2019, which has other clips, prepare k700 instead'
    ]
  return []


def _patterns(dataset: Dataset, split: str) -> list[str]:
  digits = dataset.name.removeprefix('k').replace('_', '*')
  words = _WORDS[split]
  return [
    *(f'{word}.csv' for word in words),
    *(f'*{digits}*{word}.csv' for word in words),
    *(f'kinetics*{word}.csv' for word in words),
  ]


def _clips(path: pathlib.Path, split: str) -> list[tuple[int, KineticsClip]]:
  """Line number and clip of each row."""
  clips = []
  for line, fields in text_files.read_csv(path, _COLUMNS, 'a Kinetics csv'):
    with text_files.at(path, line):
      clips.append((line, _clip(fields, split)))
  return clips


def _clip(fields: dict[str, str], split: str) -> KineticsClip:
  youtube_id = fields['youtube_id'].strip()
  if not _ID.fullmatch(youtube_id):
    raise InputError(
      f'youtube_id {youtube_id[:40]!r} came; wanted 11 letters, digits, - and '
      '_; a spreadsheet program spoils ids that begin with -: get it again'
    )
  if fields['split'].strip().lower() not in _WORDS[split]:
    raise InputError(
      f'split {fields["split"][:40]!r} came; wanted only {split!r}; give the '
      'csv of that split'
    )
  start_s = text_files.whole(fields['time_start'], most=_MOST_S)
  end_s = text_files.whole(fields['time_end'], most=_MOST_S)
  if end_s <= start_s:
    raise InputError(f'a clip from {start_s} to {end_s} s came; get it again')
  return KineticsClip(
    youtube_id, start_s, end_s, fields.get('label', '').strip()
  )


def _know_others(
  dataset: Dataset, path: pathlib.Path, split: str, files: VideoFiles
) -> list[str]:
  """Files of the other splits are not outside, if their csv lies beside."""
  notes = []
  others = [other for other in _WORDS if other != split]
  for other in others if len(files) else ():
    found = text_files.beside(path, _patterns(dataset, other))
    try:
      for _, clip in _clips(found, other) if found else ():
        files.know(*clip.files(), *clip.whole_files())
    except InputError as e:
      notes.append(f'videos of the {other} split count as outside: {e}')
  return notes


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


# Clips a csv lists: counted in the files, or as the releases say; 0 where
# neither is at hand.
DATASETS = (
  _dataset(
    'k400',
    'Kinetics-400',
    'kinetics400',
    train=246_534,
    val=19_906,
    test=38_685,
  ),
  _dataset(
    'k600', 'Kinetics-600', 'kinetics600', train=0, val=30_000, test=72_924
  ),
  _dataset('k700', 'Kinetics-700', 'kinetics700', train=0, val=0, test=0),
  _dataset(
    'k700_2020',
    'Kinetics-700-2020',
    'kinetics700',
    train=0,
    val=0,
    test=0,
  ),
)
