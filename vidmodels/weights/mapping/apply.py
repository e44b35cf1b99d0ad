"""A file's tensors into a model's parameters, and back, with the books kept.

Every key of the file is used once or dropped for a reason; every parameter is
filled or left as it was drawn for a reason; what is left on either side is an
error that names the nearest on the other. There is no way to skip a key.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from vidmodels.typing import InputError
from vidmodels.weights.mapping.rules import Arrays, Layout, Rule, Shapes

SHOWN = 6  # names of each kind in an error
LARGEST = 1e4  # that weights stay below
# A file may keep numbers smaller than we do; whole numbers are no weights.
FLOATS = tuple(
  np.dtype(d) for d in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)
)


@dataclasses.dataclass
class Books:
  """What became of every key of a file and every parameter of a model.

  Attributes:
    used: our paths by the file's key.
    dropped: the reason by the file's key.
    random: the reason by our path.
    changed: what was done to a parameter, by our path: a resize, an average.
  """

  used: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  dropped: dict[str, str] = dataclasses.field(default_factory=dict)
  random: dict[str, str] = dataclasses.field(default_factory=dict)
  changed: dict[str, str] = dataclasses.field(default_factory=dict)


def convert(
  rules: Sequence[Rule],
  source: Mapping[str, np.ndarray],
  target: Mapping[str, Any],
  *,
  random: Sequence[tuple[str, str]] = (),
  books: Books | None = None,
) -> dict[str, np.ndarray]:
  """Turns a file's tensors into our parameters.

  Args:
    rules: of the family; the first that knows a key takes it.
    source: the file's tensors by key; read one after the other.
    target: our parameters by path, as anything that has a `shape`.
    random: (regex, reason) of parameters that the file need not fill.
    books: takes what became of everything.

  Returns:
    Arrays by our path, in the file's dtype, views of `source` where possible.
    Parameters that stay random are not there.

  Raises:
    InputError: if a key of the file is unknown, a parameter is not filled, or
      a tensor has another shape or kind than the model needs, or holds what is
      no number.
  """
  made, books = {}, Books() if books is None else books
  for found, keys, paths in pairs(rules, source):
    taken = any(key in books.used or key in books.dropped for key in keys)
    if taken or not set(paths) <= set(target) or set(paths) & set(made):
      continue
    if not paths:
      books.dropped.update(dict.fromkeys(keys, found.why))
      continue
    shapes = tuple(tuple(target[path].shape) for path in paths)
    _fits(found.layout, keys, source, paths, shapes)
    arrays = tuple(_numbers(key, source[key]) for key in keys)
    made.update(zip(paths, found.layout.load(arrays, shapes), strict=True))
    books.used.update(dict.fromkeys(keys, tuple(paths)))
  missing = [path for path in target if path not in made]
  empty = _book_random(missing, random, books)
  extra = [k for k in source if k not in books.used and k not in books.dropped]
  if extra or empty:
    raise InputError(_leftovers(rules, extra, empty))
  return made


def _book_random(
  missing: Sequence[str], random: Sequence[tuple[str, str]], books: Books
) -> list[str]:
  """Books what the file need not fill; returns what it should have filled."""
  empty = []
  for path in missing:
    why = next((why for regex, why in random if re.search(regex, path)), None)
    if why is None:
      empty.append(path)
    else:
      books.random[path] = why
  return empty


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
  for found, paths, keys in pairs(turned, params):
    if used.intersection(paths):
      continue
    arrays = found.layout.save(tuple(params[path] for path in paths))
    made.update(zip(keys, arrays, strict=True))
    used.update(paths)
  if extra := [path for path in params if path not in used]:
    raise InputError(
      f'no key of the file stands for {", ".join(extra[:SHOWN])}'
      f'{_more(extra)}; check the family'
    )
  return made


def pairs(
  rules: Sequence[Rule], names: Iterable[str]
) -> Iterator[tuple[Rule, list[str], list[str]]]:
  """Yields every rule with the names it finds and what they become.

  A rule of several keys is found by its first and needs all of them.
  """
  names = dict.fromkeys(names)
  for each in rules:
    pattern = _pattern(each.keys[0])
    for name in names:
      if match := pattern.fullmatch(name):
        keys = [key.format(**match.groupdict()) for key in each.keys]
        paths = [path.format(**match.groupdict()) for path in each.paths]
        if all(key in names for key in keys):
          yield each, keys, paths


def _pattern(name: str) -> re.Pattern:
  """A rule's name as a regex: `{i}`, `{j}` stand for whole numbers."""
  return re.compile(re.sub(r'\\\{(\w)\\\}', r'(?P<\1>\\d+)', re.escape(name)))


def _numbers(key: str, array: np.ndarray) -> np.ndarray:
  """The array in this machine's order of bytes, if all of it is numbers."""
  if not array.dtype.isnative:
    array = array.astype(array.dtype.newbyteorder('='))
  if array.dtype not in FLOATS:
    raise InputError(
      f'{key} is {array.dtype}; wanted floating point numbers: export the file '
      'unquantised'
    )
  # Of an axis without a stride every number is the first.
  seen = array[tuple(slice(1 if s == 0 else None) for s in array.strides)]
  # A sum is not finite if any of it is not, and makes no copy of the size;
  # of float64 it is so while the numbers themselves are too large for us.
  with np.errstate(all='ignore'):
    wide = array.dtype == np.float64
    fine = np.isfinite(np.sum(np.float32(seen) if wide else seen, dtype='f8'))
    bad = 0 if fine else int((~np.isfinite(np.float32(seen))).sum())
  if not fine:
    raise InputError(
      f'{key} holds {bad} values that are no finite numbers; {_why(seen)}'
    )
  return array


def _why(array: np.ndarray) -> str:
  """What may have made numbers infinite, and what to do."""
  with np.errstate(all='ignore'):
    came, turned = (np.abs(np.float64(a)) for a in (array, array.byteswap()))
  # Half of all numbers with bytes in the wrong order are larger than weights.
  huge = (came[np.isfinite(came)] > LARGEST).any()
  if huge and (turned < LARGEST).all():
    return (
      'with the bytes of each turned round all are small numbers: the file was '
      'written big-endian; save it again on, or for, a little-endian machine'
    )
  return 'the file is damaged or its training diverged: use another'


def _fits(
  layout: Layout,
  keys: Sequence[str],
  source: Mapping[str, np.ndarray],
  paths: Sequence[str],
  shapes: Shapes,
) -> None:
  """Refuses tensors that are not what our parameters would be saved as.

  A reshape takes any tensor of the right size, scrambled or not; saving zeros
  of our shapes (without memory: all strides are 0) tells the file's shapes.
  Shapes are looked up without reading the tensors where the file allows it.
  """
  zeros: Arrays = tuple(np.broadcast_to(np.float32(0), s) for s in shapes)
  wanted = [tuple(array.shape) for array in layout.save(zeros)]
  specs = getattr(source, 'specs', None)
  came = [tuple(specs[key][0] if specs else source[key].shape) for key in keys]
  if came != wanted:
    raise InputError(
      f'{", ".join(keys)} has shape {_shapes(came)} and {", ".join(paths)} '
      f'needs {_shapes(wanted)}; check width, heads, patch, classes and the '
      'clip size'
    )


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
  return ', '.join(str(list(shape)) for shape in shapes)


def _leftovers(
  rules: Sequence[Rule], extra: Sequence[str], empty: Sequence[str]
) -> str:
  """Both sides of what does not fit, each with the nearest of the other."""
  wanted = {path: _key_of(rules, path) for path in empty}
  keys = [key for key in wanted.values() if key]
  extra_said = [key + _near(key, keys) for key in extra[:SHOWN]]
  empty_said = [
    f'{path} (in a file: {key or "never"}{_near(key, extra)})'
    for path, key in list(wanted.items())[:SHOWN]
  ]
  return (
    'the file and the model do not fit: keys that the model has no place for: '
    f'{", ".join(extra_said) or "none"}{_more(extra)}; parameters that the '
    f'file does not fill: {", ".join(empty_said) or "none"}{_more(empty)}; '
    'check the family and its fields'
  )


def _key_of(rules: Sequence[Rule], path: str) -> str:
  """The file's key that would fill a parameter, '' if there is none."""
  for each in rules:
    for own in each.paths:
      if match := _pattern(own).fullmatch(path):
        return each.keys[0].format(**match.groupdict())
  return ''


def _near(name: str, others: Sequence[str]) -> str:
  near = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
  return f', nearest {near[0]}' if near else ''


def _more(names: Sequence[str]) -> str:
  """How many there are that are not shown."""
  return f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
