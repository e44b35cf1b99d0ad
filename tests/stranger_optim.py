"""An optimiser and a schedule that are not ours, each a file of a stranger."""

import pathlib

import pytest

OPTIMIZER = """
import optax

READS = ('momentum',)


def build(optim, learning_rate, decay_mask):
  return optax.chain(
    optax.trace(optim.momentum), optax.scale_by_learning_rate(learning_rate)
  )
"""
SCHEDULE = """
import optax

READS = ('final_lr',)


def build(optim, *, peak, total, unit):
  return optax.linear_schedule(peak, optim.final_lr, total)
"""


def add(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
  """Puts 'heavy_ball' and 'straight' beside our files."""
  from vidmodels.train import optimizers, schedules

  for package, name, text in (
    (optimizers, 'heavy_ball', OPTIMIZER), (schedules, 'straight', SCHEDULE)
  ):  # fmt: skip
    (folder / name).mkdir(parents=True)
    (folder / name / f'{name}.py').write_text(text)
    paths = [*package.__path__, str(folder / name)]
    monkeypatch.setattr(package, '__path__', paths)
