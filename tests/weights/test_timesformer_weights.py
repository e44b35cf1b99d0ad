"""TimeSformer's published files: every key, every shape, and back again."""

import json

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import timesformer_weights

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


def of(path):
  config = golden.read_config(path)
  return golden.read_state(path), golden.maps()['timesformer'].model_of(config)


@pytest.mark.parametrize('path', OWN, ids=lambda path: path.stem)
def test_loading_and_saving_gives_the_authors_file_again(path):
  state, model = of(path)
  again = timesformer_weights.save(
    timesformer_weights.load(state, model), model
  )
  assert set(again) == set(state)
  for key in state:
    np.testing.assert_array_equal(again[key], state[key], err_msg=key)


def test_qkv_rows_are_query_key_value_each_head_by_head():
  state, model = of(OWN[0])
  params = timesformer_weights.load(state, model)['params']
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


def manifests(shared) -> dict[str, dict]:
  files = sorted((shared / 'manifests').glob('timesformer_*.json'))
  found = {path.stem: json.loads(path.read_text()) for path in files}
  return {name: m for name, m in found.items() if 'entries' in m}


def test_every_published_file_fills_the_full_size_model(shared):
  found = manifests(shared)
  assert len(found) >= 21
  for name, manifest in found.items():
    config = manifest['config']
    model = models.build(
      'timesformer',
      classes=config['num_classes'],
      attention=RELEASED[config.get('attention', 'divided_space_time')],
    )
    # Zeros of any shape in four bytes: nothing of the full size is allocated.
    state = {
      key.removeprefix('model.'): np.broadcast_to(np.float32(0), shape)
      for key, shape, _ in manifest['entries']
    }
    frames, size = config['num_frames'], config['image_size']
    has_time = model.attention != 'space'
    wanted = (frames if has_time else 1, size, size)
    assert timesformer_weights.clip_of(state, model.patch) == wanted, name
    params = timesformer_weights.load(state, model)['params']
    video = jax.ShapeDtypeStruct((2, frames, size, size, 3), jnp.float32)
    abstract = jax.eval_shape(model.init, jax.random.key(0), video)['params']
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, abstract)
    total = sum(x.size for x in jax.tree.leaves(params))
    assert total == manifest['num_params'], name


def test_the_hubs_names_are_the_authors_renamed(shared):
  path = shared / 'manifests' / 'timesformer_key_pairs_original_to_hf.json'
  pairs = dict(json.loads(path.read_text())['pairs'])
  state, model = of(next(p for p in OWN if 'divided' in p.name))
  variables = timesformer_weights.load(state, model)
  again = timesformer_weights.save(variables, model, 'hf')
  assert set(again) == {pairs[f'model.{key}'] for key in state}
  for key, array in state.items():
    np.testing.assert_array_equal(again[pairs[f'model.{key}']], array)
  loaded = timesformer_weights.load(again, model)
  jax.tree.map(np.testing.assert_array_equal, loaded, variables)


@pytest.mark.parametrize(
  'fields', timesformer_weights.timesformer.VARIANTS, ids=str
)
@pytest.mark.parametrize('naming', ['release', 'hf'])
def test_weights_of_every_variant_are_written_and_read(fields, naming):
  own = timesformer_weights.timesformer
  model = models.build('timesformer', classes=3, **{**own.TINY, **fields})
  video = jax.ShapeDtypeStruct((1, *own.TINY_CLIP, 3), jnp.float32)
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    jax.eval_shape(model.init, jax.random.key(0), video),
  )
  state = timesformer_weights.save(variables, model, naming)
  assert len(state) == len(set(state)) >= 20
  again = timesformer_weights.load(state, model, clip=own.TINY_CLIP)
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
  ('change', 'says'),
  [
    (lambda s: s.pop('norm.bias'), 'does not fill: norm/bias'),
    (lambda s: s.update({'head.extra': s['norm.bias']}), 'for: head.extra'),
    (lambda s: s.pop('pos_embed'), 'no pos_embed'),
    (lambda s: s.pop('patch_embed.proj.weight'), 'is it a model'),
    (
      lambda s: s.update({'head.weight': s['head.weight'][1:]}),
      r'head\.weight has shape .*needs',
    ),
    (
      lambda s: s.update({'pos_embed': s['pos_embed'][:, 1:]}),
      'positions for 15 patches',
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
def test_a_file_that_does_not_fit_is_refused_by_name(change, says):
  state, model = of(OWN[0])
  change(state)
  with pytest.raises(InputError, match=says):
    timesformer_weights.load(state, model)


def test_weights_of_another_scheme_are_refused():
  state, model = of(next(p for p in OWN if 'joint' in p.name))
  with pytest.raises(InputError, match='time_embed'):
    timesformer_weights.load(state, model.clone(attention='space'))
  with pytest.raises(InputError, match=r'does not fill: .*block_0/time/'):
    timesformer_weights.load(state, model.clone(attention='divided'))
