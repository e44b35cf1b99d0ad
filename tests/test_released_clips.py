"""Recipes take the frames and the views that their releases take."""

import numpy as np
import pytest

from vidmodels.cli import recipe
from vidmodels.data.sampling import rules, views

PYSLOWFAST, MMACTION = ('ceil', 'floor'), ('floor', 'round')
# Recipe: rule, frames, stride, rate, views, centre and long side.
RELEASED = {
  'timesformer': ('pyslowfast', 8, 32, 30, '1x3', PYSLOWFAST),
  'timesformer:high': ('pyslowfast', 16, 16, 30, '1x3', PYSLOWFAST),
  'timesformer:long': ('pyslowfast', 96, 4, 30, '1x3', PYSLOWFAST),
  'timesformer:long,ssv2': ('pyslowfast_segment', 64, 1, 0, '1x3', PYSLOWFAST),
  'timesformer:howto100m': ('uniform', 8, 32, 30, '48x3', PYSLOWFAST),
  'xvit': ('pyslowfast', 16, 16, 0, '1x3', PYSLOWFAST),
  'xvit:k600': ('pyslowfast', 16, 16, 0, '1x3', PYSLOWFAST),
  'xvit:ssv2': ('pyslowfast_segment', 16, 1, 0, '2x3', PYSLOWFAST),
  'xvit:epic100': ('pyslowfast_segment', 16, 1, 0, '2x3', PYSLOWFAST),
  'vidtr': ('vidtr', 8, 8, 0, '10x3', ('floor', 'floor')),
  'vidtr:m': ('vidtr', 16, 4, 0, '10x3', ('floor', 'floor')),
  'vidtr:l': ('vidtr', 32, 2, 0, '10x3', ('floor', 'floor')),
  'vidtr:compact-m': ('vidtr', 16, 4, 0, '10x3', ('floor', 'floor')),
  'vidtr:ucf101': ('vidtr', 8, 8, 0, '10x3', ('floor', 'floor')),
  'vidtr:l,charades': ('vidtr', 32, 4, 0, '10x3', ('floor', 'floor')),
  'vidtr:m,ssv2': ('segment', 16, 1, 0, '1x3', ('floor', 'floor')),
  'dualformer': ('mmaction', 32, 2, 0, '4x1', MMACTION),
  'dualformer:base,k600': ('mmaction', 32, 2, 0, '4x1', MMACTION),
  'dualformer:small,hmdb51': ('mmaction', 32, 4, 0, '4x3', MMACTION),
  'dualformer:tiny,ucf101': ('mmaction', 16, 4, 0, '4x3', MMACTION),
  'dualformer:small,diving48': ('mmaction', 32, 4, 0, '4x3', MMACTION),
  'video_focalnet': ('mmaction_segment', 8, 4, 0, '4x3', MMACTION),
  'video_focalnet:base,ssv2': ('mmaction_segment', 8, 4, 0, '4x3', MMACTION),
  'i3d': ('mmaction', 32, 2, 0, '10x3', MMACTION),
  'i3d:slowfast': ('pyslowfast', 8, 8, 30, '10x3', PYSLOWFAST),
}


@pytest.mark.parametrize('name', RELEASED)
def test_a_recipe_takes_the_clips_and_views_of_its_release(name):
  config = recipe.load(name)
  clip, shown = config.clip, config.views
  assert (
    clip.sampling,
    clip.frames,
    clip.stride,
    clip.fps,
    f'{shown.temporal}x{shown.spatial}',
    (shown.centre, shown.long_side),
  ) == RELEASED[name]


@pytest.mark.parametrize('name', RELEASED)
def test_the_views_of_a_recipe_differ_on_a_video_of_usual_length(name):
  config = recipe.load(name)
  seconds = 410 if 'howto100m' in name else 10
  times_n = np.arange(seconds * 30) * 1_000_000 // 30
  found = set()
  for number in range(views.count(config.views)):
    when, where = views.split(number, config.views)
    frames = rules.view_indices(
      times_n, config.clip, when, config.views.temporal
    )
    crop = views.view_crop(
      256, 340, size=config.clip.size, view=where, views=config.views
    )
    found.add((tuple(frames.tolist()), crop))
  assert len(found) == config.views.temporal * config.views.spatial


def test_c_vidtr_sees_a_video_in_one_pass_if_asked():
  changes = 'clip.sampling=segment', 'clip.stride=1.0', 'views.temporal=1'
  flags = [f'--config.{change}' for change in (*changes, 'clip.frames=16')]
  config = recipe.load('vidtr:compact-s', flags)
  times_n = np.arange(160) * 40_000
  index_T = rules.view_indices(times_n, config.clip, 0, 1)
  assert index_T.tolist() == list(range(5, 160, 10))
