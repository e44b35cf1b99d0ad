"""The authors' own answers: .npz files of tiny models run through their code.

A file says its model and fields in `config`; `state_dict/...`, `input`,
`logits` and `feature/...` are arrays. Files come from `tests/golden`, from the
folder of reference files, and from the folders in VIDMODELS_GOLDEN (':'
between), with any option of the authors' constructors and any shape.

Our answer is what a user gets: the state dict is written to a weight file,
`vidmodels.weights.load` opens it for the file's clip, and the model is applied.

`golden_maps/<name>.py` says what a file's fields are in our terms. It defines

* `MODELS`: the names of models in `config` that it is for;
* `FAMILY`: our family;
* `TOLERANCE`: absolute, on logits and features, at full float32 products;
* `FEATURE_TOLERANCE` (optional): {feature: another tolerance};
* `FIRST_ROWS` (optional): True if files keep the first rows of long features;
* `model_of(config, state)`: our model with the file's fields;
* `video_of(config, given)`: the file's input as [B, T, H, W, C];
* `clip_of(config, video_BTHWC)` (optional): frames, height and width that the
  file's tables are for; by default those of the input;
* `name_features(config, model, kept)`: features under the authors' names, from
  the model's intermediates;
* `answer(config, model, variables, video_BTHWC)` (optional) in place of
  `apply_model`;
* `PARTS` (optional): {name in MODELS: function (config, state, given) that
  gives our `Answers`} for files of a part of a model.
"""

import dataclasses
import functools
import hashlib
import importlib
import json
import os
import pathlib
import tempfile
import types
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import vidmodels.weights
from vidmodels import models
from vidmodels.weights import export

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


def answers(path: pathlib.Path, **fields: Any) -> Answers:
  """Our model's answer to a file's input, by the way that users take.

  Args:
    path: of the golden file.
    **fields: of the model, in place of those that the file says.
  """
  config, state = read_config(path), read_state(path)
  ours = maps()[config['model']]
  with np.load(path) as arrays:
    given = arrays['input']
  if config['model'] in getattr(ours, 'PARTS', {}):
    return ours.PARTS[config['model']](config, state, given)
  video_BTHWC = ours.video_of(config, given)
  model = ours.model_of(config, state).clone(**fields)
  clip = clip_of(config, video_BTHWC)
  model, variables = load_state(ours.FAMILY, model, state, clip=clip)
  answer = getattr(ours, 'answer', apply_model)
  return answer(config, model, variables, video_BTHWC)


def apply_model(
  config: Mapping,
  model: Any,
  variables: Mapping,
  video_BTHWC: np.ndarray,
  **options: Any,
) -> Answers:
  """Applies a model; `options` are those of its call."""
  kinds = ['intermediates', 'batch_stats']
  logits_BK, kept = jax.jit(
    lambda v, x: model.apply(v, x, mutable=kinds, **options)
  )(variables, video_BTHWC)
  ours = maps()[config['model']]
  return Answers(
    logits_BK, ours.name_features(config, model, kept['intermediates'])
  )


def clip_of(config: Mapping, video_BTHWC: np.ndarray) -> tuple[int, int, int]:
  """Frames, height and width that a file's tables are for."""
  ours = maps()[config['model']]
  if hasattr(ours, 'clip_of'):
    return ours.clip_of(config, video_BTHWC)
  return video_BTHWC.shape[1:4]


def load_state(
  family: str,
  model: Any,
  state: Mapping[str, np.ndarray],
  *,
  clip: tuple[int, int, int] | None = None,
) -> tuple[Any, dict[str, Any]]:
  """Loads tensors as a user does, from a file, into a model like `model`.

  Returns:
    The model, whose fields may follow the file's tables, and its variables, all
    of which the file fills.
  """
  fields = {name: getattr(model, name) for name in models.fields(family)}
  with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
    warnings.simplefilter('error')  # of what the file does not fill
    path = pathlib.Path(folder) / 'weights.npz'
    export.write(path, state, to='npz')
    return vidmodels.weights.load(
      family, path, model=fields, classes=model.classes, clip=clip
    )


def save_state(
  family: str, model: Any, variables: Mapping[str, Any], name: str = ''
) -> dict[str, np.ndarray]:
  """A model's weights as `export` writes them, but for a prefix of all keys."""
  naming, state = export.name_tensors(family, model, variables, name=name)
  return {key.removeprefix(naming.prefix): x for key, x in state.items()}


def expected(path: pathlib.Path) -> Answers:
  with np.load(path) as arrays:
    logits = arrays['logits']
  return Answers(logits, read_state(path, 'feature/'))
