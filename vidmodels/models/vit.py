"""Image ViT, a frame at a time: ViT (arXiv 2010.11929) and DeiT (2012.12877).

The video transformers start from it, and it is the baseline that sees no
motion. Every frame is scored alone and a clip's logits are the mean of its
frames', so an image is a clip of one frame. Releases differ where neither paper
decides, and each difference is a field: the form of GELU, the epsilon of the
norms, a tanh layer before the head, whether the class token has a position.
"""

import typing
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.nn import initializers, position, stack, transformer
from vidmodels.nn.linear import Dense
from vidmodels.nn.patch import PatchEmbed
from vidmodels.nn.transformer import (
  VIT_SHARDING,
  LayerNorm,
  TransformerBlock,
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

# The first regex found in a parameter's path says how its axes are split.
SHARDING = (
  *VIT_SHARDING,
  (r'^pre_logits/kernel$', ('fsdp', None)),
  (r'^head(_distilled)?/kernel$', ('fsdp', None)),  # K seldom divides
  (r'^(class|distilled)_(token|pos)$', ()),
)

FRAME_BY_FRAME = True  # a clip's logits are the mean of its frames'

# A model and a clip (frames, height, width) small enough to try things on.
TINY = {'layers': 2, 'width': 16, 'heads': 2, 'patch': 8}
TINY_CLIP = (2, 16, 24)
VARIANTS = (
  {'distilled': True},
  {'distilled': True, 'class_position': False},
  {'pre_logits': True},
  {'class_position': False},
  {'activation': 'gelu_tanh'},
  {'epsilon': 1e-12},
  {'qkv_bias': False},
  {'drop_path': 0.1},
  *({'pos_resize': method} for method in typing.get_args(position.Resize)),
)

ACTIVATIONS: dict[str, Callable[..., jax.Array]] = {
  'gelu': transformer.gelu,
  'gelu_tanh': nn.gelu,
}


class Model(VideoModel):
  """Patches, positions, pre-norm blocks, and a head on the class token.

  Defaults are ViT-B/16 as timm and Hugging Face run it; Google's own code has
  the tanh form of GELU. Takes frames of any size that divides into patches. The
  table of positions keeps the size of the image that the model was initialised
  with, or of the imported weights.

  On request (collection 'intermediates') it sows tokens [B, T, L, D], the class
  token first, as 'after_embedding', 'after_block_<i>' and 'after_norm', and
  every block's attention weights.
  """

  layers: Count = 12  # blocks
  width: Positive = 768  # token width, D
  heads: Positive = 12  # attention heads, A; must divide the width
  mlp_ratio: PositiveFloat = 4.0  # units of a perceptron over the width
  patch: Positive = 16  # edge of a patch in pixels, P
  # DeiT's second token and head. The answer is the mean of both heads; there is
  # no distillation loss, by which a teacher trains the second.
  distilled: bool = False
  # A layer with a tanh before the head, as in the ViT paper's weights for
  # 21,843 classes
  pre_logits: bool = False
  # Whether the class token (and the distilled one) has a position; it has none
  # in big_vision and DeiT-3
  class_position: bool = True
  # 'gelu' exact, or 'gelu_tanh', which Google's code computes: at tiny sizes
  # logits are 3e-4 apart
  activation: Literal['gelu', 'gelu_tanh'] = 'gelu'
  # epsilon of all norms; 1e-12 is the default of Hugging Face's configuration
  epsilon: PositiveFloat = 1e-6
  # How the table is resized to another grid, at every call: 'bicubic' is
  # Hugging Face's way, 'bicubic_antialias' timm's, 'corner_aligned' Google's
  pos_resize: position.Resize = 'bicubic'
  # chance of the last block; it rises linearly from 0 at the first
  drop_path: Fraction = 0.0
  qkv_bias: bool = True  # False for weights that have no biases there
  # what blocks keep for the backward pass; the rest is computed again
  remat: Remat = 'none'
  # run the blocks as one scan over their parameters, to compile faster
  scan: bool = False

  def __post_init__(self):
    """Refuses what no release has, and heads that do not divide the width."""
    super().__post_init__()
    split_heads(self.width, self.heads)
    if self.distilled and self.pre_logits:
      raise InputError(
        'got distilled and pre_logits; expected one of them, as DeiT has no '
        'layer before its heads; leave either out'
      )

  @property
  def tokens(self) -> tuple[str, ...]:
    """Names of the tokens in front of the patches."""
    return ('class', 'distilled') if self.distilled else ('class',)

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    block = stack.remat(TransformerBlock, self.remat)
    self.patch_embed = PatchEmbed(
      self.width, self.patch, dtype=self.dtype, name='patch'
    )
    rows = [f'{name}_token' for name in self.tokens]
    if self.class_position:
      rows += [f'{name}_pos' for name in self.tokens]
    self.rows = {
      name: self.param(name, initializers.normal_02, (self.width,))
      for name in rows
    }
    self.space_pos = position.Table(initializers.normal_02)
    self.blocks = [
      block(
        self.heads,
        round(self.width * self.mlp_ratio),
        epsilon=self.epsilon,
        qkv_bias=self.qkv_bias,
        activation=ACTIVATIONS[self.activation],
        drop_path=float(rate),
        dtype=self.dtype,
        name=f'block_{i}',
      )
      for i, rate in enumerate(np.linspace(0, self.drop_path, self.layers))
    ]
    self.norm = LayerNorm(self.epsilon, dtype=jnp.float32)
    if self.pre_logits:
      self.before = self._dense(self.width, 'pre_logits')
    self.head = self._dense(self.classes, 'head')
    if self.distilled:
      self.head_distilled = self._dense(self.classes, 'head_distilled')

  def __call__(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Returns logits_BK, float32."""
    y_BD = self.features(video_BTHWC, train=train)
    if not self.distilled:
      return self.head(y_BD)
    y_BD, other_BD = jnp.split(y_BD, 2, axis=-1)
    return (self.head(y_BD) + self.head_distilled(other_BD)) / 2

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """The input of the head, the mean over frames, [B, D] float32.

    The mean of logits is the logits of the mean: heads are linear. A distilled
    model returns both tokens, the class token's first, [B, 2 D].
    """
    h_BTLD = self.embed(video_BTHWC)
    self.sow('intermediates', 'after_embedding', h_BTLD)
    if self.is_mutable_collection('intermediates'):
      for i, layer in enumerate(self.blocks):
        h_BTLD = layer(h_BTLD, train)
        self.sow('intermediates', f'after_block_{i}', h_BTLD)
    else:
      h_BTLD = stack.run(
        self.blocks,
        h_BTLD,
        train=train,
        scan=self.scan,
        policy=self.remat,
      )
    h_BTLD = self.norm(h_BTLD.astype(jnp.float32))
    self.sow('intermediates', 'after_norm', h_BTLD)
    y_BTD = jnp.concatenate(
      [h_BTLD[:, :, i] for i in range(len(self.tokens))], axis=-1
    )
    if self.pre_logits:
      y_BTD = jnp.tanh(self.before(y_BTD))
    return y_BTD.mean(1)

  def embed(self, video_BTHWC: jax.Array) -> jax.Array:
    """Tokens of every frame with their positions, [B, T, tokens + N, D]."""
    h_BTHWD = self.patch_embed(video_BTHWC)
    B, T, H, W, D = h_BTHWD.shape
    h_BTHWD = position.add_places(h_BTHWD, self.space_pos, self.pos_resize)
    led = [self._lead(name) for name in self.tokens]
    led_BTLD = jnp.broadcast_to(jnp.stack(led), (B, T, len(led), D))
    return jnp.concatenate(
      [led_BTLD.astype(self.dtype), h_BTHWD.reshape(B, T, H * W, D)], axis=2
    )

  def _lead(self, name: str) -> jax.Array:
    """A token in front of the patches, with its position if it has one."""
    token_D = self.rows[f'{name}_token']
    return token_D + self.rows.get(f'{name}_pos', 0)

  def _dense(self, units: int, name: str) -> Dense:
    return Dense(
      units, dtype=jnp.float32, kernel_init=initializers.normal_02, name=name
    )
