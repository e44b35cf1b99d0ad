"""How weights start, where Flax's own initialisers draw something else."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

# Draws a fresh array, given a key, a shape and a dtype.
Draw = Callable[..., jax.Array]
# A function of a layer's number of inputs that returns its bias initializer.
Bias = Callable[[int], Draw]

# The ViT releases cut their normal at +-2 absolute: a hundred sigma at .02, so
# nothing is ever cut. Flax's truncated_normal cuts at two sigma and would start
# every weight 12 % smaller.
normal_02 = jax.nn.initializers.normal(0.02)

# Keeps the scale of the activations at any width: 1 / sqrt(fan_in), which is
# .036 at the papers' width of 768, and .125 at 64.
fan_in = jax.nn.initializers.variance_scaling(1, 'fan_in', 'normal')

# PyTorch's untouched convolution or linear weight: U(+-1 / sqrt(fan_in)).
uniform_fan_in = jax.nn.initializers.variance_scaling(
  1 / 3, 'fan_in', 'uniform'
)


def identity(key: Any, shape: tuple[int, int], dtype: Any = float) -> jax.Array:
  """The identity matrix."""
  del key
  return jnp.eye(shape[0], shape[1], dtype=dtype)


class Fresh(NamedTuple):
  """How the weights of a model that is not imported are drawn."""

  # draws the kernels of attention, perceptrons and the head
  kernel: Callable[..., jax.Array]
  space_table: Callable[..., jax.Array]  # draws the positions within a frame
  time_table: Callable[..., jax.Array]  # draws the positions within a clip
  fc: Callable[..., jax.Array]  # draws the projection after time attention


_normal, _zeros = jax.nn.initializers.normal, jax.nn.initializers.zeros
FRESH = {
  # As released: with zeros in time, a video model with an image ViT's weights
  # starts as that ViT.
  'image': Fresh(normal_02, normal_02, _zeros, _zeros),
  # There is no image parent to preserve, and training leaves zeros in time
  # slowly: after 500 steps of the demo recipe a model drawn like this names
  # 94.5 % of the held-out motions, one drawn as 'image' 48.1 % (docs/demo.md).
  'scratch': Fresh(fan_in, _normal(0.5), _normal(1.0), fan_in),
}
IMAGE = FRESH['image']
