"""I3D: a ResNet whose image kernels were given a time axis.

arXiv 1705.07750 as later releases built it on ResNet-50 and ResNet-101 (arXiv
1711.07971): the network that VidTr is averaged with. Fields choose among three
releases, `reach` the depth too:

* light (defaults), mmaction2's `i3d_r50`: every other block convolves over
  time, and the stem and the first pool each halve the frames;
* heavy, mmaction2's: `HEAVY`, every block convolves over time, and the stem and
  the first pool keep the frames;
* SlowFast's I3D 8 x 8: light, but keeping the frames as heavy does.

Time is never strided inside a stage; a pool after the first one halves it.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidmodels.nn import stack
from vidmodels.nn.batch_norm import BatchNorm
from vidmodels.nn.linear import Conv, Dense
from vidmodels.nn.patch import COLOURS, check_video
from vidmodels.nn.video_model import VideoModel
from vidmodels.typing import BelowOne, Count, InputError, Positive, Remat

# Frames that the first convolution of each block sees, stage by stage.
LIGHT = ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1))
HEAVY = ((3,) * 3, (3,) * 4, (3,) * 6, (3,) * 3)
# ResNet-101 has 23 blocks in its third stage.
LIGHT_101 = (*LIGHT[:2], (*(3, 1) * 11, 3), LIGHT[3])
HEAVY_101 = (*HEAVY[:2], (3,) * 23, HEAVY[3])
STEM = 7  # edge of the stem's window in pixels
EXPANSION = 4  # channels after a block over those inside

# 28 to 61 million parameters: spread over 'fsdp', they need no 'tensor'.
SHARDING = (
  (r'/conv/kernel$', (None, None, None, None, 'fsdp')),  # [T, H, W, D, D]
  (r'^head/kernel$', ('fsdp', None)),
  (r'/(bias|scale)$', ()),
)

TINY = {'width': 4, 'reach': ((3, 1), (3,))}
TINY_CLIP = (8, 32, 24)
VARIANTS = (
  {'reach': ((1,), (3, 3), (1,)), 'stem_stride': 1, 'pool_stride': 1},
  {'stem_stride': 1, 'pool_stride': 1, 'head_window': 1, 'zero_last': True},
)


class ConvNorm(nn.Module):
  """A convolution without bias, batch norm, and ReLU if `relu`."""

  width: int  # channels after it
  # frames, rows and columns that a place sees; odd, zeros beyond
  window: tuple[int, int, int]
  stride: tuple[int, int, int] = (1, 1, 1)  # over frames, rows and columns
  relu: bool = True
  zero: bool = False  # whether the norm starts at zero
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Returns [B, T, H, W, D] of the new width, fewer places by the stride."""
    h_BTHWD = Conv(
      self.width,
      self.window,
      self.stride,
      # Not 'SAME', which pads one side alone where a stride is even.
      padding=[(size // 2, size // 2) for size in self.window],
      dtype=self.dtype,
      kernel_init=nn.initializers.variance_scaling(2, 'fan_out', 'normal'),
      name='conv',
    )(h_BTHWD)
    h_BTHWD = BatchNorm(
      dtype=self.dtype,
      scale_init=nn.initializers.zeros if self.zero else nn.initializers.ones,
      name='norm',
    )(h_BTHWD, train)
    return nn.relu(h_BTHWD) if self.relu else h_BTHWD


class Bottleneck(nn.Module):
  """Fewer channels (over time), space, more channels; added to the input."""

  width: int  # channels inside; four times as many come out
  reach: int  # frames that the first convolution sees
  stride: int  # stride over rows and columns, in the convolution over space
  project: bool  # whether the input is projected to the new shape
  zero_last: bool  # whether a fresh block adds nothing
  dtype: Any

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Returns [B, T, H, W, 4 width]."""
    h_BTHWD = checkpoint_name(h_BTHWD, stack.INPUT)
    layer = functools.partial(ConvNorm, dtype=self.dtype)
    wide, stride = EXPANSION * self.width, (1, self.stride, self.stride)
    more = layer(self.width, (self.reach, 1, 1), name='reduce')(h_BTHWD, train)
    more = layer(self.width, (1, 3, 3), stride, name='space')(more, train)
    more = checkpoint_name(more, stack.MIXED)
    more = layer(
      wide, (1, 1, 1), relu=False, zero=self.zero_last, name='expand'
    )(more, train)
    if self.project:
      h_BTHWD = layer(wide, (1, 1, 1), stride, relu=False, name='project')(
        h_BTHWD, train
      )
    return nn.relu(h_BTHWD + more)


class Model(VideoModel):
  """I3D: stem, pool, four stages of bottlenecks, mean, one linear layer.

  Takes frames of at least 7 x 7 pixels, and enough of them that one is left
  after the strides. Batch statistics are kept in 'batch_stats'. On request
  (collection 'intermediates') it sows [B, T, H, W, D] as 'after_stem' and
  'after_stage_<i>', and the class feature as 'after_pool'.
  """

  # channels of the stem and inside the first stage; later stages double them
  width: Positive = 64
  # Frames that the first convolution of each block sees, odd, a tuple a stage:
  # `LIGHT`, `HEAVY`, those of R101, or blocks of another depth
  reach: tuple[tuple[Positive, ...], ...] = LIGHT
  stem_reach: Positive = 5  # frames that the stem sees, odd
  stem_stride: Positive = 2  # stride of the stem over frames
  # stride of the first pool over frames; it drops the others
  pool_stride: Positive = 2
  dropout: BelowOne = 0.5  # chance that a feature is zeroed before the head
  # Edge of the windows of the last grid that the head scores one by one; their
  # probabilities are averaged. 7 is SlowFast's test of crops larger than the
  # 224 pixels it was trained on; 0 is one window.
  head_window: Count = 0
  # whether a fresh block adds nothing at first, as SlowFast's
  zero_last: bool = False
  # what blocks keep for the backward pass; the rest is computed again
  remat: Remat = 'none'

  def __post_init__(self):
    """Refuses windows without a middle, and stages without blocks."""
    super().__post_init__()
    for name, stage in [
      ('stem_reach', (self.stem_reach,)),
      *(('reach', stage) for stage in self.reach),
    ]:
      if any(frames % 2 == 0 for frames in stage):
        raise InputError(
          f'got {name} of {stage} frames; expected odd numbers, as an even '
          'window has no middle'
        )
    if not self.reach or not all(self.reach):
      raise InputError(
        f'got reach={self.reach}; expected blocks in every stage'
      )

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    block = stack.remat(Bottleneck, self.remat)
    self.stem = ConvNorm(
      self.width,
      (self.stem_reach, STEM, STEM),
      (self.stem_stride, 2, 2),
      dtype=self.dtype,
    )
    self.stages = [
      [
        block(
          width=self.width * 2**s,
          reach=reach,
          stride=2 if s and not i else 1,
          project=not i,
          zero_last=self.zero_last,
          dtype=self.dtype,
          name=f'stage{s + 1}_block{i}',
        )
        for i, reach in enumerate(stage)
      ]
      for s, stage in enumerate(self.reach)
    ]
    self.drop = nn.Dropout(self.dropout)
    self.head = Dense(
      self.classes, dtype=jnp.float32, kernel_init=nn.initializers.normal(0.01)
    )

  def __call__(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Returns logits_BK; log probabilities if there are several windows."""
    y_BHWD = self._pooled(video_BTHWC, train)
    logits_BHWK = self.head(self.drop(y_BHWD, deterministic=not train))
    if logits_BHWK.shape[1:3] == (1, 1):
      return logits_BHWK[:, 0, 0]
    # The softmax of the result is the mean of the windows' softmaxes. Computed
    # in logarithms: otherwise a class that no window gives any probability
    # would be at minus infinity.
    _, H, W, _ = logits_BHWK.shape
    shares_BHWK = nn.log_softmax(logits_BHWK)
    return nn.logsumexp(shares_BHWK, axis=(1, 2)) - math.log(H * W)

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """The input of the head, averaged over its windows: [B, D] float32."""
    return self._pooled(video_BTHWC, train).mean((1, 2))

  def _pooled(self, video_BTHWC: jax.Array, train: bool) -> jax.Array:
    """Means of the last grid over time and windows, [B, H, W, D] float32."""
    self._check_clip(video_BTHWC)
    h_BTHWD = self.stem(video_BTHWC.astype(self.dtype), train)
    h_BTHWD = nn.max_pool(
      h_BTHWD,
      (1, 3, 3),
      (self.pool_stride, 2, 2),
      padding=((0, 0), (1, 1), (1, 1)),
    )
    self.sow('intermediates', 'after_stem', h_BTHWD)
    for s, stage in enumerate(self.stages):
      for block in stage:
        h_BTHWD = block(h_BTHWD, train)
      self.sow('intermediates', f'after_stage_{s + 1}', h_BTHWD)
      if s == 0:
        h_BTHWD = nn.max_pool(h_BTHWD, (2, 1, 1), (2, 1, 1))
    y_BHWD = h_BTHWD.astype(jnp.float32).mean(1)
    H, W = (min(self.head_window or n, n) for n in y_BHWD.shape[1:3])
    y_BHWD = nn.avg_pool(y_BHWD, (H, W))
    self.sow('intermediates', 'after_pool', y_BHWD)
    return y_BHWD

  def _check_clip(self, video: jax.Array) -> None:
    """Raises InputError for clips of which the strides leave nothing."""
    stem: Any = self.get_variable('params', 'stem')
    channels = stem['conv']['kernel'].shape[-2] if stem else COLOURS
    check_video(video, channels)
    T, H, W = video.shape[1:4]
    frames = self.stem_stride * self.pool_stride + 1
    if frames > T or min(H, W) < STEM:
      raise InputError(
        f'got video of {T} frames of {H} x {W} pixels; expected at least '
        f'{frames} frames of {STEM} x {STEM}; try a longer or larger clip'
      )
