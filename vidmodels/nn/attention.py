"""Multi-head attention over sequences of tokens."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn import init
from vidmodels.typing import InputError


def weights(q_xQAd: jax.Array, k_xSAd: jax.Array) -> jax.Array:
  """Eq. 5: how much each query looks at each key.

  Returns:
    [..., A, Q, S] in float32 whatever comes in; rows sum to 1.
  """
  scores_xAQS = jnp.einsum(
    '...QAd,...SAd->...AQS', q_xQAd, k_xSAd, preferred_element_type=jnp.float32
  )
  return jax.nn.softmax(scores_xAQS * q_xQAd.shape[-1] ** -0.5)


def attend(
  q_xQAd: jax.Array, k_xSAd: jax.Array, v_xSAd: jax.Array
) -> jax.Array:
  """Eq. 7: the values [..., Q, A, d] that each query sees, in `v`'s dtype."""
  p_xAQS = weights(q_xQAd, k_xSAd).astype(v_xSAd.dtype)
  return jnp.einsum('...AQS,...SAd->...QAd', p_xAQS, v_xSAd)


class Attention(nn.Module):
  """Eqs. 2-8: project, look, project back; the residual is the caller's.

  Queries, keys and values come from one kernel [D, 3, A, d], as in the
  releases' single `qkv` layer. With the heads on an axis of their own, a mesh
  axis can split A and every device holds q, k and v of its own heads; split
  over a flat 3 D it would hold all of q and none of v.

  On request (collection 'intermediates') the float32 weights [..., A, Q, S] are
  sown as 'weights'; nothing is computed for them otherwise.

  Attributes:
    heads: A; must divide the width D.
    qkv_bias: whether the projections to q, k and v have biases.
    dtype: of the computation; softmax and parameters are float32.
    kernel_init: draws fresh kernels.
  """

  heads: int
  qkv_bias: bool = True
  dtype: Any = jnp.float32
  kernel_init: Callable[..., jax.Array] = init.normal_02

  @nn.compact
  def __call__(self, s_xLD: jax.Array) -> jax.Array:
    """Every token of a sequence looks at all tokens of that sequence."""
    D, A = s_xLD.shape[-1], self.heads
    if A < 1 or D % A:
      raise InputError(
        f'width {D} does not divide into {A} heads; change either'
      )
    qkv = nn.DenseGeneral(
      (3, A, D // A),
      use_bias=self.qkv_bias,
      kernel_init=self.kernel_init,
      dtype=self.dtype,
      name='qkv',
    )(s_xLD)
    q_xLAd, k_xLAd, v_xLAd = (qkv[..., i, :, :] for i in range(3))
    if self.is_mutable_collection('intermediates'):
      self.sow('intermediates', 'weights', weights(q_xLAd, k_xLAd))
    return nn.DenseGeneral(
      D,
      axis=(-2, -1),
      kernel_init=self.kernel_init,
      dtype=self.dtype,
      name='out',
    )(attend(q_xLAd, k_xLAd, v_xLAd))
