"""Reads torch.save files without torch and without making their objects.

Such a file is a pickle that names tensors, and the tensors' bytes. A pickle may
name any function and call it. Here only the names that rebuild tensors and
OrderedDict mean something. Every other name becomes an `Inert` object, which
forgets whatever it is given. So a checkpoint that holds a config node or an
optimiser opens, and one that holds code does not run it.
"""

import collections
import io
import mmap
import pathlib
import pickle
import reprlib
import zipfile
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from vidmodels.typing import InputError
from vidmodels.weights.formats.pickle_limits import (
  LARGEST_PICKLE,
  check_pickle,
  limited_opcodes,
)
from vidmodels.weights.formats.tensors import BFLOAT16, view

# How files from before torch 1.6 begin: the pickle of a magic number.
LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
DTYPES = {
  name: np.dtype(dtype)
  for names, dtype in (
    ('DoubleStorage float64', np.float64),
    ('FloatStorage float32', np.float32),
    ('HalfStorage float16', np.float16),
    ('BFloat16Storage bfloat16', BFLOAT16),
    ('LongStorage int64', np.int64),
    ('IntStorage int32', np.int32),
    ('ShortStorage int16', np.int16),
    ('CharStorage int8', np.int8),
    ('ByteStorage UntypedStorage uint8', np.uint8),
    ('BoolStorage bool', np.bool_),
  )
  for name in names.split()
}


class Inert:
  """An object of the file that was not made; it accepts and forgets all."""

  origin = ''

  def __new__(cls, *args: Any, **kwargs: Any) -> 'Inert':
    """Accepts any arguments."""
    return super().__new__(cls)

  def __call__(self, *args: Any, **kwargs: Any) -> 'Inert':
    """Forgets the arguments."""
    return self

  __setitem__ = __setstate__ = append = extend = add = __call__


class _Unchangeable:
  """An object that a pickle may use but not change."""

  def __setstate__(self, state: Any) -> None:
    """Forgets the state."""


class Storage(_Unchangeable):
  """Bytes of one or more tensors; `bytes` is set after the pickle is read."""

  def __init__(self, key: str, dtype: np.dtype, length: int) -> None:
    self.key, self.dtype, self.length = key, dtype, length
    self.bytes = np.zeros(0, np.uint8)


class TorchTensor(_Unchangeable):
  """A tensor of the file: which part of which storage."""

  def __init__(
    self,
    storage: Any,
    start: int,
    shape: Sequence[int],
    strides: Sequence[int],
    dtype: np.dtype | None = None,
  ) -> None:
    if not isinstance(storage, Storage):
      raise pickle.UnpicklingError('a tensor without a storage')
    self.storage, self.start = storage, start
    self.shape, self.strides = tuple(shape), tuple(strides)
    sizes = (start, *self.shape, *self.strides)
    if odd := [n for n in sizes if type(n) is not int or n < 0]:
      raise pickle.UnpicklingError(f'a tensor of size {reprlib.repr(odd[0])}')
    self.dtype = dtype or storage.dtype

  def array(self) -> np.ndarray:
    """The numbers, as a view of the file."""
    spec, content = (self.shape, self.dtype), self.storage.bytes
    return view(content, spec, start=self.start, strides=self.strides)


class _RebuildTensor(_Unchangeable):
  """torch._utils._rebuild_tensor_v2, and v3, which has a dtype argument too."""

  def __call__(
    self, storage: Any, start: Any, shape: Any, strides: Any, *rest: Any
  ) -> TorchTensor:
    names = [getattr(r, 'origin', '').rpartition('.')[2] for r in rest]
    dtype = next((DTYPES[name] for name in names if name in DTYPES), None)
    return TorchTensor(storage, start, shape, strides, dtype)


class _UnwrapTensor(_Unchangeable):
  """From a parameter or a tensor of another class to the tensor inside."""

  def __call__(self, *args: Any) -> Any:
    if isinstance(args[0], _RebuildTensor):  # (function, class, args, state)
      return args[0](*args[2])
    return args[0]


KNOWN = {
  ('collections', 'OrderedDict'): collections.OrderedDict,
  ('torch._utils', '_rebuild_tensor'): _RebuildTensor(),
  ('torch._utils', '_rebuild_tensor_v2'): _RebuildTensor(),
  ('torch._utils', '_rebuild_tensor_v3'): _RebuildTensor(),
  ('torch._utils', '_rebuild_parameter'): _UnwrapTensor(),
  ('torch._tensor', '_rebuild_from_type_v2'): _UnwrapTensor(),
}


class _Unpickler(pickle.Unpickler):
  """Makes storages, tensors, dicts, lists, text and numbers; nothing else."""

  def __init__(self, file: IO[bytes]) -> None:
    super().__init__(file, encoding='latin1')
    self.storages: dict[str, Storage] = {}

  def find_class(self, module: str, name: str) -> Any:
    """What a name of the pickle stands for."""
    if (module, name) in KNOWN:
      return KNOWN[module, name]
    origin = f'{module}.{name}'
    kind = type('Inert', (Inert,), {'origin': origin})
    # A dtype such as torch.float32 is an object, not a class.
    return kind() if module == 'torch' and name in DTYPES else kind

  def persistent_load(self, pid: Any) -> Storage:
    """A storage: ('storage', type, key, device, numel[, view])."""
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == 'storage'):
      raise pickle.UnpicklingError(f'unknown persistent id {reprlib.repr(pid)}')
    kind = getattr(pid[1], 'origin', '').rpartition('.')[2]
    if kind not in DTYPES:
      raise pickle.UnpicklingError(f'a storage of the unknown type {kind!r}')
    if len(pid) > 5 and pid[5] is not None:
      raise pickle.UnpicklingError('a storage that is a view of another')
    key, length = pid[2], pid[4]
    if not (isinstance(key, str | int) and isinstance(length, int)):
      raise pickle.UnpicklingError('a storage without a name or a length')
    storage = Storage(str(key), DTYPES[kind], length)
    known = self.storages.setdefault(storage.key, storage)
    if (known.dtype, known.length) != (storage.dtype, storage.length):
      raise pickle.UnpicklingError(f'storage {key} is said to be two things')
    return known


def read_zip(path: pathlib.Path) -> Any:
  """Reads what was saved in a zip archive (torch 1.6 and later)."""
  with zipfile.ZipFile(path) as archive:
    infos = {info.filename: info for info in archive.infolist()}
  pickles = [name for name in infos if name.endswith('/data.pkl')]
  if len(pickles) > 1:
    raise InputError(
      f'{path} holds {pickles}; expected one object; try saving it again'
    )
  root = pickles[0].removesuffix('data.pkl')
  whole = np.memmap(path, np.uint8, mode='r')

  def read(name: str) -> np.ndarray:
    return _read_member(path, whole, infos.get(root + name), name)

  if f'{root}byteorder' in infos and read('byteorder').tobytes() != b'little':
    raise InputError(
      f'{path} was written big-endian; expected little-endian; try saving it '
      'again on a little-endian machine'
    )
  pickled = read('data.pkl')
  if pickled.size > LARGEST_PICKLE:
    raise _damaged_error(path, f'a pickle of {pickled.size:,} bytes')
  tree, storages = _unpickle(path, pickled.tobytes())
  for key, storage in storages.items():
    _fill(path, storage, read(f'data/{key}'))
  return tree


def read_legacy(path: pathlib.Path) -> Any:
  """Reads what was saved by torch before 1.6.

  Four pickles (magic, protocol, system, the object), a fifth with the order of
  the storages, then each storage as its length in elements and its bytes.
  """
  whole = np.memmap(path, np.uint8, mode='r')
  # A map of the file's first bytes: no read beyond them, whatever a length in
  # the pickle says.
  with (
    open(path, 'rb') as file,
    mmap.mmap(
      file.fileno(), min(whole.size, LARGEST_PICKLE), access=mmap.ACCESS_READ
    ) as start,
  ):
    for _ in range(3):
      _read_pickle(path, start)
    tree, storages = _read_pickle(path, start)
    order, _ = _read_pickle(path, start)
    at = start.tell()
  if not isinstance(order, list):
    raise _damaged_error(path, 'no order of storages')
  for key in map(str, order):
    storage = storages.get(key)
    if storage is None or at + 8 > whole.size:
      raise _damaged_error(path, f'storage {key} is missing')
    length = int.from_bytes(whole[at : at + 8].tobytes(), 'little')
    end = at + 8 + length * storage.dtype.itemsize
    if end > whole.size:
      raise _damaged_error(path, f'storage {key} ends behind the file')
    _fill(path, storage, whole[at + 8 : end])
    at = end
  return tree


def _read_pickle(
  path: pathlib.Path, file: mmap.mmap
) -> tuple[Any, dict[str, Storage]]:
  """Reads the pickle at the file's position, which moves behind its end."""
  start = file.tell()
  try:
    for _ in limited_opcodes(file):
      pass
  except Exception as error:  # a damaged pickle may raise anything
    raise _damaged_error(path, error) from error
  end = file.tell()
  file.seek(start)
  result = _unpickle(path, file.read(end - start))
  file.seek(end)
  return result


def _unpickle(path: pathlib.Path, raw: bytes) -> tuple[Any, dict[str, Storage]]:
  """The object of a pickle, and its storages by key."""
  try:
    check_pickle(raw)
    unpickler = _Unpickler(io.BytesIO(raw))
    return unpickler.load(), unpickler.storages
  except Exception as error:  # a damaged pickle may raise anything
    raise _damaged_error(path, error) from error


def _read_member(
  path: pathlib.Path, whole: np.ndarray, info: zipfile.ZipInfo | None, name: str
) -> np.ndarray:
  """A member's bytes as a view; without the checksum, which torch may omit."""
  if info is None:
    raise _damaged_error(path, f'{name} is missing')
  if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
    raise InputError(
      f'{name} of {path} is compressed or encrypted; expected plain bytes, as '
      'torch writes them; try saving the file again with torch.save'
    )
  # A local header is 30 bytes, then a name and an extra field. Their lengths
  # may differ from those in the archive's directory.
  at = info.header_offset
  name_length, extra_length = (
    int.from_bytes(whole[at + i : at + i + 2].tobytes(), 'little')
    for i in (26, 28)
  )
  start = at + 30 + name_length + extra_length
  if start + info.file_size > whole.size:
    raise _damaged_error(path, f'{name} ends behind the file')
  return whole[start : start + info.file_size]


def _fill(path: pathlib.Path, storage: Storage, content: np.ndarray) -> None:
  """Gives a storage its bytes, if they are as many as the pickle says."""
  expected = storage.length * storage.dtype.itemsize
  if content.size != expected:
    raise _damaged_error(
      path, f'storage {storage.key} has {content.size} bytes of {expected}'
    )
  storage.bytes = content


def _damaged_error(path: pathlib.Path, error: object) -> InputError:
  cause = ' '.join(str(error).split())[:120] or type(error).__name__
  return InputError(
    f'{path} is cut short, damaged or no torch file ({cause}); try fetching it '
    'again'
  )
