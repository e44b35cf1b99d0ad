"""The pre-norm transformer block and its parts: attention, MLP, drop path.

  block = TransformerBlock(heads=12, hidden=3072)
  s_xLD = block.apply(variables, s_xLD, train=False)

Equation numbers are those of TimeSformer (arXiv 2102.05095).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidmodels.nn import initializers, stack
from vidmodels.nn.linear import Dense, DenseGeneral, zero_bias
from vidmodels.typing import InputError

# The variance is taken around the mean, as in torch; Flax's default,
# E[x^2] - E[x]^2, cancels in float32.
LayerNorm = functools.partial(nn.LayerNorm, use_fast_variance=False)


def attention_weights(
  q_xQAd: jax.Array,
  k_xSAd: jax.Array,
  mask_xQS: jax.Array | None = None,
  bias_AQS: jax.Array | None = None,
) -> jax.Array:
  """Eq. 5: how much each query looks at each key, [..., A, Q, S] in float32.

  A mask says which keys a query may look at (bool, broadcast over the leading
  axes); the bias is added to the scores before the softmax. Rows sum to 1.
  """
  scores_xAQS = jnp.einsum(
    '...QAd,...SAd->...AQS', q_xQAd, k_xSAd, preferred_element_type=jnp.float32
  )
  scores_xAQS *= q_xQAd.shape[-1] ** -0.5
  if bias_AQS is not None:
    scores_xAQS += bias_AQS.astype(jnp.float32)
  if mask_xQS is not None:
    scores_xAQS = jnp.where(mask_xQS[..., None, :, :], scores_xAQS, -jnp.inf)
  return jax.nn.softmax(scores_xAQS)


def attend(
  q_xQAd: jax.Array,
  k_xSAd: jax.Array,
  v_xSAd: jax.Array,
  mask_xQS: jax.Array | None = None,
  bias_AQS: jax.Array | None = None,
) -> jax.Array:
  """Eq. 7: the weighted values [..., Q, A, d] of each query, in v's dtype."""
  p_xAQS = attention_weights(q_xQAd, k_xSAd, mask_xQS, bias_AQS).astype(
    v_xSAd.dtype
  )
  return jnp.einsum('...AQS,...SAd->...QAd', p_xAQS, v_xSAd)


def rescale(q_xQAd: jax.Array, scale: float) -> jax.Array:
  """Queries whose scores come out multiplied by `scale`, not by d ** -0.5."""
  return q_xQAd * (scale * q_xQAd.shape[-1] ** 0.5)


def split_heads(width: int, heads: int) -> tuple[int, int]:
  """Returns (A, d), the number and the width of the heads."""
  if heads < 1 or width % heads:
    raise InputError(
      f'got width {width}, which does not divide into {heads} heads; expected '
      'a multiple of the heads; change either'
    )
  return heads, width // heads


class Attention(nn.Module):
  """Eqs. 2-8: project, attend, project back; the caller adds the residual.

  Queries, keys and values come from one kernel [D, 3, A, d], as in the
  releases' single `qkv` layer. With the heads on an axis of their own, a mesh
  axis can split A and every device holds q, k and v of its own heads; split
  over a flat 3 D it would hold all of q and none of v.

  On request (collection 'intermediates') the float32 weights [..., A, Q, S] are
  sown as 'weights'; nothing is computed for them otherwise.
  """

  heads: int  # A; must divide the width D
  qkv_bias: bool = True  # whether the projections to q, k and v have biases
  # A function of the keys and values [..., S, A, d] that returns the ones to
  # attend to, e.g. with channels of other frames; None leaves them.
  mix: Callable[..., tuple[jax.Array, jax.Array]] | None = None
  # A function in place of `attend`, of queries [..., L, A, d] and keys and
  # values [..., S, A, d], that leaves out products which a mask would hide. The
  # mask, which must say the same, is then only read for weights on request.
  look: Callable[..., jax.Array] | None = None
  # what scores are multiplied by; 0 for d ** -0.5
  scale: float = 0.0
  dtype: Any = jnp.float32  # compute dtype; softmax and parameters are float32
  kernel_init: Callable[..., jax.Array] = initializers.normal_02
  # returns what draws fresh biases, given the layer's fan-in
  bias_init: initializers.Bias = zero_bias

  @nn.compact
  def __call__(
    self,
    s_xLD: jax.Array,
    memory_xSD: jax.Array | None = None,
    mask_xQS: jax.Array | None = None,
    bias_AQS: jax.Array | None = None,
  ) -> jax.Array:
    """Every token of a sequence looks at all tokens of that sequence.

    The memory is more tokens, which are keys and values only, after those of
    the sequence and never mixed. A leading axis of size 1 is broadcast: its
    sequences share one memory. Mask and bias: see `attention_weights`.
    """
    D, (A, d) = s_xLD.shape[-1], split_heads(s_xLD.shape[-1], self.heads)
    qkv = DenseGeneral(
      (3, A, d),
      use_bias=self.qkv_bias,
      kernel_init=self.kernel_init,
      bias_init=self.bias_init(D),
      dtype=self.dtype,
      name='qkv',
    )
    q_xQAd, k_xSAd, v_xSAd = jnp.moveaxis(qkv(s_xLD), -3, 0)
    if self.scale:
      q_xQAd = rescale(q_xQAd, self.scale)
    if self.mix:
      k_xSAd, v_xSAd = self.mix(k_xSAd, v_xSAd)
    if memory_xSD is not None:
      _, more_k, more_v = jnp.moveaxis(qkv(memory_xSD), -3, 0)
      shape = (*s_xLD.shape[:-2], *more_k.shape[-3:])
      more_k, more_v = (jnp.broadcast_to(m, shape) for m in (more_k, more_v))
      k_xSAd = jnp.concatenate([k_xSAd, more_k], axis=-3)
      v_xSAd = jnp.concatenate([v_xSAd, more_v], axis=-3)
    if self.is_mutable_collection('intermediates'):
      p_xAQS = attention_weights(q_xQAd, k_xSAd, mask_xQS, bias_AQS)
      self.sow('intermediates', 'weights', p_xAQS)
    if self.look:
      y_xQAd = self.look(q_xQAd, k_xSAd, v_xSAd)
    else:
      y_xQAd = attend(q_xQAd, k_xSAd, v_xSAd, mask_xQS, bias_AQS)
    joined_xD = jax.lax.collapse(y_xQAd, -2)
    y_xQAd = checkpoint_name(joined_xD, stack.MIXED).reshape(y_xQAd.shape)
    return DenseGeneral(
      D,
      axis=(-2, -1),
      kernel_init=self.kernel_init,
      bias_init=self.bias_init(D),
      dtype=self.dtype,
      name='out',
    )(y_xQAd)


# torch's GELU. Flax's default is the tanh form, which moves the logits of the
# authors' small models by 1e-4 to 3e-4.
gelu = functools.partial(nn.gelu, approximate=False)


class Mlp(nn.Module):
  """The two-layer perceptron: up to `hidden` units, activation, and down."""

  hidden: int  # units in the middle
  # exact GELU unless the family says otherwise
  activation: Callable[[jax.Array], jax.Array] = gelu
  dtype: Any = jnp.float32  # compute dtype; parameters stay float32
  kernel_init: Callable[..., jax.Array] = initializers.normal_02
  # returns what draws fresh biases, given the layer's fan-in
  bias_init: initializers.Bias = zero_bias
  # Chance that a hidden unit, or a number of the output, is dropped while
  # training; draws from the rng 'dropout'
  dropout: float = 0.0

  @nn.compact
  def __call__(self, h_xD: jax.Array, train: bool = False) -> jax.Array:
    """Maps every token by itself, [..., D] to [..., D]."""
    D, F = h_xD.shape[-1], self.hidden
    dense = functools.partial(
      Dense, dtype=self.dtype, kernel_init=self.kernel_init
    )
    up = dense(F, bias_init=self.bias_init(D), name='up')
    down = dense(D, bias_init=self.bias_init(F), name='down')
    drop = nn.Dropout(self.dropout, deterministic=not train)
    return drop(down(drop(self.activation(up(h_xD)))))


class DropPath(nn.Module):
  """Zeroes whole sequences of a residual branch, and scales up the others.

  Each sequence [L, D] of the leading axes is kept or dropped alone: time
  attention on [B, H, W, T, D] drops patch tubes, space attention on
  [B, T, L, D] drops frames, an MLP on [B, L, D] drops clips.
  """

  # Chance that a sequence is dropped; the rest is divided by 1 - rate. An array
  # where a scan over layers gives each its own.
  rate: float
  # Number of last axes that share one draw; 2 for [L, D]. On [B, T, H, W, D], 3
  # drops frames and 4 drops clips.
  shared: int = 2

  @nn.compact
  def __call__(self, h_xLD: jax.Array, train: bool) -> jax.Array:
    """Returns `h_xLD` unless training, which needs the rng 'drop_path'."""
    fixed = not isinstance(self.rate, jax.Array)
    if fixed and not 0 <= self.rate < 1:
      raise InputError(
        f'got a drop path rate of {self.rate}; expected 0 to below 1'
      )
    if not train or (fixed and self.rate == 0):
      return h_xLD
    rows = (*h_xLD.shape[: -self.shared], *(1,) * self.shared)
    keep = 1 - self.rate
    # One axis: the same draws, and on a CPU a fifth of the time to compile.
    kept_x = jax.random.bernoulli(
      self.make_rng('drop_path'), keep, (math.prod(rows),)
    )
    kept = kept_x.reshape(rows)
    # In its own dtype: a rate that is an array would make it float32.
    return jnp.where(kept, h_xLD / jnp.asarray(keep, h_xLD.dtype), 0)


# How a mesh splits the parameters that an image ViT shares with video models
# made of its blocks: heads and MLP units over 'tensor', the width over 'fsdp',
# () over no axis.
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
  """x + Attention(LN(x)), then x + MLP(LN(x))."""

  heads: int  # attention heads, A
  hidden: int  # units of the perceptron
  epsilon: float = 1e-6  # epsilon of both norms
  qkv_bias: bool = True  # whether queries, keys and values have biases
  mix: Callable[..., tuple[jax.Array, jax.Array]] | None = None
  activation: Callable[[jax.Array], jax.Array] = gelu
  # chance that a branch of a sequence is dropped while training
  drop_path: float = 0.0
  dtype: Any = jnp.float32  # compute dtype
  kernel_init: Callable[..., jax.Array] = initializers.normal_02
  # returns what draws fresh biases, given a layer's fan-in
  bias_init: initializers.Bias = zero_bias

  @nn.compact
  def __call__(
    self, s_xLD: jax.Array, train: bool, memory_xSD: jax.Array | None = None
  ) -> jax.Array:
    """Updates sequences; the memory is normalised, see `Attention`."""
    s_xLD = checkpoint_name(s_xLD, stack.INPUT)
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
    more_xLD = Mlp(
      self.hidden,
      activation=self.activation,
      dtype=self.dtype,
      kernel_init=self.kernel_init,
      bias_init=self.bias_init,
      name='mlp',
    )(self._norm('mlp_norm')(s_xLD))
    return s_xLD + DropPath(self.drop_path, name='mlp_drop')(more_xLD, train)

  def _norm(self, name: str) -> nn.LayerNorm:
    """A norm whose variance is taken around the mean, as in torch."""
    return LayerNorm(self.epsilon, dtype=self.dtype, name=name)
