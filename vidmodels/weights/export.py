"""Writes our weights under the authors' key names, for their code to load.

naming, state = name_tensors('timesformer', model, variables)
write('TimeSformer.safetensors', state, to='safetensors')
"""

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
from vidmodels.weights.mapping.apply import save_variables
from vidmodels.weights.mapping.identify import Naming, list_namings

Container = Literal['pth', 'safetensors', 'npz']


def name_tensors(
  family: str, model: nn.Module, variables: Mapping[str, Any], *, name: str = ''
) -> tuple[Naming, dict[str, np.ndarray]]:
  """A file's tensors by key, under the naming `name` or else the first."""
  namings = list_namings(family)
  naming = next((n for n in namings if name in ('', n.name)), None)
  if naming is None:
    names = ', '.join(n.name for n in namings) or 'none'
    raise InputError(
      f'got names={name!r} for {family}; expected one of: {names}; try one of '
      "them, or leave it out for the authors'"
    )
  arrays = jax.tree.map(np.asarray, dict(variables))
  state = save_variables(naming.rules(model), arrays)
  state |= naming.extras(model, state)
  return naming, {naming.prefix + key: array for key, array in state.items()}


def write(
  path: str | pathlib.Path,
  state: Mapping[str, np.ndarray],
  *,
  to: Container,
  under: str = '',
) -> pathlib.Path:
  """Writes tensors to a new file or not at all; a .pth keeps them `under`."""
  path = files.unused_path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  # A name of its own, so that two exports at once do not write to one file.
  handle, part = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
  os.close(handle)
  try:
    # np.ascontiguousarray would give a single number an axis.
    arrays = {k: np.asarray(a, order='C') for k, a in state.items()}
    if to == 'pth':
      _write_pth(part, arrays, under)
    elif to == 'safetensors':
      from safetensors.numpy import save_file

      save_file(arrays, part, metadata={'format': 'pt'})  # as torch code reads
    else:
      with open(part, 'wb') as file:
        # numpy's types take any key for the argument allow_pickle.
        np.savez(file, **arrays)  # type: ignore[arg-type]
    pathlib.Path(part).chmod(0o644)
    os.replace(part, path)
  finally:
    pathlib.Path(part).unlink(missing_ok=True)
  return path


def _write_pth(path: str, state: Mapping[str, np.ndarray], under: str) -> None:
  """Writes as torch.save writes a state dict."""
  try:
    import torch
  except ImportError as error:
    raise InputError(
      'got to=pth, and torch, which writes it, is not installed; expected '
      "torch; try pip install 'vidmodels[torch]', or to=safetensors"
    ) from error
  tensors = {key: torch.tensor(array) for key, array in state.items()}
  torch.save({under: tensors} if under else tensors, path)
