"""Converts a file's tensors to a model's variables and back, and reports it.

  report = KeyReport()
  variables = load_variables(rules, tensors, model, video=shape, report=report)
  tensors = save_variables(rules, variables)

Every key of the file is used once or dropped for a reason. Every parameter is
filled, or keeps its initial value for a reason. Anything left over on either
side is an error that names the nearest name on the other side; there is no way
to skip a key.
"""

import dataclasses
import difflib
import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import linen as nn

from vidmodels.typing import InputError
from vidmodels.weights.mapping import key_rules

SHOWN = 6  # names of each kind in an error
LARGEST = 1e4  # trained weights stay below this
# A file may use a smaller type than we do. Integers are not weights.
FLOATS = tuple(
  np.dtype(d) for d in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)
)


@dataclasses.dataclass
class KeyReport:
  """What became of every key of a file and of every parameter of a model."""

  # By the file's key: our paths, or the reason for dropping it.
  used: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  dropped: dict[str, str] = dataclasses.field(default_factory=dict)
  # By our path: the reason for keeping the initial value, or what changed the
  # numbers (a resize, an average).
  random: dict[str, str] = dataclasses.field(default_factory=dict)
  changed: dict[str, str] = dataclasses.field(default_factory=dict)


def load_variables(
  rules: Sequence[key_rules.Rule],
  state: Mapping[str, np.ndarray],
  model: nn.Module,
  *,
  video: tuple[int, ...],
  random: Sequence[tuple[str, str]] = (),
  report: KeyReport | None = None,
) -> dict[str, Any]:
  """Converts a file's tensors to a model's variables.

  Args:
    rules: of the family.
    state: tensors by the file's key; every one is used once or dropped.
    model: that they are for.
    video: shape (T, H, W, C) of the clip that the file's tables are for.
    random: (regex, reason) of parameters that the file need not fill.
    report: filled in here.

  Returns:
    Variables of `model`, {'params': ..., ...}: numpy arrays, most of them views
    of `state`. Parameters that keep their initial value are left out.
  """
  target = flatten_variables(variable_shapes(model, video))
  arrays = convert(rules, state, target, random=random, report=report)
  return unflatten_variables(arrays)


def save_variables(
  rules: Sequence[key_rules.Rule], variables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """Converts a model's variables to a file's tensors, all of them."""
  params = {k: np.asarray(x) for k, x in flatten_variables(variables).items()}
  state: dict[str, np.ndarray] = {}
  used: set[str] = set()
  reverse = [
    key_rules.Rule(r.paths, r.keys, r.layout) for r in rules if r.paths
  ]
  for rule, paths, keys in match_rules(reverse, params):
    if used.intersection(paths):
      continue
    arrays = rule.layout.save(tuple(params[path] for path in paths))
    state.update(zip(keys, arrays, strict=True))
    used.update(paths)
  if extra := [path for path in params if path not in used]:
    raise InputError(
      f'no key of the file stands for {", ".join(extra[:SHOWN])}'
      f'{_count_rest(extra)}; expected a model with names in it; try '
      'other key names, or check the family'
    )
  return state


def variable_shapes(model: nn.Module, video: tuple[int, ...]) -> dict[str, Any]:
  """Shapes of all variables of a model that is built for clips (T, H, W, C)."""
  return unflatten_variables(_flat_shapes(model, tuple(video)))


@functools.lru_cache(maxsize=16)  # a file's clip is often the recipe's
def _flat_shapes(model: nn.Module, video: tuple[int, ...]) -> dict[str, Any]:
  clip = jax.ShapeDtypeStruct((1, *video), jnp.float32)
  variables = dict(jax.eval_shape(model.init, jax.random.key(0), clip))
  variables.pop('intermediates', None)
  return flatten_variables(variables)


def flatten_variables(variables: Mapping[str, Any]) -> dict[str, Any]:
  """Variables by path; paths of 'params' do not name the collection."""
  flat: dict[str, Any] = {}
  for collection, tree in variables.items():
    prefix = '' if collection == 'params' else f'{collection}/'
    leaves = flax.traverse_util.flatten_dict(tree, sep='/')
    flat |= {prefix + path: leaf for path, leaf in leaves.items()}
  return flat


def unflatten_variables(arrays: Mapping[str, Any]) -> dict[str, Any]:
  """Undoes `flatten_variables`."""
  named = {
    path if path.startswith(key_rules.STATS) else f'params/{path}': array
    for path, array in arrays.items()
  }
  return flax.traverse_util.unflatten_dict(named, sep='/')


def batch_counters(
  model: nn.Module, state: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """torch's counters of batches, which we do not count and nothing reads: 0."""
  del model
  return {
    key.replace('running_mean', 'num_batches_tracked'): np.zeros((), np.int64)
    for key in state
    if key.endswith('running_mean')
  }


def convert(
  rules: Sequence[key_rules.Rule],
  source: Mapping[str, np.ndarray],
  target: Mapping[str, Any],
  *,
  random: Sequence[tuple[str, str]] = (),
  report: KeyReport | None = None,
) -> dict[str, np.ndarray]:
  """Converts a file's tensors to parameters by path, as `load_variables`.

  The first rule that matches a key takes it. `target` is our parameters by
  path: anything with a `shape`. Tensors are read one after the other; arrays
  keep the file's dtype. Integers, and values that are not finite, are refused.
  """
  arrays: dict[str, np.ndarray] = {}
  report = KeyReport() if report is None else report
  for rule, keys, paths in match_rules(rules, source):
    taken = any(key in report.used or key in report.dropped for key in keys)
    if taken or not set(paths) <= set(target) or set(paths) & set(arrays):
      continue
    if not paths:
      report.dropped.update(dict.fromkeys(keys, rule.why))
      continue
    shapes = tuple(tuple(target[path].shape) for path in paths)
    _check_shapes(rule.layout, keys, source, paths, shapes)
    tensors = tuple(_check_numbers(key, source[key]) for key in keys)
    arrays.update(zip(paths, rule.layout.load(tensors, shapes), strict=True))
    report.used.update(dict.fromkeys(keys, tuple(paths)))
  for path in [path for path in target if path not in arrays]:
    for regex, why in random:
      if re.search(regex, path):
        report.random.setdefault(path, why)
  empty = [k for k in target if k not in arrays and k not in report.random]
  reported = {*report.used, *report.dropped}
  extra = [key for key in source if key not in reported]
  if extra or empty:
    raise InputError(_describe_leftovers(rules, extra, empty))
  return arrays


def match_rules(
  rules: Sequence[key_rules.Rule], names: Iterable[str]
) -> Iterator[tuple[key_rules.Rule, list[str], list[str]]]:
  """Yields rules, the keys that match (all of a rule must) and their paths."""
  names = dict.fromkeys(names)
  for rule in rules:
    pattern = _compile_name(rule.keys[0])
    for name in names:
      if match := pattern.fullmatch(name):
        keys = [key.format(**match.groupdict()) for key in rule.keys]
        paths = [path.format(**match.groupdict()) for path in rule.paths]
        if all(key in names for key in keys):
          yield rule, keys, paths


def _compile_name(name: str) -> re.Pattern[str]:
  """A rule's name as a regex: `{i}`, `{j}` stand for whole numbers."""
  return re.compile(re.sub(r'\\\{(\w)\\\}', r'(?P<\1>\\d+)', re.escape(name)))


def _check_numbers(key: str, array: np.ndarray) -> np.ndarray:
  """The array in this machine's byte order, if all its values are finite."""
  if not array.dtype.isnative:
    array = array.astype(array.dtype.newbyteorder('='))
  if array.dtype not in FLOATS:
    raise InputError(
      f'got {array.dtype} for {key}; expected floating point numbers; try an '
      'unquantised export of the file'
    )
  # An axis with a stride of 0 repeats one number: check it once.
  distinct = array[tuple(slice(1 if s == 0 else None) for s in array.strides)]
  # A sum is not finite if any value is not, and needs no copy of that size.
  # For float64 this holds too, but float32 cannot hold its largest numbers.
  with np.errstate(all='ignore'):
    wide = array.dtype == np.float64
    values = np.float32(distinct) if wide else distinct
    if np.isfinite(np.sum(values, dtype='f8')):
      return array
    bad = int((~np.isfinite(np.float32(distinct))).sum())
    both = (np.abs(np.float64(a)) for a in (distinct, distinct.byteswap()))
    values, swapped = both
  advice = 'the file is damaged or its training diverged; try another file'
  # With their bytes in the wrong order half of all numbers exceed any weight.
  huge = (values[np.isfinite(values)] > LARGEST).any()
  if huge and (swapped < LARGEST).all():
    advice = (
      'with the bytes of each number reversed all of them are small: the file '
      'was written big-endian; save it again on, or for, a little-endian '
      'machine'
    )
  raise InputError(f'{key} holds {bad} values that are not finite; {advice}')


def _check_shapes(
  layout: key_rules.Layout,
  keys: Sequence[str],
  source: Mapping[str, np.ndarray],
  paths: Sequence[str],
  shapes: key_rules.Shapes,
) -> None:
  """Refuses tensors of other shapes than our parameters would be saved with.

  A reshape accepts any tensor of the right size, scrambled or not. Saving zeros
  of our shapes (no memory: all strides are 0) tells the shapes that the file
  must have. If the file has `specs`, no tensor is read for this.
  """
  zeros = tuple(np.broadcast_to(np.float32(0), s) for s in shapes)
  expected = [list(array.shape) for array in layout.save(zeros)]
  specs = getattr(source, 'specs', None)
  in_file = [list(specs[k][0] if specs else source[k].shape) for k in keys]
  merged = [[shape[0], math.prod(shape[1:])] for shape in expected if shape]
  if in_file != expected and not (layout.merged and in_file == merged):
    raise InputError(
      f'{", ".join(keys)} has shape {", ".join(map(str, in_file))} and '
      f'{", ".join(paths)} needs {", ".join(map(str, expected))}; check width, '
      'heads, patch, classes and the clip size'
    )


def _describe_leftovers(
  rules: Sequence[key_rules.Rule], extra: Sequence[str], empty: Sequence[str]
) -> str:
  """Names both sides of a mismatch, each name with the nearest on the other."""
  key_of_path = {path: _find_key(rules, path) for path in empty}
  keys = [key for key in key_of_path.values() if key]
  extra_lines = [key + _name_nearest(key, keys) for key in extra[:SHOWN]]
  empty_lines = [
    f'{path} (in a file: {key or "never"}{_name_nearest(key, extra)})'
    for path, key in list(key_of_path.items())[:SHOWN]
  ]
  return (
    'the file and the model do not fit: keys that the model has no place for: '
    f'{", ".join(extra_lines) or "none"}{_count_rest(extra)}; parameters that '
    f'the file does not fill: {", ".join(empty_lines) or "none"}'
    f'{_count_rest(empty)}; check the family and its fields'
  )


def _find_key(rules: Sequence[key_rules.Rule], path: str) -> str:
  """The file's key that would fill a parameter, '' if there is none."""
  for rule in rules:
    for own in rule.paths:
      if match := _compile_name(own).fullmatch(path):
        return rule.keys[0].format(**match.groupdict())
  return ''


def _name_nearest(name: str, others: Sequence[str]) -> str:
  nearest = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
  return f', nearest {nearest[0]}' if nearest else ''


def _count_rest(names: Sequence[str]) -> str:
  """How many names are not shown."""
  return f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
