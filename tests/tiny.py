"""A recipe small enough for a test, as the command line would load it."""

import dataclasses
import pathlib

from vidmodels import config as cfg
from vidmodels.cli import recipe

SMALL = {
  'clip.frames': 4,
  'clip.size': 16,
  'augment.short_side': (16, 18),
  'model.width': 16,
  'model.layers': 2,
  'model.heads': 2,
  'optim.steps': 6,
  'optim.warmup': 1.0,
  'checkpoint.every': 2,
  'log.every': 2,
  'views.batch': 8,
  'batch': 8,
}

# Runs that are only there to be used take one step, and longer ones the six of
# SMALL, all with one layer: tests whose runs are one program compile it once.
SHORT = {'optim__steps': 1, 'optim__warmup': 0.0, 'model__layers': 1}


def flags(records: pathlib.Path, **changes) -> list[str]:
  """`--config.field=value` for SMALL and `changes` (a__b means a.b)."""
  named = {key.replace('__', '.'): value for key, value in changes.items()}
  values = SMALL | {'data.dir': records} | named
  return [f'--config.{key}={value}' for key, value in values.items()]


def config(records: pathlib.Path, name: str = 'demo', **changes) -> cfg.Config:
  """The demo's recipe at a size that trains in seconds."""
  return recipe.load(name, flags(records, **changes))


def views(config: cfg.Config, **changes) -> cfg.Views:
  """The recipe's views with some fields changed."""
  return dataclasses.replace(config.views, **changes)
