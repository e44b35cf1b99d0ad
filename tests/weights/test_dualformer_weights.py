"""DualFormer's published files, and image weights made into video ones."""

import functools
import json

import golden
import jax
import jax.numpy as jnp
import manifests
import numpy as np
import pytest

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import dualformer_weights, load_weights
from vidmodels.weights.mapping import apply

FILES = golden.every('dualformer')


def load(state, model):
  return golden.load_state('dualformer', model, state, clip=model.built)[1]


@functools.cache
def start(model):
  """A model's fresh variables, as zeros that take no memory."""
  video = jax.ShapeDtypeStruct((1, *model.built, 3), jnp.float32)
  abstract = dict(jax.eval_shape(model.init, jax.random.key(0), video))
  return jax.tree.map(
    lambda x: np.broadcast_to(np.float32(0), x.shape), abstract
  )


def load_manifest(shared, name: str, **options):
  """A published file at full size, by its names and shapes."""
  path = shared / 'manifests' / f'dualformer_{name}.json'
  file = manifests.file(path)
  imported = load_weights.load_file(file, 'dualformer', **options)
  return json.loads(path.read_text()), imported


@pytest.mark.parametrize('name', ['tiny_k400', 'small_k400', 'base_k400'])
@pytest.mark.slow
def test_a_published_backbone_has_the_authors_number_of_parameters(
  shared, name
):
  manifest, imported = load_manifest(shared, name)
  flat = apply.flatten_variables({'params': imported.target['params']})
  backbone = [x.size for p, x in flat.items() if not p.startswith('head/')]
  assert sum(backbone) == manifest['config']['backbone_params']


@pytest.mark.parametrize('name', ['tiny_in1k', 'base_in22k'])
@pytest.mark.fast_every(2)
def test_an_image_file_of_the_authors_layout_fills_the_backbone(shared, name):
  _, imported = load_manifest(shared, f'image_source_{name}_derived', classes=7)
  assert set(imported.report.random) == {'head/kernel', 'head/bias'}
  dropped = imported.report.dropped
  counters = {key for key in dropped if key.endswith('.num_batches_tracked')}
  assert set(dropped) - counters == {'head.weight', 'head.bias'}
  assert all('count of batches' in dropped[key] for key in counters)


@pytest.mark.slow
def test_running_statistics_go_where_they_belong():
  path = next(iter(FILES.values()))
  config, state = golden.read_config(path), golden.read_state(path)
  model = golden.maps()['dualformer'].model_of(config)
  stats = apply.flatten_variables(load(state, model))
  for name in ('mean', 'var'):
    np.testing.assert_array_equal(
      stats[
        f'batch_stats/stage_1/block_0/level_1/attn/pyramid/coarse_norm/{name}'
      ],
      state[f'backbone.blocks.1.1.attn.lr.1.running_{name}'],
    )


def small(**more):
  fields = {**models.find('dualformer').TINY, **more}
  return models.build('dualformer', classes=5, **fields)


def image_of(model):
  """Random image weights that fit a model, in the authors' layout."""
  rng, body = np.random.default_rng(0), dict(start(model))
  body['params'] = {k: v for k, v in body['params'].items() if k != 'head'}
  rules, state = dualformer_weights.backbone_rules(model, ''), {}
  for key, x in apply.save_variables(rules, body).items():
    shape = (*x.shape[:2], *x.shape[3:]) if x.ndim == 5 else x.shape
    state[key] = rng.normal(size=shape).astype(np.float32)
  return {k: v for k, v in state.items() if '.lr.3.' not in k}


def load_image(model):
  """What such an image file gives a model, by its own rules."""
  return apply.load_variables(
    dualformer_weights.image_rules(model),
    image_of(model),
    model,
    video=(*model.built, 3),
    random=[('^head/', 'new')],
  )


def test_second_coarse_kernels_have_the_release_s_taps_or_are_means():
  model = small()
  (first, _), *_ = (plan.kernels.coarse for plan in model.plans())
  assert first == (1, 7, 7)
  pyramid = load_image(model)['params']['stage_0']['block_0']['level_1']
  kernel = pyramid['attn']['pyramid']['coarse_rest']['kernel']
  # The release's constant is a mean over 16 tokens, and here there are 2.
  np.testing.assert_array_equal(kernel, np.float32(1 / 16))
  # The release has no constant for a third stage: there it is a mean.
  third = small(coarse=((1, 1, 1), ())).clone(
    widths=(8, 16, 16),
    layers=(2, 3, 1),
    heads=(1, 2, 2),
    mlp_ratios=(2.0,) * 3,
    patterns=('LG', 'G', 'G'),
    windows=((2, 4, 4),) * 3,
    fine=((2, 4, 4), (2, 2, 3), ()),
    coarse=((), (), (1, 1, 1)),
    rates=(1, 1),
  )
  level = load_image(third)['params']['stage_2']['block_0']['level_0']
  kernel = level['attn']['pyramid']['coarse_rest']['kernel']
  np.testing.assert_allclose(kernel.sum((0, 1, 2, 3)), 1, atol=1e-6)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda s: s.pop('backbone.norm.bias'), 'does not fill: norm/bias'),
    (
      lambda s: s.update({'backbone.x': s['backbone.norm.bias']}),
      r'for: backbone\.x',
    ),
    (
      lambda s: s.pop('backbone.patch_embeds.0.proj.weight'),
      'of no family that is known',
    ),
    (
      lambda s: s.pop('backbone.blocks.0.1.attn.lr.1.running_var'),
      'batch_stats/stage_0',
    ),
  ],
  ids=['missing', 'extra', 'no patches', 'no statistics'],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, message):
  path = next(iter(FILES.values()))
  model = golden.maps()['dualformer'].model_of(golden.read_config(path))
  state = golden.read_state(path)
  change(state)
  with pytest.raises(InputError, match=message):
    load(state, model)


def test_kernels_built_for_another_clip_are_refused(shared):
  # A 32-frame file into a model built for 16 frames: the release starts those
  # kernels at random without a word.
  model = {**models.fields('dualformer'), 'built': (16, 224, 224)}
  with pytest.raises(
    InputError, match=r"32 frames.*--config\.model\.built='\(32, 224, 224\)'"
  ):
    load_manifest(shared, 'tiny_k400', model=model)


def test_a_file_of_other_frames_is_refused_with_the_field_that_takes_it(shared):
  """The release's own kernels for 16 frames, which the recipe does not have."""
  file = manifests.file(shared / 'manifests/dualformer_tiny_16f_ucf101.json')
  options = dict(classes=101, clip=(16, 224, 224))
  with pytest.raises(
    InputError, match=r"16 frames.*--config\.model\.built='\(16, 224, 224\)'"
  ):
    load_weights.load_file(file, 'dualformer', model={}, **options)
  built = {'built': (16, 224, 224)}
  imported = load_weights.load_file(file, 'dualformer', model=built, **options)
  assert imported.report.random == {}
