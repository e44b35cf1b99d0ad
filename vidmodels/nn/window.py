"""Windows of a grid of tokens, cut out and put back (DualFormer, section 3.2).
Windows tile the grid from its first token. Where the grid ends inside the last
window of an axis, that window is padded with zeros; a mask keeps them out of
attention, and `merge_windows` crops them. A window that is larger than the grid
becomes the whole axis. (The authors' code refuses both.)
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.nn import initializers

Grid = tuple[int, ...]  # tokens along time, height, width


def fit_window(window: Grid, grid: Grid) -> Grid:
  """The window, made no larger than the grid."""
  return tuple(map(min, window, grid))


def partition_windows(h_BTHWD: jax.Array, window: Grid) -> jax.Array:
  """Cuts a grid into windows, [B, windows, tokens of a window, D].

  Both are counted time first, then rows. The caller has normalised the grid, so
  attention sees zeros where it is padded. The window fits the grid, see
  `fit_window`.
  """
  B, *grid, D = h_BTHWD.shape
  pads = [(0, -size % part) for size, part in zip(grid, window, strict=True)]
  if any(after for _, after in pads):
    h_BTHWD = jnp.pad(h_BTHWD, [(0, 0), *pads, (0, 0)])
  counts = _counts(grid, window)
  cut = [n for pair in zip(counts, window, strict=True) for n in pair]
  h = h_BTHWD.reshape(B, *cut, D).transpose(0, 1, 3, 5, 2, 4, 6, 7)
  return h.reshape(B, np.prod(counts), np.prod(window), D)


def merge_windows(s_xLD: jax.Array, grid: Grid, window: Grid) -> jax.Array:
  """Undoes `partition_windows`: returns [B, *grid, D] without the padding."""
  counts, (B, *_, D) = _counts(grid, window), s_xLD.shape
  h = s_xLD.reshape(B, *counts, *window, D).transpose(0, 1, 4, 2, 5, 3, 6, 7)
  padded = [n * part for n, part in zip(counts, window, strict=True)]
  T, H, W = grid
  return h.reshape(B, *padded, D)[:, :T, :H, :W]


def window_mask(grid: Grid, window: Grid) -> jax.Array | None:
  """Which tokens of each window are real, [windows, 1, S] as a mask of keys.

  None if every window is full.
  """
  if not any(size % part for size, part in zip(grid, window, strict=True)):
    return None
  real = jnp.ones((1, *grid, 1), bool)
  return partition_windows(real, window)[0].swapaxes(-1, -2)


def _counts(grid: Sequence[int], window: Grid) -> Grid:
  """Windows along each axis, a padded one included."""
  return tuple(
    -(-size // part) for size, part in zip(grid, window, strict=True)
  )


class RelativeBias(nn.Module):
  """A learned bias of the attention scores, by the offset of key and query.

  A learned table over the offsets of a 3-D window, as in Video Swin: for (8, 7,
  7) it has 15 * 13 * 13 = 2535 rows. A smaller window uses the middle of the
  table, where the offsets are the same.
  """

  heads: int  # A
  window: Grid  # the window that the table is made for
  initializer: Callable[..., jax.Array] = initializers.normal_02

  @nn.compact
  def __call__(self, window: Grid) -> Any:
    """Returns bias_AQS for `window`, which is no larger than the table's."""
    spans = tuple(2 * part - 1 for part in self.window)
    table = self.param('table', self.initializer, (*spans, self.heads))
    place = np.indices(window).reshape(3, -1)
    apart = place[:, :, None] - place[:, None]  # query minus key, [3, Q, S]
    index = apart + np.reshape(self.window, (3, 1, 1)) - 1
    return jnp.moveaxis(table[tuple(index)], -1, 0)
