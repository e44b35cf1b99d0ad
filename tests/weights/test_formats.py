"""Every container and spelling that weights are published in."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from manifests import held

import vidmodels.weights
from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import (
  diff,
  export,
  import_report,
  load_weights,
)
from vidmodels.weights.formats.open_file import open_file
from vidmodels.weights.mapping import apply, identify


def drawn(family: str, **fields):
  """A tiny model of a family and variables that all differ."""
  module = models.find(family)
  model = models.build(family, classes=3, **{**module.TINY, **fields})
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.uniform(0.1, 1, x.shape).astype(np.float32),
    dict(apply.variable_shapes(model, (*clip_of(family), 3))),
  )
  return model, variables


def saved(family: str, name: str = '', **fields):
  """The same as a published file's tensors."""
  model, variables = drawn(family, **fields)
  _, state = export.name_tensors(family, model, variables, name=name)
  return model, variables, state


def equal(imported, variables):
  got, wanted = (
    apply.flatten_variables(imported.variables),
    apply.flatten_variables(variables),
  )
  assert set(got) == set(wanted)
  for path, array in wanted.items():
    np.testing.assert_array_equal(got[path], array, err_msg=path)


def fields_of(model, family: str) -> dict:
  return {name: getattr(model, name) for name in models.fields(family)}


def respelt(state: dict, pairs) -> dict:
  found = {}
  for key, array in state.items():
    for old, new in pairs:
      key = key.replace(old, new)
    found[key] = array
  return found


# --- Google's containers


@pytest.mark.parametrize(
  ('prefix', 'beside'),
  [
    ('params/', {}),
    ('params/', {'opt/0/count': 'training', 'chrono/seen': 'training'}),
    ('opt/target/', {'opt/state/step': 'training', 'extra/time': 'training'}),
    ('params/img/', {'params/txt/head/bias': 'text', 'params/t': 'text'}),
    ('img/', {'txt/head/bias': 'text', 't': 'text', 'b': 'text'}),
  ],
)
@pytest.mark.parametrize('name', ['google', 'big_vision'])
def test_an_archive_s_container_is_found(tmp_path, prefix, beside, name):
  own = name == 'google'
  model, variables, state = saved('vit', name, class_position=own)
  wrapped = {prefix + key: array for key, array in state.items()}
  company = {key: np.ones(2, np.float32) for key in beside}
  path = tmp_path / 'weights.npz'
  export.write(path, {**wrapped, **company}, to='npz')
  imported = load_weights.load_path(path, 'vit', model=fields_of(model, 'vit'))
  equal(imported, variables)
  assert set(imported.report.used) == set(wrapped)
  assert set(imported.report.dropped) == set(beside)
  for key, word in beside.items():
    assert word in imported.report.dropped[key]


def test_company_that_nobody_knows_is_no_container():
  model, _, state = saved('vit', 'google')
  wrapped = {f'params/{key}': array for key, array in state.items()}
  wrapped['other/thing'] = np.ones(2, np.float32)
  with pytest.raises(InputError, match='of no family'):
    load_weights.load_file(held(wrapped), 'vit', model=fields_of(model, 'vit'))


@pytest.mark.parametrize('prefix', ['', 'params/', 'opt/target/'])
def test_layers_that_were_scanned_are_taken_apart(prefix):
  model, variables, state = saved('vit', 'big_vision', class_position=False)
  scanned, layers = {}, {}
  for key, array in state.items():
    front, _, rest = key.partition('encoderblock_')
    if rest:
      number, _, rest = rest.partition('/')
      layers.setdefault(f'{front}encoderblock/{rest}', {})[int(number)] = array
    else:
      scanned[prefix + key] = array
  for key, of in layers.items():
    scanned[prefix + key] = np.stack([of[i] for i in range(len(of))])
  assert len(layers) == 16
  imported = load_weights.load_file(
    held(scanned), 'vit', model=fields_of(model, 'vit')
  )
  equal(imported, variables)
  assert imported.match.guess.model['layers'] == model.layers
  assert set(imported.report.used) == set(scanned)


def test_an_array_of_all_layers_is_read_once():
  _, _, state = saved('vit', 'big_vision', class_position=False)
  scanned = {k: v for k, v in state.items() if 'encoderblock' not in k}
  first = {k: v for k, v in state.items() if 'encoderblock_0' in k}
  for key, array in first.items():
    name = key.replace('encoderblock_0', 'encoderblock')
    scanned[name] = np.stack([array] * 5)
  file, reads = held(scanned), []
  load = file.tensors._read
  file.tensors._read = lambda key: reads.append(key) or load(key)
  load_weights.load_file(
    file,
    'vit',
    model={**models.find('vit').TINY, 'layers': 5, 'class_position': False},
  )
  assert sorted(reads) == sorted(scanned)


def test_bfloat16_without_a_name_is_read(tmp_path):
  model, variables, state = saved('vit', 'google')
  short = {k: v.astype(ml_dtypes.bfloat16) for k, v in state.items()}
  path = tmp_path / 'bf16.npz'
  np.savez(path, **{k: v.view('V2') for k, v in short.items()})
  imported = load_weights.load_path(path, 'vit', model=fields_of(model, 'vit'))
  kernel = variables['params']['head']['kernel']
  np.testing.assert_array_equal(
    imported.variables['params']['head']['kernel'],
    kernel.astype(ml_dtypes.bfloat16).astype(np.float32),
  )


# --- torch's containers


def torch_file(path, tree):
  torch = pytest.importorskip('torch', reason='torch is not installed')
  tensor = lambda x: torch.tensor(x) if isinstance(x, np.ndarray) else x
  torch.save(
    jax.tree.map(tensor, tree, is_leaf=lambda x: not isinstance(x, dict)), path
  )
  return path


@pytest.mark.parametrize(
  ('family', 'prefix', 'wrap', 'under'),
  [
    ('vit', '', lambda s: {'model': s}, ('model',)),  # DeiT
    ('vit', 'module.', lambda s: {'state_dict': s}, ('state_dict',)),
    (
      'timesformer',
      '',
      lambda s: {'epoch': 1, 'model_state': s, 'cfg': 'TRAIN: {}'},
      ('model_state',),
    ),
    (
      'xvit',
      '',
      lambda s: {'model_state': s, 'optimizer_state': {'state': {}}},
      ('model_state',),
    ),
    ('vidtr', 'module.', lambda s: {'model': s, 'epoch': 50}, ('model',)),
    (
      'dualformer',
      '',
      lambda s: {'meta': {'epoch': 30}, 'state_dict': s},
      ('state_dict',),
    ),
    ('dualformer', 'module.', lambda s: s, ()),
    (
      'video_focalnet',
      '',
      lambda s: {'model': s, 'max_accuracy': 1.0, 'optimizer': {'state': {}}},
      ('model',),
    ),
    ('i3d', '', lambda s: {'state_dict': s, 'meta': {}}, ('state_dict',)),
    ('twins_svt', '', lambda s: s, ()),
    ('focalnet', '', lambda s: {'model': s}, ('model',)),
  ],
)
def test_a_checkpoint_s_wrappings_are_undone(
  tmp_path, family, prefix, wrap, under
):
  model, variables, state = saved(family)
  own = {prefix + key: array for key, array in state.items()}
  path = torch_file(tmp_path / 'weights.pyth', wrap(own))
  file = open_file(path)
  assert file.under == under
  imported = load_weights.load_file(
    file, family, model=fields_of(model, family), clip=clip_of(family)
  )
  equal(imported, variables)


def clip_of(family: str) -> tuple[int, int, int]:
  """A tiny clip with square frames, as tables are taken to be for."""
  T, H, W = models.find(family).TINY_CLIP
  return T, max(H, W), max(H, W)


# --- Hugging Face's spellings

NEW = (
  ('encoder.layer', 'layers'),
  ('attention.attention.query', 'attention.q_proj'),
  ('attention.attention.key', 'attention.k_proj'),
  ('attention.attention.value', 'attention.v_proj'),
  ('attention.output.dense', 'attention.o_proj'),
  ('intermediate.dense', 'mlp.fc1'),
  ('output.dense', 'mlp.fc2'),
)


@pytest.mark.parametrize('spelling', [(), NEW], ids=['old', 'new'])
@pytest.mark.parametrize('bare', [False, True])
@pytest.mark.parametrize('to', ['safetensors', 'bin'])
def test_the_hub_s_files_are_read_in_both_spellings(
  tmp_path, spelling, bare, to
):
  model, variables, state = saved('vit', 'hf')
  state = respelt(state, spelling)
  if bare:  # of ViTModel: no prefix, no classifier, a pooler
    state = {k.removeprefix('vit.'): v for k, v in state.items()}
    state = {k: v for k, v in state.items() if 'classifier' not in k}
    state['pooler.dense.weight'] = np.ones((16, 16), np.float32)
    state['pooler.dense.bias'] = np.ones(16, np.float32)
  path = tmp_path / f'model.{to}'
  if to == 'bin':
    torch_file(path, state)
  else:
    export.write(path, state, to='safetensors')
  imported = load_weights.load_path(path, 'vit', model=fields_of(model, 'vit'))
  params = dict(variables['params'])
  if bare:
    del params['head']
    assert set(imported.report.dropped) == {
      'pooler.dense.weight',
      'pooler.dense.bias',
    }
    assert set(imported.report.random.values()) == {'the file has none'}
  equal(imported, {'params': params})


def hub_config(path, **more):
  (path.parent / 'config.json').write_text(
    json.dumps(
      {
        'model_type': 'vit',
        'num_attention_heads': models.find('vit').TINY['heads'],
        'layer_norm_eps': 1e-12,
        'hidden_act': 'gelu_new',
        'id2label': {'0': 'ape', '2': 'cat', '1': 'bee'},
        **more,
      }
    )
  )


def test_what_lies_beside_a_file_travels_along(tmp_path):
  _, _, state = saved('vit', 'hf')
  path = export.write(tmp_path / 'model.safetensors', state, to='safetensors')
  hub_config(path)
  (tmp_path / 'preprocessor_config.json').write_text(
    json.dumps({'image_mean': [0.1, 0.2, 0.3], 'image_std': [1, 1, 1]})
  )
  imported = load_weights.load_path(path, 'vit')
  assert imported.labels == ('ape', 'bee', 'cat')
  assert (imported.model.epsilon, imported.model.activation) == (
    1e-12,
    'gelu_tanh',
  )
  assert imported.model.heads == models.find('vit').TINY['heads']
  assert imported.pixels.mean == (0.1, 0.2, 0.3)
  text = import_report.format_inspection(import_report.inspect(path))
  assert 'config.json' in text
  assert 'epsilon 1e-12' in text
  # A recipe of other numbers is told so; other heads are no model at all.
  model = {**models.find('vit').TINY, 'epsilon': 1e-6}
  notes = ' '.join(load_weights.load_path(path, 'vit', model=model).notes)
  assert 'epsilon 1e-12 and the model has 1e-06' in notes
  with pytest.raises(InputError, match='heads'):
    load_weights.load_path(path, 'vit', model={**model, 'heads': 8})


def test_labels_are_left_out_where_the_head_is_not_theirs(tmp_path):
  _, _, state = saved('vit', 'hf')
  path = export.write(tmp_path / 'model.safetensors', state, to='safetensors')
  hub_config(path)
  assert load_weights.load_path(path, 'vit', head='new').labels == ()
  assert load_weights.load_path(path, 'vit', classes=9).labels == ()
  hub_config(path, id2label={'0': 'ape'})
  imported = load_weights.load_path(path, 'vit')
  assert imported.labels == ()
  assert any('names 1 classes' in note for note in imported.notes)
  hub_config(path, id2label={str(i): f'LABEL_{i}' for i in range(3)})
  assert load_weights.load_path(path, 'vit').labels == ()


def test_a_config_of_another_model_is_not_asked(tmp_path):
  _, _, state = saved('vit', 'hf')
  path = export.write(tmp_path / 'model.safetensors', state, to='safetensors')
  hub_config(path, model_type='timesformer')
  assert load_weights.load_path(path, 'vit', heads=2).labels == ()
  (tmp_path / 'config.json').write_text('{')
  with pytest.raises(InputError, match=r'config\.json.*not JSON'):
    load_weights.load_path(path, 'vit')


# --- The families' own extras


@pytest.mark.parametrize('wanted', [True, False])
def test_dualformer_s_token_head_is_kept_where_the_model_has_one(wanted):
  model, variables, state = saved('dualformer', token_head=True)
  _, _, teacher = saved('dualformer')
  state |= {f'teacher.{key}': array for key, array in teacher.items()}
  fields = {**fields_of(model, 'dualformer'), 'token_head': wanted}
  imported = load_weights.load_file(
    held(state), 'dualformer', model=fields, clip=clip_of('dualformer')
  )
  dropped = {k for k in imported.report.dropped if 'num_batches' not in k}
  assert {k for k in dropped if k.startswith('teacher.')} == {
    f'teacher.{k}' for k in teacher if 'num_batches' not in k
  }
  tokens = {k for k in state if 'cls_head.token_linear' in k}
  assert len(tokens) == 6
  assert (dropped & tokens == set()) == wanted
  assert all(imported.report.dropped.values())
  params = dict(variables['params'])
  if not wanted:
    del params['token_head']
  equal(imported, {**variables, 'params': params})


@pytest.mark.parametrize('rows', [8, 16])
def test_x_vit_s_tables_have_the_rows_that_the_file_has(rows):
  _, variables, state = saved('xvit', time_rows=rows)
  tiny = models.find('xvit').TINY
  imported = load_weights.load_file(
    held(state), 'xvit', model=tiny, clip=(16, 32, 32)
  )
  assert imported.model.time_rows == rows
  table = imported.variables['params']['time_pos']['table']
  np.testing.assert_array_equal(table, variables['params']['time_pos']['table'])


@pytest.mark.parametrize('name', ['release', 'hf'])
def test_a_timesformer_of_other_classes_has_a_new_head(name):
  model, variables, state = saved('timesformer', name)
  imported = load_weights.load_file(
    held(state),
    'timesformer',
    model=fields_of(model, 'timesformer'),
    classes=9,
    clip=clip_of('timesformer'),
  )
  assert set(imported.report.random) == {'head/kernel', 'head/bias'}
  assert len(imported.report.dropped) == 2
  assert all(
    '3 classes, not 9' in why for why in imported.report.dropped.values()
  )
  params = {k: v for k, v in variables['params'].items() if k != 'head'}
  equal(imported, {'params': params})
  assert imported.complete(jax.random.key(0))['params']['head'][
    'bias'
  ].shape == (9,)


def test_something_something_s_timesformer_is_turned_round_to_take_rgb():
  model = models.build(
    'timesformer', classes=174, **models.find('timesformer').TINY
  )
  video = (*clip_of('timesformer'), 3)
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    dict(apply.variable_shapes(model, video)),
  )
  _, state = export.name_tensors('timesformer', model, variables)
  kernel = variables['params']['patch']['kernel']

  def load(state, **options):
    return load_weights.load_file(
      held(state), 'timesformer', heads=2, **options
    )

  imported = load(state)
  turned = imported.variables['params']['patch']['kernel']
  np.testing.assert_array_equal(turned, kernel[..., ::-1, :])
  assert 'BGR' in imported.report.changed['patch/kernel']
  assert imported.pixels.order == 'RGB'  # what the model takes now
  # On the same pixels the answers are the same, in either order.
  pixels_BTHWC = rng.normal(size=(1, *video)).astype(np.float32)
  embed = lambda kernel: np.einsum(
    'THWC,HWCD->TD', pixels_BTHWC[0, :, :8, :8], kernel
  )
  bgr = np.einsum('THWC,HWCD->TD', pixels_BTHWC[0, :, :8, :8, ::-1], kernel)
  np.testing.assert_allclose(embed(turned), bgr, rtol=1e-5, atol=1e-4)
  # Everything but the kernel stays; a caller may know better.
  others = apply.flatten_variables(imported.variables)
  for path, array in apply.flatten_variables(variables).items():
    if path != 'patch/kernel':
      np.testing.assert_array_equal(others[path], array, err_msg=path)
  as_it_is = load(state, channels='RGB').variables['params']['patch']['kernel']
  np.testing.assert_array_equal(as_it_is, kernel)
  other = {k: v[:5] if '.head.' in k else v for k, v in state.items()}
  kept = load(other).variables['params']['patch']['kernel']
  np.testing.assert_array_equal(kept, kernel)
  asked = load(other, channels='BGR').variables['params']['patch']['kernel']
  np.testing.assert_array_equal(asked, kernel[..., ::-1, :])


def test_focal_levels_that_differ_are_named():
  model, _, state = saved('focalnet')
  stages = len(model.levels)
  more = tuple(n + 1 for n in model.levels)
  tiny = {**models.find('video_focalnet').TINY, 'levels': more[:stages]}
  with pytest.raises(InputError, match='levels'):
    load_weights.load_file(held(state), 'video_focalnet', model=tiny)


def test_twins_starts_a_dualformer_and_the_report_says_how():
  twin, _, state = saved('twins_svt')
  fields = dict(
    widths=twin.widths,
    layers=twin.layers,
    heads=twin.heads,
    mlp_ratios=(2.0, 2.0),
    patterns=('LG', 'LG'),
    windows=((2, 3, 3),) * 2,
    fine=((2, 2, 2), ()),
    coarse=((1, 1, 1), ()),
    rates=(1,),
    built=(8, 32, 32),
  )
  imported = load_weights.load_file(
    held(state), 'dualformer', model=fields, classes=5, clip=(8, 32, 32)
  )
  assert {'head.weight', 'head.bias'} <= set(imported.report.dropped)
  assert all(imported.report.dropped.values())
  assert all(imported.report.random.values())
  used = {path for paths in imported.report.used.values() for path in paths}
  assert used
  assert set(imported.report.used) | set(imported.report.dropped) == set(state)
  filled = set(apply.flatten_variables(imported.variables)) | set(
    imported.report.random
  )
  assert filled == set(apply.flatten_variables(imported.target))


def test_vidtr_s_own_image_file_starts_every_scheme():
  tiny = {
    k: v
    for k, v in models.find('vidtr').TINY.items()
    if not k.startswith('pool')
  }
  width = tiny['width']
  same = ('layers', 'width', 'heads', 'mlp_ratio', 'patch')
  vit = models.build(
    'vit', classes=1, **{k: tiny[k] for k in same if k in tiny}
  )
  side = 4 * vit.patch
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    dict(apply.variable_shapes(vit, (1, side, side, 3))),
  )
  inflate = next(n for n in identify.list_namings('vit') if n.name == 'vidtr')
  del variables['params']['head']
  state = apply.save_variables(inflate.rules(vit), variables)
  assert state['conv_stem.weight'].ndim == 5
  for scheme in ('separable', 'joint'):
    imported = load_weights.load_file(
      held({f'module.{k}': v for k, v in state.items()}),
      'vidtr',
      model={**tiny, 'attention': scheme},
      classes=4,
      clip=(4, side, side),
    )
    assert {p.split('/')[0] for p in imported.report.random} == {'head'}
    assert set(imported.report.used) == {f'module.{k}' for k in state}
  assert width == variables['params']['class_token'].shape[-1]


# --- One line of Python


def test_load_gives_a_model_and_all_its_variables(tmp_path):
  model, variables, state = saved('vit', 'google')
  path = export.write(tmp_path / 'vit.npz', state, to='npz')
  again, loaded = vidmodels.weights.load('vit', path)
  assert fields_of(again, 'vit') == fields_of(model, 'vit')
  video = np.ones((1, *clip_of('vit'), 3), np.float32)
  np.testing.assert_allclose(
    again.apply(loaded, video), model.apply(variables, video), atol=1e-6
  )


def test_load_takes_a_recipe_and_warns_of_what_stays_random(tmp_path):
  from vidmodels.cli import recipe

  _, _, state = saved('vit', 'timm')
  tiny = models.find('vit').TINY
  path = export.write(tmp_path / 'vit.npz', state, to='npz')
  same = [f'--config.model.{k}={v}' for k, v in tiny.items()]
  config = recipe.load('timesformer', [s for s in same if 'patch' not in s]
                       + [f'--config.model.patch={tiny["patch"]}',
                          '--config.clip.frames=2',
                          '--config.clip.size=32'])  # fmt: skip
  with pytest.warns(UserWarning, match='does not fill .*random'):
    model, variables = vidmodels.weights.load(config, path, classes=5, seed=3)
  assert variables['params']['head']['bias'].shape == (5,)
  assert model.width == tiny['width']


def test_importing_the_package_is_cheap():
  import subprocess
  import sys

  code = "import sys, vidmodels.weights; assert 'jax' not in sys.modules"
  subprocess.run([sys.executable, '-c', code], check=True)


# --- The order of bytes


def test_big_endian_numbers_are_turned_where_the_file_says_so(tmp_path):
  model, variables, state = saved('vit')
  path = tmp_path / 'big.npz'
  np.savez(path, **{k: v.astype('>f4') for k, v in state.items()})
  imported = load_weights.load_path(path, 'vit', model=fields_of(model, 'vit'))
  equal(imported, variables)
  assert imported.variables['params']['norm']['scale'].dtype.isnative


def test_big_endian_numbers_where_nothing_says_so_are_told_for_what_they_are(
  tmp_path,
):
  model, _, state = saved('vit', width=64)
  rng = np.random.default_rng(3)
  state = {
    k: rng.normal(size=v.shape).astype(np.float32) for k, v in state.items()
  }
  fields = fields_of(model, 'vit')
  path = tmp_path / 'big.safetensors'
  turned = {k: v.byteswap() for k, v in state.items()}
  export.write(path, turned, to='safetensors')
  with pytest.raises(InputError, match='written big-endian; save it again'):
    load_weights.load_path(path, 'vit', model=fields)
  key = next(iter(state))
  broken = {**state, key: np.full_like(state[key], np.nan)}
  for value in (np.nan, np.inf):
    broken[key] = np.where(np.arange(broken[key].size) == 0, value, 1.0)
    broken[key] = np.float32(broken[key]).reshape(state[key].shape)
    with pytest.raises(InputError, match='damaged or its training diverged'):
      load_weights.load_file(held(broken), 'vit', model=fields)


# --- A model beside a file, by the file's names


@pytest.mark.parametrize(
  ('family', 'name', 'unread'),
  [
    ('timesformer', 'hf', 0),
    ('vit', 'google', 0),
    ('focalnet', 'hf', 0),
    ('dualformer', '', 1),
    ('i3d', 'slowfast', 12),
    ('xvit', '', 2),
  ],
)
def test_a_model_and_the_file_made_of_it_are_the_same(family, name, unread):
  model, variables, state = saved(family, name)
  both = diff.align_with_file(held(state), family, model, variables)
  assert diff.compare_tensors(both.ours, both.theirs) == []
  assert {*both.theirs, *both.unread} == set(state)
  # What published files have and nothing of ours fills is named with a reason.
  assert len(both.unread) == unread
  assert all(both.unread.values())
  key = next(k for k, x in both.theirs.items() if x.size)
  state = {**state, key: state[key] + 1}
  both = diff.align_with_file(held(state), family, model, variables)
  (row,) = diff.compare_tensors(both.ours, both.theirs)
  assert (row.key, row.kind, round(row.largest, 4)) == (key, 'values', 1)


def test_layers_in_one_array_are_compared_one_by_one_and_company_is_named():
  model, variables, state = saved('vit', 'big_vision', class_position=False)
  scanned = {'opt/0/count': np.ones(2, np.float32)}
  for key, array in state.items():
    if 'encoderblock' not in key:
      scanned[f'params/{key}'] = array
    elif 'encoderblock_0' in key:
      layers = [state[key.replace('_0/', f'_{i}/', 1)] for i in range(2)]
      scanned[f'params/{key.replace("_0/", "/", 1)}'] = np.stack(layers)
  both = diff.align_with_file(held(scanned), 'vit', model, variables)
  assert diff.compare_tensors(both.ours, both.theirs) == []
  assert len(both.theirs) == len(state) > len(scanned)
  assert list(both.unread) == ['opt/0/count']


def test_numbers_of_no_axis_are_compared():
  one, two = {'n': np.array(1.0)}, {'n': np.array(3.0, np.float32)}
  (row,) = diff.compare_tensors(one, two)
  assert (row.largest, row.relative) == (2, 2)
  assert (row.a_dtype, row.b_dtype) == ('float64', 'float32')
