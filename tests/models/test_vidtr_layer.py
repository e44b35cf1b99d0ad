"""One layer of VidTr: positions, projections, norms."""

import functools

import jax
import numpy as np
from flax import linen as nn

from vidmodels import models
from vidmodels.models import vidtr
from vidmodels.models.vidtr import SeparableAttention


def normal(seed: int, *shape: int) -> np.ndarray:
  return np.float32(np.random.default_rng(seed).normal(size=shape))


@functools.cache
def layer_of(**more):
  """A layer, its parameters, and what it gets: a grid and its positions."""
  model = models.build('vidtr', classes=5, **{**vidtr.TINY, **more})
  layer = model.bind({}).all_layers[0].clone(parent=None, name=None)
  grid = normal(0, 2, 5, 4, 16)
  pos = normal(1, 5, 4, 16)
  shapes = jax.eval_shape(
    functools.partial(layer.init, train=False),
    jax.random.key(0),
    grid,
    None,
    (pos, None),
  )
  rng = np.random.default_rng(9)
  params = jax.tree.map(
    lambda x: np.float32(0.3 * rng.normal(size=x.shape)), shapes
  )
  return layer, params, grid, pos


def lengths(layer, params, grid, pos):
  """A layer's answer and what its attention gave."""
  run = jax.jit(
    lambda p, g, q: layer.apply(p, g, None, q, False, mutable='intermediates')
  )
  tokens, kept = run(params, grid, pos)
  return tokens.grid, kept['intermediates']


def test_positions_reach_values_in_separable_attention():
  layer, params, grid, pos = layer_of()
  assert not layer.bare_values
  p = jax.tree.map(np.copy, params)
  for part in (0, 1):  # queries and keys closed
    p['params']['attn']['qkv']['kernel'][:, part] = 0
  with_pos, _ = lengths(layer, p, grid, (pos, None))
  without, _ = lengths(layer, p, grid, None)
  assert abs(with_pos - without).max() > 1e-2


def test_positions_reach_queries_and_keys_only_in_joint_attention():
  layer, params, grid, pos = layer_of(attention='joint')
  assert layer.bare_values
  grid, pos = grid.reshape(2, 20, 16), pos.reshape(20, 16)
  with_pos, _ = lengths(layer, params, grid, (pos, None))
  without, _ = lengths(layer, params, grid, None)
  assert abs(with_pos - without).max() > 1e-2
  p = jax.tree.map(np.copy, params)
  for part in (0, 1):
    p['params']['attn']['qkv']['kernel'][:, part] = 0
  with_pos, _ = lengths(layer, p, grid, (pos, None))
  without, _ = lengths(layer, p, grid, None)
  np.testing.assert_allclose(with_pos, without, atol=1e-5)


def test_positions_are_not_added_to_the_residual_stream():
  layer, params, grid, pos = layer_of()
  p = jax.tree.map(np.copy, params)
  p['params']['attn']['out']['kernel'][:] = 0  # attention says its bias
  with_pos, _ = lengths(layer, p, grid, (pos, None))
  without, _ = lengths(layer, p, grid, None)
  np.testing.assert_array_equal(with_pos, without)


def test_separate_projections_are_attention_over_space_of_that_over_time():
  layer, params, grid, _ = layer_of(projections='separate')
  _, kept = lengths(layer, params, grid, None)
  p = params['params']
  h = nn.LayerNorm(1e-5).apply({'params': p['attn_norm']}, grid)
  for name, order in (('time_attn', 'T'), ('space_attn', 'N')):
    attn = SeparableAttention(2, order=order)
    _, h = attn.apply({'params': p[name]}, h, h, False)
  np.testing.assert_allclose(kept['attention'][0], h, atol=1e-5)


def test_norms_both_follow_each_residual_too():
  layer, params, grid, _ = layer_of(norms='both')
  out, kept = lengths(layer, params, grid, None)
  p = params['params']
  norm = lambda x, name: nn.LayerNorm(1e-5).apply({'params': p[name]}, x)
  h = norm(grid + kept['attention'][0], 'attn_norm_after')
  up, down = p['mlp']['up'], p['mlp']['down']
  hidden = norm(h, 'mlp_norm') @ up['kernel'] + up['bias']
  h = h + np.maximum(hidden, 0) @ down['kernel'] + down['bias']
  np.testing.assert_allclose(out, norm(h, 'mlp_norm_after'), atol=1e-4)
