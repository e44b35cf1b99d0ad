"""NumPy archives: Google's ViT releases, our exports, the scores of views.

Nothing of an archive is unpacked until it is asked for, and then as many bytes
as its header says. NumPy's own reader would unpack a bomb of any size; its
errors advise to run what the file holds.
"""

import io
import lzma
import math
import pathlib
import struct
import zipfile
import zlib
from typing import IO

import numpy as np

from vidmodels.typing import InputError, brief
from vidmodels.weights.formats.tensors import BFLOAT16, Spec, Tensors

# Bytes that an archive may unpack to however small it is, and how often its own
# size: trained weights shrink by a tenth, and those that are mostly zeros eight
# times. A packed zero is a thousand times smaller.
BOMB, RATIO = 1 << 26, 20
_LONGEST_HEADER = 10_000  # bytes of an array's own header; NumPy's limit
NUMBERS, TEXT = 'biufc', 'U'  # kinds of dtypes
# What a damaged or encrypted archive makes zipfile and NumPy raise.
UNZIP_ERRORS = (
  zipfile.BadZipFile,
  zlib.error,
  lzma.LZMAError,
  struct.error,
  ValueError,
  TypeError,
  OverflowError,
  RuntimeError,
  MemoryError,
  SyntaxError,
  EOFError,
  OSError,
)


def read_npz(path: pathlib.Path, *, kinds: str = NUMBERS) -> Tensors:
  """Reads the arrays of an archive; their shapes now, numbers when asked for.

  NumPy stores bfloat16 as two bytes without a type; it comes back as bfloat16.
  Arrays of other `kinds` are refused, above all those of objects, which only a
  pickle could hold.
  """
  with zipfile.ZipFile(path) as archive:
    arrays = [i for i in archive.infolist() if i.filename.endswith('.npy')]
    _refuse_bomb(path, arrays)
    infos = {info.filename.removesuffix('.npy'): info for info in arrays}
    specs = {
      k: _read_spec(path, archive, info, kinds) for k, info in infos.items()
    }

  def load(key: str) -> np.ndarray:
    (shape, dtype), info = specs[key], infos[key]
    try:
      with zipfile.ZipFile(path) as archive, archive.open(info) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    except UNZIP_ERRORS as error:
      raise InputError(
        f'{key} of {path} cannot be read ({error!s:.120}); try fetching the '
        'file again'
      ) from error
    return array.view(dtype).reshape(shape)

  return Tensors(specs, load)


def _refuse_bomb(path: pathlib.Path, arrays: list[zipfile.ZipInfo]) -> None:
  """Refuses an archive that unpacks to far more than it holds."""
  size, unpacked = path.stat().st_size, sum(info.file_size for info in arrays)
  if unpacked <= max(BOMB, RATIO * size):
    return
  largest = max(arrays, key=lambda info: info.file_size)
  raise InputError(
    f'got {path}, which would unpack from {size:,} bytes to {unpacked:,} '
    f'({brief(largest.filename)} alone to {largest.file_size:,}), as no '
    'trained weights do; expected an archive of numbers; try another file'
  )


def _read_spec(
  path: pathlib.Path,
  archive: zipfile.ZipFile,
  info: zipfile.ZipInfo,
  kinds: str,
) -> Spec:
  """Shape and dtype from an array's header, without reading its numbers."""
  try:
    with archive.open(info) as file:
      shape, dtype, before = _read_header(file)
  except UNZIP_ERRORS as error:
    raise InputError(
      f'{info.filename} of {path} is not an array ({error!s:.120}); try '
      'fetching the file again'
    ) from error
  is_bfloat16 = dtype == np.dtype('V2') and kinds == NUMBERS
  if dtype.hasobject or not (dtype.kind in kinds or is_bfloat16):
    objects = 'Python objects, which could run code'
    raise InputError(
      f'{info.filename} of {path} holds {objects if dtype.hasobject else dtype}'
      '; expected only arrays of numbers; try saving the file without it'
    )
  expected = before + math.prod(shape) * dtype.itemsize
  if info.file_size != expected:
    raise InputError(
      f'{info.filename} of {path} has {info.file_size} bytes; expected '
      f'{expected}, as its header says; try fetching the damaged file again'
    )
  return shape, BFLOAT16 if dtype == np.dtype('V2') else dtype


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
  """Shape, dtype and length of an array's header.

  Its length is compared before it is read: it may claim 4 GB. NumPy would
  refuse a long one too, and advise allow_pickle=True.
  """
  start = file.read(8)
  if start[:6] != b'\x93NUMPY' or start[6:] not in (b'\1\0', b'\2\0', b'\3\0'):
    raise ValueError('it has no header of NumPy')
  form = '<H' if start[6] == 1 else '<I'
  field = file.read(struct.calcsize(form))
  (length,) = struct.unpack(form, field)
  if length > _LONGEST_HEADER:
    raise ValueError(f'its header claims {length:,} bytes')
  text = file.read(length)
  if len(text) != length:
    raise ValueError('its header is cut short')
  read = (
    np.lib.format.read_array_header_1_0
    if start[6] == 1
    else np.lib.format.read_array_header_2_0
  )
  shape, _, dtype = read(io.BytesIO(field + text))
  if any(type(n) is not int or n < 0 for n in shape):
    raise ValueError(f'its shape is {brief(shape)}')
  return shape, dtype, len(start) + len(field) + length
