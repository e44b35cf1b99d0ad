"""Twins-SVT, an image model: windows, then a pooled frame (arXiv 2104.13840).

DualFormer without time: the same stages, with one scale that is pooled by dense
convolutions, and another epsilon. Its weights are public (timm's
`twins_svt_*`); those of DualFormer's own image parent are not. On video every
frame is scored by itself and the scores are averaged; an image is a clip of one
frame.

Where windows do not divide a frame, the padding is masked (`nn.window`); timm
attends to zeros there. Weights that are not imported start as DualFormer's do.
"""

import jax
import jax.numpy as jnp
import numpy as np

from vidmodels.nn import dual, initializers
from vidmodels.nn.depthwise import Implementation
from vidmodels.nn.linear import Dense
from vidmodels.nn.pyramid import PyramidKernels
from vidmodels.nn.transformer import LayerNorm
from vidmodels.nn.video_model import VideoModel
from vidmodels.typing import Fraction, Positive, PositiveFloat, Remat

PEG = (3, 3)
EPSILON = 1e-6  # of levels and of the last norm; patches and pooling have 1e-5
PATTERN = 'LG'

# The first regex found in a parameter's path says how its axes are split.
SHARDING = (
  *dual.SHARDING,
  (r'/fine/kernel$', (None,) * 4 + ('fsdp',)),  # [1, k, k, D, D]
  (r'/peg/kernel$', ()),  # split, each of its taps would be gathered by itself
  (r'/patch/kernel$', (None,) * 3 + ('fsdp',)),
)

FRAME_BY_FRAME = True  # a clip's logits are the mean of its frames'

# A model and a clip (frames, height, width) small enough to try things on.
TINY_CLIP = (2, 32, 48)
TINY = {
  'widths': (8, 16),
  'layers': (2, 6),
  'heads': (1, 2),
  'mlp_ratio': 2.0,
  'window': 3,
  'reductions': (4, 1),
}
VARIANTS = ({'depthwise': 'conv'}, {'reductions': (2, 2)}, {'qkv_bias': False})


class Model(VideoModel):
  """Twins-SVT on every frame, and the mean of their logits.

  Takes frames that leave a token in every stage and fill every pooling kernel;
  tokens left over are dropped. Defaults are Twins-SVT-S.

  On request (collection 'intermediates') it sows 'after_stage_<s>', frames in
  the batch, and every level's attention weights.
  """

  # token width D of each stage
  widths: tuple[Positive, ...] = (64, 128, 256, 512)
  # levels of each stage, local and global in turn
  layers: tuple[Positive, ...] = (2, 2, 10, 4)
  # attention heads of each stage; must divide its width
  heads: tuple[Positive, ...] = (2, 4, 8, 16)
  mlp_ratio: PositiveFloat = 4.0  # units of a perceptron over the width
  window: Positive = 7  # edge of a window in tokens
  # edge of each stage's pooling kernel in tokens; 1 pools nothing
  reductions: tuple[Positive, ...] = (8, 4, 2, 1)
  patch: Positive = 4  # edge of a first patch in pixels
  # chance of the last level; it rises linearly from 0 at the first
  drop_path: Fraction = 0.2
  qkv_bias: bool = True  # whether queries, keys and values have biases
  # how the position encoding is computed; the answer is the same
  depthwise: Implementation = 'shift'
  # what levels keep for the backward pass; the rest is computed again
  remat: Remat = 'none'
  # run equal blocks of a stage as one scan, to compile faster
  scan: bool = False

  def __post_init__(self):
    """Refuses fields that contradict each other."""
    super().__post_init__()
    stages = len(self.widths)
    sizes = dict.fromkeys(('layers', 'heads', 'reductions'), stages)
    dual.check_stages(self, sizes)

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    drops = iter(np.linspace(0, self.drop_path, sum(self.layers)).tolist())
    self.stages = [
      dual.DualStage(
        self._plan(s),
        width,
        patch=(1, 2 if s else self.patch),
        pattern=PATTERN,
        rates=tuple(next(drops) for _ in range(self.layers[s])),
        tokens=s > 0,
        scan=self.scan,
        name=f'stage_{s}',
      )
      for s, width in enumerate(self.widths)
    ]
    self.norm = LayerNorm(EPSILON)
    self.head = Dense(self.classes, kernel_init=initializers.normal_02)

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """The mean of all tokens of all frames, [B, D] float32."""
    # Before frames become clips, so that errors name the user's shape.
    self.stages[0].patch_embed.check_input(video_BTHWC)
    B, T, *frame = video_BTHWC.shape
    h_BTHWD = video_BTHWC.reshape(B * T, 1, *frame)
    for s, stage in enumerate(self.stages):
      h_BTHWD = stage(h_BTHWD, train)
      self.sow('intermediates', f'after_stage_{s}', h_BTHWD)
    h_BTHWD = self.norm(h_BTHWD.astype(jnp.float32))
    return h_BTHWD.reshape(B, -1, h_BTHWD.shape[-1]).mean(1)

  def _plan(self, s: int) -> dual.BlockPlan:
    edge = self.reductions[s]
    return dual.BlockPlan(
      heads=self.heads[s],
      hidden=round(self.widths[s] * self.mlp_ratio),
      window=(1, self.window, self.window),
      kernels=PyramidKernels((1, edge, edge)) if edge > 1 else PyramidKernels(),
      pooling='dense',
      qkv_bias=self.qkv_bias,
      peg=PEG,
      epsilon=EPSILON,
      depthwise=self.depthwise,
      remat=self.remat,
      dtype=self.dtype,
    )
