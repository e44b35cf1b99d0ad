"""A grid of tokens as sequences along some of its axes, and back.

Attention along one axis is attention over sequences whose other axes are in the
batch; which axes those are is all that tells most schemes apart. A class token
stays outside the grid, as `cls_BTD`: T = 1 for a token of the whole clip, T =
frames for one a frame.
"""

import jax
import jax.numpy as jnp


def along(h_BTHWD: jax.Array, axes: str) -> jax.Array:
  """Lays a grid of tokens out as sequences along some of its axes.

  Args:
    h_BTHWD: one token a patch.
    axes: those a token looks along, of 'THW' and in that order; the other axes
      join the batch. 'T' gives [B, H, W, T, D], 'HW' gives [B, T, H * W, D],
      'THW' gives [B, T * H * W, D].

  Returns:
    [B, other axes..., L, D].
  """
  h = h_BTHWD.transpose(_order(axes))
  return h.reshape(*h.shape[: 4 - len(axes)], -1, h.shape[-1])


def back(s_xLD: jax.Array, grid: tuple[int, ...], axes: str) -> jax.Array:
  """Undoes `along`.

  Args:
    s_xLD: what `along` returned, or something of its shape.
    grid: shape [B, T, H, W, D] that it came from.
    axes: as given to `along`.
  """
  order = _order(axes)
  h = s_xLD.reshape([grid[i] for i in order])
  return h.transpose([order.index(i) for i in range(5)])


def join(cls_BTD: jax.Array, h_BTHWD: jax.Array, axes: str) -> jax.Array:
  """Sequences along `axes`, each led by a copy of its class token.

  Returns:
    [B, other axes..., 1 + L, D].
  """
  s_xLD = along(h_BTHWD, axes)
  lead, (B, T, D) = s_xLD.shape[:-2], cls_BTD.shape
  cls = cls_BTD.reshape(B, T, *(1,) * (len(lead) - 1), D)
  cls = jnp.broadcast_to(cls, (*lead, 1, D))
  return jnp.concatenate([cls, s_xLD], axis=-2)


def part(
  s_xLD: jax.Array, cls_BTD: jax.Array, h_BTHWD: jax.Array, axes: str
) -> tuple[jax.Array, jax.Array]:
  """Undoes `join`: copies of a class token are averaged into one.

  Args:
    s_xLD: sequences as `join` made them.
    cls_BTD: gives the class tokens' shape.
    h_BTHWD: gives the grid's shape.
    axes: as given to `join`.
  """
  B, T, D = cls_BTD.shape
  copies = s_xLD[..., 0, :].reshape(B, T, -1, D)
  return copies.mean(2), back(s_xLD[..., 1:, :], h_BTHWD.shape, axes)


def _order(axes: str) -> list[int]:
  """The axes of BTHWD with those in `axes` moved before the last."""
  rest = [i for i, name in enumerate('BTHW') if name not in axes]
  return [*rest, *('BTHW'.index(name) for name in axes), 4]
