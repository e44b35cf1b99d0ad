"""Image ViT's golden files: their fields and features in our terms."""

import functools
from collections.abc import Mapping

import jax
import numpy as np
from golden import Answers

from vidmodels import models
from vidmodels.models import vit
from vidmodels.weights import vit as vit_weights

MODELS = ('vit', 'deit_distilled')
TOLERANCE = 1e-5


def model_of(config: Mapping, **more) -> vit.Model:
  """Our fields from the neutral ones; what has no field must be as ours."""
  gelu = config.get('gelu', 'exact')
  assert gelu.startswith(('exact', 'tanh'))
  fields = dict(
    layers=config['layers'],
    width=config['dim'],
    heads=config['heads'],
    mlp_ratio=config['mlp_dim'] / config['dim'],
    patch=config['patch'],
    epsilon=config['layernorm_eps'],
    activation='gelu' if gelu.startswith('exact') else 'gelu_tanh',
    qkv_bias=config.get('qkv_bias', True),
    distilled='dist' in config.get('prefix_tokens', ()),
  )
  fields.update(more)
  return models.build('vit', classes=config['num_classes'], **fields)


def run(config: Mapping, state: Mapping, given: np.ndarray, **more) -> Answers:
  """Our answer to images [B, C, H, W], given whoever's names."""
  assert config.get('input_layout', 'B,C,H,W') == 'B,C,H,W'
  distilled = config['model'] == 'deit_distilled'
  assert ('dist_token' in state) == distilled
  rows = [k for k in ('pos_embed', 'pos_embedding') if k in state]
  square = config['image_hw'][0] == config['image_hw'][1]
  model = model_of(config, **more)
  patches = np.prod(config['image_hw']) // config['patch'] ** 2
  if rows and 'class_position' not in more:
    bare = state[rows[0]].shape[1] == patches
    model = model.clone(class_position=not bare)
  if 'pre_logits' not in more:
    has = any('pre_logits' in key for key in state)
    model = model.clone(pre_logits=has)
  image = None if square else (*config['image_hw'], given.shape[1])
  variables = vit_weights.load(state, model, image=image)
  apply = jax.jit(functools.partial(model.apply, mutable='intermediates'))
  logits_BK, kept = apply(variables, given.transpose(0, 2, 3, 1)[:, None])
  kept = kept['intermediates']
  theirs = {
    'tokens_after_pos': kept['after_embedding'][0][:, 0],
    'norm_out': kept['after_norm'][0][:, 0],
  }
  for i in range(model.layers):
    theirs[f'block_{i}_out'] = kept[f'after_block_{i}'][0][:, 0]
  return Answers(logits_BK, theirs)
