"""The image FocalNet's golden files: their fields and features in our terms."""

from collections.abc import Mapping

import numpy as np
from golden import Answers
from golden_maps import video_focalnet as video

from vidmodels import models
from vidmodels.models import focalnet
from vidmodels.weights import focalnet_weights

MODELS = ('focalnet_image',)
TOLERANCE = video.TOLERANCE
FEATURE_TOLERANCE = video.FEATURE_TOLERANCE


def model_of(config: Mapping) -> focalnet.Model:
  uneven = 'pad' if config['naming'] == 'hf' else 'floor'
  fields = video.fields_of(config)
  return models.build('focalnet', uneven=uneven, **fields)


def run(config: Mapping, state: Mapping, given: np.ndarray) -> Answers:
  assert focalnet_weights.naming_of(state) == config['naming']
  model = model_of(config)
  variables = focalnet_weights.load(state, model)
  return video.answer(model, variables, video.video_of(config, given))
