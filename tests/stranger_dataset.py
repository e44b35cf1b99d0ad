"""A data set that is not ours: a file and a class list that a stranger adds."""

import pathlib

import videos

DATASET = '''
"""Gestures: `<split>.csv` with a clip and its gesture on each line."""

from vidmodels.data.datasets.dataset import Dataset, build_listing
from vidmodels.data.listing.class_names import ExactNames
from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.listing.text_files import (
  find_file,
  locate_errors,
  read_csv,
)
from vidmodels.data.records.flip_policy import FlipPolicy


def read(dataset, request):
  what = f'the Gestures {request.split} csv'
  path = find_file(request.annotations, [f'{request.split}.csv'], what)
  names = ExactNames(request.classes or dataset.classes())
  files, rows = request.files, []
  for line, fields in read_csv(path, ['clip', 'gesture'], what):
    with locate_errors(path, line):
      label, clip = names.label(fields['gesture']), fields['clip']
      row = VideoRow(path=files.find(clip), video=clip, labels=(label,))
      rows.append(row)
  return build_listing(dataset, request, rows, classes=names.classes)


DATASETS = (
  Dataset(
    name='gestures',
    title='Gestures',
    splits={'train': 4, 'val': 2, 'test': 0},
    metric='top1',
    reported_split='val',
    flip=FlipPolicy('forbid'),
    mirror=(('0', '1'),),
    read=read,
    lists=('gestures',),
    aliases=('gesture_set',),
  ),
)
'''
RECIPE = """
from vidmodels import config


def get_config(arg=''):
  c = config.skeleton(family='sixth')
  c.data.update(config.dataset_fields('gestures'))
  c.clip.update(frames=2, size=8)
  c.augment.update(short_side=(8, 9), flip=0.0)
  c.optim.update(lr=0.1, steps=2)
  c.log.update(validate=2, every=1)
  c.views.batch = 8
  c.batch = 8
  return c
"""
CLIPS = {
  'train': {'a': 'left', 'b': 'right', 'c': 'left', 'd': 'still'},
  'val': {'e': 'right', 'f': 'still'},
}


def add(folder: pathlib.Path, monkeypatch) -> None:
  """Puts the data set's file and class list beside ours."""
  from vidmodels.data import datasets

  home = folder / 'datasets'
  (home / 'class_lists').mkdir(parents=True)
  (home / 'gestures.py').write_text(DATASET)
  (home / 'class_lists/gestures.txt').write_text('left\nright\nstill\n')
  monkeypatch.setattr(datasets, '__path__', [*datasets.__path__, str(home)])


def make_files(folder: pathlib.Path) -> None:
  """The official csv files and the videos."""
  (folder / 'videos').mkdir(parents=True)
  for split, clips in CLIPS.items():
    lines = [f'{clip},{gesture}\n' for clip, gesture in clips.items()]
    (folder / f'{split}.csv').write_text('clip,gesture\n' + ''.join(lines))
    for clip in clips:
      videos.write(folder / f'videos/{clip}.mp4', videos.moving(12, 16, 24))
