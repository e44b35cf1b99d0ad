"""Safetensors: a JSON header and plain bytes."""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from vidmodels.typing import InputError
from vidmodels.weights.formats.tensors import BFLOAT16, Tensors, view

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

# Shape, dtype, and the first byte and the one behind the last.
Entry = tuple[tuple[int, ...], np.dtype, int, int]


def read(path: pathlib.Path) -> tuple[Tensors, dict[str, str]]:
  """The tensors, views of the file, and the notes of its header.

  Read here rather than by the `safetensors` package because that gives NumPy
  no bfloat16.

  Raises:
    InputError: for a header that is no JSON, or tensors outside the file.
  """
  size = path.stat().st_size
  text = _header(path, size)
  try:
    entries, notes = _entries(text)
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
  if not entries:
    raise InputError(f'{path} holds no tensors')
  start = 8 + len(text)
  _inside(path, entries, size - start)
  _adjoin(path, entries, size - start)
  data = np.memmap(path, np.uint8, mode='r')
  specs = {key: (shape, dtype) for key, (shape, dtype, *_) in entries.items()}

  def load(key: str) -> np.ndarray:
    _, _, first, last = entries[key]
    return view(data[start + first : start + last], specs[key], start=0)

  return Tensors(specs, load), notes


def _header(path: pathlib.Path, size: int) -> bytes:
  """The JSON in front, whose length the first 8 bytes say."""
  with open(path, 'rb') as file:
    length = int.from_bytes(file.read(8), 'little')
    if length > size - 8:
      raise InputError(
        f'{path} has a header of {length} bytes and {size - 8} to hold it; the '
        'file is cut short or no safetensors: fetch it again'
      )
    return file.read(length)


def _entries(text: bytes) -> tuple[dict[str, Entry], dict[str, str]]:
  """Tensors by key and notes by name; whatever error for what is no header."""
  header = json.loads(text, object_pairs_hook=_once)
  notes = header.pop('__metadata__', {})
  entries = {}
  for key, entry in header.items():
    first, last = map(_whole, entry['data_offsets'])
    shape = tuple(map(_whole, entry['shape']))
    entries[key] = (shape, DTYPES[entry['dtype']], first, last)
  return entries, {str(name): str(note) for name, note in notes.items()}


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


def _inside(
  path: pathlib.Path, entries: Mapping[str, Entry], size: int
) -> None:
  """Refuses tensors outside the file, or of another size than their shape's."""
  for key, (shape, dtype, first, last) in entries.items():
    wanted = math.prod(shape) * dtype.itemsize
    if not (0 <= first <= last <= size and last - first == wanted):
      raise InputError(
        f'{key} of {path} lies at bytes {first} to {last} of {size} and needs '
        f'{wanted}; the file is cut short: fetch it again'
      )


def _adjoin(
  path: pathlib.Path, entries: Mapping[str, Entry], size: int
) -> None:
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
