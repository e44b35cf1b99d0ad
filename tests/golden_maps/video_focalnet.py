"""Video-FocalNet's golden files: their fields and features in our terms."""

from collections.abc import Mapping

import numpy as np

from vidmodels import models
from vidmodels.models import video_focalnet

MODELS = ('video_focalnet',)
FAMILY = 'video_focalnet'
TOLERANCE = 5e-5
# Layer norm of tokens that hardly vary: here ours differs by up to 1.4e-4.
FEATURE_TOLERANCE = {'final_norm': 5e-4}


def fields_of(config: Mapping) -> dict:
  """Fields that image and video models share, from the neutral ones."""
  assert (config['gelu'], config['layer_norm_eps']) == ('erf', 1e-5)
  assert config['focal_factor'] == 2
  theirs = config.get('original_args') or {}
  stages = len(config['depths'])  # the authors' code ignores further entries
  return {
    'classes': config['num_classes'],
    'layers': config['depths'],
    'width': config['embed_dim'],
    'levels': config['focal_levels'][:stages],
    'windows': config['focal_windows'][:stages],
    'patch': config['patch_size'],
    'mlp_ratio': config['mlp_ratio'],
    'overlap': config['overlapped_embed'],
    'patch_norm': {**theirs, **config}.get('patch_norm', True),
    'post_norm': config['post_norm'],
    'layer_scale': config['layer_scale'],
    'modulation_norm': config['post_norm_in_modulation'],
    'normalize': config['normalize_modulator'],
  }


def model_of(
  config: Mapping, state: Mapping | None = None
) -> video_focalnet.Model:
  return models.build(
    'video_focalnet',
    tubelet=config['tubelet_size'],
    fusion=config['fusion'],
    temporal_conv=config['temporal_conv'],
    **fields_of(config),
  )


def video_of(config: Mapping, given: np.ndarray) -> np.ndarray:
  """The input as [B, T, H, W, C]; an image is a clip of one frame."""
  layout = config['input_layout'].replace(',', '')
  if 'T' not in layout:
    layout, given = 'T' + layout, given[None]
  return given.transpose([layout.index(axis) for axis in 'BTHWC'])


def name_features(config: Mapping, model, kept: Mapping) -> Mapping:
  tokens = lambda h: h.reshape(-1, h.shape[2] * h.shape[3], h.shape[4])
  frames = lambda h: h.reshape(-1, *h.shape[2:])
  features = {
    'patch_embed': tokens(kept['after_embed_0'][0]),
    'final_norm': tokens(kept['after_norm'][0]),
  }
  for name, block in kept.items():
    if '_block_' not in name:
      continue
    prefix = name.replace('_block_', 'block').replace('stage_', 'stage')
    prefix = prefix.replace('block', '_block')
    mod = block['mod']
    features[f'{prefix}_modulation_out'] = frames(mod['modulated'][0])
    for stream, word in (('space', 'spatial'), ('time', 'temporal')):
      if stream in mod:
        channels_first = frames(mod[stream]['modulator'][0])
        features[f'{prefix}_modulator_{word}'] = channels_first.transpose(
          0, 3, 1, 2
        )
  return features
