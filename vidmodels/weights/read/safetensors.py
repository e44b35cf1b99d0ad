"""Safetensors: a JSON header and plain bytes."""

import json
import math
import pathlib

import ml_dtypes
import numpy as np

from vidmodels.typing import InputError
from vidmodels.weights.read.tensors import BFLOAT16, Tensors, view

DTYPES = {
  'F64': np.dtype(np.float64),
  'F32': np.dtype(np.float32),
  'F16': np.dtype(np.float16),
  'BF16': BFLOAT16,
  'F8_E4M3': np.dtype(ml_dtypes.float8_e4m3fn),
  'F8_E5M2': np.dtype(ml_dtypes.float8_e5m2),
  'I64': np.dtype(np.int64),
  'I32': np.dtype(np.int32),
  'I16': np.dtype(np.int16),
  'I8': np.dtype(np.int8),
  'U8': np.dtype(np.uint8),
  'BOOL': np.dtype(np.bool_),
}


def read(path: pathlib.Path) -> tuple[Tensors, dict[str, str]]:
  """The tensors, views of the file, and the notes of its header.

  Read here rather than by the `safetensors` package because that gives NumPy
  no bfloat16.

  Raises:
    InputError: for a header that is no JSON, or tensors outside the file.
  """
  size = path.stat().st_size
  with open(path, 'rb') as file:
    length = int.from_bytes(file.read(8), 'little')
    text = file.read(min(length, size))
  try:
    header = json.loads(text)
    notes = header.pop('__metadata__', {})
    entries = {
      key: (
        tuple(map(int, entry['shape'])),
        DTYPES[entry['dtype']],
        *map(int, entry['data_offsets']),
      )
      for key, entry in header.items()
    }
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise InputError(
      f'{path} has a header that is no safetensors header ({error!r}); fetch '
      'it again'
    ) from error
  start, specs = 8 + length, {}
  for key, (shape, dtype, first, last) in entries.items():
    wanted = math.prod(shape) * dtype.itemsize
    if not (0 <= first <= last <= size - start and last - first == wanted):
      raise InputError(
        f'{key} of {path} lies at bytes {first} to {last} of {size - start} '
        f'and needs {wanted}; the file is cut short: fetch it again'
      )
    specs[key] = (shape, dtype)
  if not specs:
    raise InputError(f'{path} holds no tensors')
  data = np.memmap(path, np.uint8, mode='r')

  def load(key: str) -> np.ndarray:
    _, _, first, last = entries[key]
    return view(data[start + first : start + last], specs[key], start=0)

  return Tensors(specs, load), notes
