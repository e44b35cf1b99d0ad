"""Image ViT weights by every publisher's names: all keys, shapes, answers."""

import functools
import json
import math
import pathlib
import re

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_maps import vit as golden_vit

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import vit_weights
from vidmodels.weights.formats.open_file import open_file

# Answers to one image of one model, whose weights lie beside in many files: not
# by `golden.every`, which leaves out a copy in a folder with more files.
CASES = [
  path
  for folder in golden.folders()
  for path in sorted(folder.rglob('*_expected.npz'))
  if golden.read_config(path).get('model') == 'vit'
]


def beside(case: pathlib.Path) -> list[pathlib.Path]:
  """The raw weight files of a case."""
  stem = case.name.removesuffix('expected.npz')
  files = sorted(case.parent.glob(f'{stem}*'))
  raw = [p for p in files if p.suffix in ('.npz', '.pth', '.safetensors')]
  return [p for p in raw if p.suffix != '.npz' or not golden.read_config(p)]


def arrays_of(path: pathlib.Path) -> dict[str, np.ndarray]:
  tensors = open_file(path).tensors
  return {key: np.asarray(tensors[key]) for key in tensors}


def wanted_of(case: pathlib.Path, before: bool) -> dict[str, np.ndarray]:
  """Each answer by the form of GELU."""
  name = 'logits_prelogits_head' if before else 'logits'
  with np.load(case) as arrays:
    return {
      'gelu': arrays[name],
      'gelu_tanh': arrays[f'{name}_tanh_gelu'],
    }


def test_one_model_answers_the_same_from_every_file_of_it():
  assert CASES
  for case in CASES:
    config = golden.read_config(case)
    files = beside(case)
    assert len(files) >= 2
    with np.load(case) as arrays:
      given = arrays['input']
    for path in files:
      state = arrays_of(path)
      before = any('pre_logits' in key for key in state)
      for activation, wanted in wanted_of(case, before).items():
        got = golden_vit.run(config, state, given, activation=activation)
        np.testing.assert_allclose(
          got.logits, wanted, rtol=0, atol=1e-5, err_msg=path.name
        )


def test_the_hubs_default_epsilon_is_answered_too():
  for case in CASES:
    config = golden.read_config(case)
    with np.load(case) as arrays:
      given, wanted = arrays['input'], arrays['logits_hf_eps_1e_12']
    states = map(arrays_of, beside(case))
    state = next(s for s in states if not any('pre_logits' in k for k in s))
    got = golden_vit.run(config, state, given, epsilon=1e-12)
    np.testing.assert_allclose(got.logits, wanted, rtol=0, atol=1e-5)


def manifests(shared) -> dict[str, dict]:
  folder = shared / 'manifests'
  files = [*folder.glob('vit_*.json'), *folder.glob('deit_*.json')]
  return {path.stem: json.loads(path.read_text()) for path in sorted(files)}


BLOCK = re.compile(r'(?:blocks\.|layer\.|encoderblock_)(\d+)')


def full_size(name: str, manifest: dict) -> dict:
  """The fields of the model that a manifest is for, by its name and keys."""
  size = re.search(r'_([sbl])(?=16|32|ase|arge|mall)', name)[1]
  sizes = {
    's': dict(width=384, heads=6),
    'b': dict(width=768, heads=12),
    'l': dict(width=1024, heads=16, layers=24),
  }
  keys = [key for key, _, _ in manifest['entries']]
  return dict(
    classes=manifest['config'].get('num_classes', 21843),
    patch=32 if re.search('patch32|[a-z]32', name) else 16,
    distilled='dist_token' in keys,
    pre_logits=any(key.startswith('pre_logits') for key in keys),
    class_position='pos_embedding' not in keys,
    **sizes[size],
  )


def block_of(key: str) -> int:
  found = BLOCK.search(key)
  return int(found[1]) if found else -1


def test_every_published_file_fills_the_full_size_model(shared):
  found = manifests(shared)
  assert len(found) >= 34
  for name, manifest in found.items():
    fields = full_size(name, manifest)
    shapes = {key: tuple(shape) for key, shape, _ in manifest['entries']}
    blocks = {}
    for key, shape in shapes.items():
      blocks.setdefault(block_of(key), set()).add((BLOCK.sub('', key), shape))
    rest = blocks.pop(-1)
    assert all(block == blocks[0] for block in blocks.values()), name
    assert len(blocks) == fields.get('layers', 12)
    assert len(rest) + sum(map(len, blocks.values())) == len(shapes)
    # All blocks are alike, so that two of them stand for all: converting sums
    # up every number of a file. Zeros of any shape take two bytes.
    model = models.build('vit', **{**fields, 'layers': 2})
    state = {
      key: np.broadcast_to(np.float16(0), shape)
      for key, shape in shapes.items()
      if block_of(key) < 2
    }
    assert vit_weights.image_of(state, model) == (224, 224, 3), name
    params = vit_weights.load(state, model)['params']
    assert jax.tree.map(np.shape, params) == shapes_of(model), name
    whole = shapes_of(models.build('vit', **fields))
    sizes = jax.tree.leaves(jax.tree.map(math.prod, whole, is_leaf=is_shape))
    assert sum(sizes) == manifest['num_params'], name


@functools.cache
def shapes_of(model) -> dict:
  video = jax.ShapeDtypeStruct((1, 1, 224, 224, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), video)
  return jax.tree.map(np.shape, variables['params'])


def is_shape(x) -> bool:
  return isinstance(x, tuple)


def small(**fields):
  fields = {**models.find('vit').TINY, **fields}
  model = models.build('vit', classes=3, **fields)
  video = jax.ShapeDtypeStruct((1, 1, 16, 16, 3), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)
  rng = np.random.default_rng(0)
  draw = lambda x: rng.normal(size=x.shape).astype(np.float32)
  return model, jax.tree.map(draw, shapes)


@pytest.mark.parametrize(
  ('naming', 'fields'),
  [
    ('timm', {}),
    ('timm', {'distilled': True}),
    ('timm', {'class_position': False}),
    ('timm', {'distilled': True, 'class_position': False}),
    ('timm', {'pre_logits': True}),
    ('timm', {'qkv_bias': False}),
    ('hf', {}),
    ('hf', {'pre_logits': True}),
    ('hf', {'qkv_bias': False}),
    ('google', {}),
    ('google', {'pre_logits': True}),
    ('big_vision', {'class_position': False}),
    ('big_vision', {'class_position': False, 'pre_logits': True}),
  ],
  ids=str,
)
def test_weights_are_written_and_read_by_every_name(naming, fields):
  model, variables = small(**fields)
  state = vit_weights.save(variables, model, naming)
  assert vit_weights.naming_of(state)[0] == naming
  again = vit_weights.load(state, model)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.parametrize(
  ('naming', 'fields', 'says'),
  [
    ('big_vision', {}, 'class token with a position'),
    ('google', {'class_position': False}, 'class token with no position'),
    ('hf', {'distilled': True}, 'no key of the file stands for'),
  ],
)
def test_what_a_naming_has_no_name_for_is_not_written(naming, fields, says):
  model, variables = small(**fields)
  with pytest.raises(InputError, match=says):
    vit_weights.save(variables, model, naming)


NEW = (
  ('encoder.layer', 'layers'),
  ('attention.attention.query', 'attention.q_proj'),
  ('attention.attention.key', 'attention.k_proj'),
  ('attention.attention.value', 'attention.v_proj'),
  ('attention.output.dense', 'attention.o_proj'),
  ('intermediate.dense', 'mlp.fc1'),
  ('output.dense', 'mlp.fc2'),
)


def respelt(key: str) -> str:
  for old, new in NEW:
    key = key.replace(old, new)
  return key


def test_the_hubs_newer_spelling_is_read_too():
  model, variables = small()
  state = vit_weights.save(variables, model, 'hf')
  newer = {respelt(key): array for key, array in state.items()}
  assert len(set(newer) - set(state)) == 2 * 16  # all of two blocks
  again = vit_weights.load(newer, model)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_a_pooled_feature_is_the_layer_before_the_head_or_dropped():
  model, variables = small(pre_logits=True)
  state = vit_weights.save(variables, model, 'hf')
  assert 'vit.pooler.dense.weight' in state
  params = dict(variables['params'])
  del params['pre_logits']
  again = vit_weights.load(state, model.clone(pre_logits=False))['params']
  jax.tree.map(np.testing.assert_array_equal, again, params)


def test_a_file_without_the_models_prefix_is_read():
  model, variables = small()
  state = vit_weights.save(variables, model, 'hf')
  bare = {key.removeprefix('vit.'): array for key, array in state.items()}
  again = vit_weights.load(bare, model)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_the_oldest_files_keep_the_patches_flat():
  model, variables = small()
  state = vit_weights.save(variables, model)
  key = 'patch_embed.proj.weight'
  state[key] = state[key].reshape(16, -1)
  again = vit_weights.load(state, model)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.parametrize(
  ('change', 'fields', 'says'),
  [
    (lambda s: s.pop('pos_embed'), {}, 'none of pos_embed'),
    (lambda s: s.pop('norm.bias'), {}, 'norm/bias'),
    (lambda s: s.update(extra=s['norm.bias']), {}, 'extra'),
    (lambda s: s.pop('patch_embed.proj.weight'), {}, 'is it a model'),
    (lambda s: None, {'distilled': True}, 'no square'),
    (lambda s: None, {'class_position': False}, 'no square'),
    (
      lambda s: s.update({'head.weight': s['head.weight'][1:]}),
      {},
      r'head\.weight has shape',
    ),
  ],
  ids=['table', 'missing', 'extra', 'patches', 'tokens', 'rows', 'classes'],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, fields, says):
  model, variables = small()
  state = vit_weights.save(variables, model)
  change(state)
  with pytest.raises(InputError, match=says):
    vit_weights.load(state, model.clone(**fields))


def test_queries_keys_and_values_are_not_mixed_up():
  model, variables = small()
  qkv = variables['params']['block_1']['attn']['qkv']
  hub = vit_weights.save(variables, model, 'hf')
  google = vit_weights.save(variables, model, 'google')
  for i, name in enumerate(('query', 'key', 'value')):
    key = f'vit.encoder.layer.1.attention.attention.{name}'
    kernel_DAd = qkv['kernel'][:, i]
    np.testing.assert_array_equal(
      hub[f'{key}.weight'], kernel_DAd.reshape(16, 16).T
    )
    np.testing.assert_array_equal(hub[f'{key}.bias'], qkv['bias'][i].ravel())
    key = f'Transformer/encoderblock_1/MultiHeadDotProductAttention_1/{name}'
    np.testing.assert_array_equal(google[f'{key}/kernel'], kernel_DAd)
    np.testing.assert_array_equal(google[f'{key}/bias'], qkv['bias'][i])
