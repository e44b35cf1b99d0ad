"""A stranger's sampling rule, from its recipe to training and test clips."""

import dataclasses

import numpy as np
import pytest
import stranger_sampling
from streams import (
  BATCH,
  CLIP,
  VIDEOS,
  evaluate,
  frame_numbers,
  record,
  train,
  write,
)

from vidmodels.cli import recipe
from vidmodels.config import Augment, Views
from vidmodels.data.sampling import rules
from vidmodels.data.stream.batch_stream import ExampleOrder
from vidmodels.typing import InputError

OWN = dataclasses.replace(CLIP, sampling='backwards', stride=2.0)


@pytest.fixture(autouse=True)
def rule(tmp_path, monkeypatch):
  stranger_sampling.add(tmp_path, monkeypatch)


@pytest.fixture
def videos(tmp_path):
  items = [record(i, *video) for i, video in enumerate(VIDEOS)]
  return write(tmp_path, items)


def load(*flags):
  """The demo's recipe with this rule, from the command line."""
  rule = '--config.clip.sampling=backwards'
  return recipe.load('demo', [rule, *(f'--config.{flag}' for flag in flags)])


def test_a_recipe_names_it_and_it_stands_among_ours():
  assert load().clip.sampling == 'backwards'
  assert 'backwards' in rules.names()
  assert 'helper' not in rules.names()
  # It reads the stride, so the message for `segment` names it too.
  with pytest.raises(InputError, match=r'clip\.sampling=backwards or dense'):
    recipe.load('demo', ['--config.clip.sampling=segment'])


@pytest.mark.parametrize(
  ('flag', 'message'),
  [
    ('clip.fps=30.0', r"clip\.fps=30\.0; .*nothing reads it without"),
    ('clip.short=loop', r"clip\.short='loop'; .*nothing reads it without"),
    ('views.temporal=3', 'has 2 views over time; expected at most 2'),
    ('clip.stride=5.0', 'expected 4 at most'),
  ],
)  # fmt: skip
def test_what_it_declares_is_checked(flag, message):
  with pytest.raises(InputError, match=message):
    load(flag)


def test_a_misspelt_name_is_told_the_nearest():
  with pytest.raises(InputError, match=r"'backward'.*try 'backwards'"):
    recipe.load('demo', ['--config.clip.sampling=backward'])


def test_a_declaration_that_cannot_be_is_its_authors_error():
  with pytest.raises(TypeError, match=r"READS=\('pace',\); expected some of"):
    rules.find('mistaken')


def test_training_draws_its_frames(videos):
  order = ExampleOrder(examples=len(VIDEOS), batch=BATCH, seed=3)
  plain = Augment(short_side=(16, 16), flip=0.0)
  for step, batch in enumerate(train(videos, clip=OWN, augment=plain)):
    for row, index in enumerate(batch['index']):
      n, rng = VIDEOS[index][0], order.rng(step * BATCH + row)
      start = int(rng.integers(n))
      expected = np.maximum(start - 2 * np.arange(4), 0)
      assert frame_numbers(batch['video'][row]) == expected.tolist()


def test_evaluation_takes_its_views_and_no_more(videos):
  views = Views(temporal=2, spatial=1, batch=7)
  for batch in evaluate(videos, clip=OWN, views=views):
    for row, (index, view) in enumerate(
      zip(batch['index'], batch['view'], strict=True)
    ):
      last = VIDEOS[index][0] - 1
      start = last // 2 if view else last
      expected = np.maximum(start - 2 * np.arange(4), 0)
      assert frame_numbers(batch['video'][row]) == expected.tolist()
  with pytest.raises(InputError, match='has 2 views over time'):
    evaluate(videos, clip=OWN, views=Views(temporal=3, spatial=1, batch=7))
