"""TimeSformer's golden files: their fields and features in our terms."""

from collections.abc import Mapping

import jax
import numpy as np

from vidmodels import models
from vidmodels.models import timesformer

MODELS = ('timesformer',)
FAMILY = 'timesformer'
TOLERANCE = 1e-5
SCHEMES = {
  'divided_space_time': 'divided',
  'joint_space_time': 'joint',
  'space_only': 'space',
}


def model_of(
  config: Mapping, state: Mapping | None = None
) -> timesformer.Model:
  """Our fields from the neutral ones; what has no field must be as ours."""
  assert config['gelu'] == 'exact'
  theirs = {**config.get('original', {}).get('kwargs', {}), **config}
  return models.build(
    'timesformer',
    classes=config['num_classes'],
    attention=SCHEMES[config['attention']],
    layers=config['depth'],
    width=config['embed_dim'],
    heads=config['num_heads'],
    mlp_ratio=config['mlp_ratio'],
    patch=config['patch_size'],
    qkv_bias=config['qkv_bias'],
    qk_scale=theirs.get('qk_scale') or 0.0,
    epsilon=config['layer_norm_eps'],
  )


def video_of(config: Mapping, given: np.ndarray) -> np.ndarray:
  axes = [config['input_layout'].split(',').index(a) for a in 'BTHWC']
  return given.transpose(axes)


def clip_of(config: Mapping, video_BTHWC: np.ndarray) -> tuple[int, int, int]:
  """The clip that the authors built the model for, whatever they fed it."""
  return (config['built_frames'], *config['built_size'])


def name_features(config: Mapping, model, kept: Mapping) -> Mapping:
  features = {
    'tokens_after_embeddings': _theirs(kept['after_embedding'][0]),
    'cls_after_final_norm': kept['after_norm'][0],
  }
  for i in range(model.layers):
    tokens = kept[f'block_{i}']['after'][0]
    features[f'tokens_after_block{i}'] = _theirs(tokens)
  return features


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
