"""Space-time mixing: channels that a token takes over from other frames.

X-ViT's keys and values are made of channels of several frames (Eq. 9), so that
attention within a frame looks at the frames around it, at no cost. What is
moved lies at the same place of the other frame, the class token included; a
frame that does not exist gives zeros, which still take part in the softmax.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn.attention import Attention
from vidmodels.nn.drop import DropPath
from vidmodels.nn.mlp import Mlp
from vidmodels.typing import InputError

MixLayout = Literal['flat', 'per_head']
Moves = tuple[tuple[int, int], ...]  # (frames ahead, channels), in order


def channel_moves(
  channels: int, *, share: float, window: int, boundary: bool = False
) -> Moves:
  """Which channels come from which frame: d_h^t' of Eq. 9.

  The first group comes from the next frame, the second from the previous one,
  then from two frames ahead, and so on; what is left is the own frame's.

  Args:
    channels: that there are: the width, or that of one head.
    share: of the channels that come from other frames, rho; each frame of the
      window gives as many.
    window: frames on either side, t_w; 0 moves nothing.
    boundary: whether only the two frames at the window's ends give any.

  Returns:
    (offset, number of channels) of each group.

  Raises:
    InputError: if that is no whole number of channels a frame.
  """
  distances = range(1, window + 1)[-1 if boundary else 0 :]
  offsets = [offset for far in distances for offset in (far, -far)]
  if not offsets:
    return ()
  each = share * channels / len(offsets)
  # A share typed with four digits will do: .05 of a channel is no channel.
  if abs(each - round(each)) > 0.05 or (share > 0 and round(each) < 1):
    step = len(offsets) / channels
    below, above = (step * (int(each) + up) for up in (0, 1))
    near = [f'{s:.6g}' for s in (below, above) if s <= 1]
    raise InputError(
      f'a mixed share of {share} is {share * channels:g} of {channels} '
      f'channels, which do not divide over {len(offsets)} frames; wanted a '
      f'multiple of {len(offsets)}/{channels}, e.g. {" or ".join(near)}'
    )
  return tuple((offset, round(each)) for offset in offsets)


def mix_channels(h_BTxD: jax.Array, moved: Moves, segment: int = 0) -> jax.Array:
  """Takes groups of channels over from other frames.

  Args:
    h_BTxD: tokens; the last axis is cut into groups.
    moved: (offset, channels) from the first channel on, as `moves` gives them:
      frame t gets what frame t + offset has.
    segment: frames that exchange channels with each other, 0 for all; nothing
      crosses from one segment to the next.

  Raises:
    InputError: if the frames do not divide into segments.
  """
  B, T, *rest = h_BTxD.shape
  n = segment or T
  if T % n:
    raise InputError(
      f'the clip has {T} frames and mixing runs in segments of {segment}; '
      'wanted a multiple of that; change the frames, or the segment (0: all '
      'frames mix)'
    )
  h = h_BTxD.reshape(B, T // n, n, *rest)
  groups, first = [], 0
  for offset, channels in moved:
    groups.append(_from(h[..., first : first + channels], offset))
    first += channels
  return jnp.concatenate([*groups, h[..., first:]], -1).reshape(h_BTxD.shape)


def _from(h: jax.Array, offset: int) -> jax.Array:
  """Frame t of axis 2 gets frame t + offset, or zeros if there is none."""
  if abs(offset) >= h.shape[2]:
    return jnp.zeros_like(h)
  edges = [(0, 0, 0)] * h.ndim
  edges[2] = (-offset, offset, 0)  # a negative edge is cut off
  return jax.lax.pad(h, jnp.zeros((), h.dtype), edges)


@dataclasses.dataclass(frozen=True)
class Mixing:
  """What an attention layer takes over from other frames.

  Attributes:
    moved: as `moves` gives it, for the channels that the layout has.
    what: is mixed: keys, values, both, or what queries, keys and values are
      made of.
    layout: 'flat' counts channels through all heads, head by head, so that
      whole heads move, as released; 'per_head' moves the same channels of
      every head, as Eq. 9 says. These are different models.
    segment: as in `mix`.
  """

  moved: Moves
  what: Literal['key_value', 'key', 'value', 'x'] = 'key_value'
  layout: MixLayout = 'flat'
  segment: int = 0

  def tokens(self, n_BTLD: jax.Array) -> jax.Array:
    """Tokens before their projection to queries, keys and values."""
    return mix_channels(n_BTLD, self.moved, self.segment) if self.what == 'x' else n_BTLD

  def __call__(
    self, k_BTSAd: jax.Array, v_BTSAd: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Keys and values after it."""
    return (
      self._heads(k_BTSAd) if 'key' in self.what else k_BTSAd,
      self._heads(v_BTSAd) if 'value' in self.what else v_BTSAd,
    )

  def _heads(self, h_BTSAd: jax.Array) -> jax.Array:
    if self.layout == 'per_head':
      return mix_channels(h_BTSAd, self.moved, self.segment)
    B, T, S, A, d = h_BTSAd.shape
    h_BTSD = h_BTSAd.reshape(B, T, S, A * d)
    return mix_channels(h_BTSD, self.moved, self.segment).reshape(h_BTSAd.shape)


def mixing_layers(where: str, layers: int) -> tuple[int, ...]:
  """The layers that mix: the rows of Table 2a, or a list.

  Args:
    where: 'all', 'first_half', 'second_half', 'odd' (1, 3, 5, ...), or layer
      numbers, the first being 0: '0,3,5'.
    layers: that there are.

  Raises:
    InputError: for anything else, and if no layer is left.
  """
  named = {
    'all': range(layers),
    'first_half': range(layers // 2),
    'second_half': range(layers // 2, layers),
    'odd': range(1, layers, 2),
  }
  words = where.split(',')
  listed = all(w.isdecimal() and int(w) < layers for w in words)
  if where not in named and not listed:
    raise InputError(
      f'mixing in layers {where!r} of {layers}; wanted one of '
      f'{", ".join(named)}, or numbers from 0 to {layers - 1}, e.g. "0,2"'
    )
  found = named[where] if where in named else sorted({int(w) for w in words})
  if not found:
    raise InputError(
      f'mixing in layers {where!r} of {layers} is in none; name other layers '
      'or turn mixing off'
    )
  return tuple(found)


class MixingBlock(nn.Module):
  """Eqs. 2 and 3, with the attention of Eq. 10, on the tokens of all frames.

  Attributes:
    mixing: between frames; None for attention within a frame, Eq. 5.
    summary: whether every frame also looks at one token a frame of the clip:
      the mean of its patches, after the norm. They come from this layer's own
      projections, are not mixed, and are gone after the layer.
    drop_path: chance of this block's depth, for both branches of a frame.
    kernel_init: draws fresh kernels.
  """

  heads: int
  hidden: int
  mixing: Mixing | None
  summary: bool
  qkv_bias: bool
  drop_path: float
  dtype: Any
  kernel_init: Any

  @nn.compact
  def __call__(self, s_BTLD: jax.Array, train: bool) -> jax.Array:
    """Returns the tokens updated; the first of each frame is its class's."""
    # The release's epsilon, and a variance taken around the mean as torch does.
    norm = functools.partial(
      nn.LayerNorm, 1e-6, use_fast_variance=False, dtype=self.dtype
    )
    n_BTLD = norm(name='attn_norm')(s_BTLD)
    # [B, 1, T, D]: the same T tokens for all frames.
    memory = n_BTLD[:, None, :, 1:].mean(3) if self.summary else None
    if self.mixing:
      n_BTLD = self.mixing.tokens(n_BTLD)
    more_BTLD = Attention(
      self.heads,
      qkv_bias=self.qkv_bias,
      mix=self.mixing,
      dtype=self.dtype,
      kernel_init=self.kernel_init,
      name='attn',
    )(n_BTLD, memory)
    drop = functools.partial(DropPath, self.drop_path)
    s_BTLD = s_BTLD + drop(name='attn_drop')(more_BTLD, train)
    n_BTLD = norm(name='mlp_norm')(s_BTLD)
    more_BTLD = Mlp(
      self.hidden,
      dtype=self.dtype,
      kernel_init=self.kernel_init,
      name='mlp',
    )(n_BTLD)
    s_BTLD = s_BTLD + drop(name='mlp_drop')(more_BTLD, train)
    self.sow('intermediates', 'tokens', s_BTLD)
    return s_BTLD
