"""VidTr: who sees whom, what pooling leaves, and what each field changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vidmodels import models
from vidmodels.models import vidtr
from vidmodels.typing import InputError

MERGED = {'attention': 'merged', 'joint_from': 2}
S = {'pool': 'top_k', 'pool_layers': (0, 1), 'pool_drop': (1, 1)}


def normal(seed: int, *shape: int) -> np.ndarray:
  return np.float32(np.random.default_rng(seed).normal(size=shape))


def tiny(**more) -> vidtr.Model:
  return models.build('vidtr', classes=5, **{**vidtr.TINY, **more})


def clip(frames: int = 4, batch: int = 2) -> np.ndarray:
  return normal(3, batch, frames, 16, 16, 3)


@functools.cache
def shapes_of(model, frames: int = 4):
  return jax.eval_shape(model.init, jax.random.key(0), clip(frames))


def variables_of(model, frames: int = 4):
  """Parameters away from their start, so that no path is closed."""
  rng = np.random.default_rng(9)

  def draw(path, leaf):
    middle = 1.0 if path[-1].key == 'scale' else 0.0
    return np.float32(middle + 0.3 * rng.normal(size=leaf.shape))

  return jax.tree_util.tree_map_with_path(draw, shapes_of(model, frames))


def features(model, variables, video):
  run = functools.partial(model.apply, method='features')
  return jax.jit(run)(variables, video)


def intermediates(model, variables, video):
  run = functools.partial(model.apply, mutable='intermediates')
  return jax.jit(run)(variables, video)[1]['intermediates']


@pytest.mark.parametrize(
  'fields',
  [
    {'attention': 'space'},
    {},
    {'attention': 'joint'},
    {'attention': 'axial'},
    MERGED,
    {**MERGED, **S},
    {'projections': 'separate'},
  ],
  ids=str,
)
@pytest.mark.fast_every(3)
def test_only_space_attention_is_blind_to_the_order_of_frames(fields):
  model = tiny(**fields)
  both = np.concatenate([clip(), clip()[:, [2, 0, 3, 1]]])
  y_BD = features(model, variables_of(model), both)
  moved = float(abs(y_BD[:2] - y_BD[2:]).max())
  if fields.get('attention') == 'space':
    assert moved < 1e-5
  else:
    assert moved > 1e-2


def test_space_attention_answers_the_mean_of_its_frames():
  model = tiny(attention='space')
  variables = variables_of(model)
  whole = features(model, variables, clip())
  frames = features(model, variables, clip().reshape(8, 1, 16, 16, 3))
  np.testing.assert_allclose(whole, frames.reshape(2, 4, -1).mean(1), atol=1e-5)


POOLS = [
  ((1, 3, 5), {'pool_drop': (2, 2, 2)}, 8, [8, 6, 6, 4, 4, 2]),
  ((1, 2, 4), {'pool_keep': (6, 4, 2)}, 8, [8, 6, 4, 4, 2]),
  ((1, 2, 4), {'pool_keep': (6, 4, 2)}, 11, [11, 6, 4, 4, 2]),
  ((1, 2, 4), {'pool_drop': (8, 4, 2)}, 16, [16, 8, 4, 4, 2]),
  ((1, 2, 4), {'pool_drop': (2, 2, 2)}, 12, [12, 10, 8, 8, 6]),
  ((1, 2, 4), {'pool': 'average'}, 8, [8, 4, 2, 2, 1]),
  ((1, 2, 4), {'pool': 'conv'}, 16, [16, 8, 4, 4, 2]),
]


@pytest.mark.parametrize('merged', [True, False])
@pytest.mark.parametrize(('layers', 'fields', 'frames', 'left'), POOLS)
@pytest.mark.slow
def test_frames_get_fewer_layer_by_layer(layers, fields, frames, left, merged):
  scheme = {'attention': 'merged'}
  model = tiny(
    **{'layers': 7, 'pool': 'top_k', 'pool_layers': layers, **fields},
    **(scheme if merged else {}),
  )
  run = functools.partial(model.apply, mutable='intermediates')
  video = clip(frames)
  _, kept = jax.eval_shape(run, shapes_of(model, frames), video)
  rows = [
    kept['intermediates'][f'layer_{i}']['tokens'][0][0].shape for i in range(7)
  ]
  lead, N = (0, 4) if merged else (1, 5)
  split = len(left)
  assert rows[:split] == [(2, lead + t, N, 16) for t in left]
  last = (2, 1 + left[-1] * 4, 16) if merged else rows[split - 1]
  assert rows[split:] == [last] * (7 - split)


def test_a_clip_that_is_too_short_for_the_pool_is_refused():
  model = tiny(**MERGED, pool='top_k', pool_layers=(0, 1), pool_keep=(3, 2))
  with pytest.raises(
    InputError, match='got 2 frames in a layer that is to keep 3'
  ):
    shapes_of(model, 2)
  model = tiny(pool='average', pool_layers=(0, 1))
  with pytest.raises(InputError, match='got 3 frames in a layer that makes'):
    shapes_of(model, 6)


@functools.cache
def seen_by_layer(**fields):
  """Per layer, how much the class token depends on each frame of a clip."""
  model, video = tiny(**fields), clip(batch=1)
  variables = variables_of(model)

  def cls(video):
    _, kept = model.apply(variables, video, mutable='intermediates')
    rows = []
    for i in range(model.layers):
      grid, cls_BLD = kept['intermediates'][f'layer_{i}']['tokens'][0]
      y_BLD = grid[:, :1] if cls_BLD is None else cls_BLD
      rows.append((y_BLD * normal(4, 16)).sum())
    return jnp.stack(rows)

  grad = jax.jit(jax.jacrev(cls))(video)
  return np.asarray(abs(grad).sum((1, 3, 4, 5)))


@pytest.mark.slow
def test_a_waiting_class_token_sees_no_patch_before_the_first_joint_layer():
  seen = seen_by_layer(**MERGED, **S)
  assert (seen[:2] == 0).all()
  # Every frame, even with two of four left: the kept ones have seen them.
  assert (seen[2] > 1e-4).all()


def test_a_waiting_class_token_gets_its_own_norm_as_released():
  model = tiny(**MERGED)
  variables = variables_of(model)
  kept = intermediates(model, variables, clip())
  p = variables['params']
  own = p['tokens']['class_token']
  norm = lambda x, of: (
    (x - x.mean()) / np.sqrt(x.var() + 1e-5) * of['scale'] + of['bias']
  )
  for i in range(2):
    layer = p[f'layer_{i}']
    pos = p['tokens']['class_pos']['table'] if i == 0 else 0
    own = own + norm(own, layer['attn_norm']) + pos
    up, down = layer['mlp']['up'], layer['mlp']['down']
    h = norm(own, layer['mlp_norm']) @ up['kernel'] + up['bias']
    own = own + np.maximum(h, 0) @ down['kernel'] + down['bias']
    np.testing.assert_allclose(
      kept[f'layer_{i}']['tokens'][0][1][0, 0], own, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
  ('positions', 'fields'),
  [
    ('first', {}),
    ('every', {}),
    ('tokens', MERGED),
    ('every', MERGED),
    ('first', {'attention': 'joint'}),
  ],
)
@pytest.mark.fast_every(3)
def test_positions_are_added_where_the_field_says(fields, positions):
  model = tiny(**fields, positions=positions)
  variables = variables_of(model)

  def by_hand(model, video):
    patches = model.patch_embed(video)
    tokens = model.class_grid(patches)
    grid, cls, pos = tokens
    if positions == 'tokens':
      grid, cls = grid + pos[0], cls if cls is None else cls + pos[1]
      pos = None
    tokens = vidtr.Tokens(grid, cls, pos)
    for i, layer in enumerate(model.all_layers):
      if i == {'merged': 2, 'joint': 0}.get(model.attention):
        tokens = vidtr.flatten_tokens(tokens)
      if i and positions == 'first':
        tokens = tokens._replace(pos=None)
      tokens = layer(*tokens, False)
    return model.norm(tokens.grid[(slice(None), *[0] * (tokens.grid.ndim - 2))])

  run = jax.jit(functools.partial(model.apply, method=by_hand))
  wanted = run(variables, clip())
  np.testing.assert_allclose(
    features(model, variables, clip()), wanted, atol=1e-5
  )


def dropouts(model, train: bool = True):
  """(path, rate) of every dropout that is called."""
  found = []

  def watch(call, args, kwargs, context):
    called = context.method_name == '__call__'
    if called and isinstance(context.module, nn.Dropout):
      path = '/'.join(context.module.path)
      off = context.module.deterministic or kwargs.get('deterministic')
      found.append((path, 0.0 if off else context.module.rate))
    return call(*args, **kwargs)

  variables, rngs = shapes_of(model), {'dropout': jax.random.key(1)}
  run = functools.partial(model.apply, train=train, rngs=rngs)
  with nn.intercept_methods(watch):
    jax.eval_shape(run, variables, clip())
  return found


def test_dropout_is_where_the_release_has_it():
  found = dropouts(tiny())
  in_layer = [rate for path, rate in found if path.startswith('layer_1')]
  # Two maps, what attention says, hidden units, what the perceptron says.
  assert in_layer == [0.1] * 5
  assert found[-1] == ('drop', 0.5)
  assert {rate for _, rate in dropouts(tiny(), train=False)} == {0.0}
  pooled = dropouts(tiny(**MERGED, **S))
  counts = [
    sum(path.startswith(f'layer_{i}') for path, _ in pooled) for i in range(3)
  ]
  # No dropout on the map that chooses; a class token of its own has three more.
  assert counts == [4 + 3, 4 + 3, 4]


def test_training_needs_a_key_and_evaluation_does_not():
  model = tiny()
  with pytest.raises(Exception, match='dropout'):
    jax.eval_shape(
      functools.partial(model.apply, train=True), shapes_of(model), clip()
    )


@pytest.mark.parametrize(
  ('fields', 'switch', 'text', 'times'),
  [
    # Layers after the pool are alike and run as one scan.
    ({**MERGED, **S, 'layers': 5}, 'scan', ' scan[', 1),
    ({**MERGED, **S}, 'remat', ' remat2[', 3),
    ({'positions': 'every'}, 'scan', ' scan[', 1),
  ],
  ids=['pool scan', 'pool remat', 'positions scan'],
)
@pytest.mark.slow
def test_remat_and_scan_run_what_they_can_and_change_nothing(
  fields, switch, text, times
):
  model = tiny(**fields)
  variables = variables_of(model)
  other = model.clone(**{switch: True})
  plain = features(model, variables, clip())
  np.testing.assert_allclose(
    features(other, variables, clip()), plain, atol=2e-5
  )
  program = str(jax.make_jaxpr(other.apply)(variables, clip()))
  assert program.count(text) == times


# The authors' constructors at full size.
COUNTS = [
  ({}, (8, 224, 224), 87_473_296),
  ({'positions': 'every'}, (16, 224, 224), 88_689_808),
  ({}, (32, 224, 224), 91_122_832),
  ({'attention': 'joint'}, (8, 224, 224), 87_159_952),
  (
    {
      'attention': 'merged',
      'pool': 'top_k',
      'pool_layers': (1, 3, 5),
      'pool_drop': (2, 2, 2),
    },
    (8, 224, 224),
    87_159_952,
  ),
  (
    {
      'attention': 'merged',
      'joint_from': 5,
      'pool': 'top_k',
      'pool_layers': (1, 2, 4),
      'pool_drop': (8, 4, 2),
    },
    (16, 224, 224),
    88_364_176,
  ),
]


@pytest.mark.parametrize(('fields', 'sizes', 'wanted'), COUNTS)
@pytest.mark.slow
def test_full_size_models_have_the_authors_number_of_parameters(
  fields, sizes, wanted
):
  model = models.build('vidtr', classes=400, **fields)
  video = jax.ShapeDtypeStruct((1, *sizes, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), video)['params']
  assert sum(x.size for x in jax.tree.leaves(params)) == wanted


@pytest.mark.parametrize('activation', ['relu', 'gelu'])
@pytest.mark.slow
def test_full_size_models_use_the_activation_and_epsilon_of_the_release(
  activation,
):
  model = models.build('vidtr', classes=400, activation=activation)
  video = jax.ShapeDtypeStruct((1, 8, 224, 224, 3), jnp.float32)
  norms = []

  def watch(call, args, kwargs, context):
    if isinstance(context.module, nn.LayerNorm):
      norms.append((context.module.epsilon, context.module.use_fast_variance))
    return call(*args, **kwargs)

  with nn.intercept_methods(watch):
    variables = jax.eval_shape(model.init, jax.random.key(0), video)
    assert norms == [(1e-5, False)] * (12 * 2 + 1)
    text = str(jax.make_jaxpr(model.apply)(variables, video))
  assert ' tanh' not in text
  assert text.count(' erf') == (12 if activation == 'gelu' else 0)
  assert model.heads == 12


@pytest.mark.slow
def test_weights_start_as_released():
  model = tiny(width=64, layers=1)
  video = jnp.zeros((1, 4, 16, 16, 3))
  params = jax.jit(model.init)(jax.random.key(0), video)['params']
  uniform = lambda x, bound: (
    0.95 * bound < float(abs(x).max()) <= bound + 1e-7
    and abs(float(x.std()) * np.sqrt(3) / bound - 1) < 0.05
  )
  mlp = params['layer_0']['mlp']
  xavier = lambda *sides: np.sqrt(6 / sum(sides))
  assert uniform(mlp['up']['kernel'], xavier(64, 256))
  assert uniform(mlp['down']['kernel'], xavier(64, 256))
  assert uniform(mlp['up']['bias'], 64**-0.5) or mlp['up']['bias'].std() > 0.06
  assert abs(mlp['down']['bias']).max() <= 256**-0.5
  assert mlp['down']['bias'].any()
  # torch counts the window on both sides of a convolution.
  assert uniform(params['patch']['kernel'], xavier(3 * 64, 64 * 64))
  assert abs(params['head']['kernel']).max() <= 64**-0.5
  assert params['head']['bias'].any()
  for table in jax.tree.leaves(params['tokens']):
    assert 0.01 < float(table.std()) < 0.03


def test_attention_maps_of_every_layer_are_kept_on_request():
  model = tiny(**MERGED, **S)
  kept = intermediates(model, variables_of(model), clip())
  first, last = kept['layer_1'], kept['layer_2']
  assert first['attn']['time_weights'][0].shape == (2, 4, 2, 3, 3)
  assert first['attn']['kept'][0].shape == (2, 4, 2, 2)
  assert first['attn']['space_weights'][0].shape == (2, 2, 2, 4, 4)
  assert last['attn']['joint_weights'][0].shape == (2, 2, 9, 9)
  assert kept['after_norm'][0].shape == (2, 16)
