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

from vidmodels import files
from vidmodels.typing import InputError
from vidmodels.weights.formats import npz, pth, safetensors
from vidmodels.weights.formats.tensors import Tensors

# What a state dict is kept under, the inner one first where both are there.
STATES = ('state_dict', 'model_state', 'model_state_dict', 'model', 'module')
# What averages of the weights over training are kept under, by timm and DeiT.
AVERAGED = ('state_dict_ema', 'model_ema')
WANTED = 'give a .pth, .npz or .safetensors'


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
    averaged: names in `others` that averaged weights are kept under.
  """

  path: pathlib.Path
  container: str
  tensors: Tensors
  under: tuple[str, ...] = ()
  others: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  averaged: tuple[str, ...] = ()

  @property
  def notes(self) -> tuple[str, ...]:
    """Which weights were taken where there are several, a sentence each."""
    if taken := [name for name in self.under if name in AVERAGED]:
      return (f'averaged weights were read: {taken[0]}',)
    return tuple(
      f'the file also holds averaged weights, {name}; the plain ones were '
      f'read: give {self.path}#{name} for the others'
      for name in self.averaged
    )

  def sha256(self) -> str:
    """The hash of the whole file."""
    with open(self.path, 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()


def open_file(path: str | pathlib.Path) -> File:
  """Opens a weight file.

  Args:
    path: of the file; FILE#NAME asks for what a .pth keeps under that name,
      say averaged weights, where it would not be taken by itself.

  Raises:
    InputError: for a file that is none, cannot be read, is cut short, holds no
      tensors, or none under the name asked for.
  """
  path, under = files.existing_path(path, WANTED), ''
  if not path.is_file() and '#' in path.name:
    name, _, under = path.name.rpartition('#')
    path = files.existing_path(path.with_name(name), WANTED) if name else path
  if not path.is_file():
    raise InputError(f'{files.short_path(path)} is no file; {WANTED}')
  try:
    found = _open(path, under)
  except OSError as error:
    raise files.unreadable_error(path, error) from error
  if under and under not in found.under:
    names = ', '.join((*found.under, *found.others)) or 'none'
    raise InputError(
      f'{path} keeps no tensors under {under!r}; its names: {names}; choose '
      f'from them, or leave #{under} out'
    )
  return found


def _open(path: pathlib.Path, under: str) -> File:
  """By the container that a file's first bytes tell."""
  with open(path, 'rb') as file:
    head = file.read(16)
  if head[:4] == b'PK\x03\x04':
    return _zip(path, under)
  if head.startswith(pth.LEGACY):
    return _torch(path, 'pth (legacy)', pth.read_legacy(path), under)
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


def _zip(path: pathlib.Path, under: str) -> File:
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
    return _torch(path, 'pth', pth.read_zip(path), under)
  if any(name.endswith('.npy') for name in names):
    tensors = npz.read(path)
    _printable(path, tensors)
    return File(path, 'npz', tensors)
  raise InputError(f'{path} is a zip archive of {names[:3]}, not of weights')


def _torch(path: pathlib.Path, container: str, tree: Any, wanted: str) -> File:
  """Finds the state dict in what torch.save was given.

  Plain weights go before averaged ones: what lies beside them, an optimiser or
  an epoch, is theirs. `wanted` goes before either.
  """
  under, others, averaged = [], {}, []
  while isinstance(tree, Mapping) and len(under) < 4:
    names = (wanted, *STATES, *AVERAGED)
    there = [n for n in names if isinstance(tree.get(n), Mapping)]
    if not there:
      break
    name = there[0]
    others |= {_text(k): _short(v) for k, v in tree.items() if k != name}
    averaged += [n for n in there if n in AVERAGED and n != name]
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
  return File(path, container, found, tuple(under), others, tuple(averaged))


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
