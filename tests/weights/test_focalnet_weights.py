"""FocalNet's published files: three namings of one model, and back again."""

import json

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights.formats.tensors import Tensors
from vidmodels.weights.mapping.identify import identify

NAMINGS = ('microsoft', 'hf', 'timm')
SIZES = {
  'tiny': {},
  'small': {'layers': (2, 2, 18, 2)},
  'base': {'layers': (2, 2, 18, 2), 'width': 128},
}
# What the authors count, classifier of 1000 included.
PARAMS = {
  'tiny_srf': 28_427_116,
  'tiny_lrf': 28_647_928,
  'small_srf': 49_891_216,
  'small_lrf': 50_342_440,
  'base_srf': 88_148_144,
  'base_lrf': 88_749_768,
}


def fields_of(name: str) -> dict:
  """Fields of a published model, e.g. 'tiny_lrf'."""
  size, reach = name.split('_')
  return {**SIZES[size], 'levels': (2 if reach == 'srf' else 3,) * 4}


def build(**more):
  """A small model with everything that has a name of its own."""
  fields = {
    'layers': (2, 1),
    'width': 8,
    'levels': (2, 3),
    'windows': (5, 3),
    'overlap': True,
    'layer_scale': True,
    'modulation_norm': True,
    **more,
  }
  return models.build('focalnet', classes=6, **fields)


def numbers(model) -> dict:
  """Variables whose numbers are all different."""
  video = jnp.zeros((1, 1, 16, 16, 3))
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)
  first, leaves = 0, []
  for leaf in jax.tree.leaves(shapes):
    more = np.arange(first, first + leaf.size, dtype=np.float32)
    leaves.append(more.reshape(leaf.shape))
    first += leaf.size
  return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def tensors(state) -> Tensors:
  """Arrays as an opened file has them."""
  specs = {key: (array.shape, array.dtype) for key, array in state.items()}
  return Tensors(specs, state.__getitem__)


def save(variables, model, naming: str = 'microsoft'):
  return golden.save_state('focalnet', model, variables, naming)


def load(state, model):
  return golden.load_state('focalnet', model, state, clip=(1, 16, 16))[1]


@pytest.mark.parametrize('post_norm', [False, True])
@pytest.mark.parametrize('naming', NAMINGS)
@pytest.mark.fast_every(3)
def test_saving_and_loading_gives_the_same_numbers(naming, post_norm):
  model = build(post_norm=post_norm)
  variables = numbers(model)
  state = save(variables, model, naming)
  (match,) = identify(tensors(state))
  assert match.naming.name == naming
  again = load(state, model)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.parametrize('stem', ['srf_4stage', 'overlap_postln'])
@pytest.mark.fast_every(2)
def test_the_same_weights_in_three_namings_are_the_same_model(stem):
  found = {
    golden.read_config(path)['naming']: path
    for name, path in golden.every('focalnet_image').items()
    if stem in name
  }
  if set(found) != set(NAMINGS):
    pytest.skip('no files of the authors in all three namings')
  states = {n: golden.read_state(path) for n, path in found.items()}
  config = golden.read_config(found['hf'])
  model = golden.maps()['focalnet_image'].model_of(config)
  loaded = {n: load(state, model) for n, state in states.items()}
  for naming in NAMINGS:
    jax.tree.map(
      np.testing.assert_array_equal, loaded[naming], loaded['microsoft']
    )
    saved = save(loaded['hf'], model, naming)
    assert set(saved) == set(states[naming])
    for key, array in states[naming].items():
      np.testing.assert_array_equal(saved[key], array, err_msg=key)


@pytest.mark.parametrize('naming', NAMINGS)
@pytest.mark.parametrize('name', PARAMS)
def test_a_published_file_tells_its_size(shared, name, naming):
  path = shared / 'manifests' / f'focalnet_image_{name}_{naming}.json'
  manifest = json.loads(path.read_text())
  # Zeros of any shape in four bytes: nothing of the full size is allocated.
  state = {
    key: np.broadcast_to(np.float32(0), shape)
    for key, shape, _ in manifest['entries']
  }
  config, (found,) = manifest['config'], identify(tensors(state))
  assert (found.naming.name, found.guess.classes) == (naming, 1000)
  assert found.guess.size == name.split('_')[0]
  told = found.guess.model
  assert told['layers'] == tuple(config['depths'])
  assert told['levels'] == tuple(config['focal_levels'])
  assert told['windows'] == tuple(config['focal_windows'])
  assert (told['width'], told['patch']) == (config['embed_dim'], 4)
  assert (told['overlap'], told['layer_scale']) == (False, False)
  assert PARAMS[name] == manifest['num_params']


@pytest.mark.parametrize('name', ['tiny_srf', 'base_lrf'])
@pytest.mark.slow
def test_full_size_models_have_the_authors_number_of_parameters(name):
  model = models.build('focalnet', classes=1000, **fields_of(name))
  image = jax.ShapeDtypeStruct((1, 1, 224, 224, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), image)['params']
  assert sum(x.size for x in jax.tree.leaves(params)) == PARAMS[name]


@pytest.mark.parametrize('naming', NAMINGS)
@pytest.mark.parametrize('post_norm', [False, True])
@pytest.mark.fast_every(3)
def test_a_file_tells_the_fields_of_its_model(naming, post_norm):
  model = build(post_norm=post_norm)
  state = save(numbers(model), model, naming)
  (found,) = identify(tensors(state))
  assert (found.naming.family, found.naming.name) == ('focalnet', naming)
  assert found.guess.classes == 6
  told = dict(found.guess.model)
  if naming != 'timm':  # the others call both kinds of norm the same
    assert found.guess.assumed == ('post_norm',)
    told['post_norm'] = post_norm
  assert told == {name: getattr(model, name) for name in told}
  assert {'layers', 'levels', 'windows', 'overlap', 'layer_scale'} <= set(told)


@pytest.mark.parametrize(
  ('more', 'message'),
  [
    ({'levels': (3, 3)}, r'file has \(2, 3\) focal levels, the model 3;'),
    ({'windows': (5, 5)}, r'\(5, 3\) taps at the first .*, the model 5'),
    ({'layers': (2, 2)}, r'\(2, 1\) blocks a stage, the model 2'),
    ({'width': 16}, '8 width, the model 16'),
    ({'overlap': False}, 'True overlap, the model False'),
    ({'layer_scale': False}, 'True layer_scale, the model False'),
    ({'patch': 8, 'width': 4}, '8 width, the model 4; 4 patch, the model 8'),
  ],
)
@pytest.mark.fast_every(3)
def test_a_file_for_another_model_is_told_by_its_fields(more, message):
  state = save(numbers(build()), build())
  with pytest.raises(InputError, match=message):
    load(state, build(**more))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda s: s.pop('norm.bias'), 'does not fill: norm/bias'),
    (lambda s: s.update({'head.extra': s['norm.bias']}), 'for: head.extra'),
    (lambda s: s.pop('patch_embed.proj.weight'), 'of no family'),
    (
      lambda s: s.update(
        {'layers.0.blocks.1.modulation.f.weight': np.zeros((18, 8), 'f4')}
      ),
      r'modulation\.f\.weight has shape \[18, 8\] .*needs \[19, 8\]',
    ),
  ],
  ids=['missing', 'extra', 'no patches', 'shape'],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, message):
  model = build()
  state = save(numbers(model), model)
  change(state)
  with pytest.raises(InputError, match=message):
    load(state, model)


def test_half_a_head_is_dropped_with_a_warning():
  model = build()
  state = save(numbers(model), model)
  del state['head.bias']
  with pytest.raises(UserWarning, match='does not fill head/bias, head/kernel'):
    load(state, model)


def test_rows_of_the_first_projection_are_query_context_gates():
  model = build()
  state = save(numbers(model), model)
  mod = load(state, model)['params']['stage_1_block_0']['mod']
  rows, D = state['layers.1.blocks.0.modulation.f.weight'], 16
  assert rows.shape == (2 * D + 4, D)
  space = mod['space']
  np.testing.assert_array_equal(mod['query']['kernel'].T, rows[:D])
  np.testing.assert_array_equal(space['context']['kernel'].T, rows[D : 2 * D])
  np.testing.assert_array_equal(space['gate']['kernel'].T, rows[2 * D :])
