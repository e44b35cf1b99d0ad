"""A family that is not ours, as two files that a stranger would write."""

import pathlib

MODEL = """
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn.batch_norm import BatchNorm

SHARDING = ((r'kernel$', ('fsdp', 'tensor')), (r'(bias|scale)$', ()))
TINY, TINY_CLIP = {'width': 4}, (2, 8, 8)


class Model(nn.Module):
  classes: int
  dtype: object = jnp.float32
  width: int = 8

  def setup(self):
    self.body = nn.Dense(self.width, dtype=self.dtype)
    self.norm = BatchNorm()
    self.drop = nn.Dropout(0.1)
    self.head = nn.Dense(self.classes)

  def __call__(self, video_BTHWC, *, train=False):
    y_BD = self.features(video_BTHWC, train=train)
    return self.head(self.drop(y_BD, deterministic=not train))

  def features(self, video_BTHWC, *, train=False):
    y_BD = self.body(video_BTHWC.mean((1, 2, 3)))
    return self.norm(y_BD.astype(jnp.float32), train)
"""
RECIPE = """
from vidmodels import config

PUBLISHED = ('', 'wide')


def get_config(arg=''):
  c = config.skeleton(family='sixth', width=16 if arg == 'wide' else 8)
  c.data.dir = 'records/sixth'
  c.clip.update(frames=4, size=16)
  c.augment.short_side = (16, 18)
  c.optim.update(lr=0.1, steps=2, ema=0.5)
  c.batch = 8
  return c
"""


def add(folder: pathlib.Path, monkeypatch) -> None:
  """Puts the family beside ours, and its recipe alone among the recipes."""
  from vidmodels import models
  from vidmodels.cli import recipe

  for name, text in (('models', MODEL), ('configs', RECIPE)):
    (folder / name).mkdir(parents=True)
    (folder / name / 'sixth.py').write_text(text)
  (folder / 'models' / 'helper.py').write_text('x = 1\n')  # defines no Model
  paths = [*models.__path__, str(folder / 'models')]
  monkeypatch.setattr(models, '__path__', paths)
  monkeypatch.setattr(recipe, 'FOLDER', folder / 'configs')
