"""Video-FocalNet's published files, and its start from an image model."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import video_focalnet_weights
from vidmodels.weights.formats.tensors import Tensors
from vidmodels.weights.mapping import apply
from vidmodels.weights.mapping.apply import KeyReport
from vidmodels.weights.mapping.identify import identify

SMALL = (2, 2, 18, 2)
SIZES = {
  'tiny': {},
  'small': {'layers': SMALL},
  'base': {'layers': SMALL, 'width': 128},
}
TINY = {'layers': (2, 1), 'width': 8, 'levels': (2, 2), 'windows': (3, 3)}


def build(family: str = 'video_focalnet', *, classes: int = 6, **more):
  return models.build(family, classes=classes, **{**TINY, **more})


def drawn(model, seed: int = 0) -> dict:
  """Variables of a model away from their start."""
  video = jnp.zeros((1, 2, 16, 16, 3))
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: np.float32(0.2 * rng.normal(size=x.shape)), shapes
  )


def over(fresh: dict, made: dict) -> dict:
  """Fresh variables with those in `made` in their place."""
  return apply.unflatten_variables(
    {**apply.flatten_variables(fresh), **apply.flatten_variables(made)}
  )


def start(
  image: dict,
  parent,
  model,
  video=(2, 16, 16, 3),
  report: KeyReport | None = None,
) -> dict:
  """Variables of a video model from those of an image model."""
  report = KeyReport() if report is None else report
  return video_focalnet_weights.start_from_image(
    image, parent, model, video, report
  )


def save(variables, model):
  return golden.save_state('video_focalnet', model, variables)


def load(state, model):
  clip = (2, 16, 16)
  return golden.load_state('video_focalnet', model, state, clip=clip)[1]


@pytest.mark.parametrize(
  'more',
  [
    {},
    {'tubelet': 2, 'post_norm': True, 'layer_scale': True},
    {'overlap': True, 'modulation_norm': True, 'levels': (3, 1)},
    {'temporal_conv': 'depthwise', 'windows': (5, 3)},
    {'patch_norm': False, 'temporal_conv': 'pointwise'},
  ],
)
@pytest.mark.fast_every(4)
def test_saving_and_loading_gives_the_same_numbers(more):
  model = build(**more)
  variables = drawn(model)
  state = save(variables, model)
  again = load(state, model)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_temporal_keys_lie_as_torchs_do():
  model = build()
  variables = drawn(model)
  state = save(variables, model)
  mod = variables['params']['stage_1_block_0']['mod']['time']
  prefix = 'layers.1.blocks.0.modulation'
  rows = state[f'{prefix}.f_temporal.weight']
  assert rows.shape == (16 + 3, 16)
  np.testing.assert_array_equal(rows[:16].T, mod['context']['kernel'])
  np.testing.assert_array_equal(rows[16:].T, mod['gate']['kernel'])
  out = state[f'{prefix}.h_temporal.weight']
  np.testing.assert_array_equal(out[:, :, 0].T, mod['out']['kernel'])
  conv = state[f'{prefix}.focal_layers_temporal.1.0.weight']  # [out, in, k]
  assert conv.shape == (16, 16, 5)
  np.testing.assert_array_equal(
    conv.transpose(2, 1, 0), mod['time_conv_1']['kernel']
  )


def test_a_depthwise_convolution_over_time_lies_as_torchs_does():
  model = build(temporal_conv='depthwise')
  variables = drawn(model)
  state = save(variables, model)
  prefix = 'layers.0.blocks.1.modulation'
  conv = state[f'{prefix}.focal_layers_temporal.1.0.weight']  # [D, 1, k]
  assert conv.shape == (8, 1, 5)
  time = variables['params']['stage_0_block_1']['mod']['time']
  np.testing.assert_array_equal(
    conv[:, 0].T, time['time_depthwise_1']['kernel'][:, 0, 0, 0]
  )


@pytest.mark.slow
def test_a_neutral_start_answers_the_mean_of_the_image_models_answers():
  parent, model = build('focalnet'), build(time_start='neutral')
  image, random = drawn(parent), build()
  rng = np.random.default_rng(1)
  clip = np.float32(rng.normal(size=(2, 3, 16, 24, 3)))
  made = start(image, parent, model, clip.shape[1:])
  assert 'head' not in made['params']
  made['params']['head'] = image['params']['head']
  fresh = jax.jit(model.init)(jax.random.key(0), clip)
  got = jax.jit(model.apply)(over(fresh, made), clip)
  apply = jax.jit(parent.apply)
  frames = [apply(image, clip[:, t : t + 1]) for t in range(3)]
  np.testing.assert_allclose(got, sum(frames) / 3, atol=1e-6)
  assert abs(frames[0] - frames[1]).max() > 1e-3
  # As released it is another model.
  fresh = jax.jit(random.init)(jax.random.key(0), clip)
  released = jax.jit(random.apply)(over(fresh, made), clip)
  assert abs(released - got).max() > 1e-3


@pytest.mark.parametrize(('size', 'millions'), [('tiny', 21.6), ('base', 69.9)])
@pytest.mark.slow
def test_an_image_leaves_the_temporal_branch_and_the_head_random(
  size, millions
):
  model = models.build('video_focalnet', classes=400, **SIZES[size])
  parent = models.build('focalnet', classes=1000, **SIZES[size])
  video, report = (8, 224, 224, 3), KeyReport()
  shapes = lambda model: jax.eval_shape(
    model.init, jax.random.key(0), jnp.zeros((1, *video))
  )
  zeros = jax.tree.map(
    lambda x: np.broadcast_to(np.float32(0), x.shape), shapes(parent)
  )
  made = start(zeros, parent, model, video, report)
  assert set(report.dropped) == {'head/kernel', 'head/bias'}
  random = [path for path in report.random if not path.startswith('head/')]
  assert all('/mod/time/' in path for path in random)
  target = apply.flatten_variables(shapes(model))
  assert {*apply.flatten_variables(made), *report.random} == set(target)
  assert round(sum(target[p].size for p in random) / 1e6, 1) == millions


@pytest.mark.parametrize('design', ['space', 'volume', 'encoder', 'pair'])
@pytest.mark.fast_every(4)
def test_other_designs_start_from_an_image_model_too(design):
  parent, model = build('focalnet'), build(design=design)
  image, report = drawn(parent), KeyReport()
  made = apply.flatten_variables(start(image, parent, model, report=report))
  stream = 'volume' if design == 'volume' else 'space'
  given = apply.flatten_variables(image)
  for path, array in made.items():
    source = path.replace(f'/mod/{stream}/', '/mod/space/')
    np.testing.assert_array_equal(array, given[source], err_msg=path)
  assert set(given) - set(report.dropped) == {
    path.replace(f'/mod/{stream}/', '/mod/space/') for path in made
  }
  random = {path for path in report.random if not path.startswith('head/')}
  assert bool(random) == (design != 'space')
  assert all('time' in path for path in random)


def test_tubelets_take_the_images_kernel_divided_by_their_frames():
  parent, model, report = build('focalnet'), build(tubelet=3), KeyReport()
  image = drawn(parent)
  made = start(image, parent, model, (6, 16, 16, 3), report)
  kernel = made['params']['patch']['conv']['kernel']
  assert kernel.shape == (3, 4, 4, 3, 8)
  wanted = image['params']['patch']['conv']['kernel'] / np.float32(3)
  for t in range(3):
    np.testing.assert_array_equal(kernel[t], wanted)
  assert 'divided by 3' in report.changed['patch/conv/kernel']


@pytest.mark.parametrize(
  ('more', 'message'),
  [
    ({'levels': (3, 3)}, 'the file has 3 focal levels, the model 2'),
    ({'layers': (2, 2)}, r'has 2 blocks a stage, the model \(2, 1\)'),
    ({'normalize': True}, 'True normalize, the model False'),
    ({'post_norm': True}, 'True post_norm, the model False'),
  ],
)
def test_an_image_model_of_other_fields_is_refused(more, message):
  parent = build('focalnet', **more)
  with pytest.raises(InputError, match=message):
    start(drawn(parent), parent, build())


def test_a_design_without_a_place_for_an_images_blocks_is_refused():
  parent = build('focalnet')
  with pytest.raises(InputError, match="'alternate', which has blocks without"):
    start(drawn(parent), parent, build(design='alternate'))


@pytest.mark.parametrize(
  'more',
  [
    {'tubelet': 2, 'windows': (5, 3)},
    {'overlap': True, 'temporal_conv': 'depthwise', 'levels': (2, 3)},
  ],
)
def test_a_file_tells_the_fields_of_its_model(more):
  model = build(**more)
  state = save(drawn(model), model)
  specs = {key: (array.shape, array.dtype) for key, array in state.items()}
  (match,) = identify(Tensors(specs, state.__getitem__))
  assert (match.naming.family, match.guess.classes) == ('video_focalnet', 6)
  told = match.guess.model
  assert told == {name: getattr(model, name) for name in told}
  assert {*more, 'width', 'layers'} <= set(told)


def test_files_for_another_model_are_refused():
  tubelets = build(tubelet=2)
  state = save(drawn(tubelets), tubelets)
  with pytest.raises(InputError, match='2 tubelet, the model 1'):
    load(state, build())
  with pytest.raises(InputError, match="'pair', which was never released"):
    video_focalnet_weights.rules(build(design='pair'))
