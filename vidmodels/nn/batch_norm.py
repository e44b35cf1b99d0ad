"""Batch normalisation by torch's rules, which the released weights expect."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.typing import InputError


class BatchNorm(nn.Module):
  """Normalises every channel over all axes but the last.

  While training it uses the batch's mean and biased variance, otherwise the
  running ones in collection 'batch_stats'. Two things differ from Flax: the
  running variance averages the unbiased variance, n / (n - 1) times the one
  that normalises, and `momentum` is the weight of the new value. Under `jit`
  over a sharded batch statistics are those of the whole batch, where the
  releases took each GPU's own.
  """

  epsilon: float = 1e-5  # added to the variance
  momentum: float = 0.1  # share of this batch in the new running statistics
  # output dtype; statistics, their arithmetic and parameters are float32
  dtype: Any = jnp.float32
  scale_init: Callable[..., jax.Array] = nn.initializers.ones

  @nn.compact
  def __call__(self, h_xD: jax.Array, train: bool) -> jax.Array:
    """Maps [..., D] to the same shape in `dtype`.

    Training updates the running statistics: 'batch_stats' must be mutable. It
    needs two values a channel, as one has no variance.
    """
    D, n = h_xD.shape[-1], math.prod(h_xD.shape[:-1])
    scale_D = self.param('scale', self.scale_init, (D,))
    bias_D = self.param('bias', nn.initializers.zeros, (D,))
    mean = self.variable('batch_stats', 'mean', jnp.zeros, (D,))
    var = self.variable('batch_stats', 'var', jnp.ones, (D,))
    h_xD = h_xD.astype(jnp.float32)
    if not train:
      mean_D, var_D = mean.value, var.value
    elif n < 2:
      raise InputError(
        f'batch norm got shape {h_xD.shape}, one value a channel; expected at '
        'least 2 while training; try a larger batch or clip'
      )
    else:
      axes = tuple(range(h_xD.ndim - 1))
      # Around the mean, not E[x^2] - E[x]^2, which cancels in float32.
      mean_D = h_xD.mean(axes)
      var_D = jnp.square(h_xD - mean_D).mean(axes)
      if not self.is_initializing():
        mean.value = self._follow(mean.value, mean_D)
        var.value = self._follow(var.value, var_D * (n / (n - 1)))
    slope_D = jax.lax.rsqrt(var_D + self.epsilon) * scale_D
    return ((h_xD - mean_D) * slope_D + bias_D).astype(self.dtype)

  def _follow(self, old_D: jax.Array, new_D: jax.Array) -> jax.Array:
    """A running statistic after one more batch."""
    return (1 - self.momentum) * old_D + self.momentum * new_D
