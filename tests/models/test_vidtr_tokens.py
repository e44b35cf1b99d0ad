"""VidTr's tokens: where class tokens lie, and which positions are whose."""

import functools

import jax
import numpy as np
import pytest

from vidmodels.models import vidtr


def normal(seed: int, *shape: int) -> np.ndarray:
  return np.float32(np.random.default_rng(seed).normal(size=shape))


@functools.cache
def grid_of(scheme: str):
  """A scheme's tokens, parameters, and what makes tokens of patches."""
  module = vidtr.ClassGrid(scheme, 'bilinear')
  h = normal(0, 2, 3, 2, 4, 8)  # B, T, H, W, D
  shapes = jax.eval_shape(module.init, jax.random.key(0), h)
  rng = np.random.default_rng(1)
  draw = lambda x: np.float32(rng.normal(size=x.shape))
  variables = jax.tree.map(draw, shapes)
  return h, variables['params'], functools.partial(module.apply, variables)


def test_class_tokens_lie_on_the_borders_of_the_grid():
  h, p, run = grid_of('separable')
  tokens = run(h)
  out = np.asarray(tokens.grid)
  assert out.shape == (2, 4, 9, 8)
  np.testing.assert_array_equal(out[:, 1:, 1:], h.reshape(2, 3, 8, 8))
  for b in range(2):
    np.testing.assert_array_equal(out[b, 0, 0], p['class_token'])
    places = p['time_class']['table'].reshape(8, 8)
    np.testing.assert_array_equal(out[b, 0, 1:], places)
    np.testing.assert_array_equal(out[b, 1:, 0], p['space_class']['table'])
  pos = np.asarray(tokens.pos[0])
  np.testing.assert_array_equal(pos[:, 0], p['class_pos']['table'])
  places = p['patch_pos']['table'].reshape(4, 8, 8)
  np.testing.assert_array_equal(pos[:, 1:], places)


def test_frames_by_themselves_have_a_class_token_each():
  h, p, run = grid_of('space')
  out, _, (pos, _) = run(h)
  assert out.shape == (2, 3, 9, 8)
  np.testing.assert_array_equal(out[:, :, 1:], h.reshape(2, 3, 8, 8))
  assert (np.asarray(out)[:, :, 0] == p['class_token']).all()
  np.testing.assert_array_equal(pos[0], p['class_pos']['table'])
  np.testing.assert_array_equal(pos[1:], p['space_pos']['table'].reshape(8, 8))


def test_an_axial_grid_has_one_class_token_on_all_its_borders():
  h, p, run = grid_of('axial')
  out = np.array(run(h).grid)
  np.testing.assert_array_equal(out[:, 1:, 1:, 1:], h)
  out[:, 1:, 1:, 1:] = p['class_token']
  assert (out == p['class_token']).all()


def test_one_sequence_of_a_class_token_and_patches_keeps_their_positions():
  h, p, run = grid_of('merged')
  grid, cls, pos = vidtr.flatten_tokens(run(h))
  assert cls is None
  np.testing.assert_array_equal(grid[:, 1:], h.reshape(2, 24, 8))
  assert (np.asarray(grid)[:, 0] == p['class_token']).all()
  np.testing.assert_array_equal(pos[0][0], p['class_pos']['table'])
  places = p['patch_pos']['table'].reshape(24, 8)
  np.testing.assert_array_equal(pos[0][1:], places)


@pytest.mark.slow
def test_class_rows_of_a_table_stay_when_the_clip_is_another():
  h, p, run = grid_of('separable')
  pos = np.asarray(run(h).pos[0])
  other = np.asarray(run(normal(0, 1, 6, 2, 8, 8)).pos[0])
  assert other.shape == (7, 17, 8)
  np.testing.assert_array_equal(other[0, 0], pos[0, 0])
  # Row 0 is stretched over places and not over frames, column 0 over frames.
  table = p['patch_pos']['table']
  places = vidtr.position.fit_grid(table[0], 2, 8, 'bilinear')
  np.testing.assert_allclose(other[0, 1:], places.reshape(16, 8), atol=1e-6)
  frames = vidtr.position.fit_axis(pos[1:, 0], 6, 'bilinear')
  np.testing.assert_allclose(other[1:, 0], frames, atol=1e-6)
