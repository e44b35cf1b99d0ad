"""Image ViT weights by every publisher's names: all keys, shapes, answers."""

import pathlib

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_maps import vit as golden_vit

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights.formats.open_file import open_file

# Answers to one image of one model, whose weights are in many files beside it:
# not by `golden.every`, which leaves out a copy in a folder with more files.
CASES = [
  path
  for folder in golden.folders()
  for path in sorted(folder.rglob('*_expected.npz'))
  if golden.read_config(path).get('model') == 'vit'
]


def find_raw_files(case: pathlib.Path) -> list[pathlib.Path]:
  """The raw weight files of a case."""
  stem = case.name.removesuffix('expected.npz')
  files = sorted(case.parent.glob(f'{stem}*'))
  raw = [p for p in files if p.suffix in ('.npz', '.pth', '.safetensors')]
  return [p for p in raw if p.suffix != '.npz' or not golden.read_config(p)]


def test_the_hubs_default_epsilon_is_answered_too():
  assert CASES
  for case in CASES:
    config = golden.read_config(case)
    with np.load(case) as arrays:
      given, expected = arrays['input'], arrays['logits_hf_eps_1e_12']
    states = [dict(open_file(p).tensors) for p in find_raw_files(case)]
    assert len(states) >= 2
    state = next(s for s in states if not any('pre_logits' in k for k in s))
    model = golden_vit.model_of(config, state).clone(epsilon=1e-12)
    model, variables = golden.load_state('vit', model, state)
    got = model.apply(variables, golden_vit.video_of(config, given))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def small(**fields):
  fields = {**models.find('vit').TINY, **fields}
  model = models.build('vit', classes=3, **fields)
  video = jax.ShapeDtypeStruct((1, 1, 16, 16, 3), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)
  rng = np.random.default_rng(0)
  draw = lambda x: rng.normal(size=x.shape).astype(np.float32)
  return model, jax.tree.map(draw, shapes)


def save(variables, model, name: str = 'timm'):
  return golden.save_state('vit', model, variables, name)


def load(state, model):
  return golden.load_state('vit', model, state)[1]


@pytest.mark.parametrize(
  ('naming', 'fields'),
  [
    ('timm', {}),
    ('timm', {'distilled': True}),
    ('timm', {'pre_logits': True}),
    ('timm', {'qkv_bias': False}),
    ('hf', {}),
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
  again = load(save(variables, model, naming), model)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.parametrize(
  ('naming', 'fields'),
  [
    ('hf', {'pre_logits': True}),
    ('timm', {'class_position': False}),
    ('timm', {'distilled': True, 'class_position': False}),
  ],
  ids=str,
)
def test_rules_go_back_and_forth_for_models_that_shapes_do_not_tell(
  naming, fields
):
  from vidmodels.weights import vit_weights
  from vidmodels.weights.mapping import apply

  model, variables = small(**fields)
  rules = vit_weights.rules(naming)
  state = apply.save_variables(rules, variables)
  again = apply.load_variables(rules, state, model, video=(1, 16, 16, 3))
  jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.parametrize(
  ('naming', 'fields', 'message'),
  [
    ('big_vision', {}, 'class token has a position'),
    ('google', {'class_position': False}, 'class token has no position'),
    ('hf', {'distilled': True}, 'no key of the file stands for'),
  ],
)
def test_what_a_naming_has_no_name_for_is_not_written(naming, fields, message):
  model, variables = small(**fields)
  with pytest.raises(InputError, match=message):
    save(variables, model, naming)


NEW = (
  ('encoder.layer', 'layers'),
  ('attention.attention.query', 'attention.q_proj'),
  ('attention.attention.key', 'attention.k_proj'),
  ('attention.attention.value', 'attention.v_proj'),
  ('attention.output.dense', 'attention.o_proj'),
  ('intermediate.dense', 'mlp.fc1'),
  ('output.dense', 'mlp.fc2'),
)


def respell(key: str) -> str:
  for old, new in NEW:
    key = key.replace(old, new)
  return key


def test_the_hubs_newer_spelling_is_read_too():
  model, variables = small()
  state = save(variables, model, 'hf')
  newer = {respell(key): array for key, array in state.items()}
  assert len(set(newer) - set(state)) == 2 * 16  # all of two blocks
  again = load(newer, model)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_a_pooled_feature_is_dropped():
  model, variables = small(pre_logits=True)
  state = save(variables, model, 'hf')
  assert 'vit.pooler.dense.weight' in state
  params = dict(variables['params'])
  del params['pre_logits']
  again = load(state, model.clone(pre_logits=False))['params']
  jax.tree.map(np.testing.assert_array_equal, again, params)


def test_a_file_without_the_models_prefix_is_read():
  model, variables = small()
  state = save(variables, model, 'hf')
  bare = {key.removeprefix('vit.'): array for key, array in state.items()}
  jax.tree.map(np.testing.assert_array_equal, load(bare, model), variables)


def test_the_oldest_files_keep_the_patches_flat():
  model, variables = small()
  state = save(variables, model)
  key = 'patch_embed.proj.weight'
  state[key] = state[key].reshape(16, -1)
  jax.tree.map(np.testing.assert_array_equal, load(state, model), variables)
  state[key] = state[key][:, 1:]
  with pytest.raises(InputError, match=r'expected 3 x P x P'):
    load(state, model)


@pytest.mark.parametrize(
  ('change', 'fields', 'message'),
  [
    (lambda s: s.pop('pos_embed'), {}, 'of no family'),
    (lambda s: s.pop('norm.bias'), {}, 'norm/bias'),
    (lambda s: s.update(extra=s['norm.bias']), {}, 'extra'),
    (lambda s: s.pop('patch_embed.proj.weight'), {}, 'becomes patch/kernel'),
    (lambda s: None, {'distilled': True}, 'distilled_pos'),
    (lambda s: None, {'class_position': False}, 'pos_embed has shape'),
    (
      lambda s: s.update({'head.weight': s['head.weight'][1:]}),
      {},
      r'head\.weight has shape',
    ),
  ],
  ids=['table', 'missing', 'extra', 'patches', 'tokens', 'rows', 'classes'],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, fields, message):
  model, variables = small()
  state = save(variables, model)
  change(state)
  with pytest.raises(InputError, match=message):
    load(state, model.clone(**fields))


def test_queries_keys_and_values_are_not_mixed_up():
  model, variables = small()
  qkv = variables['params']['block_1']['attn']['qkv']
  hub = save(variables, model, 'hf')
  google = save(variables, model, 'google')
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
