"""X-ViT: keys and values that mix frames (arXiv 2106.05968).

  model = xvit.Model(classes=174, mix_share=0.5)
  logits_BK = model.apply(variables, video_BTHWC)

As released in 1adrianb/video-transformers, whose weights it runs. Where the
paper says otherwise:

* Channels are counted through all heads, so whole heads move from frame to
  frame; Eq. 9 moves the same channels of every head (`mix_layout`).
* There is one class token a frame, and it is mixed as patches are. (The paper
  begins with one token a clip, for the full attention of its Eq. 4, and has one
  a frame from Eq. 5 on.)
* The table of frame positions has 8 rows whatever the clip's length; frames
  use them in turn, and so does the class token.
* Kinetics' 16 frames mix as two segments of 8 (`segment`).
* In temporal attention the frames also look at each other; in the paper only
  z_final looks at the frames (`ta_query`). The classifier after it is a
  perceptron with a hidden layer; the paper's is linear (`ta_head`).

The release lacks the windows of Table 1, the layers of Table 2a, the kinds of
Table 2c and the summary token. The paper only names them; they are built here
from its words.

Keys and values are made of channels of several frames (Eq. 9), so attention
within a frame looks at the frames around it at no cost. A channel moves between
the same places of two frames, the class token included. A frame that does not
exist gives zeros, which still take part in the softmax.

The temporal head is not drawn as the blocks are: as released, its layers start
as torch leaves them, have an epsilon of 1e-5 and no biases on queries, keys and
values.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidmodels.nn import initializers, position, stack
from vidmodels.nn.linear import Dense, keep_rows, spread, uniform_bias
from vidmodels.nn.patch import PatchEmbed
from vidmodels.nn.transformer import (
  VIT_SHARDING,
  Attention,
  DropPath,
  LayerNorm,
  Mlp,
  TransformerBlock,
  gelu,
  split_heads,
)
from vidmodels.nn.video_model import VideoModel
from vidmodels.typing import (
  BelowOne,
  Count,
  Fraction,
  InputError,
  Positive,
  PositiveFloat,
  Remat,
)

MixLayout = Literal['flat', 'per_head']
TemporalQuery = Literal['all', 'final']
Moves = tuple[tuple[int, int], ...]  # (frames ahead, channels), in order

# Fields to try, one dict for each choice of each field.
VARIANTS = (
  *({'mix': mix} for mix in ('none', 'x', 'key', 'value')),
  {'mix_window': 0},
  {'mix_window': 2},
  {'mix_window': 2, 'mix_boundary': True},
  *({'mix_share': share} for share in (0.0, 0.25, 1.0)),
  {'mix_layout': 'per_head'},
  *({'mix_layers': w} for w in ('first_half', 'second_half', 'odd', '1,0')),
  {'segment': 2},
  {'summary': True},
  {'mix': 'none', 'summary': True, 'ta_layers': 0},
  {'ta_layers': 0},
  {'ta_layers': 3, 'ta_heads': 4, 'ta_hidden': 8},
  {'ta_layers': 2, 'ta_query': 'final', 'ta_head': 'linear', 'groups': (2, 3)},
  {'ta_layers': 0, 'average': 'probs', 'groups': (2, 3)},
  {'groups': (2, 3)},
  {'time_rows': 0},
  *({'pos_resize': method} for method in ('nearest', 'bilinear')),
  {'fresh': 'scratch'},
  {'qkv_bias': False},
)

# Fields that have no effect where nothing is mixed.
MIXING = (
  'mix_layers',
  'mix_share',
  'mix_window',
  'mix_boundary',
  'mix_layout',
  'segment',
)

# The first regex found in a parameter's path says how its axes are split.
SHARDING = (
  *VIT_SHARDING,
  (r'^head(_\d+)?/up/kernel$', ('fsdp', 'tensor')),
  (r'/linear/kernel$', ('tensor', None)),  # K seldom divides
  (r'^head(_\d+)?/kernel$', ('fsdp', None)),
  (r'^time_pos/table$', (None, 'fsdp')),  # [T, D]
  (r'class_(token|pos)$', ()),
)

# A model and a clip (frames, height, width) small enough to try things on.
TINY = {'layers': 2, 'width': 16, 'heads': 2, 'patch': 8, 'drop_path': 0.1}
TINY_CLIP = (4, 16, 24)


def channel_moves(
  channels: int, *, share: float, window: int, boundary: bool = False
) -> Moves:
  """Which channels come from which frame: d_h^t' of Eq. 9.

  The first group comes from the next frame, the second from the previous one,
  the third from two frames ahead, and so on. The last channels stay those of
  the frame itself. Each frame of the window, or with `boundary` each of the two
  at its ends, gives the same number; `share` is rho, `window` t_w.
  """
  distances = range(1, window + 1)[-1 if boundary else 0 :]
  offsets = [offset for far in distances for offset in (far, -far)]
  if not offsets:
    return ()
  each = share * channels / len(offsets)
  # A share with four digits is exact enough: .05 of a channel is rounding.
  if abs(each - round(each)) > 0.05 or (share > 0 and round(each) < 1):
    step = len(offsets) / channels
    below, above = (step * (int(each) + up) for up in (0, 1))
    near = [f'{s:.6g}' for s in (below, above) if s <= 1]
    raise InputError(
      f'got a mixed share of {share}, which is {share * channels:g} of '
      f'{channels} channels and does not divide over {len(offsets)} frames; '
      f'expected a multiple of {len(offsets)}/{channels}; try '
      f'{" or ".join(near)}'
    )
  return tuple((offset, round(each)) for offset in offsets)


def mix_channels(
  h_BTxD: jax.Array, moved: Moves, segment: int = 0
) -> jax.Array:
  """Frame t gets groups of channels, the first ones on, of frame t + offset.

  Nothing crosses from one segment of frames to the next; 0 is one segment.
  """
  B, T, *rest = h_BTxD.shape
  n = segment or T
  if T % n:
    raise InputError(
      f'got a clip of {T} frames with segment={segment}; expected a multiple '
      'of the segment; try other frames, or segment=0, with which all frames '
      'mix'
    )
  h = h_BTxD.reshape(B, T // n, n, *rest)
  groups, first = [], 0
  for offset, channels in moved:
    groups.append(_from(h[..., first : first + channels], offset))
    first += channels
  return jnp.concatenate([*groups, h[..., first:]], -1).reshape(h_BTxD.shape)


def _from(h: jax.Array, offset: int) -> jax.Array:
  """Frame t of axis 2 becomes frame t + offset, or zeros if there is none."""
  if abs(offset) >= h.shape[2]:
    return jnp.zeros_like(h)
  edges = [(0, 0, 0)] * h.ndim
  edges[2] = (-offset, offset, 0)  # a negative edge is cut off
  return jax.lax.pad(h, jnp.zeros((), h.dtype), edges)


@dataclasses.dataclass(frozen=True)
class Mixing:
  """Which channels an attention layer takes from other frames."""

  moved: Moves  # as `channel_moves` returns it, for the channels of the layout
  # What is mixed: keys, values, both, or the tokens ('x') that queries, keys
  # and values are made of
  what: Literal['key_value', 'key', 'value', 'x'] = 'key_value'
  # 'flat' counts channels through all heads, one head after the other, so that
  # whole heads move, as released; 'per_head' moves the same channels of every
  # head, as Eq. 9 says. These are different models.
  layout: MixLayout = 'flat'
  segment: int = 0  # as in `mix_channels`

  def tokens(self, n_BTLD: jax.Array) -> jax.Array:
    """Mixes tokens before their projection to queries, keys and values."""
    return (
      mix_channels(n_BTLD, self.moved, self.segment)
      if self.what == 'x'
      else n_BTLD
    )

  def __call__(
    self, k_BTSAd: jax.Array, v_BTSAd: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Mixes keys and values."""
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
  """The numbers of the layers that mix: a row of Table 2a, or a list.

  'odd' is 1, 3, 5, ...; the first layer of a list, such as '0,3,5', is 0.
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
      f'got mixing in layers {where!r} of {layers}; expected one of '
      f'{", ".join(named)}, or numbers from 0 to {layers - 1}; try "0,2"'
    )
  found = named[where] if where in named else sorted({int(w) for w in words})
  if not found:
    raise InputError(
      f'got mixing in layers {where!r} of {layers}, which is in none; expected '
      'at least one layer; try mix="none" to mix nothing'
    )
  return tuple(found)


class MixingBlock(nn.Module):
  """Eqs. 2 and 3, with the attention of Eq. 10, on the tokens of all frames."""

  heads: int
  hidden: int
  # Between frames; None for attention within a frame, Eq. 5.
  mixing: Mixing | None
  # Whether every frame also looks at one token for each frame of the clip: the
  # mean of that frame's patches, after the norm. The keys and values of these
  # tokens come from this layer's own projections and are not mixed; the tokens
  # exist within the layer only.
  summary: bool
  qkv_bias: bool
  # chance that a branch of a frame is dropped, for both branches
  drop_path: float
  dtype: Any
  kernel_init: Any  # draws fresh kernels

  @nn.compact
  def __call__(self, s_BTLD: jax.Array, train: bool) -> jax.Array:
    """Returns the updated tokens; a frame's first is its class token."""
    s_BTLD = checkpoint_name(keep_rows(s_BTLD), stack.INPUT)
    # The release's epsilon; the variance is taken around the mean, as in torch.
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
      self.hidden, dtype=self.dtype, kernel_init=self.kernel_init, name='mlp'
    )(n_BTLD)
    s_BTLD = s_BTLD + drop(name='mlp_drop')(more_BTLD, train)
    self.sow('intermediates', 'tokens', s_BTLD)
    return s_BTLD


HEAD_EPSILON = 1e-5  # torch's own


class FinalTokenBlock(nn.Module):
  """z_final attends to the frames, and nothing else does: O(T).

  z <- z + Attention(LN(z), keys and values of LN(frames)), then z + MLP(LN(z)),
  with the parameters of a `TransformerBlock` of the temporal head.
  """

  heads: int  # A; must divide the width
  dtype: Any = jnp.float32  # compute dtype

  @nn.compact
  def __call__(self, z_B1D: jax.Array, frames_BTD: jax.Array) -> jax.Array:
    """Returns z_final updated, [B, 1, D]."""
    norm = functools.partial(LayerNorm, HEAD_EPSILON, dtype=self.dtype)
    fresh = {
      'dtype': self.dtype,
      'kernel_init': initializers.uniform_fan_in,
      'bias_init': uniform_bias,
    }
    attn_norm = norm(name='attn_norm')
    z_B1D = z_B1D + Attention(
      self.heads, qkv_bias=False, mix=_no_keys, name='attn', **fresh
    )(attn_norm(z_B1D), attn_norm(frames_BTD))
    hidden = 4 * z_B1D.shape[-1]
    return z_B1D + Mlp(hidden, name='mlp', **fresh)(
      norm(name='mlp_norm')(z_B1D)
    )


def _no_keys(k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Leaves out the keys of the tokens that ask: only the memory is seen."""
  return k[..., :0, :, :], v[..., :0, :, :]


class TemporalAttention(nn.Module):
  """z_final attends to the frames' class tokens: a few layers at little cost.

  In the paper one query looks at the frames; in the release all of them look at
  each other. There are no positions: only the features themselves can tell the
  frames apart.
  """

  layers: int  # layers of attention
  heads: int  # A; must divide the width
  query: TemporalQuery = 'all'  # who looks at the frames
  dtype: Any = jnp.float32  # compute dtype

  @nn.compact
  def __call__(self, frames_BTD: jax.Array, train: bool) -> jax.Array:
    """Returns z_final, [B, D]."""
    B, _, D = frames_BTD.shape
    token_D = self.param('class_token', nn.initializers.zeros, (D,))
    token_B1D = spread(token_D, (B, 1, D), frames_BTD.dtype)
    if self.query == 'final':
      for i in range(self.layers):
        block = FinalTokenBlock(self.heads, self.dtype, name=f'block_{i}')
        token_B1D = block(token_B1D, frames_BTD)
      return token_B1D[:, 0]
    s_BLD = jnp.concatenate([token_B1D, frames_BTD], axis=1)
    for i in range(self.layers):
      s_BLD = TransformerBlock(
        self.heads,
        hidden=4 * D,
        epsilon=HEAD_EPSILON,
        qkv_bias=False,
        dtype=self.dtype,
        kernel_init=initializers.uniform_fan_in,
        bias_init=uniform_bias,
        name=f'block_{i}',
      )(s_BLD, train)
    return s_BLD[:, 0]


class MlpHead(nn.Module):
  """Norm, up, GELU, dropout, linear: float32 throughout."""

  classes: int  # answers, K
  hidden: int  # units in the middle
  dropout: float  # chance that a hidden unit is dropped while training

  @nn.compact
  def __call__(self, y_BD: jax.Array, train: bool) -> jax.Array:
    """Returns logits_BK; needs the rng 'dropout' while training."""
    D, F = y_BD.shape[-1], self.hidden
    norm = LayerNorm(HEAD_EPSILON, name='norm')
    up = Dense(
      F,
      kernel_init=initializers.uniform_fan_in,
      bias_init=uniform_bias(D),
      name='up',
    )
    linear = Dense(
      self.classes,
      kernel_init=initializers.uniform_fan_in,
      bias_init=uniform_bias(F),
      name='linear',
    )
    y_BF = gelu(up(norm(y_BD)))
    return linear(nn.Dropout(self.dropout)(y_BF, deterministic=not train))


def mean_probabilities(logits_BTK: jax.Array) -> jax.Array:
  """The logarithm of the mean over frames of the softmax, [B, K]."""
  logp_BTK = jax.nn.log_softmax(logits_BTK)
  return jax.nn.logsumexp(logp_BTK, axis=1) - jnp.log(logits_BTK.shape[1])


def make_mixing(model: nn.Module) -> Mixing | None:
  """The mixing of the layers that mix; None if no layer does."""
  if model.mix == 'none':
    return None
  _, d = split_heads(model.width, model.heads)
  moved = channel_moves(
    d if model.mix_layout == 'per_head' else model.width,
    share=model.mix_share,
    window=model.mix_window,
    boundary=model.mix_boundary,
  )
  return Mixing(moved, model.mix, model.mix_layout, model.segment)


def check_fields(model: nn.Module) -> None:
  """Raises InputError for contradictions and fields without effect."""
  split_heads(model.width, model.heads)
  if model.mix == 'none':
    _refuse_unread(model, MIXING, 'mix="none"')
  for name in ('mix_share', 'mix_window'):  # either mixes nothing
    if not getattr(model, name):
      others = tuple(field for field in ('mix', *MIXING) if field != name)
      _refuse_unread(model, others, f'{name}=0')
  if model.ta_layers:
    split_heads(model.width, model.ta_heads or model.heads)
    _refuse_unread(model, ('average',), f'ta_layers={model.ta_layers}')
  else:
    unread = ('ta_heads', 'ta_hidden', 'ta_query', 'ta_head')
    _refuse_unread(model, unread, 'ta_layers=0')
  if model.ta_head == 'linear':
    _refuse_unread(model, ('ta_hidden',), "ta_head='linear'")
  if model.mix_boundary and model.mix_window < 2:
    raise InputError(
      f'got mix_boundary with mix_window={model.mix_window}, where no frame '
      'lies between the ends; expected a window of at least 2'
    )
  if model.mix == 'x' and model.mix_layout == 'per_head':
    raise InputError(
      'got mix="x" with mix_layout="per_head"; expected mix_layout="flat", as '
      '"x" mixes tokens before they have heads'
    )
  if model.mix != 'none':
    make_mixing(model)
    mixing_layers(model.mix_layers, model.layers)


def check_groups(model: nn.Module) -> None:
  """Raises InputError unless the groups add up to the classes of the data.

  Not part of `check_fields`: a recipe is checked before its data is known.
  """
  groups = model.groups
  if groups and (sum(groups) != model.classes or min(groups) < 1):
    raise InputError(
      f'got groups {groups}, {sum(groups)} in all, for {model.classes} '
      'classes; expected the classes of each head, which add up to those of '
      'the data'
    )


def _refuse_unread(
  model: nn.Module, fields: tuple[str, ...], reason: str
) -> None:
  for name in fields:
    value, default = getattr(model, name), getattr(type(model), name)
    if value != default:
      raise InputError(
        f'got {name}={value!r}, and nothing reads it with {reason}; expected '
        f'the default {default!r}; try leaving it out'
      )


class Model(VideoModel):
  """X-ViT: an image ViT on every frame, with mixing, then temporal attention.

  Takes any number of frames that divides into segments, and frames of any size
  that divides into patches. Defaults are X-ViT-B/16 as released for SSv2.

  On request (collection 'intermediates') it sows the tokens [B, T, 1 + N, D] as
  'after_embedding' and, in every block, 'tokens'; the frames' class features as
  'after_norm'; and every layer's attention weights.
  """

  layers: Count = 12  # blocks, L
  width: Positive = 768  # of a token, d in the paper, D here
  # attention heads, h in the paper, A here; must divide the width
  heads: Positive = 12
  mlp_ratio: PositiveFloat = 4.0  # units of a perceptron over the width
  patch: Positive = 16  # edge of a patch in pixels
  # What takes channels from other frames (Table 2c): keys, values, both, or the
  # tokens that queries, keys and values are made of ('x'); 'none' is attention
  # within a frame, Eq. 5.
  mix: Literal['key_value', 'key', 'value', 'x', 'none'] = 'key_value'
  # 'all', 'first_half', 'second_half', 'odd', or numbers from 0 ('0,3,5'):
  # Table 2a
  mix_layers: str = 'all'
  # Share of the channels that come from other frames, rho (Table 2d): .25 as
  # released for Kinetics, .5 for SSv2. 0 mixes nothing, as does a `mix_window`
  # of 0; the other fields of mixing then have no effect and are refused.
  mix_share: Fraction = 0.5
  # Frames on either side, t_w (Table 1). The paper does not say how many
  # channels each frame gives where it is 2; here all give the same number.
  mix_window: Count = 1
  # whether only the frames at the window's ends give channels (Bo.)
  mix_boundary: bool = False
  # Which channels move: see `Mixing`. 'per_head' puts the next frame first, as
  # the release does, where Eq. 9 puts the earliest.
  mix_layout: MixLayout = 'flat'
  # Frames that mix with each other, 0 for the whole clip. Only temporal
  # attention and summary tokens reach beyond a segment.
  segment: Count = 0
  # whether every frame looks at one summary token a frame
  summary: bool = False
  # Layers of temporal attention over the frames' class tokens; 0 averages the
  # frames (Table 2b)
  ta_layers: Count = 1
  ta_heads: Count = 0  # heads of those layers; 0 for `heads`
  # Who looks at the frames in those layers: 'all' as released, z_final and the
  # frames themselves, O(T^2); or 'final', z_final alone as in the paper, O(T).
  # Both have the same parameters.
  ta_query: TemporalQuery = 'all'
  # the classifier after temporal attention: 'mlp' as released, a norm and a
  # perceptron with a hidden layer; or the paper's 'linear', one layer
  ta_head: Literal['mlp', 'linear'] = 'mlp'
  # hidden units of the classifier after temporal attention; 0 for the width
  ta_hidden: Count = 0
  # What is averaged over frames without temporal attention: logits (which is
  # averaging features, as the head is linear), or probabilities, whose
  # logarithm is then the answer
  average: Literal['logits', 'probs'] = 'logits'
  # Classes of several heads, e.g. 97 verbs and 300 nouns; each has a head of
  # its own, and their logits come one after the other. Empty for one head of
  # all classes.
  groups: tuple[int, ...] = ()
  # Rows of a fresh table of frame positions; frame i takes row i mod rows. 0
  # makes one row for every frame of the first clip, as the paper says.
  time_rows: Count = 8
  # How the table of patch positions fits another grid, at every call: 'bicubic'
  # as released, torch's
  pos_resize: position.Resize = 'bicubic'
  # dropout rate of the frame features and within the head
  dropout: BelowOne = 0.5
  # chance of the last block; it rises linearly from 0 at the first
  drop_path: Fraction = 0.0
  # biases in the blocks; temporal attention has none, as released
  qkv_bias: bool = True
  # How weights that are not imported are drawn: 'image' as released, to start
  # from an image ViT; 'scratch' to train from random weights. The temporal head
  # starts as torch leaves it in both cases.
  fresh: Literal['image', 'scratch'] = 'image'
  # what blocks keep for the backward pass; the rest is computed again
  remat: Remat = 'none'
  scan: bool = False  # run like blocks as one scan, to compile faster

  def __post_init__(self):
    """Refuses fields that contradict each other."""
    super().__post_init__()
    check_fields(self)

  @nn.nowrap
  def sizes_to_split(self, clip: tuple[int, int, int]) -> dict[str, int]:
    """What a mesh may split over 'context': whole segments of frames."""
    frames = clip[0]
    if self.segment:
      return {f'segments of {self.segment} frames': frames // self.segment}
    return {'frames': frames}

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    check_groups(self)
    fresh = initializers.FRESH[self.fresh]
    self.patch_embed = PatchEmbed(
      self.width, self.patch, dtype=self.dtype, name='patch'
    )
    self.class_token = self.param(
      'class_token', initializers.normal_02, (self.width,)
    )
    self.class_pos = self.param(
      'class_pos', initializers.normal_02, (self.width,)
    )
    self.space_pos = position.Table(fresh.space_table)
    self.time_pos = position.Table(fresh.time_table)
    self.blocks = self._blocks(fresh)
    self.norm = LayerNorm(1e-6)
    if self.ta_layers:
      self.temporal = TemporalAttention(
        self.ta_layers,
        self.ta_heads or self.heads,
        query=self.ta_query,
        dtype=self.dtype,
      )
    self.features_drop = nn.Dropout(self.dropout)
    names = [f'head_{i}' for i in range(len(self.groups))] or ['head']
    self.answers = [
      self._head(classes, name)
      for classes, name in zip(
        self.groups or [self.classes], names, strict=True
      )
    ]

  def _blocks(self, fresh: initializers.Fresh) -> list[MixingBlock]:
    """The blocks; those that mix have a `Mixing`."""
    block = stack.remat(MixingBlock, self.remat)
    chosen = make_mixing(self)
    where = mixing_layers(self.mix_layers, self.layers) if chosen else ()
    return [
      block(
        heads=self.heads,
        hidden=round(self.width * self.mlp_ratio),
        mixing=chosen if i in where else None,
        summary=self.summary,
        qkv_bias=self.qkv_bias,
        drop_path=float(rate),
        dtype=self.dtype,
        kernel_init=fresh.kernel,
        name=f'block_{i}',
      )
      for i, rate in enumerate(np.linspace(0, self.drop_path, self.layers))
    ]

  @property
  def _has_mlp(self) -> bool:
    """Whether the classifiers have a hidden layer."""
    return self.ta_layers > 0 and self.ta_head == 'mlp'

  def _head(self, classes: int, name: str) -> nn.Module:
    """The classifier of one group of classes."""
    if self._has_mlp:
      hidden = self.ta_hidden or self.width
      return MlpHead(classes, hidden, self.dropout, name=name)
    small = nn.initializers.normal(0.001)
    return Dense(classes, kernel_init=small, name=name)

  def __call__(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Returns logits_BK; the groups' logits one after the other."""
    frames_BTD = self.frames(video_BTHWC, train=train)
    if self.average == 'logits':
      return self._answer(self._gather(frames_BTD, train), train)
    logits_BTK = self._answer(self._drop(frames_BTD, train), train)
    each = map(mean_probabilities, by_group(logits_BTK, self.groups))
    return jnp.concatenate(list(each), axis=-1)

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """z_final: the input of the head, [B, D] float32.

    Where probabilities are averaged, the head sees single frames: this is the
    mean of their features.
    """
    return self._gather(self.frames(video_BTHWC, train=train), train)

  def frames(self, video_BTHWC: jax.Array, *, train: bool = False) -> jax.Array:
    """The class token of every frame after the last norm, [B, T, D] float32."""
    s_BTLD = self.embed(video_BTHWC)
    self.sow('intermediates', 'after_embedding', s_BTLD)
    s_BTLD = stack.run(
      self.blocks,
      s_BTLD,
      train=train,
      scan=self.scan,
      policy=self.remat,
    )
    frames_BTD = self.norm(s_BTLD[:, :, 0])
    self.sow('intermediates', 'after_norm', frames_BTD)
    return frames_BTD

  def embed(self, video_BTHWC: jax.Array) -> jax.Array:
    """Every frame's class token and patches, with their positions, z^0.

    The class token has its own row in the table of places, and the row of its
    frame in the table of frames.
    """
    h_BTHWD = self.patch_embed(video_BTHWC)
    B, T, H, W, D = h_BTHWD.shape
    h_BTHWD = position.add_places(h_BTHWD, self.space_pos, self.pos_resize)
    cls_D = self.class_token + self.class_pos
    cls_BT1D = spread(cls_D, (B, T, 1, D), self.dtype)
    patches_BTND = h_BTHWD.reshape(B, T, H * W, D)
    s_BTLD = jnp.concatenate([cls_BT1D, patches_BTND], axis=2)
    pos_RD = self.time_pos(self.time_rows or T, D)
    pos_TD = pos_RD[np.arange(T) % pos_RD.shape[0]]
    return s_BTLD + spread(pos_TD[:, None], s_BTLD.shape, self.dtype)

  def _gather(self, frames_BTD: jax.Array, train: bool) -> jax.Array:
    """Turns one feature a frame into one a clip."""
    frames_BTD = self._drop(frames_BTD, train)
    if not self.ta_layers:
      return frames_BTD.mean(1)
    return self.temporal(frames_BTD, train).astype(jnp.float32)

  def _drop(self, frames_BTD: jax.Array, train: bool) -> jax.Array:
    return self.features_drop(frames_BTD, deterministic=not train)

  def _answer(self, y_xD: jax.Array, train: bool) -> jax.Array:
    """Logits [..., K] of all heads."""
    args = (train,) if self._has_mlp else ()
    return jnp.concatenate([head(y_xD, *args) for head in self.answers], -1)


def by_group(logits_xK: jax.Array, groups: tuple[int, ...]) -> list[jax.Array]:
  """The logits of each head, e.g. of verbs and of nouns; () is one head."""
  return jnp.split(logits_xK, np.cumsum(groups)[:-1].astype(int), axis=-1)
