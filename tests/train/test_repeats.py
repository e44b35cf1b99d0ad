"""Epochs of a run that shows each example several times."""

import types

import pytest
import tiny

from vidmodels.train import workdirs
from vidmodels.train.build import build


class Records:
  """As many clips as there are examples, none lost."""

  manifest = types.SimpleNamespace(lost=())

  def __len__(self):
    return 40


@pytest.mark.parametrize(('repeats', 'total'), [(1, 10), (2, 20), (4, 40)])
def test_an_epoch_has_as_many_times_the_steps(tmp_path, repeats, total):
  changes = dict(optim__steps=0, optim__epochs=2, augment__repeats=repeats)
  recipe = tiny.config(tmp_path, **changes)
  run = build(recipe, classes=3, examples=len(Records()))  # in batches of 8
  assert run.total == total
  said = workdirs.run_summary(run, Records())
  assert f'{total} steps = 2.00 epochs' in said
