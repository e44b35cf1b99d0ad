"""Colour jitter, grey and erased boxes: rates, ranges, once a clip or not."""

import itertools

import chance
import numpy as np
import pytest

from vidmodels.config import Augment, Data
from vidmodels.data.augment import ClipAugmenter, colour, draw_crop, erase

FOUR = ('brightness', 'contrast', 'colour', 'hue')


def jitters(count, frames=3, **fields):
  rng, recipe = np.random.default_rng(3), Augment(**fields)
  return [colour.draw(rng, recipe, frames, 224) for _ in range(count)]


@pytest.mark.parametrize('each', ['clip', 'frame'])
def test_jitter_and_grey_come_at_their_rates_apart(each):
  found = jitters(8000, jitter=0.8, grey=0.2, jitter_each=each)
  jittered = np.array([len(frames[0]) >= 4 for frames in found])
  grey = np.array([bool(f[0]) and f[0][-1].name == 'grey' for f in found])
  chance.rate(jittered, 0.8)
  chance.rate(grey, 0.2)
  chance.rate(jittered & grey, 0.16)
  for frames in found:
    names = [[op.name for op in ops] for ops in frames]
    assert all(sorted(own) == sorted(names[0]) for own in names)
    assert all('grey' not in own[:-1] for own in names)


def test_a_clips_jitter_is_one_draw_or_one_a_frame():
  assert {len(f) for f in jitters(50, jitter=1.0)} == {1}
  found = jitters(50, frames=5, jitter=1.0, jitter_each='frame', grey=0.5)
  assert {len(frames) for frames in found} == {5}
  for frames in found:
    factors = [{op.name: op.amount for op in ops} for ops in frames]
    for name in FOUR:
      assert len({own[name] for own in factors}) == 5
    assert len({len(ops) for ops in frames}) == 1  # grey is for all or none


@pytest.mark.parametrize('each', ['clip', 'frame'])
def test_factors_are_uniform_about_1_and_turns_about_0(each):
  fields = dict(brightness=0.4, contrast=0.3, saturation=1.5, hue=0.1)
  found = jitters(4000, jitter=1.0, jitter_each=each, **fields)
  factors = {name: [] for name in FOUR}
  for ops in itertools.chain(*found):
    for op in ops:
      factors[op.name].append(op.amount)
  chance.uniform(factors['brightness'], 0.6, 1.4)
  chance.uniform(factors['contrast'], 0.7, 1.3)
  chance.uniform(factors['colour'], 0, 2.5)  # never below 0
  chance.uniform(factors['hue'], -0.1, 0.1)


def test_every_order_comes_equally_often():
  found = jitters(12_000, jitter=1.0)
  orders = [tuple(op.name for op in ops) for (ops,) in found]
  chance.even(orders, itertools.permutations(FOUR))


def test_a_strength_of_0_leaves_its_operation_out():
  fields = dict(jitter=1.0, brightness=0.0, saturation=0.0, hue=0.0)
  assert {op.name for (ops,) in jitters(20, **fields) for op in ops} == {
    'contrast'
  }


def test_nothing_is_drawn_where_nothing_is_asked_for():
  rng, same = (np.random.default_rng(0) for _ in '01')
  augmenter = ClipAugmenter(Augment(), size=224, data=Data())
  assert augmenter.draw(rng, 256, 340, frames=8).changes == {}
  draw_crop(same, 256, 340, Augment(), 224)
  assert rng.random() == same.random()


def boxes(count, size=1000, **fields):
  rng, recipe = np.random.default_rng(4), Augment(**fields)
  return [erase.draw(rng, recipe, 8, size) for _ in range(count)]


def test_erasing_comes_at_its_rate():
  chance.rate([len(found) == 1 for found in boxes(6000, erase=0.25)], 0.25)


def test_erased_areas_and_shapes_are_as_asked():
  fields = dict(erase=1.0, erase_area=(0.02, 0.2), erase_aspect=(0.5, 3.0))
  found = [own for (own,) in boxes(6000, size=100_000, **fields)]
  area = [box.height * box.width / 1e10 for box in found]
  chance.uniform(area, 0.02 - 1e-4, 0.2 + 1e-4)
  shape = [np.log(box.height / box.width) for box in found]
  chance.uniform(shape, np.log(0.5) - 1e-3, np.log(3) + 1e-3)
  assert abs(np.corrcoef(area, shape)[0, 1]) < 5 / np.sqrt(6000)


def test_erased_boxes_are_inside_and_reach_every_place():
  fields = dict(erase=1.0, erase_area=(0.25, 0.25), erase_aspect=(1.0, 1.0))
  found = [own for (own,) in boxes(6000, size=8, **fields)]
  assert {(box.height, box.width) for box in found} == {(4, 4)}
  chance.even(
    [(box.top, box.left) for box in found],
    itertools.product(range(5), repeat=2),
  )
  for (box,) in boxes(3000, size=17, erase=1.0):
    assert 0 <= box.top <= 17 - box.height
    assert 0 <= box.left <= 17 - box.width


def test_a_box_as_large_as_the_crop_is_left_out():
  fields = dict(erase=1.0, erase_aspect=(1.0, 1.0))
  assert boxes(20, size=16, erase_area=(1.0, 1.0), **fields) == [()] * 20
  # Two of half the area each do fit.
  fields |= dict(erase_area=(1.0, 1.0), erase_count=2)
  assert {len(found) for found in boxes(50, size=16, **fields)} == {0, 2}


def test_boxes_share_the_area_and_their_number_is_uniform():
  fields = dict(erase_area=(0.3, 0.3), erase_aspect=(1.0, 1.0), erase_count=3)
  found = boxes(6000, erase=1.0, **fields)
  chance.even([len(own) for own in found], [1, 2, 3])
  for own in found:
    for box in own:
      assert box.height == box.width == round(1000 * np.sqrt(0.3 / len(own)))
  assert len({box.top for own in found for box in own}) > 300


DATA = Data(mean=(0.5, 0.25, 0.1), std=(0.1, 0.05, 0.02))


def filled(how, boxes=((2, 30, 40, 20), (50, 3, 9, 60)), frames=4):
  """A clip of 7s with two boxes, rows and columns 2.., 30.. and so on."""
  video_THWC = np.full((frames, 64, 64, 3), 7, np.uint8)
  own = tuple(erase.Box(*box) for box in boxes)
  rng = np.random.default_rng(5)
  erase.change_clip(video_THWC, own, Augment(erase_with=how), rng, DATA)
  first, second = (
    video_THWC[:, t : t + h, l : l + w].astype(float) for t, l, h, w in boxes
  )
  for t, l, h, w in boxes:
    video_THWC[:, t : t + h, l : l + w] = 7
  assert (video_THWC == 7).all()  # and nothing else was touched
  return first, second


def test_boxes_are_filled_with_what_is_0_before_or_after_scaling():
  for box in filled('mean'):
    assert (box == [128, 64, 26]).all()  # 127.5, 63.75 and 25.5, to the even
  for box in filled('black'):
    assert (box == 0).all()


def test_a_box_has_one_colour_in_all_frames():
  first, second = filled('colour')
  for box in (first, second):
    assert (box == box[0, 0, 0]).all()
    assert 0 < abs(box[0, 0, 0] / 255 - DATA.mean).max() < 0.5
  assert (first[0, 0, 0] != second[0, 0, 0]).any()


def test_noise_is_standard_once_scaled_and_new_in_every_frame():
  box, _ = filled('noise', frames=12)
  for channel in range(3):
    scaled = (box[..., channel] / 255 - DATA.mean[channel]) / DATA.std[channel]
    bound = 5 / np.sqrt(scaled.size)
    assert abs(scaled.mean()) < bound + 0.02  # rounded to whole levels
    assert scaled.std() == pytest.approx(1, abs=bound + 0.02)
  assert len({frame.tobytes() for frame in box}) == 12
  a, b = box[0, ..., 0].ravel(), box[1, ..., 0].ravel()
  assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(a.size)


def test_noise_that_leaves_the_levels_is_clipped():
  video_THWC = np.zeros((2, 32, 32, 3), np.uint8)
  data = Data(mean=(0.5,) * 3, std=(0.5,) * 3)
  box = (erase.Box(0, 0, 32, 32),)
  rng = np.random.default_rng(5)
  erase.change_clip(video_THWC, box, Augment(erase_with='noise'), rng, data)
  chance.rate((video_THWC == 255).ravel(), 0.1587)  # over 254.5
  chance.rate((video_THWC == 0).ravel(), 0.1587)
