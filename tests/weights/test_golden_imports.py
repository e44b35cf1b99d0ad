"""The authors' answers, from files as `weights import` takes them.

Cases are found by what they are about and never by name; a case that is not
here is skipped with the reason.
"""

import pathlib

import golden
import jax
import manifests
import numpy as np
import pytest
from golden_maps import focalnet as focalnet_map
from golden_maps import video_focalnet as video_map
from golden_maps import vidtr as vidtr_map

from vidmodels import models
from vidmodels.weights import dualformer_weights, load_weights
from vidmodels.weights.formats.open_file import open_file
from vidmodels.weights.mapping import apply, identify


def cases(wanted) -> dict[str, pathlib.Path]:
  """Files whose config `wanted` says yes to, each content once."""
  found = {}
  for folder in golden.folders():
    for path in sorted(folder.rglob('*.npz')):
      config = golden.read_config(path)
      if config and wanted(config):
        found.setdefault(path.read_bytes(), path)
  return {f'{p.parent.name}/{p.stem}': p for p in found.values()}


def each(wanted, what: str):
  """Runs a test once a case, or not at all, saying so."""
  paths = list(cases(wanted).values())
  none = pytest.param(
    None, marks=pytest.mark.skip(reason=f'no file of {what} is here')
  )
  return pytest.mark.parametrize(
    'path', paths or [none], ids=lambda p: p and p.stem
  )


def near(got, wanted, atol: float = 1e-5):
  np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)


def whole(made, fresh=()):
  """All variables: the file's, and `fresh` or zeros where it has none."""
  ours, all_of = (
    apply.flatten_variables(made.variables),
    apply.flatten_variables(made.target),
  )
  fresh = dict(fresh)
  rest = {k: np.zeros(x.shape, np.float32) for k, x in all_of.items()}
  rest |= {k: fresh[k] for k in rest if k in fresh}
  return apply.unflatten_variables({**rest, **ours})


def answers(made, video, variables=None):
  variables = made.variables if variables is None else variables
  return jax.jit(made.model.apply)(variables, video)


# --- Image ViT: raw files of one model


def of_vit(config) -> bool:
  return (
    config.get('model') == 'vit'
    and 'logits_prelogits_head.npy' in config['parts']
  )


def raw_config(path: pathlib.Path) -> bool:
  return path.suffix == '.npz' and bool(golden.read_config(path))


VITS = [
  (case, raw)
  for case in cases(of_vit).values()
  for raw in sorted(case.parent.glob(f'{case.stem.removesuffix("expected")}*'))
  if raw.suffix in ('.npz', '.pth', '.safetensors') and not raw_config(raw)
]


@pytest.mark.parametrize('activation', ['gelu', 'gelu_tanh'])
@pytest.mark.parametrize(('case', 'raw'), VITS, ids=lambda p: p.stem)
@pytest.mark.fast_every(3)
def test_every_published_layout_of_a_vit_gives_its_answers(
  case, raw, activation
):
  config, file = golden.read_config(case), open_file(raw)
  told = identify.identify(file.tensors)[0].guess
  model = {
    **told.model,
    'heads': config['heads'],
    'epsilon': config['layernorm_eps'],
    'activation': activation,
  }
  if 'heads' not in told.assumed:
    assert told.model['heads'] == config['heads']
  made = load_weights.load_file(file, 'vit', model=model)
  assert not made.report.random
  assert not made.report.dropped
  name = 'logits_prelogits_head' if model['pre_logits'] else 'logits'
  name += '_tanh_gelu' * (activation == 'gelu_tanh')
  with np.load(case) as arrays:
    images, wanted = arrays['input'], arrays[name]
  got = answers(made, images.transpose(0, 2, 3, 1)[:, None])
  near(got, wanted)
  assert (made.trained['activation'] == activation) or any(
    'the file was trained with activation' in note for note in made.notes
  )


@each(
  lambda c: (
    c.get('model') in ('vit', 'deit_distilled')
    and {'state_dict', 'logits.npy'} <= c['parts']
  ),
  'a ViT with its state dict',
)
@pytest.mark.parametrize('wrap', ['', 'module.', 'model.'])
@pytest.mark.fast_every(3)
def test_a_state_dict_of_a_vit_gives_its_answers(path, wrap):
  config, state = golden.read_config(path), golden.read_state(path)
  wrapped = {wrap + key: array for key, array in state.items()}
  file = manifests.held(wrapped)
  clip = (1, *config['image_hw'])
  told = identify.identify(file.tensors, clip=clip)[0].guess
  assert told.classes == config['num_classes']
  model = {
    **told.model,
    'heads': config['heads'],
    'epsilon': config['layernorm_eps'],
  }
  made = load_weights.load_file(file, 'vit', model=model, clip=clip)
  assert set(made.report.used) == set(wrapped)
  with np.load(path) as arrays:
    images, wanted = arrays['input'], arrays['logits']
  near(answers(made, images.transpose(0, 2, 3, 1)[:, None]), wanted)


@each(lambda c: c.get('model') == 'pos_embed_resize', 'resized positions')
def test_an_import_resizes_a_file_s_table_by_the_method_that_is_named(path):
  config = golden.read_config(path)
  with np.load(path) as arrays:
    table, theirs = arrays['input'], dict(arrays)
  D, side, new = table.shape[-1], config['old_grid'], config['new_grid']
  fields = dict(layers=1, width=D, heads=1, mlp_ratio=1.0, patch=4)
  model = models.build('vit', classes=3, **fields)
  zeros = jax.tree.map(
    lambda x: np.zeros(x.shape, np.float32),
    dict(apply.variable_shapes(model, (1, 4 * side, 4 * side, 3))),
  )
  state = {**naming_state('vit', model, zeros), 'pos_embed': table}
  pairs = {
    'corner_aligned': 'scipy_zoom_order1',
    'bilinear': 'torch_bilinear',
    'bicubic_antialias': 'torch_bicubic_antialias',
    'nearest': 'torch_nearest',
  }
  for ours, name in pairs.items():
    made = load_weights.load_file(
      manifests.held(state),
      'vit',
      model=fields,
      clip=(1, 4 * new, 4 * new),
      positions=ours,
    )
    got = made.variables['params']['space_pos']['table']
    near(got.reshape(-1, D), theirs[name][0, config['prefix_tokens'] :])
    assert list(made.report.changed) == ['space_pos/table']


def naming_state(family: str, model, variables) -> dict:
  return apply.save_variables(
    identify.list_namings(family)[0].rules(model), variables
  )


# --- FocalNet, image and video


@each(lambda c: c.get('model') == 'focalnet_image', 'an image FocalNet')
@pytest.mark.slow
def test_every_naming_of_an_image_focalnet_gives_its_answers(path):
  config, state = golden.read_config(path), golden.read_state(path)
  file = manifests.held(state)
  wanted = focalnet_map.model_of(config)
  told = identify.identify(file.tensors)[0]
  assert told.naming.name == config['naming']
  # What shapes tell is what the file's config says.
  for name, value in told.guess.model.items():
    if name not in told.guess.assumed:
      assert getattr(wanted, name) == value, name
  fields = {name: getattr(wanted, name) for name in models.fields('focalnet')}
  made = load_weights.load_file(file, 'focalnet', model=fields)
  assert not made.report.random
  with np.load(path) as arrays:
    images, logits = arrays['input'], arrays['logits']
  near(answers(made, video_map.video_of(config, images)), logits, 5e-5)


@each(
  lambda c: c.get('kind') == 'image_checkpoint_import',
  'an image model that becomes a Video-FocalNet',
)
@pytest.mark.parametrize('rename', ['microsoft', 'hf', 'timm'])
@pytest.mark.slow
def test_an_image_focalnet_becomes_the_authors_video_model(path, rename):
  config = golden.read_config(path)
  source = golden.read_state(path, 'source/')
  fresh = golden.read_state(path, 'fresh/')
  theirs = video_map.model_of({'fusion': 'multiplication', **config})
  fields = {
    name: getattr(theirs, name) for name in models.fields('video_focalnet')
  }
  held = manifests.held(renamed(source, config, rename))
  with np.load(path) as arrays:
    given, logits = arrays['input'], arrays['logits']
  video = video_map.video_of(config, given)
  made = load_weights.load_file(
    held,
    'video_focalnet',
    model=fields,
    classes=config['num_classes'],
    clip=video.shape[1:4],
  )
  kept = {k for k in held.tensors if k not in made.report.dropped}
  assert all(
    any(word in key for word in ('head', 'classifier'))
    for key in made.report.dropped
  )
  assert kept == set(made.report.used)
  # The rest is what the file calls fresh, under the authors' names.
  zeros = {
    key: fresh.get(key, np.zeros(array.shape, np.float32))
    for key, array in naming_state(
      'video_focalnet', made.model, whole(made)
    ).items()
  }
  full = apply.load_variables(
    identify.list_namings('video_focalnet')[0].rules(made.model),
    zeros,
    made.model,
    video=made.video,
  )
  flat = apply.flatten_variables(full)
  rest = {k: flat[k] for k in made.report.random}
  variables = whole(made, rest)
  near(answers(made, video, variables), logits, 5e-5)
  _, kept = made.model.apply(variables, video, mutable='intermediates')
  features = video_map.name_features(config, made.model, kept['intermediates'])
  for name, feature in golden.read_state(path, 'feature/').items():
    atol = video_map.FEATURE_TOLERANCE.get(name, video_map.TOLERANCE)
    near(features[name], feature, atol)


@each(
  lambda c: c.get('kind') == 'image_checkpoint_import',
  'an image model that becomes a Video-FocalNet',
)
@pytest.mark.fast_every(2)
def test_the_image_focalnet_that_a_video_model_starts_from_answers_too(path):
  config = golden.read_config(path)
  fields = video_map.fields_of(
    {**config, 'num_classes': config['image_num_classes']}
  )
  parent = load_weights.load_file(
    manifests.held(golden.read_state(path, 'source/')),
    'focalnet',
    model=without_classes(fields),
  )
  with np.load(path) as arrays:
    images, logits = arrays['image_input'], arrays['image_logits']
  near(answers(parent, images.transpose(0, 2, 3, 1)[:, None]), logits, 5e-5)


def renamed(source: dict, config: dict, name: str) -> dict:
  """The same image weights by another library's names."""
  if name == 'microsoft':
    return source
  fields = video_map.fields_of(
    {**config, 'num_classes': config['image_num_classes']}
  )
  parent = load_weights.load_file(
    manifests.held(source), 'focalnet', model=without_classes(fields)
  )
  known = {n.name: n for n in identify.list_namings('focalnet')}
  return apply.save_variables(known[name].rules(parent.model), parent.variables)


def without_classes(fields: dict) -> dict:
  return {k: v for k, v in fields.items() if k != 'classes'}


# --- Inflation


@each(lambda c: 'vit_state_dict' in c['parts'], 'an image model of VidTr')
def test_an_image_vit_becomes_the_authors_vidtr(path):
  config = golden.read_config(path)
  source = golden.read_state(path, 'vit_state_dict/')
  theirs = golden.read_state(path)
  wanted = vidtr_map.model_of(config)
  fields = {name: getattr(wanted, name) for name in models.fields('vidtr')}
  made = load_weights.load_file(
    manifests.held(source),
    'vidtr',
    model=fields,
    classes=config['num_classes'],
    clip=vidtr_map.clip_of(config),
  )
  assert set(made.report.dropped) == {'head.weight', 'head.bias'}
  assert set(made.report.random) == {'head/kernel', 'head/bias'}
  head = {'head/kernel': theirs['fc.weight'].T, 'head/bias': theirs['fc.bias']}
  with np.load(path) as arrays:
    given, logits = arrays['input'], arrays['logits']
  video = given.transpose(0, 2, 3, 4, 1)
  near(answers(made, video, whole(made, head)), logits)


@each(
  lambda c: 'original_constructor' in c and 'source' in c['parts'],
  'an image model of DualFormer',
)
def test_an_image_model_becomes_the_authors_dualformer(path):
  constructor = golden.read_config(path)['original_constructor']
  fields = dualformer_fields(constructor)
  source, theirs = golden.read_state(path, 'source/'), golden.read_state(path)
  made = load_weights.load_file(
    manifests.held(source), 'dualformer', model=fields, classes=3
  )
  assert set(made.report.random) == {'head/kernel', 'head/bias'}
  assert all(
    key.startswith('head.') or key.endswith('num_batches_tracked')
    for key in made.report.dropped
  )
  backbone = {
    name: {k: v for k, v in tree.items() if k != 'head'}
    for name, tree in made.variables.items()
  }
  rules = dualformer_weights.backbone_rules(made.model, '')
  state = apply.save_variables(rules, backbone)
  counters = {k for k in theirs if k.endswith('num_batches_tracked')}
  assert set(state) == set(theirs) - counters
  for key, array in state.items():
    np.testing.assert_array_equal(array, theirs[key], err_msg=key)


def dualformer_fields(theirs: dict) -> dict:
  """Our fields from the authors' constructor."""
  time, edge, _ = theirs['patch_size']
  return dict(
    widths=tuple(theirs['embed_dims']),
    layers=tuple(theirs['depths']),
    heads=tuple(theirs['num_heads']),
    mlp_ratios=tuple(map(float, theirs['mlp_ratios'])),
    windows=tuple(map(tuple, theirs['local_sizes'])),
    patterns=tuple(
      'GG' if np.prod(w) == 1 else 'LG' for w in theirs['local_sizes']
    ),
    fine=tuple(map(tuple, theirs['fine_pysizes'])),
    coarse=tuple(
      tuple(g) if s < 2 else () for s, g in enumerate(theirs['coarse_pysizes'])
    ),
    built=tuple(theirs['video_size']),
    patch=edge,
    patch_frames=time,
    rates=tuple(theirs['temporal_pooling'][1:]),
    qkv_bias=theirs['qkv_bias'],
  )


@each(lambda c: 'resnet2d' in c['parts'], 'an image ResNet of I3D')
def test_an_image_resnet_becomes_an_i3d(path):
  source = golden.read_state(path, 'resnet2d/')
  theirs = golden.read_state(path)
  made = load_weights.load_file(manifests.held(source), 'i3d', classes=3)
  assert set(made.report.random) == {'head/kernel', 'head/bias'}
  assert set(made.report.used) | set(made.report.dropped) == set(source)
  state = naming_state('i3d', made.model, whole(made))
  for key in [k for k in state if not k.startswith('cls_head')]:
    if key in theirs:
      near(state[key], theirs[key], 1e-7)
  assert sum(key in theirs for key in state) >= len(state) - 2


# --- Every file of a whole model


def of_a_model(config) -> bool:
  return (
    config.get('model') in golden.maps()
    and {'state_dict', 'input.npy', 'logits.npy'} <= config['parts']
    and config['model'] not in getattr(map_of(config), 'PARTS', {})
  )


def map_of(config):
  return golden.maps()[config['model']]


def open_golden(path):
  """The model of a golden file, its state dict as a file, and its clip."""
  config, state = golden.read_config(path), golden.read_state(path)
  with np.load(path) as arrays:
    video = map_of(config).video_of(config, arrays['input'])
  model = map_of(config).model_of(config, state)
  return model, manifests.held(state), golden.clip_of(config, video)


@each(of_a_model, 'a whole model')
def test_a_file_is_recognised_as_its_family_with_its_classes(path):
  family = map_of(golden.read_config(path)).FAMILY
  model, file, clip = open_golden(path)
  matches = identify.identify(file.tensors, clip=clip)
  match = next(m for m in matches if m.naming.family == family)
  assert match.guess.classes == model.classes


@each(of_a_model, 'a whole model')
@pytest.mark.fast_every(8)
def test_loading_and_saving_gives_the_authors_file_again(path):
  family = map_of(golden.read_config(path)).FAMILY
  model, file, clip = open_golden(path)
  fields = {name: getattr(model, name) for name in models.fields(family)}
  imported = load_weights.load_file(file, family, model=fields, clip=clip)
  again = golden.save_state(
    family, imported.model, imported.variables, imported.match.naming.name
  )
  assert set(again) == set(file.tensors)
  for key, array in file.tensors.items():
    if key in imported.report.dropped:  # nothing read it, so it is zeros
      assert again[key].shape == array.shape
    elif not imported.report.changed:
      np.testing.assert_array_equal(again[key], array, err_msg=key)
