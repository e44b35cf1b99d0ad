"""Which patches look at which: the attention schemes of TimeSformer's Fig. 1.

A scheme is a few steps a block (`Look`). A step has a norm, queries, keys,
values and a projection of its own; all but one of a block's steps have a second
projection after that, `fc`. That one is the last over space, so that zeros in
the others' `fc` leave an image ViT's block, looking at that step's patches.

The class token takes part in every step but time's: a copy of it leads every
sequence, and what the copies learn is averaged. The sparse and axial schemes,
and the orders of the divided one, were never released. The paper's figures of
their size (its Table 1) fix the layers; where a window ends does not follow
from them, and so is a choice here: `steps` names it.
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.nn import grid, initializers
from vidmodels.nn.attention import Attention
from vidmodels.nn.drop import DropPath
from vidmodels.nn.mlp import Mlp

Scheme = Literal[
  'divided',
  'space_time',
  'parallel',
  'joint',
  'space',
  'local_global',
  'axial',
]
Local = Literal['window', 'quadrant']
Sparse = Literal['phase', 'lattice']
AxialOrder = Literal['twh', 'thw', 'wth', 'htw', 'wht', 'hwt']

# How a step's patches are parted into groups: axes, and whether by turns.
CUTS = {'quadrant': ('HW', False), 'phase': ('THW', True)}

# The release's epsilon (Flax has the same, torch 1e-5), and a variance taken
# around the mean as torch does, not as E[x^2] - E[x]^2.
LayerNorm = functools.partial(
  nn.LayerNorm, epsilon=1e-6, use_fast_variance=False
)


class StepSpec(NamedTuple):
  """One attention step of a block.

  Attributes:
    name: of its submodule.
    axes: those that a patch looks along, of 'THW'.
    fc: whether a projection follows, and how it starts: '' none, 'fresh' as
      the model says, 'identity' as what it is given.
    near: which of the patches along the axes it looks at; '' all of them. In a
      clip of frames of H x W patches:
      'window': the |dy| <= H // 4 and |dx| <= W // 4 around it in all frames,
        fewer at a border: 7 x 7 of 14 x 14. By mask, at the price of all.
      'quadrant': the quarter of the frame it lies in, in all frames.
      'phase': every second along T, H and W, starting from itself.
      'lattice': those at even t, y and x, whatever its own place.
  """

  name: str
  axes: str
  fc: str = ''
  near: str = ''


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
  """The attention steps of a block, in order.

  Args:
    scheme: 'parallel' has the steps of 'divided', side by side.
    local: what 'local_global' looks at first, a `Look.near`.
    sparse: what 'local_global' looks at second.
    axial_order: of the steps of 'axial'.
    axial_identity: whether the `fc` after the first axis of space starts as
      the identity: then a fresh model looks along both.
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
  """Eqs. 2-8: what attention adds, its residual being the caller's.

  Along 'THW' it is Eq. 5, along 'HW' Eq. 6, along 'T' Eq. 11, where the release
  leaves the class token out of the keys.

  Attributes:
    look: at which patches.
    class_key: whether patches look at the class token in time, as in Eq. 11.
    fresh: how weights are drawn.
    heads: attention heads.
    qkv_bias: whether queries, keys and values have biases.
    drop_path: chance that a sequence gets nothing. The `fc` comes after it, so
      a dropped sequence still gets its bias, as released.
    dtype: of the computation.
  """

  look: StepSpec
  class_key: bool
  fresh: initializers.Fresh
  heads: int
  qkv_bias: bool
  drop_path: float
  dtype: Any

  @nn.compact
  def __call__(
    self, cls_BTD: jax.Array, h_BTHWD: jax.Array, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Returns what the class token gains and what the grid gains."""
    shape, only_time = h_BTHWD.shape, self.look.axes == 'T'
    norm = LayerNorm(dtype=self.dtype, name='norm')
    if only_time:
      s_xLD, memory = norm(grid.sequences_along(h_BTHWD, 'T')), None
      if self.class_key:
        memory = norm(cls_BTD)[:, None, None]
    else:
      s_xLD, memory = norm(_sequences(cls_BTD, h_BTHWD, self.look)), None
    s_xLD = Attention(
      self.heads,
      qkv_bias=self.qkv_bias,
      mix=_lattice(shape) if self.look.near == 'lattice' else None,
      dtype=self.dtype,
      kernel_init=self.fresh.kernel,
      name='attn',
    )(s_xLD, memory, _mask(shape, self.look))
    s_xLD = DropPath(self.drop_path, name='drop')(s_xLD, train)
    if self.look.fc:
      starts = {'fresh': self.fresh.fc, 'identity': initializers.identity}
      s_xLD = nn.Dense(
        s_xLD.shape[-1],
        dtype=self.dtype,
        kernel_init=starts[self.look.fc],
        name='fc',
      )(s_xLD)
    if only_time:
      return jnp.zeros_like(cls_BTD), grid.grid_from_sequences(s_xLD, shape, 'T')
    return _tokens(s_xLD, cls_BTD, h_BTHWD, self.look)


class SpaceTimeBlock(nn.Module):
  """Fig. 1: the attention steps of one scheme, then Eq. 9's perceptron.

  The perceptron adds to what attention made of a token; Eq. 9 as printed adds
  to itself.

  On request (collection 'intermediates') it sows {'cls', 'patches'} as 'after'.

  Attributes:
    steps: what each step looks at; submodules have the steps' names.
    parallel: whether all steps read what the block was given, and not each
      what the one before made.
    hidden: units of the perceptron.
    drop_path: chance of this block's depth, for every branch.
    class_key, fresh, heads, qkv_bias, dtype: as of a `Step`.
  """

  steps: tuple[StepSpec, ...]
  parallel: bool
  class_key: bool
  fresh: initializers.Fresh
  heads: int
  hidden: int
  qkv_bias: bool
  drop_path: float
  dtype: Any

  @nn.compact
  def __call__(
    self, cls_BTD: jax.Array, h_BTHWD: jax.Array, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the class token and the grid, both updated."""
    given = cls_BTD, h_BTHWD
    for look in self.steps:
      read = given if self.parallel else (cls_BTD, h_BTHWD)
      more_BTD, more_BTHWD = AttentionStep(
        look=look,
        class_key=self.class_key,
        fresh=self.fresh,
        heads=self.heads,
        qkv_bias=self.qkv_bias,
        drop_path=self.drop_path,
        dtype=self.dtype,
        name=look.name,
      )(*read, train)
      cls_BTD, h_BTHWD = cls_BTD + more_BTD, h_BTHWD + more_BTHWD
    more_BTD, more_BTHWD = self._perceptron(cls_BTD, h_BTHWD, train)
    cls_BTD, h_BTHWD = cls_BTD + more_BTD, h_BTHWD + more_BTHWD
    tokens = {'cls': cls_BTD, 'patches': h_BTHWD}
    self.sow('intermediates', 'after', tokens)
    return cls_BTD, h_BTHWD

  def _perceptron(
    self, cls_BTD: jax.Array, h_BTHWD: jax.Array, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """What the perceptron adds to either."""
    # Drop path keeps or drops a class token with all the patches it is for.
    axes = 'HW' if cls_BTD.shape[1] == h_BTHWD.shape[1] else 'THW'
    s_xLD = grid.lead_with_class(cls_BTD, h_BTHWD, axes)
    s_xLD = LayerNorm(dtype=self.dtype, name='mlp_norm')(s_xLD)
    s_xLD = Mlp(
      self.hidden,
      dtype=self.dtype,
      kernel_init=self.fresh.kernel,
      name='mlp',
    )(s_xLD)
    s_xLD = DropPath(self.drop_path, name='mlp_drop')(s_xLD, train)
    return grid.split_class(s_xLD, cls_BTD, h_BTHWD, axes)


def _sequences(cls_BTD: jax.Array, h_BTHWD: jax.Array, look: StepSpec) -> jax.Array:
  """Lays tokens out so that attention within a sequence is the step's."""
  if look.near in CUTS:
    return grid.groups_with_class(cls_BTD, h_BTHWD, *CUTS[look.near])
  return grid.lead_with_class(cls_BTD, h_BTHWD, look.axes)


def _tokens(
  s_xLD: jax.Array, cls_BTD: jax.Array, h_BTHWD: jax.Array, look: StepSpec
) -> tuple[jax.Array, jax.Array]:
  """Undoes `_sequences`."""
  if look.near in CUTS:
    return grid.split_groups(s_xLD, h_BTHWD.shape, *CUTS[look.near])
  return grid.split_class(s_xLD, cls_BTD, h_BTHWD, look.axes)


def _mask(shape: tuple[int, ...], look: StepSpec) -> jax.Array | None:
  """Which tokens of a sequence a token may look at; None for all."""
  _, T, H, W, _ = shape
  if look.near == 'window':
    return _window(T, H, W)
  if look.near in CUTS:
    axes = CUTS[look.near][0]
    sizes = dict(zip('THW', (T, H, W), strict=True))
    # Only a cut axis of odd size has filling, which nobody may look at.
    if any(sizes[axis] % 2 and sizes[axis] > 1 for axis in axes):
      return grid.real_keys(shape, *CUTS[look.near])
  return None


def _window(T: int, H: int, W: int) -> jax.Array:
  """[1 + T H W, 1 + T H W]: near each other in the frame, or a class token.

  Made while running: as a constant it would be 150 MB at 16 frames of 448.
  """
  place = jnp.arange(T * H * W)
  y, x = place // W % H, place % W
  near = abs(y[:, None] - y) <= H // 4
  near &= abs(x[:, None] - x) <= W // 4
  return jnp.pad(near, ((1, 0), (1, 0)), constant_values=True)


def _lattice(shape: tuple[int, ...]):
  """Leaves the keys and values of the class token and of even places."""
  _, T, H, W, _ = shape
  t, y, x = np.indices((T, H, W)).reshape(3, -1)
  even = np.flatnonzero((t % 2 == 0) & (y % 2 == 0) & (x % 2 == 0))
  kept = np.concatenate([[0], 1 + even])
  return lambda k, v: (k[..., kept, :, :], v[..., kept, :, :])
