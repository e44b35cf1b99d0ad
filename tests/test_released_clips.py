"""Recipes take the frames and the views that their releases take."""

import dataclasses

import numpy as np
import pytest

from vidmodels.cli import recipe
from vidmodels.data.sampling import rules, views

PYSLOWFAST, MMACTION = ('ceil', 'floor_double'), ('floor', 'round')
# Recipe: rule, frames, stride, rate, views, centre and long side.
RELEASED = {
  'timesformer': ('pyslowfast_pyav', 8, 32, 30, '1x3', PYSLOWFAST),
  'timesformer:high': ('pyslowfast_pyav', 16, 16, 30, '1x3', PYSLOWFAST),
  'timesformer:long': ('pyslowfast_pyav', 96, 4, 30, '1x3', PYSLOWFAST),
  'timesformer:long,ssv2': ('pyslowfast_segment', 64, 1, 0, '1x3', PYSLOWFAST),
  'timesformer:howto100m': ('uniform', 8, 32, 30, '48x3', PYSLOWFAST),
  'xvit': ('pyslowfast', 16, 16, 0, '1x3', PYSLOWFAST),
  'xvit:k600': ('pyslowfast', 16, 16, 0, '1x3', PYSLOWFAST),
  'xvit:ssv2': ('pyslowfast_segment', 16, 1, 0, '2x3', PYSLOWFAST),
  # Nothing was released of it: as SSv2.
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
  'i3d:slowfast': ('pyslowfast_pyav', 8, 8, 30, '10x3', PYSLOWFAST),
  'i3d:heavy,charades': ('mmaction', 32, 4, 0, '10x3', MMACTION),
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


# Recipe: how the short side is drawn, whether the last place is, how the long
# side is rounded and pixels are, in training; pixels in tests.
TRAINED = {
  'timesformer': ('rounded', False, 'floor_double', 'float', 'float'),
  'timesformer:high': ('rounded', False, 'floor_double', 'float', 'float'),
  'timesformer:long,ssv2': ('inverse', False, 'floor_double', 'float', 'float'),
  # Boxes of frames as stored, at any of the fixed places.
  'xvit': ('uniform', True, 'floor', 'float', 'float'),
  'xvit:ssv2': ('inverse', False, 'floor_double', 'float', 'float'),
  'vidtr': ('uniform', True, 'floor', 'uint8', 'uint8'),
  'dualformer': ('uniform', True, 'round', 'uint8', 'uint8'),
  'dualformer:small,ucf101': ('uniform', True, 'round', 'uint8', 'uint8'),
  'twins_svt': ('uniform', True, 'round', 'uint8', 'uint8'),
  'video_focalnet': ('uniform', True, 'round', 'uint8', 'uint8'),
  'focalnet': ('uniform', True, 'round', 'uint8', 'uint8'),
  'i3d': ('uniform', True, 'round', 'uint8', 'uint8'),
  'i3d:slowfast': ('rounded', False, 'floor_double', 'float', 'float'),
}


@pytest.mark.parametrize('name', TRAINED)
def test_a_recipe_resizes_and_cuts_as_its_release_trains(name):
  config = recipe.load(name)
  augment = config.augment
  assert (
    augment.short_draw,
    augment.last_offset,
    augment.long_side,
    augment.resize,
    config.views.resize,
  ) == TRAINED[name]


def test_i3d_is_tested_on_larger_crops_than_it_is_trained_on():
  for name in RELEASED:
    config = recipe.load(name)
    size = 256 if config.family == 'i3d' else config.clip.size
    assert views.crop_size(config.views, config.clip.size) == size


@pytest.mark.parametrize(
  ('name', 'one', 'validated'),
  [
    ('timesformer', 256, 256),
    ('timesformer:high', 448, 448),
    ('dualformer', 224, 256),
    ('video_focalnet', 224, 256),
    ('vidtr', 224, 256),
    ('xvit', 224, 224),
    ('i3d', 256, 256),
  ],
)
def test_a_single_crop_is_cut_at_the_short_side_of_its_release(
  name, one, validated
):
  config = recipe.load(name)
  single = dataclasses.replace(config.views, spatial=1)
  assert views.short_side(single, config.clip.size) == one
  scale = config.log.validate_scale or single.centre_scale
  single = dataclasses.replace(single, centre_scale=scale)
  assert views.short_side(single, config.clip.size) == validated
  three = dataclasses.replace(config.views, spatial=3)
  wanted = three.short_side or config.clip.size
  assert views.short_side(three, config.clip.size) == wanted


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
