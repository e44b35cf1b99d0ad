"""The two-layer perceptron of a transformer block."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn import initializers

# torch's GELU. Flax's default is the tanh form, which moves the logits of the
# authors' small models by 1e-4 to 3e-4.
gelu = functools.partial(nn.gelu, approximate=False)


class Mlp(nn.Module):
  """Up to `hidden` units, through `activation`, and down again.

  Attributes:
    hidden: units in the middle.
    activation: exact GELU unless the family says otherwise.
    dtype: of the computation; parameters stay float32.
    kernel_init: draws fresh kernels.
    bias_init: what draws fresh biases, by the layer's fan-in.
    dropout: chance that a hidden unit, or a number of the answer, is left out
      while training; draws from the rng 'dropout'.
  """

  hidden: int
  activation: Callable[[jax.Array], jax.Array] = gelu
  dtype: Any = jnp.float32
  kernel_init: Callable[..., jax.Array] = initializers.normal_02
  bias_init: initializers.Bias = initializers.zero_bias
  dropout: float = 0.0

  @nn.compact
  def __call__(self, h_xD: jax.Array, train: bool = False) -> jax.Array:
    """Maps every token by itself, [..., D] to [..., D]."""
    D, F = h_xD.shape[-1], self.hidden
    dense = functools.partial(
      nn.Dense, dtype=self.dtype, kernel_init=self.kernel_init
    )
    up = dense(F, bias_init=self.bias_init(D), name='up')
    down = dense(D, bias_init=self.bias_init(F), name='down')
    drop = nn.Dropout(self.dropout, deterministic=not train)
    return drop(down(drop(self.activation(up(h_xD)))))
