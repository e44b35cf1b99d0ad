"""Stages of levels: attention in windows or to the whole clip, then an MLP.
DualFormer and its image parent Twins-SVT are built of them. A level is one
attention and one perceptron. A block is one round of the stage's pattern; in
the paper that is local, then global ('LG').
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidmodels.nn import initializers, position, stack, window
from vidmodels.nn.depthwise import DepthwiseConv, Implementation
from vidmodels.nn.linear import keep_rows, spread
from vidmodels.nn.patch import PatchEmbed
from vidmodels.nn.pyramid import Pooling, PyramidAttention, PyramidKernels
from vidmodels.nn.transformer import (
  Attention,
  DropPath,
  LayerNorm,
  Mlp,
  split_heads,
)
from vidmodels.nn.window import Grid
from vidmodels.typing import InputError

# How a mesh splits the parameters that both models share: heads and MLP units
# over 'tensor', the width over 'fsdp', () over no axis.
SHARDING = (
  (r'/(qkv|kv)/kernel$', ('fsdp', None, 'tensor', None)),  # [D, 3, A, d]
  (r'/q/kernel$', ('fsdp', 'tensor', None)),  # [D, A, d]
  (r'/out/kernel$', ('tensor', None, 'fsdp')),  # [A, d, D]
  (r'/mlp/up/kernel$', ('fsdp', 'tensor')),
  (r'/mlp/down/kernel$', ('tensor', 'fsdp')),
  (r'^head/kernel$', ('fsdp', None)),  # K seldom divides
  (r'/(bias|scale)$', ()),
)


class BlockPlan(NamedTuple):
  """The fields that all levels of a stage share."""

  heads: int  # attention heads, A
  hidden: int  # units of the perceptron
  window: Grid  # window of local levels, in tokens
  kernels: PyramidKernels  # kernels of global levels
  pooling: Pooling = 'depthwise'  # see `Pyramid`
  qkv_bias: bool = True  # whether queries, keys and values have biases
  qk_scale: float = 0.0  # what scores are multiplied by; 0 for d ** -0.5
  # whether local levels learn a bias for relative positions
  relative: bool = False
  # Taps of the position encoding generator along the last axes before the
  # channels, () for no generator
  peg: Grid = (3, 3, 3)
  epsilon: float = 1e-5  # epsilon of the levels' norms
  depthwise: Implementation = 'shift'  # how depthwise convolutions are computed
  fresh: initializers.Fresh = initializers.IMAGE  # how weights start
  remat: str = 'none'  # what levels keep for the backward pass
  dtype: Any = jnp.float32  # compute dtype


class DualLevel(nn.Module):
  """Eq. 1: x + MSA(LN(x)), then x + MLP(LN(x)); drop path drops clips."""

  plan: BlockPlan  # plan of the stage
  kind: str  # 'L' for attention in windows, 'G' for attention to the clip
  drop_path: float  # chance that a branch is dropped while training

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Maps a grid to a grid."""
    h_BTHWD = checkpoint_name(keep_rows(h_BTHWD), stack.INPUT)
    more_BTHWD = self._norm('attn_norm')(h_BTHWD)
    if self.kind == 'L':
      more_BTHWD = self._local(more_BTHWD)
    else:
      more_BTHWD = PyramidAttention(
        self.plan.heads,
        self.plan.kernels,
        pooling=self.plan.pooling,
        qkv_bias=self.plan.qkv_bias,
        scale=self.plan.qk_scale,
        kernel_init=self.plan.fresh.kernel,
        dtype=self.plan.dtype,
        name='attn',
      )(more_BTHWD, train)
    h_BTHWD = h_BTHWD + self._drop('attn_drop')(more_BTHWD, train)
    more_BTHWD = Mlp(
      self.plan.hidden,
      dtype=self.plan.dtype,
      kernel_init=self.plan.fresh.kernel,
      name='mlp',
    )(self._norm('mlp_norm')(h_BTHWD))
    h_BTHWD = h_BTHWD + self._drop('mlp_drop')(more_BTHWD, train)
    self.sow('intermediates', 'after', h_BTHWD)
    return h_BTHWD

  def _local(self, h_BTHWD: jax.Array) -> jax.Array:
    """LW-MSA: attention within windows of the normalised grid."""
    grid = h_BTHWD.shape[1:-1]
    size = window.fit_window(self.plan.window, grid)
    bias_AQS = None
    if self.plan.relative:
      bias_AQS = window.RelativeBias(
        self.plan.heads, self.plan.window, name='relative'
      )(size)
    # Partitioned before the projections, so that C channels are moved instead
    # of 3 C.
    s_xLD = Attention(
      self.plan.heads,
      qkv_bias=self.plan.qkv_bias,
      scale=self.plan.qk_scale,
      kernel_init=self.plan.fresh.kernel,
      dtype=self.plan.dtype,
      name='attn',
    )(
      window.partition_windows(h_BTHWD, size),
      mask_xQS=window.window_mask(grid, size),
      bias_AQS=bias_AQS,
    )
    return window.merge_windows(s_xLD, grid, size)

  def _norm(self, name: str) -> nn.LayerNorm:
    return LayerNorm(self.plan.epsilon, dtype=self.plan.dtype, name=name)

  def _drop(self, name: str) -> DropPath:
    return DropPath(self.drop_path, shared=4, name=name)


class DualBlock(nn.Module):
  """One round of a pattern of levels."""

  plan: BlockPlan  # plan of the stage
  kinds: str  # kinds of its levels, e.g. 'LG'.
  # Whether Eq. 4's position encoding generator, x + DWConv(x), follows the
  # first level.
  has_peg: bool
  drop_path: tuple[float, ...]  # a rate for each level

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Maps a grid to a grid."""
    level = stack.remat(DualLevel, self.plan.remat)
    for i, kind in enumerate(self.kinds):
      h_BTHWD = level(self.plan, kind, self.drop_path[i], name=f'level_{i}')(
        h_BTHWD, train
      )
      if i == 0 and self.has_peg:
        h_BTHWD = h_BTHWD + DepthwiseConv(
          self.plan.peg,
          implementation=self.plan.depthwise,
          dtype=self.plan.dtype,
          name='peg',
        )(h_BTHWD)
    return h_BTHWD


class DualStage(nn.Module):
  """Patch merging, then blocks.

  Merging is a convolution and a layer norm; Swin's is a concatenation, a norm
  and a linear layer.
  """

  plan: BlockPlan  # plan of the levels
  width: int  # token width, D
  patch: tuple[int, int]  # (frames, edge) of a patch that becomes one token
  pattern: str  # kinds of levels, repeated until all levels have one
  rates: tuple[float, ...]  # drop path rate of each level
  tokens: bool  # whether the input is tokens instead of pixels
  # whether learned tables of positions are added after merging
  absolute: bool = False
  scan: bool = False  # whether blocks that are alike run as one scan

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    frames, edge = self.patch
    dtype = self.plan.dtype
    self.patch_embed = PatchEmbed(
      self.width,
      edge,
      frames=frames,
      floor=True,
      tokens=self.tokens,
      dtype=dtype,
      name='patch',
    )
    # torch's default epsilon, whatever the levels have.
    self.patch_norm = LayerNorm(1e-5, dtype=dtype)
    if self.absolute:
      self.space_pos = position.Table(self.plan.fresh.space_table)
      self.time_pos = position.Table(self.plan.fresh.time_table)
    self.blocks = [
      DualBlock(
        self.plan,
        kinds,
        has_peg=bool(self.plan.peg) and i == 0,
        drop_path=rates,
        name=f'block_{i}',
      )
      for i, (kinds, rates) in enumerate(split_rounds(self.pattern, self.rates))
    ]

  def __call__(self, h_BTHWC: jax.Array, train: bool) -> jax.Array:
    """Maps a grid to a coarser one, of `width` channels."""
    h_BTHWD = self.patch_norm(self.patch_embed(h_BTHWC))
    if self.absolute:
      _, T, H, W, D = h_BTHWD.shape
      pos_HWD = position.fit_grid(self.space_pos(H, W, D), H, W, 'bilinear')
      pos_TD = position.fit_axis(self.time_pos(T, D), T, 'bilinear')
      pos_THWD = pos_HWD + pos_TD[:, None, None]
      h_BTHWD = h_BTHWD + spread(pos_THWD, h_BTHWD.shape, h_BTHWD.dtype)
    return stack.run(
      self.blocks,
      h_BTHWD,
      train=train,
      scan=self.scan,
      policy=self.plan.remat,
    )


def check_stages(model: nn.Module, sizes: Mapping[str, int]) -> None:
  """Refuses fields of another length, and heads that do not divide a width."""
  for name, size in sizes.items():
    if len(getattr(model, name)) != size:
      raise InputError(
        f'got {name}={getattr(model, name)} with widths={model.widths}; '
        f'expected {size} values for {len(model.widths)} stages'
      )
  for width, heads in zip(model.widths, model.heads, strict=True):
    split_heads(width, heads)


def split_rounds(
  pattern: str, rates: Sequence[float]
) -> list[tuple[str, tuple[float, ...]]]:
  """The blocks of a stage: kinds and rates of their levels.

  The last block may end inside the pattern.
  """
  size = len(pattern)
  parts = [tuple(rates[i : i + size]) for i in range(0, len(rates), size)]
  return [(pattern[: len(part)], part) for part in parts]
