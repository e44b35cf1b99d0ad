"""TimeSformer's published files: every key, every shape, and back again."""

import json

import golden
import jax
import manifests
import numpy as np
import pytest

from vidmodels import models
from vidmodels.models import timesformer
from vidmodels.typing import InputError
from vidmodels.weights import timesformer_weights
from vidmodels.weights.mapping import apply, identify

OWN = [
  path
  for path in sorted((golden.HERE / 'golden').glob('*.npz'))
  if golden.read_config(path).get('model') == 'timesformer'
]
# What the manifests call the released schemes.
RELEASED = {
  'divided_space_time': 'divided',
  'joint_space_time': 'joint',
  'space_only': 'space',
}


def read_file(path):
  config = golden.read_config(path)
  return golden.read_state(path), golden.maps()['timesformer'].model_of(config)


def load(state, model, clip=None):
  return golden.load_state('timesformer', model, state, clip=clip)[1]


def save(variables, model, name: str = 'release'):
  return golden.save_state('timesformer', model, variables, name)


def test_qkv_rows_are_query_key_value_each_head_by_head():
  state, model = read_file(OWN[0])
  params = load(state, model)['params']
  D, A = model.width, model.heads
  rows = state['blocks.1.attn.qkv.weight']
  step = model.steps()[-1].name
  kernel = params['block_1'][step]['attn']['qkv']['kernel']
  for part in range(3):
    for head in range(A):
      first = part * D + head * D // A
      np.testing.assert_array_equal(
        kernel[:, part, head].T, rows[first : first + D // A]
      )


def test_a_published_file_tells_its_clip(shared):
  paths = sorted((shared / 'manifests').glob('timesformer_*.json'))
  paths = [path for path in paths if 'entries' in manifests.read(path)]
  assert len(paths) >= 21
  for path in paths:
    config = manifests.read(path)['config']
    scheme = RELEASED[config.get('attention', 'divided_space_time')]
    matches = identify.identify(manifests.file(path).tensors)
    guess = next(m for m in matches if m.naming.family == 'timesformer').guess
    frames = config['num_frames'] if scheme != 'space' else 1
    assert guess.clip[:3] == (frames, *[config['image_size']] * 2), path.stem
    assert guess.model['attention'] == scheme


def test_the_hubs_names_are_the_authors_renamed(shared):
  path = shared / 'manifests' / 'timesformer_key_pairs_original_to_hf.json'
  pairs = dict(json.loads(path.read_text())['pairs'])
  state, model = read_file(next(p for p in OWN if 'divided' in p.name))
  variables = load(state, model)
  again = save(variables, model, 'hf')
  assert set(again) == {pairs[f'model.{key}'] for key in state}
  for key, array in state.items():
    np.testing.assert_array_equal(again[pairs[f'model.{key}']], array)
  loaded = load(again, model)
  jax.tree.map(np.testing.assert_array_equal, loaded, variables)


@pytest.mark.parametrize('fields', timesformer.VARIANTS, ids=str)
@pytest.mark.parametrize('naming', ['release', 'hf'])
@pytest.mark.fast_every(4)
def test_weights_of_every_variant_are_written_and_read(fields, naming):
  own = timesformer
  model = models.build('timesformer', classes=3, **{**own.TINY, **fields})
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    apply.variable_shapes(model, (*own.TINY_CLIP, 3)),
  )
  state = save(variables, model, naming)
  assert len(state) == len(set(state)) >= 20
  if fields.get('positions') in ('none', 'space'):
    # Files without a table of frames or of patches are not recognised as such.
    rules = timesformer_weights.rules(model.steps(), naming)
    video = (*own.TINY_CLIP, 3)
    again = apply.load_variables(rules, state, model, video=video)
  else:
    again = load(state, model, clip=own.TINY_CLIP)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_the_last_step_over_space_has_the_plain_names():
  model = models.build('timesformer', classes=3, attention='axial')
  rules = timesformer_weights.rules(model.steps())
  names = {r.paths[0]: r.keys[0] for r in rules}
  attn = 'blocks.{i}.attn.qkv.weight'
  assert names['block_{i}/height/attn/qkv/kernel'] == attn
  assert names['block_{i}/width/norm/scale'] == 'blocks.{i}.width_norm1.weight'
  assert names['block_{i}/width/fc/bias'] == 'blocks.{i}.width_fc.bias'
  time = 'blocks.{i}.temporal_attn.proj.bias'
  assert names['block_{i}/time/attn/out/bias'] == time


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda s: s.pop('norm.bias'), 'does not fill: norm/bias'),
    (lambda s: s.update({'head.extra': s['norm.bias']}), 'for: head.extra'),
    (lambda s: s.pop('pos_embed'), 'of no family'),
    (lambda s: s.pop('patch_embed.proj.weight'), 'becomes patch/kernel'),
    (
      lambda s: s.update({'head.weight': s['head.weight'][1:]}),
      r'head\.weight has shape .*needs',
    ),
    (
      lambda s: s.update({'pos_embed': s['pos_embed'][:, 1:]}),
      '15 patches, which is not',
    ),
  ],
  ids=[
    'missing',
    'extra',
    'no positions',
    'no patches',
    'classes',
    'no square',
  ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, message):
  state, model = read_file(OWN[0])
  change(state)
  with pytest.raises(InputError, match=message):
    load(state, model)


def test_weights_of_another_scheme_are_refused():
  state, model = read_file(next(p for p in OWN if 'joint' in p.name))
  with pytest.raises(InputError, match='time_embed'):
    load(state, model.clone(attention='space'))
  with pytest.raises(InputError, match=r'does not fill: .*block_0/time/'):
    load(state, model.clone(attention='divided'))
