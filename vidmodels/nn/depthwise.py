"""Depthwise convolution: every channel with its own small kernel.

'conv' is XLA's grouped convolution. 'shift' sums shifted copies of the input,
one a tap, which is many times faster on a CPU.
"""

import itertools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vidmodels.nn import stack
from vidmodels.nn.linear import (
  CONTEXT,
  convolve,
  keep_rows,
  rounded,
  spread,
  uniform_bias,
)
from vidmodels.typing import InputError

Implementation = Literal['shift', 'conv']


class DepthwiseConv(nn.Module):
  """Convolves each channel alone, stride 1, zero padding to the same size.

  Starts as torch's convolution does: weight and bias uniform.
  """

  # Taps along each axis before the channels, odd, e.g. (3, 3) on [..., H, W, D]
  # or (3, 3, 3) on [..., T, H, W, D].
  window: tuple[int, ...]
  use_bias: bool = True  # whether a bias is added
  # how it is computed; the answer is the same
  implementation: Implementation = 'shift'
  # dtype of input and output; taps are summed in float32
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h_xD: jax.Array) -> jax.Array:
    """Maps [..., *grid, D] to the same shape; kernel [*window, 1, D]."""
    D, taps = h_xD.shape[-1], math.prod(self.window)
    if any(size % 2 == 0 for size in self.window):
      raise InputError(
        f'got window {self.window}, which has an even size; expected odd'
      )
    # The fan-in of a depthwise kernel is its taps alone.
    draw = uniform_bias(taps)
    kernel = self.param('kernel', draw, (*self.window, 1, D))
    run = _shift if self.implementation == 'shift' else _conv
    h_xD = run(keep_rows(h_xD).astype(self.dtype), kernel)
    if self.use_bias:
      bias_D = self.param('bias', draw, (D,))
      h_xD = h_xD + spread(bias_D, h_xD.shape, self.dtype)
    return checkpoint_name(keep_rows(h_xD), stack.PRODUCT)


def _shift(h_xD: jax.Array, kernel: jax.Array) -> jax.Array:
  """The sum of shifted inputs, each times its tap.

  Where devices have some frames each, whole frames are shifted first: the shape
  stays, and only the frames at the edges are sent, once a tap of time.
  """
  kernel, window = rounded(kernel, h_xD.dtype), kernel.shape[:-2]
  inputs: dict[tuple[int, ...], jax.Array] = {(): h_xD}
  if len(window) == 3 and CONTEXT in jax.sharding.get_abstract_mesh().shape:
    half = window[0] // 2
    inputs = {
      (tap,): frames_ahead(h_xD, tap - half)
      for tap in range(window[0])
      if abs(tap - half) < h_xD.shape[-4]
    }
  total = jnp.zeros(h_xD.shape, jnp.float32)
  for lead, h in inputs.items():
    rest = window[len(lead) :]
    first = h.ndim - 1 - len(rest)
    pads = [(size // 2, size // 2) for size in rest]
    padded = jnp.pad(h, [(0, 0)] * first + pads + [(0, 0)])
    for tap in itertools.product(*map(range, rest)):
      part = padded
      for axis, start in enumerate(tap, first):
        size = h_xD.shape[axis]
        part = jax.lax.slice_in_dim(part, start, start + size, axis=axis)
      total += part.astype(jnp.float32) * kernel[(*lead, *tap)][0]
  return total.astype(h_xD.dtype)


def frames_ahead(h_xTHWD: jax.Array, offset: int) -> jax.Array:
  """Frame t becomes frame t + offset, or zeros where there is none."""
  edges = [(0, 0, 0)] * h_xTHWD.ndim
  edges[-4] = (-offset, offset, 0)  # a negative edge is cut off
  return jax.lax.pad(h_xTHWD, jnp.zeros((), h_xTHWD.dtype), edges)


def _conv(h_xD: jax.Array, kernel: jax.Array) -> jax.Array:
  """XLA's grouped convolution; the axes before the grid are one batch."""
  grid, D = len(kernel.shape) - 2, h_xD.shape[-1]
  letters = 'THW'[-grid:]
  out = convolve(
    h_xD.reshape(-1, *h_xD.shape[-1 - grid :]),
    kernel,
    h_xD.dtype,
    window_strides=(1,) * grid,
    padding='SAME',
    dimension_numbers=(f'N{letters}C', f'{letters}IO', f'N{letters}C'),
    feature_group_count=D,
  )
  return out.reshape(h_xD.shape)
