"""FocalNet, an image model, frame by frame (arXiv 2203.11926).

As released by Microsoft, and in the same numbers on the HF hub and in timm. The
frames of a clip are scored apart and their logits averaged; an image is a clip
of one frame. Video-FocalNets start from it, and their design (a) is this model.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vidmodels.nn import focal, initializers
from vidmodels.nn.depthwise import Implementation
from vidmodels.nn.focal import LayerNorm
from vidmodels.nn.linear import Dense
from vidmodels.nn.video_model import VideoModel
from vidmodels.typing import Fraction, Positive, PositiveFloat, Remat

# The first regex found in a parameter's path says how its axes are split.
SHARDING = focal.SHARDING

FRAME_BY_FRAME = True  # a clip's logits are the mean of its frames'

# A model and a clip (frames, height, width) small enough to try things on.
TINY = {'layers': (2, 1), 'width': 8, 'levels': (2, 1), 'windows': (3, 3)}
TINY_CLIP = (2, 16, 24)
VARIANTS = (
  {'overlap': True, 'post_norm': True, 'layer_scale': True},
  {'modulation_norm': True, 'normalize': True, 'uneven': 'pad'},
  {
    'levels': (3, 2),
    'windows': (5, 3),
    'depthwise': 'conv',
    'drop_unit': 'clip',
    'patch_norm': False,
  },
)


class Model(VideoModel):
  """FocalNet: patches, stages of focal blocks, one linear layer.

  Takes frames of any size that holds a patch after the last stage. Defaults
  are the tiny model of small receptive fields, "srf".

  On request (collection 'intermediates') it sows the grid as
  'after_embed_<i>', 'after_stage_<i>' and 'after_norm', and of every block
  'gates' and 'modulator', e.g. under 'stage_0_block_1/mod/space', with
  'modulated', what the modulation adds.
  """

  # Blocks of each stage. Tiny: (2, 2, 6, 2); small and base: (2, 2, 18, 2).
  layers: tuple[Positive, ...] = (2, 2, 6, 2)
  # Token width in the first stage; it doubles from stage to stage. Tiny and
  # small: 96; base: 128.
  width: Positive = 96
  # focal levels of each stage; "srf" has 2, "lrf" 3
  levels: tuple[Positive, ...] = (2, 2, 2, 2)
  # taps of the first level of each stage; 2 more a level
  windows: tuple[Positive, ...] = (3, 3, 3, 3)
  patch: Positive = 4  # edge of a patch in pixels, P
  overlap: bool = False  # whether patches overlap, as in the large models
  # How to treat rows and columns that do not fill a patch: drop them ('floor',
  # as Microsoft and timm do) or pad them with zeros ('pad', as the HF hub's
  # model does). Only the latter uses their pixels.
  uneven: focal.Uneven = 'floor'
  # Whether a norm follows the first patches, as in every published model. The
  # authors' `patch_norm`; patches between stages always have one.
  patch_norm: bool = True
  mlp_ratio: PositiveFloat = 4.0  # units of a perceptron over the width
  post_norm: bool = False  # whether norms follow modulation and perceptron
  # whether both branches are scaled by channel, from 1e-4
  layer_scale: bool = False
  # whether a norm comes before a modulation's projection
  modulation_norm: bool = False
  normalize: bool = False  # whether modulators are divided by L + 1
  # chance of the last block; it rises linearly from 0 at the first
  drop_path: Fraction = 0.2
  # the unit whose branch is dropped: a 'frame' or a 'clip'
  drop_unit: focal.DropUnit = 'frame'
  # How depthwise convolutions are computed: 'shift' is many times faster on a
  # CPU
  depthwise: Implementation = 'shift'
  # what blocks keep for the backward pass; the rest is computed again
  remat: Remat = 'none'
  scan: bool = False  # run the blocks of a stage as one scan, to compile faster

  def __post_init__(self):
    """Refuses stages that contradict each other, and even windows."""
    super().__post_init__()
    focal.check_stages(self.layers, self.levels, self.windows)

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    self.embeds = focal.make_embeds(self)
    rates = iter(np.linspace(0, self.drop_path, sum(self.layers)).tolist())
    stages = []
    for i, count in enumerate(self.layers):
      block = functools.partial(focal.stage_block(self, i), (('HW',),))
      stages.append(
        [
          block(drop_path=next(rates), name=f'stage_{i}_block_{j}')
          for j in range(count)
        ]
      )
    self.stages = stages
    self.norm = LayerNorm(dtype=jnp.float32)
    self.head = Dense(
      self.classes, dtype=jnp.float32, kernel_init=initializers.normal_02
    )

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """The mean of all tokens after the last norm, [B, D] float32."""
    h_BTHWD = focal.run_stages(self, video_BTHWC, train=train)
    return h_BTHWD.mean((1, 2, 3))
