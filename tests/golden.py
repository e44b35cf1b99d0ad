"""The authors' own answers: .npz files of tiny models run through their code.

A file says its family and fields in `config`; `state_dict/...`, `input`,
`logits` and `feature/...` are arrays. Files come from `tests/golden`, from the
folder of reference files, and from those in VIDMODELS_GOLDEN (':' between).
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping

import jax
import numpy as np

from vidmodels import models
from vidmodels.models import timesformer
from vidmodels.weights import timesformer as timesformer_weights

HERE = pathlib.Path(__file__).resolve().parent
TOLERANCE = {'timesformer': 1e-5}  # absolute, at full float32 products


@dataclasses.dataclass(frozen=True)
class Answers:
  """What our model says to a file's input."""

  logits: np.ndarray
  features: Mapping[str, np.ndarray]


def folders() -> list[pathlib.Path]:
  repo = HERE.parent
  shared = os.environ.get('VIDMODELS_SHARED', repo.parent / 'shared')
  more = os.environ.get('VIDMODELS_GOLDEN', '').split(':')
  return [
    HERE / 'golden',
    pathlib.Path(shared) / 'golden',
    *(pathlib.Path(folder) for folder in more if folder),
  ]


def files() -> dict[str, pathlib.Path]:
  """Every file of a family that exists, by a name to show.

  A file that lies in several folders is run once; another of the same name is
  run too.
  """
  known, found, seen = models.families(), {}, set()
  for folder in folders():
    for path in sorted(folder.rglob('*.npz')):
      config = read_config(path)
      if config.get('model') not in known:
        continue
      if 'state_dict' not in config['parts']:
        continue
      digest = hashlib.sha256(path.read_bytes()).digest()
      if digest not in seen:
        seen.add(digest)
        name = f'{config["model"]}/{path.stem}'
        while name in found:
          name += "'"
        found[name] = path
  return found


def read_config(path: pathlib.Path) -> dict:
  """The file's config, and in 'parts' the first parts of its arrays' names."""
  with zipfile.ZipFile(path) as file:
    parts = {name.split('/')[0] for name in file.namelist()}
  if 'config.npy' not in parts:
    return {}
  with np.load(path) as arrays:
    return {**json.loads(str(arrays['config'])), 'parts': parts}


def read_state(path: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(path) as arrays:
    return {
      name.removeprefix('state_dict/'): arrays[name]
      for name in arrays.files
      if name.startswith('state_dict/')
    }


def answers(path: pathlib.Path) -> Answers:
  """Runs our model, with the file's weights, on the file's input."""
  config = read_config(path)
  assert config['model'] in FAMILIES, (
    f'{path} is of the family {config["model"]}, which tests/golden.py cannot '
    'map to a model yet'
  )
  with np.load(path) as arrays:
    given = arrays['input']
  with jax.default_matmul_precision('highest'):
    return FAMILIES[config['model']](config, read_state(path), given)


def expected(path: pathlib.Path) -> Answers:
  with np.load(path) as arrays:
    features = {
      name.removeprefix('feature/'): arrays[name]
      for name in arrays.files
      if name.startswith('feature/')
    }
    return Answers(arrays['logits'], features)


def timesformer_model(config: Mapping) -> timesformer.Model:
  """Our fields from the neutral ones; what has no field must be as ours."""
  assert (config['gelu'], config['layer_norm_eps']) == ('exact', 1e-6)
  schemes = {
    'divided_space_time': 'divided',
    'joint_space_time': 'joint',
    'space_only': 'space',
  }
  return models.build(
    'timesformer',
    classes=config['num_classes'],
    attention=schemes[config['attention']],
    layers=config['depth'],
    width=config['embed_dim'],
    heads=config['num_heads'],
    mlp_ratio=config['mlp_ratio'],
    patch=config['patch_size'],
    qkv_bias=config['qkv_bias'],
  )


def run_timesformer(config: Mapping, state: Mapping, given: np.ndarray):
  model = timesformer_model(config)
  clip = (config['built_frames'], *config['built_size'])
  params = timesformer_weights.load(state, model, clip=clip)
  axes = [config['input_layout'].split(',').index(a) for a in 'BTHWC']
  logits_BK, kept = jax.jit(
    lambda p, v: model.apply({'params': p}, v, mutable='intermediates')
  )(params, given.transpose(axes))
  kept = {
    name: values[0]
    for name, values in kept['intermediates'].items()
    if isinstance(values, tuple)
  }
  theirs = {
    'tokens_after_embeddings': _theirs(kept['after_embedding']),
    'cls_after_final_norm': kept['after_norm'],
  }
  for i in range(model.layers):
    theirs[f'tokens_after_block{i}'] = _theirs(kept[f'after_block_{i}'])
  return Answers(logits_BK, theirs)


def _theirs(tokens: Mapping[str, jax.Array]) -> np.ndarray:
  """Tokens in the authors' order: the class, then patches, frames fastest.

  Space attention has one sequence a frame, with clips outermost.
  """
  cls_BTD, h_BTHWD = tokens['cls'], tokens['patches']
  B, T, D = cls_BTD.shape
  if T == h_BTHWD.shape[1] > 1:
    h = h_BTHWD.reshape(B * T, -1, D)
  else:
    h = h_BTHWD.transpose(0, 2, 3, 1, 4).reshape(B, -1, D)
  return np.concatenate([cls_BTD.reshape(-1, 1, D), h], axis=1)


FAMILIES: dict[str, Callable[..., Answers]] = {'timesformer': run_timesformer}
