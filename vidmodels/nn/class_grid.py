"""VidTr's tokens: patches, class tokens where a scheme has them, positions.

Positions come out apart from the tokens, since the release adds them to what
attention sees and not to the tokens. Every table is kept at the size it was
made or imported with, and fitted to the clip at every call.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.nn import initializers, position
from vidmodels.nn.position import Table, fit_axes


class Tokens(NamedTuple):
  """What goes from layer to layer.

  Attributes:
    grid: tokens [B, *axes, D], with class tokens inside as rows 0 if the
      scheme has them there.
    cls: a class token apart from the grid, [B, 1, D]; None if there is none.
    pos: (positions of the grid, of the class token), broadcast over B; None
      where no layer is to add them.
  """

  grid: jax.Array
  cls: jax.Array | None
  pos: tuple[jax.Array, jax.Array | None] | None


def flatten_tokens(tokens: Tokens) -> Tokens:
  """One sequence 'L' of a class token and a grid 'TN', frames outermost."""
  grid, cls, pos = tokens
  B, _, _, D = grid.shape
  grid = jnp.concatenate([cls, grid.reshape(B, -1, D)], axis=1)
  if pos is not None:
    pos = (jnp.concatenate([pos[1], pos[0].reshape(-1, D)]), None)
  return Tokens(grid, None, pos)


class ClassGrid(nn.Module):
  """Puts class tokens to patches and gives everything a position.

  Schemes, and what their tokens are:

  * 'separable': [B, 1 + T, 1 + N, D]. Row 0 in time holds a temporal class
    token for every place, column 0 in space a spatial one for every frame,
    and where they cross is what answers (section 3.2.1).
  * 'merged': patches [B, T, N, D] and one class token apart.
  * 'space': [B, T, 1 + N, D], the same class token for every frame.
  * 'axial': [B, 1 + T, 1 + H, 1 + W, D]; index 0 of each axis is a class
    token. The paper says no more than the name: here one learned token stands
    at all of them, told apart by positions.

  Attributes:
    scheme: one of these.
    resize: how tables fit another clip.
    dtype: of what comes out; parameters are float32.
  """

  scheme: str
  resize: position.Resize
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array) -> Tokens:
    """Takes patches as they are embedded."""
    cls_D = self.param(
      'class_token', initializers.normal_02, h_BTHWD.shape[-1:]
    )
    make = getattr(self, f'_{self.scheme}')
    tokens = make(cls_D.astype(self.dtype), h_BTHWD)
    return jax.tree.map(lambda z: z.astype(self.dtype), tokens)

  def _table(
    self, name: str, *sizes: int, width: int, lead: tuple[int, ...] = ()
  ) -> jax.Array:
    """A learned table of `sizes` and `lead`, fitted: [*(lead + sizes), D]."""
    rows = [
      a + b for a, b in zip(sizes, lead or (0,) * len(sizes), strict=True)
    ]
    table = Table(initializers.normal_02, name=name)(*rows, width)
    return fit_axes(table, sizes, self.resize, lead)

  def _separable(self, cls_D: jax.Array, h_BTHWD: jax.Array) -> Tokens:
    B, T, H, W, D = h_BTHWD.shape
    # As in the release: a token a place, a token a frame, one where they cross.
    place_ND = self._table('time_class', H, W, width=D).reshape(-1, D)
    frame_TD = self._table('space_class', T, width=D)
    row_ND = jnp.concatenate([cls_D[None], place_ND.astype(self.dtype)])
    column_TND = frame_TD[:, None].astype(self.dtype)
    h_BTND = _behind(column_TND, h_BTHWD.reshape(B, T, -1, D), axis=2)
    h_BTND = _behind(row_ND[None], h_BTND, axis=1)
    class_TD = self._table('class_pos', T, width=D, lead=(1,))
    pos_THWD = self._table('patch_pos', T, H, W, width=D, lead=(1, 0, 0))
    pos_TND = pos_THWD.reshape(1 + T, -1, D)
    pos_TND = jnp.concatenate([class_TD[:, None], pos_TND], axis=1)
    return Tokens(h_BTND, None, (pos_TND, None))

  def _merged(self, cls_D: jax.Array, h_BTHWD: jax.Array) -> Tokens:
    B, T, H, W, D = h_BTHWD.shape
    class_D = self._table('class_pos', width=D)
    pos_THWD = self._table('patch_pos', T, H, W, width=D)
    return Tokens(
      h_BTHWD.reshape(B, T, -1, D),
      jnp.broadcast_to(cls_D, (B, 1, D)),
      (pos_THWD.reshape(T, -1, D), class_D[None]),
    )

  def _space(self, cls_D: jax.Array, h_BTHWD: jax.Array) -> Tokens:
    B, T, H, W, D = h_BTHWD.shape
    class_D = self._table('class_pos', width=D)
    pos_HWD = self._table('space_pos', H, W, width=D)
    pos_ND = jnp.concatenate([class_D[None], pos_HWD.reshape(-1, D)])
    h_BTND = _behind(cls_D[None, None], h_BTHWD.reshape(B, T, -1, D), axis=2)
    return Tokens(h_BTND, None, (pos_ND, None))

  def _axial(self, cls_D: jax.Array, h_BTHWD: jax.Array) -> Tokens:
    B, T, H, W, D = h_BTHWD.shape
    pos_THWD = self._table('patch_pos', T, H, W, width=D, lead=(1, 1, 1))
    everywhere = jnp.broadcast_to(cls_D, (B, 1 + T, 1 + H, 1 + W, D))
    h_BTHWD = jax.lax.dynamic_update_slice(everywhere, h_BTHWD, (0, 1, 1, 1, 0))
    return Tokens(h_BTHWD, None, (pos_THWD, None))


def _behind(first: jax.Array, grid: jax.Array, axis: int) -> jax.Array:
  """A grid with the same rows in front of it in every clip."""
  sizes = list(grid.shape)
  sizes[axis] = 1
  return jnp.concatenate([jnp.broadcast_to(first, sizes), grid], axis=axis)
