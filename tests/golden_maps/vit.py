"""Image ViT's golden files: their fields and features in our terms."""

import functools
from collections.abc import Mapping

import jax
import numpy as np
from golden import Answers

from vidmodels import models
from vidmodels.models import vit
from vidmodels.weights import vit_weights

MODELS = ('vit', 'deit_distilled')
TOLERANCE = 1e-5


def model_of(config: Mapping, state: Mapping, **more) -> vit.Model:
  """Our fields from the neutral ones, and from the keys where those are silent.

  Args:
    config: of the file; what has no field must be as ours.
    state: the weights, by whoever's names.
    **more: fields that the caller wants otherwise.
  """
  gelu = config.get('gelu', 'exact')
  assert gelu.startswith(('exact', 'tanh'))
  distilled = config['model'] == 'deit_distilled'
  assert config.get('prefix_tokens', ['cls', 'dist']) == ['cls', 'dist']
  assert ('dist_token' in state) == distilled
  H, W = config['image_hw']
  _, table = vit_weights.naming_of(state)
  rows = state[table].shape[1] - H * W // config['patch'] ** 2
  fields = dict(
    layers=config['layers'],
    width=config['dim'],
    heads=config['heads'],
    mlp_ratio=config['mlp_dim'] / config['dim'],
    patch=config['patch'],
    epsilon=config['layernorm_eps'],
    activation='gelu' if gelu.startswith('exact') else 'gelu_tanh',
    qkv_bias=config.get('qkv_bias', True),
    distilled=distilled,
    class_position=rows > 0,
    pre_logits=any('pre_logits' in key for key in state),
  )
  classes = config['num_classes']
  return models.build('vit', classes=classes, **{**fields, **more})


def run(config: Mapping, state: Mapping, given: np.ndarray, **more) -> Answers:
  """Our answer to images [B, C, H, W]."""
  assert config.get('input_layout', 'B,C,H,W') == 'B,C,H,W'
  model = model_of(config, state, **more)
  image = (*config['image_hw'], given.shape[1])
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
