"""Fewer frames on the way through a model: VidTr's pooling (its Eqs. 3, 9-11).

All three kinds act where attention over time has just been taken, on arrays
[B, T, N, ...] whose T may be led by a row of class tokens, which always stays.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.typing import InputError

PoolKind = Literal['top_k', 'average', 'conv']


@dataclasses.dataclass(frozen=True)
class TimePool:
  """How many frames leave a layer, and how they are made.

  Attributes:
    kind: 'top_k' keeps those whose attention rows vary most; 'average' takes
      the mean of every two neighbours; 'conv' a convolution of stride 2.
    drop: frames that 'top_k' leaves out.
    keep: frames that 'top_k' keeps, if that is what is given; 0: `drop` is.
    softmax: whether the rows that 'top_k' keeps go through a softmax again.
  """

  kind: PoolKind
  drop: int = 0
  keep: int = 0
  softmax: bool = True

  def frames(self, frames: int) -> int:
    """Frames that leave, of so many that come.

    Raises:
      InputError: if that many are not there, or do not go in pairs.
    """
    if self.kind == 'top_k':
      left = self.keep or frames - self.drop
      if not 1 <= left <= frames:
        asked = f'keep {self.keep}' if self.keep else f'drop {self.drop}'
        raise InputError(
          f'a layer is to {asked} of the {frames} frames that reach it; give a '
          'longer clip, or change pool_layers, pool_drop or pool_keep'
        )
      return left
    if frames % 2:
      raise InputError(
        f'{frames} frames reach a layer that makes one of every two; give a '
        'clip whose frames go on dividing by 2, or pool in fewer layers'
      )
    return frames // 2


def most_varied(p_xQS: jax.Array, keep: int) -> jax.Array:
  """Eq. 9: the rows of attention with the largest standard deviation.

  A row that looks at few frames varies; one that looks at all alike does not.
  Eqs. 10 and 11 print another scale than the unbiased deviation taken here;
  rows all sum to 1 over as many keys, so that the order is the same.

  Args:
    p_xQS: attention weights, rows over the keys S.
    keep: rows wanted.

  Returns:
    int [..., keep], ascending: rows stay in the order of time. No gradient
    passes through the choice.
  """
  p_xQS = jax.lax.stop_gradient(p_xQS.astype(jnp.float32))
  off_xQS = p_xQS - p_xQS.mean(-1, keepdims=True)
  variance = jnp.square(off_xQS).sum(-1) / max(p_xQS.shape[-1] - 1, 1)
  return jnp.sort(jax.lax.top_k(jnp.sqrt(variance), keep)[1])


def take_frames(z_BTNAd: jax.Array, kept_BNAT: jax.Array) -> jax.Array:
  """Every head's own frames, at every place: [B, keep, N, A, d]."""
  index = jnp.moveaxis(kept_BNAT, -1, 1)[..., None]
  return jnp.take_along_axis(z_BTNAd, index, axis=1)


def halve_frames(z_BTx: jax.Array, lead: int) -> jax.Array:
  """The mean of every two neighbours in time; the first `lead` rows stay."""
  class_rows, rows = z_BTx[:, :lead], z_BTx[:, lead:]
  B, T = rows.shape[:2]
  pairs = rows.reshape(B, T // 2, 2, *rows.shape[2:])
  return jnp.concatenate([class_rows, pairs.mean(2)], axis=1)


def _pair_mean(key, shape, dtype=jnp.float32) -> jax.Array:
  """Half the identity at the two taps that meet a pair."""
  del key
  taps = jnp.asarray([0, 0.5, 0.5], dtype)
  return taps[:, None, None] * jnp.eye(shape[1], shape[2], dtype=dtype)


class HalvingConv(nn.Module):
  """A convolution over time, window 3, stride 2, from all channels to all.

  Starts as the mean of pairs, so that weights of an image model meet frames
  they know.

  Attributes:
    lead: class rows in front, which pass by.
    dtype: of the computation; parameters stay float32.
    kernel_init: draws a fresh kernel [3, D, D].
  """

  lead: int
  dtype: Any = jnp.float32
  kernel_init: Callable[..., jax.Array] = _pair_mean

  @nn.compact
  def __call__(self, z_BTND: jax.Array) -> jax.Array:
    """Maps [B, lead + T, N, D] to [B, lead + T / 2, N, D]."""
    D = z_BTND.shape[-1]
    kernel = self.param('kernel', self.kernel_init, (3, D, D))
    bias_D = self.param('bias', nn.initializers.zeros, (D,))
    rows = jnp.pad(
      z_BTND[:, self.lead :], [(0, 0), (1, 0), (0, 0), (0, 0)]
    )  # tap 2 of the last pair is the last frame: nothing is missing behind
    taps = [rows[:, i : rows.shape[1] - 2 + i : 2] for i in range(3)]
    made = jnp.einsum(
      'rBTND,rDE->BTNE', jnp.stack(taps), kernel.astype(self.dtype)
    )
    made = made + bias_D.astype(self.dtype)
    return jnp.concatenate([z_BTND[:, : self.lead], made], axis=1)
