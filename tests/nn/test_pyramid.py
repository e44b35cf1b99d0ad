"""The pyramid: its kernels, its pooling, and who sees whom through it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vidmodels.nn import dual, pyramid
from vidmodels.nn.pyramid import (
  Pyramid,
  PyramidAttention,
  PyramidKernels,
  PyramidPool,
)
from vidmodels.typing import InputError

TWO = PyramidKernels((2, 2, 3), ((1, 2, 2), (2, 1, 2)))


def normal(seed: int, *shape: int) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def start(module, *args):
  """Variables of a module, parameters away from zero."""
  abstract = dict(
    jax.eval_shape(lambda key: module.init(key, *args), jax.random.key(0))
  )
  rng = np.random.default_rng(9)
  draw = lambda x: np.float32(0.3 * rng.normal(size=x.shape))
  made = {'params': jax.tree.map(draw, abstract['params'])}
  if 'batch_stats' in abstract:
    square = lambda x: np.float32(1 + rng.uniform(size=x.shape))
    made['batch_stats'] = jax.tree.map(square, abstract['batch_stats'])
  return made


@pytest.mark.parametrize(
  ('grid', 'fine', 'coarse', 'wanted'),
  [
    # The published tiny model at 32 frames of 224 x 224.
    (
      (16, 56, 56),
      (8, 7, 7),
      (4, 4, 4),
      PyramidKernels((2, 8, 8), ((1, 7, 7), (4, 2, 2))),
    ),
    (
      (16, 28, 28),
      (8, 7, 7),
      (4, 4, 4),
      PyramidKernels((2, 4, 4), ((1, 7, 7), (4, 1, 1))),
    ),
    ((16, 14, 14), (8, 7, 7), (), PyramidKernels((2, 2, 2))),
    ((16, 7, 7), (16, 7, 7), (), PyramidKernels()),
    # And built for 16.
    (
      (8, 56, 56),
      (8, 7, 7),
      (4, 4, 4),
      PyramidKernels((1, 8, 8), ((1, 7, 7), (2, 2, 2))),
    ),
    # A target that exceeds the grid pools nothing, as released.
    ((8, 7, 7), (16, 7, 7), (), PyramidKernels()),
    # Table 1's coarse scale of the third stage, which the release lacks.
    (
      (16, 14, 14),
      (8, 7, 7),
      (4, 4, 4),
      PyramidKernels((2, 2, 2), ((1, 3, 3), (4, 1, 1))),
    ),
    ((16, 14, 14), (), (4, 4, 4), PyramidKernels((), ((1, 3, 3), (4, 1, 1)))),
    ((6, 24, 18), (4, 5, 5), (), PyramidKernels((1, 4, 3))),
  ],
)
def test_kernels_are_the_floor_of_grid_by_target(grid, fine, coarse, wanted):
  assert pyramid.pyramid_kernels(grid, fine, coarse) == wanted


def test_a_coarse_target_beyond_the_grid_is_refused():
  with pytest.raises(InputError, match=r'\(4, 4, 4\).*\(2, 8, 8\)'):
    pyramid.pyramid_kernels((2, 8, 8), (), (4, 4, 4))


@pytest.mark.parametrize('dense', [False, True])
def test_pooling_is_a_convolution_whose_stride_is_its_kernel(dense):
  pool, h_BTHWD = PyramidPool((2, 2, 3), dense=dense), normal(0, 2, 5, 4, 7, 6)
  variables = start(pool, h_BTHWD)
  wanted = jax.lax.conv_general_dilated(
    h_BTHWD,
    variables['params']['kernel'],
    window_strides=(2, 2, 3),
    padding='VALID',
    dimension_numbers=('NTHWC', 'THWIO', 'NTHWC'),
    feature_group_count=1 if dense else 6,
  )
  wanted = wanted + variables['params']['bias']
  got = pool.apply(variables, h_BTHWD)
  assert got.shape == (2, 2, 2, 2, 6)  # what is left over is dropped
  np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_grid_that_holds_no_kernel_is_refused():
  with pytest.raises(InputError, match=r'\(1, 4, 6\) tokens, which holds no k'):
    PyramidPool((2, 2, 3)).init(jax.random.key(0), normal(0, 1, 1, 4, 6, 2))


def test_a_fresh_convolution_starts_as_torchs():
  h_BTHWD = jnp.zeros((1, 4, 4, 6, 16))
  for dense, fan_in in ((False, 12), (True, 12 * 16)):
    pool = PyramidPool((2, 2, 3), dense=dense)
    params = pool.init(jax.random.key(0), h_BTHWD)['params']
    bound = fan_in**-0.5
    for value in params.values():
      assert 0.8 * bound < abs(value).max() <= bound
      assert value.min() < -0.5 * bound


def layer_norm(s_BSD, params):
  centred = s_BSD - s_BSD.mean(-1, keepdims=True)
  slope = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
  return centred * slope * params['scale'] + params['bias']


def test_averages_are_over_the_whole_kernel_of_a_scale():
  model, h_BTHWD = Pyramid(TWO, 'average'), normal(0, 2, 4, 4, 9, 6)
  variables = start(model, h_BTHWD, False)
  assert set(variables['params']) == {'norm'}  # neither batch norm nor weights
  fine = h_BTHWD.reshape(2, 2, 2, 2, 2, 3, 3, 6).mean((2, 4, 6))
  # (1, 2, 2) and then (2, 1, 2) is (2, 2, 4): a column is left over.
  coarse = h_BTHWD[:, :, :, :8].reshape(2, 2, 2, 2, 2, 2, 4, 6).mean((2, 4, 6))
  tokens = np.concatenate([x.reshape(2, -1, 6) for x in (fine, coarse)], 1)
  wanted = layer_norm(tokens, variables['params']['norm'])
  got = model.apply(variables, h_BTHWD, False)
  np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_the_coarse_scale_is_pool_batch_norm_relu_pool_after_the_fine_one():
  model, h_BTHWD = Pyramid(TWO), normal(0, 2, 4, 4, 8, 6)
  variables = start(model, h_BTHWD, False)
  params, stats = variables['params'], variables['batch_stats']['coarse_norm']
  pool = lambda name, kernel, h: PyramidPool(kernel).apply(
    {'params': params[name]}, h
  )
  fine = pool('fine', (2, 2, 3), h_BTHWD)
  mid = pool('coarse_space', (1, 2, 2), h_BTHWD)
  mid = (mid - stats['mean']) / np.sqrt(stats['var'] + 1e-5)
  mid = mid * params['coarse_norm']['scale'] + params['coarse_norm']['bias']
  coarse = pool('coarse_rest', (2, 1, 2), np.maximum(mid, 0))
  tokens = np.concatenate([x.reshape(2, -1, 6) for x in (fine, coarse)], 1)
  wanted = layer_norm(tokens, params['norm'])
  got = model.apply(variables, h_BTHWD, False)
  np.testing.assert_allclose(got, wanted, atol=1e-5)


def numpy_pool(h_BTHWD, params, kernel) -> np.ndarray:
  """A depthwise convolution whose stride is its kernel, place by place."""
  B, *grid, D = h_BTHWD.shape
  sizes = [n // k for n, k in zip(grid, kernel, strict=True)]
  pooled = np.zeros((B, *sizes, D))
  for at in np.ndindex(*sizes):
    part = tuple(
      slice(i * k, (i + 1) * k) for i, k in zip(at, kernel, strict=True)
    )
    taps = h_BTHWD[(slice(None), *part)] * params['kernel'][..., 0, :]
    pooled[(slice(None), *at)] = taps.sum((1, 2, 3)) + params['bias']
  return pooled


def test_factorised_scales_are_pooled_in_space_and_then_in_time():
  kernels = PyramidKernels(
    (2, 2, 3), coarser=((1, 2, 2), (4, 4, 9)), factorised=True
  )
  model, h_BTHWD = Pyramid(kernels), normal(0, 2, 4, 4, 9, 6)
  variables = start(model, h_BTHWD, False)
  p = variables['params']
  # A kernel of one frame stays one convolution.
  assert set(p) == {
    *('fine_space', 'fine_time', 'coarser_0'),
    *('coarser_1_space', 'coarser_1_time', 'norm'),
  }
  fine = numpy_pool(
    numpy_pool(h_BTHWD, p['fine_space'], (1, 2, 3)), p['fine_time'], (2, 1, 1)
  )
  more = numpy_pool(h_BTHWD, p['coarser_0'], (1, 2, 2))
  one = numpy_pool(h_BTHWD, p['coarser_1_space'], (1, 4, 9))
  one = numpy_pool(one, p['coarser_1_time'], (4, 1, 1))
  tokens = [x.reshape(2, -1, 6) for x in (fine, more, one)]
  wanted = layer_norm(np.concatenate(tokens, 1), p['norm'])
  got = model.apply(variables, h_BTHWD, False)
  np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_fig_4_has_three_scales_of_73_tokens_in_all():
  kernels = pyramid.pyramid_kernels(
    (8, 8, 12), (4, 4, 4), (), ((2, 2, 2), (1, 1, 1))
  )
  assert kernels == PyramidKernels((2, 2, 3), coarser=((4, 4, 6), (8, 8, 12)))
  level, h_BTHWD = PyramidAttention(2, kernels), normal(0, 1, 8, 8, 12, 8)
  variables = start(level, h_BTHWD, False)
  assert set(variables) == {'params'}  # no batch norm
  _, kept = level.apply(variables, h_BTHWD, False, mutable='intermediates')
  weights = kept['intermediates']['weights'][0]
  assert weights.shape == (1, 2, 8 * 8 * 12, 64 + 8 + 1)


def test_further_scales_beyond_the_grid_or_beside_all_tokens_are_refused():
  with pytest.raises(InputError, match='every token is a key'):
    pyramid.pyramid_kernels((8, 7, 7), (8, 7, 7), (), ((1, 1, 1),))
  with pytest.raises(InputError, match=r'coarser scale of \(9, 1, 1\)'):
    pyramid.pyramid_kernels((8, 7, 7), (4, 4, 4), (), ((9, 1, 1),))


def test_statistics_of_a_batch_split_over_devices_are_the_whole_batchs():
  model, h_BTHWD = Pyramid(TWO), normal(0, 8, 4, 4, 8, 6)
  h_BTHWD[0] += 5  # one device's clip is unlike the others
  variables = start(model, h_BTHWD, False)
  run = jax.jit(
    functools.partial(model.apply, train=True, mutable=['batch_stats'])
  )
  mesh = Mesh(np.array(jax.devices()), ('data',))
  split = jax.device_put(h_BTHWD, NamedSharding(mesh, PartitionSpec('data')))
  one, one_stats = run(variables, h_BTHWD)
  many, many_stats = run(variables, split)
  np.testing.assert_allclose(one, many, atol=1e-5)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5),
    one_stats,
    many_stats,
  )


def seen(kernels: PyramidKernels, token, grid=(3, 5, 7)) -> np.ndarray:
  """How much a token depends on each token, through a level's attention."""
  level = PyramidAttention(2, kernels)
  h_BTHWD = normal(0, 2, *grid, 8)
  variables = start(level, h_BTHWD, False)

  def out(h_BTHWD):
    h_BTHWD = level.apply(variables, h_BTHWD, False)
    return (h_BTHWD[(0, *token)] * normal(2, 8)).sum()

  grad = abs(np.asarray(jax.jit(jax.grad(out))(h_BTHWD))).max(-1)
  assert not grad[1].any()
  return grad[0]


def test_without_kernels_every_token_sees_every_token():
  assert (seen(PyramidKernels(), (2, 4, 6)) > 1e-6).all()


@pytest.mark.parametrize(
  'kernels',
  [
    PyramidKernels((1, 5, 7)),
    PyramidKernels((2, 2, 3), ((1, 5, 7), (3, 1, 1))),
    PyramidKernels((), ((1, 5, 1), (1, 1, 7))),
    PyramidKernels((3, 2, 3), coarser=((3, 5, 7),), factorised=True),
  ],
)
def test_a_token_sees_the_whole_clip_through_the_pyramid(kernels):
  assert (seen(kernels, (1, 2, 3)) > 1e-7).all()


def test_what_is_left_over_when_pooling_is_seen_by_itself_alone():
  rest = seen(PyramidKernels((2, 2, 3)), (2, 4, 6))
  assert (rest[:2, :4, :6] > 1e-7).all()
  assert rest[2, 4, 6] > 1e-5  # as the query
  rest[:2, :4, :6] = 0
  rest[2, 4, 6] = 0
  assert not rest.any()


def test_a_position_encoding_reaches_the_27_neighbours():
  # Windows of one token: nothing else mixes.
  plan = dual.BlockPlan(2, 12, (1, 1, 1), PyramidKernels())
  answers = {}
  for peg in ((3, 3, 3), (3, 3), ()):
    block = dual.DualBlock(
      plan._replace(peg=peg), 'L', has_peg=bool(peg), drop_path=(0.0,)
    )
    h_BTHWD = normal(0, 1, 4, 5, 6, 8)
    variables = start(block, h_BTHWD, False)
    out = lambda h, block=block, variables=variables: (
      block.apply(variables, h, False)[0, 1, 2, 3] * normal(2, 8)
    ).sum()
    grad = jax.jit(jax.grad(out))(h_BTHWD)
    answers[peg] = abs(np.asarray(grad[0])).max(-1) > 1e-6
  near = np.zeros((4, 5, 6), bool)
  near[0:3, 1:4, 2:5] = True
  np.testing.assert_array_equal(answers[3, 3, 3], near)
  near[[0, 2]] = False
  np.testing.assert_array_equal(answers[3, 3], near)
  near[:] = False
  near[1, 2, 3] = True
  np.testing.assert_array_equal(answers[()], near)
