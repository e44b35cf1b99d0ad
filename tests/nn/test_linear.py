"""Linear layers: Flax's numbers, rows apart, gradients summed in float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType, Mesh

from vidmodels.nn import linear
from vidmodels.typing import InputError

KEY = jax.random.key(0)
LAYERS = {
  'dense': (
    lambda dtype: linear.Dense(7, dtype=dtype),
    lambda dtype: nn.Dense(7, dtype=dtype),
    (2, 5, 6),
  ),
  'bare': (
    lambda dtype: linear.Dense(7, use_bias=False, dtype=dtype),
    lambda dtype: nn.Dense(7, use_bias=False, dtype=dtype),
    (4, 6),
  ),
  'heads': (
    lambda dtype: linear.DenseGeneral((3, 2, 4), dtype=dtype),
    lambda dtype: nn.DenseGeneral((3, 2, 4), dtype=dtype),
    (2, 5, 6),
  ),
  'join': (
    lambda dtype: linear.DenseGeneral(5, axis=(-2, -1), dtype=dtype),
    lambda dtype: nn.DenseGeneral(5, axis=(-2, -1), dtype=dtype),
    (2, 3, 4, 6),
  ),
  'conv': (
    lambda dtype: linear.Conv(
      5, (3, 1, 3), (1, 2, 2), [(1, 1), (0, 0), (1, 1)], dtype=dtype
    ),
    lambda dtype: nn.Conv(
      5,
      (3, 1, 3),
      (1, 2, 2),
      [(1, 1), (0, 0), (1, 1)],
      use_bias=False,
      dtype=dtype,
    ),
    (2, 3, 4, 5, 6),
  ),
}


def gradients(layer, variables, h):
  """The answer, and gradients of its weighted sum by parameters and input."""
  weigh = jax.random.normal(jax.random.key(3), layer.apply(variables, h).shape)

  def loss(variables, h):
    y = layer.apply(variables, h)
    return (y.astype(jnp.float32) * weigh).sum(), y

  return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables, h)


@pytest.mark.parametrize('name', LAYERS)
def test_a_layer_is_flax_s_bit_for_bit(name):
  ours, flax, shape = LAYERS[name]
  h = jax.random.normal(KEY, shape)
  variables = ours(jnp.float32).init(KEY, h)
  jax.tree.map(
    np.testing.assert_array_equal, variables, flax(jnp.float32).init(KEY, h)
  )
  # Biases that are not zero.
  variables = jax.tree.map(lambda p: p + 0.1, variables)
  jax.tree.map(
    np.testing.assert_array_equal,
    gradients(ours(jnp.float32), variables, h),
    gradients(flax(jnp.float32), variables, h),
  )
  with linear.sums_of_gradients('dtype'):
    jax.tree.map(
      np.testing.assert_array_equal,
      gradients(ours(jnp.bfloat16), variables, h),
      gradients(flax(jnp.bfloat16), variables, h),
    )


@pytest.mark.parametrize('name', LAYERS)
def test_in_bfloat16_the_answer_is_flax_s_and_gradients_are_not_rounded(name):
  ours, flax, shape = LAYERS[name]
  h = jax.random.normal(KEY, (64, *shape[1:]))
  variables = ours(jnp.float32).init(KEY, h)
  variables = jax.tree.map(lambda p: p + 0.1, variables)
  (found, of_input), answer = gradients(ours(jnp.bfloat16), variables, h)
  (rough, their_input), theirs = gradients(flax(jnp.bfloat16), variables, h)
  np.testing.assert_array_equal(answer, theirs)
  np.testing.assert_array_equal(of_input, their_input)
  # The same products of bfloat16 numbers, summed in float32.
  exact = jax.tree.map(
    lambda v: v.astype(jnp.bfloat16).astype(jnp.float32), (variables, h)
  )
  round_weights = lambda v: v.astype(jnp.bfloat16).astype(jnp.float32)

  def loss(variables, h):
    y = flax(jnp.float32).apply(variables, h)
    weigh = jax.random.normal(jax.random.key(3), y.shape)
    return (y * round_weights(weigh)).sum()

  wanted = jax.grad(loss)(*exact)
  for ours_, theirs_, exact_ in zip(
    *map(jax.tree.leaves, (found, rough, wanted)), strict=True
  ):
    assert ours_.dtype == jnp.float32
    np.testing.assert_allclose(ours_, exact_, rtol=1e-5, atol=1e-4)
    # XLA's CPU compiler leaves out the rounding behind a convolution.
    assert name == 'conv' or abs(theirs_ - exact_).max() > 1e-3


def mesh_of(**sizes) -> Mesh:
  shape = tuple(sizes.values())
  devices = np.asarray(jax.devices()[: np.prod(shape)]).reshape(shape)
  return Mesh(devices, tuple(sizes), axis_types=(AxisType.Auto,) * len(shape))


def test_rows_of_a_batch_are_split_and_other_axes_are_left_to_xla():
  with jax.set_mesh(mesh_of(data=2, fsdp=2, tensor=2)):
    kept = jax.jit(linear.keep_rows)(jnp.ones((8, 6)))
    text = jax.jit(linear.keep_rows).lower(jnp.ones((8, 6))).as_text()
  assert {shard.data.shape[0] for shard in kept.addressable_shards} == {2}
  assert '[{"data", "fsdp"}, {?}]' in text


@pytest.mark.parametrize(
  ('shape', 'placed'),
  [
    ((8, 6, 5), '[{"data", "fsdp"}, {"context"}, {?}]'),
    ((1, 6, 5, 4), '[{?}, {"context"}, {?}, {?}]'),
    ((8, 5, 5), '[{"data", "fsdp"}, {?}, {?}]'),  # a clip that does not divide
    ((8, 6), '[{"data", "fsdp"}, {?}]'),  # no clip: features
  ],
)
def test_clips_are_split_along_their_second_axis(shape, placed):
  with jax.set_mesh(mesh_of(data=2, fsdp=2, context=2)):
    text = jax.jit(linear.keep_rows).lower(jnp.ones(shape)).as_text()
  assert placed in text


def test_clips_are_split_along_another_axis_even_if_it_does_not_divide():
  h_BLD = jnp.arange(8 * 3 * 5.0).reshape(8, 3, 5)
  split = jax.jit(lambda h: linear.split_clips(2 * h, axis=2))
  with jax.set_mesh(mesh_of(data=2, fsdp=2, context=2)):
    text = split.lower(h_BLD).as_text()
    total = jax.jit(lambda h: split(h).sum(2))(h_BLD)
  assert '[{"data", "fsdp"}, {?}, {"context"}]' in text
  np.testing.assert_array_equal(total, 2 * h_BLD.sum(2))
  with jax.set_mesh(mesh_of(data=2, fsdp=2)):
    assert jax.make_jaxpr(lambda h: linear.split_clips(h, 2))(h_BLD).eqns == []


@pytest.mark.parametrize(
  ('sizes', 'shape'),
  [
    ({'data': 2, 'fsdp': 2}, (6, 4)),
    ({'data': 2, 'fsdp': 2}, (1, 4)),
    ({'data': 1, 'fsdp': 1, 'tensor': 4}, (8, 4)),
    ({'views': 4}, (8, 4)),
    ({}, (8, 4)),
  ],
)
def test_rows_that_do_not_divide_are_left_alone(sizes, shape):
  run = lambda: jax.make_jaxpr(linear.keep_rows)(jnp.ones(shape))
  if sizes:
    with jax.set_mesh(mesh_of(**sizes)):
      made = run()
  else:
    made = run()
  assert made.eqns == []


def test_an_unknown_dtype_of_sums_is_refused():
  with (
    pytest.raises(InputError, match='bfloat'),
    linear.sums_of_gradients('bfloat'),
  ):
    pass


@pytest.mark.parametrize('sums', ['float32', 'dtype'])
def test_a_parameter_that_is_spread_or_rounded_has_the_compute_dtype_s_values(
  sums,
):
  p_D = jax.random.normal(KEY, (5,))
  with linear.sums_of_gradients(sums):
    found = linear.spread(p_D, (3, 5), jnp.bfloat16)
    values = linear.rounded(p_D, jnp.bfloat16)
    of = jax.grad(lambda p: (linear.rounded(p, jnp.bfloat16) * p_D).sum())(p_D)
  expected = p_D.astype(jnp.bfloat16)
  np.testing.assert_array_equal(found, jnp.broadcast_to(expected, (3, 5)))
  np.testing.assert_array_equal(values, expected.astype(jnp.float32))
  same = functools.partial(np.testing.assert_array_equal, of)
  same(p_D if sums == 'float32' else expected.astype(jnp.float32))
