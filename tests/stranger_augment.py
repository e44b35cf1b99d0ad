"""An augmentation that is not ours, as the one file that a stranger writes."""

import pathlib

AUGMENTATION = '''
"""Darkens a clip, and marks the corner of its first frame."""

import dataclasses

import numpy as np

from vidmodels.typing import Fraction, Level

ORDER = 40  # after ours, whose draws stay as they are


@dataclasses.dataclass(frozen=True)
class Fields:
  by: Fraction = 0.5  # at most
  mark: Level = 0.0


def draw(rng, fields, frames, size):
  return 1 - fields.by * rng.random()


def change_crop(crop_HWC, factor, fields, t):
  return np.rint(crop_HWC * factor).astype(np.uint8)


def change_clip(video_THWC, factor, fields, rng, data):
  video_THWC[0, 0, 0] = fields.mark
'''
RECIPE = """
from vidmodels import config


def get_config(arg=''):
  c = config.skeleton(family='timesformer')
  c.data.dir = 'records'
  c.clip.update(frames=4, stride=2.0, size=16)
  c.augment.update(short_side=(18, 24), erase=0.5)
  c.augment.extra = {'darken': {'mark': 7}}
  c.optim.steps = 6
  return c
"""


def add(folder: pathlib.Path, monkeypatch) -> None:
  """Puts the augmentation beside ours, and a recipe alone among recipes."""
  from vidmodels.cli import recipe
  from vidmodels.data import augment

  for name, file, text in (
    ('augment', 'darken', AUGMENTATION),
    ('configs', 'darkened', RECIPE),
  ):
    (folder / name).mkdir()
    (folder / name / f'{file}.py').write_text(text)
  paths = [*augment.__path__, str(folder / 'augment')]
  monkeypatch.setattr(augment, '__path__', paths)
  monkeypatch.setattr(recipe, 'FOLDER', folder / 'configs')
