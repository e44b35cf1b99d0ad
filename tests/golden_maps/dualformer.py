"""DualFormer's golden files: their fields and features in our terms."""

import re
from collections.abc import Mapping

import jax
import numpy as np
from golden import Answers, apply_model

from vidmodels import models
from vidmodels.models import dualformer
from vidmodels.weights import dualformer_weights

MODELS = ('dualformer',)
FAMILY = 'dualformer'
TOLERANCE = 1e-5


class _PerFeature(dict):
  """Tolerances of features; a whole stage's tokens have one of their own.

  They come before any norm, as large as 18, where a float32 ends at 1e-6.
  """

  def get(self, name: str, default: float) -> float:
    return 3e-5 if re.fullmatch(r'stage\d+_.*out.*', name) else default


FEATURE_TOLERANCE = _PerFeature()


def model_of(config: Mapping, state: Mapping | None = None) -> dualformer.Model:
  """Our fields from the neutral ones."""
  stages = len(config['dims'])
  time, edge, _ = config['patch']
  grids = [tuple(target) for target in config['coarse_grid']]
  has_coarse = set(config['coarse_stages'])
  theirs = {**config.get('original_constructor', {}), **config}
  model = models.build(
    'dualformer',
    classes=config['num_classes'],
    widths=config['dims'],
    layers=config['sublayers_per_stage'],
    heads=config['heads'],
    mlp_ratios=config['mlp_ratio'],
    patterns=['GG' if np.prod(w) == 1 else 'LG' for w in config['window']],
    windows=config['window'],
    fine=config['fine_grid'],
    coarse=[grids[s] if s in has_coarse else () for s in range(stages)],
    built=config['built_for'],
    patch=edge,
    patch_frames=time,
    # The first value is that of the patches, written down twice.
    rates=config['temporal_stride'][1:stages],
    dropout=0.0,
    drop_path=0.0,
    qkv_bias=config['qkv_bias'],
    qk_scale=theirs.get('qk_scale') or 0.0,
    epsilon=config.get('layernorm_eps', 1e-5),
  )
  _check_kernels(model, config.get('derived', {}))
  return model


def _check_kernels(model: dualformer.Model, derived: Mapping) -> None:
  """What the file says of every level is what our fields come to."""
  stages = derived.get('stages', ())
  for s, (plan, theirs) in enumerate(zip(model.plans(), stages, strict=False)):
    assert len(theirs) == model.layers[s]
    for j, level in enumerate(theirs):
      kind = model.patterns[s][j % 2]
      assert level['kind'] == {'L': 'local', 'G': 'global'}[kind]
      if kind == 'L':
        assert tuple(level['window']) == plan.window
        continue
      assert tuple(level.get('fine_kernel', ())) == plan.kernels.fine
      numbers = [n for n in ('1', '2') if f'coarse_kernel_{n}' in level]
      coarse = tuple(tuple(level[f'coarse_kernel_{n}']) for n in numbers)
      assert coarse == plan.kernels.coarse


def video_of(config: Mapping, given: np.ndarray) -> np.ndarray:
  return given.transpose(0, 2, 3, 4, 1)


def clip_of(config: Mapping, video_BTHWC: np.ndarray) -> tuple[int, int, int]:
  """The clip that the kernels were built for."""
  return tuple(config['built_for'])


def answer(config: Mapping, model, variables: Mapping, video_BTHWC) -> Answers:
  # A file with labels is of a training step, without dropout.
  train = 'labels' in config
  return apply_model(config, model, variables, video_BTHWC, train=train)


def name_features(config: Mapping, model, kept: Mapping) -> Mapping:
  return Features(model, kept)


class Features(dict):
  """Grids by the authors' name, laid out as theirs."""

  def __init__(self, model: dualformer.Model, kept: Mapping):
    super().__init__()
    self['backbone_out'] = _theirs(kept['after_norm'][0])
    for s in range(len(model.widths)):
      self[f'stage{s}_out'] = _theirs(kept[f'after_stage_{s}'][0])
    for key, path, _ in dualformer_weights.list_levels(
      model.layers, model.patterns
    ):
      _, s, j = key.split('.')
      level = kept
      for part in path.split('/'):
        level = level[part]
      self[f'stage{s}_sub{j}_out'] = _theirs(level['after'][0])

  def __missing__(self, name: str) -> np.ndarray:
    """A feature of one clip of the batch."""
    whole, clip = re.fullmatch(r'(.+)_sample(\d+)', name).groups()
    return self[whole][int(clip)][None]


def _theirs(h_BTHWD: jax.Array) -> np.ndarray:
  return np.asarray(h_BTHWD).transpose(0, 4, 1, 2, 3)
