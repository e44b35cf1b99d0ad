"""Published files as names and shapes alone: zeros that take no memory."""

import json
import pathlib

import numpy as np

from vidmodels.weights.formats.open_file import File
from vidmodels.weights.formats.tensors import Tensors

DTYPES = {'int64': np.int64, 'torch.int64': np.int64}


def read(path: pathlib.Path) -> dict:
  """{'config': ..., 'num_params': ..., 'entries': [[key, shape, dtype]]}."""
  return json.loads(path.read_text())


def held(state: dict, path: pathlib.Path = pathlib.Path('held')) -> File:
  """Arrays as an opened file."""
  specs = {key: (array.shape, array.dtype) for key, array in state.items()}
  return File(path, 'held', Tensors(specs, state.__getitem__))


def file(path: pathlib.Path) -> File:
  """The manifest as the file that it describes."""
  specs = {
    key: (tuple(shape), np.dtype(DTYPES.get(dtype, np.float32)))
    for key, shape, dtype in read(path)['entries']
  }

  def load(key: str) -> np.ndarray:
    shape, dtype = specs[key]
    return np.broadcast_to(np.zeros((), dtype), shape)

  return File(path, 'manifest', Tensors(specs, load))
