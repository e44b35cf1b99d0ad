"""TimeSformer's golden files: their fields and features in our terms."""

from collections.abc import Mapping

import jax
import numpy as np
from golden import Answers

from vidmodels import models
from vidmodels.models import timesformer
from vidmodels.weights import timesformer_weights

MODELS = ('timesformer',)
TOLERANCE = 1e-5


def model_of(config: Mapping) -> timesformer.Model:
  """Our fields from the neutral ones; what has no field must be as ours."""
  assert (config['gelu'], config['layer_norm_eps']) == ('exact', 1e-6)
  schemes = {
    'divided_space_time': 'divided',
    'joint_space_time': 'joint',
    'space_only': 'space',
  }
  return models.build(
    'timesformer',
    classes=config['num_classes'],
    attention=schemes[config['attention']],
    layers=config['depth'],
    width=config['embed_dim'],
    heads=config['num_heads'],
    mlp_ratio=config['mlp_ratio'],
    patch=config['patch_size'],
    qkv_bias=config['qkv_bias'],
  )


def run(config: Mapping, state: Mapping, given: np.ndarray):
  model = model_of(config)
  clip = (config['built_frames'], *config['built_size'])
  variables = timesformer_weights.load(state, model, clip=clip)
  axes = [config['input_layout'].split(',').index(a) for a in 'BTHWC']
  logits_BK, kept = jax.jit(
    lambda x, v: model.apply(x, v, mutable='intermediates')
  )(variables, given.transpose(axes))
  kept = kept['intermediates']
  theirs = {
    'tokens_after_embeddings': _theirs(kept['after_embedding'][0]),
    'cls_after_final_norm': kept['after_norm'][0],
  }
  for i in range(model.layers):
    tokens = kept[f'block_{i}']['after'][0]
    theirs[f'tokens_after_block{i}'] = _theirs(tokens)
  return Answers(logits_BK, theirs)


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
