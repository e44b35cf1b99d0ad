"""Compares two sets of tensors, or a model with a file under the file's names.

both = align_with_file(open_file(path), 'vit', model, variables)
for row in compare_tensors(both.ours, both.theirs): ...
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import load_weights, own_files
from vidmodels.weights.formats.open_file import File
from vidmodels.weights.formats.tensors import Tensors
from vidmodels.weights.mapping.apply import match_rules, save_variables

TensorMap = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Difference:
  """One tensor that is not the same in A and B."""

  key: str
  # kind: 'only in A', 'only in B', 'shape', 'values', or 'dtype' for the same
  # numbers kept in another type
  kind: str
  a: str = ''  # shape in A; '' if A does not have it
  b: str = ''  # shape in B
  largest: float = 0.0  # absolute difference of values
  relative: float = 0.0  # root mean square of the difference over that of A
  a_dtype: str = ''  # type of the numbers in A; '' if A does not have it
  b_dtype: str = ''  # type of the numbers in B


def compare_tensors(
  a: TensorMap, b: TensorMap, *, tolerance: float = 0.0
) -> list[Difference]:
  """Lists tensors that differ by more than `tolerance`, A's and then B's."""
  rows = [_compare_one(key, a, b, tolerance) for key in dict.fromkeys((*a, *b))]
  return [row for row in rows if row]


def _compare_one(
  key: str, a: TensorMap, b: TensorMap, tolerance: float
) -> Difference | None:
  """The difference of one tensor, None if there is none."""
  shape, dtype = _describe_spec(a, key)
  other, b_dtype = _describe_spec(b, key)
  row = Difference(key, 'shape', shape, other, a_dtype=dtype, b_dtype=b_dtype)
  if not (shape and other):
    kind = 'only in A' if shape else 'only in B'
    return dataclasses.replace(row, kind=kind)
  if shape != other:
    return row
  largest, relative = _measure_distance(a[key], b[key])
  if largest > tolerance:
    return dataclasses.replace(
      row, kind='values', largest=largest, relative=relative
    )
  return dataclasses.replace(row, kind='dtype') if dtype != b_dtype else None


def _measure_distance(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
  """Largest difference of two arrays, and its mean size over that of `a`."""
  left, right = (np.atleast_1d(np.asarray(x, np.float64)) for x in (a, b))
  with np.errstate(invalid='ignore', over='ignore'):
    distance = np.abs(left - right)
  # NaN on both sides is the same, and so is infinity. On one side it is as far
  # away as can be.
  distance[(np.isnan(left) & np.isnan(right)) | (left == right)] = 0
  distance[np.isnan(distance)] = np.inf
  largest = float(distance.max(initial=0))
  if not largest:
    return 0.0, 0.0
  with np.errstate(invalid='ignore', over='ignore', divide='ignore'):
    size = np.sqrt(np.mean(left**2))
    relative = float(np.sqrt(np.mean(distance**2)) / size)
  return largest, np.inf if np.isnan(relative) else relative


def _describe_spec(tensors: TensorMap, key: str) -> tuple[str, str]:
  """Shape and dtype of a tensor as text, '' for none; reads none of a file."""
  specs = getattr(tensors, 'specs', None)
  if key not in tensors:
    return '', ''
  if specs:
    shape, dtype = specs[key]
  else:
    shape, dtype = np.shape(tensors[key]), np.asarray(tensors[key]).dtype
  return str(list(shape)), str(dtype)


@dataclasses.dataclass(frozen=True)
class AlignedTensors:
  """A model's weights and a file's under the same names."""

  ours: TensorMap  # the model's tensors by the file's key
  theirs: TensorMap  # the file's own
  unread: Mapping[str, str]  # by other keys of the file, why no model reads it


def align_with_file(
  file: File, family: str, model: nn.Module, variables: Mapping[str, Any]
) -> AlignedTensors:
  """Puts a model's weights under a file's names, beside the file's tensors.

  Layers that a file keeps in one array are split on both sides. A file of
  another family is refused.
  """
  matches = own_files.list_matches(file)
  own = [m for m in matches if m.naming.family == family]
  if not own:
    known = ', '.join(dict.fromkeys(m.naming.family for m in matches))
    odd = load_weights.describe_odd_keys(file.tensors)
    raise InputError(
      f'{file.path} is {known or f"of no known family{odd}"} and the folder '
      f'holds {family}, which share no names; import the file into a folder, '
      'and compare the two folders'
    )
  fields = {name: getattr(model, name) for name in models.fields(family)}
  match = min(
    own, key=lambda m: len(load_weights.list_contradictions(m, fields))
  )
  rules, unwrapped = match.naming.rules(model), match.unwrapped
  prefix = unwrapped.prefix
  pixels = load_weights.find_pixels(
    match, load_weights.read_hub_config(file, match)
  )
  if pixels and pixels.order == 'BGR':
    variables = load_weights.turn_channels(variables)
  state = save_variables(rules, variables)
  drops = [rule for rule in rules if not rule.paths]
  unread = {
    unwrapped.keys[key]: rule.why
    for rule, keys, _ in match_rules(drops, unwrapped.tensors)
    for key in keys
    if key not in state
  }
  specs = {
    prefix + key: spec
    for key, spec in unwrapped.tensors.specs.items()
    if unwrapped.keys[key] not in unread
  }
  return AlignedTensors(
    ours={prefix + key: array for key, array in state.items()},
    theirs=Tensors(specs, lambda k: unwrapped.tensors[k.removeprefix(prefix)]),
    unread={**unread, **unwrapped.aside},
  )
