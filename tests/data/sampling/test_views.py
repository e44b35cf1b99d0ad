"""Test views: which there are and where each looks."""

import dataclasses
import itertools

import cv2
import numpy as np
import pytest

from vidmodels.config import Clip, Views
from vidmodels.data import augment
from vidmodels.data.sampling import rules, views
from vidmodels.typing import InputError


def places(height, width, size, short_side, count, **how):
  recipe = Views(spatial=count, short_side=short_side, **how)
  crops = [
    views.view_crop(height, width, size=size, view=view, views=recipe)
    for view in range(count)
  ]
  assert all(c.short_side == short_side and not c.flip for c in crops)
  return [(crop.top, crop.left) for crop in crops]


def test_three_crops_run_along_the_long_side():
  assert places(256, 340, 224, 224, 3) == [(0, 0), (0, 37), (0, 73)]
  assert places(340, 256, 224, 224, 3) == [(0, 0), (37, 0), (73, 0)]
  # A square counts as wide.
  assert places(50, 50, 20, 40, 3) == [(10, 0), (10, 10), (10, 20)]


def test_one_crop_is_the_centre_and_a_half_pixel_goes_right_and_down():
  assert places(256, 340, 224, 256, 1) == [(16, 58)]
  assert places(39, 40, 16, 39, 1) == [(12, 12)]  # 11.5 and 12
  assert places(40, 39, 16, 39, 1) == [(12, 12)]


def test_crops_fit_and_three_of_them_reach_both_ends():
  for H, W, extra in itertools.product((30, 37, 80), (30, 41, 90), (0, 5)):
    height, width = augment.fit_short_side(H, W, 24 + extra)
    for count in (1, 3):
      found = places(H, W, 24, 24 + extra, count)
      assert all(0 <= top <= height - 24 for top, _ in found)
      assert all(0 <= left <= width - 24 for _, left in found)
    along = [left if W >= H else top for top, left in found]
    assert (along[0], along[2]) == (0, max(height, width) - 24)
    if max(height, width) >= 26:
      assert len(set(found)) == 3


def test_views_count_time_first_then_space():
  recipe = Views(temporal=2, spatial=3)
  assert views.count(recipe) == 6
  found = [views.split(v, recipe) for v in range(6)]
  assert found == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_the_short_side_is_the_crops_unless_given():
  assert views.short_side(Views(), 224) == 224
  assert views.short_side(Views(short_side=256), 224) == 256
  with pytest.raises(InputError, match=r'short_side=200 .*crop of 224'):
    views.short_side(Views(short_side=200), 224)


def test_a_single_crop_may_have_a_larger_frame_than_three():
  recipe = Views(centre_scale=256 / 224, short_side=230)
  one = dataclasses.replace(recipe, spatial=1)
  for size, side in ((224, 256), (56, 64), (32, 37), (448, 512)):
    assert views.short_side(one, size) == side
  assert views.short_side(recipe, 224) == 230
  crop = views.view_crop(240, 320, size=224, view=0, views=one)
  # 256 x 341: the middles of 32 and 117.
  assert (crop.short_side, crop.top, crop.left) == (256, 16, 59)
  with pytest.raises(
    InputError, match=r'centre_scale=0.9.*larger than the frame'
  ):
    dataclasses.replace(recipe, centre_scale=0.9).check()


@pytest.mark.parametrize('resize', ['uint8', 'float'])
def test_a_view_is_resized_as_asked(resize):
  recipe = Views(spatial=1, resize=resize)
  crop = views.view_crop(40, 50, size=16, view=0, views=recipe)
  assert crop.resize == resize


@pytest.mark.parametrize(
  ('size', 'ceil', 'floor'),
  [
    # 224 of 297: the middle is at 36.5.
    ((256, 340), [(0, 0), (0, 37), (0, 73)], [(0, 0), (0, 36), (0, 72)]),
    ((340, 256), [(0, 0), (37, 0), (73, 0)], [(0, 0), (36, 0), (72, 0)]),
    # 224 of 398: at 87 either way.
    ((180, 320), [(0, 0), (0, 87), (0, 174)], [(0, 0), (0, 87), (0, 174)]),
  ],
)
def test_a_middle_between_two_pixels_is_rounded_as_asked(size, ceil, floor):
  assert places(*size, 224, 224, 3) == ceil
  assert places(*size, 224, 224, 3, centre='ceil') == ceil
  assert places(*size, 224, 224, 3, centre='floor') == floor
  assert places(*size, 224, 224, 1, centre='ceil') == ceil[1:2]
  assert places(*size, 224, 224, 1, centre='floor') == floor[1:2]


def test_dmvrs_centre_is_the_lower_one():
  assert places(149, 149, 112, 149, 1, centre='floor') == [(18, 18)]
  assert places(149, 149, 112, 149, 1) == [(19, 19)]


def test_the_long_side_is_rounded_as_asked_and_the_crops_with_it():
  how = {'centre': 'floor', 'long_side': 'round'}
  # 340 x 224 / 256 is 297.5; mmaction2 makes it 298.
  assert places(256, 340, 224, 224, 3, **how) == [(0, 0), (0, 37), (0, 74)]
  # 341 x 224 / 256 is 298.4.
  assert places(256, 341, 224, 224, 3, **how) == [(0, 0), (0, 37), (0, 74)]
  assert augment.fit_short_side(256, 340, 224, 'round') == (224, 298)
  assert augment.fit_short_side(340, 256, 224, 'round') == (298, 224)
  assert augment.fit_short_side(3, 1000, 7, 'round') == (7, 2333)
  for side in range(1, 60):
    assert min(augment.fit_short_side(59, 83, side, 'round')) == side


def test_the_last_crop_is_the_frames_end_at_the_size_asked_for():
  rng = np.random.default_rng(0)
  frame_HWC = rng.integers(0, 256, (30, 41, 3), np.uint8)
  for long_side, width in (('floor', 27), ('round', 27), ('round', 41)):
    side = 20 if width == 27 else 30
    recipe = Views(spatial=3, short_side=side, long_side=long_side)
    crop = views.view_crop(30, 41, size=16, view=2, views=recipe)
    assert crop.left == width - 16
    resized = cv2.resize(frame_HWC, (width, side))
    top = (side - 16 + 1) // 2
    wanted = resized[top : top + 16, -16:]
    np.testing.assert_array_equal(augment.cut(frame_HWC, crop, 16), wanted)
  # 43 x 20 / 30 is 28.67: 28 or 29.
  for long_side, width in (('floor', 28), ('round', 29)):
    frame_HWC = rng.integers(0, 256, (30, 43, 3), np.uint8)
    recipe = Views(spatial=3, short_side=20, long_side=long_side)
    crop = views.view_crop(30, 43, size=16, view=0, views=recipe)
    wanted = cv2.resize(frame_HWC, (width, 20))[2:18, :16]
    np.testing.assert_array_equal(augment.cut(frame_HWC, crop, 16), wanted)


@pytest.mark.parametrize(('view', 'count'), [(3, 3), (-1, 3), (1, 1), (0, 2)])
def test_a_view_that_does_not_exist_is_refused(view, count):
  with pytest.raises(ValueError, match='spatial'):
    views.view_crop(40, 50, size=16, view=view, views=Views(spatial=count))


def test_a_crop_that_does_not_fit_is_refused():
  with pytest.raises(InputError, match=r'short_side=20 .*crop of 24'):
    views.view_crop(40, 50, size=24, view=0, views=Views(short_side=20))


@pytest.mark.parametrize(
  'wanted', ['1x1', '1x3', '2x3', '4x1', '4x3', '10x3', '7x1']
)
@pytest.mark.parametrize('rule', rules.names())
def test_views_over_time_and_space_are_all_different(rule, wanted):
  temporal, spatial = map(int, wanted.split('x'))
  if rule == 'pyslowfast_segment' and temporal > 3:
    return  # it has three, and says so
  recipe = Views(temporal=temporal, spatial=spatial)
  clip = Clip(frames=8, sampling=rule)
  times_n = np.arange(300) * 40_000
  found = set()
  for number in range(views.count(recipe)):
    when, where = views.split(number, recipe)
    frames = rules.view_indices(times_n, clip, when, temporal)
    crop = views.view_crop(24, 36, size=16, view=where, views=recipe)
    found.add((tuple(frames.tolist()), crop))
  assert len(found) == temporal * spatial
