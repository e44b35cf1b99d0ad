"""Our weights under the authors' key names, for their code to load."""

import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np
from flax import linen as nn

from vidmodels import files
from vidmodels.typing import InputError
from vidmodels.weights.mapping import identify, layers

Container = Literal['pth', 'safetensors', 'npz']


def state_of(
  family: str, model: nn.Module, variables: Mapping[str, Any], *, name: str = ''
) -> tuple[identify.Naming, dict[str, np.ndarray]]:
  """A model's variables as the tensors of a published file.

  Args:
    family: of the model.
    model: the module.
    variables: its parameters and statistics.
    name: of the naming; by default the family's first.

  Returns:
    The naming, and the tensors by key, prefix included.

  Raises:
    InputError: if the family has no such naming, or a parameter has no name.
  """
  known = identify.namings(family)
  chosen = next((n for n in known if name in ('', n.name)), None)
  if chosen is None:
    names = ', '.join(n.name for n in known) or 'none'
    raise InputError(f'{family} has no names {name!r}; there are: {names}')
  arrays = jax.tree.map(np.asarray, dict(variables))
  state = layers.save(chosen.rules(model), arrays)
  state |= chosen.extras(model, state)
  return chosen, {chosen.prefix + key: array for key, array in state.items()}


def write(
  path: str | pathlib.Path,
  state: Mapping[str, np.ndarray],
  *,
  to: Container,
  under: str = '',
) -> pathlib.Path:
  """Writes tensors to a file, whole or not at all.

  Args:
    path: of the file; nothing is replaced.
    state: tensors by key.
    to: container. 'pth' needs torch.
    under: the name that the tensors are kept under in a .pth.

  Raises:
    InputError: if the file exists, nothing can be written there, or torch is
      wanted and not there.
  """
  path = files.unused_path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  writers = {'pth': _pth, 'safetensors': _safetensors, 'npz': _npz}
  # Our own name, lest two exports at once write to one file.
  handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
  os.close(handle)
  try:
    whole = {
      k: np.ascontiguousarray(a).reshape(a.shape) for k, a in state.items()
    }
    writers[to](beside, whole, under)
    pathlib.Path(beside).chmod(0o644)
    os.replace(beside, path)
  finally:
    pathlib.Path(beside).unlink(missing_ok=True)
  return path


def _pth(path: str, state: Mapping[str, np.ndarray], under: str) -> None:
  """As torch.save writes a state dict."""
  try:
    import torch
  except ImportError as error:
    raise InputError(
      "a .pth is written by torch, which is not here; pip install 'vidmodels"
      "[torch]', or export to safetensors"
    ) from error
  tensors = {key: torch.tensor(array) for key, array in state.items()}
  torch.save({under: tensors} if under else tensors, path)


def _safetensors(
  path: str, state: Mapping[str, np.ndarray], under: str
) -> None:
  """As the safetensors package writes it, which torch code reads."""
  del under  # there is one level of names
  from safetensors.numpy import save_file

  save_file(dict(state), path, metadata={'format': 'pt'})


def _npz(path: str, state: Mapping[str, np.ndarray], under: str) -> None:
  """As numpy writes it; keys may hold slashes."""
  del under
  with open(path, 'wb') as file:
    np.savez(file, **state)
