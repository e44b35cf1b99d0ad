"""Focal modulation over space, time or both, and the FocalNets built of it.

Where attention compares a token with every other, focal modulation first
gathers the surroundings of each token, over windows that grow level by level,
and then multiplies the token's query with the result, its modulator
(arXiv 2203.11926; over time: arXiv 2307.06947, section 3.1).

Everything stays on the grid h_BTHWD: a convolution over one axis leaves the
others where they are.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidmodels.nn import initializers, stack
from vidmodels.nn.depthwise import (
  DepthwiseConv,
  Implementation,
  frames_ahead,
)
from vidmodels.nn.linear import (
  Dense,
  convolve,
  keep_rows,
  product,
  spread,
  uniform_bias,
)
from vidmodels.nn.patch import PatchEmbed
from vidmodels.nn.transformer import DropPath, Mlp, gelu
from vidmodels.typing import InputError

Fusion = Literal['multiplication', 'average', 'projection']
TemporalConv = Literal['dense', 'depthwise', 'pointwise']
Uneven = Literal['floor', 'pad']
DropUnit = Literal['frame', 'clip']

# How a mesh splits the parameters that image and video models share: units over
# 'tensor', the width over 'fsdp', () over no axis.
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

# The start of layer scale in every release.
LAYER_SCALE = 1e-4

# The axes that a modulator gathers along, and the name of its module.
STREAMS = {'HW': 'space', 'T': 'time', 'THW': 'volume'}

# By how many taps a window grows from one focal level to the next.
GROWTH = 2

# torch's epsilon (Flax has 1e-6) and variance.
LayerNorm = functools.partial(
  nn.LayerNorm, epsilon=1e-5, use_fast_variance=False
)


class TimeConv(nn.Module):
  """Convolves over frames, every place by itself: Conv1d with zero padding.

  Dense: every channel reads all channels, [k, D, D]. One matrix product a tap,
    without a transpose, which trains faster on a CPU than a convolution (14 x
    14 x 384, 8 frames, k = 5: 74 to 92 ms on two cores).
  """

  window: int  # taps, k, odd
  # dtype of the products, which are added up in float32
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array) -> jax.Array:
    """Returns a grid of the same shape."""
    T, D = h_BTHWD.shape[1], h_BTHWD.shape[-1]
    shape = (self.window, D, D)
    kernel = self.param('kernel', initializers.uniform_fan_in, shape)
    half = self.window // 2
    total = jnp.zeros(h_BTHWD.shape, jnp.float32)
    for tap in range(self.window):
      if abs(tap - half) >= T:
        continue  # this tap sees only padding
      part = frames_ahead(h_BTHWD, tap - half)
      total += product('BTHWC,CD->BTHWD', part, kernel[tap], self.dtype)
    return total.astype(self.dtype)


class Modulator(nn.Module):
  """Eqs. 5 to 8: the gated surroundings of each token along some axes.

  Level l turns the map of level l - 1 into GELU(conv(map)), with a window of
  `window` + 2 (l - 1). The global context is GELU(mean of the last map); Eq. 7
  has no GELU there, Algorithm 1 and the release have. Gates are plain linear
  outputs, one a token and level for all channels; with `frame_gates` one a
  frame, made of the mean of its tokens: G_t of Eq. 8, [T, L + 1].

  Along 'HW' the convolution is depthwise over rows and columns, along 'T' it is
  over frames, along 'THW' first over space and then over time.

  On request it sows 'gates', one a level and the last for the global context,
  and 'modulator', the output of `out`.
  """

  axes: str  # the axes that it gathers along: 'HW', 'T' or 'THW'
  levels: int  # focal levels, L
  window: int  # taps of the first level, odd
  # Whether the global context of 'THW' is taken over a frame instead of the
  # clip
  frame_context: bool = False
  # Over frames: 'dense' as released, though Algorithm 1 has 'depthwise', and
  # Eq. 6 'pointwise', which has one tap: frames then meet in the global context
  # alone
  temporal_conv: TemporalConv = 'dense'
  context_gelu: bool = True  # whether the global context passes through a GELU
  frame_gates: bool = False  # whether gates are one a frame
  depthwise: Implementation = 'shift'  # how depthwise convolutions are computed
  normalize: bool = False  # whether it is divided by L + 1
  # whether it starts as the constant 1, which leaves the query unchanged
  neutral: bool = False
  # How it starts otherwise; from scratch around 1, as the query's factor
  fresh: initializers.Fresh = initializers.IMAGE
  dtype: Any = jnp.float32  # compute dtype

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array) -> jax.Array:
    """Returns the modulator of every token, a grid of the same shape."""
    D = h_BTHWD.shape[-1]
    dense = functools.partial(
      Dense, dtype=self.dtype, kernel_init=self.fresh.kernel
    )
    z_BTHWD = dense(D, name='context')(h_BTHWD)
    gated_BTHWD = h_BTHWD
    if self.frame_gates:
      gated_BTHWD = h_BTHWD.mean((2, 3), keepdims=True)
    gates_BTHWG = dense(self.levels + 1, name='gate')(gated_BTHWD)
    self.sow('intermediates', 'gates', gates_BTHWG)
    total_BTHWD = jnp.zeros_like(z_BTHWD)
    for level in range(self.levels):
      z_BTHWD = gelu(self._convolve(z_BTHWD, level))
      total_BTHWD += z_BTHWD * gates_BTHWG[..., level : level + 1]
    whole = self._pool(z_BTHWD)
    whole = gelu(whole) if self.context_gelu else whole
    total_BTHWD += whole.astype(self.dtype) * gates_BTHWG[..., self.levels :]
    if self.normalize:
      total_BTHWD /= self.levels + 1
    # A product of small numbers of both signs would pass on next to nothing.
    ones = self.neutral or self.fresh != initializers.IMAGE
    mixed_BTHWD = Dense(
      D,
      dtype=self.dtype,
      # A 1 x 1 convolution in the release, so it starts as torch's do.
      kernel_init=nn.initializers.zeros
      if self.neutral
      else initializers.uniform_fan_in,
      bias_init=nn.initializers.ones if ones else uniform_bias(D),
      name='out',
    )(total_BTHWD)
    self.sow('intermediates', 'modulator', mixed_BTHWD)
    return mixed_BTHWD

  def _convolve(self, z_BTHWD: jax.Array, level: int) -> jax.Array:
    """Eq. 6 before its GELU: the convolution of one level."""
    k = self.window + GROWTH * level
    each = functools.partial(
      DepthwiseConv,
      use_bias=False,
      implementation=self.depthwise,
      dtype=self.dtype,
    )
    if 'H' in self.axes:
      z_BTHWD = each((k, k), name=f'depthwise_{level}')(z_BTHWD)
    if 'T' not in self.axes:
      return z_BTHWD
    if self.temporal_conv == 'depthwise':
      return each((k, 1, 1), name=f'time_depthwise_{level}')(z_BTHWD)
    taps = 1 if self.temporal_conv == 'pointwise' else k
    return TimeConv(taps, dtype=self.dtype, name=f'time_conv_{level}')(z_BTHWD)

  def _pool(self, z_BTHWD: jax.Array) -> jax.Array:
    """Eq. 7: the mean along the axes, which are kept with size 1."""
    axes = 'HW' if self.frame_context else self.axes
    over = tuple('BTHWD'.index(axis) for axis in axes)
    return z_BTHWD.mean(over, dtype=jnp.float32, keepdims=True)


class Modulation(nn.Module):
  """Eq. 9: y = out(query * modulators), in place of attention.

  In the release the query is a part of the spatial projection.
  """

  # Axes of the modulators, e.g. ('HW', 'T') for two in parallel.
  streams: tuple[str, ...]
  levels: int  # focal levels of each
  window: int  # taps of the first level
  # How two modulators are combined: multiplied as released, averaged, or
  # concatenated and projected
  fusion: Fusion = 'multiplication'
  norm: bool = False  # whether a layer norm comes before the last projection
  frame_context: bool = False  # see `Modulator`
  temporal_conv: TemporalConv = 'dense'  # see `Modulator`
  context_gelu: bool = True  # see `Modulator`
  frame_gates: bool = False  # see `Modulator`; only for the one along 'T'
  depthwise: Implementation = 'shift'  # see `Modulator`
  normalize: bool = False  # see `Modulator`
  neutral: bool = False  # see `Modulator`; only for the modulator along 'T'
  fresh: initializers.Fresh = initializers.IMAGE  # see `Modulator`
  dtype: Any = jnp.float32  # compute dtype

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array) -> jax.Array:
    """Returns a grid of the same shape; the caller adds the residual."""
    if self.window % 2 == 0:
      raise InputError(
        f'got a focal window of {self.window}; expected an odd number'
      )
    D = h_BTHWD.shape[-1]
    dense = functools.partial(
      Dense, dtype=self.dtype, kernel_init=self.fresh.kernel
    )
    query_BTHWD = dense(D, name='query')(h_BTHWD)
    modulators = [
      Modulator(
        axes=axes,
        levels=self.levels,
        window=self.window,
        frame_context=self.frame_context,
        temporal_conv=self.temporal_conv,
        context_gelu=self.context_gelu,
        frame_gates=self.frame_gates and axes == 'T',
        depthwise=self.depthwise,
        normalize=self.normalize,
        neutral=self.neutral and axes == 'T',
        fresh=self.fresh,
        dtype=self.dtype,
        name=STREAMS[axes],
      )(h_BTHWD)
      for axes in self.streams
    ]
    if self.fusion == 'multiplication' or len(modulators) == 1:
      y_BTHWD = functools.reduce(jnp.multiply, modulators, query_BTHWD)
    elif self.fusion == 'average':
      y_BTHWD = query_BTHWD * (sum(modulators) / len(modulators))
    else:
      both = jnp.concatenate(modulators, axis=-1)
      y_BTHWD = query_BTHWD * dense(D, name='fuse')(both)
    y_BTHWD = checkpoint_name(y_BTHWD, stack.MIXED)
    if self.norm:
      y_BTHWD = LayerNorm(dtype=self.dtype, name='norm')(y_BTHWD)
    y_BTHWD = dense(D, name='out')(y_BTHWD)
    self.sow('intermediates', 'modulated', y_BTHWD)
    return y_BTHWD


class OverlapEmbed(PatchEmbed):
  """Patches that overlap; `frames` must be 1.

  Windows of 2 P - 1 pixels, P apart, with P // 2 pixels of padding: 7, 4 and 2
  for P = 4 at the start, and 3, 2 and 1 for P = 2 between stages.
  """

  @nn.compact
  def __call__(self, video_BTHWC: jax.Array) -> jax.Array:
    """Turns a grid [B, T, H, W, C] into [B, T, H', W', D].

    H' is (H + 2 (P // 2) - (2 P - 1)) // P + 1, as of any convolution.
    """
    self.check_input(video_BTHWC)
    P, window, C = self.patch, 2 * self.patch - 1, video_BTHWC.shape[-1]
    kernel = self.param(
      'kernel', initializers.uniform_fan_in, (window, window, C, self.width)
    )
    bias_D = self.param('bias', uniform_bias(window**2 * C), (self.width,))
    B, T, *frame = video_BTHWC.shape
    out = convolve(
      video_BTHWC.reshape(B * T, *frame),
      kernel,
      self.dtype,
      window_strides=(P, P),
      padding=[(P // 2, P // 2)] * 2,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    h_BTHWD = out.reshape(B, T, *out.shape[1:])
    return h_BTHWD + spread(bias_D, h_BTHWD.shape, self.dtype)

  def _check_size(self, T: int, H: int, W: int) -> None:
    """Raises InputError for frames that are smaller than the window."""
    least = 2 * self.patch - 1 - 2 * (self.patch // 2)
    if T < 1 or min(H, W) < least:
      raise InputError(
        f'got video of {T} frames of {H} x {W}; expected at least one frame of '
        f'{least} x {least}; try a longer or larger clip'
      )


class Embed(nn.Module):
  """Maps a grid to a smaller one of wider tokens, then a layer norm, if any."""

  width: int  # width D of the output tokens
  patch: int  # edge of a patch, P
  frames: int = 1  # frames of a patch; above 1 it is a tubelet
  overlap: bool = False  # whether patches overlap, see `OverlapEmbed`
  # How to treat rows and columns that do not fill a patch: drop them as a
  # convolution does ('floor'), or pad them with zeros ('pad')
  uneven: Uneven = 'floor'
  # whether the input is a grid of tokens rather than pixels
  tokens: bool = False
  norm: bool = True  # whether a layer norm follows
  dtype: Any = jnp.float32  # compute dtype

  @nn.compact
  def __call__(self, video_BTHWC: jax.Array) -> jax.Array:
    """Turns a grid [B, T, H, W, C] into [B, T', H', W', D]."""
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
    if not self.norm:
      return h_BTHWD
    return LayerNorm(dtype=self.dtype, name='norm')(h_BTHWD)


class FocalBlock(nn.Module):
  """Modulations and a perceptron, each with its norm and its residual.

  x + gamma * Mod(LN(x)), or with `post_norm` x + gamma * LN(Mod(x)); then the
  same with the perceptron. A modulation along time alone is called 'time_mod',
  any other 'mod'.
  """

  # The streams of each modulation, in order, e.g. (('HW', 'T'),) for one
  # modulation of two streams.
  steps: tuple[tuple[str, ...], ...]
  # makes a modulation, given `streams` and `name`
  modulate: Callable[..., nn.Module]
  hidden: int  # units of the perceptron
  post_norm: bool = False  # whether norms come after modulation and perceptron
  # whether branches are scaled by gammas, one a channel
  layer_scale: bool = False
  drop_path: float = 0.0  # chance that a branch is dropped while training
  # the unit whose branch is dropped, see `DropUnit`
  drop_unit: DropUnit = 'frame'
  fresh: initializers.Fresh = initializers.IMAGE  # how the perceptron starts
  dtype: Any = jnp.float32  # compute dtype

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Returns the grid updated."""
    h_BTHWD = checkpoint_name(keep_rows(h_BTHWD), stack.INPUT)
    for streams in self.steps:
      name = 'time_mod' if streams == ('T',) else 'mod'
      inner = self.modulate(streams=streams, name=name)
      h_BTHWD = self._residual(name, inner, h_BTHWD, train)
    inner = Mlp(
      self.hidden,
      dtype=self.dtype,
      kernel_init=self.fresh.kernel,
      name='mlp',
    )
    return self._residual('mlp', inner, h_BTHWD, train)

  def _residual(
    self, name: str, inner: nn.Module, h_BTHWD: jax.Array, train: bool
  ) -> jax.Array:
    """Adds the branch of `inner` to the grid."""
    norm = LayerNorm(dtype=self.dtype, name=f'{name}_norm')
    if self.post_norm:
      more_BTHWD = norm(inner(h_BTHWD))
    else:
      more_BTHWD = inner(norm(h_BTHWD))
    if self.layer_scale:
      start = nn.initializers.constant(LAYER_SCALE)
      gamma_D = self.param(f'{name}_gamma', start, h_BTHWD.shape[-1:])
      more_BTHWD *= spread(gamma_D, more_BTHWD.shape, self.dtype)
    shared = {'frame': 3, 'clip': 4}[self.drop_unit]
    drop = DropPath(self.drop_path, shared=shared, name=f'{name}_drop')
    return h_BTHWD + drop(more_BTHWD, train)


def make_embeds(model: nn.Module, *, frames: int = 1) -> list[Embed]:
  """The `Embed` of each stage of a FocalNet: of pixels, then of tokens.

  The release's `patch_norm` is about the first alone.
  """
  make = functools.partial(
    Embed, overlap=model.overlap, uneven=model.uneven, dtype=model.dtype
  )
  first = make(
    model.width,
    model.patch,
    frames=frames,
    norm=model.patch_norm,
    name='patch',
  )
  downs = [
    make(model.width << i, 2, tokens=True, name=f'down_{i - 1}')
    for i in range(1, len(model.layers))
  ]
  return [first, *downs]


def stage_block(
  model: nn.Module,
  stage: int,
  *,
  fresh: initializers.Fresh = initializers.IMAGE,
  **modulation: Any,
) -> Callable[..., FocalBlock]:
  """Returns what makes a block of a stage from `steps`, `drop_path` and `name`.

  All blocks of a stage share one `modulate`, so a scan sees that they are
  alike. `modulation` are fields of it that not every FocalNet has.
  """
  modulate = functools.partial(
    Modulation,
    levels=model.levels[stage],
    window=model.windows[stage],
    norm=model.modulation_norm,
    normalize=model.normalize,
    depthwise=model.depthwise,
    fresh=fresh,
    dtype=model.dtype,
    **modulation,
  )
  return functools.partial(
    stack.remat(FocalBlock, model.remat),
    modulate=modulate,
    hidden=round((model.width << stage) * model.mlp_ratio),
    post_norm=model.post_norm,
    layer_scale=model.layer_scale,
    drop_unit=model.drop_unit,
    fresh=fresh,
    dtype=model.dtype,
  )


def run_stages(
  model: nn.Module, video_BTHWC: jax.Array, *, train: bool
) -> jax.Array:
  """Runs a FocalNet's stages and its last norm; returns the grid in float32.

  Sows the grid as 'after_embed_<i>', 'after_stage_<i>' and 'after_norm'.
  """
  h_BTHWD, stages = video_BTHWC, zip(model.embeds, model.stages, strict=True)
  for i, (embed, blocks) in enumerate(stages):
    h_BTHWD = embed(h_BTHWD)
    model.sow('intermediates', f'after_embed_{i}', h_BTHWD)
    h_BTHWD = stack.run(
      blocks, h_BTHWD, train=train, scan=model.scan, policy=model.remat
    )
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
      f'got layers {tuple(layers)}, levels {tuple(levels)} and windows '
      f'{tuple(windows)}; expected equal lengths, one value a stage'
    )
  if even := [window for window in windows if window % 2 == 0]:
    raise InputError(
      f'got windows {tuple(windows)}, which has {even[0]}; expected odd '
      'numbers, since an even window would change the size of the grid'
    )
