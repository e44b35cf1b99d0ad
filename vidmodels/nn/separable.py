"""Attention along one axis of a grid after another (VidTr, Eq. 1).

A grid of tokens is an array [B, *axes, D], with class tokens, if there are any,
as rows of the grid at index 0. A letter names each axis: 'TN' frames and
places, 'THW' frames, rows and columns, 'L' all tokens in one sequence.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn import time_pool
from vidmodels.nn.attention import split_heads, attention_weights
from vidmodels.nn.time_pool import TimePool

# What attention along an axis is called: in parameters, in what is sown.
AXIS_NAMES = {'T': 'time', 'N': 'space', 'H': 'column', 'W': 'row', 'L': 'joint'}

# torch's xavier_uniform_ on a packed [3 D, D], which counts 3 D outputs.
_glorot_qkv = nn.initializers.variance_scaling(
  1, 'fan_avg', 'uniform', in_axis=0, out_axis=(1, 2, 3)
)


class Qkv(nn.Module):
  """Queries, keys and values of all heads, from one kernel [D, 3, A, d].

  Attributes:
    heads: A; must divide the width D.
    dtype: of the computation; parameters stay float32.
  """

  heads: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, s_xD: jax.Array, v_xD: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries and keys [..., A, d] of `s_xD`; values of `v_xD` if it differs.

    Raises:
      InputError: if the width does not divide into the heads.
    """
    D, (A, d) = s_xD.shape[-1], split_heads(s_xD.shape[-1], self.heads)
    kernel = self.param('kernel', _glorot_qkv, (D, 3, A, d))
    bias = self.param('bias', nn.initializers.zeros, (3, A, d))
    kernel, bias = kernel.astype(self.dtype), bias.astype(self.dtype)
    if v_xD is None:
      return tuple(self._project(s_xD, kernel, bias))
    q_xAd, k_xAd = self._project(s_xD, kernel[:, :2], bias[:2])
    (v_xAd,) = self._project(v_xD, kernel[:, 2:], bias[2:])
    return q_xAd, k_xAd, v_xAd

  def _project(self, s_xD: jax.Array, kernel: jax.Array, bias: jax.Array):
    """The parts of the kernel, each [..., A, d]."""
    made = jnp.einsum('...D,DpAd->...pAd', s_xD.astype(self.dtype), kernel)
    return jnp.moveaxis(made + bias, -3, 0)


class SeparableAttention(nn.Module):
  """Attention along one axis after another, with one projection for all.

  As released: q, k and v are made once, and what attention along one axis
  gives is the value of the next, with the same queries and keys. For the order
  'TN', heads apart, T joined with its class row and N with its class column,

    Z[:, n] = softmax(q[:, n] k[:, n]^T / sqrt(d)) v[:, n]   for every place n,
    Y[t] = softmax(q[t] k[t]^T / sqrt(d)) Z[t]   for every frame t,

  and Y W_o + b_o comes out. One axis alone is ordinary attention. Eqs. 2-8 give
  time and space projections of their own: that is two of these, one after the
  other.

  With `pool`, only some frames come out. The kind 'top_k' chooses them for
  every head and place alone, so that one place in time may hold a different
  frame in each: the residual has to be gathered with the same choice, and is
  returned beside the answer. Its rows see no dropout, as released.

  On request (collection 'intermediates') the weights along each axis are sown
  as 'time_weights', 'space_weights', ... [..., A, Q, S], and as 'kept' the
  frames chosen, [B, N, A, frames], not counting class rows.

  Attributes:
    heads: A; must divide the width D.
    grid: letters of the grid's axes.
    order: letters of those looked along, in order.
    lead: class rows in front of T.
    pool: how frames get fewer; `order` must then start with T.
    dropout: chance that an attention weight is left out while training.
    dtype: of the computation; softmax and parameters are float32.
  """

  heads: int
  grid: str = 'TN'
  order: str = 'TN'
  lead: int = 0
  pool: TimePool | None = None
  dropout: float = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    s_xD: jax.Array,
    rest_xD: jax.Array,
    train: bool,
    *,
    v_xD: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Looks along the axes of `order`.

    Args:
      s_xD: tokens on the grid, normalised.
      rest_xD: the residual that the answer will be added to.
      train: dropout on.
      v_xD: what values are made of, if not of `s_xD`.

    Returns:
      The residual, with fewer frames if there is a pool, and the answer.

    Raises:
      InputError: if the pool does not find the frames it needs.
    """
    q_xAd, k_xAd, z_xAd = Qkv(self.heads, dtype=self.dtype, name='qkv')(
      s_xD, v_xD
    )
    for letter in self.order:
      if letter == 'T' and self.pool:
        q_xAd, k_xAd, z_xAd, rest_xD = self._fewer(
          q_xAd, k_xAd, z_xAd, rest_xD, train
        )
      else:
        z_xAd = self._look(letter, q_xAd, k_xAd, z_xAd, train)
    answer_xD = nn.DenseGeneral(
      s_xD.shape[-1],
      axis=(-2, -1),
      kernel_init=nn.initializers.xavier_uniform(),
      dtype=self.dtype,
      name='out',
    )(z_xAd)
    return rest_xD, answer_xD

  def _look(
    self,
    letter: str,
    q_xAd: jax.Array,
    k_xAd: jax.Array,
    v_xAd: jax.Array,
    train: bool,
  ) -> jax.Array:
    """Attention along one axis, all others in the batch."""
    p_xAQS = self._weights(letter, q_xAd, k_xAd)
    p_xAQS = nn.Dropout(self.dropout)(p_xAQS, deterministic=not train)
    return self._mean(letter, p_xAQS, v_xAd)

  def _weights(
    self, letter: str, q_xAd: jax.Array, k_xAd: jax.Array
  ) -> jax.Array:
    """Attention weights along one axis, float32, sown."""
    axis = 1 + self.grid.index(letter)
    p_xAQS = attention_weights(
      jnp.moveaxis(q_xAd, axis, -3), jnp.moveaxis(k_xAd, axis, -3)
    )
    self.sow('intermediates', f'{AXIS_NAMES[letter]}_weights', p_xAQS)
    return p_xAQS

  def _mean(
    self, letter: str, p_xAQS: jax.Array, v_xAd: jax.Array
  ) -> jax.Array:
    """What each query sees of the values along one axis."""
    axis = 1 + self.grid.index(letter)
    z_xQAd = jnp.einsum(
      '...AQS,...SAd->...QAd',
      p_xAQS.astype(v_xAd.dtype),
      jnp.moveaxis(v_xAd, axis, -3),
    )
    return jnp.moveaxis(z_xQAd, -3, axis)

  def _fewer(
    self,
    q_BTNAd: jax.Array,
    k_BTNAd: jax.Array,
    v_BTNAd: jax.Array,
    rest_BTND: jax.Array,
    train: bool,
  ) -> tuple[jax.Array, ...]:
    """Eq. 3: attention over time and its pooling, all four with fewer frames.

    The queries and keys are for the attention over space that follows.
    """
    frames = self.pool.frames(q_BTNAd.shape[1] - self.lead)
    if self.pool.kind == 'top_k':
      return self._choose(frames, q_BTNAd, k_BTNAd, v_BTNAd, rest_BTND)
    z_BTNAd = self._look('T', q_BTNAd, k_BTNAd, v_BTNAd, train)
    fewer = [
      time_pool.halve_frames(z, self.lead) for z in (q_BTNAd, k_BTNAd, rest_BTND)
    ]
    if self.pool.kind == 'average':
      # The mean of two rows of weights is the mean of what they see.
      z_BTNAd = time_pool.halve_frames(z_BTNAd, self.lead)
    else:
      flat_BTND = z_BTNAd.reshape(rest_BTND.shape)
      conv = time_pool.HalvingConv(self.lead, dtype=self.dtype, name='pool')
      z_BTND = conv(flat_BTND)
      z_BTNAd = z_BTND.reshape(*z_BTND.shape[:3], *z_BTNAd.shape[3:])
    return fewer[0], fewer[1], z_BTNAd, fewer[2]

  def _choose(
    self,
    frames: int,
    q_BTNAd: jax.Array,
    k_BTNAd: jax.Array,
    v_BTNAd: jax.Array,
    rest_BTND: jax.Array,
  ) -> tuple[jax.Array, ...]:
    """Eq. 9: the frames whose attention varies most, head by head."""
    p_BNAQS = self._weights('T', q_BTNAd, k_BTNAd)
    kept_BNAT = time_pool.most_varied(p_BNAQS[..., self.lead :, :], frames)
    self.sow('intermediates', 'kept', kept_BNAT)
    first = jnp.zeros((*kept_BNAT.shape[:3], self.lead), kept_BNAT.dtype)
    kept_BNAT = jnp.concatenate([first, kept_BNAT + self.lead], axis=-1)
    p_BNAQS = jnp.take_along_axis(p_BNAQS, kept_BNAT[..., None], axis=-2)
    if self.pool.softmax:
      p_BNAQS = jax.nn.softmax(p_BNAQS)
    z_BTNAd = self._mean('T', p_BNAQS, v_BTNAd)
    rest_BTNAd = rest_BTND.reshape(q_BTNAd.shape)
    q_BTNAd, k_BTNAd, rest_BTNAd = (
      time_pool.take_frames(z, kept_BNAT) for z in (q_BTNAd, k_BTNAd, rest_BTNAd)
    )
    rest_BTND = rest_BTNAd.reshape(*rest_BTNAd.shape[:3], -1)
    return q_BTNAd, k_BTNAd, z_BTNAd, rest_BTND
