"""The pre-norm block of an image ViT: attention, then a perceptron.

And how the parameters around it are split over a mesh.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn import initializers, mlp
from vidmodels.nn.attention import Attention
from vidmodels.nn.drop import DropPath

# How parameters are split that an image ViT shares with video models of its
# blocks: heads and MLP units over 'tensor', the width over 'fsdp', () nothing.
VIT_SHARDING = (
  (r'/qkv/kernel$', ('fsdp', None, 'tensor', None)),  # [D, 3, A, d]
  (r'/out/kernel$', ('tensor', None, 'fsdp')),  # [A, d, D]
  (r'/mlp/up/kernel$', ('fsdp', 'tensor')),
  (r'/mlp/down/kernel$', ('tensor', 'fsdp')),
  (r'^patch/kernel$', (None, None, None, 'fsdp')),  # [P, P, C, D]
  (r'^space_pos/table$', (None, None, 'fsdp')),  # [H, W, D]
  (r'/(bias|scale)$', ()),
)


class TransformerBlock(nn.Module):
  """x + Attention(LN(x)), then x + MLP(LN(x)).

  Attributes:
    heads: attention heads, A.
    hidden: units of the perceptron.
    epsilon: of both norms.
    qkv_bias: whether queries, keys and values have biases.
    mix: given to the attention.
    activation: of the perceptron.
    drop_path: chance that a branch of a sequence is dropped while training.
    dtype: of the computation.
    kernel_init: draws fresh kernels.
    bias_init: what draws fresh biases, by a layer's fan-in.
  """

  heads: int
  hidden: int
  epsilon: float = 1e-6
  qkv_bias: bool = True
  mix: Callable[..., tuple[jax.Array, jax.Array]] | None = None
  activation: Callable[[jax.Array], jax.Array] = mlp.gelu
  drop_path: float = 0.0
  dtype: Any = jnp.float32
  kernel_init: Callable[..., jax.Array] = initializers.normal_02
  bias_init: initializers.Bias = initializers.zero_bias

  @nn.compact
  def __call__(
    self,
    s_xLD: jax.Array,
    train: bool,
    memory_xSD: jax.Array | None = None,
  ) -> jax.Array:
    """Returns sequences [..., L, D] updated.

    Args:
      s_xLD: the sequences.
      train: whether drop path is on.
      memory_xSD: normalised tokens that are looked at and do not look.
    """
    more_xLD = Attention(
      self.heads,
      qkv_bias=self.qkv_bias,
      mix=self.mix,
      dtype=self.dtype,
      kernel_init=self.kernel_init,
      bias_init=self.bias_init,
      name='attn',
    )(self._norm('attn_norm')(s_xLD), memory_xSD)
    s_xLD = s_xLD + DropPath(self.drop_path, name='attn_drop')(more_xLD, train)
    more_xLD = mlp.Mlp(
      self.hidden,
      activation=self.activation,
      dtype=self.dtype,
      kernel_init=self.kernel_init,
      bias_init=self.bias_init,
      name='mlp',
    )(self._norm('mlp_norm')(s_xLD))
    return s_xLD + DropPath(self.drop_path, name='mlp_drop')(more_xLD, train)

  def _norm(self, name: str) -> nn.LayerNorm:
    """A norm whose variance is taken around the mean, as torch's is."""
    return nn.LayerNorm(
      self.epsilon, use_fast_variance=False, dtype=self.dtype, name=name
    )
