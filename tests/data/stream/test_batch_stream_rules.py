"""Streams take the frames that the recipe's sampling rule names."""

import dataclasses

import pytest
from sampling import train_indices
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

from vidmodels.config import Augment, Views
from vidmodels.data.sampling import rules
from vidmodels.data.stream.batch_stream import ExampleOrder
from vidmodels.typing import InputError


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  items = [record(i, *video) for i, video in enumerate(VIDEOS)]
  return write(tmp_path_factory.mktemp('records'), items)


def clip_of(rule):
  """Records are of 25 frames a second; at 50, a clip has half as many."""
  fps = 50.0 if 'fps' in rules.find(rule).READS else 0.0
  return dataclasses.replace(CLIP, sampling=rule, stride=3.0, fps=fps)


@pytest.mark.parametrize('rule', rules.names())
def test_training_draws_frames_by_the_rule(videos, rule):
  plan = ExampleOrder(examples=len(VIDEOS), batch=BATCH, seed=3)
  plain = Augment(short_side=(16, 16), flip=0.0)
  seen = 0
  for step, batch in enumerate(
    train(videos, clip=clip_of(rule), augment=plain)
  ):
    for row, index in enumerate(batch['index']):
      rng = plan.rng(step * BATCH + row)
      times_n = videos.record(index).timestamps_us
      wanted = train_indices(times_n, clip_of(rule), rng)
      assert frame_numbers(batch['video'][row]) == wanted.tolist()
      seen += 1
  assert seen == 24


@pytest.mark.parametrize('rule', rules.names())
def test_evaluation_takes_the_views_of_the_rule(videos, rule):
  views = Views(temporal=3, spatial=1, batch=7)
  for batch in evaluate(videos, clip=clip_of(rule), views=views):
    for row, (index, view) in enumerate(
      zip(batch['index'], batch['view'], strict=True)
    ):
      times_n = videos.record(index).timestamps_us
      wanted = rules.view_indices(times_n, clip_of(rule), view, 3)
      assert frame_numbers(batch['video'][row]) == wanted.tolist()


def test_a_rate_that_a_record_does_not_tell_is_named_with_its_place(tmp_path):
  item = record(0, 5, 24, 36)
  item.timestamps_us[:] = 0
  stream = train(write(tmp_path, [item]), clip=clip_of('pyslowfast'))
  with pytest.raises(InputError) as caught:
    list(stream)
  said = str(caught.value)
  assert said.startswith('train-00000-of-00002.tfrecord at offset 0: got 5')
  assert said.endswith('expected rising ones for clip.fps=50; set clip.fps=0')


def test_views_that_a_rule_lacks_are_refused_as_evaluation_starts(videos):
  clip = dataclasses.replace(CLIP, sampling='pyslowfast_segment', stride=1.0)
  with pytest.raises(InputError, match='at most 3'):
    evaluate(videos, clip=clip, views=Views(temporal=4, spatial=1, batch=4))
