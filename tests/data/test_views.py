"""Test views: which there are and where each looks."""

import itertools

import pytest

from vidmodels.config import Views
from vidmodels.data import augment, views
from vidmodels.typing import InputError


def places(height, width, size, short_side, count):
  crops = [
    views.crop_of(height, width, size, short_side, view, count)
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
    height, width = augment.resized(H, W, 24 + extra)
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
  with pytest.raises(InputError, match=r'short_side=200 .*clip.size=224'):
    views.short_side(Views(short_side=200), 224)


@pytest.mark.parametrize(('view', 'count'), [(3, 3), (-1, 3), (1, 1), (0, 2)])
def test_a_view_that_does_not_exist_is_refused(view, count):
  with pytest.raises(ValueError, match='spatial'):
    views.crop_of(40, 50, 16, 20, view, count)


def test_a_crop_that_does_not_fit_is_refused():
  with pytest.raises(ValueError, match='size=24'):
    views.crop_of(40, 50, 24, 20, 0, 1)
