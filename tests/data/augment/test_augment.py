"""From a JPEG to the model's pixels, and what is drawn on the way."""

import collections

import cv2
import numpy as np
import pytest

from vidmodels.config import Augment
from vidmodels.data import augment
from vidmodels.data.augment import Crop
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

CLASSES = ClassList(('left', 'still', 'right'))


def jpeg(frame_HWC):
  """An RGB or grey frame as a JPEG of the best quality."""
  bgr = frame_HWC[..., ::-1] if frame_HWC.ndim == 3 else frame_HWC
  ok, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 100])
  assert ok
  return data.tobytes()


def noise(*shape, seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def ramp(height, width):
  """Red grows downwards and green to the right, a level or more a pixel."""
  frame_HWC = np.zeros((height, width, 3), np.uint8)
  frame_HWC[..., 0] = np.linspace(0, 255, height)[:, None]
  frame_HWC[..., 1] = np.linspace(0, 255, width)
  return frame_HWC


def bilinear(frame_HWC, height, width):
  """Half-pixel bilinear without antialiasing, written out."""

  def axis(x_Lx, size):
    at = (np.arange(size) + 0.5) * len(x_Lx) / size - 0.5
    at = np.clip(at, 0, len(x_Lx) - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(x_Lx) - 1)
    part = (at - low).reshape(-1, *[1] * (x_Lx.ndim - 1))
    return x_Lx[low] * (1 - part) + x_Lx[high] * part

  rows_HWC = axis(frame_HWC.astype(np.float64), height)
  return axis(rows_HWC.swapaxes(0, 1), width).swapaxes(0, 1)


def test_channels_are_red_green_blue():
  for channel in range(3):
    frame_HWC = np.zeros((16, 24, 3), np.uint8)
    frame_HWC[..., channel] = 255
    found_HWC = augment.decode(jpeg(frame_HWC))
    assert found_HWC.shape == (16, 24, 3)
    assert (found_HWC.argmax(-1) == channel).all()
    assert found_HWC[..., channel].min() > 250


def test_a_grey_jpeg_becomes_three_equal_channels():
  found_HWC = augment.decode(jpeg(noise(16, 24)))
  assert found_HWC.shape == (16, 24, 3)
  assert (found_HWC == found_HWC[..., :1]).all()
  assert abs(found_HWC[..., 0].astype(int) - noise(16, 24)).max() <= 2


def test_an_exif_tag_does_not_turn_the_frame():
  data = jpeg(ramp(16, 24))
  entry = bytes.fromhex('4d4d002a00000008 0001 0112 0003 00000001 0006 0000')
  body = b'Exif\0\0' + entry + bytes(4)
  tag = b'\xff\xe1' + (len(body) + 2).to_bytes(2, 'big') + body
  turned = data[:2] + tag + data[2:]
  plain = np.frombuffer(turned, np.uint8)
  assert cv2.imdecode(plain, cv2.IMREAD_COLOR).shape == (24, 16, 3)
  assert (augment.decode(turned) == augment.decode(data)).all()


@pytest.mark.parametrize(
  'data',
  [b'', b'<html>', jpeg(ramp(64, 64))[:-1], jpeg(ramp(64, 64))[:600]],
  ids=['empty', 'html', 'last byte missing', 'half'],
)
def test_bytes_that_are_no_whole_image_are_refused(data):
  with pytest.raises(InputError, match=f'{len(data)} bytes that'):
    augment.decode(data)


def test_the_long_side_is_rounded_down():
  assert augment.fit_short_side(256, 340, 224) == (224, 297)  # 297.5
  assert augment.fit_short_side(340, 256, 224) == (297, 224)
  assert augment.fit_short_side(100, 100, 32) == (32, 32)
  assert augment.fit_short_side(3, 1000, 7) == (7, 2333)


def test_a_crop_that_resizes_nothing_is_a_slice():
  frame_HWC = noise(20, 30, 3)
  crop = Crop(short_side=20, top=3, left=14)
  found_HWC = augment.cut(frame_HWC, crop, 16)
  assert (found_HWC == frame_HWC[3:19, 14:30]).all()
  mirrored = Crop(short_side=20, top=3, left=14, flip=True)
  found_HWC = augment.cut(frame_HWC, mirrored, 16)
  assert (found_HWC == frame_HWC[3:19, 14:30][:, ::-1]).all()


@pytest.mark.parametrize('short_side', [17, 31, 40, 95])
def test_resizing_is_bilinear_without_antialiasing_up_and_down(short_side):
  frame_HWC = noise(40, 60, 3)
  height, width = augment.fit_short_side(40, 60, short_side)
  crop = Crop(short_side=short_side, top=height - 16, left=width - 16)
  found_HWC = augment.cut(frame_HWC, crop, 16)
  wanted_HWC = bilinear(frame_HWC, height, width)[-16:, -16:]
  assert abs(found_HWC - wanted_HWC).max() <= 1.5  # fixed point, rounded


def test_a_jpeg_and_its_pixels_are_cut_alike():
  data, crop = jpeg(ramp(40, 60)), Crop(short_side=32, top=2, left=9)
  found_HWC = augment.cut(data, crop, 24)
  assert (found_HWC == augment.cut(augment.decode(data), crop, 24)).all()


@pytest.mark.parametrize('flip', [False, True])
def test_a_cut_owns_contiguous_memory(flip):
  frame_HWC = noise(20, 30, 3)
  crop = Crop(short_side=20, top=0, left=0, flip=flip)
  found_HWC = augment.cut(frame_HWC, crop, 20)
  assert found_HWC.flags.c_contiguous
  assert found_HWC.base is None
  assert found_HWC.dtype == np.uint8


@pytest.mark.parametrize(('top', 'left'), [(-1, 0), (0, -1), (5, 0), (0, 15)])
def test_a_crop_past_the_edge_is_refused(top, left):
  crop = Crop(short_side=20, top=top, left=left)
  with pytest.raises(ValueError, match='does not fit in 20 x 30'):
    augment.cut(noise(20, 30, 3), crop, 16)


def draws(count, height, width, size, **fields):
  rng, recipe = np.random.default_rng(1), Augment(**fields)
  return [
    augment.draw_crop(rng, height, width, recipe, size) for _ in range(count)
  ]


def test_short_sides_are_uniform_with_both_ends():
  found = draws(5000, 40, 60, 16, short_side=(20, 24))
  count = collections.Counter(crop.short_side for crop in found)
  assert sorted(count) == [20, 21, 22, 23, 24]
  assert all(abs(c - 1000) < 5 * 29 for c in count.values())


def test_crops_are_uniform_over_every_place_with_the_last():
  found = draws(8000, 20, 18, 16, short_side=(18, 18))  # 3 rows, 5 columns
  count = collections.Counter((crop.top, crop.left) for crop in found)
  assert sorted(count) == [(t, l) for t in range(5) for l in range(3)]
  assert all(abs(c - 8000 / 15) < 5 * 23 for c in count.values())


@pytest.mark.parametrize('flip', [0.0, 0.3, 1.0])
def test_flips_come_at_the_rate_asked_for_and_change_no_crop(flip):
  found = draws(4000, 40, 60, 16, short_side=(20, 30), flip=flip)
  rate = np.mean([crop.flip for crop in found])
  assert abs(rate - flip) <= 5 * np.sqrt(flip * (1 - flip) / 4000)
  rng = np.random.default_rng(1)
  first = augment.draw_crop(
    rng, 40, 60, Augment(short_side=(20, 30), flip=0.5), 16
  )
  for name in ('short_side', 'top', 'left'):
    assert getattr(found[0], name) == getattr(first, name)


@pytest.mark.parametrize('shape', [(16, 16), (17, 90), (90, 17), (33, 35)])
def test_every_crop_drawn_fits_its_frame(shape):
  frame_HWC = noise(*shape, 3)
  for crop in draws(60, *shape, 16, short_side=(16, 21)):
    assert augment.cut(frame_HWC, crop, 16).shape == (16, 16, 3)


def test_a_clip_is_cut_alike_in_every_frame_and_in_order():
  frames = [ramp(40, 60) for _ in range(5)]
  for t, frame_HWC in enumerate(frames):
    frame_HWC[..., 2] = 50 * t
  recipe = Augment(short_side=(20, 40), flip=0.5)
  for seed in range(12):
    rng = np.random.default_rng(seed)
    crops = []

    def choose(height, width, rng=rng, crops=crops):
      crops.append(augment.draw_crop(rng, height, width, recipe, 16))
      return crops[-1]

    video_THWC = augment.cut_clip(
      [jpeg(f) for f in frames], np.array([0, 3, 3, 4]), choose, 16
    )
    (crop,) = crops  # it is asked once
    blue_T = video_THWC[..., 2].mean((1, 2))
    assert abs(blue_T - [0, 150, 150, 200]).max() < 4
    # JPEG mixes the channels a little.
    place_THWC = video_THWC[..., :2].astype(int)
    assert abs(place_THWC - place_THWC[:1]).max() <= 8
    rightwards = np.diff(place_THWC[..., 1].mean((0, 1))).mean()
    assert (rightwards < 0) == crop.flip


def test_only_the_sampled_frames_are_decoded_and_each_once(monkeypatch):
  decoded, decode = [], augment.decode
  spy = lambda data: decoded.append(data) or decode(data)
  monkeypatch.setattr(augment.crops, 'decode', spy)
  jpegs = [jpeg(ramp(20, 20 + t)) for t in range(3)]
  broken = [b'not an image', *jpegs, b'nor this']
  choose = lambda height, width: Crop(short_side=20, top=0, left=0)
  augment.cut_clip(broken, [2, 2, 2, 2], choose, 16)
  assert decoded == [jpegs[1]]


def test_a_broken_frame_and_a_change_of_size_are_named():
  jpegs = [jpeg(ramp(20, 20)), jpeg(ramp(20, 22)), b'not an image']
  choose = lambda height, width: Crop(short_side=20, top=0, left=0)
  with pytest.raises(InputError, match='frame 2: got 12 bytes that'):
    augment.cut_clip(jpegs, [0, 2], choose, 16)
  with pytest.raises(InputError, match=r'frame 1 has \(20, 22, 3\)'):
    augment.cut_clip(jpegs, [0, 1], choose, 16)


@pytest.mark.parametrize('sides', [(223, 320), (100, 100), (300, 256)])
def test_a_crop_larger_than_the_frame_is_refused_with_both_numbers(sides):
  with pytest.raises(InputError, match=rf'\({sides[0]}, {sides[1]}\).*224'):
    augment.check(Augment(short_side=sides), 224)
  augment.check(Augment(short_side=(224, 224)), 224)


def test_a_flip_that_the_data_set_forbids_is_refused_with_the_way_out():
  with pytest.raises(InputError, match=r'flip=0.5 .*augment.flip=0.*--flip='):
    augment.mirror_labels(Augment(flip=0.5), FlipPolicy('forbid'), CLASSES)
  still = augment.mirror_labels(Augment(flip=0), FlipPolicy('forbid'), CLASSES)
  assert still.tolist() == [0, 1, 2]


def test_a_mirror_keeps_or_swaps_labels_as_the_data_set_says():
  free, swap = FlipPolicy('free'), FlipPolicy('swap', (('left', 'right'),))
  recipe = Augment(flip=0.5)
  assert augment.mirror_labels(recipe, free, CLASSES).tolist() == [0, 1, 2]
  assert augment.mirror_labels(recipe, swap, CLASSES).tolist() == [2, 1, 0]
