"""X-ViT's published files: every key, every shape, and back again."""

import json

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_maps import xvit as xvit_map

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import xvit_weights
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books

OWN = [
  path
  for path in sorted((golden.HERE / 'golden').glob('*.npz'))
  if golden.read_config(path).get('model') == 'xvit'
]
MANIFESTS = ['k400_b16_16x16', 'k600_b16_16x16', 'ssv2_b16_16']


def of(path):
  config = golden.read_config(path)
  return golden.read_state(path), xvit_map.model_of(config)


def drawn(model, seed: int = 0) -> dict[str, np.ndarray]:
  """A file of the authors' with numbers in it."""
  video = jax.ShapeDtypeStruct((1, 4, 16, 16, 3), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)
  rng = np.random.default_rng(seed)
  draw = lambda x: rng.normal(size=x.shape).astype(np.float32)
  return xvit_weights.save(jax.tree.map(draw, shapes), model)


def tiny(**more):
  return models.build(
    'xvit', classes=5, layers=2, width=16, heads=2, patch=8, **more
  )


@pytest.mark.parametrize('path', OWN, ids=lambda path: path.stem)
def test_loading_and_saving_gives_the_authors_file_again(path):
  state, model = of(path)
  again = xvit_weights.save(xvit_weights.load(state, model), model)
  assert set(again) == set(state)
  for key in state:
    if key.startswith('new_fc'):  # nothing read it, so it is not kept
      assert again[key].shape == state[key].shape
      assert not again[key].any()
    else:
      np.testing.assert_array_equal(again[key], state[key], err_msg=key)


def test_an_averaging_model_keeps_its_classifier():
  state = drawn(tiny(ta_layers=0))
  assert state['new_fc.weight'].any()
  assert not any(key.startswith('consensus') for key in state)
  params = xvit_weights.load(state, tiny(ta_layers=0))['params']
  np.testing.assert_array_equal(
    params['head']['kernel'], state['new_fc.weight'].T
  )


def test_without_dropout_the_classifier_has_the_image_models_name():
  state = drawn(tiny(ta_layers=0, dropout=0))
  assert state['base_model.head.weight'].shape == (5, 16)
  assert 'new_fc.weight' not in state
  # Either name is read, whatever the rate.
  for model in (tiny(ta_layers=0), tiny(ta_layers=0, dropout=0)):
    params = xvit_weights.load(state, model)['params']
    np.testing.assert_array_equal(
      params['head']['bias'], state['base_model.head.bias']
    )


@pytest.mark.parametrize('rows', [8, 16])
def test_the_table_of_frames_keeps_the_rows_of_the_file(rows):
  state = drawn(tiny(time_rows=rows))
  assert state['base_model.temp_embed'].shape == (1, rows, 1, 16)
  model = tiny(segment=8)
  variables = xvit_weights.load(state, model)
  table = variables['params']['time_pos']['table']
  np.testing.assert_array_equal(table, state['base_model.temp_embed'][0, :, 0])
  video = jnp.zeros((1, 16, 16, 16, 3))
  embed = lambda i: model.apply(variables, video, method='embed')[0, i, 0]
  assert (embed(0) == embed(8)).all() == (rows == 8)


@pytest.mark.parametrize('name', MANIFESTS)
def test_a_published_file_fills_the_full_size_model(shared, name):
  path = shared / 'manifests' / f'xvit_{name}.json'
  manifest = json.loads(path.read_text())
  config = manifest['config']
  model = models.build(
    'xvit',
    classes=config['num_classes'],
    layers=config['depth'],
    width=config['embed_dim'],
    heads=config['num_heads'],
    patch=config['patch_size'],
    mix_share=2 / config['shift_div'],
    segment=config['mixing_segment_length'],
  )
  # Zeros of any shape in four bytes: nothing of the full size is allocated.
  state = {
    key: np.broadcast_to(np.float32(0), shape)
    for key, shape, _ in manifest['entries']
  }
  params = xvit_weights.load(state, model)['params']
  size = config['image_size']
  clip = (2, config['num_frames'], size, size, 3)
  video = jax.ShapeDtypeStruct(clip, jnp.float32)
  abstract = jax.eval_shape(model.init, jax.random.key(0), video)['params']
  assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, abstract)
  total = sum(x.size for x in jax.tree.leaves(params))
  unread = manifest['num_params_unused_new_fc']
  assert total == manifest['num_params'] - unread
  assert unread == config['num_classes'] * 769
  again = xvit_weights.save({'params': params}, model)
  assert {key: x.shape for key, x in again.items()} == {
    key: tuple(shape) for key, shape, _ in manifest['entries']
  }


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    (lambda s: s.pop('base_model.norm.bias'), 'norm/bias'),
    (lambda s: s.update(extra=s['base_model.norm.bias']), 'extra'),
    (lambda s: s.pop('base_model.temp_embed'), 'no base_model.temp_embed'),
    (
      lambda s: s.update({'consensus.mlp_head.4.weight': np.ones((4, 16))}),
      r'consensus\.mlp_head\.4\.weight has shape',
    ),
    (
      lambda s: s.update({'base_model.pos_embed': np.ones((1, 4, 16))}),
      'has 3 places, which is no square',
    ),
  ],
  ids=['missing', 'extra', 'no frames', 'classes', 'no square'],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, says):
  state = drawn(tiny())
  change(state)
  with pytest.raises(InputError, match=says):
    xvit_weights.load(state, tiny())


def test_files_and_models_of_other_heads_are_refused():
  with pytest.raises(InputError, match=r'consensus\.mlp_head\.4'):
    xvit_weights.load(drawn(tiny(ta_layers=0)), tiny())
  with pytest.raises(InputError, match=r'no place for: consensus\.'):
    xvit_weights.load(drawn(tiny()), tiny(ta_layers=0))
  with pytest.raises(InputError, match='does not fill: head_0/'):
    xvit_weights.load(drawn(tiny()), tiny(groups=(2, 3)))
  with pytest.raises(InputError, match='no key of the file stands for head_0/'):
    drawn(tiny(groups=(2, 3)))


def started(model, image):
  """Variables of a video model, drawn and then taken from an image model's."""
  video, books = (4, 16, 24, 3), Books()
  clip = jax.ShapeDtypeStruct((1, 4, 16, 24, 3), jnp.float32)
  rng = np.random.default_rng(2)
  draw = lambda x: rng.normal(size=x.shape, scale=0.3).astype(np.float32)
  theirs = jax.tree.map(
    draw, jax.eval_shape(image.init, jax.random.key(0), clip)
  )
  made = xvit_weights.from_image(theirs, image, model, video, books)
  drawn = jax.jit(model.init)(jax.random.key(0), np.zeros((1, *video), 'f'))
  flat = {**layers.flat(drawn), **layers.flat(made)}
  return theirs, layers.unflat(flat), books


def small(family: str, **more):
  fields = dict(layers=2, width=16, heads=2, patch=8)
  return models.build(family, classes=5, **fields, **more)


@pytest.mark.parametrize('fields', [{}, {'class_position': False}])
def test_started_from_an_image_vit_every_frame_is_an_image(fields):
  image, model = small('vit', **fields), tiny(mix='none', ta_layers=0)
  theirs, ours, books = started(model, image)
  clip = np.random.default_rng(3).normal(size=(2, 4, 16, 24, 3))
  clip = clip.astype(np.float32)
  run = lambda m, v: jax.jit(lambda v, x: m.apply(v, x, method='features'))(
    v, clip
  )
  np.testing.assert_allclose(run(model, ours), run(image, theirs), atol=1e-5)
  assert set(books.random) == {'head/kernel', 'head/bias', 'time_pos/table'}
  assert set(books.dropped) == {'head/kernel', 'head/bias'}
  # Mixing starts from the same numbers and says something else.
  mixed = tiny(ta_layers=0)
  assert abs(run(mixed, ours) - run(image, theirs)).max() > 1e-3


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    ({'layers': 3}, 'image model has layers=2 and the video model 3'),
    ({'qkv_bias': False}, 'set qkv_bias=True'),
    ({'fresh': 'scratch'}, 'noise in the table of frames'),
  ],
)
def test_an_image_model_that_does_not_fit_is_refused(fields, says):
  model = models.build(
    'xvit',
    classes=5,
    **{**dict(layers=2, width=16, heads=2, patch=8), **fields},
  )
  with pytest.raises(InputError, match=says):
    started(model, small('vit'))
