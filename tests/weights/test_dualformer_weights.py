"""DualFormer's published files, and image weights made into video ones."""

import functools
import json

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import dualformer_image, dualformer_weights
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books

SIZES = {
  'tiny': {},
  'small': dict(
    widths=(96, 192, 384, 768), layers=(2, 2, 18, 2), heads=(3, 6, 12, 24)
  ),
  'base': dict(
    widths=(128, 256, 512, 1024), layers=(2, 2, 18, 2), heads=(4, 8, 16, 32)
  ),
}
SETS = ('k400', 'k600', 'hmdb51', 'ucf101', 'diving48')
PUBLISHED = [
  *(f'{size}_{name}' for size in SIZES for name in SETS),
  'tiny_16f_ucf101',
  'tiny_k400_tokenlabel',
  'small_k400_tokenlabel',
]
IMAGES = (
  'tiny_in1k',
  'small_in1k',
  'base_in1k',
  'base_in22k',
)
FILES = golden.every('dualformer')


def inflations() -> dict:
  """Files of an image state dict and what the authors made of it."""
  found = {}
  for folder in golden.folders():
    for path in sorted(folder.rglob('*.npz')):
      config = golden.read_config(path)
      built = config.get('original_constructor', {})
      if 'source' in config.get('parts', ()) and 'fine_pysizes' in built:
        found.setdefault(path.name, path)
  return found


def read_manifest(shared, name: str):
  """(manifest, its tensors as zeros of any shape in four bytes)."""
  path = shared / 'manifests' / f'dualformer_{name}.json'
  manifest = json.loads(path.read_text())
  state = {
    key: np.broadcast_to(np.float32(0), shape)
    for key, shape, _ in manifest['entries']
  }
  return manifest, state


@functools.cache
def start(model):
  """A model's fresh variables, as zeros that take no memory."""
  video = jax.ShapeDtypeStruct((1, *model.built, 3), jnp.float32)
  abstract = dict(jax.eval_shape(model.init, jax.random.key(0), video))
  return jax.tree.map(
    lambda x: np.broadcast_to(np.float32(0), x.shape), abstract
  )


def count(params, skip: tuple[str, ...] = ()) -> int:
  flat = layers.flat({'params': params})
  return sum(x.size for path, x in flat.items() if not path.startswith(skip))


def shape_of(variables):
  return jax.tree.map(np.shape, variables)


@pytest.mark.parametrize('name', PUBLISHED)
def test_a_published_file_fills_the_full_size_model(shared, name):
  manifest, state = read_manifest(shared, name)
  config = manifest['config']
  labelled = config.get('token_label', False)
  model = models.build(
    'dualformer',
    classes=config.get('num_classes', 400),
    built=(config.get('frames', 32), 224, 224),
    token_head=labelled,
    **SIZES[config['size']],
  )
  variables = dualformer_weights.load(state, model)
  assert shape_of(variables) == shape_of(start(model))
  assert count(variables['params']) == manifest['num_params']
  if 'backbone_params' in config:
    backbone = count(variables['params'], ('head/',))
    assert backbone == config['backbone_params']
  if labelled:
    # A teacher has no token head.
    teacher = {
      f'teacher.{key}': x for key, x in state.items() if 'token' not in key
    }
    scorer = model.clone(token_head=False)
    plain = dualformer_weights.load(state | teacher, scorer)
    assert shape_of(plain) == shape_of(start(scorer))


@pytest.mark.parametrize('name', IMAGES)
def test_an_image_file_of_the_authors_layout_fills_the_backbone(shared, name):
  _, state = read_manifest(shared, f'image_source_{name}_derived')
  model = models.build('dualformer', classes=7, **SIZES[name.split('_')[0]])
  made, books = shape_of(start(model)), Books()
  made['params'].pop('head')
  variables = dualformer_image.from_image(state, model, books=books)
  assert shape_of(variables) == made
  assert set(books.random) == {'head/kernel', 'head/bias'}
  assert books.dropped['head.weight'] == 'the classes of images'
  state['blocks.0.0.extra'] = state['norm.bias']
  with pytest.raises(InputError, match=r'no place for: blocks\.0\.0\.extra'):
    dualformer_image.from_image(state, model)


@pytest.mark.parametrize('path', FILES.values(), ids=lambda path: path.stem)
def test_loading_and_saving_gives_the_authors_file_again(path):
  config = golden.read_config(path)
  model = golden.maps()['dualformer'].model_of(config)
  state = golden.read_state(path)
  again = dualformer_weights.save(dualformer_weights.load(state, model), model)
  assert {k for k in state if not k.endswith('_tracked')} == set(again)
  for key in again:
    np.testing.assert_array_equal(again[key], state[key], err_msg=key)


def test_running_statistics_go_where_they_belong():
  path = next(iter(FILES.values()))
  config = golden.read_config(path)
  state = golden.read_state(path)
  model = golden.maps()['dualformer'].model_of(config)
  stats = layers.flat(dualformer_weights.load(state, model))
  for name in ('mean', 'var'):
    np.testing.assert_array_equal(
      stats[
        f'batch_stats/stage_1/block_0/level_1/attn/pyramid/coarse_norm/{name}'
      ],
      state[f'backbone.blocks.1.1.attn.lr.1.running_{name}'],
    )


def constructed(theirs):
  """Our fields from the authors' constructor."""
  time, edge, _ = theirs['patch_size']
  return models.build(
    'dualformer',
    classes=3,
    widths=theirs['embed_dims'],
    layers=theirs['depths'],
    heads=theirs['num_heads'],
    mlp_ratios=theirs['mlp_ratios'],
    windows=theirs['local_sizes'],
    patterns=['GG' if np.prod(w) == 1 else 'LG' for w in theirs['local_sizes']],
    fine=theirs['fine_pysizes'],
    coarse=[g if s < 2 else () for s, g in enumerate(theirs['coarse_pysizes'])],
    built=theirs['video_size'],
    patch=edge,
    patch_frames=time,
    rates=theirs['temporal_pooling'][1:],
    qkv_bias=theirs['qkv_bias'],
  )


@pytest.mark.parametrize('name', inflations() or ['none'])
def test_inflation_is_the_authors_to_the_last_bit(name):
  if name == 'none':
    pytest.skip('no file of an inflation is here')
  path = inflations()[name]
  source = golden.read_state(path, 'source/')
  wanted = golden.read_state(path)
  model = constructed(golden.read_config(path)['original_constructor'])
  made = dualformer_image.inflate(source, model)
  assert set(made) == set(wanted)
  for key in wanted:
    assert made[key].dtype == wanted[key].dtype, key
    np.testing.assert_array_equal(made[key], wanted[key], err_msg=key)
  # And it fits the model: every key used, the heads kept.
  variables = dualformer_image.from_image(source, model)
  assert set(variables['params']) | {'head'} == set(start(model)['params'])
  # Rules that inflate as they read come to the same.
  read = layers.load(
    dualformer_image.rules(model),
    {k: v for k, v in source.items() if not k.startswith('head.')},
    model,
    video=(*model.built, 3),
    random=dualformer_image.RANDOM,
  )
  jax.tree.map(np.testing.assert_array_equal, read, variables)


def small(**more):
  fields = {**models.find('dualformer').TINY, **more}
  return models.build('dualformer', classes=5, **fields)


def image_of(model):
  """Random image weights that fit a model, in the authors' layout."""
  rng, body = np.random.default_rng(0), dict(start(model))
  body['params'] = {k: v for k, v in body['params'].items() if k != 'head'}
  state = {}
  for key, x in layers.save(
    dualformer_weights.backbone(model, ''), body
  ).items():
    shape = (*x.shape[:2], *x.shape[3:]) if x.ndim == 5 else x.shape
    state[key] = rng.normal(size=shape).astype(np.float32)
  return {k: v for k, v in state.items() if '.lr.3.' not in k}


def test_general_taps_are_means_over_whatever_kernel_there_is():
  model = small()
  (first, _), source = model.plans()[0].kernels.coarse, image_of(small())
  assert first == (1, 7, 7)
  taps = 'blocks.0.1.attn.lr.3.weight'
  exact = dualformer_image.inflate(source, model, coarse='mean')[taps]
  np.testing.assert_allclose(exact.sum((1, 2, 3, 4)), 1, atol=1e-6)
  # The release's constant is a mean over 16 tokens, and here there are 2.
  released = dualformer_image.inflate(source, model)[taps]
  np.testing.assert_array_equal(released, np.float32(1 / 16))
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
  with pytest.raises(InputError, match=r"stage 2.*coarse='mean'"):
    dualformer_image.inflate(image_of(third), third)


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    (lambda s: s.pop('backbone.norm.bias'), 'does not fill: norm/bias'),
    (
      lambda s: s.update({'backbone.x': s['backbone.norm.bias']}),
      r'for: backbone\.x',
    ),
    (
      lambda s: s.pop('backbone.patch_embeds.0.proj.weight'),
      'no backbone.patch_embeds.0.proj.weight',
    ),
    (
      lambda s: s.pop('backbone.blocks.0.1.attn.lr.1.running_var'),
      'batch_stats/stage_0',
    ),
  ],
  ids=['missing', 'extra', 'no patches', 'no statistics'],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, says):
  path = next(iter(FILES.values()))
  model = golden.maps()['dualformer'].model_of(golden.read_config(path))
  state = golden.read_state(path)
  change(state)
  with pytest.raises(InputError, match=says):
    dualformer_weights.load(state, model)


def test_kernels_built_for_another_clip_are_refused(shared):
  # A 32-frame file into a model built for 16 frames: the release starts those
  # kernels at random without a word.
  _, state = read_manifest(shared, 'tiny_k400')
  model = models.build('dualformer', classes=400, built=(16, 224, 224))
  with pytest.raises(InputError, match=r'attn\.sr\.weight has shape'):
    dualformer_weights.load(state, model)
