"""From one feature a frame to one answer: X-ViT's temporal head.

Unlike the blocks before them these layers start as torch leaves them, have an
epsilon of 1e-5 and no biases on queries, keys and values: so the release.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn import initializers
from vidmodels.nn.block import TransformerBlock
from vidmodels.nn.mlp import gelu

HEAD_EPSILON = 1e-5  # torch's own


class TemporalAttention(nn.Module):
  """z_final attends the frames' class tokens; a few layers, nearly free.

  In the paper one query looks at the frames; in the release all of them look at
  each other. There are no positions: only what the frames' features tell of
  their time tells the frames apart.

  Attributes:
    layers: of attention.
    heads: A; must divide the width.
    dtype: of the computation.
  """

  layers: int
  heads: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, frames_BTD: jax.Array, train: bool) -> jax.Array:
    """Returns z_final, [B, D]."""
    B, _, D = frames_BTD.shape
    token_D = self.param('class_token', nn.initializers.zeros, (D,))
    token_B1D = jnp.broadcast_to(token_D.astype(frames_BTD.dtype), (B, 1, D))
    s_BLD = jnp.concatenate([token_B1D, frames_BTD], axis=1)
    for i in range(self.layers):
      s_BLD = TransformerBlock(
        self.heads,
        hidden=4 * D,
        epsilon=HEAD_EPSILON,
        qkv_bias=False,
        dtype=self.dtype,
        kernel_init=initializers.uniform_fan_in,
        bias_init=initializers.uniform_bias,
        name=f'block_{i}',
      )(s_BLD, train)
    return s_BLD[:, 0]


class MlpHead(nn.Module):
  """Norm, up, GELU, dropout, linear: float32 throughout.

  Attributes:
    classes: answers, K.
    hidden: units in the middle.
    dropout: chance that a unit in the middle is left out while training.
  """

  classes: int
  hidden: int
  dropout: float

  @nn.compact
  def __call__(self, y_BD: jax.Array, train: bool) -> jax.Array:
    """Returns logits_BK; needs the rng 'dropout' while training."""
    D, F = y_BD.shape[-1], self.hidden
    norm = nn.LayerNorm(HEAD_EPSILON, use_fast_variance=False, name='norm')
    up = nn.Dense(
      F,
      kernel_init=initializers.uniform_fan_in,
      bias_init=initializers.uniform_bias(D),
      name='up',
    )
    linear = nn.Dense(
      self.classes,
      kernel_init=initializers.uniform_fan_in,
      bias_init=initializers.uniform_bias(F),
      name='linear',
    )
    y_BF = gelu(up(norm(y_BD)))
    return linear(nn.Dropout(self.dropout)(y_BF, deterministic=not train))


def mean_probabilities(logits_BTK: jax.Array) -> jax.Array:
  """The logarithm of the mean over frames of the softmax, [B, K]."""
  logp_BTK = jax.nn.log_softmax(logits_BTK)
  return jax.nn.logsumexp(logp_BTK, axis=1) - jnp.log(logits_BTK.shape[1])
