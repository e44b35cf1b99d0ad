"""Drop path: whole residual branches left out at random while training."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.typing import InputError


class DropPath(nn.Module):
  """Zeroes whole sequences of a residual branch and scales up the others.

  Each sequence [L, D] of the leading axes is kept or dropped alone: time
  attention on [B, H, W, T, D] drops patch tubes, space attention on
  [B, T, L, D] drops frames, an MLP on [B, L, D] drops clips.

  Attributes:
    rate: chance that a sequence is dropped; the rest is divided by 1 - rate.
      An array where a scan over layers gives each its own.
    shared: last axes that share one draw; 2 for [L, D]. On [B, T, H, W, D], 3
      drops frames and 4 drops clips.
  """

  rate: float
  shared: int = 2

  @nn.compact
  def __call__(self, h_xLD: jax.Array, train: bool) -> jax.Array:
    """Returns `h_xLD` unless training, which needs the rng 'drop_path'."""
    fixed = not isinstance(self.rate, jax.Array)
    if fixed and not 0 <= self.rate < 1:
      raise InputError(f'drop path rate is {self.rate}; wanted 0 to below 1')
    if not train or (fixed and self.rate == 0):
      return h_xLD
    rows = (*h_xLD.shape[: -self.shared], *(1,) * self.shared)
    kept = jax.random.bernoulli(self.make_rng('drop_path'), 1 - self.rate, rows)
    return jnp.where(kept, h_xLD / (1 - self.rate), 0).astype(h_xLD.dtype)
