"""What image and video FocalNets are built of, around the modulation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn import initializers, stack
from vidmodels.nn.drop import DropPath
from vidmodels.nn.mlp import Mlp
from vidmodels.nn.modulation import LayerNorm, Modulation
from vidmodels.nn.patch import PatchEmbed
from vidmodels.typing import InputError

Uneven = Literal['floor', 'pad']
DropUnit = Literal['frame', 'clip']

# How parameters are split that image and video models share: units over
# 'tensor', the width over 'fsdp', () not at all.
SHARDING = (
  (r'/(query|context)/kernel$', ('fsdp', 'tensor')),  # [D, D]
  (r'/gate/kernel$', ('fsdp', None)),  # [D, G]: G is 3 or 4
  (r'/depthwise_\d+/kernel$', ()),
  (r'/out/kernel$', ('tensor', 'fsdp')),  # [D, D]
  (r'/mlp/up/kernel$', ('fsdp', 'tensor')),
  (r'/mlp/down/kernel$', ('tensor', 'fsdp')),
  (r'^down_\d+/conv/kernel$', (None, None, 'fsdp', 'tensor')),  # [P, P, D, D']
  (r'^patch/conv/kernel$', ()),  # [P, P, C, D] or [t, P, P, C, D]
  (r'^head/kernel$', ('fsdp', None)),  # K seldom divides
  (r'(bias|scale|_gamma)$', ()),
)

# Where layer scale starts, in every release.
LAYER_SCALE = 1e-4


class OverlapEmbed(PatchEmbed):
  """Patches that overlap: a window of 2 P - 1 pixels, P apart, P // 2 of zeros.

  So 7, 4 and 2 for P = 4 at the start, 3, 2 and 1 for P = 2 between stages.
  `frames` must be 1.
  """

  @nn.compact
  def __call__(self, video_BTHWC: jax.Array) -> jax.Array:
    """Turns a grid [B, T, H, W, C] into [B, T, H', W', D].

    H' is (H + 2 (P // 2) - (2 P - 1)) // P + 1, as of any convolution.
    """
    self.refuse(video_BTHWC)
    P, window, C = self.patch, 2 * self.patch - 1, video_BTHWC.shape[-1]
    kernel = self.param(
      'kernel', initializers.uniform_fan_in, (window, window, C, self.width)
    )
    bias_D = self.param(
      'bias', initializers.uniform_bias(window**2 * C), (self.width,)
    )
    B, T, *frame = video_BTHWC.shape
    out = jax.lax.conv_general_dilated(
      video_BTHWC.reshape(B * T, *frame).astype(self.dtype),
      kernel.astype(self.dtype),
      window_strides=(P, P),
      padding=[(P // 2, P // 2)] * 2,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    return out.reshape(B, T, *out.shape[1:]) + bias_D.astype(self.dtype)

  def _refuse_size(self, T: int, H: int, W: int) -> None:
    """Raises InputError for frames that the window does not fit."""
    least = 2 * self.patch - 1 - 2 * (self.patch // 2)
    if T < 1 or min(H, W) < least:
      raise InputError(
        f'video has {T} frames of {H} x {W}; wanted at least one frame of '
        f'{least} x {least}; give a longer or larger clip'
      )


class Embed(nn.Module):
  """A smaller grid of wider tokens, then a layer norm; also between stages.

  Attributes:
    width: of a token that comes out, D.
    patch: edge of a patch, P.
    frames: of a patch; above 1 it is a tubelet.
    overlap: whether patches overlap, see `OverlapEmbed`.
    uneven: what becomes of rows and columns that do not fill a patch: left out
      as a convolution does ('floor'), or filled up with zeros ('pad').
    tokens: whether the input is a grid of tokens rather than pixels.
    dtype: of the computation.
  """

  width: int
  patch: int
  frames: int = 1
  overlap: bool = False
  uneven: Uneven = 'floor'
  tokens: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, video_BTHWC: jax.Array) -> jax.Array:
    """Turns a grid [B, T, H, W, C] into [B, T', H', W', D].

    Raises:
      InputError: for less than one patch, or what is no float video.
    """
    if self.uneven == 'pad' and video_BTHWC.ndim == 5:
      over = [-size % self.patch for size in video_BTHWC.shape[2:4]]
      pads = [(0, 0), (0, 0), *((0, more) for more in over), (0, 0)]
      video_BTHWC = jnp.pad(video_BTHWC, pads)
    kind = OverlapEmbed if self.overlap else PatchEmbed
    h_BTHWD = kind(
      self.width,
      self.patch,
      frames=self.frames,
      floor=True,
      tokens=self.tokens,
      dtype=self.dtype,
      name='conv',
    )(video_BTHWC)
    return LayerNorm(dtype=self.dtype, name='norm')(h_BTHWD)


class FocalBlock(nn.Module):
  """Modulations and a perceptron, each with its norm and its residual.

  x + gamma * Mod(LN(x)), or with `post_norm` x + gamma * LN(Mod(x)); then the
  same with the perceptron. A modulation along time alone is called 'time_mod',
  any other 'mod'.

  Attributes:
    steps: the streams of each modulation, in order, e.g. (('HW', 'T'),) for
      one of two streams.
    modulate: makes a modulation of `streams` and `name`.
    hidden: units of the perceptron.
    post_norm: whether norms come after what they are for.
    layer_scale: whether there are gammas, one a channel.
    drop_path: chance that a branch is dropped while training.
    drop_unit: of what a branch is dropped.
    dtype: of the computation.
  """

  steps: tuple[tuple[str, ...], ...]
  modulate: Callable[..., nn.Module]
  hidden: int
  post_norm: bool = False
  layer_scale: bool = False
  drop_path: float = 0.0
  drop_unit: DropUnit = 'frame'
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Returns the grid updated."""
    for streams in self.steps:
      name = 'time_mod' if streams == ('T',) else 'mod'
      inner = self.modulate(streams=streams, name=name)
      h_BTHWD = self._residual(name, inner, h_BTHWD, train)
    inner = Mlp(self.hidden, dtype=self.dtype, name='mlp')
    return self._residual('mlp', inner, h_BTHWD, train)

  def _residual(
    self, name: str, inner: nn.Module, h_BTHWD: jax.Array, train: bool
  ) -> jax.Array:
    """Adds what `inner` makes of the grid."""
    norm = LayerNorm(dtype=self.dtype, name=f'{name}_norm')
    if self.post_norm:
      more_BTHWD = norm(inner(h_BTHWD))
    else:
      more_BTHWD = inner(norm(h_BTHWD))
    if self.layer_scale:
      start = nn.initializers.constant(LAYER_SCALE)
      gamma_D = self.param(f'{name}_gamma', start, h_BTHWD.shape[-1:])
      more_BTHWD *= gamma_D.astype(self.dtype)
    shared = {'frame': 3, 'clip': 4}[self.drop_unit]
    drop = DropPath(self.drop_path, shared=shared, name=f'{name}_drop')
    return h_BTHWD + drop(more_BTHWD, train)


def make_embeds(model: nn.Module, *, frames: int = 1) -> list[Embed]:
  """What makes the tokens of each stage: of pixels, then of the stage before.

  Args:
    model: a FocalNet; its fields say what its patches are.
    frames: of a patch of pixels.
  """
  make = functools.partial(
    Embed, overlap=model.overlap, uneven=model.uneven, dtype=model.dtype
  )
  first = make(model.width, model.patch, frames=frames, name='patch')
  downs = [
    make(model.width << i, 2, tokens=True, name=f'down_{i - 1}')
    for i in range(1, len(model.layers))
  ]
  return [first, *downs]


def stage_block(
  model: nn.Module, stage: int, **modulation: Any
) -> Callable[..., FocalBlock]:
  """What makes the blocks of a stage, given `steps`, `drop_path` and `name`.

  All have the same `modulate`, by which a scan knows them to be alike.

  Args:
    model: a FocalNet; its fields say what its blocks are.
    stage: from 0.
    **modulation: fields of `Modulation` that not every FocalNet has.
  """
  modulate = functools.partial(
    Modulation,
    levels=model.levels[stage],
    window=model.windows[stage],
    norm=model.modulation_norm,
    normalize=model.normalize,
    depthwise=model.depthwise,
    dtype=model.dtype,
    **modulation,
  )
  return functools.partial(
    # Static argument 2 is `train`, counted from self.
    nn.remat(FocalBlock, static_argnums=(2,)) if model.remat else FocalBlock,
    modulate=modulate,
    hidden=round((model.width << stage) * model.mlp_ratio),
    post_norm=model.post_norm,
    layer_scale=model.layer_scale,
    drop_unit=model.drop_unit,
    dtype=model.dtype,
  )


def run_stages(
  model: nn.Module, video_BTHWC: jax.Array, *, train: bool
) -> jax.Array:
  """Every stage's patches and blocks, then the norm: the grid, float32.

  Sows the grid as 'after_embed_<i>', 'after_stage_<i>' and 'after_norm'.

  Args:
    model: a FocalNet with `embeds`, `stages` and `norm`.
    video_BTHWC: normalised float RGB.
    train: given to every block.
  """
  h_BTHWD, stages = video_BTHWC, zip(model.embeds, model.stages, strict=True)
  for i, (embed, blocks) in enumerate(stages):
    h_BTHWD = embed(h_BTHWD)
    model.sow('intermediates', f'after_embed_{i}', h_BTHWD)
    h_BTHWD = stack.run(blocks, h_BTHWD, train=train, scan=model.scan)
    model.sow('intermediates', f'after_stage_{i}', h_BTHWD)
  h_BTHWD = model.norm(h_BTHWD.astype(jnp.float32))
  model.sow('intermediates', 'after_norm', h_BTHWD)
  return h_BTHWD


def check_stages(
  layers: Sequence[int], levels: Sequence[int], windows: Sequence[int]
) -> None:
  """Raises InputError unless every stage has blocks, levels and a window."""
  if not layers or not len(layers) == len(levels) == len(windows):
    raise InputError(
      f'layers {tuple(layers)}, levels {tuple(levels)} and windows '
      f'{tuple(windows)} must have one value a stage; wanted equal lengths'
    )
  if even := [window for window in windows if window % 2 == 0]:
    raise InputError(
      f'windows {tuple(windows)} has {even[0]}; wanted odd numbers, since an '
      'even window would change the size of the grid'
    )
