"""TimeSformer: attention divided between time and space (arXiv 2102.05095).

As released in facebookresearch/TimeSformer, whose weights it runs. Where the
paper says otherwise:

* Eq. 11 lets patches look at the class token in time; the release does not.
* The head is one linear layer, not a perceptron with a hidden layer.
* In divided attention every frame looks at its own copy of the class token,
  and the copies' updates are averaged over the clip.

Tokens live on a grid `h_BTHWD`, apart from the class token `cls_BTD`: one for
the clip (T = 1), or one a frame in space attention.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.nn import init, position
from vidmodels.nn.attention import Attention
from vidmodels.nn.drop import DropPath
from vidmodels.nn.grid import along, back, join, part
from vidmodels.nn.mlp import Mlp
from vidmodels.nn.patch import PatchEmbed
from vidmodels.typing import Count, Fraction, Positive, PositiveFloat

# Fig. 1: the attention steps of one block, in order.
BLOCKS = {
  'divided': ('time', 'space'),
  'joint': ('joint',),
  'space': ('space',),
}
# A step: the axes that a patch looks along, and whether a projection follows.
STEPS = {'time': ('T', True), 'space': ('HW', False), 'joint': ('THW', False)}

# The first regex found in a parameter's path says how its axes are split: heads
# and MLP units over 'tensor', the width over 'fsdp', () not at all.
SHARDING = (
  (r'/qkv/kernel$', ('fsdp', None, 'tensor', None)),  # [D, 3, A, d]
  (r'/out/kernel$', ('tensor', None, 'fsdp')),  # [A, d, D]
  (r'/mlp/up/kernel$', ('fsdp', 'tensor')),
  (r'/mlp/down/kernel$', ('tensor', 'fsdp')),
  (r'/fc/kernel$', ('fsdp', None)),
  (r'^patch/kernel$', (None, None, None, 'fsdp')),  # [P, P, C, D]
  (r'^space_pos/table$', (None, None, 'fsdp')),  # [H, W, D]
  (r'^time_pos/table$', (None, 'fsdp')),  # [T, D]
  (r'^head/kernel$', ('fsdp', None)),  # K seldom divides
  (r'/(bias|scale)$', ()),
  (r'^class_(token|pos)$', ()),
)

# A model and a clip (frames, height, width) small enough to try things on.
TINY = {'layers': 2, 'width': 16, 'heads': 2, 'patch': 8}
TINY_CLIP = (4, 16, 24)

# The release's epsilon (Flax has the same, torch 1e-5), and a variance taken
# around the mean as torch does, not as E[x^2] - E[x]^2.
LayerNorm = functools.partial(
  nn.LayerNorm, epsilon=1e-6, use_fast_variance=False
)


class Step(nn.Module):
  """Eqs. 2-8: attention along some axes of the clip, and its residual.

  Along 'THW' it is Eq. 5, along 'HW' Eq. 6, along 'T' Eq. 11 without the class
  token, which then stays as it is.

  Attributes:
    axes: those that a patch looks along.
    has_fc: whether a projection follows. It comes after drop path, so a
      dropped branch still adds its bias, as released.
    fresh: how weights are drawn.
  """

  axes: str
  has_fc: bool
  fresh: init.Fresh
  heads: int
  qkv_bias: bool
  drop_path: float
  dtype: Any

  @nn.compact
  def __call__(
    self, cls_BTD: jax.Array, h_BTHWD: jax.Array, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the class token and the grid, both updated."""
    only_time = self.axes == 'T'
    if only_time:
      s_xLD = along(h_BTHWD, self.axes)
    else:
      s_xLD = join(cls_BTD, h_BTHWD, self.axes)
    s_xLD = LayerNorm(dtype=self.dtype, name='norm')(s_xLD)
    s_xLD = Attention(
      self.heads,
      qkv_bias=self.qkv_bias,
      dtype=self.dtype,
      kernel_init=self.fresh.kernel,
      name='attn',
    )(s_xLD)
    s_xLD = DropPath(self.drop_path, name='drop')(s_xLD, train)
    if self.has_fc:
      s_xLD = nn.Dense(
        s_xLD.shape[-1],
        dtype=self.dtype,
        kernel_init=self.fresh.fc,
        name='fc',
      )(s_xLD)
    if only_time:
      return cls_BTD, h_BTHWD + back(s_xLD, h_BTHWD.shape, self.axes)
    more_BTD, more_BTHWD = part(s_xLD, cls_BTD, h_BTHWD, self.axes)
    return cls_BTD + more_BTD, h_BTHWD + more_BTHWD


class Block(nn.Module):
  """Fig. 1: the attention steps of one scheme, then Eq. 9's perceptron.

  Attributes:
    steps: names of `STEPS`, which name the submodules too.
    hidden: units of the perceptron.
    drop_path: chance of this block's depth, for every branch.
    fresh: how weights are drawn.
  """

  steps: tuple[str, ...]
  fresh: init.Fresh
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
    for name in self.steps:
      axes, has_fc = STEPS[name]
      cls_BTD, h_BTHWD = Step(
        axes=axes,
        has_fc=has_fc,
        fresh=self.fresh,
        heads=self.heads,
        qkv_bias=self.qkv_bias,
        drop_path=self.drop_path,
        dtype=self.dtype,
        name=name,
      )(cls_BTD, h_BTHWD, train)
    # Drop path keeps or drops a class token with all the patches it is for.
    axes = 'HW' if cls_BTD.shape[1] == h_BTHWD.shape[1] else 'THW'
    s_xLD = join(cls_BTD, h_BTHWD, axes)
    s_xLD = LayerNorm(dtype=self.dtype, name='mlp_norm')(s_xLD)
    s_xLD = Mlp(
      self.hidden,
      dtype=self.dtype,
      kernel_init=self.fresh.kernel,
      name='mlp',
    )(s_xLD)
    s_xLD = DropPath(self.drop_path, name='mlp_drop')(s_xLD, train)
    more_BTD, more_BTHWD = part(s_xLD, cls_BTD, h_BTHWD, axes)
    return cls_BTD + more_BTD, h_BTHWD + more_BTHWD


class Model(nn.Module):
  """TimeSformer: patches and positions, blocks, one linear layer (Eqs. 1-10).

  Takes any number of frames, and frames of any size that divides into patches.
  Defaults are TimeSformer-B as released. Position tables keep the size of the
  clip that a model was initialised with, or of the weights given to it.

  On request (collection 'intermediates') it sows {'cls', 'patches'} as
  'after_embedding' and 'after_block_<i>', the class feature as 'after_norm',
  and every step's attention weights.

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
      then its own frame; 'joint' the whole clip; 'space' its own frame only,
      which makes the answer blind to the order of frames.
    positions: which tables are learned. Space attention never has a time
      table, so there 'space_time' is 'space', as released.
    pos_resize: how a table fits another grid or clip length, at every call:
      'nearest' as released, or torch's 'bilinear' or 'bicubic'. The release
      skips the resize when only the number of patches agrees (7 x 28 for
      14 x 14) and so scrambles positions; we do not.
    drop_path: chance of the last block; it rises linearly from 0 at the first.
    qkv_bias: as in the release; False for weights trained without.
    fresh: how weights that are not imported are drawn: 'image' as released,
      to start from an image ViT; 'scratch' to train from nothing.
    remat: recompute blocks in the backward pass, to save memory.
  """

  classes: Positive
  dtype: Any = jnp.float32
  layers: Count = 12
  width: Positive = 768
  heads: Positive = 12
  mlp_ratio: PositiveFloat = 4.0
  patch: Positive = 16
  attention: Literal['divided', 'joint', 'space'] = 'divided'
  positions: Literal['space_time', 'space', 'none'] = 'space_time'
  pos_resize: position.Resize = 'nearest'
  drop_path: Fraction = 0.1
  qkv_bias: bool = True
  fresh: Literal['image', 'scratch'] = 'image'
  remat: bool = False

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    # Static argument 3 is `train`, counted from self.
    block = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
    self.patch_embed = PatchEmbed(
      self.width, self.patch, dtype=self.dtype, name='patch'
    )
    fresh = init.FRESH[self.fresh]
    self.class_token = self.param('class_token', init.normal_02, (self.width,))
    if self.positions != 'none':
      self.class_pos = self.param('class_pos', init.normal_02, (self.width,))
      self.space_pos = position.Table(fresh.space_table)
      self.time_pos = position.Table(fresh.time_table)
    self.blocks = [
      block(
        steps=BLOCKS[self.attention],
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
    self.norm = LayerNorm(dtype=jnp.float32)
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
    self._sow('after_embedding', cls_BTD, h_BTHWD)
    for i, block in enumerate(self.blocks):
      cls_BTD, h_BTHWD = block(cls_BTD, h_BTHWD, train)
      self._sow(f'after_block_{i}', cls_BTD, h_BTHWD)
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

  def _sow(self, name: str, cls_BTD: jax.Array, h_BTHWD: jax.Array) -> None:
    """Keeps both kinds of token if the caller asked for intermediates."""
    tokens = {'cls': cls_BTD, 'patches': h_BTHWD}
    self.sow('intermediates', name, tokens)
