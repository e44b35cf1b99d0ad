"""Windows: which tokens share one, and what is added to a score."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.nn import dual, transformer, window
from vidmodels.nn.pyramid import PyramidKernels

GRID = (3, 5, 7)


def normal(seed: int, *shape: int) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def start(module, *args):
  """Variables of a module, parameters away from zero."""
  abstract = jax.eval_shape(
    lambda key: module.init(key, *args), jax.random.key(0)
  )
  rng = np.random.default_rng(9)
  draw = lambda x: np.float32(0.3 * rng.normal(size=x.shape))
  return jax.tree.map(draw, dict(abstract))


def local(size, *, relative: bool = False, drop_path: float = 0.0):
  plan = dual.BlockPlan(2, 12, size, PyramidKernels(), relative=relative)
  return dual.DualLevel(plan, 'L', drop_path)


@pytest.mark.parametrize('size', [(2, 3, 4), (3, 5, 7), (1, 5, 2)])
def test_windows_are_put_back_where_they_were(size):
  h_BTHWD = normal(0, 2, *GRID, 4)
  cut = window.partition_windows(h_BTHWD, size)
  np.testing.assert_array_equal(window.merge_windows(cut, GRID, size), h_BTHWD)
  # Time outermost, and every window's tokens lie together.
  t, h, w = size
  first = h_BTHWD[1, :t, :h, :w].reshape(-1, 4)
  np.testing.assert_array_equal(cut[1, 0], first)


def test_a_mask_is_there_only_for_ragged_windows():
  assert window.window_mask(GRID, (3, 5, 7)) is None
  assert window.window_mask((4, 6, 8), (2, 3, 4)) is None
  real = np.asarray(window.window_mask(GRID, (2, 3, 4)))
  assert real.shape == (8, 1, 24)
  assert real.sum() == 3 * 5 * 7
  assert real.sum(-1).min() == 1 * 2 * 3  # the last window of every axis


def slices(size):
  """Every window as slices of the grid, ragged ones included."""
  axes = [
    [slice(i, i + part) for i in range(0, whole, part)]
    for whole, part in zip(GRID, size, strict=True)
  ]
  return [(a, b, c) for a in axes[0] for b in axes[1] for c in axes[2]]


@pytest.mark.parametrize('relative', [False, True])
def test_each_window_is_answered_as_if_it_were_alone(relative):
  level, h_BTHWD = local((2, 3, 4), relative=relative), normal(0, 2, *GRID, 8)
  variables = start(level, h_BTHWD, False)
  run = jax.jit(functools.partial(level.apply, train=False))
  whole = run(variables, h_BTHWD)
  windows = slices((2, 3, 4))
  for t, h, w in (windows[0], windows[-1], windows[3]):
    alone = run(variables, h_BTHWD[:, t, h, w])
    np.testing.assert_allclose(whole[:, t, h, w], alone, atol=2e-6)


def test_a_window_larger_than_the_grid_is_all_of_it():
  h_BTHWD = normal(0, 1, *GRID, 8)
  variables = start(local((3, 5, 7)), h_BTHWD, False)
  run = lambda size: jax.jit(functools.partial(local(size).apply, train=False))
  whole = run((3, 5, 7))(variables, h_BTHWD)
  larger = run((8, 9, 7))(variables, h_BTHWD)
  np.testing.assert_array_equal(whole, larger)


@pytest.mark.parametrize('token', [(0, 1, 2), (2, 4, 6), (1, 3, 3)])
def test_a_token_sees_its_window_and_nothing_else(token):
  size = (2, 3, 4)
  level, h_BTHWD = local(size), normal(0, 2, *GRID, 8)
  variables = start(level, h_BTHWD, False)

  def out(h_BTHWD):
    h_BTHWD = level.apply(variables, h_BTHWD, False)
    return (h_BTHWD[(0, *token)] * normal(2, 8)).sum()

  seen = abs(np.asarray(jax.jit(jax.grad(out))(h_BTHWD))).max(-1)
  mine = np.zeros(GRID, bool)
  (own,) = (
    each
    for each in slices(size)
    if all(s.start <= i < s.stop for s, i in zip(each, token, strict=True))
  )
  mine[own] = True
  assert not seen[1].any()
  assert (seen[0][mine] > 1e-5).all()
  assert (seen[0][~mine] == 0).all()


def test_a_bias_of_relative_positions_depends_on_the_offset_alone():
  bias = window.RelativeBias(2, (8, 7, 7))
  variables = start(bias, (8, 7, 7))
  table = variables['params']['table']
  assert table.shape == (15, 13, 13, 2)  # 2535 rows a head
  whole = bias.apply(variables, (8, 7, 7))
  assert whole.shape == (2, 392, 392)
  place = lambda t, h, w: (t * 7 + h) * 7 + w
  np.testing.assert_array_equal(
    whole[:, place(3, 2, 6), place(5, 6, 1)],
    table[7 + 3 - 5, 6 + 2 - 6, 6 + 6 - 1],
  )
  # A smaller window means the same offsets.
  small = bias.apply(variables, (2, 3, 1))
  np.testing.assert_array_equal(small[:, 0, 1], table[7, 6 - 1, 6])
  np.testing.assert_array_equal(small[:, 3, 0], table[7 + 1, 6, 6])


def test_a_bias_is_added_to_scores_before_the_softmax():
  q, k, v = (normal(i, 3, 5, 2, 4) for i in range(3))
  bias_AQS = normal(4, 2, 5, 5)
  plain = transformer.attention_weights(q, k)
  biased = transformer.attention_weights(q, k, bias_AQS=bias_AQS)
  wanted = plain * np.exp(bias_AQS)
  wanted /= wanted.sum(-1, keepdims=True)
  np.testing.assert_allclose(biased, wanted, atol=1e-6)
  seen = transformer.attend(q, k, v, bias_AQS=bias_AQS)
  wanted = jnp.einsum('xaqs,xsad->xqad', biased, v)
  np.testing.assert_allclose(seen, wanted, atol=1e-6)


def test_drop_path_drops_whole_clips_of_either_branch():
  level, h_BTHWD = local((2, 3, 4), drop_path=0.5), normal(0, 64, 2, 2, 2, 8)
  variables = start(level, h_BTHWD, False)
  run = jax.jit(functools.partial(level.apply, train=True))
  more = run(variables, h_BTHWD, rngs={'drop_path': jax.random.key(1)})
  same = np.isclose(more, h_BTHWD, atol=1e-6).all(-1).reshape(64, -1)
  assert (same.all(1) | ~same.any(1)).all()
  assert 0.1 < same.all(1).mean() < 0.4  # both branches: a quarter
