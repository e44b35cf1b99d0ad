"""I3D's published files, and an image ResNet inflated into it."""

import golden
import jax
import jax.numpy as jnp
import manifests
import numpy as np
import pytest

from vidmodels import models
from vidmodels.models import i3d
from vidmodels.typing import InputError
from vidmodels.weights import i3d_weights, load_weights
from vidmodels.weights.mapping import apply

SMALL = {'width': 4, 'reach': ((3, 1), (1, 3))}


def small(**fields):
  return models.build('i3d', classes=3, **{**SMALL, **fields})


def drawn(model, seed: int = 0):
  """Variables that differ in every number; variances are positive."""
  video = jax.ShapeDtypeStruct((1, 8, 16, 16, 3), jnp.float32)
  abstract = jax.eval_shape(model.init, jax.random.key(0), video)
  rng = np.random.default_rng(seed)
  draw = lambda x: np.float32(rng.uniform(0.5, 1.5, x.shape))
  return jax.tree.map(draw, dict(abstract))


def save(variables, model, name: str = 'mmaction2'):
  """A release's tensors, without the counters that torch keeps."""
  state = golden.save_state('i3d', model, variables, name)
  return {k: x for k, x in state.items() if 'num_batches' not in k}


def load(state, model):
  return golden.load_state('i3d', model, state, clip=(8, 16, 16))[1]


def inflate(image, model):
  """What an image ResNet's file gives a model."""
  fields = {name: getattr(model, name) for name in models.fields('i3d')}
  return load_weights.load_file(
    manifests.held(image), 'i3d', model=fields, classes=3, clip=(8, 16, 16)
  )


def assert_equal(ours, theirs):
  assert set(ours) == set(theirs)
  for name in ours:
    np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize('release', ['mmaction2', 'slowfast'])
def test_saving_and_loading_gives_the_same_variables(release):
  model = small()
  variables = drawn(model)
  again = load(save(variables, model, release), model)
  assert_equal(
    apply.flatten_variables(again), apply.flatten_variables(variables)
  )


def test_releases_differ_in_names_alone():
  model = small()
  one, other = (
    save(drawn(model), model, release) for release in ('mmaction2', 'slowfast')
  )
  project = 'backbone.layer1.0.downsample'
  for theirs, key in {
    's1.pathway0_stem.bn.running_var': 'backbone.conv1.bn.running_var',
    's2.pathway0_res0.branch1.weight': f'{project}.conv.weight',
    's2.pathway0_res0.branch1_bn.bias': f'{project}.bn.bias',
    's3.pathway0_res1.branch2.a.weight': 'backbone.layer2.1.conv1.conv.weight',
    's3.pathway0_res0.branch2.b.weight': 'backbone.layer2.0.conv2.conv.weight',
    's3.pathway0_res0.branch2.c_bn.weight': 'backbone.layer2.0.conv3.bn.weight',
    'head.projection.weight': 'cls_head.fc_cls.weight',
  }.items():
    np.testing.assert_array_equal(other[theirs], one[key], err_msg=theirs)
  assert len(one) == len(other)


def image_of(state):
  """The released file's image parent, were all its frames the same."""
  names = {'conv1.conv': 'conv1', 'conv1.bn': 'bn1'}
  found = {}
  for key, array in state.items():
    if key.startswith('cls_head'):
      continue
    key = key.removeprefix('backbone.')
    for number in '123':
      key = key.replace(f'.conv{number}.conv.', f'.conv{number}.')
      key = key.replace(f'.conv{number}.bn.', f'.bn{number}.')
    key = key.replace('downsample.conv', 'downsample.0')
    key = key.replace('downsample.bn', 'downsample.1')
    for theirs, ours in names.items():
      if key.startswith(theirs):
        key = key.replace(theirs, ours)
    found[key] = array.sum(2) if array.ndim == 5 else array
  return found


def test_kernels_are_repeated_over_time_and_divided_by_their_frames():
  model = small()
  image = image_of(save(drawn(model), model))
  imported = inflate(image, model)
  made, report = imported.variables, imported.report
  kernel = made['params']['stage1_block0']['reduce']['conv']['kernel']
  assert kernel.shape == (3, 1, 1, 4, 4)
  for t in range(3):
    wanted = image['layer1.0.conv1.weight'][:, :, 0, 0].T / 3
    np.testing.assert_allclose(kernel[t, 0, 0], wanted, rtol=1e-6)
  norm = made['batch_stats']['stage2_block1']['space']['norm']
  np.testing.assert_array_equal(norm['var'], image['layer2.1.bn2.running_var'])
  assert 'head' not in made['params']
  assert set(report.random) == {'head/kernel', 'head/bias'}


def test_classes_of_the_image_model_are_left_out_and_said():
  model = small()
  image = image_of(save(drawn(model), model))
  image |= {'fc.weight': np.ones((9, 8)), 'fc.bias': np.ones(9)}
  assert set(inflate(image, model).report.dropped) == {'fc.weight', 'fc.bias'}


def test_a_still_clip_is_answered_as_its_image_is():
  # Away from the clip's ends, which look at zeros: on the first stage's middle.
  model = small(reach=((3,),), stem_stride=1, pool_stride=1, stem_reach=3)
  image = image_of(save(drawn(model), model))
  clip = np.random.default_rng(0).normal(size=(1, 1, 16, 16, 3))
  still = np.repeat(np.float32(clip), 9, axis=1)
  flat = small(reach=((1,),), stem_stride=1, pool_stride=1, stem_reach=1)
  answers = []
  for each in (model, flat):
    made = dict(inflate(image, each).variables)
    made['params']['head'] = drawn(model)['params']['head']
    _, kept = each.apply(made, still, mutable='intermediates')
    answers.append(kept['intermediates']['after_stage_1'][0])
  video, frames = answers
  np.testing.assert_allclose(video[:, 2:-2], frames[:, 2:-2], rtol=2e-5)
  assert abs(video[:, 0] / frames[:, 0] - 1).max() > 0.01


@pytest.mark.parametrize(
  ('reach', 'size'), [(i3d.LIGHT, 'R50'), (i3d.LIGHT_101, 'R101')]
)
def test_an_image_resnet_is_told_by_its_depths(reach, size):
  specs = {'conv1.weight': ((64, 3, 7, 7), np.float32)}
  for s, stage in enumerate(reach, 1):
    specs |= {
      f'layer{s}.{i}.conv1.weight': ((64, 64, 1, 1), np.float32)
      for i in range(len(stage))
    }
  guess = i3d_weights.guess_from_image(specs)
  assert (guess.size, guess.model['reach']) == (size, reach)


@pytest.mark.parametrize(
  ('reach', 'stride'), [(((3, 1), (3,)), 2), (((3, 3), (3,)), 1)]
)
def test_heavy_files_of_any_depth_keep_the_frames(reach, stride):
  model = small(reach=reach)
  specs = {k: (x.shape, x.dtype) for k, x in save(drawn(model), model).items()}
  guess = i3d_weights.guess_model(specs, 'mmaction2')
  assert guess.model['reach'] == reach
  assert guess.model['stem_stride'] == guess.model['pool_stride'] == stride


class Torch:
  """The network again, from mmaction2's names and torch's functions alone."""

  def __init__(self, state, *, stem_stride: int, pool_stride: int):
    self.torch = pytest.importorskip('torch')
    self.state = {k: self.torch.tensor(v.copy()) for k, v in state.items()}
    self.stem_stride, self.pool_stride = stem_stride, pool_stride

  def layer(self, x, key: str, stride=1, padding=0):
    run, at = self.torch.nn.functional, lambda k: self.state[f'{key}.{k}']
    x = run.conv3d(x, at('conv.weight'), None, stride, padding)
    norm = (at(f'bn.{k}') for k in ('running_mean', 'running_var'))
    return run.batch_norm(x, *norm, at('bn.weight'), at('bn.bias'), eps=1e-5)

  def block(self, x, key: str, stride: int):
    reach = self.state[f'{key}.conv1.conv.weight'].shape[2]
    more = self.layer(x, f'{key}.conv1', 1, (reach // 2, 0, 0)).relu()
    hw = (1, stride, stride)
    more = self.layer(more, f'{key}.conv2', hw, (0, 1, 1)).relu()
    more = self.layer(more, f'{key}.conv3')
    if f'{key}.downsample.conv.weight' in self.state:
      x = self.layer(x, f'{key}.downsample', hw)
    return (x + more).relu()

  def answer(self, clip_BTHWC: np.ndarray) -> np.ndarray:
    pool = self.torch.nn.functional.max_pool3d
    x = self.torch.tensor(np.moveaxis(clip_BTHWC, -1, 1).copy())
    reach = self.state['backbone.conv1.conv.weight'].shape[2]
    stride = (self.stem_stride, 2, 2)
    x = self.layer(x, 'backbone.conv1', stride, (reach // 2, 3, 3)).relu()
    x = pool(x, (1, 3, 3), (self.pool_stride, 2, 2), (0, 1, 1))
    for s in range(1, 5):
      for i in range(6):
        key = f'backbone.layer{s}.{i}'
        if f'{key}.conv1.conv.weight' in self.state:
          x = self.block(x, key, 2 if s > 1 and i == 0 else 1)
      x = pool(x, (2, 1, 1)) if s == 1 else x
    head = (self.state[f'cls_head.fc_cls.{k}'] for k in ('weight', 'bias'))
    y = x.mean((2, 3, 4))
    return self.torch.nn.functional.linear(y, *head).numpy()


@pytest.mark.parametrize(
  ('reach', 'strides'),
  [
    (((3, 1), (1, 3), (3,), (1, 3)), (2, 2)),
    (((3, 3), (3,), (3, 3)), (1, 1)),
    (((3, 1), (3,)), (1, 2)),
  ],
  ids=['as light', 'as heavy', 'of its own'],
)
def test_torch_answers_the_same(reach, strides):
  names = dict(zip(('stem_stride', 'pool_stride'), strides, strict=True))
  model = small(reach=reach, **names)
  variables = drawn(model)
  # Both signs in kernels and means, so that ReLU has something to cut.
  away = lambda x: np.float32(x - 1)
  variables['params'] = jax.tree_util.tree_map_with_path(
    lambda path, x: away(x) if path[-1].key == 'kernel' else x,
    variables['params'],
  )
  clip = np.random.default_rng(1).normal(size=(2, 9, 39, 33, 3))
  clip = np.float32(clip)
  wanted = Torch(save(variables, model), **names).answer(clip)
  found = jax.jit(model.apply)(variables, clip)
  np.testing.assert_allclose(found, wanted, atol=1e-5 * abs(wanted).max())
  assert abs(wanted[0] - wanted[1]).max() > 1e-3 * abs(wanted).max()


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda s: s.pop('backbone.layer1.0.conv2.bn.running_mean'), 'not fill'),
    (lambda s: s.update({'backbone.extra': np.ones(2)}), 'for: backbone.extra'),
    (
      lambda s: s.update({'cls_head.fc_cls.weight': np.ones((2, 8))}),
      'cls_head.fc_cls.weight has shape',
    ),
    (lambda s: s.pop('backbone.conv1.conv.weight'), 'of no family'),
  ],
  ids=['missing', 'extra', 'shape', 'neither release'],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, message):
  model = small()
  state = save(drawn(model), model)
  change(state)
  with pytest.raises(InputError, match=message):
    load(state, model)
