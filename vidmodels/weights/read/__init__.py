"""Weight files: what they hold, without running anything that they hold.

`open_file` tells the container by its first bytes, never by its name. Tensors
are read when they are asked for; where the container stores them plainly they
are views of the file and cost no memory.
"""

import dataclasses
import hashlib
import math
import pathlib
import reprlib
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vidmodels.typing import InputError
from vidmodels.weights.read import npz, pth, safetensors
from vidmodels.weights.read.tensors import Tensors

# What a state dict is kept under, the inner one first where both are there.
STATES = ('state_dict', 'model_state', 'model_state_dict', 'model', 'module')


@dataclasses.dataclass(frozen=True)
class File:
  """An opened weight file.

  Attributes:
    path: of the file.
    container: 'npz', 'safetensors', 'pth' or 'pth (legacy)'.
    tensors: arrays by key, read when asked for.
    under: names that led to the tensors, e.g. ('model',).
    others: what lies beside them, by name: numbers and text as they are, of
      anything else the kind.
  """

  path: pathlib.Path
  container: str
  tensors: Tensors
  under: tuple[str, ...] = ()
  others: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def sha256(self) -> str:
    """The hash of the whole file."""
    with open(self.path, 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()


def open_file(path: str | pathlib.Path) -> File:
  """Opens a weight file.

  Raises:
    InputError: for a file that is none, is cut short, or holds no tensors.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f'{path} is no file; give a .pth, .npz or .safetensors')
  with open(path, 'rb') as file:
    head = file.read(16)
  if head[:4] == b'PK\x03\x04':
    return _zip(path)
  if head.startswith(pth.LEGACY):
    return _torch(path, 'pth (legacy)', pth.read_legacy(path))
  if head[8:9] == b'{':
    tensors, notes = safetensors.read(path)
    _printable(path, tensors)
    notes = {_text(k): _short(v) for k, v in notes.items()}
    return File(path, 'safetensors', tensors, others=notes)
  raise InputError(f'{path} {_unlike(head)}; wanted .pth, .npz or .safetensors')


def _unlike(head: bytes) -> str:
  """What a file seems to be that cannot be read."""
  if not head:
    return 'is empty'
  if head.startswith(b'\x89HDF'):
    return 'is HDF5'
  if head.lstrip().startswith(b'<'):
    return 'is a web page: the download did not give the file'
  if head.startswith(b'version https:'):
    return 'is a Git LFS pointer: fetch the file itself'
  if head.startswith((b'\x1f\x8b', b'BZh', b'\xfd7zXZ')):
    return 'is a packed archive: unpack it first'
  if head.startswith(b'PK\x05\x06'):
    return 'is an archive of nothing'
  if head[:1] == b'\x80':
    return 'is a plain pickle, which could run code'
  return f'begins with {head[:8]!r}, which is no weight file'


def _zip(path: pathlib.Path) -> File:
  """An npz or a torch file: both are zip archives."""
  try:
    with zipfile.ZipFile(path) as archive:
      names = archive.namelist()
  except npz.UNZIP as error:
    raise InputError(
      f'{path} is cut short or damaged ({error}); fetch it again'
    ) from error
  if twice := [n for n, count in Counter(names).items() if count > 1]:
    raise InputError(
      f'{path} holds {twice[0]} twice, and which one counts is nowhere said; '
      'fetch it again'
    )
  if any(name.endswith('/data.pkl') for name in names):
    return _torch(path, 'pth', pth.read_zip(path))
  if any(name.endswith('.npy') for name in names):
    tensors = npz.read(path)
    _printable(path, tensors)
    return File(path, 'npz', tensors)
  raise InputError(f'{path} is a zip archive of {names[:3]}, not of weights')


def _torch(path: pathlib.Path, container: str, tree: Any) -> File:
  """Finds the state dict in what torch.save was given."""
  under, others = [], {}
  while isinstance(tree, Mapping) and len(under) < 4:
    name = next((n for n in STATES if isinstance(tree.get(n), Mapping)), None)
    if name is None:
      break
    others |= {_text(k): _short(v) for k, v in tree.items() if k != name}
    under.append(name)
    tree = tree[name]
  if not isinstance(tree, Mapping):
    raise InputError(
      f'{path} holds a {type(tree).__name__} and no state dict; save '
      'model.state_dict() with the code that wrote it'
    )
  tensors = {k: v for k, v in tree.items() if isinstance(v, pth.Tensor)}
  others |= {_text(k): _short(v) for k, v in tree.items() if k not in tensors}
  if not tensors:
    names = ', '.join(map(_text, list(tree)[:5])) or 'none'
    raise InputError(
      f'{path} holds no tensors; its names: {names}; wanted a state dict'
    )
  _printable(path, tensors)
  specs = {k: (v.shape, v.dtype) for k, v in tensors.items()}
  found = Tensors(specs, lambda key: tensors[key].array())
  return File(path, container, found, tuple(under), others)


def _printable(path: pathlib.Path, keys: Iterable[Any]) -> None:
  """Refuses names that could not be shown as they are."""
  if odd := [k for k in keys if not (isinstance(k, str) and k.isprintable())]:
    raise InputError(
      f'{path} names tensors by {reprlib.repr(odd[:3])}; wanted printable '
      'text: save model.state_dict() with the code that wrote it'
    )


def _text(value: Any) -> str:
  """A name or text of the file as any terminal can show it."""
  text = value if isinstance(value, str) else reprlib.repr(value)
  return ''.join(
    c if c.isprintable() or c in '\n\t' else ascii(c)[1:-1] for c in text
  )


def _short(value: Any) -> Any:
  """Numbers and text as they are, of other things what they are."""
  if isinstance(value, str):
    return _text(value)
  if isinstance(value, float) and not math.isfinite(value):
    return str(value)  # JSON has no such number
  if value is None or isinstance(value, int | float | bool):
    return value
  if isinstance(value, pth.Tensor):
    return f'tensor {list(value.shape)}'
  if isinstance(value, Mapping | list | tuple):
    return f'{type(value).__name__} of {len(value)}'
  if isinstance(value, np.ndarray):
    return f'array {list(value.shape)}'
  return f'object of {getattr(value, "origin", type(value).__name__)}'
