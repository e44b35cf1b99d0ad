"""A head that scores every token, for training with token labels."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn import initializers


class TokenHead(nn.Module):
  """Scores every token by itself: up, up again, and down to the classes.

  Starts as torch's untouched linear layers.

  Attributes:
    classes: K.
    dropout: chance that a hidden unit is dropped while training, before ReLU.
    dtype: of the hidden layers; logits are float32.
  """

  classes: int
  dropout: float
  dtype: Any

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Returns token_logits_BTHWK."""
    D = h_BTHWD.shape[-1]
    for name, units in (('up', 2 * D), ('up_again', 4 * D)):
      h_BTHWD = self._dense(h_BTHWD, units, self.dtype, name)
      h_BTHWD = nn.Dropout(self.dropout, deterministic=not train)(h_BTHWD)
      h_BTHWD = nn.relu(h_BTHWD)
    return self._dense(h_BTHWD, self.classes, jnp.float32, 'down')

  def _dense(self, h_xD: jax.Array, units: int, dtype: Any, name: str):
    draw = initializers.uniform_bias(
      h_xD.shape[-1]
    )  # the same bounds as the weight's
    return nn.Dense(
      units, dtype=dtype, kernel_init=draw, bias_init=draw, name=name
    )(h_xD)
