"""Patches, the perceptron, and how weights start."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.nn import init
from vidmodels.nn.block import Block
from vidmodels.nn.mlp import Mlp, gelu
from vidmodels.nn.patch import PatchEmbed


def normal(seed: int, shape: tuple[int, ...]) -> jax.Array:
  draw = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(draw, jnp.float32)


def test_patches_are_a_convolution_with_kernel_and_stride_of_the_patch():
  module, video = PatchEmbed(width=5, patch=4), normal(0, (2, 3, 8, 12, 3))
  params = module.init(jax.random.key(1), video)['params']
  got_BTHWD = module.apply({'params': params}, video)
  wanted = jax.lax.conv_general_dilated(
    video.reshape(6, 8, 12, 3),
    params['kernel'],
    window_strides=(4, 4),
    padding='VALID',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
  assert got_BTHWD.shape == (2, 3, 2, 3, 5)
  np.testing.assert_allclose(
    got_BTHWD.reshape(wanted.shape), wanted + params['bias'], atol=1e-5
  )


@pytest.mark.parametrize(
  ('video', 'says'),
  [
    (jnp.ones((3, 8, 8, 3)), r'add the missing axis'),
    (jnp.ones((1, 3, 8, 8, 3), jnp.uint8), r'wanted normalised float'),
    (jnp.ones((1, 3, 8, 10, 3)), r'3 frames of 8 x 10 .* patch of 4'),
    (jnp.ones((1, 3, 2, 8, 3)), r'3 frames of 2 x 8'),
    (jnp.ones((1, 0, 8, 8, 3)), r'0 frames'),
    (jnp.ones((1, 3, 8, 8, 1)), r'1 channels and these weights take 3'),
  ],
)
def test_video_that_cannot_be_cut_is_refused_with_its_shape(video, says):
  module = PatchEmbed(width=5, patch=4)
  variables = module.init(jax.random.key(0), jnp.ones((1, 1, 4, 4, 3)))
  with pytest.raises(ValueError, match=says):
    module.apply(variables, video)


def test_gelu_is_the_exact_one():
  x = jnp.linspace(-4, 4, 81)
  exact = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
  np.testing.assert_allclose(gelu(x), exact, atol=1e-6)
  # The tanh form is far enough away for the line above to tell.
  assert abs(jax.nn.gelu(x, approximate=True) - np.array(exact)).max() > 1e-4


def test_the_perceptron_is_up_gelu_down():
  module, h = Mlp(hidden=7), normal(0, (2, 5, 3))
  params = module.init(jax.random.key(1), h)['params']
  up, down = params['up'], params['down']
  wanted = gelu(h @ up['kernel'] + up['bias']) @ down['kernel'] + down['bias']
  np.testing.assert_allclose(module.apply({'params': params}, h), wanted, 1e-5)


def test_weights_start_normal_at_002_with_tails_left_on():
  draw = np.asarray(init.normal_02(jax.random.key(0), (400, 400)))
  assert abs(draw.std() - 0.02) < 1e-4
  # Cut at two sigma, as Flax's truncated normal, none would be beyond .04.
  assert abs((abs(draw) > 0.04).mean() - 0.0455) < 0.004


def test_the_patch_kernel_and_bias_start_uniform_in_the_fan_in():
  params = PatchEmbed(width=256, patch=8).init(
    jax.random.key(0), jnp.ones((1, 1, 8, 8, 3))
  )['params']
  bound = 1 / math.sqrt(8 * 8 * 3)
  for name in ('kernel', 'bias'):
    draw = np.asarray(params[name])
    assert 0.95 * bound < abs(draw).max() <= bound
    assert abs(draw.std() - bound / math.sqrt(3)) < 0.08 * bound


def test_a_block_left_to_torch_starts_uniform_in_every_layers_own_fan_in():
  module = Block(
    heads=2,
    hidden=256,
    kernel_init=init.uniform_fan_in,
    bias_init=init.uniform_bias,
  )
  params = module.init(jax.random.key(0), normal(0, (1, 3, 64)), False)
  params = params['params']
  for layer, fan_in in (
    (params['attn']['qkv'], 64),
    (params['attn']['out'], 64),
    (params['mlp']['up'], 64),
    (params['mlp']['down'], 256),
  ):
    for value in layer.values():
      bound = fan_in**-0.5
      assert 0.85 * bound < float(abs(value).max()) <= bound
  plain = Block(heads=2, hidden=8).init(
    jax.random.key(0), normal(0, (1, 3, 4)), False
  )['params']
  assert not plain['attn']['qkv']['bias'].any()
  assert not plain['mlp']['down']['bias'].any()
