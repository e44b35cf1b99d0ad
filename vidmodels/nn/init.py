"""How weights start, where Flax's own initialisers draw something else."""

import math

import jax

# The ViT releases cut their normal at +-2 absolute: a hundred sigma at .02, so
# nothing is ever cut. Flax's truncated_normal cuts at two sigma and would start
# every weight 12 % smaller.
normal_02 = jax.nn.initializers.normal(0.02)

# PyTorch's untouched convolution or linear weight: U(+-1 / sqrt(fan_in)).
uniform_fan_in = jax.nn.initializers.variance_scaling(
  1 / 3, 'fan_in', 'uniform'
)


def uniform_bias(fan_in: int) -> jax.nn.initializers.Initializer:
  """PyTorch's untouched bias: U(+-1 / sqrt(fan_in)), where Flax has zeros."""
  bound = 1 / math.sqrt(fan_in)

  def init(key, shape, dtype=float):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init
