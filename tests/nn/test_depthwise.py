"""Depthwise convolution: two ways to compute it, and who sees whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.nn.depthwise import DepthwiseConv

GRIDS = {(3,): (2, 3, 7, 4), (3, 5): (2, 6, 7, 4), (3, 1, 5): (2, 4, 5, 6, 3)}
every_window = pytest.mark.parametrize('window', GRIDS)


def normal(seed: int, shape) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def given(window, *, bias: bool = True) -> dict:
  D = GRIDS[window][-1]
  params = {'kernel': normal(1, (*window, 1, D)), 'bias': normal(2, D)}
  return {'params': params if bias else {'kernel': params['kernel']}}


def answer(window, how, variables=None, h=None, **fields):
  h = normal(0, GRIDS[window]) if h is None else h
  module = DepthwiseConv(window, implementation=how, **fields)
  return jax.jit(module.apply)(variables or given(window), h)


@every_window
def test_shift_answers_as_conv_does(window):
  np.testing.assert_allclose(
    answer(window, 'shift'), answer(window, 'conv'), atol=1e-5
  )


@every_window
def test_shift_has_the_gradients_of_conv(window):
  weight = normal(5, GRIDS[window])

  def grads(how):
    module = DepthwiseConv(window, implementation=how)
    loss = lambda v, h: (module.apply(v, h) * weight).sum()
    grad = jax.jit(jax.grad(loss, argnums=(0, 1)))
    return grad(given(window), normal(0, GRIDS[window]))

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
    grads('shift'),
    grads('conv'),
  )


@every_window
@pytest.mark.parametrize('how', ['shift', 'conv'])
def test_torch_answers_the_same(window, how):
  torch = pytest.importorskip('torch')
  *lead, D = GRIDS[window]
  lead = lead[: len(lead) - len(window)]
  params = given(window)['params']
  h = normal(0, GRIDS[window])
  flat = np.moveaxis(h.reshape(-1, *h.shape[len(lead) :]), -1, 1)
  kernel = np.moveaxis(params['kernel'], (-1, -2), (0, 1))
  run = getattr(torch.nn.functional, f'conv{len(window)}d')
  out = run(
    *map(torch.tensor, (flat.copy(), kernel.copy(), params['bias'])),
    padding=tuple(size // 2 for size in window),
    groups=D,
  )
  wanted = np.moveaxis(out.numpy(), 1, -1).reshape(h.shape)
  np.testing.assert_allclose(answer(window, how), wanted, atol=1e-5)


@every_window
@pytest.mark.parametrize('how', ['shift', 'conv'])
def test_bfloat16_rounds_the_sum_and_not_its_terms(window, how):
  # Ones and a kernel whose taps vanish beside their sum in bfloat16.
  kernel = np.full_like(given(window)['params']['kernel'], 2**-9)
  kernel[tuple(size // 2 for size in window)] = 1
  out = answer(
    window,
    how,
    {'params': {'kernel': kernel}},
    np.ones(GRIDS[window], np.float32),
    use_bias=False,
    dtype=jnp.bfloat16,
  )
  assert out.dtype == jnp.bfloat16
  inside = tuple(slice(size // 2, -(size // 2) or None) for size in window)
  taps = np.prod(window)
  whole = jnp.asarray(1 + (taps - 1) * 2**-9, jnp.bfloat16)
  assert whole > 1 or taps < 5  # with terms rounded one by one it would be 1
  np.testing.assert_array_equal(
    np.asarray(out, np.float32)[(..., *inside, slice(None))], np.float32(whole)
  )


@every_window
def test_bfloat16_answers_nearly_as_float32_does(window):
  full = answer(window, 'shift')
  for how in ('shift', 'conv'):
    half = answer(window, how, dtype=jnp.bfloat16)
    np.testing.assert_allclose(half, full, atol=0.03 * abs(full).max())


@pytest.mark.parametrize('how', ['shift', 'conv'])
def test_a_place_sees_its_window_in_its_own_channel_and_clip(how):
  window = (3, 1, 5)
  module = DepthwiseConv(window, implementation=how)
  out = lambda h: module.apply(given(window), h)[1, 0, 2, 3, 1]
  seen = abs(jax.grad(out)(normal(0, GRIDS[window]))) > 0
  wanted = np.zeros(GRIDS[window], bool)
  wanted[1, :2, 2, 1:6, 1] = True  # frame 0 is at the edge: zeros before it
  np.testing.assert_array_equal(seen, wanted)


def test_weights_start_uniform_in_the_taps_of_one_channel():
  params = DepthwiseConv((3, 3)).init(
    jax.random.key(0), jnp.ones((1, 4, 4, 900))
  )['params']
  assert params['kernel'].shape == (3, 3, 1, 900)
  for draw in params.values():
    assert 0.98 / 3 < abs(np.asarray(draw)).max() <= 1 / 3
    assert abs(np.asarray(draw).std() - 1 / 3 / np.sqrt(3)) < 0.01


def test_an_even_window_is_refused():
  with pytest.raises(
    ValueError, match=r'window \(3, 4\), which has an even size'
  ):
    DepthwiseConv((3, 4)).init(jax.random.key(0), jnp.ones((1, 4, 4, 2)))
