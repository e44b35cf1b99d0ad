"""X-ViT's published files: every key, every shape, and back again."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import xvit_weights
from vidmodels.weights.mapping import apply
from vidmodels.weights.mapping.apply import KeyReport


def drawn(model, seed: int = 0, names: str = '') -> dict[str, np.ndarray]:
  """A file of the authors' with numbers in it."""
  video = jax.ShapeDtypeStruct((1, 4, 16, 16, 3), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)
  rng = np.random.default_rng(seed)
  draw = lambda x: rng.normal(size=x.shape).astype(np.float32)
  return golden.save_state('xvit', model, jax.tree.map(draw, shapes), names)


def load(state, model) -> dict:
  return golden.load_state('xvit', model, state)[1]


def tiny(**more):
  return models.build(
    'xvit', classes=5, layers=2, width=16, heads=2, patch=8, **more
  )


def test_an_averaging_model_keeps_its_classifier():
  state = drawn(tiny(ta_layers=0))
  assert state['new_fc.weight'].any()
  assert not any(key.startswith('consensus') for key in state)
  params = load(state, tiny(ta_layers=0))['params']
  np.testing.assert_array_equal(
    params['head']['kernel'], state['new_fc.weight'].T
  )


def test_without_dropout_the_classifier_has_the_image_models_name():
  state = drawn(tiny(ta_layers=0, dropout=0))
  assert state['base_model.head.weight'].shape == (5, 16)
  assert 'new_fc.weight' not in state
  # Either name is read, whatever the rate.
  for model in (tiny(ta_layers=0), tiny(ta_layers=0, dropout=0)):
    params = load(state, model)['params']
    np.testing.assert_array_equal(
      params['head']['bias'], state['base_model.head.bias']
    )


@pytest.mark.parametrize('rows', [8, 16])
def test_the_table_of_frames_keeps_the_rows_of_the_file(rows):
  state = drawn(tiny(time_rows=rows))
  assert state['base_model.temp_embed'].shape == (1, rows, 1, 16)
  model = tiny(segment=8)
  variables = load(state, model)
  table = variables['params']['time_pos']['table']
  np.testing.assert_array_equal(table, state['base_model.temp_embed'][0, :, 0])
  video = jnp.zeros((1, 16, 16, 16, 3))
  embed = lambda i: model.apply(variables, video, method='embed')[0, i, 0]
  assert (embed(0) == embed(8)).all() == (rows == 8)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda s: s.pop('base_model.norm.bias'), 'norm/bias'),
    (lambda s: s.update(extra=s['base_model.norm.bias']), 'extra'),
    (lambda s: s.pop('base_model.temp_embed'), 'of no family'),
    (
      lambda s: s.update({'consensus.mlp_head.4.weight': np.ones((4, 16))}),
      r'consensus\.mlp_head\.4\.weight has shape',
    ),
    (
      lambda s: s.update({'base_model.pos_embed': np.ones((1, 4, 16))}),
      '3 patches, which is not a square',
    ),
  ],
  ids=['missing', 'extra', 'no frames', 'classes', 'no square'],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, message):
  state = drawn(tiny())
  change(state)
  with pytest.raises(InputError, match=message):
    load(state, tiny())


def test_files_and_models_of_other_heads_are_refused():
  with pytest.raises(InputError, match=r'consensus\.mlp_head\.4'):
    load(drawn(tiny(ta_layers=0)), tiny())
  with pytest.raises(InputError, match=r'no place for: consensus\.'):
    load(drawn(tiny()), tiny(ta_layers=0))
  with pytest.raises(InputError, match='does not fill: head_0/'):
    load(drawn(tiny()), tiny(groups=(2, 3)))
  with pytest.raises(InputError, match='no key of the file stands for head_0/'):
    drawn(tiny(groups=(2, 3)), names='release')


def started(model, image):
  """Variables of a video model, drawn and then taken from an image model's."""
  video, report = (4, 16, 24, 3), KeyReport()
  clip = jax.ShapeDtypeStruct((1, 4, 16, 24, 3), jnp.float32)
  rng = np.random.default_rng(2)
  draw = lambda x: rng.normal(size=x.shape, scale=0.3).astype(np.float32)
  theirs = jax.tree.map(
    draw, jax.eval_shape(image.init, jax.random.key(0), clip)
  )
  made = xvit_weights.start_from_image(theirs, image, model, video, report)
  drawn = jax.jit(model.init)(jax.random.key(0), np.zeros((1, *video), 'f'))
  flat = {**apply.flatten_variables(drawn), **apply.flatten_variables(made)}
  return theirs, apply.unflatten_variables(flat), report


def small(family: str, **more):
  fields = dict(layers=2, width=16, heads=2, patch=8)
  return models.build(family, classes=5, **fields, **more)


@pytest.mark.parametrize('fields', [{}, {'class_position': False}])
@pytest.mark.slow
def test_started_from_an_image_vit_every_frame_is_an_image(fields):
  image, model = small('vit', **fields), tiny(mix='none', ta_layers=0)
  theirs, ours, report = started(model, image)
  clip = np.random.default_rng(3).normal(size=(2, 4, 16, 24, 3))
  clip = clip.astype(np.float32)
  run = lambda m, v: jax.jit(lambda v, x: m.apply(v, x, method='features'))(
    v, clip
  )
  np.testing.assert_allclose(run(model, ours), run(image, theirs), atol=1e-5)
  assert set(report.random) == {'head/kernel', 'head/bias', 'time_pos/table'}
  assert set(report.dropped) == {'head/kernel', 'head/bias'}
  # Mixing starts from the same numbers and message something else.
  mixed = tiny(ta_layers=0)
  assert abs(run(mixed, ours) - run(image, theirs)).max() > 1e-3


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'layers': 3}, 'layers=3 for the video model; expected .* layers=2'),
    ({'qkv_bias': False}, 'try qkv_bias=True'),
    ({'fresh': 'scratch'}, 'noise in the table of frames'),
  ],
)
def test_an_image_model_that_does_not_fit_is_refused(fields, message):
  model = models.build(
    'xvit',
    classes=5,
    **{**dict(layers=2, width=16, heads=2, patch=8), **fields},
  )
  with pytest.raises(InputError, match=message):
    started(model, small('vit'))
