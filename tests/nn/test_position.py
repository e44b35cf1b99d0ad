"""Position tables at sizes they were not made for."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.nn import position

# OpenCV resizes by torch's rules: half-pixel centres, a = -0.75, no smoothing.
CV2 = {
  'nearest': cv2.INTER_NEAREST,
  'bilinear': cv2.INTER_LINEAR,
  'bicubic': cv2.INTER_CUBIC,
}
METHODS = sorted(CV2)
ALL = position.Resize.__args__
SIZES = [((4, 4), (6, 6)), ((4, 6), (7, 3)), ((7, 7), (4, 4)), ((2, 3), (5, 9))]


def table(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(('old', 'new'), SIZES)
@pytest.mark.fast_every(4)
def test_a_grid_is_resized_as_an_image_is(method, old, new):
  pos_HWD = table(*old, 3)
  got = position.fit_grid(pos_HWD, *new, method)
  wanted = cv2.resize(pos_HWD, new[::-1], interpolation=CV2[method])
  np.testing.assert_allclose(got, wanted, atol=2e-6)


@pytest.mark.parametrize(
  ('old', 'new', 'rows'),
  [
    (4, 8, [0, 0, 1, 1, 2, 2, 3, 3]),
    (8, 6, [0, 1, 2, 4, 5, 6]),
    (8, 3, [0, 2, 5]),
    (1, 3, [0, 0, 0]),
  ],
)
def test_nearest_in_time_takes_the_rows_that_torch_takes(old, new, rows):
  pos_TD = table(old, 5)
  got = position.fit_axis(pos_TD, new, 'nearest')
  np.testing.assert_array_equal(got, pos_TD[rows])


def test_96_frames_repeat_each_of_8_rows_twelve_times():
  pos_TD = table(8, 2)
  got = position.fit_axis(pos_TD, 96, 'nearest')
  np.testing.assert_array_equal(got, np.repeat(pos_TD, 12, axis=0))


def test_nearest_is_computed_in_float32_as_torch_does():
  # 23 * 14 / 46 is 7 exactly; in float32, torch's index is 6.
  rows, _ = position.resize_rows(14, 46, 'nearest')
  assert rows[23, 0] == 6


@pytest.mark.parametrize('method', ALL)
def test_a_table_of_the_right_size_is_left_alone(method):
  pos_HWD = jnp.asarray(table(4, 6, 3))
  assert position.fit_grid(pos_HWD, 4, 6, method) is pos_HWD
  assert position.fit_axis(pos_HWD[0], 6, method).shape == (6, 3)


@pytest.mark.parametrize('method', ALL)
def test_a_constant_table_stays_constant(method):
  got = position.fit_grid(np.full((5, 4, 1), 0.7, np.float32), 9, 3, method)
  np.testing.assert_allclose(got, 0.7, rtol=1e-6)


def test_resizing_to_nothing_is_refused():
  with pytest.raises(ValueError, match='got 0 for 4 positions to fit'):
    position.fit_axis(table(4, 2), 0, 'nearest')


def test_a_stored_table_keeps_its_size_whatever_is_asked():
  module = position.Table(jax.nn.initializers.normal(1.0))
  variables = module.init(jax.random.key(0), 4, 3)
  assert variables['params']['table'].shape == (4, 3)
  np.testing.assert_array_equal(
    module.apply(variables, 9, 3), variables['params']['table']
  )


@pytest.mark.parametrize(('old', 'new'), [*SIZES, ((14, 14), (5, 24))])
def test_smoothed_bicubic_is_torchs(old, new):
  torch = pytest.importorskip('torch')
  pos_HWD = table(*old, 3)
  wanted = torch.nn.functional.interpolate(
    torch.tensor(pos_HWD.transpose(2, 0, 1)[None]),
    size=new,
    mode='bicubic',
    antialias=True,
    align_corners=False,
  )
  got = position.fit_grid(pos_HWD, *new, 'bicubic_antialias')
  wanted = wanted[0].numpy().transpose(1, 2, 0)
  np.testing.assert_allclose(got, wanted, atol=3e-6)


def test_smoothed_bicubic_is_the_kernel_of_pillow():
  # Both resize images of one channel in float; a = -0.5, edges renormalised.
  image = pytest.importorskip('PIL.Image')
  pos_HW = table(14, 9)
  wanted = image.fromarray(pos_HW).resize((5, 20), image.BICUBIC)
  got = position.fit_grid(pos_HW[..., None], 20, 5, 'bicubic_antialias')
  np.testing.assert_allclose(got[..., 0], np.asarray(wanted), atol=3e-6)


@pytest.mark.parametrize(('old', 'new'), [(4, 6), (7, 3), (5, 1), (1, 4)])
def test_corners_stay_where_they_are_and_the_rest_is_linear(old, new):
  pos_TD = table(old, 2)
  got = position.fit_axis(pos_TD, new, 'corner_aligned')
  at = np.linspace(0, old - 1, new) if new > 1 else [0]
  for d in range(2):
    wanted = np.interp(at, np.arange(old), pos_TD[:, d])
    np.testing.assert_allclose(got[:, d], wanted, atol=1e-6)


def test_a_flat_resize_scrambles_the_grid_as_the_release_did():
  # 14 x 14 to 28 x 28: the first new row is half of the first old one.
  place = np.arange(196, dtype=np.float32).reshape(14, 14, 1)
  got = position.fit_grid(place, 28, 28, 'nearest_1d_flat')[..., 0]
  assert got[0].tolist() == [i // 4 for i in range(28)]
  assert got[1].tolist() == [7 + i // 4 for i in range(28)]
  grid = position.fit_grid(place, 28, 28, 'nearest')[..., 0]
  assert abs((got != grid).mean() - 0.93) < 0.01


def test_class_rows_in_front_of_an_axis_are_not_stretched():
  table = np.float32(np.random.default_rng(0).normal(size=(4, 3, 2, 5)))
  fit = lambda *sizes: np.asarray(
    position.fit_axes(table, sizes, 'bilinear', lead=(1, 0, 1))
  )
  np.testing.assert_array_equal(fit(3, 3, 1), table)
  out = fit(6, 3, 1)
  assert out.shape == (7, 3, 2, 5)
  np.testing.assert_array_equal(out[0], table[0])
  frames = table[1:].reshape(3, -1)
  wanted = position.fit_axis(frames, 6, 'bilinear').reshape(6, 3, 2, 5)
  np.testing.assert_allclose(out[1:], wanted, atol=1e-6)
  # Without class rows it is a grid's own fit.
  plain = position.fit_axes(table[0], (5, 4), 'bicubic')
  wanted = position.fit_grid(table[0], 5, 4, 'bicubic')
  np.testing.assert_array_equal(plain, wanted)
