"""VidTr's golden files: their fields and features in our terms.

Files hold whole models, or one attention layer alone; the authors lay tokens
out as (tokens, batch, width), frames outermost. Of long features the files keep
the first rows.
"""

from collections.abc import Mapping

import jax
import numpy as np
from golden import Answers

from vidmodels import models
from vidmodels.models import vidtr
from vidmodels.models.vidtr import SeparableAttention, TimePool
from vidmodels.weights import vidtr_weights
from vidmodels.weights.mapping import apply

MODELS = ('vidtr', 'vidtr_attention_module')
FAMILY = 'vidtr'
TOLERANCE = 1e-5
# Residual streams grow to 19 before the last norm: there the authors' float32
# is up to 4.3e-5 off the same computed in float64, ours up to 2.5e-5.
FEATURE_TOLERANCE = {
  f'encoder_layers_{i}{part}': 1e-4
  for i in range(48)
  for part in ('', '_self_attn')
}
FIRST_ROWS = True


def model_of(config: Mapping, state: Mapping | None = None) -> vidtr.Model:
  """Our fields from the neutral ones and from the authors' constructor's."""
  original = config['original']
  theirs = original['kwargs']
  assert config['layernorm_eps'] == 1e-5
  assert theirs['normalize_before']
  t, P, _ = config['patch']
  return models.build(
    'vidtr',
    classes=config['num_classes'],
    layers=config['layers'],
    width=config['dim'],
    heads=config['heads'],
    mlp_ratio=config['mlp_dim'] / config['dim'],
    patch=P,
    patch_frames=t,
    activation=config['activation'],
    positions='every' if config['pos_every_layer'] else 'first',
    **_scheme(original['class'], theirs),
  )


def _scheme(name: str, theirs: Mapping) -> dict:
  """Which tokens there are and what they look along."""
  if name == 'CompactVidTr':
    # Joint from the layer after the last that pools.
    layers = theirs.get('layer_pool', (1, 3, 5))
    drops = theirs.get('number_of_keys', (2, 2, 2))
    assert list(layers) == sorted(layers)
    return {
      'attention': 'merged',
      'joint_from': layers[-1] + 1,
      'pool': 'top_k',
      'pool_layers': tuple(layers),
      'pool_drop': tuple(drops),
    }
  assert name == 'VidTr'
  if not theirs.get('merge_later', False):
    return {'attention': 'separable'}
  first = theirs.get('merge_index', 6) + 1
  if first <= 0:
    return {'attention': 'joint'}
  return {'attention': 'merged', 'joint_from': first}


def video_of(config: Mapping, given: np.ndarray) -> np.ndarray:
  return given.transpose(0, 2, 3, 4, 1)


def clip_of(
  config: Mapping, video_BTHWC: np.ndarray | None = None
) -> tuple[int, int, int]:
  """Frames and pixels that the file's tables are for."""
  t, P, _ = config['patch']
  H, W = config['grid_hw']
  return config['time_tokens'] * t, H * P, W * P


def name_features(config: Mapping, model, kept: Mapping) -> Mapping:
  features = {'conv_stem': kept['patches'][0].transpose(0, 4, 1, 2, 3)}
  for i in range(model.layers):
    layer = kept[f'layer_{i}']
    (grid, cls), name = layer['tokens'][0], f'encoder_layers_{i}'
    features[name] = _theirs(grid, cls)
    if cls is None:  # else the class row is no part of what attention answers
      features[f'{name}_self_attn'] = _theirs(layer['attention'][0], None)
  features['encoder_norm'] = kept['after_norm'][0][None]
  features['encoder'] = features['encoder_norm']
  return features


def _theirs(grid: jax.Array, cls_BLD: jax.Array | None) -> np.ndarray:
  """Tokens (tokens, batch, width), a class token apart first."""
  B, D = grid.shape[0], grid.shape[-1]
  rows_BLD = np.asarray(grid).reshape(B, -1, D)
  if cls_BLD is not None:
    rows_BLD = np.concatenate([cls_BLD, rows_BLD], axis=1)
  return rows_BLD.transpose(1, 0, 2)


def attention_of(config: Mapping) -> tuple[SeparableAttention, int, int]:
  """An attention layer, and the class rows in time and in space."""
  name = config['original']['class']
  theirs = config['original']['kwargs']
  first = name.endswith('SpatioFirst')
  both = name.endswith(('DualToken', 'STDDual', 'STDSTDual'))
  space = both or name.endswith('SpatioToken')
  drop = config['drop']
  assert bool(drop) == bool(theirs.get('pool', False))
  pool = TimePool('top_k', drop=drop) if drop else None
  layer = SeparableAttention(
    config['heads'],
    order='NT' if first else 'TN',
    lead=int(both),
    pool=pool,
  )
  return layer, int(both), int(space)


def _run_attention(
  config: Mapping, state: Mapping, given: np.ndarray
) -> Answers:
  layer, in_time, in_space = attention_of(config)
  T, N = config['time_tokens'] + in_time, config['space_tokens'] + in_space
  L, B, D = given.shape
  # C-VidTr's layers pass the class token by: it comes first and stays.
  passed = L - T * N
  assert passed in (0, 1)
  h_BTND = given[passed:].transpose(1, 0, 2).reshape(B, T, N, D)
  A = config['heads']
  shapes = {
    'attn/qkv/kernel': (D, 3, A, D // A),
    'attn/qkv/bias': (3, A, D // A),
    'attn/out/kernel': (A, D // A, D),
    'attn/out/bias': (D,),
  }
  used = {k: v for k, v in state.items() if not k.startswith('linear_temporal')}
  arrays = apply.convert(
    vidtr_weights.attention_rules('self_attn', 'attn'),
    {f'self_attn.{key}': value for key, value in used.items()},
    {path: jax.ShapeDtypeStruct(s, 'float32') for path, s in shapes.items()},
  )
  params = apply.unflatten_variables(arrays)['params']['attn']
  (_, out), kept = jax.jit(
    lambda p, h: layer.apply(
      {'params': p}, h, h, False, mutable='intermediates'
    )
  )(params, h_BTND)
  rows = np.concatenate([given[:passed], _theirs(out, None)])
  features = {}
  if layer.pool:
    kept_BNAT = np.asarray(kept['intermediates']['kept'][0])
    order = kept_BNAT.transpose(2, 0, 1, 3)
    features['kept_index'] = order.reshape(-1, order.shape[-1])
  return Answers(rows, features)


PARTS = {'vidtr_attention_module': _run_attention}
