"""TimeSformer's published files: every key, every shape, and back again."""

import json

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import timesformer

OWN = sorted((golden.HERE / 'golden').glob('*.npz'))
SCHEMES = {
  'divided_space_time': 'divided',
  'joint_space_time': 'joint',
  'space_only': 'space',
}
MANIFESTS = [
  '8x32_224',
  'hr_16x16_448',
  'l_96x4_224',
  '8x32_224_joint_space_time',
  '8x32_224_space_only',
]


def of(path):
  config = golden.read_config(path)
  return golden.read_state(path), golden.maps()['timesformer'].model_of(config)


@pytest.mark.parametrize('path', OWN, ids=lambda path: path.stem)
def test_loading_and_saving_gives_the_authors_file_again(path):
  state, model = of(path)
  again = timesformer.save(timesformer.load(state, model), model)
  assert set(again) == set(state)
  for key in state:
    np.testing.assert_array_equal(again[key], state[key], err_msg=key)


def test_qkv_rows_are_query_key_value_each_head_by_head():
  state, model = of(OWN[0])
  params = timesformer.load(state, model)['params']
  D, A = model.width, model.heads
  rows = state['blocks.1.attn.qkv.weight']
  step = timesformer.timesformer.BLOCKS[model.attention][-1]
  kernel = params['block_1'][step]['attn']['qkv']['kernel']
  for part in range(3):
    for head in range(A):
      first = part * D + head * D // A
      np.testing.assert_array_equal(
        kernel[:, part, head].T, rows[first : first + D // A]
      )


@pytest.mark.parametrize('name', MANIFESTS)
def test_a_published_file_fills_the_full_size_model(shared, name):
  path = shared / 'manifests' / f'timesformer_k400_{name}.json'
  manifest = json.loads(path.read_text())
  config = manifest['config']
  model = models.build(
    'timesformer',
    classes=config['num_classes'],
    attention=SCHEMES[config['attention']],
  )
  # Zeros of any shape in four bytes: nothing of the full size is allocated.
  state = {
    key.removeprefix('model.'): np.broadcast_to(np.float32(0), shape)
    for key, shape, _ in manifest['entries']
  }
  frames, size = config['num_frames'], config['image_size']
  has_time = model.attention != 'space'
  wanted = (frames if has_time else 1, size, size)
  assert timesformer.clip_of(state, model.patch) == wanted
  params = timesformer.load(state, model)['params']
  video = jax.ShapeDtypeStruct((2, frames, size, size, 3), jnp.float32)
  abstract = jax.eval_shape(model.init, jax.random.key(0), video)['params']
  assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, abstract)
  total = sum(x.size for x in jax.tree.leaves(params))
  assert total == manifest['num_params']


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
    timesformer.load(state, model)


def test_weights_of_another_scheme_are_refused():
  state, model = of(next(p for p in OWN if 'joint' in p.name))
  with pytest.raises(InputError, match='time_embed'):
    timesformer.load(state, model.clone(attention='space'))
  with pytest.raises(InputError, match=r'does not fill: .*block_0/time/'):
    timesformer.load(state, model.clone(attention='divided'))
