"""DualFormer's golden files: their fields and features in our terms."""

import re
from collections.abc import Mapping

import jax
import numpy as np
from golden import Answers

from vidmodels import models
from vidmodels.models import dualformer
from vidmodels.weights import dualformer_weights

MODELS = ('dualformer',)
TOLERANCE = 1e-5


class _PerFeature(dict):
  """Tolerances of features; a whole stage's tokens have one of their own.

  They come before any norm, as large as 18, where a float32 ends at 1e-6.
  """

  def get(self, name: str, default: float) -> float:
    return 3e-5 if re.fullmatch(r'stage\d+_.*out.*', name) else default


FEATURE_TOLERANCE = _PerFeature()
LAYOUT = 'B,C,T,H,W; conv kernels O,I/groups,T,H,W; linear O,I'


def model_of(config: Mapping) -> dualformer.Model:
  """Our fields from the neutral ones; what has no field must be as ours."""
  assert (config['gelu'], config['layernorm_eps']) == ('erf', 1e-5)
  assert (config['batchnorm_eps'], config['layout']) == (1e-5, LAYOUT)
  stages = len(config['dims'])
  time, *square = config['patch']
  assert square[0] == square[1]
  # The first value is that of the patches, written down twice.
  assert config['temporal_stride'][0] == time
  grids = [tuple(target) for target in config['coarse_grid']]
  has_coarse = set(config['coarse_stages'])
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
    patch=square[0],
    patch_frames=time,
    rates=config['temporal_stride'][1:stages],
    dropout=0.0,
    drop_path=0.0,
    qkv_bias=config['qkv_bias'],
  )
  _same_kernels(model, config['derived'])
  return model


def _same_kernels(model: dualformer.Model, derived: Mapping) -> None:
  """What the file says of every level is what our fields come to."""
  for s, (plan, theirs) in enumerate(
    zip(model.plans(), derived['stages'], strict=True)
  ):
    assert len(theirs) == model.layers[s]
    for j, level in enumerate(theirs):
      kind = model.patterns[s][j % 2]
      assert level['kind'] == {'L': 'local', 'G': 'global'}[kind]
      if kind == 'L':
        assert tuple(level['window']) == plan.window
        continue
      said = tuple(level.get('fine_kernel', ()))
      assert said == plan.kernels.fine
      numbers = [n for n in ('1', '2') if f'coarse_kernel_{n}' in level]
      said = tuple(tuple(level[f'coarse_kernel_{n}']) for n in numbers)
      assert said == plan.kernels.coarse


def run(config: Mapping, state: Mapping, given: np.ndarray):
  model = model_of(config)
  variables = dualformer_weights.load(state, model)
  video_BTHWC = given.transpose(0, 2, 3, 4, 1)
  assert video_BTHWC.shape[1:4] == (
    config['input_frames'],
    config['input_height'],
    config['input_width'],
  )
  # A file with labels is of a training step, without dropout.
  train = 'labels' in config
  kinds = ['intermediates', 'batch_stats']
  logits_BK, kept = jax.jit(
    lambda x, v: model.apply(x, v, train=train, mutable=kinds)
  )(variables, video_BTHWC)
  return Answers(logits_BK, Features(model, kept['intermediates']))


class Features(dict):
  """Grids by the authors' name, laid out as theirs."""

  def __init__(self, model: dualformer.Model, kept: Mapping):
    super().__init__()
    self['backbone_out'] = _theirs(kept['after_norm'][0])
    for s in range(len(model.widths)):
      self[f'stage{s}_out'] = _theirs(kept[f'after_stage_{s}'][0])
    for key, path, _ in dualformer_weights.levels(model.layers, model.patterns):
      _, s, j = key.split('.')
      found = kept
      for part in path.split('/'):
        found = found[part]
      self[f'stage{s}_sub{j}_out'] = _theirs(found['after'][0])

  def __missing__(self, name: str) -> np.ndarray:
    """A feature of one clip of the batch."""
    whole, clip = re.fullmatch(r'(.+)_sample(\d+)', name).groups()
    return self[whole][int(clip)][None]


def _theirs(h_BTHWD: jax.Array) -> np.ndarray:
  return np.asarray(h_BTHWD).transpose(0, 4, 1, 2, 3)
