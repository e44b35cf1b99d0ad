"""Learned position tables, and how to resize one to another grid.

A table has the size of the weights; only a fresh model takes it from its input.
So one checkpoint runs at any clip length and frame size, and a model has no
field for either.
"""

import math
import typing
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.nn.linear import spread
from vidmodels.typing import InputError, unknown_name

Resize = Literal[
  'nearest',
  'nearest_1d_flat',
  'bilinear',
  'bicubic',
  'bicubic_antialias',
  'corner_aligned',
]
NEAREST = ('nearest', 'nearest_1d_flat')  # on one axis they are the same


class Table(nn.Module):
  """A learned table; it keeps the size it was made or imported with."""

  initializer: Callable[..., jax.Array]  # draws a fresh table

  @nn.compact
  def __call__(self, *shape: int) -> jax.Array:
    """Returns the stored table, or a fresh one of `shape` while initialising.

    The caller resizes the result; its shape may differ from `shape`.
    """
    if self.has_variable('params', 'table'):
      return self.get_variable('params', 'table')
    return self.param('table', self.initializer, shape)


def fit_grid(
  pos_HWD: jax.Array, height: int, width: int, method: Resize
) -> jax.Array:
  """Stretches a table of patch positions to another grid, rows then columns.

  See `resize_rows`. 'nearest_1d_flat' stretches the rows of the table as one
  line, row after row of patches: a scrambled grid, but the one that
  TimeSformer's 448-pixel models were trained from.
  """
  if method == 'nearest_1d_flat' and pos_HWD.shape[:2] != (height, width):
    D = pos_HWD.shape[-1]
    line = fit_axis(pos_HWD.reshape(-1, D), height * width, 'nearest')
    return line.reshape(height, width, D)
  return fit_axis(fit_axis(pos_HWD, height, method), width, method, axis=1)


def add_places(h_BTHWD: jax.Array, table: Table, method: Resize) -> jax.Array:
  """Adds to every patch the row of its place in the frame."""
  H, W, D = h_BTHWD.shape[2:]
  pos_HWD = fit_grid(table(H, W, D), H, W, method)
  return h_BTHWD + spread(pos_HWD, h_BTHWD.shape, h_BTHWD.dtype)


def fit_axes(
  table: jax.Array,
  sizes: tuple[int, ...],
  method: Resize,
  lead: tuple[int, ...] = (),
) -> jax.Array:
  """Stretches the axes of a table [*axes, D] to [*(lead + size), D].

  The first `lead` rows of an axis are class tokens, not places, and stay as
  they are; none by default.
  """
  lead = lead or (0,) * len(sizes)
  for axis, (first, size) in enumerate(zip(lead, sizes, strict=True)):
    if table.shape[axis] != first + size:
      ends, places = jnp.split(table, [first], axis=axis)
      places = fit_axis(places, size, method, axis=axis)
      table = jnp.concatenate([ends, places], axis=axis)
  return table


def fit_axis(
  table: jax.Array, size: int, method: Resize, axis: int = 0
) -> jax.Array:
  """Stretches one axis of a table, such as the frames of `pos_TD`.

  On one axis 'bilinear' is linear, 'bicubic' cubic. See `resize_rows`.
  """
  if table.shape[axis] == size:
    return table
  index_RS, weight_RS = resize_rows(table.shape[axis], size, method)
  if method in NEAREST:
    return jnp.take(table, index_RS[:, 0], axis=axis)
  moved = jnp.moveaxis(table, axis, -1)
  taps = jnp.take(moved, index_RS, axis=-1)
  # A sum and not a matrix product: exact at any matmul precision.
  return jnp.moveaxis((taps * weight_RS).sum(-1), -1, axis)


def resize_rows(old: int, new: int, method: Resize) -> tuple[Any, Any]:
  """The rows of a table of `old` rows, and their weights, for each new row.

  All methods but the last are torch's `interpolate`, which the releases call.
  Pixel centres sit at half, taps beyond an edge repeat it, and nothing is
  smoothed when a table shrinks (`jax.image.resize` differs in the last two, and
  in its cubic).

  'nearest' takes row floor(i * old / new), no half pixel; 'bilinear' weighs the
  two nearest rows; 'bicubic' four rows, with a = -0.75; 'bicubic_antialias'
  four rows with a = -0.5, more when a table shrinks, and none beyond an edge
  (timm's image models); 'corner_aligned' is linear and keeps the first and last
  rows unchanged (Google's).

  Returns row numbers int [new, taps] and weights float32 [new, taps], rows sum
  to 1.
  """
  if new < 1:
    raise InputError(
      f'got {new} for {old} positions to fit; expected at least 1'
    )
  if method not in typing.get_args(Resize):
    raise InputError(
      unknown_name('the resize of positions', method, typing.get_args(Resize))
    )
  half = (np.arange(new) + 0.5) * old / new - 0.5
  if method in NEAREST:
    # In float32, as torch does it: exact arithmetic differs at 14 -> 46.
    at = np.arange(new, dtype=np.float32) * np.float32(old / new)
    index, weight = np.floor(at).astype(int)[:, None], np.ones((new, 1))
  elif method == 'corner_aligned':
    index, weight = _linear(np.arange(new) * (old - 1) / max(new - 1, 1))
  elif method == 'bilinear':
    index, weight = _linear(np.maximum(half, 0))
  elif method == 'bicubic':
    index = (np.floor(half)[:, None] + np.arange(-1, 3)).astype(int)
    weight = _cubic(np.abs(half[:, None] - index), a=-0.75)
  else:
    index, weight = _smoothed(half, old, max(old / new, 1))
  return index.clip(0, old - 1), weight.astype(np.float32)


def _linear(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The rows before and after each place, and their weights."""
  low = np.floor(at)
  index = np.stack([low, low + 1], 1).astype(int)
  return index, np.stack([1 - (at - low), at - low], 1)


def _smoothed(at: np.ndarray, old: int, shrink: float):
  """Keys' kernel, widened by the shrinking, cut to the table, summing to 1."""
  reach = math.ceil(2 * shrink) + 1
  index = np.floor(at)[:, None].astype(int) + np.arange(-reach, reach + 1)
  weight = _cubic(np.abs(at[:, None] - index) / shrink, a=-0.5)
  weight *= (index >= 0) & (index < old)
  return index, weight / weight.sum(1, keepdims=True)


def _cubic(far: np.ndarray, a: float) -> np.ndarray:
  """Keys' cubic kernel at distances `far`, in rows."""
  near = (a + 2) * far**3 - (a + 3) * far**2 + 1
  tail = a * (far**3 - 5 * far**2 + 8 * far - 4)
  return np.where(far <= 1, near, np.where(far < 2, tail, 0))
