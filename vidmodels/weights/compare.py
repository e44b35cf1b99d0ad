"""What differs between two sets of tensors, one by one."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Difference:
  """One tensor that is not the same in A and B.

  Attributes:
    key: its name.
    kind: 'only in A', 'only in B', 'shape', or 'values'.
    a: shape in A; empty text if it is not there.
    b: shape in B.
    largest: largest absolute difference of values; 0 where there is none.
    relative: root mean square of the difference over that of A.
  """

  key: str
  kind: str
  a: str = ''
  b: str = ''
  largest: float = 0.0
  relative: float = 0.0


def differences(
  a: Mapping[str, np.ndarray],
  b: Mapping[str, np.ndarray],
  *,
  tolerance: float = 0.0,
) -> list[Difference]:
  """Every tensor that differs, in A's order and then B's.

  Args:
    a: tensors by name.
    b: likewise.
    tolerance: absolute; values that are not farther apart are the same.
  """
  found = [each for key in a if (each := _one(key, a, b, tolerance))]
  return found + [
    Difference(key, 'only in B', b=_shape(b, key)) for key in b if key not in a
  ]


def _one(key: str, a, b, tolerance: float) -> Difference | None:
  """The difference of one tensor of A, None if there is none."""
  shape = _shape(a, key)
  if key not in b:
    return Difference(key, 'only in A', a=shape)
  if shape != _shape(b, key):
    return Difference(key, 'shape', a=shape, b=_shape(b, key))
  left, right = (np.asarray(x[key], np.float64) for x in (a, b))
  with np.errstate(invalid='ignore', over='ignore'):
    off = np.abs(left - right)
  # Not a number on both sides is the same nothing, and so is no end; on one
  # side it is as far as can be.
  off[(np.isnan(left) & np.isnan(right)) | (left == right)] = 0
  off[np.isnan(off)] = np.inf
  largest = float(off.max(initial=0))
  if largest <= tolerance:
    return None
  with np.errstate(invalid='ignore', over='ignore', divide='ignore'):
    relative = float(np.sqrt(np.mean(off**2)) / np.sqrt(np.mean(left**2)))
  if np.isnan(relative):
    relative = np.inf
  return Difference(key, 'values', shape, shape, largest, relative)


def _shape(tensors: Mapping[str, np.ndarray], key: str) -> str:
  specs = getattr(tensors, 'specs', None)
  shape = specs[key][0] if specs else np.shape(tensors[key])
  return str(list(shape))
