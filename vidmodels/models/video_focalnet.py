"""Video-FocalNet: focal modulation over space and time (arXiv 2307.06947).

As released in TalalWasim/Video-FocalNets, whose weights it runs. Where the
paper says otherwise:

* The convolution over time is dense, from all channels to all, with windows of
  3 and 5. Eq. 6 calls it point-wise, Algorithm 1 and Fig. 4 depthwise; with
  either, the printed 63 and 124 GFLOPs could not be (`temporal_conv`).
* The global context passes through a GELU, which Eq. 7 leaves out
  (`context_gelu`).
* Algorithm 1 gates the temporal global context with the spatial gate; the
  release with the temporal one, as Eq. 8 does. Algorithm 1's is not here.
* Gates are one a token in both streams; Eq. 8 has temporal ones a frame
  (`frame_gates`).
* Blocks are split 1 : 1 : 3 : 1 over the stages of T alone; S and B have 18 in
  the third stage and 2 in the others.

The release has only design (e) of Fig. 4. The others are built here from the
paper's words; where those leave something open, a field says so.

Tokens lie on a grid `h_BTHWD`. There are no position tables, so no weight
depends on the length or the size of a clip.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.nn import focal, initializers, stack
from vidmodels.nn.depthwise import Implementation
from vidmodels.nn.focal import Fusion, LayerNorm, TemporalConv
from vidmodels.nn.linear import Dense
from vidmodels.nn.video_model import VideoModel
from vidmodels.typing import (
  Fraction,
  InputError,
  Positive,
  PositiveFloat,
  Remat,
)

# Fig. 4: the modulations of a block, each with its streams. 'alternate' has the
# two of 'pair' in turn, one a block.
DESIGNS = {
  'space': (('HW',),),  # (a)
  'volume': (('THW',),),  # (b)
  'encoder': (('HW',),),  # (c); blocks along 'T' follow the last stage
  'pair': (('HW',), ('T',)),  # (d)
  'alternate': (('HW',), ('T',)),  # (d)
  'parallel': (('HW', 'T'),),  # (e)
}

# For each field that not all designs read: the designs that read it.
READERS = {
  'fusion': ('parallel',),
  'time_start': ('parallel',),
  'temporal_conv': ('volume', 'encoder', 'pair', 'alternate', 'parallel'),
  'frame_gates': ('pair', 'alternate', 'parallel'),
  'frame_context': ('volume',),
  'time_first': ('pair', 'alternate'),
  'time_layers': ('encoder',),
}

# The first regex found in a parameter's path says how its axes are split.
SHARDING = (
  *focal.SHARDING,
  (r'/time_conv_\d+/kernel$', (None, 'fsdp', 'tensor')),  # [k, D, D]
  (r'/time_depthwise_\d+/kernel$', ()),
  (r'/fuse/kernel$', ('tensor', 'fsdp')),  # [2 D, D]
)

# A model and a clip (frames, height, width) small enough to try things on.
TINY = {'layers': (2, 1), 'width': 8, 'levels': (2, 1), 'windows': (3, 3)}
TINY_CLIP = (4, 16, 24)
VARIANTS = (
  {'design': 'space'},
  {'design': 'volume'},
  {'design': 'volume', 'frame_context': True, 'temporal_conv': 'depthwise'},
  {'design': 'encoder', 'time_layers': 2},
  {'design': 'pair'},
  {
    'design': 'pair',
    'time_first': True,
    'temporal_conv': 'depthwise',
    'frame_gates': True,
  },
  {'design': 'alternate'},
  {'design': 'alternate', 'time_first': True},
  {
    'fusion': 'average',
    'levels': (3, 2),
    'windows': (5, 3),
    'depthwise': 'conv',
  },
  {'fusion': 'projection', 'overlap': True, 'patch_norm': False},
  {'temporal_conv': 'depthwise'},
  {'temporal_conv': 'pointwise', 'context_gelu': False, 'frame_gates': True},
  {'time_start': 'neutral', 'tubelet': 2, 'uneven': 'pad'},
  {'post_norm': True, 'layer_scale': True, 'drop_unit': 'clip'},
  {'modulation_norm': True, 'normalize': True},
  {'fresh': 'scratch'},
)


class Model(VideoModel):
  """Video-FocalNet: patches, stages of focal blocks, one linear layer (Fig. 2).

  Takes any number of frames of any size that holds a patch after the last
  stage. Defaults are Video-FocalNet-T as released.

  On request (collection 'intermediates') it sows the grid as
  'after_embed_<i>', 'after_stage_<i>' and 'after_norm', and of every block the
  'gates' and the 'modulator' of each stream, e.g. under
  'stage_0_block_1/mod/time', with 'modulated', what the modulation adds.
  """

  # Blocks of each stage. T: (2, 2, 6, 2); S and B: (2, 2, 18, 2).
  layers: tuple[Positive, ...] = (2, 2, 6, 2)
  # Token width in the first stage; it doubles from stage to stage. T and S: 96;
  # B: 128.
  width: Positive = 96
  levels: tuple[Positive, ...] = (2, 2, 2, 2)  # focal levels of each stage, L
  # taps of the first level of each stage; 2 more a level
  windows: tuple[Positive, ...] = (3, 3, 3, 3)
  patch: Positive = 4  # edge of a patch in pixels, P
  tubelet: Positive = 1  # frames of a patch, t
  overlap: bool = False  # whether patches overlap, as in the large image models
  # How to treat rows and columns that do not fill a patch: drop them ('floor',
  # as released) or pad them with zeros ('pad')
  uneven: focal.Uneven = 'floor'
  # A design of Fig. 4. 'space' (a): frames apart, logits averaged. 'volume'
  # (b): one modulator from convolutions over space, then time. 'encoder' (c):
  # (a) up to the mean over each frame, then `time_layers` blocks along time.
  # 'pair' (d): a modulation over space and one over time in every block.
  # 'alternate' (d): one of them a block, in turn. 'parallel' (e): both at once,
  # as released.
  design: Literal[
    'space', 'volume', 'encoder', 'pair', 'alternate', 'parallel'
  ] = 'parallel'
  # Fusion of the two modulators of 'parallel': 'multiplication' as released,
  # 'average', or 'projection' of both together to D channels
  fusion: Fusion = 'multiplication'
  # The convolution over time: 'dense' as released; 'depthwise' as in Algorithm
  # 1; or 'pointwise' as in Eq. 6, one tap from all channels to all, with which
  # frames meet in the global context alone
  temporal_conv: TemporalConv = 'dense'
  # whether the global context passes through a GELU, as released and unlike
  # Eq. 7
  context_gelu: bool = True
  # Whether the gates of the modulator over time are one a frame, made of the
  # mean of its tokens, as Eq. 8 has them; otherwise one a token, as released
  frame_gates: bool = False
  # Whether the global context of 'volume' is taken over a frame instead of the
  # clip; the paper does not say
  frame_context: bool = False
  time_first: bool = False  # whether 'pair' and 'alternate' begin with time
  # blocks along time of 'encoder'; the paper does not say
  time_layers: Positive = 4
  # How the temporal modulator of 'parallel' starts: 'random' as released, about
  # .05, which makes imported branches 20 times smaller, or 'neutral', 1: a
  # model that starts from an image FocalNet, head included, then returns the
  # mean of the image model's logits over the frames
  time_start: Literal['random', 'neutral'] = 'random'
  # How weights that are not imported are drawn: 'image' as released, to start
  # from an image FocalNet; 'scratch' to train from random weights
  fresh: Literal['image', 'scratch'] = 'image'
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
  # Chance of the last block; it rises linearly from 0 at the first. Released: T
  # .2, S .3, B .5.
  drop_path: Fraction = 0.2
  # the unit whose branch is dropped: a 'frame' as released, or a 'clip'
  drop_unit: focal.DropUnit = 'frame'
  # How depthwise convolutions are computed: 'shift' is many times faster on a
  # CPU
  depthwise: Implementation = 'shift'
  # what blocks keep for the backward pass; the rest is computed again
  remat: Remat = 'none'
  scan: bool = False  # run the blocks of a stage as one scan, to compile faster

  def __post_init__(self):
    """Refuses fields that contradict each other."""
    super().__post_init__()
    focal.check_stages(self.layers, self.levels, self.windows)
    self.check_read('design', READERS)
    if self.time_start == 'neutral' and self.fusion != 'multiplication':
      raise InputError(
        f'got time_start=neutral with fusion {self.fusion!r}, where no '
        'temporal modulator leaves the spatial one alone; expected '
        'multiplication; try time_start=random'
      )
    if self.overlap and self.tubelet > 1:
      raise InputError(
        f'got overlap=True with tubelet={self.tubelet}; expected patches of '
        'one frame, as no release has overlapping ones of several; try '
        'overlap=False or tubelet=1'
      )

  @nn.nowrap
  def sizes_to_split(self, clip: tuple[int, int, int]) -> dict[str, int]:
    """What a mesh may split over 'context': the frames of all stages.

    Raises InputError for convolutions that fold frames into the batch.
    """
    if self.depthwise == 'conv' or self.overlap:
      raise InputError(
        f'got mesh.context above 1 with depthwise={self.depthwise!r} and '
        f'overlap={self.overlap}, which convolve frames as rows of the batch; '
        "expected depthwise='shift' and overlap=False; try mesh.fsdp"
      )
    return {'frames of tokens': clip[0] // self.tubelet}

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    self.embeds = focal.make_embeds(self, frames=self.tubelet)
    time_layers = self.time_layers if self.design == 'encoder' else 0
    depth = sum(self.layers) + time_layers
    rates = iter(np.linspace(0, self.drop_path, depth).tolist())
    steps = self._steps()
    blocks = [self._block(i) for i in range(len(self.layers))]
    self.stages = [
      [
        blocks[i](
          next(steps), drop_path=next(rates), name=f'stage_{i}_block_{j}'
        )
        for j in range(count)
      ]
      for i, count in enumerate(self.layers)
    ]
    self.norm = LayerNorm(dtype=jnp.float32)
    # One token a frame is left, so only the whole clip can be dropped.
    time_block = functools.partial(blocks[-1], (('T',),), drop_unit='clip')
    self.time_blocks = [
      time_block(drop_path=next(rates), name=f'time_block_{j}')
      for j in range(time_layers)
    ]
    if time_layers:
      self.time_norm = LayerNorm(dtype=jnp.float32)
    fresh = initializers.FRESH[self.fresh]
    self.head = Dense(self.classes, dtype=jnp.float32, kernel_init=fresh.kernel)

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """The mean of all tokens after the last norm, [B, D] float32."""
    h_BTHWD = focal.run_stages(self, video_BTHWC, train=train)
    h_BTHWD = h_BTHWD.mean((2, 3), keepdims=True)
    if self.time_blocks:
      h_BTHWD = h_BTHWD.astype(self.dtype)
      h_BTHWD = stack.run(
        self.time_blocks,
        h_BTHWD,
        train=train,
        scan=self.scan,
        policy=self.remat,
      )
      h_BTHWD = self.time_norm(h_BTHWD.astype(jnp.float32))
    return h_BTHWD.mean((1, 2, 3))

  def _steps(self) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Yields the modulations of each block, over all stages."""
    steps = DESIGNS[self.design]
    if self.time_first:
      steps = steps[::-1]
    if self.design == 'alternate':
      return itertools.cycle((step,) for step in steps)
    return itertools.repeat(steps)

  def _block(self, i: int) -> Callable[..., nn.Module]:
    """Returns a function that makes a block of stage i."""
    return focal.stage_block(
      self,
      i,
      fusion=self.fusion,
      frame_context=self.frame_context,
      temporal_conv=self.temporal_conv,
      context_gelu=self.context_gelu,
      frame_gates=self.frame_gates,
      neutral=self.time_start == 'neutral',
      fresh=initializers.FRESH[self.fresh],
    )
