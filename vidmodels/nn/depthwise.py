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

from vidmodels.nn.linear import (
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
    return keep_rows(h_xD)


def _shift(h_xD: jax.Array, kernel: jax.Array) -> jax.Array:
  """The sum of shifted inputs, each times its tap."""
  kernel, window = rounded(kernel, h_xD.dtype), kernel.shape[:-2]
  first = h_xD.ndim - 1 - len(window)
  pads = [(size // 2, size // 2) for size in window]
  padded = jnp.pad(h_xD, [(0, 0)] * first + pads + [(0, 0)])
  total = jnp.zeros(h_xD.shape, jnp.float32)
  for tap in itertools.product(*map(range, window)):
    part = padded
    for axis, start in enumerate(tap, first):
      size = h_xD.shape[axis]
      part = jax.lax.slice_in_dim(part, start, start + size, axis=axis)
    total += part.astype(jnp.float32) * kernel[tap][0]
  return total.astype(h_xD.dtype)


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
