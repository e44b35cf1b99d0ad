"""Files into models: every published one, and what does not fit."""

import collections
import functools
import json
import math
import os
import pathlib

import jax
import manifests
import numpy as np
import pytest

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import export, load_weights
from vidmodels.weights.mapping import apply, identify

SHARED = pathlib.Path(
  os.environ.get(
    'VIDMODELS_SHARED', pathlib.Path(__file__).resolve().parents[3] / 'shared'
  )
)
# Lists of names and not of tensors.
NAMES = ('timesformer_key_pairs_original_to_hf', 'README')
PUBLISHED = sorted(
  path
  for path in (SHARED / 'manifests').glob('*.json')
  if path.stem not in NAMES
)


def shapes(tree) -> dict[str, tuple[int, ...]]:
  return {
    path: x.shape for path, x in apply.flatten_variables(dict(tree)).items()
  }


# Files without a classifier; every other one fills its whole model.
HEADLESS = {
  'dualformer_image_source_tiny_in1k_derived',
  'vidtr_vit_inflate_inferred',
}


def published() -> list:
  """Every published file, the first of each kind fast: a file takes seconds."""
  first = {}
  for path in PUBLISHED:
    first.setdefault(path.stem.split('_')[0], path)
  return [
    pytest.param(
      path,
      id=path.stem,
      marks=[] if path in first.values() else pytest.mark.slow,
    )
    for path in PUBLISHED
  ]


@pytest.fixture(scope='module', params=published())
def taken(request):
  """A published file at full size, taken into its own family."""
  file = manifests.file(request.param)
  matches = identify.identify(file.tensors)
  assert matches, 'no naming matches it'
  return file, load_weights.load_file(file, matches[0].naming.family)


@pytest.mark.fast_every(3)
@pytest.mark.slow_every(2)
def test_every_key_of_a_published_file_is_used_or_dropped_for_a_reason(taken):
  file, imported = taken
  assert {*imported.report.used, *imported.report.dropped} == set(file.tensors)
  assert all(imported.report.dropped.values())
  headless = imported.match.guess.classes == 0
  random = {
    k: x for k, x in shapes(imported.target).items() if k.startswith('head')
  }
  assert set(imported.report.random) == (set(random) if headless else set())
  assert shapes(imported.variables) | imported.report.random == (
    shapes(imported.target) | imported.report.random
  )
  # The authors trained these on OpenCV's pictures.
  bgr = imported.family == 'timesformer' and 'ssv2' in file.path.stem
  assert set(imported.report.changed) == ({'patch/kernel'} if bgr else set())


@pytest.mark.fast_every(4)
@pytest.mark.slow_every(2)
def test_a_published_file_has_the_parameters_that_its_authors_count(taken):
  file, imported = taken
  if 'image_source' in file.path.stem and imported.family == 'dualformer':
    return  # the video model has more than the image model
  manifest = manifests.read(file.path)
  unread = manifest.get('num_params_unused_new_fc', 0)
  params = shapes({'params': imported.target['params']})
  sizes = [
    math.prod(s) for k, s in params.items() if k not in imported.report.random
  ]
  assert sum(sizes) == manifest['num_params'] - unread


@pytest.mark.slow_every(2)
def test_a_published_file_comes_out_as_it_went_in(taken):
  file, imported = taken
  match, family = imported.match, imported.family
  naming, state = export.name_tensors(
    family, imported.model, imported.variables, name=match.naming.name
  )
  state = {k.removeprefix(naming.prefix): x for k, x in state.items()}
  wanted = {
    k.removeprefix(match.unwrapped.prefix): shape
    for k, (shape, _) in file.tensors.specs.items()
  }
  # Layers that a model has no place for are not there to be written.
  gone = [k for k in imported.report.dropped if k not in state]
  assert {k: x.shape for k, x in state.items()} == {
    k: shape for k, shape in wanted.items() if k not in gone
  }
  if family not in ('vit', 'twins_svt', 'focalnet'):
    assert gone == []


@functools.cache
def matches_of(path) -> list[identify.Match]:
  """All that a published file may be; each family asks for the same."""
  return identify.identify(manifests.file(path).tensors)


@pytest.mark.parametrize('family', models.families())
def test_what_a_file_says_of_its_model_is_what_the_model_has(family):
  fields = models.fields(family)
  for path in PUBLISHED:
    for match in matches_of(path):
      if match.naming.family != family:
        continue
      unknown = set(match.guess.model) - set(fields)
      assert not unknown, (path.stem, unknown)
      assert set(match.guess.assumed) <= set(match.guess.model)
      config = manifests.read(path)['config']
      if 'num_classes' in config:
        assert match.guess.classes == config['num_classes'], path.stem


@pytest.mark.parametrize('family', models.families())
def test_image_models_that_a_family_starts_from_exist(family):
  for image in identify.image_sources(family):
    assert image in models.families()
    assert any(n.family == image for n in identify.list_namings())


def tiny_vit():
  """An image ViT that fits TimeSformer's TINY, as timm would save it."""
  sizes = dict(models.find('timesformer').TINY)
  model = models.build('vit', classes=7, **sizes)
  video = np.zeros((1, 1, 32, 32, 3), np.float32)
  variables = model.init(jax.random.key(1), video)
  _, state = export.name_tensors('vit', model, variables, name='timm')
  rng = np.random.default_rng(0)
  return sizes, {
    key: rng.normal(size=array.shape).astype(np.float32)
    for key, array in state.items()
  }


@pytest.fixture
def image_file(tmp_path):
  sizes, state = tiny_vit()
  return sizes, export.write(tmp_path / 'vit.npz', state, to='npz')


@pytest.mark.slow
def test_an_image_file_starts_a_video_model_and_the_report_says_how(image_file):
  sizes, path = image_file
  imported = load_weights.load_path(
    path, 'timesformer', model=sizes, classes=5, clip=(4, 48, 48)
  )
  kinds = collections.Counter(
    path.split('/')[0] for path in imported.report.random
  )
  assert kinds == {'head': 2, 'time_pos': 1, 'block_0': 2, 'block_1': 2}
  assert imported.report.changed == {
    'space_pos/table': '[4, 4, 16] resized to [6, 6, 16] by nearest'
  }
  assert set(imported.report.dropped) == {'head.weight', 'head.bias'}
  whole = imported.complete(jax.random.key(0))
  assert shapes(whole) == shapes(imported.target)
  fresh = imported.model.init(
    jax.random.key(0), np.zeros((1, *imported.video), np.float32)
  )
  np.testing.assert_allclose(
    whole['params']['head']['kernel'],
    fresh['params']['head']['kernel'],
    atol=1e-6,
  )
  logits = imported.model.apply(
    whole, np.zeros((2, *imported.video), np.float32)
  )
  assert logits.shape == (2, 5)


@pytest.mark.parametrize('method', ['nearest', 'bilinear', 'nearest_1d_flat'])
def test_tables_are_resized_by_the_method_that_is_named(image_file, method):
  sizes, path = image_file
  options = dict(model=sizes, classes=5, clip=(4, 48, 48))
  imported = load_weights.load_path(
    path, 'timesformer', positions=method, **options
  )
  table = imported.variables['params']['space_pos']['table']
  if method == 'nearest_1d_flat':
    # The release's: floor(i * 16 / 36) of the flattened grid.
    source = load_weights.load_path(path, 'vit', heads=2).variables['params'][
      'space_pos'
    ]
    rows = source['table'].reshape(16, -1)
    wanted = rows[np.arange(36) * 16 // 36].reshape(6, 6, -1)
    np.testing.assert_array_equal(table, wanted)
  assert table.shape == (6, 6, 16)
  assert method in imported.report.changed['space_pos/table']


def test_the_default_resize_changes_no_answer(image_file):
  sizes, path = image_file
  video = np.random.default_rng(0).normal(size=(2, 4, 48, 48, 3))
  video = video.astype(np.float32)
  options = dict(model=sizes, classes=5)
  kept = load_weights.load_path(
    path, 'timesformer', clip=(4, 32, 32), **options
  )
  imported = load_weights.load_path(
    path, 'timesformer', clip=(4, 48, 48), **options
  )
  answers = [
    one.model.apply(one.complete(jax.random.key(0)), video)
    for one in (kept, imported)
  ]
  np.testing.assert_allclose(*answers, atol=1e-5)


def tampered(state: dict, kind: str) -> dict:
  key = 'blocks.1.mlp.fc1.weight'
  state = {k: v.copy() for k, v in state.items()}
  if kind == 'missing':
    del state[key]
  elif kind == 'extra':
    state['blocks.1.mlp.fc9.weight'] = state[key]
  elif kind == 'shape':
    state[key] = state[key].T
  elif kind == 'nan':
    state[key][3, 4] = np.nan
  elif kind == 'dtype':
    state[key] = state[key].astype(np.int32)
  return state


@pytest.mark.parametrize('kind', ['missing', 'extra', 'shape', 'nan', 'dtype'])
@pytest.mark.parametrize('to', ['npz', 'safetensors', 'pth'])
def test_a_tampered_file_is_refused_with_the_tensor_s_name(tmp_path, kind, to):
  if to == 'pth':
    pytest.importorskip('torch', reason='torch is not installed')
  sizes, state = tiny_vit()
  path = tmp_path / 'file'
  export.write(path, tampered(state, kind), to=to)
  name = r'blocks\.1\.mlp\.fc(1|9)\.weight'
  with pytest.raises(ValueError, match=name):
    load_weights.load_path(path, 'timesformer', model=sizes, classes=5)


def test_a_file_of_another_family_is_refused_with_what_it_is(image_file):
  _, path = image_file
  with pytest.raises(ValueError, match=r'is vit \(timm\).*takes i3d'):
    load_weights.load_path(path, 'i3d')


def test_a_space_only_timesformer_is_told_from_its_twin_by_the_model(tmp_path):
  sizes, state = tiny_vit()
  path = export.write(tmp_path / 'twin.npz', state, to='npz')
  own = load_weights.load_path(
    path, 'timesformer', model={**sizes, 'attention': 'space'}, classes=7
  )
  assert own.match.naming.family == 'timesformer'
  assert not own.report.random
  image = load_weights.load_path(path, 'timesformer', model=sizes, classes=7)
  assert image.match.naming.family == 'vit'


def test_a_head_is_taken_dropped_or_asked_for(image_file, tmp_path):
  sizes, path = image_file
  space = {**sizes, 'attention': 'space'}
  imported = load_weights.load_path(
    path, 'timesformer', model=space, head='new'
  )
  assert set(imported.report.random) == {'head/kernel', 'head/bias'}
  imported = load_weights.load_path(path, 'timesformer', model=space, classes=3)
  assert set(imported.report.dropped) == {'head.weight', 'head.bias'}
  with pytest.raises(ValueError, match='7 answers and the model 3'):
    load_weights.load_path(
      path, 'timesformer', model=space, classes=3, head='keep'
    )


def test_read_into_another_size_says_which_field(image_file):
  sizes, path = image_file
  with pytest.raises(ValueError, match='layers'):
    load_weights.load_path(path, 'timesformer', model={**sizes, 'layers': 3})


@pytest.mark.parametrize('names', ['timm', 'hf', 'google'])
@pytest.mark.parametrize('family', ['vit', 'timesformer', 'xvit', 'vidtr'])
@pytest.mark.fast_every(4)
def test_known_heads_are_refused_in_every_format_and_others_said(names, family):
  sizes = {'width': 192, 'layers': 12, 'patch': 8}  # a ViT-Ti has 3 heads
  for width, heads, known in ((192, 3, True), (32, 2, names == 'google')):
    sizes['width'] = width
    image = models.build('vit', classes=4, heads=heads, **sizes)
    shapes = apply.variable_shapes(image, (1, 16, 16, 3))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), dict(shapes))
    _, state = export.name_tensors('vit', image, zeros, name=names)
    for asked in (heads, 2 * heads):
      load = functools.partial(
        load_weights.load_file,
        manifests.held(state),
        family,
        model={**sizes, 'heads': asked},
        classes=5,
        clip=(4, 16, 16),
      )
      if known and asked != heads:
        with pytest.raises(InputError, match=f'heads={heads}'):
          load()
        continue
      said = [note for note in load().notes if 'tells the heads' in note]
      assert [f'heads={asked}' in note for note in said] == [True] * (not known)


def test_half_precision_files_become_float32(tmp_path):
  sizes, state = tiny_vit()
  state = {k: v.astype(np.float16) for k, v in state.items()}
  path = export.write(tmp_path / 'half.npz', state, to='npz')
  imported = load_weights.load_path(path, 'vit', model=sizes)
  assert {x.dtype for x in jax.tree.leaves(imported.variables)} == {
    np.dtype('float32')
  }


def test_guesses_survive_json():
  for each in PUBLISHED[:5]:
    for match in identify.identify(manifests.file(each).tensors):
      json.dumps(dict(match.guess.model))


@pytest.mark.slow
def test_vidtr_s_tables_are_resized_as_the_model_fits_them(tmp_path):
  tiny = models.find('vidtr').TINY
  fields = {k: v for k, v in tiny.items() if not k.startswith('pool')}
  model = models.build('vidtr', classes=7, **fields)
  small, large = (2, 32, 32), (4, 48, 48)
  variables = model.init(
    jax.random.key(1), np.zeros((1, *small, 3), np.float32)
  )
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32), variables
  )
  _, state = export.name_tensors('vidtr', model, variables)
  path = export.write(tmp_path / 'w.npz', state, to='npz')
  imported = load_weights.load_path(path, 'vidtr', model=fields, clip=large)
  assert imported.report.changed
  video = rng.normal(size=(2, *large, 3)).astype(np.float32)
  np.testing.assert_allclose(
    model.apply(imported.variables, video),
    model.apply(variables, video),
    atol=1e-4,
  )


# --- Frames that are no squares


def oblong(family: str):
  """A tiny model for frames of 2 x 3 patches, and its file."""
  module = models.find(family)
  T, H, W = (module.TINY_CLIP[0], 16, 24)
  model = models.build(family, classes=3, **{**module.TINY, 'patch': 8})
  rng = np.random.default_rng(0)
  draw = lambda x: rng.normal(size=x.shape).astype(np.float32)
  variables = jax.tree.map(
    draw, dict(apply.variable_shapes(model, (T, H, W, 3)))
  )
  _, state = export.name_tensors(family, model, variables)
  fields = {name: getattr(model, name) for name in models.fields(family)}
  return fields, variables, manifests.held(state), (T, H, W)


@pytest.mark.parametrize('family', ['timesformer', 'vidtr', 'vit', 'xvit'])
def test_the_clip_tells_the_grid_of_a_table_that_is_no_square(family):
  fields, variables, file, clip = oblong(family)
  imported = load_weights.load_file(file, family, model=fields, clip=clip)
  got, wanted = (
    apply.flatten_variables(imported.variables),
    apply.flatten_variables(variables),
  )
  assert set(got) == set(wanted)
  for path, array in wanted.items():
    np.testing.assert_array_equal(got[path], array, err_msg=path)
  assert any('taken to be for 2 x 3 patches' in note for note in imported.notes)
  # Not told, or told of frames with other places, or of no whole patches.
  for other, says in (
    (None, 'expected to be told the clip'),
    ((4, 32, 32), 'frames of 32 x 32 pixels have 4 x 4'),
    ((4, 16, 28), 'have 2 x 3.5'),
  ):
    with pytest.raises(InputError, match=f'6 patches, .* not a square.*{says}'):
      load_weights.load_file(file, family, model=fields, clip=other)


@pytest.mark.parametrize('family', ['timesformer', 'vidtr', 'xvit'])
def test_an_image_model_of_oblong_frames_starts_a_video_model(family):
  _, variables, file, (_, H, W) = oblong('vit')
  tiny = {**models.find(family).TINY, 'layers': 2, 'patch': 8}
  imported = load_weights.load_file(
    file, family, model=tiny, classes=3, clip=(4, H, W)
  )
  table = apply.flatten_variables(variables)['space_pos/table']
  ours = apply.flatten_variables(imported.variables)
  if family == 'vidtr':  # behind class rows, once for every frame
    ours = ours['tokens/patch_pos/table'][1:]
    np.testing.assert_array_equal(ours, np.stack([table] * 4))
  else:
    np.testing.assert_array_equal(ours['space_pos/table'], table)
