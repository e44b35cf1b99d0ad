"""VidTr's files: every key and shape, and its start from an image model."""

import functools

import golden
import jax
import jax.numpy as jnp
import manifests
import numpy as np
import pytest

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import load_weights, vidtr_weights
from vidmodels.weights.mapping import apply

FILES = golden.every('vidtr')
VIT = {'layers': 2, 'width': 8, 'heads': 2, 'patch': 4, 'mlp_ratio': 2.0}


def assert_same(got, expected) -> None:
  assert set(got) == set(expected)
  for key in expected:
    np.testing.assert_array_equal(got[key], expected[key], err_msg=key)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'attention': 'space'}, "attention='space'"),
    ({'attention': 'axial'}, "attention='axial'"),
    ({'projections': 'separate'}, "projections='separate'"),
    ({'norms': 'both'}, "norms='both'"),
    ({'pool': 'conv', 'pool_layers': (0,)}, "pool='conv'"),
    ({'stem': 't2t', 'patch': 16}, "stem='t2t'"),
  ],
)
def test_what_was_never_released_has_no_names(fields, message):
  with pytest.raises(InputError, match=message):
    vidtr_weights.rules(models.build('vidtr', classes=6, **fields))


CHANGES = {
  'missing': (
    lambda s: s.pop('encoder.norm.bias'),
    'does not fill: norm/bias',
  ),
  'extra': (lambda s: s.update(more=s['fc.bias']), 'place for: more'),
  'no stem': (lambda s: s.pop('conv_stem.weight'), 'of no family'),
  'no positions': (lambda s: s.pop('pos_embedding'), 'of no family'),
  'classes': (
    lambda s: s.update({'fc.weight': s['fc.weight'][1:]}),
    r'fc\.weight has shape',
  ),
}


@functools.cache
def joint_file():
  path = next(path for name, path in FILES.items() if 'vanilla' in name)
  config, ours = golden.read_config(path), golden.maps()['vidtr']
  return golden.read_state(path), ours.model_of(config), ours.clip_of(config)


@pytest.mark.parametrize('change', CHANGES)
def test_a_file_that_does_not_fit_is_refused_by_name(change):
  state, model, clip = joint_file()
  state = dict(state)
  change_state, message = CHANGES[change]
  change_state(state)
  with pytest.raises(InputError, match=message):
    golden.load_state('vidtr', model, state, clip=clip)


def test_a_joint_table_is_for_any_clip_with_as_many_places():
  state, model, clip = joint_file()  # 4 frames of 4 x 4 patches
  T, H, W = clip
  for other in ((T, H * 2, W // 2), (T * 4, H // 2, W // 2)):
    _, variables = golden.load_state('vidtr', model, state, clip=other)
    table = variables['params']['tokens']['patch_pos']['table']
    P = model.patch
    assert table.shape[:3] == (other[0], other[1] // P, other[2] // P)
    np.testing.assert_array_equal(
      table.reshape(-1, table.shape[-1]), state['pos_embedding'][0, 1:]
    )


# --- From an image model


def image(side: int = 3, patch: int = 4, **more) -> dict[str, np.ndarray]:
  """An image ViT by timm's names, no two numbers of it alike."""
  D, F = 8, 16
  shapes = {
    'cls_token': (1, 1, D),
    'pos_embed': (1, 1 + side**2, D),
    'patch_embed.proj.weight': (D, 3, patch, patch),
    'patch_embed.proj.bias': (D,),
    'norm.weight': (D,),
    'norm.bias': (D,),
    'head.weight': (5, D),
    'head.bias': (5,),
  }
  for i in range(2):
    shapes |= {
      f'blocks.{i}.{name}': shape
      for name, shape in {
        'norm1.weight': (D,),
        'norm1.bias': (D,),
        'attn.qkv.weight': (3 * D, D),
        'attn.qkv.bias': (3 * D,),
        'attn.proj.weight': (D, D),
        'attn.proj.bias': (D,),
        'norm2.weight': (D,),
        'norm2.bias': (D,),
        'mlp.fc1.weight': (F, D),
        'mlp.fc1.bias': (F,),
        'mlp.fc2.weight': (D, F),
        'mlp.fc2.bias': (D,),
      }.items()
    }
  rng = np.random.default_rng(0)
  draw = lambda shape: np.float32(0.5 * rng.normal(size=shape))
  return {key: draw(shape) for key, shape in (shapes | more).items()}


def own_names(state) -> dict[str, np.ndarray]:
  """The same image ViT as the file that the authors start from has it."""
  renamed = {
    'cls_token': 'cls',
    'pos_embed': 'pos_embedding',
    'patch_embed.proj': 'conv_stem',
    'blocks': 'encoder.layers',
    'attn.qkv.weight': 'self_attn.in_proj_weight',
    'attn.qkv.bias': 'self_attn.in_proj_bias',
    'attn.proj': 'self_attn.out_proj',
    'mlp.fc': 'linear',
    'head': 'fc',
  }
  made = {}
  for key, array in state.items():
    for old, new in renamed.items():
      key = key.replace(old, new)
    key = f'encoder.{key}' if key.startswith('norm.') else key
    made[key] = array[:, :, None] if key == 'conv_stem.weight' else array
  return made


def model_of(**more):
  return models.build('vidtr', classes=6, **{**VIT, **more})


SCHEMES = [
  {},
  {'attention': 'joint'},
  {'attention': 'space'},
  {'attention': 'axial'},
  {'attention': 'merged', 'joint_from': 1},
  {
    'attention': 'merged',
    'joint_from': 1,
    'pool': 'top_k',
    'pool_layers': (0,),
    'pool_drop': (2,),
  },
  {'pool': 'conv', 'pool_layers': (0,)},
  {'projections': 'separate', 'norms': 'both', 'positions': 'tokens'},
  {'projections': 'separate', 'attention': 'axial'},
  {'patch_frames': 2},
]
ids = lambda fields: ' '.join(map(str, fields.values())) or 'separable'


def started(fields, state=None, frames: int = 4):
  """A model and its variables: an image's, and the rest as it is drawn."""
  model, report = model_of(**fields), apply.KeyReport()
  made = vidtr_weights.start_from_state(
    image() if state is None else state, model, frames=frames, report=report
  )
  video = jax.ShapeDtypeStruct((1, frames, 12, 12, 3), jnp.float32)
  shapes = apply.flatten_variables(
    jax.eval_shape(model.init, jax.random.key(0), video)
  )
  made, rng = apply.flatten_variables(made), np.random.default_rng(3)
  assert set(made) | set(report.random) == set(shapes)
  for path in report.random:
    if path.endswith('pool/kernel'):
      taps = np.asarray([0, 0.5, 0.5], np.float32)
      made[path] = taps[:, None, None] * np.eye(8, dtype=np.float32)
    elif path.startswith('head/'):
      made[path] = np.float32(rng.normal(size=shapes[path].shape))
    else:
      made[path] = np.full(shapes[path].shape, path.endswith('scale'), 'f4')
  return model, apply.unflatten_variables(made)


# Orders of four frames that no fresh model tells apart, and orders that it
# does. Top-K keeps frames place by place, in order, so that another order puts
# other frames side by side; backwards it is the same ones. Pools of pairs and
# patches of two frames know which two go together.
BACKWARDS, MIXED, PAIRS = (3, 2, 1, 0), (2, 0, 3, 1), (2, 3, 0, 1)


@pytest.mark.parametrize('fields', SCHEMES, ids=ids)
@pytest.mark.fast_every(4)
def test_a_model_started_from_an_image_cannot_tell_the_order_of_frames(fields):
  model, variables = started(fields)
  rng = np.random.default_rng(1)
  video = np.float32(rng.normal(size=(4, 12, 12, 3)))
  still = np.broadcast_to(video[:1], video.shape)
  orders = (BACKWARDS, MIXED, PAIRS)
  clips = np.stack([video, still, *(video[list(o)] for o in orders)])
  plain, still, backwards, mixed, pairs = jax.jit(model.apply)(variables, clips)
  near = lambda a, b: float(abs(a - b).max()) < 4e-6
  assert not near(plain, still)
  pool = fields.get('pool')
  assert near(plain, backwards)
  assert near(plain, mixed) == (not pool and 'patch_frames' not in fields)
  assert near(plain, pairs) == (pool != 'top_k')


def test_space_attention_started_from_an_image_is_the_image_model():
  # With every frame by itself and no position in the stream nothing but the
  # activation, the epsilon and where positions enter tells it from a ViT.
  state = image()
  fields = {'attention': 'space', 'positions': 'tokens', 'activation': 'gelu'}
  model, variables = started(fields, state)
  rng = np.random.default_rng(1)
  frame = jnp.asarray(rng.normal(size=(1, 1, 12, 12, 3)), jnp.float32)
  run = jax.jit(functools.partial(model.apply, method='features'))
  y_BD = run(variables, frame)
  np.testing.assert_allclose(y_BD[0], _vit(state, frame[0, 0]), atol=1e-5)


def _vit(state, frame_HWC) -> np.ndarray:
  """A plain image ViT, epsilon 1e-5, in numpy."""
  from math import erf

  P, A = 4, 2
  patches = frame_HWC.reshape(3, P, 3, P, 3).transpose(0, 2, 4, 1, 3)
  kernel = state['patch_embed.proj.weight']
  x = patches.reshape(9, -1) @ kernel.reshape(8, -1).T
  x = np.concatenate(
    [state['cls_token'][0], x + state['patch_embed.proj.bias']]
  )
  x = x + state['pos_embed'][0]

  def norm(x, key):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(
      x.var(-1, keepdims=True) + 1e-5
    )
    return x * state[f'{key}.weight'] + state[f'{key}.bias']

  dense = lambda x, key: x @ state[f'{key}.weight'].T + state[f'{key}.bias']
  for i in range(2):
    b = f'blocks.{i}'
    qkv = dense(norm(x, f'{b}.norm1'), f'{b}.attn.qkv')
    q, k, v = qkv.reshape(-1, 3, A, 4).transpose(1, 2, 0, 3)
    p = np.exp(q @ k.transpose(0, 2, 1) / 2)
    y = (p / p.sum(-1, keepdims=True)) @ v
    x = x + dense(y.transpose(1, 0, 2).reshape(-1, 8), f'{b}.attn.proj')
    h = dense(norm(x, f'{b}.norm2'), f'{b}.mlp.fc1')
    h = h * 0.5 * (1 + np.vectorize(erf)(h / np.sqrt(2)))
    x = x + dense(h, f'{b}.mlp.fc2')
  return norm(x, 'norm')[0]


@pytest.mark.parametrize('fields', [{}, {'attention': 'joint'}], ids=ids)
def test_both_namings_of_an_image_give_the_same_start(fields):
  timm = vidtr_weights.start_from_state(image(), model_of(**fields), frames=4)
  own = own_names(image())
  again = vidtr_weights.start_from_state(own, model_of(**fields), frames=4)
  assert_same(apply.flatten_variables(again), apply.flatten_variables(timm))


@pytest.mark.slow
def test_the_full_size_image_file_starts_every_released_model(shared):
  file = manifests.file(
    shared / 'manifests' / 'vidtr_vit_inflate_inferred.json'
  )
  for fields in ({}, {'attention': 'joint'}):
    imported = load_weights.load_file(
      file, 'vidtr', model=fields, classes=400, clip=(8, 224, 224)
    )
    assert set(imported.report.random) == {'head/kernel', 'head/bias'}
    assert set(imported.report.used) == set(file.tensors)


def test_class_tokens_and_positions_are_repeated_as_released():
  state = image()
  cls, pos = state['cls_token'][0, 0], state['pos_embed'][0]
  tokens = vidtr_weights.start_from_state(state, model_of(), frames=4)
  tokens = tokens['params']['tokens']
  assert tokens['class_pos']['table'].shape == (5, 8)
  assert (tokens['class_pos']['table'] == pos[0]).all()
  table = tokens['patch_pos']['table']
  assert table.shape == (5, 3, 3, 8)
  assert (table == pos[1:].reshape(3, 3, 8)).all()
  assert (tokens['space_class']['table'] == cls).all()
  assert (tokens['time_class']['table'] == cls).all()


def test_an_axial_table_has_the_class_position_on_every_border():
  state = image()
  made = vidtr_weights.start_from_state(
    state, model_of(attention='axial'), frames=2
  )
  table = made['params']['tokens']['patch_pos']['table']
  pos = state['pos_embed'][0]
  assert table.shape == (3, 4, 4, 8)
  for border in (table[0], table[:, 0], table[:, :, 0]):
    assert (border == pos[0]).all()
  assert (table[1:, 1:, 1:] == pos[1:].reshape(3, 3, 8)).all()


@pytest.mark.parametrize('cubic', ['mean', 'centre'])
def test_a_cubic_patch_of_a_still_clip_starts_as_the_image_patch(cubic):
  state, model = image(), model_of(patch_frames=2)
  made = vidtr_weights.start_from_state(state, model, frames=4, cubic=cubic)
  kernel = made['params']['patch']['kernel']
  square = np.moveaxis(state['patch_embed.proj.weight'], (1, 0), (-2, -1))
  assert kernel.shape == (2, 4, 4, 3, 8)
  np.testing.assert_allclose(kernel.sum(0), square, rtol=1e-6)
  assert (kernel[0] == 0).all() == (cubic == 'centre')


def test_separate_projections_all_start_as_the_image_attention():
  made = vidtr_weights.start_from_state(
    image(), model_of(projections='separate'), frames=4
  )
  layer = made['params']['layer_1']
  rows = image()['blocks.1.attn.qkv.weight']
  for name in ('time_attn', 'space_attn'):
    kernel = layer[name]['qkv']['kernel']
    np.testing.assert_array_equal(kernel.reshape(8, -1).T, rows)


def t2t_image() -> dict[str, np.ndarray]:
  """T2T-ViT by its authors' names, small but for its front end."""
  state = image(side=2)
  del state['patch_embed.proj.weight'], state['patch_embed.proj.bias']
  for i in range(2):
    del state[f'blocks.{i}.attn.qkv.bias']
  rng, key = np.random.default_rng(5), 'tokens_to_token'
  shapes = {f'{key}.project.weight': (8, 576), f'{key}.project.bias': (8,)}
  for i, D in ((1, 147), (2, 576)):
    a = f'{key}.attention{i}'
    shapes |= {f'{a}.w': (32, 64), f'{a}.kqv.weight': (192, D)}
    shapes |= {f'{a}.kqv.bias': (192,), f'{a}.norm1.weight': (D,)}
    shapes |= {f'{a}.norm1.bias': (D,), f'{a}.norm2.weight': (64,)}
    shapes |= {f'{a}.norm2.bias': (64,)}
    for part in ('proj', 'mlp.0', 'mlp.2'):
      shapes |= {f'{a}.{part}.weight': (64, 64), f'{a}.{part}.bias': (64,)}
  draw = lambda shape: np.float32(0.1 * rng.normal(size=shape))
  return state | {k: draw(shape) for k, shape in shapes.items()}


def test_t2t_vit_starts_a_model_with_its_stem():
  model, report = model_of(stem='t2t', patch=16), apply.KeyReport()
  state = t2t_image()
  made = vidtr_weights.start_from_state(state, model, frames=4, report=report)
  assert {p for p in report.random if not p.startswith('head/')} == {
    f'layer_{i}/attn/qkv/bias' for i in range(2)
  }
  kept = made['batch_stats']['t2t']['mixer_2']['features']
  np.testing.assert_array_equal(kept, state['tokens_to_token.attention2.w'])


@pytest.mark.parametrize('fields', [{}, {'attention': 'axial'}], ids=ids)
def test_a_t2t_vit_s_file_starts_a_model_as_a_recipe_asks(fields):
  state = t2t_image()
  options = dict(classes=6, clip=(4, 32, 32))
  model = {name: getattr(model_of(), name) for name in ('layers', 'width')}
  model |= {'heads': 2, 'mlp_ratio': model_of().mlp_ratio, **fields}
  file = manifests.held(state)
  imported = load_weights.load_file(
    file, 'vidtr', model={**model, 'stem': 't2t', 'patch': 16}, **options
  )
  wanted = vidtr_weights.start_from_state(state, imported.model, frames=4)
  assert_same(
    apply.flatten_variables(imported.variables),
    apply.flatten_variables(wanted),
  )
  assert {p for p in imported.report.random if p.startswith('head')}
  assert set(imported.report.used) | set(imported.report.dropped) == set(state)
  # The recipe for patches is told which one takes such a file.
  with pytest.raises(InputError, match=r"stem='patch'.*--config=vidtr:t2t"):
    load_weights.load_file(
      file, 'vidtr', model={**model, 'patch': 16}, **options
    )


def test_an_image_of_another_kind_is_refused():
  with pytest.raises(InputError, match='without pos_embed, whose keys start'):
    vidtr_weights.start_from_state(
      {'conv1.weight': np.ones(2)}, model_of(), frames=4
    )
  wide = image(**{'pos_embed': (1, 11, 8)})
  with pytest.raises(InputError, match='10 patches'):
    vidtr_weights.start_from_state(wide, model_of(), frames=4)


IMAGES = {
  'plain': {},
  'distilled': {'distilled': True},
  'position in the token': {'class_position': False},
  'a layer before the head': {'pre_logits': True},
}


@pytest.mark.parametrize('name', IMAGES)
def test_an_image_vit_of_ours_starts_a_model_as_its_file_does(name):
  fields, video = {**VIT, **IMAGES[name]}, (4, 12, 12, 3)
  vit = models.build('vit', classes=5, **fields)
  shapes = jax.eval_shape(vit.init, jax.random.key(0), jnp.zeros((1, *video)))
  rng = np.random.default_rng(0)
  draw = lambda x: np.float32(rng.normal(size=x.shape))
  variables = jax.tree.map(draw, shapes)
  report, model = apply.KeyReport(), model_of()
  made = vidtr_weights.start_from_image(variables, vit, model, video, report)
  assert set(report.random) == {'head/kernel', 'head/bias'}
  ours, theirs = (
    apply.flatten_variables(made),
    apply.flatten_variables(variables),
  )
  assert set(ours) | set(report.random) == set(
    apply.flatten_variables(
      jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *video)))
    )
  )
  copied = ('layer_', 'patch/', 'norm/')
  for path, array in ours.items():
    if path.startswith(copied):
      source = theirs[path.replace('layer_', 'block_')]
      np.testing.assert_array_equal(array, source, err_msg=path)
  assert (ours['tokens/class_token'] == theirs['class_token']).all()
  first = theirs.get('class_pos', np.zeros(8))
  assert (ours['tokens/class_pos/table'] == first).all()
  assert (ours['tokens/patch_pos/table'] == theirs['space_pos/table']).all()
  # Nothing of the image model is lost without a word.
  left = set(theirs) - {path.replace('layer_', 'block_') for path in ours}
  assert left - set(report.dropped) == (
    {'class_token', 'class_pos', 'space_pos/table'} & set(theirs)
  )
  assert ('tokens/class_pos/table' in report.changed) == (
    name == 'position in the token'
  )


@pytest.mark.parametrize(
  ('image', 'fields', 'message'),
  [
    ({'width': 16}, {}, 'width=8 for the video model; .* try width=16'),
    ({'layers': 3}, {}, 'layers=3'),
    ({'qkv_bias': False}, {}, 'qkv_bias=False'),
    ({'patch': 16}, {'stem': 't2t', 'patch': 16}, "stem='t2t'"),
  ],
)
def test_an_image_vit_that_does_not_fit_is_refused(image, fields, message):
  vit = models.build('vit', classes=5, **{**VIT, **image})
  video, report = (4, 12, 12, 3), apply.KeyReport()
  with pytest.raises(InputError, match=message):
    vidtr_weights.start_from_image({}, vit, model_of(**fields), video, report)
