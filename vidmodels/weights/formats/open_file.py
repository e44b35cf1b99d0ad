"""Opens weight files, without running anything that they hold.

  file = open_file('TimeSformer.pyth')
  file.container, file.tensors.specs, file.tensors['model.head.weight']

`open_file` tells the container by the file's first bytes, never by its name.
Tensors are read when they are asked for. If the container stores them plainly,
they are views of the file and cost no memory.
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

from vidmodels import files, local_cache
from vidmodels.typing import AnyPath, InputError
from vidmodels.weights.formats import npz, pth
from vidmodels.weights.formats.safetensors import read_safetensors
from vidmodels.weights.formats.tensors import Tensors

# Names that a state dict is kept under; the inner one first if both are there.
STATES = ('state_dict', 'model_state', 'model_state_dict', 'model', 'module')
# Names that timm and DeiT keep averages of the weights over training under.
AVERAGED = ('state_dict_ema', 'model_ema')
ACCEPTED = 'give a .pth, .npz or .safetensors'
# The name under which our own files say what they are.
DESCRIPTION = 'vidmodels'
HUB_WEIGHTS = 'model.safetensors'  # of a folder of the Hugging Face hub
# How files of other kinds begin.
UNREADABLE = {
  (b'\x89HDF',): 'is HDF5',
  (b'<',): 'is a web page: the download did not give the file',
  (b'version https:',): 'is a Git LFS pointer: fetch the file itself',
  (b'\x1f\x8b', b'BZh', b'\xfd7zXZ'): 'is a packed archive: unpack it first',
  (b'PK\x05\x06',): 'is an archive of nothing',
  (b'\x80',): 'is a plain pickle, which could run code',
}


@dataclasses.dataclass(frozen=True)
class File:
  """An opened weight file."""

  path: pathlib.Path  # of the file
  container: str  # 'npz', 'safetensors', 'pth' or 'pth (legacy)'
  tensors: Tensors  # arrays by key, read when asked for
  under: tuple[str, ...] = ()  # names that led to the tensors, e.g. ('model',).
  # others: what else the file holds, by name: numbers and text as they are, the
  # kind of anything else
  others: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # averaged: names in `others` that averaged weights are kept under
  averaged: tuple[str, ...] = ()
  # description: what a file of ours says about itself, as text that nothing has
  # checked yet; see weights/description.py
  description: str = ''

  @property
  def notes(self) -> tuple[str, ...]:
    """Which weights were read if there are several, a sentence each."""
    if taken := [name for name in self.under if name in AVERAGED]:
      return (f'averaged weights were read: {taken[0]}',)
    return tuple(
      f'the file also holds averaged weights, {name}; the plain ones were '
      f'read: give {self.path}#{name} for the others'
      for name in self.averaged
    )

  def sha256(self) -> str:
    """The hash of the whole file; of a checkpoint, of its tensors."""
    if self.path.is_dir():
      digest = hashlib.sha256()
      for key in sorted(self.tensors):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(self.tensors[key]).data)
      return digest.hexdigest()
    with open(local_cache.local_copy(self.path), 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()


def open_file(path: AnyPath) -> File:
  """Opens a weight file; refuses one cut short, without tensors, or unknown.

  FILE#NAME asks for what a .pth keeps under that name, such as averaged
  weights, if it would not be taken by default.
  """
  path, under = files.existing_path(path, ACCEPTED), ''
  if not path.is_file() and '#' in path.name:
    name, _, under = path.name.rpartition('#')
    path = files.existing_path(path.with_name(name), ACCEPTED) if name else path
  if path.is_dir() and (path / HUB_WEIGHTS).is_file():
    path /= HUB_WEIGHTS
  if not path.is_file():
    raise InputError(f'{files.short_path(path)} is no file; {ACCEPTED}')
  try:
    file = _open_local_copy(path, under)
  except OSError as error:
    raise files.unreadable_error(path, error) from error
  if under and under not in file.under:
    names = ', '.join((*file.under, *file.others)) or 'none'
    raise InputError(
      f'{path} keeps no tensors under {under!r}; its names: {names}; choose '
      f'one of them, or leave #{under} out'
    )
  return file


def _open_local_copy(path: pathlib.Path, under: str) -> File:
  """Opens a file of this machine, or the copy of an object, under its name."""
  copy = local_cache.local_copy(path)
  if copy == path:
    return _open_container(path, under)
  try:
    file = _open_container(copy, under)
  except InputError as error:
    raise InputError(str(error).replace(str(copy), str(path))) from error
  return dataclasses.replace(file, path=path)


def _open_container(path: pathlib.Path, under: str) -> File:
  """Opens a file as the container that its first bytes tell."""
  with open(path, 'rb') as file:
    head = file.read(16)
  if head[:4] == b'PK\x03\x04':
    return _open_zip(path, under)
  if head.startswith(pth.LEGACY):
    return _find_state(path, 'pth (legacy)', pth.read_legacy(path), under)
  if head[8:9] == b'{':
    tensors, notes = read_safetensors(path)
    _check_printable(path, tensors)
    others = {_make_printable(k): _summarize(v) for k, v in notes.items()}
    said = others.pop(DESCRIPTION, '')
    return File(path, 'safetensors', tensors, others=others, description=said)
  kinds = [k for s, k in UNREADABLE.items() if head.lstrip().startswith(s)]
  unknown = f'begins with {head[:8]!r}, which is no weight file'
  kind = [*kinds, unknown][0] if head else 'is empty'
  raise InputError(
    f'{path} {kind}; expected .pth, .npz or .safetensors; try fetching it '
    'again, or another file'
  )


def _open_zip(path: pathlib.Path, under: str) -> File:
  """Opens an npz or a torch file: both are zip archives."""
  try:
    with zipfile.ZipFile(path) as archive:
      names, comment = archive.namelist(), archive.comment
  except npz.UNZIP_ERRORS as error:
    raise InputError(
      f'{path} is cut short or damaged ({error}); try fetching it again'
    ) from error
  if repeated := [n for n, count in Counter(names).items() if count > 1]:
    raise InputError(
      f'{path} holds {repeated[0]} twice, and nothing says which one counts; '
      'expected each name once; try fetching it again'
    )
  if any(name.endswith('/data.pkl') for name in names):
    return _find_state(path, 'pth', pth.read_zip(path), under)
  if any(name.endswith('.npy') for name in names):
    tensors = npz.read_npz(path)
    _check_printable(path, tensors)
    said = comment.decode('ascii', 'replace')
    said = said if said.startswith('{') else ''  # another's comment
    return File(path, 'npz', tensors, description=said)
  raise InputError(
    f'{path} is a zip archive of {names[:3]}; expected one of weights; '
    f'{ACCEPTED}'
  )


def _find_state(
  path: pathlib.Path, container: str, tree: Any, asked_for: str
) -> File:
  """Finds the state dict in what torch.save was given.

  Plain weights come before averaged ones: the optimiser or the epoch in the
  same file belong to them. The name `asked_for` comes before either.
  """
  under: list[str] = []
  others: dict[str, Any] = {}
  averaged: list[str] = []
  while isinstance(tree, Mapping) and len(under) < 4:
    known = (asked_for, *STATES, *AVERAGED)
    names = [name for name in known if isinstance(tree.get(name), Mapping)]
    if not names:
      break
    name = names[0]
    others |= _summarize_others(tree, [name])
    averaged += [n for n in names if n in AVERAGED and n != name]
    under.append(name)
    tree = tree[name]
  if not isinstance(tree, Mapping):
    raise InputError(
      f'{path} holds a {type(tree).__name__}; expected a state dict; try to '
      'save model.state_dict() with the code that wrote it'
    )
  tensors = {k: v for k, v in tree.items() if isinstance(v, pth.TorchTensor)}
  others |= _summarize_others(tree, tensors)
  if not tensors:
    shown = ', '.join(map(_make_printable, list(tree)[:5])) or 'none'
    raise InputError(
      f'{path} holds no tensors; its names: {shown}; expected a state dict; '
      'try to save model.state_dict() with the code that wrote it'
    )
  _check_printable(path, tensors)
  specs = {k: (v.shape, v.dtype) for k, v in tensors.items()}
  arrays = Tensors(specs, lambda key: tensors[key].array())
  said = others.pop(DESCRIPTION, '')
  return File(
    path=path,
    container=container,
    tensors=arrays,
    under=tuple(under),
    others=others,
    averaged=tuple(averaged),
    description=said if isinstance(said, str) else '',
  )


def _summarize_others(
  tree: Mapping[Any, Any], taken: Iterable[Any]
) -> dict[str, Any]:
  """What a dict of the file holds besides the names that were taken."""
  taken = set(taken)
  return {
    _make_printable(k): _summarize(v) for k, v in tree.items() if k not in taken
  }


def _check_printable(path: pathlib.Path, keys: Iterable[Any]) -> None:
  """Refuses names that a terminal could not show as they are."""
  if odd := [k for k in keys if not (isinstance(k, str) and k.isprintable())]:
    raise InputError(
      f'{path} names tensors by {reprlib.repr(odd[:3])}; expected printable '
      'text; try to save model.state_dict() with the code that wrote it'
    )


def _make_printable(value: Any) -> str:
  """A name or text of the file in characters that any terminal can show."""
  text = value if isinstance(value, str) else reprlib.repr(value)
  return ''.join(
    c if c.isprintable() or c in '\n\t' else ascii(c)[1:-1] for c in text
  )


def _summarize(value: Any) -> Any:
  """Numbers and text as they are, and the kind of anything else."""
  if isinstance(value, str):
    return _make_printable(value)
  if isinstance(value, float) and not math.isfinite(value):
    return str(value)  # JSON has no such number
  if value is None or isinstance(value, int | float | bool):
    return value
  if isinstance(value, pth.TorchTensor):
    return f'tensor {list(value.shape)}'
  if isinstance(value, Mapping | list | tuple):
    return f'{type(value).__name__} of {len(value)}'
  if isinstance(value, np.ndarray):
    return f'array {list(value.shape)}'
  return f'object of {getattr(value, "origin", type(value).__name__)}'
