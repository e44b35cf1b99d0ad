"""Key rules: which tensor of a file is which parameter of ours, both ways.

A rule names one or more keys of a file, one or more of our paths, and a
`Layout` that turns the arrays of the one into the other. `{i}` in a name stands
for a whole number, the same on both sides. What follows: `apply.py`.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

Arrays = tuple[np.ndarray, ...]
Shapes = tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class Layout:
  """How the same numbers lie in a file and in our parameters.

  Both ways only move numbers about (views where numpy can), so converting back
  is exact.

  Attributes:
    load: arrays of the file and the shapes of our parameters, to our arrays.
    save: our arrays, to arrays of the file.
  """

  load: Callable[[Arrays, Shapes], Arrays]
  save: Callable[[Arrays], Arrays]


@dataclasses.dataclass(frozen=True)
class Rule:
  """Keys of a file, paths of ours, and the layout between them.

  Attributes:
    keys: names in the file, e.g. 'blocks.{i}.norm1.weight'.
    paths: our names, e.g. 'block_{i}/space/norm/scale'.
    layout: between the arrays, in the order of the names.
    why: the reason that keys without a path are dropped.
  """

  keys: tuple[str, ...]
  paths: tuple[str, ...]
  layout: Layout
  why: str = ''


def rule(keys: str, paths: str, layout: Layout) -> Rule:
  """A rule from names separated by spaces."""
  return Rule(tuple(keys.split()), tuple(paths.split()), layout)


def drop(key: str, why: str) -> Rule:
  """A rule for a key of the file that stands for nothing of ours."""
  nothing = Layout(load=lambda arrays, shapes: (), save=lambda arrays: ())
  return Rule((key,), (), nothing, why)


def vector(lead: int = 0) -> Layout:
  """A bias, a scale or a token: only axes of size 1 or merged ones differ.

  Args:
    lead: axes of size 1 that the file has in front.
  """
  return Layout(
    load=lambda arrays, shapes: (arrays[0].reshape(shapes[0]),),
    save=lambda arrays: (arrays[0].reshape(*(1,) * lead, -1),),
  )


def linear(inputs: int = 1) -> Layout:
  """torch's [out, in] to our [inputs..., outputs...], e.g. [D, 3, A, d].

  Args:
    inputs: axes that are inputs; the rest are outputs, merged in the file.
  """

  def save(arrays: Arrays) -> Arrays:
    rows = math.prod(arrays[0].shape[:inputs])
    return (arrays[0].reshape(rows, -1).T,)

  return Layout(
    load=lambda arrays, shapes: (arrays[0].T.reshape(shapes[0]),), save=save
  )


def convolution(ones: int = 0) -> Layout:
  """torch's [out, in, window...] to our [window..., in, out].

  Args:
    ones: axes of size 1 that the file's window starts with and ours lacks, as
      where a window of one frame is written as an image's.
  """
  front = tuple(range(ones))

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    return (np.moveaxis(arrays[0], (1, 0), (-2, -1)).squeeze(front),)

  def save(arrays: Arrays) -> Arrays:
    full = np.expand_dims(arrays[0], front)
    return (np.moveaxis(full, (-2, -1), (1, 0)),)

  return Layout(load, save)


def table() -> Layout:
  """torch's position table [1, T, D] to our [T, D]."""
  return Layout(
    load=lambda arrays, shapes: (arrays[0][0],),
    save=lambda arrays: (arrays[0][None],),
  )


def class_and_grid(tokens: int = 1) -> Layout:
  """One table [1, tokens + H W, D] to rows [D] and a grid [H, W, D].

  Args:
    tokens: rows in front of the patches', each a parameter of its own.
  """

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    rows = arrays[0][0]
    return *rows[:tokens], rows[tokens:].reshape(shapes[-1])

  def save(arrays: Arrays) -> Arrays:
    *rows, grid = arrays
    patches = grid.reshape(-1, grid.shape[-1])
    return (np.concatenate([*(row[None] for row in rows), patches])[None],)

  return Layout(load, save)


def plain() -> Layout:
  """The same in the file as with us, as in files of other JAX libraries."""
  return Layout(load=lambda arrays, shapes: arrays, save=lambda arrays: arrays)


def stacked(each: Layout, axis: int) -> Layout:
  """Several tensors of a file as one of ours, e.g. queries, keys and values.

  Args:
    each: the layout of one.
    axis: of ours that counts them.
  """

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    shape = (*shapes[0][:axis], *shapes[0][axis + 1 :])
    parts = [each.load((array,), (shape,))[0] for array in arrays]
    return (np.stack(parts, axis),)

  def save(arrays: Arrays) -> Arrays:
    parts = np.moveaxis(arrays[0], axis, 0)
    return tuple(each.save((part,))[0] for part in parts)

  return Layout(load, save)
