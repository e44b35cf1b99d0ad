"""Tensors of a file: shapes at once, numbers when they are asked for."""

import math
from collections.abc import Callable, Iterator, Mapping

import ml_dtypes
import numpy as np

from vidmodels.typing import InputError

# Places of elements fit in 64 bits. A tensor may repeat elements (strides of 0)
# up to 2^28 bytes.
LARGEST, REPEATED = 1 << 48, 1 << 28
Spec = tuple[tuple[int, ...], np.dtype]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class Tensors(Mapping[str, np.ndarray]):
  """Arrays by key, read when looked up; `specs` has shape and dtype by key."""

  def __init__(
    self, specs: Mapping[str, Spec], read: Callable[[str], np.ndarray]
  ) -> None:
    self.specs = dict(specs)
    self._read = read

  def __getitem__(self, key: str) -> np.ndarray:
    if key not in self.specs:
      raise KeyError(key)
    return self._read(key)

  def __iter__(self) -> Iterator[str]:
    return iter(self.specs)

  def __len__(self) -> int:
    return len(self.specs)


def view(
  buffer: np.ndarray, spec: Spec, *, start: int, strides: tuple[int, ...] = ()
) -> np.ndarray:
  """Makes a read-only array over bytes of a file, uint8, and checks its bounds.

  `start` and `strides` count elements; without strides the last axis varies
  fastest. Elements outside the buffer are refused, and repeated ones (strides
  of 0) that come to far more than the buffer.
  """
  shape, dtype = spec
  if not strides:
    steps = np.cumprod([1, *shape[:0:-1]])[::-1] if shape else ()
    strides = tuple(int(step) for step in steps)
  wrong = (
    not len(strides) == len(shape) <= 32
    or min((*shape, *strides, start)) < 0
    or max((*shape, *strides, start)) > LARGEST
    or math.prod(shape) * dtype.itemsize > max(buffer.size, REPEATED)
  )
  last = start + sum((n - 1) * s for n, s in zip(shape, strides, strict=False))
  empty = 0 in shape
  if wrong or (not empty and (last + 1) * dtype.itemsize > buffer.size):
    raise InputError(
      f'a tensor of shape {shape} and strides {strides} does not lie in the '
      f'{buffer.size} bytes of its storage; try fetching the damaged file again'
    )
  if empty:
    return np.zeros(shape, dtype)
  whole = buffer[: buffer.size // dtype.itemsize * dtype.itemsize].view(dtype)
  return np.lib.stride_tricks.as_strided(
    whole[start:], shape, [s * dtype.itemsize for s in strides], writeable=False
  )
