"""Writes our weights under the authors' key names, for their code to load.

naming, state = name_tensors('timesformer', model, variables)
write('TimeSformer.safetensors', state, to='safetensors', description=text)

A model that no author has released has no such names; it gets our own.
"""

import os
import pathlib
import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np
from flax import linen as nn

from vidmodels import files, object_store
from vidmodels.typing import InputError
from vidmodels.weights import own_files
from vidmodels.weights.formats.open_file import DESCRIPTION
from vidmodels.weights.mapping.apply import save_variables
from vidmodels.weights.mapping.identify import Naming, list_namings

Container = Literal['pth', 'safetensors', 'npz']
LONGEST_COMMENT = 65535  # bytes that the zip format has for a comment


def name_tensors(
  family: str, model: nn.Module, variables: Mapping[str, Any], *, name: str = ''
) -> tuple[Naming, dict[str, np.ndarray]]:
  """A file's tensors by key, under the naming `name`.

  Without `name` they have the authors' names, or our own where the authors
  have none for a model like this.
  """
  arrays = jax.tree.map(np.asarray, dict(variables))
  namings = list_namings(family)
  if name == own_files.OWN or not (name or namings):
    return own_files.name_own(family, arrays)
  naming = next((n for n in namings if name in ('', n.name)), None)
  if naming is None:
    names = ', '.join([*dict.fromkeys(n.name for n in namings), own_files.OWN])
    raise InputError(
      f'got names={name!r} for {family}; expected one of: {names}; try one of '
      "them, or leave it out for the authors'"
    )
  try:
    state = save_variables(naming.rules(model), arrays)
  except InputError:
    if name:
      raise
    return own_files.name_own(family, arrays)
  state |= naming.extras(model, state)
  return naming, {naming.prefix + key: array for key, array in state.items()}


def write(
  path: str | pathlib.Path,
  state: Mapping[str, np.ndarray],
  *,
  to: Container,
  under: str = '',
  description: str = '',
) -> pathlib.Path:
  """Writes tensors to a new file or not at all; a .pth keeps them `under`.

  `description` is what the file says about itself. A .pth without a name for
  its tensors has no place for it.
  """
  path = files.unused_path(path)
  if to == 'npz' and len(description) > LONGEST_COMMENT:
    raise InputError(
      f'got {len(description)} bytes of class names and recipe for {path}; '
      f'expected at most {LONGEST_COMMENT}, which is all that an npz has room '
      'for; try --to=safetensors'
    )
  path.parent.mkdir(parents=True, exist_ok=True)
  # A name of its own, so that two exports at once do not write to one file.
  stored = object_store.in_store(path)
  folder = None if stored else path.parent  # None: that of temporary files
  handle, part = tempfile.mkstemp(dir=folder, prefix=f'.{path.name}.')
  os.close(handle)
  try:
    # np.ascontiguousarray would give a single number an axis.
    arrays = {k: np.asarray(a, order='C') for k, a in state.items()}
    if to == 'pth':
      _write_pth(part, arrays, under, description)
    elif to == 'safetensors':
      from safetensors.numpy import save_file

      notes = {'format': 'pt'}  # as torch code reads it
      save_file(arrays, part, metadata=notes | _named(description))
    else:
      with open(part, 'wb') as file:
        # numpy's types take any key for the argument allow_pickle.
        np.savez(file, **arrays)  # type: ignore[arg-type]
      # Not an array: other code would take it for a weight.
      with zipfile.ZipFile(part, 'a') as archive:
        archive.comment = description.encode('ascii')
    if stored:
      object_store.upload(pathlib.Path(part), path)
    else:
      pathlib.Path(part).chmod(0o644)
      os.replace(part, path)
  finally:
    pathlib.Path(part).unlink(missing_ok=True)
  return path


def _named(description: str) -> dict[str, str]:
  return {DESCRIPTION: description} if description else {}


def _write_pth(
  path: str, state: Mapping[str, np.ndarray], under: str, description: str
) -> None:
  """Writes as torch.save writes a state dict."""
  try:
    import torch
  except ImportError as error:
    raise InputError(
      'got to=pth, and torch, which writes it, is not installed; expected '
      "torch; try pip install 'vidmodels[torch]', or to=safetensors"
    ) from error
  tensors = {key: torch.tensor(array) for key, array in state.items()}
  named = {under: tensors, **_named(description)} if under else tensors
  torch.save(named, path)
