"""A grid of tokens as sequences along some of its axes, and back.

Attention along one axis is attention over sequences whose other axes are in the
batch; which axes those are is all that tells most schemes apart. A class token
stays outside the grid, as `cls_BTD`: T = 1 for a token of the whole clip, T =
frames for one a frame. Sparse schemes look along parts of axes: `cut`.
"""

import math

import jax
import jax.numpy as jnp


def sequences_along(h_BTHWD: jax.Array, axes: str) -> jax.Array:
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


def grid_from_sequences(s_xLD: jax.Array, grid: tuple[int, ...], axes: str) -> jax.Array:
  """Undoes `along`.

  Args:
    s_xLD: what `along` returned, or something of its shape.
    grid: shape [B, T, H, W, D] that it came from.
    axes: as given to `along`.
  """
  order = _order(axes)
  h = s_xLD.reshape([grid[i] for i in order])
  return h.transpose([order.index(i) for i in range(5)])


def lead_with_class(cls_BTD: jax.Array, h_BTHWD: jax.Array, axes: str) -> jax.Array:
  """Sequences along `axes`, each led by a copy of its class token.

  Returns:
    [B, other axes..., 1 + L, D].
  """
  s_xLD = sequences_along(h_BTHWD, axes)
  lead, (B, T, D) = s_xLD.shape[:-2], cls_BTD.shape
  cls = cls_BTD.reshape(B, T, *(1,) * (len(lead) - 1), D)
  cls = jnp.broadcast_to(cls, (*lead, 1, D))
  return jnp.concatenate([cls, s_xLD], axis=-2)


def split_class(
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
  return copies.mean(2), grid_from_sequences(s_xLD[..., 1:, :], h_BTHWD.shape, axes)


def cut_groups(h_BTHWD: jax.Array, axes: str, strided: bool) -> jax.Array:
  """Cuts some axes of a grid in two each, and so its tokens into groups.

  Halves are neighbours, as quadrants are, or take turns: even places and odd
  ones. An axis of odd size is filled with a place that is no token, at its end;
  an axis of size 1 stays whole, so that no group is empty.

  Args:
    h_BTHWD: one token a patch.
    axes: those that are cut, of 'THW'.
    strided: whether halves take turns.

  Returns:
    [B, groups, tokens of a group, D].
  """
  h = jnp.pad(h_BTHWD, [(0, fill) for fill in _fill(h_BTHWD.shape, axes)])
  B, *sizes, D = h.shape
  parts = _parts(h_BTHWD.shape, axes)
  pairs = [
    (n // p, p) if strided else (p, n // p)
    for n, p in zip(sizes, parts, strict=True)
  ]
  h = h.reshape(B, *(n for pair in pairs for n in pair), D)
  order = (2, 4, 6, 1, 3, 5) if strided else (1, 3, 5, 2, 4, 6)
  h = h.transpose(0, *order, 7)
  return h.reshape(B, math.prod(parts), -1, D)


def join_groups(
  s_BxLD: jax.Array, grid: tuple[int, ...], axes: str, strided: bool
) -> jax.Array:
  """Undoes `cut`; `grid` is the shape [B, T, H, W, D] that it was given."""
  fill, parts = _fill(grid, axes), _parts(grid, axes)
  B, *sizes, D = (n + more for n, more in zip(grid, fill, strict=True))
  rest = [n // p for n, p in zip(sizes, parts, strict=True)]
  h = s_BxLD.reshape(B, *parts, *rest, D)
  order = (4, 1, 5, 2, 6, 3) if strided else (1, 4, 2, 5, 3, 6)
  h = h.transpose(0, *order, 7).reshape(B, *sizes, D)
  return h[tuple(slice(n) for n in grid)]


def groups_with_class(
  cls_BTD: jax.Array, h_BTHWD: jax.Array, axes: str, strided: bool
) -> jax.Array:
  """The groups of `cut`, each led by a copy of the clip's class token.

  Returns:
    [B, groups, 1 + tokens, D].
  """
  s_BxLD = cut_groups(h_BTHWD, axes, strided)
  B, groups, _, D = s_BxLD.shape
  cls = jnp.broadcast_to(cls_BTD[:, None], (B, groups, 1, D))
  return jnp.concatenate([cls, s_BxLD], axis=2)


def split_groups(
  s_BxLD: jax.Array, grid: tuple[int, ...], axes: str, strided: bool
) -> tuple[jax.Array, jax.Array]:
  """Undoes `join_cut`: copies of the class token are averaged into one."""
  h_BTHWD = join_groups(s_BxLD[:, :, 1:], grid, axes, strided)
  return s_BxLD[:, :, 0].mean(1, keepdims=True), h_BTHWD


def real_keys(grid: tuple[int, ...], axes: str, strided: bool) -> jax.Array:
  """What in the sequences of `join_cut` is no filling, as a mask of keys.

  Returns:
    bool [groups, 1, 1 + tokens].
  """
  ones = jnp.ones((1, *grid[1:4], 1), bool)
  cls = jnp.ones((1, 1, 1), bool)
  return groups_with_class(cls, ones, axes, strided)[0, ..., 0][:, None]


def _parts(grid: tuple[int, ...], axes: str) -> list[int]:
  """Into how many each of T, H and W is cut."""
  names = zip('THW', grid[1:4], strict=True)
  return [2 if name in axes and size > 1 else 1 for name, size in names]


def _fill(grid: tuple[int, ...], axes: str) -> list[int]:
  """Places that each axis of BTHWD lacks to be cut evenly."""
  parts = [1, *_parts(grid, axes), 1]
  return [-size % part for size, part in zip(grid, parts, strict=True)]


def _order(axes: str) -> list[int]:
  """The axes of BTHWD with those in `axes` moved before the last."""
  rest = [i for i, name in enumerate('BTHW') if name not in axes]
  return [*rest, *('BTHW'.index(name) for name in axes), 4]
