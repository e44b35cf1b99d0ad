"""Safetensors: a JSON header and plain bytes."""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

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
    if length > size - 8:
      raise InputError(
        f'{path} has a header of {length} bytes and {size - 8} to hold it; the '
        'file is cut short or no safetensors: fetch it again'
      )
    text = file.read(length)
  try:
    header = json.loads(text, object_pairs_hook=_once)
    notes = header.pop('__metadata__', {})
    notes = {str(name): str(note) for name, note in notes.items()}
    entries = {
      key: (
        tuple(map(_whole, entry['shape'])),
        DTYPES[entry['dtype']],
        *map(_whole, entry['data_offsets']),
      )
      for key, entry in header.items()
    }
  except (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
  ) as error:
    raise InputError(
      f'{path} has a header that is no safetensors header '
      f'({repr(error)[:120]}); fetch it again'
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
  _adjoin(path, entries, size - start)
  data = np.memmap(path, np.uint8, mode='r')

  def load(key: str) -> np.ndarray:
    _, _, first, last = entries[key]
    return view(data[start + first : start + last], specs[key], start=0)

  return Tensors(specs, load), notes


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A dict of pairs whose names are all different."""
  made = dict(pairs)
  if len(made) < len(pairs):
    raise ValueError('a name that is there twice')
  return made


def _whole(number: Any) -> int:
  """A whole number of JSON that is not negative."""
  if type(number) is not int or number < 0:
    raise ValueError(f'{number!r} is no size')
  return number


def _adjoin(path: pathlib.Path, entries: Mapping[str, Any], size: int) -> None:
  """Refuses tensors that share bytes, and bytes of no tensor."""
  at = 0
  for first, last, key in sorted((e[2], e[3], k) for k, e in entries.items()):
    if first != at:
      raise InputError(
        f'{key} of {path} starts at byte {first} and the tensor before it ends '
        f'at {at}; the file is damaged: fetch it again'
      )
    at = last
  if at != size:
    raise InputError(
      f'{path} has {size - at} bytes that belong to no tensor; the file is '
      'damaged: fetch it again'
    )
