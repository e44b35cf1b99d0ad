"""The image FocalNet's golden files: their fields and features in our terms."""

from collections.abc import Mapping

from golden_maps import video_focalnet as video

from vidmodels import models
from vidmodels.models import focalnet

MODELS = ('focalnet_image',)
FAMILY = 'focalnet'
TOLERANCE = video.TOLERANCE
FEATURE_TOLERANCE = video.FEATURE_TOLERANCE
video_of = video.video_of
name_features = video.name_features


def model_of(config: Mapping, state: Mapping | None = None) -> focalnet.Model:
  uneven = 'pad' if config['naming'] == 'hf' else 'floor'
  return models.build('focalnet', uneven=uneven, **video.fields_of(config))
