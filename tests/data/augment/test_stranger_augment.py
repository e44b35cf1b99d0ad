"""A stranger's augmentation, from its recipe to the clips of training."""

import dataclasses
import json

import numpy as np
import pytest
import stranger_augment
from streams import BATCH, VIDEOS, evaluate, record, train, write

from vidmodels import config as cfg
from vidmodels.cli import recipe
from vidmodels.data import augment
from vidmodels.data.stream.batch_stream import ExampleOrder
from vidmodels.typing import InputError


@pytest.fixture(autouse=True)
def darken(tmp_path, monkeypatch):
  stranger_augment.add(tmp_path, monkeypatch)


@pytest.fixture
def videos(tmp_path):
  items = [record(i, *video) for i, video in enumerate(VIDEOS)]
  return write(tmp_path, items)


def load(*flags):
  return recipe.load('darkened', [f'--config.augment.{flag}' for flag in flags])


def test_a_recipe_switches_it_on_with_fields_of_its_own():
  config = load('extra.darken.mark=3')
  (last,) = augment.training.find_augmentations(config.augment)[1:]
  assert last.name == 'darken'
  assert dataclasses.asdict(last.fields) == {'by': 0.5, 'mark': 3.0}
  tree = json.loads(json.dumps(cfg.as_dict(config)))
  assert tree['augment']['extra'] == {'darken': {'mark': 3}}
  assert cfg.check(tree) == config
  assert hash(config.augment) == hash(cfg.check(tree).augment)


def test_recipes_without_it_have_the_text_of_before():
  config = dataclasses.replace(load(), augment=cfg.Augment())
  assert 'extra' not in cfg.as_dict(config)['augment']


@pytest.mark.parametrize(
  ('extra', 'message'),
  [
    ({'darken': {'mark': 11}}, r'augment\.extra\.darken\.mark.*from 0 to 10'),
    ({'darken': {'by': 'x'}}, r"str 'x' for augment\.extra\.darken\.by"),
    ({'darken': {'of': 1}}, r"'augment\.extra\.darken\.of'.*darken\.by"),
    ({'darken': 1}, r'augment\.extra\.darken; expected the fields'),
    ({'darkan': {}}, r"'darkan' for augment\.extra.*try 'darken'"),
    ({'erase': {}}, r"'erase' for augment\.extra"),
  ],
)
def test_its_fields_are_checked_as_ours_are(extra, message):
  tree = cfg.as_dict(load())
  tree['augment']['extra'] = extra
  with pytest.raises(InputError, match=message):
    cfg.check(tree)


def test_it_changes_every_clip_of_training_and_leaves_our_draws(videos):
  config = load()
  plain = dataclasses.replace(config.augment, extra={})
  order = ExampleOrder(examples=len(VIDEOS), batch=BATCH, seed=3)
  streams = (
    train(videos, clip=config.clip, augment=own)
    for own in (config.augment, plain)
  )
  augmenter = augment.ClipAugmenter(
    config.augment, size=config.clip.size, data=config.data
  )
  compared = 0
  for step, (ours, theirs) in enumerate(zip(*streams, strict=True)):
    for row, index in enumerate(ours['index']):
      rng, item = order.rng(step * BATCH + row), videos.record(index)
      rng.integers(augment_starts(config.clip, len(item.frames)))
      drawn = augmenter.draw(rng, item.height, item.width, config.clip.frames)
      factor = drawn.changes['darken']
      assert 0.5 <= factor <= 1
      expected_THWC = np.rint(theirs['video'][row] * factor)
      if drawn.changes['erase']:  # boxes are filled after it
        continue
      expected_THWC[0, 0, 0] = 7
      assert (ours['video'][row] == expected_THWC).all()
      compared += 1
    assert (ours['label'] == theirs['label']).all()
  assert compared > 6


def augment_starts(clip, n):
  """From how many starts the dense rule draws."""
  return max(1, n - int((clip.frames - 1) * clip.stride))


def test_evaluation_does_not_know_it(videos):
  config = load()
  batches = list(evaluate(videos, clip=config.clip))
  assert all(not (b['video'][:, 0, 0, 0] == 7).all() for b in batches)
