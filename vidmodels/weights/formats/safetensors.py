"""Reads safetensors files with the package of that name."""

import math
import pathlib

import ml_dtypes
import numpy as np

from vidmodels import checked_json
from vidmodels.typing import InputError
from vidmodels.weights.formats.tensors import BFLOAT16, Spec, Tensors, view

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
# Bytes; the header of a thousand tensors has 0.1 MB. The format allows 100 MB,
# which would take some gigabytes once read.
LONGEST_HEADER = 1 << 24


def read_safetensors(path: pathlib.Path) -> tuple[Tensors, dict[str, str]]:
  """Reads the tensors, as views of the file, and the notes of its header.

  The package checks the header, and that the tensors follow each other without
  gaps to the end of the file. So their places follow from their sizes. It takes
  the last of two equal keys, which is refused here. Its own `get_tensor` would
  copy each tensor, 1.2 GB of a ViT-L, and has no float8.
  """
  from safetensors import SafetensorError, safe_open

  size = path.stat().st_size
  with open(path, 'rb') as file:
    length = int.from_bytes(file.read(8), 'little')
    if length > size - 8:  # before anything of that size is read
      raise InputError(
        f'got {path} with a header of {length} bytes, and {size - 8} bytes '
        'after the first 8; expected a whole safetensors file; try fetching it '
        'again'
      )
    if length > LONGEST_HEADER:
      raise InputError(
        f'got {path} with a header of {length:,} bytes; expected at most '
        f'{LONGEST_HEADER:,}; try fetching it again, or another file'
      )
    header = file.read(length)
  try:
    checked_json.parse(header, largest=LONGEST_HEADER)
    with safe_open(path, framework='np') as content:
      notes = content.metadata() or {}
      slices = {key: content.get_slice(key) for key in content.offset_keys()}
      entries = {
        key: (tuple(part.get_shape()), part.get_dtype())
        for key, part in slices.items()
      }
  except (SafetensorError, ValueError, OverflowError) as error:
    raise InputError(
      f'{path} is cut short, or its header is not a safetensors header '
      f'({str(error)[:120]}); try fetching it again'
    ) from error
  if not entries:
    raise InputError(f'{path} holds no tensors; try another file')
  specs: dict[str, Spec] = {}
  starts: dict[str, int] = {}
  start = 8 + length
  for key, (shape, name) in entries.items():
    if name not in DTYPES:
      raise InputError(
        f'got {name} for {key} of {path}; expected one of '
        f'{", ".join(DTYPES)}; try saving the file in float32'
      )
    specs[key], starts[key] = (shape, DTYPES[name]), start
    start += math.prod(shape) * DTYPES[name].itemsize
  data = np.memmap(path, np.uint8, mode='r')

  def load(key: str) -> np.ndarray:
    shape, dtype = specs[key]
    first = starts[key]
    last = first + math.prod(shape) * dtype.itemsize
    return view(data[first:last], specs[key], start=0)

  return Tensors(specs, load), notes
