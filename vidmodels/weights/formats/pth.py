"""torch.save files, read without torch and without making their objects.

Such a file is a pickle that names tensors, and the tensors' bytes. A pickle may
name any function and call it. Here the only names that mean something are those
that rebuild tensors and OrderedDict; every other one, whatever it is, becomes
an `Inert` object that forgets what it is given. So a checkpoint that carries a
config node or an optimiser opens, and one that carries code does not run it.
"""

import collections
import io
import pathlib
import pickle
import pickletools
import reprlib
import zipfile
from typing import Any

import numpy as np

from vidmodels.typing import InputError
from vidmodels.weights.formats import pickle_limits
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
  """An object of the file that was not made: its origin, and nothing else.

  It takes whatever a pickle does to an object: arguments, calls, items, state.
  """

  origin = ''

  def __new__(cls, *args, **kwargs) -> 'Inert':
    """Takes any arguments."""
    return super().__new__(cls)

  def __init__(self, *args, **kwargs) -> None:
    """Forgets the arguments."""

  def __call__(self, *args, **kwargs) -> 'Inert':
    """A call gives something inert too."""
    return self

  def __setitem__(self, key, value) -> None:
    """Forgets an item."""

  def __setstate__(self, state) -> None:
    """Forgets the state."""

  def append(self, value) -> None:
    """Forgets a value."""

  def extend(self, values) -> None:
    """Forgets values."""

  add = append


class _Fixed:
  """What a pickle may use and not change."""

  def __setstate__(self, state) -> None:
    """Forgets the state."""


class Storage(_Fixed):
  """Bytes of one or more tensors, found when the pickle has been read."""

  def __init__(self, key: str, dtype: np.dtype, length: int) -> None:
    self.key, self.dtype, self.length = key, dtype, length
    self.bytes = np.zeros(0, np.uint8)


class Tensor(_Fixed):
  """A tensor of the file: which part of which storage."""

  def __init__(self, storage, start, shape, strides, dtype=None) -> None:
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
    spec = (self.shape, self.dtype)
    return view(
      self.storage.bytes, spec, start=self.start, strides=self.strides
    )


class _Rebuild(_Fixed):
  """torch._utils._rebuild_tensor_v2, and v3, which is told a dtype too."""

  def __call__(self, storage, start, shape, strides, *rest) -> Tensor:
    names = [getattr(r, 'origin', '').rpartition('.')[2] for r in rest]
    dtype = next((DTYPES[name] for name in names if name in DTYPES), None)
    return Tensor(storage, start, shape, strides, dtype)


class _Inside(_Fixed):
  """A parameter or a tensor of another class: the tensor inside."""

  def __call__(self, *args) -> Any:
    if isinstance(args[0], _Rebuild):  # (function, class, its arguments, state)
      return args[0](*args[2])
    return args[0]


KNOWN = {
  ('collections', 'OrderedDict'): collections.OrderedDict,
  ('torch._utils', '_rebuild_tensor'): _Rebuild(),
  ('torch._utils', '_rebuild_tensor_v2'): _Rebuild(),
  ('torch._utils', '_rebuild_tensor_v3'): _Rebuild(),
  ('torch._utils', '_rebuild_parameter'): _Inside(),
  ('torch._tensor', '_rebuild_from_type_v2'): _Inside(),
}


class _Unpickler(pickle.Unpickler):
  """Makes tensors' places, dicts, lists, text and numbers; no other object."""

  def __init__(self, file) -> None:
    super().__init__(file, encoding='latin1')
    self.storages: dict[str, Storage] = {}

  def find_class(self, module: str, name: str):
    """What a name of the pickle stands for."""
    if (module, name) in KNOWN:
      return KNOWN[module, name]
    origin = f'{module}.{name}'
    kind = type('Inert', (Inert,), {'origin': origin})
    # A dtype is a thing and not a class: torch.float32.
    return kind() if module == 'torch' and name in DTYPES else kind

  def persistent_load(self, pid) -> Storage:
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
    made = Storage(str(key), DTYPES[kind], length)
    known = self.storages.setdefault(made.key, made)
    if (known.dtype, known.length) != (made.dtype, made.length):
      raise pickle.UnpicklingError(f'storage {key} is said to be two things')
    return known


def read_zip(path: pathlib.Path) -> Any:
  """What was saved, of a file that is a zip archive (torch 1.6 and later).

  Raises:
    InputError: for a file that is cut short, compressed or not torch's.
  """
  with zipfile.ZipFile(path) as archive:
    infos = {info.filename: info for info in archive.infolist()}
  pkls = [name for name in infos if name.endswith('/data.pkl')]
  if len(pkls) > 1:
    raise InputError(f'{path} holds {pkls}; wanted one object: save it again')
  root = pkls[0].removesuffix('data.pkl')
  whole = np.memmap(path, np.uint8, mode='r')

  def stored(name: str) -> np.ndarray:
    return _stored(path, whole, infos.get(root + name), name)

  if f'{root}byteorder' in infos and stored('byteorder').tobytes() != b'little':
    raise InputError(f'{path} was written big-endian; save it again')
  tree, storages = _unpickle(path, stored('data.pkl').tobytes())
  for key, storage in storages.items():
    storage.bytes = _all(path, storage, stored(f'data/{key}'))
  return tree


def read_legacy(path: pathlib.Path) -> Any:
  """What was saved, of a file from before torch 1.6.

  Four pickles (magic, protocol, system, the object), a fifth with the order of
  the storages, then each storage as its length in elements and its bytes.
  """
  whole = np.memmap(path, np.uint8, mode='r')
  with open(path, 'rb') as file:
    for _ in range(3):
      _one(path, file)
    tree, storages = _one(path, file)
    order, _ = _one(path, file)
    at = file.tell()
  if not isinstance(order, list):
    raise _damaged(path, 'no order of storages')
  for key in map(str, order):
    storage = storages.get(key)
    if storage is None or at + 8 > whole.size:
      raise _damaged(path, f'storage {key} is missing')
    length = int.from_bytes(whole[at : at + 8].tobytes(), 'little')
    end = at + 8 + length * storage.dtype.itemsize
    if end > whole.size:
      raise _damaged(path, f'storage {key} ends behind the file')
    storage.bytes, at = _all(path, storage, whole[at + 8 : end]), end
  return tree


def _one(path: pathlib.Path, file) -> tuple[Any, dict[str, Storage]]:
  """Reads the pickle at the file's position and leaves it behind its end."""
  start = file.tell()
  try:
    for _ in pickletools.genops(file):
      pass
  except Exception as error:  # whatever a damaged pickle makes of it
    raise _damaged(path, error) from error
  end = file.tell()
  file.seek(start)
  found = _unpickle(path, file.read(end - start))
  file.seek(end)
  return found


def _unpickle(path: pathlib.Path, raw: bytes):
  """The object of a pickle, and its storages by key."""
  try:
    pickle_limits.check(raw)
    unpickler = _Unpickler(io.BytesIO(raw))
    return unpickler.load(), unpickler.storages
  except Exception as error:  # whatever a damaged pickle makes of it
    raise _damaged(path, error) from error


def _stored(
  path: pathlib.Path, whole: np.ndarray, info: zipfile.ZipInfo | None, name: str
) -> np.ndarray:
  """The bytes of a member of the archive, as a view of the file.

  Its checksum is not looked at: torch writes none if it is told so.
  """
  if info is None:
    raise _damaged(path, f'{name} is missing')
  if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
    raise InputError(
      f'{name} of {path} is compressed or encrypted, which torch never does; '
      'save the file again with torch.save'
    )
  # A local header is 30 bytes, then a name and a field of lengths of its own.
  at = info.header_offset
  name, extra = (
    int.from_bytes(whole[at + i : at + i + 2].tobytes(), 'little')
    for i in (26, 28)
  )
  start = at + 30 + name + extra
  if start + info.file_size > whole.size:
    raise _damaged(path, f'{name} ends behind the file')
  return whole[start : start + info.file_size]


def _all(path: pathlib.Path, storage: Storage, came: np.ndarray) -> np.ndarray:
  """The bytes, if they are as many as the pickle says."""
  wanted = storage.length * storage.dtype.itemsize
  if came.size != wanted:
    raise _damaged(
      path, f'storage {storage.key} has {came.size} bytes of {wanted}'
    )
  return came


def _damaged(path: pathlib.Path, error) -> InputError:
  said = ' '.join(str(error).split())[:120] or type(error).__name__
  return InputError(
    f'{path} is cut short, damaged or no torch file ({said}); fetch it again'
  )
