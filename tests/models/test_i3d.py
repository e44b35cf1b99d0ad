"""I3D: what a place sees, its strides, its statistics, how it starts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.analysis import model_cost
from vidmodels.analysis.model_cost import CountedModel
from vidmodels.models import i3d
from vidmodels.models.i3d import (
  HEAVY,
  HEAVY_101,
  LIGHT_101,
  Bottleneck,
  ConvNorm,
)

KEEPS_FRAMES = {'stem_stride': 1, 'pool_stride': 1}
GRID = (2, 5, 6, 7, 8)  # B, T, H, W, D
AT = (2, 3, 4)  # frame, row, column: no corner, no middle


def normal(seed: int, shape) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def build(**fields) -> i3d.Model:
  small = {'width': 4, 'reach': ((3, 1), (3,))}
  return models.build('i3d', classes=5, **{**small, **fields})


def video(*sizes: int, batch: int = 2) -> np.ndarray:
  return normal(3, (batch, *(sizes or (8, 32, 24)), 3))


@functools.cache
def variables(model: i3d.Model):
  """Parameters and statistics away from their start, and so every path open."""
  return drawn(model, video(5, 16, 16))


def drawn(module, h):
  init = functools.partial(module.init, train=False)
  abstract = jax.eval_shape(init, jax.random.key(0), h)
  rng = np.random.default_rng(5)

  def one(path, leaf):
    x = 0.3 * rng.normal(size=leaf.shape)
    positive = path[-1].key in ('scale', 'var')
    return np.float32(np.exp(x) if positive else x)

  return jax.tree_util.tree_map_with_path(one, dict(abstract))


def run(model, given, clip, **more):
  return jax.jit(functools.partial(model.apply, **more))(given, clip)


def kept(model, clip):
  _, made = run(model, variables(model), clip, mutable='intermediates')
  return {k: v[0] for k, v in made['intermediates'].items()}


def seen(module, h=None) -> np.ndarray:
  """Which places [T, H, W] of clip 0 the answer at AT looks at."""
  h = normal(0, GRID) if h is None else h
  given = drawn(module, h)
  for path, leaf in jax.tree_util.tree_leaves_with_path(given):
    if path[-1].key == 'bias':
      leaf += 20  # so that no place is cut at zero

  def out(h):
    # Squared, so that no sign cancels.
    return (module.apply(given, h, False)[0][AT] ** 2).sum()

  grad = np.asarray(jax.jit(jax.grad(out))(h))
  assert not grad[1].any()  # another clip's place
  return abs(grad[0]).max(-1) > 0


def test_a_convolution_sees_its_window_around_its_place():
  places = seen(ConvNorm(4, (3, 1, 5), relu=False))
  wanted = np.zeros(GRID[1:4], bool)
  wanted[1:4, 3, 2:7] = True
  np.testing.assert_array_equal(places, wanted)


def test_a_stride_goes_on_from_the_first_place_and_pads_both_sides():
  h = normal(0, (1, 4, 8, 8, 3))
  module = ConvNorm(4, (5, 7, 7), (2, 2, 2), relu=False)
  given = drawn(module, h)
  assert module.apply(given, h, False).shape == (1, 2, 4, 4, 4)
  out = lambda h: module.apply(given, h, False)[0, 1, 1, 2].sum()
  places = abs(jax.grad(out)(h))[0].max(-1) > 0
  wanted = np.zeros((4, 8, 8), bool)
  wanted[0:4, 0:6, 1:8] = True  # 2 * 1 +- 2, 2 * 1 +- 3, 2 * 2 +- 3
  np.testing.assert_array_equal(places, wanted)


@pytest.mark.parametrize('reach', [1, 3])
def test_a_block_sees_frames_at_its_place_and_the_frame_around_it(reach):
  block = Bottleneck(
    width=8,
    reach=reach,
    stride=1,
    project=True,
    zero_last=False,
    dtype=jnp.float32,
  )
  wanted = np.zeros(GRID[1:4], bool)
  t, h, w = AT
  wanted[t - reach // 2 : t + reach // 2 + 1, h - 1 : h + 2, w - 1 : w + 2] = 1
  np.testing.assert_array_equal(seen(block), wanted)


def test_a_block_adds_to_what_came_and_only_then_cuts_at_zero():
  block = Bottleneck(
    width=2,
    reach=3,
    stride=1,
    project=False,
    zero_last=False,
    dtype=jnp.float32,
  )
  h = normal(0, GRID)
  given = drawn(block, h)
  norm = given['params']['expand']['norm']
  norm['scale'][:], norm['bias'][:] = 0, -0.5
  np.testing.assert_allclose(
    run(block, given, h, train=False), np.maximum(h - 0.5, 0), atol=1e-6
  )


def test_a_block_of_another_stage_projects_what_came():
  block = Bottleneck(
    width=3,
    reach=3,
    stride=2,
    project=True,
    zero_last=False,
    dtype=jnp.float32,
  )
  h = normal(0, GRID)
  given = drawn(block, h)
  assert block.apply(given, h, False).shape == (2, 5, 3, 4, 12)
  for name in ('expand', 'project'):
    norm = given['params'][name]['norm']
    norm['scale'][:], norm['bias'][:] = 0, {'expand': 2, 'project': -0.5}[name]
  out = run(block, given, h, train=False)
  np.testing.assert_allclose(out, 1.5, atol=1e-6)  # neither is cut before


@pytest.mark.parametrize(
  ('fields', 'stem', 'last'),
  [
    ({}, (4, 8, 6), (2, 4, 3)),
    (KEEPS_FRAMES, (16, 8, 6), (8, 4, 3)),
    ({'pool_stride': 1}, (8, 8, 6), (4, 4, 3)),
    ({'stem_stride': 1}, (8, 8, 6), (4, 4, 3)),
    ({'stem_stride': 1, 'pool_stride': 4}, (4, 8, 6), (2, 4, 3)),
  ],
)
@pytest.mark.fast_every(2)
def test_frames_are_halved_by_stem_pool_and_the_first_stage_as_told(
  fields, stem, last
):
  found = kept(build(**fields), video(16, 32, 24))
  assert found['after_stem'].shape[1:4] == stem
  # The pool over time comes after the first stage's features are taken.
  assert found['after_stage_1'].shape[1:4] == stem
  assert found['after_stage_2'].shape[1:4] == last


def test_pools_take_the_largest_of_their_window():
  model = build(stem_stride=1, pool_stride=2)
  given, clip = variables(model), video(9, 16, 16)
  bound = model.bind(given)
  stem = np.asarray(bound.stem(clip, False))
  found = kept(model, clip)['after_stem']
  padded = np.pad(
    stem, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf
  )
  # Of frames it takes every second one as it is, of places the 3 x 3 around.
  wanted = np.array(
    [
      [padded[:, ::2, i : i + 3, j : j + 3].max((2, 3)) for j in range(0, 8, 2)]
      for i in range(0, 8, 2)
    ]
  ).transpose(2, 3, 0, 1, 4)
  np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_head_sees_the_mean_of_the_last_grid():
  model, clip = build(), video(16, 40, 32)
  found, given = kept(model, clip), variables(model)
  y_BD = np.asarray(found['after_stage_2']).mean((1, 2, 3))
  features = functools.partial(model.apply, method='features')
  np.testing.assert_allclose(features(given, clip), y_BD, rtol=1e-5)
  head = given['params']['head']
  np.testing.assert_allclose(
    run(model, given, clip), y_BD @ head['kernel'] + head['bias'], rtol=1e-5
  )


def test_windows_of_the_head_are_averaged_as_probabilities():
  model, clip = build(head_window=2), video(16, 32, 24)  # a grid of 4 x 3
  grid = np.asarray(kept(model, clip)['after_stage_2'])
  given = {**variables(model)}
  # Small scores, or one class would take all the probability anywhere.
  head = jax.tree.map(lambda x: 0.01 * x, given['params']['head'])
  given['params'] = {**given['params'], 'head': head}
  shares = []
  for i in range(3):
    for j in range(2):
      y_BD = grid[:, :, i : i + 2, j : j + 2].mean((1, 2, 3))
      shares.append(jax.nn.softmax(y_BD @ head['kernel'] + head['bias']))
  found = jax.nn.softmax(run(model, given, clip))
  np.testing.assert_allclose(found, np.mean(shares, 0), atol=1e-5)
  whole = jax.nn.softmax(run(build(), given, clip))
  assert abs(whole - found).max() > 1e-3
  # What no window thinks of is unlikely, not impossible.
  given['params']['head'] = jax.tree.map(lambda x: 1e5 * x, head)
  assert np.isfinite(run(model, given, clip)).all()
  # A crop that is no larger than the window is answered as without one.
  np.testing.assert_allclose(
    run(build(head_window=4), given, clip), run(build(), given, clip), rtol=1e-5
  )


def test_a_clip_backwards_is_another_clip_unless_no_block_looks_along_time():
  flat = build(reach=((1,), (1,)), stem_reach=1, **KEEPS_FRAMES)
  for model, blind in ((build(**KEEPS_FRAMES), False), (flat, True)):
    both = np.concatenate([video(8, 16, 16), video(8, 16, 16)[:, ::-1]])
    out = run(model, variables(model), both)
    moved = abs(out[:2] - out[2:]).max()
    assert moved < 1e-5 if blind else moved > 1e-3


def test_training_updates_every_running_statistic_and_evaluation_none():
  model, clip = build(), video()
  given = variables(model)
  rngs = {'dropout': jax.random.key(0)}
  _, made = run(
    model, given, clip, train=True, rngs=rngs, mutable=['batch_stats']
  )
  stats = jax.tree.leaves(made['batch_stats'])
  assert len(stats) == 2 * (1 + 3 * 3 + 2)
  for old, new in zip(
    jax.tree.leaves(given['batch_stats']), stats, strict=True
  ):
    assert (old != new).any()
  _, same = run(model, given, clip, mutable=['batch_stats'])
  jax.tree.map(
    np.testing.assert_array_equal, same['batch_stats'], given['batch_stats']
  )


def test_the_stems_running_variance_follows_the_unbiased_one_of_the_batch():
  model, clip = build(), video(8, 16, 16, batch=1)
  given = variables(model)
  rngs = {'dropout': jax.random.key(0)}
  _, made = run(
    model, given, clip, train=True, rngs=rngs, mutable=['batch_stats']
  )
  kernel = given['params']['stem']['conv']['kernel']
  raw = jax.lax.conv_general_dilated(
    clip,
    kernel,
    (2, 2, 2),
    [(2, 2), (3, 3), (3, 3)],
    dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
  )
  flat = np.asarray(raw, np.float64).reshape(-1, 4)
  old, new = (v['batch_stats']['stem']['norm']['var'] for v in (given, made))
  wanted = 0.9 * old + 0.1 * flat.var(0, ddof=1)
  np.testing.assert_allclose(new, wanted, rtol=1e-5)


@pytest.mark.slow
def test_training_normalises_by_the_batch_and_remat_changes_nothing():
  small = functools.partial(build, reach=((3,),))
  given, clip = variables(small()), video(5, 16, 16)
  rngs = {'dropout': jax.random.key(0)}

  def train(model, clip):
    def loss(params):
      out, made = model.apply(
        {**given, 'params': params},
        clip,
        train=True,
        rngs=rngs,
        mutable=['batch_stats'],
      )
      return (out**2).sum(), (out, made)

    return jax.jit(jax.grad(loss, has_aux=True))(given['params'])

  grads, (out, made) = train(small(), clip)
  close = functools.partial(np.testing.assert_allclose, rtol=2e-3, atol=1e-3)
  jax.tree.map(close, train(small(remat=True), clip), (grads, (out, made)))
  # Pixels twice as bright leave the batch's own normalisation as it was.
  _, (brighter, _) = train(small(), 2 * clip)
  np.testing.assert_allclose(brighter, out, atol=1e-3 * abs(out).max())


def test_dropout_is_of_features_and_of_training_alone():
  model, clip = build(dropout=0.5), video()
  given = jax.tree.map(np.array, variables(model))
  given['params']['head']['kernel'][:] = np.eye(32, 5)
  given['params']['head']['bias'][:] = 0
  rngs = {'dropout': jax.random.key(0)}
  ask = dict(train=True, mutable=['batch_stats'])
  out, _ = run(model, given, clip, rngs=rngs, **ask)
  full, _ = run(model.clone(dropout=0.0), given, clip, **ask)
  kept_ = np.asarray(out) != 0
  np.testing.assert_allclose(out, np.where(kept_, 2 * full, 0), rtol=1e-5)
  assert 0 < kept_.mean() < 1


def test_weights_start_as_released():
  model = build(width=32, reach=((3,),))
  params = jax.jit(model.init)(jax.random.key(0), video(5, 16, 16))['params']
  block = params['stage1_block0']
  for kernel in (
    params['stem']['conv']['kernel'],
    block['reduce']['conv']['kernel'],
    block['space']['conv']['kernel'],
    block['expand']['conv']['kernel'],
  ):
    fan_out = np.prod(kernel.shape[:3]) * kernel.shape[-1]
    assert abs(float(kernel.std()) / np.sqrt(2 / fan_out) - 1) < 0.05
  assert abs(float(params['head']['kernel'].std()) - 0.01) < 0.002
  assert not params['head']['bias'].any()
  for name in ('reduce', 'space', 'expand', 'project'):
    assert (block[name]['norm']['scale'] == 1).all()
    assert set(block[name]['conv']) == {'kernel'}  # no bias


@pytest.mark.parametrize('zero', [True, False])
def test_a_fresh_block_may_start_as_its_shortcut(zero):
  model = build(zero_last=zero)
  block = model.bind(variables(model)).stages[0][1].clone(parent=None)
  h = abs(normal(0, (1, 3, 4, 4, 16)))
  given = block.init(jax.random.key(0), h, False)
  moved = abs(block.apply(given, h, False) - h).max()
  assert moved == 0 if zero else moved > 0.1


LOOKS = 2 * 1024 * 256
R101 = 17 * (2 * 1024 * 256 + 9 * 256**2 + 2 * (256 + 256 + 1024))
# The authors' constructors, at full size.
COUNTS = [
  ({}, 400, 28_043_472),
  (KEEPS_FRAMES, 400, 28_043_472),
  ({'reach': HEAVY, **KEEPS_FRAMES}, 400, 33_024_208),
  ({}, 600, 28_043_472 + 200 * 2049),
  # By hand: 17 blocks more of 1024 channels, 256 inside, and their norms; a
  # block that sees three frames has 2 * 1024 * 256 weights more.
  ({'reach': LIGHT_101, **KEEPS_FRAMES}, 400, 28_043_472 + R101 + 9 * LOOKS),
  ({'reach': HEAVY_101, **KEEPS_FRAMES}, 400, 33_024_208 + R101 + 17 * LOOKS),
]


@pytest.mark.parametrize(('fields', 'K', 'wanted'), COUNTS)
@pytest.mark.slow
def test_full_size_models_have_the_authors_number_of_parameters(
  fields, K, wanted
):
  model = models.build('i3d', classes=K, **fields)
  clip = jax.ShapeDtypeStruct((1, 32, 224, 224, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), clip)['params']
  assert sum(x.size for x in jax.tree.leaves(params)) == wanted


# Billions of multiply-adds that the authors' code needs for one view.
COSTS = [
  ({}, (32, 224), 33.13),
  ({}, (8, 256), 10.82),
  ({'reach': HEAVY, **KEEPS_FRAMES}, (32, 256), 165.59),
  ({'reach': HEAVY, **KEEPS_FRAMES}, (8, 224), 31.70),
  (KEEPS_FRAMES, (8, 256), 37.10),
]


@pytest.mark.parametrize(('fields', 'clip', 'wanted'), COSTS)
@pytest.mark.slow
def test_full_size_models_need_the_authors_multiply_adds(fields, clip, wanted):
  frames, size = clip
  part = CountedModel(family='i3d', model=fields, clip=(frames, size, size))
  assert round(model_cost.count(part).total_macs() / 1e9, 2) == wanted


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    ({'reach': ((3, 2),)}, r'reach of \(3, 2\) frames; expected odd'),
    ({'stem_reach': 4}, r'stem_reach of \(4,\) frames; expected odd'),
    ({'reach': ()}, 'expected blocks in every stage'),
    ({'reach': ((3,), ())}, 'expected blocks in every stage'),
  ],
)
def test_fields_without_a_meaning_are_refused(fields, says):
  with pytest.raises(ValueError, match=says):
    build(**fields)  # before there is a clip


@pytest.mark.parametrize(
  ('fields', 'sizes', 'says'),
  [
    ({}, (4, 16, 16), '4 frames .* at least 5 frames of 7 x 7'),
    (KEEPS_FRAMES, (1, 16, 16), '1 frames .* at least 2 frames'),
    ({}, (8, 6, 16), '8 frames of 6 x 16 pixels'),
  ],
)
@pytest.mark.fast_every(2)
def test_clips_that_strides_leave_nothing_of_are_refused(fields, sizes, says):
  model = build(**fields)
  with pytest.raises(ValueError, match=says):
    model.apply(variables(model), video(*sizes))
  fewest = model.stem_stride * model.pool_stride + 1
  out = model.apply(variables(model), video(fewest, 7, 7))
  assert np.isfinite(out).all()
