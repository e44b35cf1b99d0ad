"""I3D's golden files: their fields and features in our terms."""

from collections.abc import Mapping

import numpy as np

from vidmodels import models
from vidmodels.models import i3d
from vidmodels.weights.formats.tensors import Tensors
from vidmodels.weights.mapping import identify

MODELS = ('i3d_resnet',)
FAMILY = 'i3d'
TOLERANCE = 1e-5
# Features are up to 30, where float32 counts in steps of 2e-6.
FEATURE_TOLERANCE = {f'layer{s}': 1e-4 for s in range(1, 5)}


def model_of(config: Mapping, state: Mapping) -> i3d.Model:
  """Sizes from the tensors; the strides, which no tensor tells, as written."""
  specs = {key: (array.shape, array.dtype) for key, array in state.items()}
  match, *_ = identify.identify(Tensors(specs, state.__getitem__))
  options = {**config, **config.get('original', {}).get('kwargs', {})}
  fields = {
    **match.guess.model,
    # The authors' default is 1.
    'stem_stride': options.get('conv1_stride_t', 1),
    'pool_stride': options.get('pool1_stride_t', 1),
  }
  return models.build('i3d', classes=config['num_classes'], **fields)


def video_of(config: Mapping, given: np.ndarray) -> np.ndarray:
  layout = config.get('input_layout', 'B,C,T,H,W').replace(',', '')
  return given.transpose([layout.index(axis) for axis in 'BTHWC'])


def name_features(config: Mapping, model, kept: Mapping) -> Mapping:
  return {
    f'layer{s}': np.moveaxis(kept[f'after_stage_{s}'][0], -1, 1)
    for s in range(1, len(model.reach) + 1)
  }
