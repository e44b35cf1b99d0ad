"""NumPy archives, as Google's ViT releases and our own exports are."""

import lzma
import math
import pathlib
import zipfile
import zlib

import numpy as np

from vidmodels.typing import InputError
from vidmodels.weights.formats.tensors import BFLOAT16, Spec, Tensors

# Bytes that an array may have however small it is packed. np.load would unpack
# a bomb of any size, which is why this file opens archives itself.
BOMB = 1 << 28
# What a damaged or encrypted archive makes zipfile and NumPy raise.
UNZIP_ERRORS = (
  zipfile.BadZipFile,
  zlib.error,
  lzma.LZMAError,
  ValueError,
  OverflowError,
  RuntimeError,
  EOFError,
  OSError,
)


def read_npz(path: pathlib.Path) -> Tensors:
  """Reads the arrays of an archive; their shapes now, numbers when asked for.

  NumPy stores bfloat16 as two bytes without a type; it comes back as bfloat16.
  Arrays of objects, which only a pickle could hold, are refused.
  """
  with zipfile.ZipFile(path) as archive:
    arrays = [i for i in archive.infolist() if i.filename.endswith('.npy')]
    infos = {info.filename.removesuffix('.npy'): info for info in arrays}
    specs = {k: _read_spec(path, archive, info) for k, info in infos.items()}

  def load(key: str) -> np.ndarray:
    (shape, dtype), info = specs[key], infos[key]
    if info.file_size > max(BOMB, 100 * info.compress_size):
      raise InputError(
        f'{key} of {path} would unpack from {info.compress_size} bytes to '
        f'{info.file_size}, as no trained weights do; try another file'
      )
    try:
      with zipfile.ZipFile(path) as archive, archive.open(info) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    except UNZIP_ERRORS as error:
      raise InputError(
        f'{key} of {path} cannot be read ({error}); try fetching the file again'
      ) from error
    return array.view(dtype).reshape(shape)

  return Tensors(specs, load)


def _read_spec(
  path: pathlib.Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> Spec:
  """Shape and dtype from an array's header, without reading its numbers."""
  try:
    with archive.open(info) as file:
      version = np.lib.format.read_magic(file)
      if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file)
      else:
        header = np.lib.format.read_array_header_2_0(file)
      before = file.tell()
  except UNZIP_ERRORS as error:
    raise InputError(
      f'{info.filename} of {path} is not an array ({error}); try fetching the '
      'file again'
    ) from error
  shape, _, dtype = header
  if dtype.kind not in 'biufc' and dtype != np.dtype('V2'):
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
