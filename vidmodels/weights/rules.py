"""Key rules: which tensor of a file is which parameter of ours, both ways.

A rule names one or more keys of a file, one or more of our paths, and a
`Layout` that turns the arrays of the one into the other. `{i}` in a name stands
for a whole number, the same on both sides. `convert` uses every key of the file
exactly once and fills every parameter, or says what is left on either side.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vidmodels.typing import InputError

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


def class_and_grid() -> Layout:
  """One table [1, 1 + H W, D] to a class row [D] and a grid [H, W, D]."""

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    rows = arrays[0][0]
    return rows[0], rows[1:].reshape(shapes[1])

  def save(arrays: Arrays) -> Arrays:
    cls, grid = arrays
    rows = grid.reshape(-1, grid.shape[-1])
    return (np.concatenate([cls[None], rows])[None],)

  return Layout(load, save)


def convert(
  rules: Sequence[Rule],
  source: Mapping[str, np.ndarray],
  target: Mapping[str, Any],
) -> dict[str, np.ndarray]:
  """Turns a file's tensors into our parameters.

  Args:
    rules: of the family; the first that knows a key takes it.
    source: the file's tensors by key.
    target: our parameters by path, as anything that has a `shape`.

  Returns:
    Arrays by our path, in the file's dtype, views of `source` where possible.

  Raises:
    InputError: if a key of the file is unknown, a parameter is not filled, or a
      tensor has another shape than the model needs.
  """
  made, used = {}, set()
  for found, keys, paths in _pairs(rules, source):
    if used.intersection(keys) or not set(paths) <= set(target):
      continue
    if not paths:
      used.update(keys)
      continue
    arrays = tuple(source[key] for key in keys)
    shapes = tuple(tuple(target[path].shape) for path in paths)
    _fits(found.layout, keys, arrays, paths, shapes)
    made.update(zip(paths, found.layout.load(arrays, shapes), strict=True))
    used.update(keys)
  extra = [key for key in source if key not in used]
  empty = [path for path in target if path not in made]
  if extra or empty:
    raise InputError(
      f'the file and the model do not fit: keys that the model has no place '
      f'for: {_some(extra)}; parameters that the file does not fill: '
      f'{_some(empty)}; check the family and its fields'
    )
  return made


def revert(
  rules: Sequence[Rule], params: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Turns our parameters back into a file's tensors: `convert` undone.

  Args:
    rules: as given to `convert`.
    params: arrays by our path.

  Raises:
    InputError: if a parameter has no name in the file.
  """
  made, used = {}, set()
  turned = [Rule(r.paths, r.keys, r.layout) for r in rules if r.paths]
  for found, paths, keys in _pairs(turned, params):
    if used.intersection(paths):
      continue
    arrays = found.layout.save(tuple(params[path] for path in paths))
    made.update(zip(keys, arrays, strict=True))
    used.update(paths)
  if extra := [path for path in params if path not in used]:
    raise InputError(
      f'no key of the file stands for {_some(extra)}; check the family'
    )
  return made


def _pairs(rules: Sequence[Rule], names: Iterable[str]):
  """Yields every rule with the names it finds and what they become.

  A rule of several keys is found by its first and needs all of them.
  """
  names = list(names)
  for each in rules:
    pattern = re.escape(each.keys[0]).replace(r'\{i\}', r'(?P<i>\d+)')
    for name in names:
      if match := re.fullmatch(pattern, name):
        keys = [key.format(**match.groupdict()) for key in each.keys]
        paths = [path.format(**match.groupdict()) for path in each.paths]
        if set(keys) <= set(names):
          yield each, keys, paths


def _fits(layout: Layout, keys, arrays: Arrays, paths, shapes: Shapes) -> None:
  """Refuses tensors that are not what our parameters would be saved as.

  A reshape takes any tensor of the right size, scrambled or not; saving zeros
  of our shapes (without memory: all strides are 0) tells the file's shapes.
  """
  zeros = tuple(np.broadcast_to(np.float32(0), shape) for shape in shapes)
  wanted = [array.shape for array in layout.save(zeros)]
  came = [tuple(array.shape) for array in arrays]
  if came != wanted:
    raise InputError(
      f'{", ".join(keys)} has shape {came} and {", ".join(paths)} needs '
      f'{wanted}; check width, heads, patch, classes and the clip size'
    )


def _some(names: Sequence[str]) -> str:
  """The first few of `names`, and how many more there are."""
  more = f' and {len(names) - 6} more' if len(names) > 6 else ''
  return (', '.join(names[:6]) or 'none') + more
