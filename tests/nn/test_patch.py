"""Patches, the perceptron, and how weights start."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.nn import initializers, linear
from vidmodels.nn.patch import PatchEmbed
from vidmodels.nn.transformer import Mlp, TransformerBlock, gelu


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


def convolved(video, params, window) -> jax.Array:
  """XLA's convolution with stride as kernel, and the bias."""
  return params['bias'] + jax.lax.conv_general_dilated(
    video,
    params['kernel'].reshape(*window, 3, -1),
    window_strides=window,
    padding='VALID',  # what does not fill a window is left out
    dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
  )


@pytest.mark.parametrize('t', [1, 2, 3])
@pytest.mark.parametrize('floor', [False, True])
def test_tubelets_are_a_convolution_over_time_as_well(t, floor):
  rest = (1, 2, 3) if floor else (0, 0, 0)
  sizes = (t * 2 + rest[0] % t, 8 + rest[1], 12 + rest[2])
  video = normal(0, (2, *sizes, 3))
  module = PatchEmbed(width=5, patch=4, frames=t, floor=floor)
  params = module.init(jax.random.key(1), video)['params']
  lead = (t,) if t > 1 else ()
  assert params['kernel'].shape == (*lead, 4, 4, 3, 5)
  got_BTHWD = module.apply({'params': params}, video)
  assert got_BTHWD.shape == (2, 2, 2, 3, 5)
  wanted = convolved(video, params, (t, 4, 4))
  np.testing.assert_allclose(got_BTHWD, wanted, atol=1e-5)


def test_torch_cuts_tubelets_the_same_way():
  torch = pytest.importorskip('torch')
  video = normal(0, (2, 5, 9, 13, 3))
  module = PatchEmbed(width=5, patch=4, frames=2, floor=True)
  params = module.init(jax.random.key(1), video)['params']
  theirs = torch.nn.functional.conv3d(
    torch.tensor(np.moveaxis(video, -1, 1).copy()),
    torch.tensor(np.moveaxis(params['kernel'], (-1, -2), (0, 1)).copy()),
    torch.tensor(np.asarray(params['bias'])),
    stride=(2, 4, 4),
  )
  np.testing.assert_allclose(
    module.apply({'params': params}, video),
    np.moveaxis(theirs.numpy(), 1, -1),
    atol=1e-5,
  )


def test_tubelets_start_uniform_in_all_their_pixels():
  params = PatchEmbed(width=256, patch=4, frames=3).init(
    jax.random.key(0), jnp.ones((1, 3, 4, 4, 3))
  )['params']
  bound = 1 / math.sqrt(3 * 4 * 4 * 3)
  for name in ('kernel', 'bias'):
    assert 0.95 * bound < abs(np.asarray(params[name])).max() <= bound


@pytest.mark.parametrize(
  ('fields', 'shape', 'says'),
  [
    ({'frames': 2}, (3, 8, 8), r'video of 3 frames .* divisible by 2'),
    ({'frames': 2}, (1, 8, 8), r'1 frames of 8 x 8 pixels'),
    ({'tokens': True}, (2, 8, 6), r'a token grid of .* 8 x 6 tokens'),
    (
      {'floor': True, 'frames': 2},
      (1, 8, 8),
      r'1 frames .* at least 2 frames of 4 x 4; try a longer',
    ),
    ({'floor': True}, (2, 8, 3), r'8 x 3 pixels; expected at least'),
  ],
)
def test_what_fits_no_tubelet_is_refused_with_what_would(fields, shape, says):
  module = PatchEmbed(width=5, patch=4, **fields)
  with pytest.raises(ValueError, match=says):
    module.init(jax.random.key(0), jnp.ones((1, *shape, 3)))


@pytest.mark.parametrize(
  ('video', 'says'),
  [
    (jnp.ones((3, 8, 8, 3)), r'adding the missing axis'),
    (jnp.ones((1, 3, 8, 8, 3), jnp.uint8), r'expected normalised float'),
    (jnp.ones((1, 3, 8, 10, 3)), r'3 frames of 8 x 10 .* patch of 4'),
    (jnp.ones((1, 3, 2, 8, 3)), r'3 frames of 2 x 8'),
    (jnp.ones((1, 0, 8, 8, 3)), r'0 frames'),
    (jnp.ones((1, 3, 8, 8, 1)), r'1 channels; expected 3, as the weights'),
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
  draw = np.asarray(initializers.normal_02(jax.random.key(0), (400, 400)))
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


@pytest.mark.slow
def test_a_block_left_to_torch_starts_uniform_in_every_layers_own_fan_in():
  module = TransformerBlock(
    heads=2,
    hidden=256,
    kernel_init=initializers.uniform_fan_in,
    bias_init=linear.uniform_bias,
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
  plain = TransformerBlock(heads=2, hidden=8).init(
    jax.random.key(0), normal(0, (1, 3, 4)), False
  )['params']
  assert not plain['attn']['qkv']['bias'].any()
  assert not plain['mlp']['down']['bias'].any()


@pytest.mark.slow
def test_a_perceptron_drops_hidden_units_and_answers_while_training():
  h = np.ones((4, 500, 8), np.float32)
  mlp = Mlp(6, dropout=0.5)
  made = mlp.init(jax.random.key(0), h)
  run = jax.jit(mlp.apply, static_argnums=2)
  rngs = {'dropout': jax.random.key(1)}
  np.testing.assert_array_equal(run(made, h), Mlp(6).apply(made, h))
  out = np.asarray(run(made, h, True, rngs=rngs))
  assert 0.45 < (out == 0).mean() < 0.55  # numbers of the answer
  # Of what stays there are more kinds than one: units inside differ too.
  first = out[..., 0][out[..., 0] != 0]
  assert len(np.unique(first.round(6))) > 10
