"""TimeSformer: attention divided between time and space (arXiv 2102.05095).

  model = timesformer.Model(classes=400, attention='joint')
  variables = model.init(jax.random.key(0), video_BTHWC)
  logits_BK = model.apply(variables, video_BTHWC)

As released in facebookresearch/TimeSformer, whose weights it runs. Where the
paper says otherwise:

* Eq. 11 lets patches look at the class token in time; the release does not
  (`temporal_class_key` does).
* The head is one linear layer; the paper has a perceptron with a hidden layer
  (`head_hidden`).
* In divided attention every frame looks at its own copy of the class token,
  and the copies' updates are averaged over the clip. In the paper there is one
  class token (`class_copies`).

Tokens live on a grid `h_BTHWD`. The class token stays apart from it, as
`cls_BTD`: T = 1 for one token of the clip, T = frames for one token a frame
(space attention).

An attention scheme (Fig. 1) is a few steps a block, each a `StepSpec`. A step
has a norm, queries, keys, values and a projection of its own. All steps of a
block but one have a second projection after that, `fc`. The exception is the
last step over space: with zeros in the `fc` of the others, the block equals an
image ViT's block that looks at the patches of that step. The class token takes
part in every step except time's: a copy of it leads every sequence, and the
updates of the copies are averaged. Without copies it looks at the whole clip.

The sparse and axial schemes, and the orders of the divided one, were never
released. The sizes in the paper's Table 1 fix their layers. They do not fix
where a window ends: `StepSpec.near` says what is chosen here.
"""

import functools
import math
import typing
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidmodels.nn import initializers, position, stack
from vidmodels.nn.linear import (
  CONTEXT,
  Dense,
  keep_rows,
  split_clips,
  spread,
)
from vidmodels.nn.patch import PatchEmbed
from vidmodels.nn.transformer import (
  VIT_SHARDING,
  Attention,
  DropPath,
  Mlp,
  attend,
  gelu,
  split_heads,
)
from vidmodels.nn.video_model import VideoModel
from vidmodels.typing import (
  Count,
  Fraction,
  InputError,
  Positive,
  PositiveFloat,
  Remat,
)

Scheme = Literal[
  'divided', 'space_time', 'parallel', 'joint', 'space', 'local_global', 'axial'
]
Local = Literal['window', 'quadrant']
Sparse = Literal['phase', 'lattice']
AxialOrder = Literal['twh', 'thw', 'wth', 'htw', 'wht', 'hwt']

# The first regex found in a parameter's path says how its axes are split.
SHARDING = (
  *VIT_SHARDING,
  (r'/fc/kernel$', ('fsdp', None)),
  (r'^time_pos/table$', (None, 'fsdp')),  # [T, D]
  (r'^head/kernel$', ('fsdp', None)),  # K seldom divides
  (r'^head/up/kernel$', ('fsdp', 'tensor')),
  (r'^head/down/kernel$', ('tensor', None)),
  (r'^class_(token|pos)$', ()),
)

# A model and a clip (frames, height, width) small enough to try things on.
TINY = {'layers': 2, 'width': 16, 'heads': 2, 'patch': 8}
TINY_CLIP = (4, 16, 24)

# For each field that not all schemes read: the schemes that read it.
READERS = {
  'local': ('local_global',),
  'sparse': ('local_global',),
  'axial_order': ('axial',),
  'axial_identity': ('axial',),
  'temporal_class_key': ('divided', 'space_time', 'parallel', 'axial'),
  'class_copies': (
    'divided',
    'space_time',
    'parallel',
    'local_global',
    'axial',
  ),
}

# Not all schemes read the same fields.
VARIANTS = (
  *(
    {'attention': scheme}
    for scheme in ('space_time', 'parallel', 'joint', 'space')
  ),
  *(
    {'attention': 'local_global', 'local': local, 'sparse': sparse}
    for local in ('window', 'quadrant')
    for sparse in ('phase', 'lattice')
  ),
  *(
    {'attention': 'axial', 'axial_order': order, 'axial_identity': order > 'tw'}
    for order in ('twh', 'thw', 'wth', 'htw', 'wht', 'hwt')
  ),
  *({'temporal_class_key': True, 'attention': a} for a in ('divided', 'axial')),
  {'class_copies': False, 'head_hidden': 12, 'qk_scale': 0.5, 'epsilon': 1e-3},
  {'class_copies': False, 'attention': 'local_global'},
  *({'positions': positions} for positions in ('space', 'none')),
  {'positions': 'space', 'attention': 'joint'},
  *({'pos_resize': method} for method in typing.get_args(position.Resize)[1:]),
  {'fresh': 'scratch'},
  {'qkv_bias': False},
)


def sequences_along(h_BTHWD: jax.Array, axes: str) -> jax.Array:
  """Lays a grid out as sequences along some of its axes, [B, others..., L, D].

  The `axes` are some of 'THW', in that order: 'T' gives [B, H, W, T, D], 'HW'
  [B, T, H * W, D], 'THW' [B, T * H * W, D].
  """
  at = ['BTHWD'.index(axis) for axis in axes]
  h = jnp.moveaxis(h_BTHWD, at, range(4 - len(at), 4))
  return h.reshape(*h.shape[: 4 - len(at)], -1, h.shape[-1])


def grid_from_sequences(
  s_xLD: jax.Array, grid: tuple[int, ...], axes: str
) -> jax.Array:
  """Undoes `sequences_along`; `grid` is the shape [B, T, H, W, D] before.

  The axes before L may be joined, as in [B, H * W, T, D].
  """
  at = ['BTHWD'.index(axis) for axis in axes]
  others = [i for i in range(4) if i not in at]
  h = s_xLD.reshape(*(grid[i] for i in (*others, *at, 4)))
  return jnp.moveaxis(h, range(4 - len(at), 4), at)


def lead_with_class(
  cls_BTD: jax.Array, h_BTHWD: jax.Array, axes: str
) -> jax.Array:
  """Sequences [B, others..., 1 + L, D], each led by its class token."""
  s_xLD = sequences_along(h_BTHWD, axes)
  lead, (B, T, D) = s_xLD.shape[:-2], cls_BTD.shape
  cls = cls_BTD.reshape(B, T, *(1,) * (len(lead) - 1), D)
  cls = jnp.broadcast_to(cls, (*lead, 1, D))
  return jnp.concatenate([cls, s_xLD], axis=-2)


def split_class(
  s_xLD: jax.Array, cls_BTD: jax.Array, h_BTHWD: jax.Array, axes: str
) -> tuple[jax.Array, jax.Array]:
  """Undoes `lead_with_class`, of whose tokens only the shapes are read.

  The copies of a class token are averaged.
  """
  B, T, D = cls_BTD.shape
  copies = s_xLD[..., 0, :].reshape(B, T, -1, D)
  return copies.mean(2), grid_from_sequences(
    s_xLD[..., 1:, :], h_BTHWD.shape, axes
  )


def cut_groups(h_BTHWD: jax.Array, axes: str, strided: bool) -> jax.Array:
  """Cuts some axes of a grid in two each, which parts its tokens into groups.

  A half is one side of its axis, as in quadrants, or every second place, even
  or odd (`strided`). An axis of odd size is padded by one place at its end; an
  axis of size 1 stays whole, so that no group is empty. Returns [B, groups,
  tokens of a group, D].
  """
  h = jnp.pad(h_BTHWD, [(0, fill) for fill in _fill(h_BTHWD.shape, axes)])
  B, *sizes, D = h.shape
  parts = _parts(h_BTHWD.shape, axes)
  pairs = [
    (n // p, p) if strided else (p, n // p)
    for n, p in zip(sizes, parts, strict=True)
  ]
  h = h.reshape(B, *(n for pair in pairs for n in pair), D)
  order = (2, 4, 6, 1, 3, 5) if strided else (1, 3, 5, 2, 4, 6)
  h = h.transpose(0, *order, 7)
  return h.reshape(B, math.prod(parts), -1, D)


def join_groups(
  s_BxLD: jax.Array, grid: tuple[int, ...], axes: str, strided: bool
) -> jax.Array:
  """Undoes `cut_groups`; `grid` is the shape [B, T, H, W, D] of its input."""
  fill, parts = _fill(grid, axes), _parts(grid, axes)
  B, *sizes, D = (n + more for n, more in zip(grid, fill, strict=True))
  rest = [n // p for n, p in zip(sizes, parts, strict=True)]
  h = s_BxLD.reshape(B, *parts, *rest, D)
  order = (4, 1, 5, 2, 6, 3) if strided else (1, 4, 2, 5, 3, 6)
  h = h.transpose(0, *order, 7).reshape(B, *sizes, D)
  return h[tuple(slice(n) for n in grid)]


def groups_with_class(
  cls_BTD: jax.Array, h_BTHWD: jax.Array, axes: str, strided: bool
) -> jax.Array:
  """The groups of `cut_groups`, [B, groups, 1 + tokens, D], class first."""
  s_BxLD = cut_groups(h_BTHWD, axes, strided)
  B, groups, _, D = s_BxLD.shape
  cls = jnp.broadcast_to(cls_BTD[:, None], (B, groups, 1, D))
  return jnp.concatenate([cls, s_BxLD], axis=2)


def split_groups(
  s_BxLD: jax.Array, grid: tuple[int, ...], axes: str, strided: bool
) -> tuple[jax.Array, jax.Array]:
  """Undoes `groups_with_class`: averages the copies of the class token."""
  h_BTHWD = join_groups(s_BxLD[:, :, 1:], grid, axes, strided)
  return s_BxLD[:, :, 0].mean(1, keepdims=True), h_BTHWD


def real_keys(grid: tuple[int, ...], axes: str, strided: bool) -> jax.Array:
  """Which keys of `groups_with_class` are no padding, [groups, 1, 1 + L]."""
  ones = jnp.ones((1, *grid[1:4], 1), bool)
  cls = jnp.ones((1, 1, 1), bool)
  return groups_with_class(cls, ones, axes, strided)[0, ..., 0][:, None]


def _parts(grid: tuple[int, ...], axes: str) -> list[int]:
  """Into how many parts each of T, H and W is cut."""
  names = zip('THW', grid[1:4], strict=True)
  return [2 if name in axes and size > 1 else 1 for name, size in names]


def _fill(grid: tuple[int, ...], axes: str) -> list[int]:
  """Places to pad each axis of BTHWD with, so that it is cut evenly."""
  parts = [1, *_parts(grid, axes), 1]
  return [-size % part for size, part in zip(grid, parts, strict=True)]


# How a step parts its patches into groups: axes, and whether strided.
CUTS = {'quadrant': ('HW', False), 'phase': ('THW', True)}


def window_blocks(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Cuts an axis into blocks of queries, each with the keys near any of them.

  A place looks `size` // 4 places to either side. A block has half as many
  queries: larger ones have fewer keys twice, smaller ones have fewer keys that
  the mask hides. (8 frames of 14 x 14 patches, float32, on two cores: forward
  and backward take 1.4 s with blocks of 2, 2.1 s as one masked product, 3.9 s
  with blocks of 1.)

  Returns int [blocks, Q], where places after the last repeat it, int [blocks,
  S], and bool [blocks, Q, S]: which keys are near.
  """
  reach = size // 4
  block = max(1, (reach + 1) // 2)
  span = min(size, block + 2 * reach)
  first = np.arange(0, size, block)[:, None]
  queries = np.minimum(first + np.arange(block), size - 1)
  keys = np.clip(first - reach, 0, size - span) + np.arange(span)
  return queries, keys, abs(queries[:, :, None] - keys[:, None]) <= reach


def cut_blocks(
  h_BTHWD: jax.Array, rows: np.ndarray, columns: np.ndarray
) -> jax.Array:
  """The tokens of each block of rows and columns, [B, blocks, tokens, D]."""
  h = h_BTHWD[:, :, rows][:, :, :, :, columns]  # B, T, blocks, H, blocks, W, D
  h = h.transpose(0, 2, 4, 1, 3, 5, 6)
  return h.reshape(h.shape[0], len(rows) * len(columns), -1, h.shape[-1])


def look_in_windows(
  q_BTHWAd: jax.Array, k_BSAd: jax.Array, v_BSAd: jax.Array
) -> jax.Array:
  """What patches see in the windows of `StepSpec.near`, [B, T * H * W, A, d].

  Keys and values are those of the class token and of all patches.
  """
  B, T, H, W, A, d = q_BTHWAd.shape
  (rows, row_keys, row_near), (columns, column_keys, column_near) = map(
    window_blocks, (H, W)
  )
  q_BxQD = cut_blocks(q_BTHWAd.reshape(B, T, H, W, -1), rows, columns)
  blocks, Q = q_BxQD.shape[1:3]

  def near_keys(z_BSAd: jax.Array) -> jax.Array:
    z_BSD = z_BSAd.reshape(B, -1, A * d)
    z_BTHWD = z_BSD[:, 1:].reshape(B, T, H, W, -1)
    near_BxSD = cut_blocks(z_BTHWD, row_keys, column_keys)
    cls_Bx1D = jnp.broadcast_to(z_BSD[:, None, :1], (B, blocks, 1, A * d))
    z_BxSD = jnp.concatenate([cls_Bx1D, near_BxSD], axis=2)
    return z_BxSD.reshape(B, blocks, -1, A, d)

  mask_xQS = _window_mask(T, row_near, column_near).reshape(blocks, Q, -1)
  mask_xQS = jnp.pad(mask_xQS, ((0, 0), (0, 0), (1, 0)), constant_values=True)
  y = attend(
    q_BxQD.reshape(B, blocks, Q, A, d),
    near_keys(k_BSAd),
    near_keys(v_BSAd),
    mask_xQS,
  )
  y = y.reshape(B, len(rows), len(columns), T, rows[0].size, -1, A, d)
  y = y.transpose(0, 3, 1, 4, 2, 5, 6, 7)
  y = y.reshape(B, T, rows.size, columns.size, A, d)
  return y[:, :, :H, :W].reshape(B, -1, A, d)


def _window_mask(
  T: int, row_near: np.ndarray, column_near: np.ndarray
) -> jax.Array:
  """Which keys of each block are near in row and column, in any frame.

  Axes: blocks of rows, of columns; T, H, W of queries; T, H, W of keys.
  """
  near_row = row_near[:, None, None, :, None, None, :, None]
  near_column = column_near[None, :, None, None, :, None, None, :]
  # Small until it is broadcast, in the program.
  near = jnp.asarray(near_row & near_column)
  shape = list(near.shape)
  shape[2] = shape[5] = T
  return jnp.broadcast_to(near, shape)


def look_in_sequences(
  q_BTHWAd: jax.Array, k_BSAd: jax.Array, v_BSAd: jax.Array, look: 'StepSpec'
) -> jax.Array:
  """What patches see in sequences or groups, [B, T * H * W, A, d].

  Keys and values are those of the class token and of all patches.
  """
  B, *grid, A, d = q_BTHWAd.shape
  shape, cut = (B, *grid, A * d), CUTS.get(look.near)

  def lay_out(z_BSAd: jax.Array) -> jax.Array:
    z_BSD = z_BSAd.reshape(B, -1, A * d)
    cls_B1D, z_BTHWD = z_BSD[:, :1], z_BSD[:, 1:].reshape(shape)
    if cut:
      return groups_with_class(cls_B1D, z_BTHWD, *cut)
    return lead_with_class(cls_B1D, z_BTHWD, look.axes)

  q_BTHWD = q_BTHWAd.reshape(shape)
  q_xQD = (
    cut_groups(q_BTHWD, *cut) if cut else sequences_along(q_BTHWD, look.axes)
  )
  q_xQAd, k_xSAd, v_xSAd = (
    z.reshape(*z.shape[:-1], A, d)
    for z in (q_xQD, lay_out(k_BSAd), lay_out(v_BSAd))
  )
  mask_xQS = _padding_mask(shape, look.near) if cut else None
  y = attend(q_xQAd, k_xSAd, v_xSAd, mask_xQS)
  y = y.reshape(q_xQD.shape)
  if cut:
    y = join_groups(y, shape, *cut)
  else:
    y = grid_from_sequences(y, shape, look.axes)
  return y.reshape(B, -1, A, d)


def look_apart(
  q_BLAd: jax.Array,
  k_BLAd: jax.Array,
  v_BLAd: jax.Array,
  *,
  grid: tuple[int, ...],
  look: 'StepSpec',
) -> jax.Array:
  """The class token, first of the clip's tokens, looks at all; patches as told.

  `grid` is T, H, W.
  """
  q_BTHWAd = q_BLAd[:, 1:].reshape(-1, *grid, *q_BLAd.shape[-2:])
  if look.near == 'window':
    patches_BLAd = look_in_windows(q_BTHWAd, k_BLAd, v_BLAd)
  else:
    patches_BLAd = look_in_sequences(q_BTHWAd, k_BLAd, v_BLAd, look)
  cls_B1Ad = attend(q_BLAd[:, :1], k_BLAd, v_BLAd)
  return jnp.concatenate([cls_B1Ad, patches_BLAd], axis=1)


# A variance taken around the mean as torch does, not as E[x^2] - E[x]^2.
LayerNorm = functools.partial(nn.LayerNorm, use_fast_variance=False)


class StepSpec(NamedTuple):
  """One attention step of a block.

  Attributes:
    name: name of its submodule.
    axes: the axes that a patch looks along, some of 'THW'.
    fc: the projection after the attention: '' for none, 'fresh' to start as the
      model's `fresh` says, 'identity' to start as the identity.
    near: which of the patches along the axes it looks at; '' all of them. In a
      clip of frames of H x W patches:
      'window': the |dy| <= H // 4 and |dx| <= W // 4 around it in all frames,
        fewer at a border: 7 x 7 of 14 x 14.
      'quadrant': the quarter of the frame it lies in, in all frames.
      'phase': every second along T, H and W, starting from itself.
      'lattice': those at even t, y and x, whatever its own place.
  """

  name: str
  axes: str
  fc: str = ''
  near: str = ''

  @property
  def has_copies(self) -> bool:
    """Whether several sequences of a clip are led by copies of a token."""
    return self.near in CUTS or self.axes in ('H', 'W', 'HW')


TIME, SPACE = StepSpec('time', 'T', 'fresh'), StepSpec('space', 'HW')

AXES = {'t': ('time', 'T'), 'w': ('width', 'W'), 'h': ('height', 'H')}


def attention_steps(
  scheme: Scheme,
  *,
  local: Local = 'window',
  sparse: Sparse = 'phase',
  axial_order: AxialOrder = 'twh',
  axial_identity: bool = False,
) -> tuple[StepSpec, ...]:
  """The attention steps of a block, in order; fields are those of `Model`.

  'parallel' has the steps of 'divided', side by side.
  """
  if scheme == 'axial':
    plain = axial_order.replace('t', '')[-1]
    first = 'identity' if axial_identity else 'fresh'
    kinds = {'t': 'fresh', 'w': first, 'h': first, plain: ''}
    return tuple(StepSpec(*AXES[axis], kinds[axis]) for axis in axial_order)
  return {
    'divided': (TIME, SPACE),
    'space_time': (SPACE, TIME),
    'parallel': (TIME, SPACE),
    'joint': (StepSpec('joint', 'THW'),),
    'space': (SPACE,),
    'local_global': (
      StepSpec('local', 'THW', 'fresh', local),
      StepSpec('global', 'THW', '', sparse),
    ),
  }[scheme]


class AttentionStep(nn.Module):
  """Eqs. 2-8: what one step of attention adds; the caller adds the residual.

  Along 'THW' this is Eq. 5, along 'HW' Eq. 6, along 'T' Eq. 11. In time the
  release leaves the class token out of the keys.
  """

  look: StepSpec  # which patches it looks at
  # Whether patches look at the class token in time, as in Eq. 11.
  class_key: bool
  # Whether a copy of the class token leads every sequence and looks at it alone
  class_copies: bool
  fresh: initializers.Fresh  # how weights are drawn
  heads: int  # attention heads
  qkv_bias: bool  # whether queries, keys and values have biases
  qk_scale: float  # what scores are multiplied by; 0 for d ** -0.5
  epsilon: float  # of the norm
  # Chance that a sequence is dropped. The `fc` comes after that, so a dropped
  # sequence still gets its bias, as released.
  drop_path: float
  dtype: Any  # compute dtype

  @nn.compact
  def __call__(
    self, cls_BTD: jax.Array, h_BTHWD: jax.Array, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Returns what the class token gains and what the grid gains."""
    shape, axes, cut = h_BTHWD.shape, self.look.axes, CUTS.get(self.look.near)
    apart = self.look.near == 'window'
    if not self.class_copies and self.look.has_copies:
      apart, axes, cut = True, 'THW', None
    norm = LayerNorm(self.epsilon, dtype=self.dtype, name='norm')
    memory = None
    if axes == 'T':
      s_xLD = sequences_along(keep_rows(norm(h_BTHWD)), 'T')
      if CONTEXT in jax.sharding.get_abstract_mesh().shape:
        # A device swaps its frames for some of the places: [B, H * W, T, D].
        # They swap in this layout: 49 of 14 x 14 places are no rectangle, and
        # XLA would gather them all.
        s_xLD = s_xLD.reshape(len(h_BTHWD), -1, *s_xLD.shape[-2:])
        s_xLD = split_clips(s_xLD, axis=2)
      if self.class_key:
        memory = norm(cls_BTD)[:, *(None,) * (s_xLD.ndim - 3)]
    elif cut:
      s_xLD = norm(groups_with_class(cls_BTD, h_BTHWD, *cut))
    else:
      s_xLD = norm(lead_with_class(cls_BTD, h_BTHWD, axes))
    s_xLD = Attention(
      self.heads,
      qkv_bias=self.qkv_bias,
      scale=self.qk_scale,
      mix=_lattice(shape) if self.look.near == 'lattice' else None,
      look=functools.partial(look_apart, grid=shape[1:4], look=self.look)
      if apart
      else None,
      dtype=self.dtype,
      kernel_init=self.fresh.kernel,
      name='attn',
    )(s_xLD, memory, self._mask(shape, apart))
    s_xLD = DropPath(self.drop_path, name='drop')(s_xLD, train)
    if self.look.fc:
      starts = {'fresh': self.fresh.fc, 'identity': initializers.identity}
      s_xLD = Dense(
        s_xLD.shape[-1],
        dtype=self.dtype,
        kernel_init=starts[self.look.fc],
        name='fc',
      )(s_xLD)
    if axes == 'T':
      if s_xLD.ndim == 4:
        s_xLD = split_clips(s_xLD, axis=2)
      more_BTHWD = grid_from_sequences(s_xLD, shape, 'T')
      return jnp.zeros_like(cls_BTD), keep_rows(more_BTHWD)
    if cut:
      return split_groups(s_xLD, shape, *cut)
    return split_class(s_xLD, cls_BTD, h_BTHWD, axes)

  def _mask(self, shape: tuple[int, ...], apart: bool) -> jax.Array | None:
    """Which tokens of a sequence a token may look at; None for all."""
    if apart:
      # `look_apart` leaves out the others: only weights on request read a mask.
      wanted = self.is_mutable_collection('intermediates')
      return near_mask(shape[1:4], self.look) if wanted else None
    near = self.look.near
    return _padding_mask(shape, near) if near in CUTS else None


class SpaceTimeBlock(nn.Module):
  """Fig. 1: the attention steps of one scheme, then Eq. 9's perceptron.

  The perceptron's output is added to the output of attention; Eq. 9 as printed
  adds it to itself.

  On request (collection 'intermediates') it sows {'cls', 'patches'} as 'after'.
  """

  # what each step looks at; submodules have the steps' names
  steps: tuple[StepSpec, ...]
  # Whether all steps read the block's input, instead of each the output of the
  # one before
  parallel: bool
  # class_key, class_copies, fresh, heads, qkv_bias, qk_scale, epsilon, dtype:
  # as for an `AttentionStep`.
  class_key: bool
  class_copies: bool
  fresh: initializers.Fresh
  heads: int
  hidden: int  # units of the perceptron
  qkv_bias: bool
  qk_scale: float
  epsilon: float
  drop_path: float  # chance of this block's depth, for every branch
  dtype: Any

  @nn.compact
  def __call__(
    self, cls_BTD: jax.Array, h_BTHWD: jax.Array, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the class token and the grid, both updated."""
    cls_BTD = checkpoint_name(cls_BTD, stack.INPUT)
    h_BTHWD = checkpoint_name(keep_rows(h_BTHWD), stack.INPUT)
    given = cls_BTD, h_BTHWD
    for look in self.steps:
      read = given if self.parallel else (cls_BTD, h_BTHWD)
      more_BTD, more_BTHWD = AttentionStep(
        look=look,
        class_key=self.class_key,
        class_copies=self.class_copies,
        fresh=self.fresh,
        heads=self.heads,
        qkv_bias=self.qkv_bias,
        qk_scale=self.qk_scale,
        epsilon=self.epsilon,
        drop_path=self.drop_path,
        dtype=self.dtype,
        name=look.name,
      )(*read, train)
      cls_BTD, h_BTHWD = cls_BTD + more_BTD, h_BTHWD + more_BTHWD
    # Drop path keeps or drops a class token together with all its patches.
    axes, shared = 'HW' if cls_BTD.shape[1] == h_BTHWD.shape[1] else 'THW', 2
    if axes == 'THW' and CONTEXT in jax.sharding.get_abstract_mesh().shape:
      axes, shared = 'HW', 3  # with a copy a frame: a device has some frames
    s_xLD = lead_with_class(cls_BTD, h_BTHWD, axes)
    s_xLD = LayerNorm(self.epsilon, dtype=self.dtype, name='mlp_norm')(s_xLD)
    s_xLD = Mlp(
      self.hidden, dtype=self.dtype, kernel_init=self.fresh.kernel, name='mlp'
    )(s_xLD)
    s_xLD = DropPath(self.drop_path, shared, name='mlp_drop')(s_xLD, train)
    more_BTD, more_BTHWD = split_class(s_xLD, cls_BTD, h_BTHWD, axes)
    cls_BTD, h_BTHWD = cls_BTD + more_BTD, h_BTHWD + more_BTHWD
    tokens = {'cls': cls_BTD, 'patches': h_BTHWD}
    self.sow('intermediates', 'after', tokens)
    return cls_BTD, h_BTHWD


def _padding_mask(shape: tuple[int, ...], near: str) -> jax.Array | None:
  """Which keys of each group of a step are no padding; None if all are."""
  axes = CUTS[near][0]
  sizes = dict(zip('THW', shape[1:4], strict=True))
  # Only a cut axis of odd size has padding, which must not be looked at.
  if any(sizes[axis] % 2 and sizes[axis] > 1 for axis in axes):
    return real_keys(shape, *CUTS[near])
  return None


def near_mask(grid: tuple[int, ...], look: StepSpec) -> jax.Array:
  """Whom each token of a clip looks at in `look_apart`, [1 + T H W, 1 + T H W].

  Computed in the program: as a constant it would be 150 MB at 16 frames of 448
  pixels.
  """
  place, (_, H, W) = jnp.arange(math.prod(grid)), grid
  near = jnp.ones((place.size, place.size), bool)
  places = place // (H * W), place // W % H, place % W
  for axis, size, at in zip('THW', grid, places, strict=True):
    if look.near == 'window' and axis != 'T':
      near &= abs(at[:, None] - at) <= size // 4
    if look.near in CUTS:
      cut, strided = CUTS[look.near]
      at = at % 2 if strided else at // -(-size // 2)
      near &= (at[:, None] == at) | (axis not in cut)
    elif axis not in look.axes:
      near &= at[:, None] == at
  return jnp.pad(near, ((1, 0), (1, 0)), constant_values=True)


def _lattice(shape: tuple[int, ...]):
  """Keeps the keys and values of the class token and of even places only."""
  _, T, H, W, _ = shape
  t, y, x = np.indices((T, H, W)).reshape(3, -1)
  even = np.flatnonzero((t % 2 == 0) & (y % 2 == 0) & (x % 2 == 0))
  kept = np.concatenate([[0], 1 + even])
  return lambda k, v: (k[..., kept, :, :], v[..., kept, :, :])


class HiddenHead(nn.Module):
  """Section 3's "1-hidden-layer MLP": W2 gelu(W1 y + b1) + b2, in float32.

  The activation is that of the blocks; the paper does not name one.
  """

  classes: int  # K
  hidden: int  # units of the hidden layer
  kernel_init: Any  # draws both kernels

  @nn.compact
  def __call__(self, y_BD: jax.Array) -> jax.Array:
    """Returns logits_BK."""
    dense = functools.partial(Dense, kernel_init=self.kernel_init)
    y_BF = gelu(dense(self.hidden, name='up')(y_BD))
    return dense(self.classes, name='down')(y_BF)


class Model(VideoModel):
  """TimeSformer: patches and positions, blocks, one linear layer (Eqs. 1-10).

  Takes any number of frames, and frames of any size that divides into patches.
  Defaults are TimeSformer-B as released. Position tables keep the size of the
  clip that a model was initialised with, or of the weights given to it.

  On request (collection 'intermediates') it sows {'cls', 'patches'} as
  'after_embedding' and, within every block, as 'after'; the class feature as
  'after_norm'; and every step's attention weights.
  """

  layers: Count = 12  # blocks
  width: Positive = 768  # token width, D
  heads: Positive = 12  # attention heads, A; must divide the width
  mlp_ratio: PositiveFloat = 4.0  # units of a perceptron over the width
  patch: Positive = 16  # edge of a patch in pixels, P
  # What a patch looks at. 'divided': its own place in all frames, then its own
  # frame. 'space_time': the other way round. 'parallel': both at once. 'joint':
  # the whole clip. 'space': its own frame only, so the answer does not depend
  # on the order of frames. 'local_global': what is near, then every second
  # patch. 'axial': one axis after the other.
  attention: Scheme = 'divided'
  # which patches 'local_global' looks at first, see `StepSpec.near`
  local: Local = 'window'
  sparse: Sparse = 'phase'  # which patches 'local_global' looks at second
  # order of the steps of 'axial'; 'twh' as the paper names it
  axial_order: AxialOrder = 'twh'
  # Whether the first axis of space starts with the identity behind it, so that
  # a model with an image ViT's weights looks along both axes from the start;
  # otherwise only along the second
  axial_identity: bool = False
  # Whether patches look at the class token in time, as in Eq. 11 and unlike the
  # release.
  temporal_class_key: bool = False
  # Whether every sequence, such as a frame in divided attention, has a copy of
  # the class token, and the copies' updates are averaged, as released. Without,
  # the one class token of the paper looks at all patches of the clip at once.
  class_copies: bool = True
  # Units of the hidden layer of the head, as the paper has one (it does not say
  # how many); 0 for one linear layer, as released
  head_hidden: Count = 0
  # Which tables are learned. Space attention never has a time table, so there
  # 'space_time' is 'space', as released.
  positions: Literal['space_time', 'space', 'none'] = 'space_time'
  # How a table fits another grid or clip length, at every call: 'nearest' as
  # released, or another way of nn/position. The release skips the resize when
  # only the number of patches agrees (7 x 28 for 14 x 14) and so scrambles
  # positions; we do not. Its 448-pixel models started from a table scrambled
  # otherwise, which is 'nearest_1d_flat'.
  pos_resize: position.Resize = 'nearest'
  # chance of the last block; it rises linearly from 0 at the first
  drop_path: Fraction = 0.1
  qkv_bias: bool = True  # as in the release; False for weights trained without
  # What attention scores are multiplied by, the authors' `qk_scale`; 0 for the
  # usual 1 / sqrt(width of a head), as in every published model
  qk_scale: Fraction = 0.0
  # Epsilon of all norms, as published; the authors' constructor has 1e-5 where
  # it is not given another
  epsilon: PositiveFloat = 1e-6
  # How weights that are not imported are drawn: 'image' as released, to start
  # from an image ViT; 'scratch' to train from random weights
  fresh: Literal['image', 'scratch'] = 'image'
  # what blocks keep for the backward pass; the rest is computed again
  remat: Remat = 'none'
  # run the blocks as one scan over their parameters, to compile faster
  scan: bool = False

  def __post_init__(self):
    """Refuses fields without effect, and heads that do not divide the width."""
    super().__post_init__()
    split_heads(self.width, self.heads)
    self.check_read('attention', READERS)
    if self.positions == 'none' and self.pos_resize != 'nearest':
      raise InputError(
        f'got pos_resize={self.pos_resize!r} with positions=none, which has no '
        'table to resize; expected positions=space_time or space; try leaving '
        'pos_resize out'
      )
    if not self.class_copies and not any(s.has_copies for s in self.steps()):
      raise InputError(
        f'got class_copies=False with local={self.local!r} and '
        f'sparse={self.sparse!r}, where there are no copies; expected True; '
        'try leaving class_copies out'
      )

  @nn.nowrap
  def steps(self) -> tuple[StepSpec, ...]:
    """What each attention step of a block looks at."""
    return attention_steps(
      self.attention,
      local=self.local,
      sparse=self.sparse,
      axial_order=self.axial_order,
      axial_identity=self.axial_identity,
    )

  @nn.nowrap
  def sizes_to_split(self, clip: tuple[int, int, int]) -> dict[str, int]:
    """What a mesh may split over 'context': frames, and places in time's steps.

    Raises InputError for a scheme that looks along both at once.
    """
    steps = self.steps()
    if any(look.axes == 'THW' for look in steps) or not self.class_copies:
      raise InputError(
        f'got mesh.context above 1 with attention={self.attention!r} and '
        f'class_copies={self.class_copies}, where tokens look at all frames '
        "and places at once; expected 'divided', 'space_time', 'parallel', "
        "'axial' or 'space' with class_copies=True; try mesh.fsdp, mesh.tensor "
        'or model.remat=block'
      )
    frames, height, width = clip
    sizes = {'frames': frames}
    if any(look.axes == 'T' for look in steps):
      places = (height // self.patch) * (width // self.patch)
      sizes['places of a frame'] = places
    return sizes

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    block = stack.remat(SpaceTimeBlock, self.remat, train_at=3)
    self.patch_embed = PatchEmbed(
      self.width, self.patch, dtype=self.dtype, name='patch'
    )
    fresh = initializers.FRESH[self.fresh]
    self.class_token = self.param(
      'class_token', initializers.normal_02, (self.width,)
    )
    if self.positions != 'none':
      self.class_pos = self.param(
        'class_pos', initializers.normal_02, (self.width,)
      )
      self.space_pos = position.Table(fresh.space_table)
      self.time_pos = position.Table(fresh.time_table)
    self.blocks = [
      block(
        steps=self.steps(),
        parallel=self.attention == 'parallel',
        class_key=self.temporal_class_key,
        class_copies=self.class_copies,
        fresh=fresh,
        heads=self.heads,
        hidden=round(self.width * self.mlp_ratio),
        qkv_bias=self.qkv_bias,
        qk_scale=self.qk_scale,
        epsilon=self.epsilon,
        drop_path=float(rate),
        dtype=self.dtype,
        name=f'block_{i}',
      )
      for i, rate in enumerate(np.linspace(0, self.drop_path, self.layers))
    ]
    self.norm = LayerNorm(self.epsilon, dtype=jnp.float32)
    self.head = (
      HiddenHead(self.classes, self.head_hidden, fresh.kernel)
      if self.head_hidden
      else Dense(self.classes, dtype=jnp.float32, kernel_init=fresh.kernel)
    )

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Eq. 10: the class token after the last norm, [B, D] float32."""
    cls_BTD, h_BTHWD = self.embed(video_BTHWC)
    tokens = {'cls': cls_BTD, 'patches': h_BTHWD}
    self.sow('intermediates', 'after_embedding', tokens)
    cls_BTD, _ = stack.run(
      self.blocks,
      (cls_BTD, h_BTHWD),
      train=train,
      scan=self.scan,
      policy=self.remat,
    )
    # Space attention has a class token a frame: averaged before the norm, so
    # this is not the mean of what the frames would answer.
    y_BD = self.norm(cls_BTD.astype(jnp.float32).mean(1))
    self.sow('intermediates', 'after_norm', y_BD)
    return y_BD

  def embed(self, video_BTHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eq. 1: the class token and the patches, with their positions.

    The class token has a row of its own in the space table and none in time.
    """
    h_BTHWD = self.patch_embed(video_BTHWC)
    B, T, *_, D = h_BTHWD.shape
    cls_D = self.class_token
    if self.positions != 'none':
      cls_D = cls_D + self.class_pos
      h_BTHWD = position.add_places(h_BTHWD, self.space_pos, self.pos_resize)
    if self.positions == 'space_time' and self.attention != 'space':
      pos_TD = position.fit_axis(self.time_pos(T, D), T, self.pos_resize)
      h_BTHWD = h_BTHWD + spread(
        pos_TD[:, None, None], h_BTHWD.shape, self.dtype
      )
    copies = T if self.attention == 'space' else 1
    return spread(cls_D, (B, copies, D), self.dtype), h_BTHWD
