"""Image ViT's golden files: their fields and features in our terms."""

from collections.abc import Mapping

import numpy as np

from vidmodels import models
from vidmodels.models import vit

MODELS = ('vit', 'deit_distilled')
FAMILY = 'vit'
TOLERANCE = 1e-5
# The table of positions in the files of every publisher.
TABLES = (
  'pos_embed',
  'vit.embeddings.position_embeddings',
  'embeddings.position_embeddings',
  'Transformer/posembed_input/pos_embedding',
  'pos_embedding',
)


def model_of(config: Mapping, state: Mapping) -> vit.Model:
  """Our fields from the neutral ones, and from the keys where those are silent.

  Args:
    config: of the file; what has no field must be as ours.
    state: the weights, by whoever's names.
  """
  gelu = config.get('gelu', 'exact')
  assert gelu.startswith(('exact', 'tanh'))
  assert config.get('prefix_tokens', ['cls', 'dist']) == ['cls', 'dist']
  H, W = config['image_hw']
  table = next(state[key] for key in TABLES if key in state)
  rows = table.shape[1] - H * W // config['patch'] ** 2
  return models.build(
    'vit',
    classes=config['num_classes'],
    layers=config['layers'],
    width=config['dim'],
    heads=config['heads'],
    mlp_ratio=config['mlp_dim'] / config['dim'],
    patch=config['patch'],
    epsilon=config['layernorm_eps'],
    activation='gelu' if gelu.startswith('exact') else 'gelu_tanh',
    qkv_bias=config.get('qkv_bias', True),
    distilled='dist_token' in state,
    class_position=rows > 0,
    pre_logits=any('pre_logits' in key for key in state),
  )


def video_of(config: Mapping, given: np.ndarray) -> np.ndarray:
  """Images [B, C, H, W] as clips of one frame."""
  return given.transpose(0, 2, 3, 1)[:, None]


def clip_of(config: Mapping, video_BTHWC: np.ndarray) -> tuple[int, int, int]:
  """The image that the table of positions is for."""
  return (1, *config['image_hw'])


def name_features(config: Mapping, model, kept: Mapping) -> Mapping:
  features = {
    'tokens_after_pos': kept['after_embedding'][0][:, 0],
    'norm_out': kept['after_norm'][0][:, 0],
  }
  for i in range(model.layers):
    features[f'block_{i}_out'] = kept[f'after_block_{i}'][0][:, 0]
  return features
