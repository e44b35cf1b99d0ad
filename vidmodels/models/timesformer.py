"""TimeSformer: attention divided between time and space (arXiv 2102.05095).

As released in facebookresearch/TimeSformer, whose weights it runs. Where the
paper says otherwise:

* Eq. 11 lets patches look at the class token in time; the release does not
  (`temporal_class_key` does).
* The head is one linear layer, not a perceptron with a hidden layer.
* In divided attention every frame looks at its own copy of the class token,
  and the copies' updates are averaged over the clip.

Which patches look at which is in `nn/spacetime.py`, all of Fig. 1. Tokens live
on a grid `h_BTHWD`, apart from the class token `cls_BTD`: one for the clip
(T = 1), or one a frame in space attention.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.nn import initializers, position, spacetime, stack
from vidmodels.nn.attention import split_heads
from vidmodels.nn.block import VIT_SHARDING
from vidmodels.nn.patch import PatchEmbed
from vidmodels.typing import (
  Count,
  Fraction,
  InputError,
  Positive,
  PositiveFloat,
)

# The first regex found in a parameter's path says how its axes are split.
SHARDING = (
  *VIT_SHARDING,
  (r'/fc/kernel$', ('fsdp', None)),
  (r'^time_pos/table$', (None, 'fsdp')),  # [T, D]
  (r'^head/kernel$', ('fsdp', None)),  # K seldom divides
  (r'^class_(token|pos)$', ()),
)

# A model and a clip (frames, height, width) small enough to try things on.
TINY = {'layers': 2, 'width': 16, 'heads': 2, 'patch': 8}
TINY_CLIP = (4, 16, 24)
# Fields of some schemes are refused in others.
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
  *({'positions': positions} for positions in ('space', 'none')),
  {'positions': 'space', 'attention': 'joint'},
  *({'pos_resize': method} for method in position.Resize.__args__[1:]),
  {'fresh': 'scratch'},
  {'qkv_bias': False},
)


class Model(nn.Module):
  """TimeSformer: patches and positions, blocks, one linear layer (Eqs. 1-10).

  Takes any number of frames, and frames of any size that divides into patches.
  Defaults are TimeSformer-B as released. Position tables keep the size of the
  clip that a model was initialised with, or of the weights given to it.

  On request (collection 'intermediates') it sows {'cls', 'patches'} as
  'after_embedding' and, within every block, as 'after'; the class feature as
  'after_norm'; and every step's attention weights.

  Attributes:
    classes: answers, K.
    dtype: of the computation; parameters, softmax, statistics and logits are
      float32.
    layers: blocks.
    width: of a token, D.
    heads: attention heads, A; must divide the width.
    mlp_ratio: units of a perceptron over the width.
    patch: edge of a patch in pixels, P.
    attention: what a patch looks at: 'divided' its own place in all frames,
      then its own frame; 'space_time' the other way round; 'parallel' both at
      once; 'joint' the whole clip; 'space' its own frame only, which makes the
      answer blind to the order of frames; 'local_global' what is near, then
      every second patch; 'axial' one axis after the other.
    local: what 'local_global' takes for near, see `spacetime.Look`.
    sparse: which second patches it takes.
    axial_order: of the steps of 'axial'; 'twh' as the paper names it.
    axial_identity: whether the first axis of space starts with the identity
      behind it, so that a model with an image ViT's weights looks along both
      axes from the start; otherwise only along the second.
    temporal_class_key: whether patches look at the class token in time, as in
      Eq. 11 and unlike the release.
    positions: which tables are learned. Space attention never has a time
      table, so there 'space_time' is 'space', as released.
    pos_resize: how a table fits another grid or clip length, at every call:
      'nearest' as released, or another way of nn/position. The release skips
      the resize when only the number of patches agrees (7 x 28 for 14 x 14) and
      so scrambles positions; we do not. Its 448-pixel models started from a
      table scrambled otherwise, which is 'nearest_1d_flat'.
    drop_path: chance of the last block; it rises linearly from 0 at the first.
    qkv_bias: as in the release; False for weights trained without.
    fresh: how weights that are not imported are drawn: 'image' as released,
      to start from an image ViT; 'scratch' to train from nothing.
    remat: recompute blocks in the backward pass, to save memory.
    scan: run the blocks as one scan over their parameters, to compile sooner.
  """

  classes: Positive
  dtype: Any = jnp.float32
  layers: Count = 12
  width: Positive = 768
  heads: Positive = 12
  mlp_ratio: PositiveFloat = 4.0
  patch: Positive = 16
  attention: spacetime.Scheme = 'divided'
  local: spacetime.Local = 'window'
  sparse: spacetime.Sparse = 'phase'
  axial_order: spacetime.AxialOrder = 'twh'
  axial_identity: bool = False
  temporal_class_key: bool = False
  positions: Literal['space_time', 'space', 'none'] = 'space_time'
  pos_resize: position.Resize = 'nearest'
  drop_path: Fraction = 0.1
  qkv_bias: bool = True
  fresh: Literal['image', 'scratch'] = 'image'
  remat: bool = False
  scan: bool = False

  def __post_init__(self):
    """Refuses fields that nothing would read, and heads of no whole width."""
    super().__post_init__()
    split_heads(self.width, self.heads)
    for name, schemes in {
      'local': ('local_global',),
      'sparse': ('local_global',),
      'axial_order': ('axial',),
      'axial_identity': ('axial',),
      'temporal_class_key': ('divided', 'space_time', 'parallel', 'axial'),
    }.items():
      value, default = getattr(self, name), getattr(type(self), name)
      if value != default and self.attention not in schemes:
        raise InputError(
          f'{name}={value!r} came with attention={self.attention!r}, which has '
          f'no such step; leave {name} out, or choose from {schemes}'
        )
    if self.positions == 'none' and self.pos_resize != 'nearest':
      raise InputError(
        f'pos_resize={self.pos_resize!r} came with positions=none, so there is '
        'no table to resize; leave pos_resize out'
      )

  @nn.nowrap
  def steps(self) -> tuple[spacetime.StepSpec, ...]:
    """What each attention step of a block looks at."""
    return spacetime.attention_steps(
      self.attention,
      local=self.local,
      sparse=self.sparse,
      axial_order=self.axial_order,
      axial_identity=self.axial_identity,
    )

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    block = spacetime.SpaceTimeBlock
    if self.remat:  # static argument 3 is `train`, counted from self
      block = nn.remat(block, static_argnums=(3,))
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
        fresh=fresh,
        heads=self.heads,
        hidden=round(self.width * self.mlp_ratio),
        qkv_bias=self.qkv_bias,
        drop_path=float(rate),
        dtype=self.dtype,
        name=f'block_{i}',
      )
      for i, rate in enumerate(np.linspace(0, self.drop_path, self.layers))
    ]
    self.norm = spacetime.LayerNorm(dtype=jnp.float32)
    self.head = nn.Dense(
      self.classes, dtype=jnp.float32, kernel_init=fresh.kernel
    )

  def __call__(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Scores the classes.

    Args:
      video_BTHWC: normalised float RGB.
      train: drop path on; needs the rng 'drop_path' if its rate is above 0.

    Returns:
      logits_BK, float32.

    Raises:
      InputError: (a ValueError) for video that does not divide into patches,
        is not float, or has other channels than the weights.
    """
    return self.head(self.features(video_BTHWC, train=train))

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Eq. 10: the class token after the last norm, [B, D] float32.

    Use it as `model.apply(variables, video, method='features')`; arguments are
    those of a call.
    """
    cls_BTD, h_BTHWD = self.embed(video_BTHWC)
    tokens = {'cls': cls_BTD, 'patches': h_BTHWD}
    self.sow('intermediates', 'after_embedding', tokens)
    cls_BTD, _ = stack.run(
      self.blocks, (cls_BTD, h_BTHWD), train=train, scan=self.scan
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
    B, T, H, W, D = h_BTHWD.shape
    cls_D = self.class_token
    if self.positions != 'none':
      cls_D = cls_D + self.class_pos
      pos_HWD = self.space_pos(H, W, D)
      pos_HWD = position.fit_grid(pos_HWD, H, W, self.pos_resize)
      h_BTHWD = h_BTHWD + pos_HWD.astype(self.dtype)
    if self.positions == 'space_time' and self.attention != 'space':
      pos_TD = position.fit_time(self.time_pos(T, D), T, self.pos_resize)
      h_BTHWD = h_BTHWD + pos_TD[:, None, None].astype(self.dtype)
    copies = T if self.attention == 'space' else 1
    cls_BTD = jnp.broadcast_to(cls_D.astype(self.dtype), (B, copies, D))
    return cls_BTD, h_BTHWD
