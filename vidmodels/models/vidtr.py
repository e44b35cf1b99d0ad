"""VidTr: attention over time, then over space, in one step (arXiv 2104.11746).

  model = vidtr.Model(classes=400, **vidtr.AS_WRITTEN)
  logits_BK = model.apply(variables, video_BTHWC)

As released in amazon-science/gluonmm, whose weights it runs. Where the paper
says otherwise both are here, and the defaults are the release's:

* activation: ReLU was released, the paper says GELU;
* projections: one each for q, k, v and the answer, shared by time and space
  (`SeparableAttention`); in Eqs. 5-8 time and space have their own;
* positions: added to the input of attention in the first layer (in every layer
  of VidTr-M); section 3.1 adds them to the tokens;
* norms: before each branch and once at the end; section 3.3 says 'before and
  after the residual connection';
* heads: 12, the paper says 8;
* C-VidTr: one class token, which looks at nothing before the last pooled layer,
  then joint attention; section 3.2 keeps both kinds of class token throughout;
* the rows that top-K pooling keeps go through a second softmax, Eq. 4 has one;
* those rows are the ones that deviate most from their own mean; Eq. 11 as
  printed takes the mean over all rows (`pool_mean`).

`AS_WRITTEN` are the fields of the paper's reading.

A grid of tokens is an array [B, *axes, D], with class tokens, if there are any,
as rows of the grid at index 0. A letter names each axis: 'TN' frames and
places, 'THW' frames, rows and columns, 'L' all tokens in one sequence.
Positions are kept apart from the tokens, since the release adds them to the
input of attention only. Every table keeps the size it was made or imported
with, and is fitted to the clip at every call. Pooling (Eqs. 3, 9-11) acts right
after attention over time, on arrays [B, T, N, ...] whose T may start with a row
of class tokens, which always stays.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidmodels.nn import initializers, position, stack, t2t, transformer
from vidmodels.nn.linear import (
  Dense,
  DenseGeneral,
  keep_rows,
  product,
  split_clips,
  spread,
  uniform_bias,
)
from vidmodels.nn.patch import PatchEmbed
from vidmodels.nn.position import Table, fit_axes
from vidmodels.nn.t2t import T2T
from vidmodels.nn.transformer import attention_weights, split_heads
from vidmodels.nn.video_model import VideoModel
from vidmodels.typing import (
  BelowOne,
  Count,
  InputError,
  Positive,
  PositiveFloat,
  Remat,
)

PoolKind = Literal['top_k', 'average', 'conv']
PoolMean = Literal['row', 'rows']

# The name of attention along an axis, in parameters and intermediates.
AXIS_NAMES = {
  'T': 'time',
  'N': 'space',
  'H': 'column',
  'W': 'row',
  'L': 'joint',
}

# Table 5b: letters of the grid of tokens, and those looked along, in order.
SCHEMES = {
  'separable': ('TN', 'TN'),  # WH + T: VidTr
  'merged': ('TN', 'TN'),  # the same, and 'joint' in later layers
  'joint': ('L', 'L'),  # WHT: the vanilla transformer
  'space': ('TN', 'N'),  # WH: every frame by itself
  'axial': ('THW', 'TWH'),  # W + H + T
}

# The paper's reading; C-VidTr then pools in 'separable' attention, with
# pool_softmax=False. Eq. 11 to the letter is pool_mean='rows'; it does not do
# what the text below it says, which is to keep frames whose attention is local.
AS_WRITTEN: dict[str, Any] = {
  'heads': 8,
  'activation': 'gelu',
  'projections': 'separate',
  'positions': 'tokens',
  'norms': 'both',
}

# The first regex found in a parameter's path says how its axes are split.
SHARDING = (
  (r'/qkv/kernel$', ('fsdp', None, 'tensor', None)),  # [D, 3, A, d]
  (r'attn/out/kernel$', ('tensor', None, 'fsdp')),  # [A, d, D]
  (r'^layer_\d+/mlp/up/kernel$', ('fsdp', 'tensor')),
  (r'^layer_\d+/mlp/down/kernel$', ('tensor', 'fsdp')),
  (r'/pool/kernel$', (None, 'fsdp', None)),  # [3, D, D]
  (r'^patch/kernel$', ()),  # [(t,) P, P, C, D]
  (r'^t2t/mixer_\d/\w+/kernel$', ()),  # 64 wide
  (r'^(t2t/fc|head)/kernel$', ('fsdp', None)),
  (r'^tokens/', ()),  # class tokens and positions
  (r'/(bias|scale)$', ()),
)

# A model and a clip small enough to try things on, and fields to try.
TINY = {'layers': 3, 'width': 16, 'heads': 2, 'patch': 8}
TINY_CLIP = (4, 16, 32)
_MERGED = {'attention': 'merged', 'joint_from': 1}
_TOP_K = {'pool': 'top_k', 'pool_layers': (0,), 'pool_drop': (2,)}
_AS_PRINTED = {'pool_softmax': False, 'pool_mean': 'rows'}
_HALF = {'pool_layers': (0, 1)}
VARIANTS = (
  *({'attention': scheme} for scheme in ('joint', 'space', 'axial')),
  _MERGED,
  {'activation': 'gelu'},
  {'projections': 'separate'},
  {'projections': 'separate', 'attention': 'axial'},
  {'positions': 'every'},
  {'positions': 'tokens'},
  {'positions': 'every', **_MERGED},
  {'positions': 'tokens', **_MERGED},
  {'norms': 'both'},
  {'norms': 'both', **_MERGED},
  {'patch_frames': 2},
  {'patch': 16, 'stem': 't2t'},
  {'pos_resize': 'nearest'},
  *({**_TOP_K, **more} for more in ({}, _MERGED, _AS_PRINTED)),
  {**_MERGED, 'pool': 'top_k', 'pool_layers': (0,), 'pool_keep': (3,)},
  {**AS_WRITTEN, 'heads': 2, **_TOP_K},
  {'pool': 'average', **_HALF},
  {'pool': 'conv', **_HALF},
  {'pool': 'conv', **_HALF, 'projections': 'separate'},
)


class Tokens(NamedTuple):
  """The state that goes from layer to layer."""

  # Tokens [B, *axes, D], with class tokens inside as rows 0 if the scheme has
  # them there
  grid: jax.Array
  # a class token apart from the grid, [B, 1, D]; None if there is none
  cls: jax.Array | None
  # (positions of the grid, of the class token), float32, broadcast over B;
  # None where layers add no positions
  pos: tuple[jax.Array, Any] | None


def flatten_tokens(tokens: Tokens) -> Tokens:
  """Joins a class token and a grid 'TN' into one sequence 'L'."""
  grid, cls, pos = tokens
  assert cls is not None  # schemes with a class token outside the grid
  B, _, _, D = grid.shape
  grid = jnp.concatenate([cls, grid.reshape(B, -1, D)], axis=1)
  if pos is not None:
    pos = (jnp.concatenate([pos[1], pos[0].reshape(-1, D)]), None)
  return Tokens(grid, None, pos)


class ClassGrid(nn.Module):
  """Adds class tokens to patches and makes their positions.

  Schemes, and what their tokens are:

  * 'separable': [B, 1 + T, 1 + N, D]. Row 0 in time holds a temporal class
    token for every place, column 0 in space a spatial one for every frame; the
    token where they cross goes to the head (section 3.2.1).
  * 'merged': patches [B, T, N, D] and one class token outside the grid.
  * 'space': [B, T, 1 + N, D], the same class token for every frame.
  * 'axial': [B, 1 + T, 1 + H, 1 + W, D]; index 0 of each axis is a class token.
    The paper gives only the name: here one learned token stands at all these
    places, and positions tell them apart.
  """

  scheme: str  # one of these
  resize: position.Resize  # how tables are resized to another clip
  dtype: Any = jnp.float32  # output dtype; parameters are float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array) -> Tokens:
    """Takes embedded patches."""
    cls_D = self.param(
      'class_token', initializers.normal_02, h_BTHWD.shape[-1:]
    )
    make = getattr(self, f'_{self.scheme}')
    return make(cls_D, h_BTHWD.astype(self.dtype))

  def _table(
    self, name: str, *sizes: int, width: int, lead: tuple[int, ...] = ()
  ) -> jax.Array:
    """A learned table of `sizes` and `lead`, fitted: [*(lead + sizes), D]."""
    rows = [
      a + b for a, b in zip(sizes, lead or (0,) * len(sizes), strict=True)
    ]
    table = Table(initializers.normal_02, name=name)(*rows, width)
    return fit_axes(table, sizes, self.resize, lead)

  def _separable(self, cls_D: jax.Array, h_BTHWD: jax.Array) -> Tokens:
    B, T, H, W, D = h_BTHWD.shape
    # As released: a token a place, a token a frame, and one where they cross.
    place_ND = self._table('time_class', H, W, width=D).reshape(-1, D)
    frame_TD = self._table('space_class', T, width=D)
    row_ND = jnp.concatenate([cls_D[None], place_ND])
    h_BTND = split_clips(h_BTHWD.reshape(B, T, -1, D), axis=2)
    h_BTND = _behind(frame_TD[:, None], h_BTND, axis=2)
    h_BTND = _behind(row_ND[None], h_BTND, axis=1)
    class_TD = self._table('class_pos', T, width=D, lead=(1,))
    pos_THWD = self._table('patch_pos', T, H, W, width=D, lead=(1, 0, 0))
    pos_TND = pos_THWD.reshape(1 + T, -1, D)
    pos_TND = jnp.concatenate([class_TD[:, None], pos_TND], axis=1)
    return Tokens(h_BTND, None, (pos_TND, None))

  def _merged(self, cls_D: jax.Array, h_BTHWD: jax.Array) -> Tokens:
    B, T, H, W, D = h_BTHWD.shape
    class_D = self._table('class_pos', width=D)
    pos_THWD = self._table('patch_pos', T, H, W, width=D)
    return Tokens(
      h_BTHWD.reshape(B, T, -1, D),
      spread(cls_D, (B, 1, D), self.dtype),
      (pos_THWD.reshape(T, -1, D), class_D[None]),
    )

  def _space(self, cls_D: jax.Array, h_BTHWD: jax.Array) -> Tokens:
    B, T, H, W, D = h_BTHWD.shape
    class_D = self._table('class_pos', width=D)
    pos_HWD = self._table('space_pos', H, W, width=D)
    pos_ND = jnp.concatenate([class_D[None], pos_HWD.reshape(-1, D)])
    h_BTND = _behind(cls_D[None, None], h_BTHWD.reshape(B, T, -1, D), axis=2)
    return Tokens(h_BTND, None, (pos_ND, None))

  def _axial(self, cls_D: jax.Array, h_BTHWD: jax.Array) -> Tokens:
    B, T, H, W, D = h_BTHWD.shape
    pos_THWD = self._table('patch_pos', T, H, W, width=D, lead=(1, 1, 1))
    everywhere = spread(cls_D, (B, 1 + T, 1 + H, 1 + W, D), self.dtype)
    h_BTHWD = jax.lax.dynamic_update_slice(everywhere, h_BTHWD, (0, 1, 1, 1, 0))
    return Tokens(h_BTHWD, None, (pos_THWD, None))


def _behind(first: jax.Array, grid: jax.Array, axis: int) -> jax.Array:
  """Puts the same rows in front of the grid of every clip."""
  sizes = list(grid.shape)
  sizes[axis] = 1
  return jnp.concatenate([spread(first, sizes, grid.dtype), grid], axis=axis)


@dataclasses.dataclass(frozen=True)
class TimePool:
  """How a layer reduces the number of frames."""

  # 'top_k' keeps those whose attention rows vary most; 'average' takes the mean
  # of every two neighbours; 'conv' a convolution of stride 2
  kind: PoolKind
  drop: int = 0  # number of frames that 'top_k' drops
  keep: int = 0  # number of frames that 'top_k' keeps; 0: `drop` says it
  # whether the rows that 'top_k' keeps go through a softmax again
  softmax: bool = True
  # the mean that rows deviate from in 'top_k', see `most_varied`
  mean: PoolMean = 'row'

  def frames(self, frames: int) -> int:
    """The number of frames after the pool."""
    if self.kind == 'top_k':
      left = self.keep or frames - self.drop
      if not 1 <= left <= frames:
        order = f'keep {self.keep}' if self.keep else f'drop {self.drop}'
        raise InputError(
          f'got {frames} frames in a layer that is to {order} of them; '
          'expected enough for at least one to stay; try a longer clip, or '
          'other pool_layers, pool_drop or pool_keep'
        )
      return left
    if frames % 2:
      raise InputError(
        f'got {frames} frames in a layer that makes one of every two; expected '
        'an even number; try a clip whose frames divide by 2 once a pool, or '
        'fewer pool_layers'
      )
    return frames // 2


def most_varied(
  p_xQS: jax.Array, keep: int, mean: PoolMean = 'row'
) -> jax.Array:
  """Eq. 9: the rows of attention with the largest standard deviation.

  With `mean` 'row' a row deviates from its own mean, as released: a row that
  looks at few frames varies, one that looks at all alike does not. With 'rows'
  it deviates from mu of Eq. 11 as printed, the mean of all rows,

    mu[k] = sum_i p[i, k] / Q,  sigma[i] = sqrt(sum_k (p[i, k] - mu[k])^2),

  so that a frame stays that looks at others than most frames do. Eq. 10 prints
  another scale than the unbiased deviation taken here; the order is the same,
  as all rows have the same number of keys.

  Returns int [..., keep], ascending: rows stay in the order of time. No
  gradient passes through the choice.
  """
  p_xQS = jax.lax.stop_gradient(p_xQS.astype(jnp.float32))
  off_xQS = p_xQS - p_xQS.mean(-1 if mean == 'row' else -2, keepdims=True)
  variance = jnp.square(off_xQS).sum(-1) / max(p_xQS.shape[-1] - 1, 1)
  return jnp.sort(jax.lax.top_k(jnp.sqrt(variance), keep)[1])


def take_frames(z_BTNAd: jax.Array, kept_BNAT: jax.Array) -> jax.Array:
  """Takes the frames of every head and place: [B, keep, N, A, d]."""
  index = jnp.moveaxis(kept_BNAT, -1, 1)[..., None]
  return jnp.take_along_axis(z_BTNAd, index, axis=1)


def halve_frames(z_BTx: jax.Array, lead: int) -> jax.Array:
  """The mean of every two neighbours in time; the first `lead` rows stay."""
  class_rows, rows = z_BTx[:, :lead], z_BTx[:, lead:]
  B, T = rows.shape[:2]
  pairs = rows.reshape(B, T // 2, 2, *rows.shape[2:])
  return jnp.concatenate([class_rows, pairs.mean(2)], axis=1)


def _pair_mean(key, shape, dtype=jnp.float32) -> jax.Array:
  """Half the identity at the two taps that see a pair."""
  del key
  taps = jnp.asarray([0, 0.5, 0.5], dtype)
  return taps[:, None, None] * jnp.eye(shape[1], shape[2], dtype=dtype)


class HalvingConv(nn.Module):
  """A convolution over time, window 3, stride 2, from all channels to all.

  Starts as the mean of pairs, so that an image model's weights get inputs like
  those they were trained on.
  """

  lead: int  # class rows in front, which pass unchanged
  dtype: Any = jnp.float32  # compute dtype; parameters stay float32
  # draws a fresh kernel [3, D, D]
  kernel_init: Callable[..., jax.Array] = _pair_mean

  @nn.compact
  def __call__(self, z_BTND: jax.Array) -> jax.Array:
    """Maps [B, lead + T, N, D] to [B, lead + T / 2, N, D]."""
    D = z_BTND.shape[-1]
    kernel = self.param('kernel', self.kernel_init, (3, D, D))
    bias_D = self.param('bias', nn.initializers.zeros, (D,))
    rows = jnp.pad(
      z_BTND[:, self.lead :], [(0, 0), (1, 0), (0, 0), (0, 0)]
    )  # tap 2 of the last pair is the last frame: no padding is needed behind
    taps = [rows[:, i : rows.shape[1] - 2 + i : 2] for i in range(3)]
    made = product('rBTND,rDE->BTNE', jnp.stack(taps), kernel, self.dtype)
    made = keep_rows(made + spread(bias_D, made.shape, self.dtype))
    return jnp.concatenate([z_BTND[:, : self.lead], made], axis=1)


# torch's xavier_uniform_ on a packed [3 D, D], which counts 3 D outputs.
_glorot_qkv = nn.initializers.variance_scaling(
  1, 'fan_avg', 'uniform', in_axis=0, out_axis=(1, 2, 3)
)


class Qkv(nn.Module):
  """Queries, keys and values of all heads, from one kernel [D, 3, A, d]."""

  heads: int  # A; must divide the width D
  dtype: Any = jnp.float32  # compute dtype; parameters stay float32

  @nn.compact
  def __call__(
    self, s_xD: jax.Array, v_xD: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries and keys [..., A, d] of `s_xD`; values of `v_xD` if given."""
    D, (A, d) = s_xD.shape[-1], split_heads(s_xD.shape[-1], self.heads)
    kernel = self.param('kernel', _glorot_qkv, (D, 3, A, d))
    bias = self.param('bias', nn.initializers.zeros, (3, A, d))
    if v_xD is None:
      return tuple(self._project(s_xD, kernel, bias))
    q_xAd, k_xAd = self._project(s_xD, kernel[:, :2], bias[:2])
    (v_xAd,) = self._project(v_xD, kernel[:, 2:], bias[2:])
    return q_xAd, k_xAd, v_xAd

  def _project(self, s_xD: jax.Array, kernel: jax.Array, bias: jax.Array):
    """The projections by each part of the kernel, each [..., A, d]."""
    axes = 'BTNM'[: s_xD.ndim - 1]
    made = product(
      f'{axes}D,DpAd->{axes}pAd', keep_rows(s_xD), kernel, self.dtype
    )
    made = keep_rows(made + spread(bias, made.shape, self.dtype))
    joined = checkpoint_name(jax.lax.collapse(made, -2), stack.PRODUCT)
    return jnp.moveaxis(joined.reshape(made.shape), -3, 0)


class SeparableAttention(nn.Module):
  """Eq. 1: attention along one axis after another, with shared projections.

  As released: q, k and v are computed once. The output of attention along one
  axis is the value of the next, with the same queries and keys. For the order
  'TN', per head, with T including its class row and N its class column,

    Z[:, n] = softmax(q[:, n] k[:, n]^T / sqrt(d)) v[:, n]   for every place n,
    Y[t] = softmax(q[t] k[t]^T / sqrt(d)) Z[t]   for every frame t,

  and the result is Y W_o + b_o. One axis alone is ordinary attention. In Eqs.
  2-8 time and space have their own projections: two of these modules, one after
  the other.

  With `pool`, fewer frames come out. The kind 'top_k' chooses them for every
  head and place separately, so one index in time may be a different frame in
  each. The residual must be gathered by the same choice, so it is returned
  beside the answer. Attention weights of the kept rows see no dropout, as
  released.

  On request (collection 'intermediates') the weights along each axis are sown
  as 'time_weights', 'space_weights', ... [..., A, Q, S], and as 'kept' the
  frames chosen, [B, N, A, frames], not counting class rows.
  """

  heads: int  # A; must divide the width D
  grid: str = 'TN'  # letters of the grid's axes
  order: str = 'TN'  # letters of the axes that attention runs along, in order
  lead: int = 0  # class rows in front of T
  # how the number of frames is reduced; `order` must then start with T
  pool: TimePool | None = None
  # chance that an attention weight is dropped while training
  dropout: float = 0.0
  dtype: Any = jnp.float32  # compute dtype; softmax and parameters are float32

  @nn.compact
  def __call__(
    self,
    s_xD: jax.Array,
    rest_xD: jax.Array,
    train: bool,
    *,
    v_xD: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Attention of the normalised grid `s_xD` along the axes of `order`.

    Values are made of `v_xD` if it differs. Returns the residual `rest_xD`,
    with fewer frames if there is a pool, and the answer to add to it.
    """
    q_xAd, k_xAd, z_xAd = Qkv(self.heads, dtype=self.dtype, name='qkv')(
      s_xD, v_xD
    )
    if self.lead:  # a device swaps its places for some of the heads
      q_xAd, k_xAd, z_xAd = (
        split_clips(split_clips(part, axis=2), axis=3)
        for part in (q_xAd, k_xAd, z_xAd)
      )
    for letter in self.order:
      if letter == 'T' and self.pool:
        q_xAd, k_xAd, z_xAd, rest_xD = self._fewer(
          self.pool, q_xAd, k_xAd, z_xAd, rest_xD, train
        )
      else:
        z_xAd = self._look(letter, q_xAd, k_xAd, z_xAd, train)
    if self.lead:
      z_xAd = split_clips(split_clips(z_xAd, axis=3), axis=2)
    joined_xD = jax.lax.collapse(z_xAd, -2)
    z_xAd = checkpoint_name(joined_xD, stack.MIXED).reshape(z_xAd.shape)
    answer_xD = DenseGeneral(
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
    """Attention along one axis, with all others in the batch."""
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
    """The values along one axis, averaged by the weights of each query."""
    axis = 1 + self.grid.index(letter)
    z_xQAd = jnp.einsum(
      '...AQS,...SAd->...QAd',
      p_xAQS.astype(v_xAd.dtype),
      jnp.moveaxis(v_xAd, axis, -3),
    )
    return jnp.moveaxis(z_xQAd, -3, axis)

  def _fewer(
    self,
    pool: TimePool,
    q_BTNAd: jax.Array,
    k_BTNAd: jax.Array,
    v_BTNAd: jax.Array,
    rest_BTND: jax.Array,
    train: bool,
  ) -> tuple[jax.Array, ...]:
    """Eq. 3: attention over time, then its pooling.

    Returns all four with fewer frames; queries and keys are for the attention
    over space that follows.
    """
    frames = pool.frames(q_BTNAd.shape[1] - self.lead)
    if pool.kind == 'top_k':
      return self._choose(pool, frames, q_BTNAd, k_BTNAd, v_BTNAd, rest_BTND)
    z_BTNAd = self._look('T', q_BTNAd, k_BTNAd, v_BTNAd, train)
    fewer = [halve_frames(z, self.lead) for z in (q_BTNAd, k_BTNAd, rest_BTND)]
    if pool.kind == 'average':
      # The mean of two rows of weights gives the mean of their outputs.
      z_BTNAd = halve_frames(z_BTNAd, self.lead)
    else:
      flat_BTND = z_BTNAd.reshape(rest_BTND.shape)
      conv = HalvingConv(self.lead, dtype=self.dtype, name='pool')
      z_BTND = conv(flat_BTND)
      z_BTNAd = z_BTND.reshape(*z_BTND.shape[:3], *z_BTNAd.shape[3:])
    return fewer[0], fewer[1], z_BTNAd, fewer[2]

  def _choose(
    self,
    pool: TimePool,
    frames: int,
    q_BTNAd: jax.Array,
    k_BTNAd: jax.Array,
    v_BTNAd: jax.Array,
    rest_BTND: jax.Array,
  ) -> tuple[jax.Array, ...]:
    """Eq. 9: the frames whose attention varies most, head by head."""
    p_BNAQS = self._weights('T', q_BTNAd, k_BTNAd)
    rows_BNAQS = p_BNAQS[..., self.lead :, :]
    kept_BNAT = most_varied(rows_BNAQS, frames, pool.mean)
    self.sow('intermediates', 'kept', kept_BNAT)
    first = jnp.zeros((*kept_BNAT.shape[:3], self.lead), kept_BNAT.dtype)
    kept_BNAT = jnp.concatenate([first, kept_BNAT + self.lead], axis=-1)
    p_BNAQS = jnp.take_along_axis(p_BNAQS, kept_BNAT[..., None], axis=-2)
    if pool.softmax:
      p_BNAQS = jax.nn.softmax(p_BNAQS)
    z_BTNAd = self._mean('T', p_BNAQS, v_BTNAd)
    rest_BTNAd = rest_BTND.reshape(q_BTNAd.shape)
    q_BTNAd, k_BTNAd, rest_BTNAd = (
      take_frames(z, kept_BNAT) for z in (q_BTNAd, k_BTNAd, rest_BTNAd)
    )
    rest_BTND = rest_BTNAd.reshape(*rest_BTNAd.shape[:3], -1)
    return q_BTNAd, k_BTNAd, z_BTNAd, rest_BTND


ACTIVATIONS: dict[str, Callable[..., jax.Array]] = {
  'relu': nn.relu,
  'gelu': transformer.gelu,
}
# torch's epsilon, and its variance, which is taken around the mean.
LayerNorm = functools.partial(
  nn.LayerNorm, epsilon=1e-5, use_fast_variance=False
)


class SeparableLayer(nn.Module):
  """Fig. 1: separable attention and a perceptron, each with its residual.

  A class token outside the grid takes no part in attention: its branch adds its
  own norm (and position), as released, so it sees no patch.
  """

  grid: str  # letters of the grid's axes
  order: str  # letters of the axes that attention runs along, in order
  lead: int  # class rows in front of T
  # how this layer reduces the number of frames; None if it does not
  pool: TimePool | None
  separate: bool  # whether each axis has projections of its own
  # Whether positions reach queries and keys only, as in the joint layers of the
  # release
  bare_values: bool
  both_norms: bool  # whether a norm follows each residual too
  heads: int  # A
  hidden: int  # units of the perceptron
  activation: Literal['relu', 'gelu']  # its name
  # dropout of attention weights, of branches, within the perceptron
  dropout: float
  dtype: Any  # compute dtype

  @nn.compact
  def __call__(self, grid: jax.Array, cls_BLD, pos, train: bool) -> Tokens:
    """Takes the parts of `Tokens`, returns `Tokens`."""
    grid = split_clips(grid, axis=2) if self.lead else keep_rows(grid)
    grid = checkpoint_name(grid, stack.INPUT)
    drop = nn.Dropout(self.dropout, deterministic=not train)
    norm = self._norm('attn_norm')
    rest, more = self._attend(grid, norm(grid), pos and pos[0], train)
    self.sow('intermediates', 'attention', more)
    parts = [rest + drop(more)]
    if cls_BLD is not None:
      own_BLD = norm(cls_BLD)
      if pos is not None:
        own_BLD = own_BLD + spread(pos[1], own_BLD.shape, self.dtype)
      parts += [cls_BLD + drop(own_BLD)]
    if self.both_norms:
      parts = list(map(self._norm('attn_norm_after'), parts))
    norm, perceptron = self._norm('mlp_norm'), self._perceptron()
    parts = [part + perceptron(norm(part), train) for part in parts]
    if self.both_norms:
      parts = list(map(self._norm('mlp_norm_after'), parts))
    tokens = Tokens(parts[0], parts[1] if parts[1:] else None, pos)
    self.sow('intermediates', 'tokens', tokens[:2])
    return tokens

  def _attend(
    self, rest_xD: jax.Array, s_xD: jax.Array, pos_xD, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Eq. 1: the residual, pooled where this layer pools, and the answer."""
    v_xD = s_xD if self.bare_values and pos_xD is not None else None
    if pos_xD is not None:
      s_xD = s_xD + spread(pos_xD, s_xD.shape, self.dtype)
    make = functools.partial(
      SeparableAttention,
      self.heads,
      grid=self.grid,
      lead=self.lead,
      pool=self.pool,
      dropout=self.dropout,
      dtype=self.dtype,
    )
    if not self.separate:
      attn = make(order=self.order, name='attn')
      return attn(s_xD, rest_xD, train, v_xD=v_xD)
    for letter in self.order:
      attn = make(order=letter, name=f'{AXIS_NAMES[letter]}_attn')
      rest_xD, s_xD = attn(s_xD, rest_xD, train)
    return rest_xD, s_xD

  def _norm(self, name: str) -> nn.LayerNorm:
    return LayerNorm(dtype=self.dtype, name=name)

  def _perceptron(self) -> transformer.Mlp:
    """The perceptron, with weights and biases drawn as in the release."""
    return transformer.Mlp(
      self.hidden,
      activation=ACTIVATIONS[self.activation],
      dtype=self.dtype,
      kernel_init=nn.initializers.xavier_uniform(),
      bias_init=uniform_bias,
      dropout=self.dropout,
      name='mlp',
    )


def make_pools(model: 'Model') -> dict[int, TimePool]:
  """The `TimePool` of each layer that pools, by layer number."""
  if model.pool == 'none':
    return {}
  numbers = {'drop': model.pool_drop, 'keep': model.pool_keep}
  return {
    layer: TimePool(
      model.pool,
      **{name: of[n] for name, of in numbers.items() if of},
      softmax=model.pool_softmax,
      mean=model.pool_mean,
    )
    for n, layer in enumerate(model.pool_layers)
  }


def check_fields(model: 'Model') -> None:
  """Refuses fields that contradict each other or have no effect."""
  split_heads(model.width, model.heads)
  for holds, message in (*_attention_rules(model), *_pool_rules(model)):
    if not holds:
      raise InputError(message)


def _attention_rules(m: 'Model') -> tuple[tuple[bool, str], ...]:
  """Rules for stem and attention: (holds, the message if it does not)."""
  merged, first = m.attention == 'merged', m.first_joint() or 0
  return (
    (
      m.stem == 'patch' or (m.patch, m.patch_frames) == (t2t.PATCH, 1),
      f"got patch={m.patch} and patch_frames={m.patch_frames} with stem='t2t'; "
      f'expected {t2t.PATCH} and 1, the tokens that it makes; try leaving both '
      'out',
    ),
    (
      not merged or 1 <= first < m.layers,
      f'got joint_from={m.joint_from} of {m.layers} layers with attention='
      f"'merged' and pool_layers={m.pool_layers}, so layer {first} would be "
      'the first joint one; expected from 1 to one below the layers, so that '
      "the class token sees patches; try attention='joint' if all layers are "
      'to be',
    ),
    (
      merged or not m.joint_from,
      f'got joint_from={m.joint_from} with attention={m.attention!r}, which '
      "does not read it; expected 0; try attention='merged'",
    ),
    (
      m.projections == 'shared' or m.attention not in ('joint', 'space'),
      f'got projections={m.projections!r} with attention={m.attention!r}, '
      'which looks along one axis, so that there is nothing to share; '
      "expected 'shared'",
    ),
  )


def _pool_rules(m: 'Model') -> tuple[tuple[bool, str], ...]:
  """Rules for the fields of pooling."""
  numbers = len(m.pool_drop) + len(m.pool_keep)
  top_k, layers = m.pool == 'top_k', m.pool_layers
  # The last separable layer only computes the answering token, from tokens that
  # no pool changes; the last layer before the joint ones computes their input.
  merged = m.attention == 'merged'
  last = (m.first_joint() or 0) if merged else m.layers - 1
  return (
    (
      bool(layers) == (m.pool != 'none'),
      f'got pool={m.pool!r} with pool_layers {layers}; expected both or '
      'neither',
    ),
    (
      all(a < b for a, b in itertools.pairwise((-1, *layers, last))),
      f'got pool_layers={layers}; expected rising numbers below {last}, '
      + ('joint_from' if merged else 'the last layer'),
    ),
    (
      not (m.pool_drop and m.pool_keep),
      f'got pool_drop {m.pool_drop} and pool_keep {m.pool_keep}, which say the '
      'same of each layer; expected one of them',
    ),
    (
      numbers == (len(layers) if top_k else 0),
      f'got pool={m.pool!r} in layers {layers} with pool_drop {m.pool_drop} '
      f"and pool_keep {m.pool_keep}; expected one number a layer for 'top_k', "
      'and none for other pools, which take every second frame',
    ),
    (
      top_k or m.pool_softmax,
      f'got pool_softmax=False with pool={m.pool!r}, which has no second '
      'softmax; expected True; try leaving it out',
    ),
    (
      top_k or m.pool_mean == 'row',
      f'got pool_mean={m.pool_mean!r} with pool={m.pool!r}, which compares no '
      "rows; expected 'row'; try leaving it out",
    ),
    (
      m.pool == 'none' or m.attention in ('separable', 'merged'),
      f'got pool={m.pool!r} with attention={m.attention!r}; expected '
      "'separable' or 'merged', where attention over time is a step of its own",
    ),
    (
      m.pool == 'none' or m.positions != 'every',
      f"got positions='every' with pool={m.pool!r}, after which tokens are of "
      "other frames; expected 'first' or 'tokens'",
    ),
  )


class Model(VideoModel):
  """VidTr and C-VidTr: patches, class tokens, layers, one linear layer.

  Takes any number of frames that patches divide, any frame size that patches
  divide, and as many frames as pooling needs. Position tables and class tokens
  keep the size of the clip that the model was initialised with, or of the
  imported weights. Defaults are VidTr-S as released.

  C-VidTr takes a whole video in one pass, as section 3.3 describes, if it is
  trained and run on frames sampled over the whole video, any number of them.

  On request (collection 'intermediates') it sows the patches as 'patches' and
  the class feature as 'after_norm'. Every layer sows its answer as 'attention',
  (grid, class token) as 'tokens', and its attention weights.
  """

  layers: Positive = 12  # layers of attention and a perceptron
  width: Positive = 768  # token width, D
  heads: Positive = 12  # attention heads, A; must divide the width
  mlp_ratio: PositiveFloat = 4.0  # units of a perceptron over the width
  patch: Positive = 16  # edge of a patch in pixels
  # frames of a patch; above 1 it is Table 5a's cubic patch
  patch_frames: Positive = 1
  # 'patch', or 't2t' for T2T-ViT's soft splits (Table 5c)
  stem: Literal['patch', 't2t'] = 'patch'
  # A scheme of Table 5b, see `SCHEMES`. 'merged' is separable with one class
  # token outside attention, and joint from layer `joint_from` on.
  attention: Literal['separable', 'merged', 'joint', 'space', 'axial'] = (
    'separable'
  )
  # The first joint layer of 'merged', counted from 0; 0: the one after the last
  # that pools, as in every C-VidTr
  joint_from: Count = 0
  # 'shared' by time and space, or 'separate': attention over time with its own
  # projections (the output's too), then attention over space of the result,
  # with one norm before and one residual around both
  projections: Literal['shared', 'separate'] = 'shared'
  # activation of the perceptrons; GELU is exact
  activation: Literal['relu', 'gelu'] = 'relu'
  # Where positions are added: in the attention of the 'first' layer or of
  # 'every' layer, or to the 'tokens' before all layers
  positions: Literal['first', 'every', 'tokens'] = 'first'
  # 'before' each branch, or 'both' before it and after its residual
  norms: Literal['before', 'both'] = 'before'
  # How C-VidTr reduces the number of frames: 'top_k' keeps those with the
  # largest standard deviation, 'average' is the mean of pairs, 'conv' has
  # stride 2; 'none' keeps all
  pool: Literal['none', 'top_k', 'average', 'conv'] = 'none'
  pool_layers: tuple[Count, ...] = ()  # the layers that pool, counted from 0
  # number of frames that each of these layers drops; for 'top_k'
  pool_drop: tuple[Count, ...] = ()
  # number of frames that each keeps; instead of `pool_drop`
  pool_keep: tuple[Positive, ...] = ()
  # The second softmax of 'top_k'. The choice of frames can be close: bfloat16
  # sometimes keeps other frames than float32.
  pool_softmax: bool = True
  # The mean that rows of attention deviate from in 'top_k': each its own 'row'
  # as released, or that of all 'rows' of a place, as Eq. 11 prints it
  pool_mean: PoolMean = 'row'
  # how tables are resized to another grid or clip length
  pos_resize: position.Resize = 'bilinear'
  dropout: BelowOne = 0.1  # within layers, see `Layer`
  head_dropout: BelowOne = 0.5  # before the last linear layer
  # what layers keep for the backward pass; the rest is computed again
  remat: Remat = 'none'
  scan: bool = False  # run layers that are alike as one scan, to compile faster

  def __post_init__(self) -> None:
    """Refuses fields that contradict each other."""
    check_fields(self)
    super().__post_init__()

  @nn.nowrap
  def first_joint(self) -> int | None:
    """The layer before which the tokens become one sequence; None if never."""
    after_pools = 1 + max(self.pool_layers, default=-1)
    merged = self.joint_from or after_pools
    return {'merged': merged, 'joint': 0}.get(self.attention)

  @nn.nowrap
  def sizes_to_split(self, clip: tuple[int, int, int]) -> dict[str, int]:
    """What a mesh may split over 'context': frames or, within layers, heads.

    In separable attention a device has some places of all frames, for a row of
    class tokens leads the frames, and within attention some heads. Raises
    InputError where tokens are one sequence, or frames are pooled.
    """
    if self.attention not in ('space', 'separable') or self.pool != 'none':
      raise InputError(
        f'got mesh.context above 1 with attention={self.attention!r} and '
        f"pool={self.pool!r}; expected 'separable' or 'space' and 'none', "
        'where a device can have a part of the clip; try mesh.fsdp, '
        'mesh.tensor or model.remat=block'
      )
    if self.stem != 'patch':
      raise InputError(
        f"got mesh.context above 1 with stem={self.stem!r}; expected 'patch'; "
        'try mesh.fsdp or model.remat=block'
      )
    sizes = {'frames of tokens': clip[0] // self.patch_frames}
    return sizes if self.attention == 'space' else sizes | {'heads': self.heads}

  def setup(self) -> None:
    """Names the submodules; the names are the keys of checkpoints."""
    self.patch_embed: PatchEmbed | T2T
    if self.stem == 'patch':
      self.patch_embed = PatchEmbed(
        self.width,
        self.patch,
        frames=self.patch_frames,
        dtype=self.dtype,
        kernel_init=nn.initializers.xavier_uniform(),
        name='patch',
      )
    else:
      self.patch_embed = T2T(self.width, dtype=self.dtype, name='t2t')
    self.class_grid = ClassGrid(
      'merged' if self.attention == 'joint' else self.attention,
      self.pos_resize,
      dtype=self.dtype,
      name='tokens',
    )
    pools = make_pools(self)
    layer = stack.remat(SeparableLayer, self.remat, train_at=4)
    self.all_layers = [
      layer(**self._fields(i), pool=pools.get(i), name=f'layer_{i}')
      for i in range(self.layers)
    ]
    self.norm = LayerNorm(dtype=jnp.float32)
    self.drop = nn.Dropout(self.head_dropout)
    # torch's untouched linear layer.
    self.head = Dense(
      self.classes,
      dtype=jnp.float32,
      kernel_init=initializers.uniform_fan_in,
      bias_init=uniform_bias(self.width),
    )

  def _fields(self, i: int) -> dict[str, Any]:
    """The fields of layer i, except its pool."""
    merged = self.attention == 'merged' and i >= (self.first_joint() or 0)
    scheme = 'joint' if merged else self.attention
    grid, order = SCHEMES[scheme]
    return {
      'grid': grid,
      'order': order,
      'lead': int(scheme == 'separable'),
      'separate': self.projections == 'separate' and len(order) > 1,
      'bare_values': scheme == 'joint' and self.positions != 'tokens',
      'both_norms': self.norms == 'both',
      'heads': self.heads,
      'hidden': round(self.width * self.mlp_ratio),
      'activation': self.activation,
      'dropout': self.dropout,
      'dtype': self.dtype,
    }

  def __call__(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Returns logits_BK, float32."""
    y_BD = self.features(video_BTHWC, train=train)
    return self.head(self.drop(y_BD, deterministic=not train))

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """The class token after the last norm, [B, D] float32.

    In space attention, the mean of the frames' class tokens.
    """
    tokens = self.embed(video_BTHWC)
    for start, end in self._runs():
      if start == 1 and self.positions == 'first':
        tokens = tokens._replace(pos=None)
      if start == self.first_joint():
        tokens = flatten_tokens(tokens)
      tokens = stack.run(
        self.all_layers[start:end],
        tokens,
        train=train,
        scan=self.scan,
        policy=self.remat,
      )
    if self.attention == 'space':
      y_BTD = self.norm(tokens.grid[:, :, 0].astype(jnp.float32))
      y_BD = y_BTD.mean(1)
    else:
      corner = (0,) * (tokens.grid.ndim - 2)
      y_BD = self.norm(tokens.grid[:, *corner].astype(jnp.float32))
    self.sow('intermediates', 'after_norm', y_BD)
    return y_BD

  def embed(self, video_BTHWC: jax.Array) -> Tokens:
    """Patches, class tokens, and the positions that layers will add."""
    patches_BTHWD = self.patch_embed(video_BTHWC)
    self.sow('intermediates', 'patches', patches_BTHWD)
    grid, cls_BLD, pos = self.class_grid(patches_BTHWD)
    if pos is None or self.positions != 'tokens':
      return Tokens(grid, cls_BLD, pos)
    if cls_BLD is not None:
      cls_BLD = cls_BLD + spread(pos[1], cls_BLD.shape, self.dtype)
    return Tokens(grid + spread(pos[0], grid.shape, self.dtype), cls_BLD, None)

  def _runs(self) -> list[tuple[int, int]]:
    """(start, end) of the runs of layers with the same kind of tokens."""
    cuts = {0, self.first_joint() or 0, self.layers}
    if self.positions == 'first':
      cuts.add(1)
    return list(itertools.pairwise(sorted(cuts)))
