"""X-ViT: keys and values that mix frames (arXiv 2106.05968).

As released in 1adrianb/video-transformers, whose weights it runs. Where the
paper says otherwise:

* Channels are counted through all heads, so whole heads move from frame to
  frame; Eq. 9 moves the same channels of every head (`mix_layout`).
* The class token is one a frame, and mixed as patches are.
* The table of frame positions has 8 rows whatever the clip, used in turn, and
  the class token takes part in them.
* Kinetics' 16 frames mix as two segments of 8 (`segment`).
* In temporal attention the frames look at each other too, not z_final alone at
  them; the classifier after it is a perceptron with a hidden layer.

What the release has not, and the paper only names, is built by its words: the
windows of Table 1, layers of 2a, kinds of 2c, and the summary token.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.models import _xvit
from vidmodels.nn import initializers, position, space_time_mixing, stack
from vidmodels.nn.block import VIT_SHARDING
from vidmodels.nn.consensus import (
  MlpHead,
  TemporalAttention,
  mean_probabilities,
)
from vidmodels.nn.patch import PatchEmbed
from vidmodels.nn.space_time_mixing import MixingBlock
from vidmodels.typing import (
  BelowOne,
  Count,
  Fraction,
  Positive,
  PositiveFloat,
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
VARIANTS = _xvit.VARIANTS


class Model(nn.Module):
  """X-ViT: an image ViT on every frame, mixed, and attention over frames.

  Takes any number of frames that divides into segments, and frames of any size
  that divides into patches. Defaults are X-ViT-B/16 as released for SSv2.

  On request (collection 'intermediates') it sows the tokens [B, T, 1 + N, D] as
  'after_embedding' and, in every block, 'tokens'; the frames' class features as
  'after_norm'; and every layer's attention weights.

  Attributes:
    classes: answers, K.
    dtype: of the computation; parameters, softmax, statistics and logits are
      float32.
    layers: blocks, L.
    width: of a token, d in the paper, D here.
    heads: attention heads, h in the paper, A here; must divide the width.
    mlp_ratio: units of a perceptron over the width.
    patch: edge of a patch in pixels.
    mix: what takes channels over from other frames (Table 2c): keys, values,
      both, or what queries, keys and values are made of ('x'); 'none' is
      attention within a frame, Eq. 5.
    mix_layers: 'all', 'first_half', 'second_half', 'odd', or numbers from 0
      ('0,3,5'): Table 2a.
    mix_share: of the channels that come from other frames, rho (Table 2d): .25
      as released for Kinetics, .5 for SSv2. 0 mixes nothing, as does a
      `mix_window` of 0; the other fields of mixing are then refused.
    mix_window: frames on either side, t_w (Table 1). The paper does not say how
      many channels each gives where it is 2; here all give as many.
    mix_boundary: only the frames at the window's ends give any (Bo.).
    mix_layout: which channels move: see `mixing.Mixing`. 'per_head' puts the
      next frame first, as the release does, where Eq. 9 puts the earliest.
    segment: frames that mix with each other, 0 for the whole clip. Only
      temporal attention and summary tokens see beyond.
    summary: whether every frame looks at one summary token a frame.
    ta_layers: of temporal attention over the frames' class tokens; 0 averages
      the frames (Table 2b).
    ta_heads: of those layers; 0 for `heads`.
    ta_hidden: units of the perceptron that answers; 0 for the width.
    average: what is averaged over frames without temporal attention: logits
      (which is averaging features, as the head is linear), or probabilities,
      whose logarithm is then the answer.
    groups: answers of several heads, e.g. 97 verbs and 300 nouns; each has a
      head of its own, and their logits come one after the other. Empty for one
      head of all classes.
    time_rows: of a fresh table of frame positions; frame i takes row i mod
      rows. 0 gives every frame of the first clip its own, as the paper says.
    pos_resize: how the table of patch positions fits another grid, at every
      call: 'bicubic' as released, torch's.
    dropout: while training, of frame features and within the head.
    drop_path: chance of the last block; it rises linearly from 0 at the first.
    qkv_bias: of the blocks; temporal attention has none, as released.
    fresh: how weights that are not imported are drawn: 'image' as released, to
      start from an image ViT; 'scratch' to train from nothing. The temporal
      head starts as torch leaves it either way.
    remat: recompute blocks in the backward pass, to save memory.
    scan: run like blocks as one scan, to compile faster.
  """

  classes: Positive
  dtype: Any = jnp.float32
  layers: Count = 12
  width: Positive = 768
  heads: Positive = 12
  mlp_ratio: PositiveFloat = 4.0
  patch: Positive = 16
  mix: Literal['key_value', 'key', 'value', 'x', 'none'] = 'key_value'
  mix_layers: str = 'all'
  mix_share: Fraction = 0.5
  mix_window: Count = 1
  mix_boundary: bool = False
  mix_layout: space_time_mixing.MixLayout = 'flat'
  segment: Count = 0
  summary: bool = False
  ta_layers: Count = 1
  ta_heads: Count = 0
  ta_hidden: Count = 0
  average: Literal['logits', 'probs'] = 'logits'
  groups: tuple[int, ...] = ()
  time_rows: Count = 8
  pos_resize: position.Resize = 'bicubic'
  dropout: BelowOne = 0.5
  drop_path: Fraction = 0.0
  qkv_bias: bool = True
  fresh: Literal['image', 'scratch'] = 'image'
  remat: bool = False
  scan: bool = False

  def __post_init__(self):
    """Refuses fields that contradict each other."""
    super().__post_init__()
    _xvit.check_fields(self)

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    _xvit.check_groups(self)
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
    self.norm = nn.LayerNorm(1e-6, use_fast_variance=False)
    if self.ta_layers:
      self.temporal = TemporalAttention(
        self.ta_layers, self.ta_heads or self.heads, self.dtype
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
    """The layers, those that mix with their mixing."""
    # Static argument 2 is `train`, counted from self.
    block = (
      nn.remat(MixingBlock, static_argnums=(2,)) if self.remat else MixingBlock
    )
    chosen = _xvit.make_mixing(self)
    where = (
      space_time_mixing.mixing_layers(self.mix_layers, self.layers)
      if chosen
      else ()
    )
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

  def _head(self, classes: int, name: str) -> nn.Module:
    """What answers for one group of classes."""
    if self.ta_layers:
      hidden = self.ta_hidden or self.width
      return MlpHead(classes, hidden, self.dropout, name=name)
    small = nn.initializers.normal(0.001)
    return nn.Dense(classes, kernel_init=small, name=name)

  def __call__(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Scores the classes.

    Args:
      video_BTHWC: normalised float RGB.
      train: dropout and drop path on; needs the rngs 'dropout' and 'drop_path'
        where their rates are above 0.

    Returns:
      logits_BK, float32; those of one group after those of another.

    Raises:
      InputError: (a ValueError) for video that does not divide into patches or
        segments, is not float, or has other channels than the weights, and for
        fields that contradict each other.
    """
    frames_BTD = self.frames(video_BTHWC, train=train)
    if self.average == 'logits':
      return self._answer(self._gather(frames_BTD, train), train)
    logits_BTK = self._answer(self._drop(frames_BTD, train), train)
    each = map(mean_probabilities, by_group(logits_BTK, self.groups))
    return jnp.concatenate(list(each), axis=-1)

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """z_final: what the head sees of a clip, [B, D] float32.

    Where probabilities are averaged the head sees frames: this is their mean.
    """
    return self._gather(self.frames(video_BTHWC, train=train), train)

  def frames(self, video_BTHWC: jax.Array, *, train: bool = False) -> jax.Array:
    """The class token of every frame after the last norm, [B, T, D] float32."""
    s_BTLD = self.embed(video_BTHWC)
    self.sow('intermediates', 'after_embedding', s_BTLD)
    s_BTLD = stack.run(self.blocks, s_BTLD, train=train, scan=self.scan)
    frames_BTD = self.norm(s_BTLD[:, :, 0])
    self.sow('intermediates', 'after_norm', frames_BTD)
    return frames_BTD

  def embed(self, video_BTHWC: jax.Array) -> jax.Array:
    """Every frame's class token and patches, with their positions, z^0.

    The class token has a row of its own in the table of places, and its frame's
    row in the table of frames.
    """
    h_BTHWD = self.patch_embed(video_BTHWC)
    B, T, H, W, D = h_BTHWD.shape
    pos_HWD = self.space_pos(H, W, D)
    pos_HWD = position.fit_grid(pos_HWD, H, W, self.pos_resize)
    h_BTHWD = h_BTHWD + pos_HWD.astype(self.dtype)
    cls_D = (self.class_token + self.class_pos).astype(self.dtype)
    cls_BT1D = jnp.broadcast_to(cls_D, (B, T, 1, D))
    patches_BTND = h_BTHWD.reshape(B, T, H * W, D)
    s_BTLD = jnp.concatenate([cls_BT1D, patches_BTND], axis=2)
    pos_RD = self.time_pos(self.time_rows or T, D)
    pos_TD = pos_RD[np.arange(T) % pos_RD.shape[0]]
    return s_BTLD + pos_TD[:, None].astype(self.dtype)

  def _gather(self, frames_BTD: jax.Array, train: bool) -> jax.Array:
    """One feature a clip from one a frame."""
    frames_BTD = self._drop(frames_BTD, train)
    if not self.ta_layers:
      return frames_BTD.mean(1)
    return self.temporal(frames_BTD, train).astype(jnp.float32)

  def _drop(self, frames_BTD: jax.Array, train: bool) -> jax.Array:
    return self.features_drop(frames_BTD, deterministic=not train)

  def _answer(self, y_xD: jax.Array, train: bool) -> jax.Array:
    """Logits [..., K] of all heads."""
    args = (train,) if self.ta_layers else ()
    return jnp.concatenate([head(y_xD, *args) for head in self.answers], -1)


def by_group(logits_xK: jax.Array, groups: tuple[int, ...]) -> list[jax.Array]:
  """The logits of each head, e.g. of verbs and of nouns.

  Args:
    logits_xK: of all heads.
    groups: classes of each; empty for one head.
  """
  return jnp.split(logits_xK, np.cumsum(groups)[:-1].astype(int), axis=-1)
