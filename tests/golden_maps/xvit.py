"""X-ViT's golden files: their fields and features in our terms."""

from collections.abc import Mapping

import numpy as np
from golden import Answers, apply_model

from vidmodels import models
from vidmodels.models import xvit

MODELS = ('xvit',)
FAMILY = 'xvit'
TOLERANCE = 1e-5


def model_of(config: Mapping, state: Mapping | None = None) -> xvit.Model:
  """Our fields from the neutral ones; what has no field must be as ours."""
  assert config['gelu'] == 'exact'
  assert config['layer_norm_eps'] == 1e-6
  assert config['ta_layer_norm_eps'] == 1e-5
  assert not config['ta_qkv_bias']
  return models.build(
    'xvit',
    classes=config['num_classes'],
    layers=config['depth'],
    width=config['embed_dim'],
    heads=config['num_heads'],
    mlp_ratio=config['mlp_ratio'],
    patch=config['patch_size'],
    qkv_bias=config['qkv_bias'],
    time_rows=config['temporal_embedding_frames'],
    **_mixing(config),
    **_head(config),
    **_dropout(config),
  )


def _mixing(config: Mapping) -> dict:
  """The release's divisor as a share of channels, half of it each way."""
  mixed = [i for i in config['mixing_layers'] if i < config['depth']]
  if not config['space_time_mixing'] or not mixed:
    return {'mix': 'none'}
  each = config['embed_dim'] // config['shift_div']
  assert config['channels_from_next_frame'] == each
  assert config['channels_from_previous_frame'] == each
  return {
    'mix_layers': ','.join(map(str, mixed)),
    'mix_share': 2 * each / config['embed_dim'],
    'segment': config['mixing_segment_length'],
  }


def _head(config: Mapping) -> dict:
  """Temporal attention, or the average of frames."""
  if config['temporal_aggregation'] == 'temporal_attention':
    return {
      'ta_layers': config['num_ta_layers'],
      'ta_heads': config['ta_heads'],
      'ta_hidden': config['ta_mlp_hidden'],
    }
  assert config['temporal_aggregation'] == 'average'
  return {
    'ta_layers': 0,
    'average': 'logits' if _before_softmax(config) else 'probs',
  }


def _before_softmax(config: Mapping) -> bool:
  original = config.get('original', {}).get('cfg', {}).get('XVIT', {})
  return original.get('BEFORE_SOFTMAX', True)


def _dropout(config: Mapping) -> dict:
  """A release without dropout keeps its classifier in the image model."""
  return {'dropout': 0.0} if 'base_model' in config['classifier_key'] else {}


def video_of(config: Mapping, given: np.ndarray) -> np.ndarray:
  axes = [config['input_layout'].split(',').index(a) for a in 'BTHWC']
  return given.transpose(axes)


def answer(config: Mapping, model, variables: Mapping, video_BTHWC) -> Answers:
  if not model.ta_layers:
    # The release averages what mixes: two segments are two answers.
    frames = config['mixing_segment_length']
    video_BTHWC = video_BTHWC.reshape(-1, frames, *video_BTHWC.shape[2:])
  ours = apply_model(config, model, variables, video_BTHWC)
  if model.average == 'probs':  # the release answers with probabilities
    return Answers(np.exp(ours.logits), ours.features)
  return ours


def name_features(config: Mapping, model, kept: Mapping) -> Mapping:
  rows = lambda tokens: tokens.reshape(-1, *tokens.shape[2:])
  features = {
    'tokens_after_embeddings_BT_N_C': rows(kept['after_embedding'][0]),
    'frame_cls_after_final_norm_BT_C': rows(kept['after_norm'][0]),
  }
  for i in range(model.layers):
    tokens = kept[f'block_{i}']['tokens'][0]
    features[f'tokens_after_block{i}_BT_N_C'] = rows(tokens)
  return features
