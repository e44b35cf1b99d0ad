"""I3D's golden files: their fields and features in our terms."""

from collections.abc import Mapping

import jax
import numpy as np
from golden import Answers

from vidmodels import models
from vidmodels.models import i3d
from vidmodels.weights import i3d_weights

MODELS = ('i3d_resnet',)
TOLERANCE = 1e-5
# Features are up to 30, where float32 counts in steps of 2e-6.
FEATURE_TOLERANCE = {f'layer{s}': 1e-4 for s in range(1, 5)}

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
# The authors' defaults of what their constructor takes and we have a field for.
FIELDS = {
  'depth': 50,
  'num_stages': 4,
  'base_channels': 64,
  'conv1_kernel': [3, 7, 7],
  'conv1_stride_t': 1,
  'pool1_stride_t': 1,
  'inflate': 1,
}
# What must be as ours, or is read by a fresh model alone.
FIXED = {
  'in_channels': [3],
  'conv1_stride_s': [2],
  'pool1_stride_s': [2],
  'with_pool1': [True],
  'with_pool2': [True],
  'style': ['pytorch'],
  'inflate_style': ['3x1x1'],
  'spatial_strides': [[1, 2, 2, 2]],
  'temporal_strides': [[1, 1, 1, 1]],
  'dilations': [[1, 1, 1, 1]],
  'zero_init_residual': [True, False],
  'pretrained': [None],
}


def model_of(config: Mapping) -> i3d.Model:
  """Our fields from the authors'; what has no field must be as ours."""
  assert config['bn_eps'] == 1e-5
  assert config['original']['class'] == 'ResNet3d'
  asked = config['original']['kwargs']
  for name, value in asked.items():
    assert name in FIELDS or value in FIXED[name], (name, value)
  fields = {**FIELDS, **asked}
  stem_reach, *stem = fields['conv1_kernel']
  assert stem == [i3d.STEM] * 2
  blocks = BLOCKS[fields['depth']][: fields['num_stages']]
  inflate = fields['inflate']
  if isinstance(inflate, int):
    inflate = (inflate,) * len(blocks)
  return models.build(
    'i3d',
    classes=config['num_classes'],
    width=fields['base_channels'],
    reach=tuple(
      tuple(3 if yes else 1 for yes in _each(stage, count))
      for stage, count in zip(inflate, blocks, strict=True)
    ),
    stem_reach=stem_reach,
    stem_stride=fields['conv1_stride_t'],
    pool_stride=fields['pool1_stride_t'],
  )


def _each(stage, count: int) -> tuple[int, ...]:
  """One value a block, where one may stand for all."""
  return tuple(stage) if isinstance(stage, list) else (stage,) * count


def run(config: Mapping, state: Mapping, given: np.ndarray) -> Answers:
  model = model_of(config)
  variables = i3d_weights.load(state, model)
  layout = config.get('input_layout', 'B,C,T,H,W').split(',')
  video = given.transpose([layout.index(axis) for axis in 'BTHWC'])
  logits_BK, kept = jax.jit(
    lambda v, x: model.apply(v, x, mutable='intermediates')
  )(variables, video)
  stages = range(1, len(model.reach) + 1)
  return Answers(
    logits_BK,
    {
      f'layer{s}': np.moveaxis(
        kept['intermediates'][f'after_stage_{s}'][0], -1, 1
      )
      for s in stages
    },
  )
