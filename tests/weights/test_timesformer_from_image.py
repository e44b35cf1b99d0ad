"""A TimeSformer that starts from an image ViT answers as that ViT does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.models import timesformer as family
from vidmodels.nn import position
from vidmodels.typing import InputError
from vidmodels.weights import timesformer_weights as weights
from vidmodels.weights.mapping import apply
from vidmodels.weights.mapping.apply import KeyReport

SIZE = (32, 48)  # 4 x 6 patches
T = 4


def normal(seed: int, shape) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def frame(height: int = SIZE[0], width: int = SIZE[1]) -> np.ndarray:
  return normal(3, (2, 1, height, width, 3))


@functools.cache
def image(size=SIZE, **fields):
  """An image ViT, and variables of it that are far from their start."""
  model = models.build('vit', classes=7, **family.TINY, **fields)
  shape = jax.ShapeDtypeStruct((1, 1, *size, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), shape)['params']
  rng = np.random.default_rng(1)

  def draw(path, leaf):
    middle = 1.0 if path[-1].key == 'scale' else 0.0
    return np.float32(middle + 0.3 * rng.normal(size=leaf.shape))

  return model, {'params': jax.tree_util.tree_map_with_path(draw, params)}


@functools.cache
def features(model):
  return jax.jit(functools.partial(model.apply, method='features'))


@functools.cache
def drawn(model, video):
  return jax.jit(model.init)(jax.random.key(0), np.zeros((1, *video), 'f'))


def taken(theirs, *, size=SIZE, frames: int = T, **fields):
  """A video model, what it takes of the image model, and the report of that."""
  picture, variables = theirs
  model = models.build('timesformer', classes=5, **family.TINY, **fields)
  report, video = KeyReport(), (frames, *size, 3)
  made = weights.start_from_image(variables, picture, model, video, report)
  return model, made, report


def started(theirs, *, size=SIZE, frames: int = T, **fields):
  """A video model and its variables, drawn and then taken from the image's."""
  model, made, report = taken(theirs, size=size, frames=frames, **fields)
  fresh = drawn(model, (frames, *size, 3))
  return (
    model,
    apply.unflatten_variables(
      apply.flatten_variables(fresh) | apply.flatten_variables(made)
    ),
    report,
  )


def both(theirs, still: np.ndarray, frames: int = T, **fields):
  """The image's feature, and that of a clip of it over and over."""
  model, variables, _ = started(
    theirs, size=still.shape[2:4], frames=frames, **fields
  )
  clip = np.repeat(still, frames, axis=1)
  picture, own = theirs
  return features(picture)(own, still), features(model)(variables, clip)


def apart(theirs, still, **fields) -> float:
  one, other = both(theirs, still, **fields)
  assert abs(one).max() > 0.5
  return abs(one - other).max()


@pytest.mark.parametrize(
  'fields',
  [
    {'attention': 'divided'},
    {'attention': 'divided', 'temporal_class_key': True},
    {'attention': 'space_time'},
    {'attention': 'parallel'},
    {'attention': 'space'},
  ],
  ids=str,
)
@pytest.mark.slow
def test_a_still_clip_is_answered_as_its_image(fields):
  assert apart(image(), frame(), **fields) < 3e-6


@pytest.mark.slow
def test_joint_attention_is_the_image_models_at_one_frame_alone():
  assert apart(image(), frame(), attention='joint', frames=1) < 3e-6
  assert apart(image(), frame(), attention='joint') > 1e-3


@pytest.mark.parametrize(
  ('order', 'height', 'width'), [('twh', 32, 8), ('hwt', 8, 48)]
)
@pytest.mark.slow
def test_axial_attention_is_the_image_models_on_frames_of_one_line(
  order, height, width
):
  theirs, still = image((height, width)), frame(height, width)
  axial = functools.partial(apart, theirs, attention='axial', axial_order=order)
  assert axial(still) < 3e-6
  assert axial(still, axial_identity=True) > 1e-3
  square = image()
  assert apart(square, frame(), attention='axial', axial_order=order) > 1e-3


@pytest.mark.parametrize('sparse', ['phase', 'lattice'])
@pytest.mark.slow
def test_local_global_attention_starts_as_its_global_step_alone(sparse):
  fields = dict(attention='local_global', sparse=sparse)
  one_patch = image((8, 8))
  assert apart(one_patch, frame(8, 8), frames=1, **fields) < 3e-6
  model, variables, _ = started(image(), **fields)
  clip = normal(5, (2, T, *SIZE, 3))
  wanted = features(model)(variables, clip)
  for i in range(2):
    local = variables['params'][f'block_{i}']['local']
    local['attn'] = jax.tree.map(lambda x: x + 1, local['attn'])
  np.testing.assert_allclose(
    features(model)(variables, clip), wanted, atol=1e-6
  )


@pytest.mark.parametrize('method', position.Resize.__args__)
@pytest.mark.fast_every(3)
def test_the_image_model_is_met_at_another_size_too(method):
  picture, own = image(pos_resize=method)
  still = frame(40, 24)
  model, variables, _ = taken((picture, own), pos_resize=method)
  variables['params']['time_pos'] = {'table': np.zeros((T, 16), np.float32)}
  wanted_BTLD = picture.apply(own, still, method='embed')
  cls_BTD, h_BTHWD = model.apply(variables, still, method='embed')
  np.testing.assert_allclose(cls_BTD, wanted_BTLD[:, :, 0], atol=1e-6)
  np.testing.assert_allclose(
    h_BTHWD.reshape(2, 1, 15, 16), wanted_BTLD[:, :, 1:], atol=1e-6
  )


@pytest.mark.slow
def test_a_table_that_is_stored_at_another_size_is_the_image_models():
  # Of a size that neither the table nor the image model was made for.
  theirs, still = image(pos_resize='bicubic'), frame(40, 24)
  model, variables, _ = started(theirs, size=(40, 24))
  place = variables['params']['space_pos']
  assert place['table'].shape == (4, 6, 16)
  place['table'] = position.fit_grid(place['table'], 5, 3, 'bicubic')
  one = features(theirs[0])(theirs[1], still)
  other = features(model)(variables, np.repeat(still, T, axis=1))
  np.testing.assert_allclose(other, one, atol=3e-6)


@pytest.mark.slow
def test_a_class_token_that_holds_its_position_keeps_it():
  theirs = image(class_position=False)
  _, variables, report = taken(theirs)
  assert not variables['params']['class_pos'].any()
  assert 'class_pos' in report.changed
  assert apart(theirs, frame()) < 3e-6


def test_a_distilled_model_leaves_its_second_token_behind():
  _, variables, report = taken(image(distilled=True))
  assert {'distilled_token', 'distilled_pos'} <= set(report.dropped)
  assert list(report.dropped) == sorted(report.dropped)  # in every run
  assert 'distilled_token' not in variables['params']


REFUSED = ({'fresh': 'scratch'}, {'qkv_bias': False})  # see below
TAKEN = [fields for fields in family.VARIANTS if fields not in REFUSED]


@pytest.mark.parametrize('fields', TAKEN, ids=str)
@pytest.mark.fast_every(4)
def test_every_scheme_starts_and_message_what_stays_random(fields):
  theirs = image()
  model, variables, report = taken(theirs, **fields)
  attn = theirs[1]['params']['block_1']['attn']
  norm = theirs[1]['params']['block_1']['attn_norm']
  for look in model.steps():
    step = variables['params']['block_1'][look.name]
    jax.tree.map(np.testing.assert_array_equal, step['attn'], attn)
    jax.tree.map(np.testing.assert_array_equal, step['norm'], norm)
  left = {path.split('/')[-2] for path in report.random}
  # A head is one layer, or two.
  assert left - {'up', 'down'} <= {'head', 'fc', 'time_pos'}
  assert {'head/kernel', 'head/bias'} <= set(report.dropped)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'width': 32}, 'width=32 for the video model; .* try width=16'),
    ({'layers': 3}, 'layers=3 for the video .* try layers=2'),
    ({'patch': 16}, 'patch=8'),
    ({'qkv_bias': False}, 'qkv_bias=True'),
    ({'fresh': 'scratch'}, "got fresh='scratch'"),
  ],
)
def test_an_image_model_that_does_not_fit_is_refused(fields, message):
  picture, variables = image()
  model = models.build('timesformer', classes=5, **{**family.TINY, **fields})
  with pytest.raises(InputError, match=message):
    weights.start_from_image(
      variables, picture, model, (T, *SIZE, 3), KeyReport()
    )
