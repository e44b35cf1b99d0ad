"""What differs between two sets of tensors, one by one."""

import dataclasses
from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Difference:
  """One tensor that is not the same in A and B.

  Attributes:
    key: its name.
    kind: 'only in A', 'only in B', 'shape', 'values', or 'dtype' for the same
      numbers kept in another type.
    a: shape in A; empty text if it is not there.
    b: shape in B.
    largest: largest absolute difference of values; 0 where there is none.
    relative: root mean square of the difference over that of A.
    a_dtype: type of the numbers in A; empty text if it is not there.
    b_dtype: likewise in B.
  """

  key: str
  kind: str
  a: str = ''
  b: str = ''
  largest: float = 0.0
  relative: float = 0.0
  a_dtype: str = ''
  b_dtype: str = ''


def differences(
  a: Arrays, b: Arrays, *, tolerance: float = 0.0
) -> list[Difference]:
  """Every tensor that differs, in A's order and then B's.

  Args:
    a: tensors by name.
    b: likewise.
    tolerance: absolute; values that are not farther apart are the same.
  """
  found = [each for key in a if (each := _one(key, a, b, tolerance))]
  alone = [(key, *_spec(b, key)) for key in b if key not in a]
  return found + [
    Difference(key, 'only in B', b=shape, b_dtype=dtype)
    for key, shape, dtype in alone
  ]


def _one(key: str, a: Arrays, b: Arrays, tolerance: float) -> Difference | None:
  """The difference of one tensor of A, None if there is none."""
  shape, dtype = _spec(a, key)
  if key not in b:
    return Difference(key, 'only in A', a=shape, a_dtype=dtype)
  other, b_dtype = _spec(b, key)
  found = Difference(key, 'shape', shape, other, a_dtype=dtype, b_dtype=b_dtype)
  if shape != other:
    return found
  largest, relative = _apart(a[key], b[key])
  if largest > tolerance:
    return dataclasses.replace(
      found, kind='values', largest=largest, relative=relative
    )
  if dtype != b_dtype:
    return dataclasses.replace(found, kind='dtype')
  return None


def _apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
  """Largest difference of two arrays, and its mean size over that of `a`."""
  left, right = (np.atleast_1d(np.asarray(x, np.float64)) for x in (a, b))
  with np.errstate(invalid='ignore', over='ignore'):
    off = np.abs(left - right)
  # Not a number on both sides is the same nothing, and so is no end; on one
  # side it is as far as can be.
  off[(np.isnan(left) & np.isnan(right)) | (left == right)] = 0
  off[np.isnan(off)] = np.inf
  largest = float(off.max(initial=0))
  if not largest:
    return 0.0, 0.0
  with np.errstate(invalid='ignore', over='ignore', divide='ignore'):
    relative = float(np.sqrt(np.mean(off**2)) / np.sqrt(np.mean(left**2)))
  return largest, np.inf if np.isnan(relative) else relative


def _spec(tensors: Arrays, key: str) -> tuple[str, str]:
  """Shape and dtype of a tensor as text, of a file without reading it."""
  specs = getattr(tensors, 'specs', None)
  if specs:
    shape, dtype = specs[key]
  else:
    shape, dtype = np.shape(tensors[key]), np.asarray(tensors[key]).dtype
  return str(list(shape)), str(dtype)
