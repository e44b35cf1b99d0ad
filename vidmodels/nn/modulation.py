"""Focal modulation over space, time or both (arXiv 2307.06947, section 3.1).

Where attention compares a token with every other, focal modulation gathers the
surroundings of each token first, over windows that grow level by level, and
then multiplies the token's query with what was gathered, its modulator.

Everything stays on the grid h_BTHWD: a convolution over one axis leaves the
others where they are.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn import initializers
from vidmodels.nn.depthwise import DepthwiseConv, Implementation
from vidmodels.nn.mlp import gelu
from vidmodels.typing import InputError

Fusion = Literal['multiplication', 'average', 'projection']
TemporalConv = Literal['dense', 'depthwise']

# The axes that a modulator gathers along, and what its module is called.
STREAMS = {'HW': 'space', 'T': 'time', 'THW': 'volume'}
# By how many taps a window grows from one focal level to the next.
GROWTH = 2

# torch's epsilon (Flax has 1e-6) and variance.
LayerNorm = functools.partial(
  nn.LayerNorm, epsilon=1e-5, use_fast_variance=False
)


class TimeConv(nn.Module):
  """Convolves over frames, at every place alone: Conv1d with zero padding.

  Dense: every channel reads all channels, [k, D, D]. One matrix product a tap
  on the grid as it lies, which trains faster on a CPU than a convolution does
  (14 x 14 x 384, 8 frames, k = 5: 74 to 92 ms on two cores).

  Attributes:
    window: taps, k, odd.
    dtype: of the products, which are added up in float32.
  """

  window: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array) -> jax.Array:
    """Returns a grid of the same shape."""
    T, D = h_BTHWD.shape[1], h_BTHWD.shape[-1]
    shape = (self.window, D, D)
    kernel = self.param('kernel', initializers.uniform_fan_in, shape)
    half = self.window // 2
    padded = jnp.pad(h_BTHWD, ((0, 0), (half, half), (0, 0), (0, 0), (0, 0)))
    total = jnp.zeros(h_BTHWD.shape, jnp.float32)
    for tap in range(self.window):
      if abs(tap - half) >= T:
        continue  # it meets padding alone
      part = jax.lax.slice_in_dim(padded, tap, tap + T, axis=1)
      total += part.astype(self.dtype) @ kernel[tap].astype(self.dtype)
    return total.astype(self.dtype)


class Modulator(nn.Module):
  """Eqs. 5 to 8: what surrounds each token along some axes, gated by level.

  Level l turns the map of level l - 1 into GELU(conv(map)), with a window of
  `window` + 2 (l - 1). The global context is GELU(mean of the last map); Eq. 7
  has no GELU there, Algorithm 1 and the release have. Gates are plain linear
  outputs, one a token and level for all channels.

  Along 'HW' the convolution is depthwise over rows and columns, along 'T' over
  frames, along 'THW' first the one and then the other.

  On request sows 'gates', one a level and the last for the global context, and
  'modulator', which is what `out` returns.

  Attributes:
    axes: that it gathers along: 'HW', 'T' or 'THW'.
    levels: focal levels, L.
    window: taps of the first level, odd.
    frame_context: whether the global context of 'THW' is that of a frame and
      not of the clip.
    temporal_conv: over frames: 'dense' as released, though Algorithm 1 has
      'depthwise'.
    depthwise: how depthwise convolutions are computed.
    normalize: divide by L + 1.
    neutral: start as the constant 1, which leaves the query alone.
    dtype: of the computation.
  """

  axes: str
  levels: int
  window: int
  frame_context: bool = False
  temporal_conv: TemporalConv = 'dense'
  depthwise: Implementation = 'shift'
  normalize: bool = False
  neutral: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array) -> jax.Array:
    """Returns the modulator of every token, a grid of the same shape."""
    D = h_BTHWD.shape[-1]
    dense = functools.partial(
      nn.Dense, dtype=self.dtype, kernel_init=initializers.normal_02
    )
    z_BTHWD = dense(D, name='context')(h_BTHWD)
    gates_BTHWG = dense(self.levels + 1, name='gate')(h_BTHWD)
    self.sow('intermediates', 'gates', gates_BTHWG)
    total_BTHWD = jnp.zeros_like(z_BTHWD)
    for level in range(self.levels):
      z_BTHWD = gelu(self._convolve(z_BTHWD, level))
      total_BTHWD += z_BTHWD * gates_BTHWG[..., level : level + 1]
    whole = gelu(self._pool(z_BTHWD)).astype(self.dtype)
    total_BTHWD += whole * gates_BTHWG[..., self.levels :]
    if self.normalize:
      total_BTHWD /= self.levels + 1
    mixed_BTHWD = nn.Dense(
      D,
      dtype=self.dtype,
      # A 1 x 1 convolution in the release, so with torch's start for one.
      kernel_init=nn.initializers.zeros
      if self.neutral
      else initializers.uniform_fan_in,
      bias_init=nn.initializers.ones
      if self.neutral
      else initializers.uniform_bias(D),
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
    return TimeConv(k, dtype=self.dtype, name=f'time_conv_{level}')(z_BTHWD)

  def _pool(self, z_BTHWD: jax.Array) -> jax.Array:
    """Eq. 7: the mean along the axes, which are kept with size 1."""
    axes = 'HW' if self.frame_context else self.axes
    over = tuple('BTHWD'.index(axis) for axis in axes)
    return z_BTHWD.mean(over, dtype=jnp.float32, keepdims=True)


class Modulation(nn.Module):
  """Eq. 9: y = out(query * modulators), the place of attention in a block.

  In the release the query is a part of the spatial projection.

  Attributes:
    streams: axes of the modulators, e.g. ('HW', 'T') for two in parallel.
    levels: focal levels of each.
    window: taps of the first level.
    fusion: how two modulators meet: multiplied as released, averaged, or
      concatenated and projected.
    norm: whether a layer norm comes before the last projection.
    frame_context: given to the modulators, as the rest is.
    temporal_conv: see `Modulator`.
    depthwise: see `Modulator`.
    normalize: see `Modulator`.
    neutral: of the modulator along 'T' alone.
    dtype: of the computation.
  """

  streams: tuple[str, ...]
  levels: int
  window: int
  fusion: Fusion = 'multiplication'
  norm: bool = False
  frame_context: bool = False
  temporal_conv: TemporalConv = 'dense'
  depthwise: Implementation = 'shift'
  normalize: bool = False
  neutral: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array) -> jax.Array:
    """Returns a grid of the same shape; the residual is the caller's.

    Raises:
      InputError: for an even window, which would change the grid's size.
    """
    if self.window % 2 == 0:
      raise InputError(f'focal window is {self.window}; wanted an odd number')
    D = h_BTHWD.shape[-1]
    dense = functools.partial(
      nn.Dense, dtype=self.dtype, kernel_init=initializers.normal_02
    )
    query_BTHWD = dense(D, name='query')(h_BTHWD)
    found = [
      Modulator(
        axes=axes,
        levels=self.levels,
        window=self.window,
        frame_context=self.frame_context,
        temporal_conv=self.temporal_conv,
        depthwise=self.depthwise,
        normalize=self.normalize,
        neutral=self.neutral and axes == 'T',
        dtype=self.dtype,
        name=STREAMS[axes],
      )(h_BTHWD)
      for axes in self.streams
    ]
    if self.fusion == 'multiplication' or len(found) == 1:
      y_BTHWD = functools.reduce(jnp.multiply, found, query_BTHWD)
    elif self.fusion == 'average':
      y_BTHWD = query_BTHWD * (sum(found) / len(found))
    else:
      both = jnp.concatenate(found, axis=-1)
      y_BTHWD = query_BTHWD * dense(D, name='fuse')(both)
    if self.norm:
      y_BTHWD = LayerNorm(dtype=self.dtype, name='norm')(y_BTHWD)
    y_BTHWD = dense(D, name='out')(y_BTHWD)
    self.sow('intermediates', 'modulated', y_BTHWD)
    return y_BTHWD
