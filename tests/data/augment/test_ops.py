"""Operations on pixels against arithmetic, and against PIL where it is."""

import cv2
import numpy as np
import pytest

from vidmodels.data.augment.ops import OPS, Op, apply


def noise(*shape, seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def blobs(height, width):
  """Smooth, with values from 0 to 255."""
  frame_HWC = cv2.GaussianBlur(noise(height, width, 3), (0, 0), 3)
  return np.clip((frame_HWC.astype(int) - 128) * 4 + 128, 0, 255).astype(
    np.uint8
  )


def levels():
  """Every level of every channel once, in rows of 16 pixels."""
  frame_HWC = np.stack([np.arange(256)] * 3, -1).reshape(16, 16, 3)
  return frame_HWC.astype(np.uint8)


def run(name, frame_HWC, amount=0.0):
  before_HWC = frame_HWC.copy()
  found_HWC = apply(frame_HWC, [Op(name, amount)])
  assert (frame_HWC == before_HWC).all()  # the frame given is not changed
  assert found_HWC.dtype == np.uint8
  assert found_HWC.shape == frame_HWC.shape
  return found_HWC


def looked_up(name, amount=0.0):
  """What becomes of the levels 0..255 in the first channel."""
  found_HWC = run(name, levels(), amount)
  assert (found_HWC == found_HWC[..., :1]).all()
  return found_HWC[..., 0].ravel().tolist()


def test_points_are_moved_by_their_rules():
  x = range(256)
  assert looked_up('invert') == [255 - v for v in x]
  assert looked_up('posterize', 3) == [v // 32 * 32 for v in x]
  assert looked_up('posterize', 0) == [0] * 256
  assert looked_up('posterize', 8) == [*x]
  wanted = [v if v < 77 else 255 - v for v in x]
  assert looked_up('solarize', 77) == wanted
  assert looked_up('solarize', 256) == [*x]
  assert looked_up('solarize', 0) == looked_up('invert')
  wanted = [min(255, v + 33) if v < 128 else v for v in x]
  assert looked_up('solarize_add', 33) == wanted
  assert looked_up('solarize_add', 200)[100] == 255
  assert looked_up('brightness', 0.5) == [v // 2 for v in x]
  assert looked_up('brightness', 2.0) == [min(255, 2 * v) for v in x]
  # The mean of all levels is 127.5, and rounds up.
  assert looked_up('contrast', 0.0) == [128] * 256
  assert looked_up('contrast', 0.5) == [(v + 128) // 2 for v in x]
  assert looked_up('contrast', 2.0)[100] == 72


def test_autocontrast_stretches_each_channel_by_itself():
  frame_HWC = np.zeros((2, 3, 3), np.uint8)
  frame_HWC[..., 0] = [[50, 60, 70], [80, 90, 101]]
  frame_HWC[..., 1] = 7  # flat: stays
  frame_HWC[..., 2] = [[0, 0, 0], [0, 0, 255]]
  found_HWC = run('autocontrast', frame_HWC)
  assert found_HWC[..., 0].ravel().tolist() == [0, 50, 100, 150, 200, 255]
  assert (found_HWC[..., 1:] == frame_HWC[..., 1:]).all()


def test_equalize_spreads_levels_by_how_many_pixels_are_darker():
  # 765 pixels but for the brightest: a step is 3, half a step 1.
  count = {10: 101, 20: 464, 30: 200, 200: 5}
  red = np.repeat([*count], [*count.values()])
  frame_HWC = np.zeros((154, 5, 3), np.uint8)
  frame_HWC[..., 0] = red.reshape(154, 5)
  frame_HWC[..., 1] = 99
  found_HWC = run('equalize', frame_HWC)
  wanted = {10: 1 // 3, 20: 102 // 3, 30: 566 // 3, 200: 766 // 3}
  for level, new in wanted.items():
    assert set(found_HWC[frame_HWC[..., 0] == level][:, 0]) == {new}
  assert (found_HWC[..., 1:] == frame_HWC[..., 1:]).all()


@pytest.mark.parametrize('factor', [0.1, 1.0, 1.9])
def test_colour_and_sharpness_go_away_from_grey_and_from_the_smooth(factor):
  frame_HWC = blobs(20, 24).astype(float)
  luma_HW = frame_HWC @ [0.299, 0.587, 0.114]
  padded = np.pad(frame_HWC, ((1, 1), (1, 1), (0, 0)))
  smooth_HWC = 4 * frame_HWC
  for y in range(3):
    smooth_HWC += np.stack(
      [padded[y : y + 20, x : x + 24] for x in range(3)]
    ).sum(0)
  smooth_HWC /= 13
  border = np.ones((20, 24), bool)
  border[1:-1, 1:-1] = False
  smooth_HWC[border] = frame_HWC[border]
  for name, from_HWC in (
    ('colour', luma_HW[..., None]),
    ('sharpness', smooth_HWC),
  ):
    wanted_HWC = np.clip(from_HWC + factor * (frame_HWC - from_HWC), 0, 255)
    found_HWC = run(name, frame_HWC.astype(np.uint8), factor)
    assert abs(found_HWC - wanted_HWC).max() <= 1.5
    if factor == 1:
      assert (found_HWC == frame_HWC).all()


def test_grey_is_luma_in_all_channels():
  frame_HWC = noise(9, 11, 3)
  found_HWC = run('grey', frame_HWC)
  assert (found_HWC == found_HWC[..., :1]).all()
  luma_HW = frame_HWC @ [0.299, 0.587, 0.114]
  assert abs(found_HWC[..., 0] - luma_HW).max() <= 1


def test_hue_turns_red_to_green_to_blue():
  frame_HWC = np.zeros((3, 4, 3), np.uint8)
  frame_HWC[0, :, 0] = frame_HWC[1, :, 1] = frame_HWC[2, :, 2] = 200
  third = run('hue', frame_HWC, 1 / 3)
  assert abs(third.astype(int) - frame_HWC[..., [2, 0, 1]]).max() <= 6
  back = run('hue', frame_HWC, -1 / 3)
  assert abs(back.astype(int) - frame_HWC[..., [1, 2, 0]]).max() <= 6
  # Cyan stands opposite to red.
  assert run('hue', frame_HWC, 0.5)[0, 0].tolist() == pytest.approx(
    [0, 200, 200], abs=6
  )
  grey_HWC = run('grey', noise(8, 8, 3))
  assert (run('hue', grey_HWC, 0.3) == grey_HWC).all()


def sampled(frame_HWC, where):
  """Bilinear at the places that `where` names for each pixel's middle.

  Places are continuous, the first pixel's middle is (.5, .5). What needs a
  pixel outside of the frame is NaN.
  """
  H, W = frame_HWC.shape[:2]
  x, y = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
  x, y = where(x, y)
  x, y = x - 0.5, y - 0.5
  found_HWC = np.full((H, W, 3), np.nan)
  inside = (x >= 0) & (x <= W - 1) & (y >= 0) & (y <= H - 1)
  x, y = x[inside], y[inside]
  left = np.clip(np.floor(x).astype(int), 0, W - 2)
  top = np.clip(np.floor(y).astype(int), 0, H - 2)
  a, b = (x - left)[:, None], (y - top)[:, None]
  p = frame_HWC.astype(float)
  upper = p[top, left] * (1 - a) + p[top, left + 1] * a
  lower = p[top + 1, left] * (1 - a) + p[top + 1, left + 1] * a
  found_HWC[inside] = upper * (1 - b) + lower * b
  return found_HWC


def turned(degrees, width, height):
  t = np.deg2rad(degrees)

  def where(x, y):
    x, y = x - width / 2, y - height / 2
    return (
      np.cos(t) * x - np.sin(t) * y + width / 2,
      np.sin(t) * x + np.cos(t) * y + height / 2,
    )

  return where


GEOMETRY = {
  ('shear_x', 0.3): lambda x, y: (x + 0.3 * y, y),
  ('shear_x', -0.11): lambda x, y: (x - 0.11 * y, y),
  ('shear_y', 0.3): lambda x, y: (x, y + 0.3 * x),
  ('shear_y', -0.2): lambda x, y: (x, y - 0.2 * x),
  ('translate_x', 0.31): lambda x, y: (x + 0.31 * 44, y),
  ('translate_x', -0.45): lambda x, y: (x - 0.45 * 44, y),
  ('translate_y', 0.31): lambda x, y: (x, y + 0.31 * 30),
  ('translate_y', -0.07): lambda x, y: (x, y - 0.07 * 30),
  ('rotate', 30.0): turned(30, 44, 30),
  ('rotate', -13.0): turned(-13, 44, 30),
}


@pytest.mark.parametrize(('name', 'amount'), GEOMETRY)
def test_geometry_is_bilinear_with_grey_outside(name, amount):
  frame_HWC = noise(30, 44, 3)
  where = GEOMETRY[name, amount]
  wanted_HWC = sampled(frame_HWC, where)
  found_HWC = run(name, frame_HWC, amount)
  seen = ~np.isnan(wanted_HWC)
  assert 0.3 < seen.mean() < 0.99
  assert abs(found_HWC[seen] - wanted_HWC[seen]).max() <= 1.5
  # Outside the frame there is nothing but grey, and inside none of it.
  x, y = np.meshgrid(np.arange(44) + 0.5, np.arange(30) + 0.5)
  x, y = where(x, y)
  outside = (x < -0.01) | (x > 44.01) | (y < -0.01) | (y > 30.01)
  assert outside.any()
  assert (found_HWC[outside] == 128).all()
  bright_HWC = run(name, np.full((30, 44, 3), 255, np.uint8), amount)
  inside = (x > 0.01) & (x < 43.99) & (y > 0.01) & (y < 29.99)
  assert (bright_HWC[inside] == 255).all()


def test_whole_pixels_and_right_angles_are_exact():
  frame_HWC = noise(20, 20, 3)
  found_HWC = run('translate_x', frame_HWC, 0.25)
  assert (found_HWC[:, :15] == frame_HWC[:, 5:]).all()
  assert (found_HWC[:, 15:] == 128).all()
  found_HWC = run('translate_y', frame_HWC, -0.1)
  assert (found_HWC[2:] == frame_HWC[:-2]).all()
  assert (found_HWC[:2] == 128).all()
  assert (run('rotate', frame_HWC, 90) == np.rot90(frame_HWC)).all()
  for name in ('rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y'):
    assert (run(name, frame_HWC, 0) == frame_HWC).all()


def by_pil(pil, name, amount):
  """PIL's image of the same operation."""
  ops = pytest.importorskip('PIL.ImageOps')
  enhance = pytest.importorskip('PIL.ImageEnhance')
  W, H = pil.size
  affine = {
    'shear_x': (1, amount, 0, 0, 1, 0),
    'shear_y': (1, 0, 0, amount, 1, 0),
    'translate_x': (1, 0, amount * W, 0, 1, 0),
    'translate_y': (1, 0, 0, 0, 1, amount * H),
  }
  blends = {'colour': 'Color'} | {
    n: n.title() for n in ('contrast', 'brightness', 'sharpness')
  }
  if name in affine:
    fill = dict(resample=2, fillcolor=(128,) * 3)  # bilinear
    return pil.transform(pil.size, 0, affine[name], **fill)
  if name == 'rotate':
    return pil.rotate(amount, 2, fillcolor=(128,) * 3)
  if name in blends:
    return getattr(enhance, blends[name])(pil).enhance(amount)
  return getattr(ops, name)(pil, *[int(amount)] if amount else ())


EXACT = [('invert', 0), ('posterize', 1), ('posterize', 4), ('solarize', 1)]
EXACT += [('solarize', 128), ('autocontrast', 0), ('equalize', 0)]
BLENDS = ('colour', 'contrast', 'brightness', 'sharpness')
NEAR = [(name, f) for name in BLENDS for f in (0.1, 0.82, 1.0, 1.36, 1.9)]
MOVED = [*GEOMETRY, ('rotate', 90.0)]


@pytest.mark.parametrize(('name', 'amount'), [*EXACT, *NEAR, *MOVED])
@pytest.mark.parametrize('make', [lambda h, w: noise(h, w, 3), blobs])
def test_operations_mean_what_pils_do(name, amount, make):
  image = pytest.importorskip('PIL.Image')
  frame_HWC = make(30, 44)
  wanted_HWC = np.asarray(by_pil(image.fromarray(frame_HWC), name, amount))
  off_HW = abs(run(name, frame_HWC, amount).astype(int) - wanted_HWC).max(-1)
  if (name, amount) in EXACT:
    assert not off_HW.any()
  elif (name, amount) in NEAR:
    assert off_HW.max() <= 2
    assert (off_HW > 1).mean() < 0.01
  else:
    # Places on the very border fall inside or outside by rounding.
    assert (off_HW > 1).mean() < 0.005


def test_operations_follow_one_another():
  frame_HWC = noise(8, 8, 3)
  found_HWC = apply(frame_HWC, [Op('posterize', 2), Op('invert')])
  assert (found_HWC == 255 - (frame_HWC & 0xC0)).all()
  assert apply(frame_HWC, []) is frame_HWC


def test_every_operation_takes_single_pixels_and_odd_frames():
  for name in OPS:
    for shape in ((1, 1, 3), (1, 7, 3), (5, 2, 3)):
      run(name, noise(*shape), 1.0)
