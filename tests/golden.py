"""The authors' own answers: .npz files of tiny models run through their code.

A file says its model and fields in `config`; `state_dict/...`, `input`,
`logits` and `feature/...` are arrays. Files come from `tests/golden`, from the
folder of reference files, and from those in VIDMODELS_GOLDEN (':' between).

`golden_maps/<name>.py` says what a file's fields are in our terms. It defines

* `MODELS`: the names of models in `config` that it is for;
* `TOLERANCE`: absolute, on logits and features, at full float32 products;
* `FEATURE_TOLERANCE` (optional): {feature: another tolerance};
* `FIRST_ROWS` (optional): True if files keep the first rows of long features;
* `run(config, state, given) -> Answers`: our answer to the file's input.
"""

import dataclasses
import functools
import hashlib
import importlib
import json
import os
import pathlib
import types
import zipfile
from collections.abc import Mapping

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Answers:
  """What our model says to a file's input."""

  logits: np.ndarray
  features: Mapping[str, np.ndarray]


@functools.cache
def maps() -> dict[str, types.ModuleType]:
  """The map of every model that has one."""
  stems = sorted(p.stem for p in (HERE / 'golden_maps').glob('[a-z]*.py'))
  modules = [importlib.import_module(f'golden_maps.{stem}') for stem in stems]
  return {name: module for module in modules for name in module.MODELS}


def folders() -> list[pathlib.Path]:
  repo = HERE.parent
  shared = os.environ.get('VIDMODELS_SHARED', repo.parent / 'shared')
  more = os.environ.get('VIDMODELS_GOLDEN', '').split(':')
  return [
    HERE / 'golden',
    pathlib.Path(shared) / 'golden',
    *(pathlib.Path(folder) for folder in more if folder),
  ]


def every(*names: str) -> dict[str, pathlib.Path]:
  """Every file of the models `names`, by a name to show.

  A file that lies in several folders is here once; another of the same name is
  here too.
  """
  found, seen = {}, set()
  for folder in folders():
    for path in sorted(folder.rglob('*.npz')):
      model = read_config(path).get('model')
      if model not in names:
        continue
      digest = hashlib.sha256(path.read_bytes()).digest()
      if digest not in seen:
        seen.add(digest)
        name = f'{model}/{path.stem}'
        while name in found:
          name += "'"
        found[name] = path
  return found


def files() -> dict[str, pathlib.Path]:
  """Every file with weights, an input and logits, of all models with a map."""
  wanted = {'state_dict', 'input.npy', 'logits.npy'}
  return {
    name: path
    for name, path in every(*maps()).items()
    if wanted <= read_config(path)['parts']
  }


def read_config(path: pathlib.Path) -> dict:
  """The file's config, and in 'parts' the first parts of its arrays' names."""
  with zipfile.ZipFile(path) as file:
    parts = {name.split('/')[0] for name in file.namelist()}
  if 'config.npy' not in parts:
    return {}
  with np.load(path) as arrays:
    return {**json.loads(str(arrays['config'])), 'parts': parts}


def read_state(
  path: pathlib.Path, prefix: str = 'state_dict/'
) -> dict[str, np.ndarray]:
  """The arrays whose names start with `prefix`, without it."""
  with np.load(path) as arrays:
    return {
      name.removeprefix(prefix): arrays[name]
      for name in arrays.files
      if name.startswith(prefix)
    }


def answers(path: pathlib.Path) -> Answers:
  """Runs our model, with the file's weights, on the file's input."""
  config = read_config(path)
  with np.load(path) as arrays:
    given = arrays['input']
  return maps()[config['model']].run(config, read_state(path), given)


def expected(path: pathlib.Path) -> Answers:
  with np.load(path) as arrays:
    logits = arrays['logits']
  return Answers(logits, read_state(path, 'feature/'))
