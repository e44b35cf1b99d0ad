"""X-ViT: how far frames see, how they become one answer, and what it costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.models import xvit
from vidmodels.models.xvit import MlpHead
from vidmodels.nn import position
from vidmodels.typing import InputError

NONE = {'mix': 'none'}


def normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
  draw = np.random.default_rng(seed).normal(size=shape)
  return draw.astype(np.float32)


def tiny(**more) -> xvit.Model:
  return models.build(
    'xvit', classes=5, **{**xvit.TINY, 'drop_path': 0, **more}
  )


def clip(frames: int = 4, *, size: tuple[int, int] = (16, 24)) -> np.ndarray:
  return normal(3, (2, frames, *size, 3))


@functools.cache
def trained(**more):
  """Variables of a tiny model, none of them at their start."""
  init = functools.partial(tiny(**more).init, jax.random.key(0))
  rng = np.random.default_rng(9)

  def draw(path, leaf):
    middle = 1.0 if path[-1].key == 'scale' else 0.0
    return np.float32(middle + 0.2 * rng.normal(size=leaf.shape))

  return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(init, clip()))


@functools.cache
def runner(method: str, model: xvit.Model, train: bool = False):
  method = functools.partial(model.apply, method=method, train=train)
  return jax.jit(method)


def answer(video, *, of=None, method='__call__', **more):
  """What a model says with the weights of `of`, its own by default."""
  of = more if of is None else of
  return runner(method, tiny(**more))(trained(**of), video)


def without_time(variables):
  params = dict(variables['params'])
  params['time_pos'] = jax.tree.map(np.zeros_like, params['time_pos'])
  return {'params': params}


def reach(model, variables, frame: int) -> np.ndarray:
  """How much the class feature of one frame depends on each, [T]."""
  weight_D = normal(1, (16,))

  def out(video_BTHWC):
    frames_BTD = model.apply(variables, video_BTHWC, method='frames')
    return frames_BTD[0, frame] @ weight_D

  grads = jax.jit(jax.grad(out))(clip(9))
  assert not grads[1].any()
  return abs(np.asarray(grads[0])).max((1, 2, 3))


@pytest.mark.parametrize(
  ('layers', 'fields', 'far'),
  [
    (1, {}, 1),
    (3, {}, 3),
    (2, {'mix_window': 2}, 4),
    (4, {'mix_layers': 'first_half'}, 2),
    (3, {'mix_layers': 'odd'}, 1),
    (3, {'mix_layers': '0,2'}, 2),
    (2, {'mix': 'x', 'mix_share': 0.25}, 2),
    (3, NONE, 0),
  ],
)
@pytest.mark.slow
def test_k_layers_that_mix_reach_k_windows_to_either_side(layers, fields, far):
  model = tiny(layers=layers, **fields)
  seen_T = reach(model, trained(layers=layers), 4)
  near = abs(np.arange(9) - 4) <= far
  assert (seen_T[near] > 1e-6).all()
  assert not seen_T[~near].any()


def test_segments_never_mix_and_only_the_head_sees_beyond():
  model, variables = tiny(segment=3), trained()
  seen_T = reach(model, variables, 5)
  assert (seen_T[3:6] > 1e-6).all()
  assert not np.delete(seen_T, [3, 4, 5]).any()
  one, other = clip(9), clip(9)
  other[:, 0] += 1
  moved = answer(one, of={}, segment=3) - answer(other, of={}, segment=3)
  assert (abs(moved).max(1) > 1e-4).all()


def test_a_clip_that_does_not_divide_into_segments_is_refused():
  with pytest.raises(InputError, match=r'4 frames .* segment=8'):
    jax.eval_shape(tiny(segment=8).apply, trained(), clip())


def test_each_way_to_turn_mixing_off_gives_the_same_answer():
  plain = answer(clip(), of={}, **NONE)
  for off in ({'mix_share': 0.0}, {'mix_window': 0}):
    np.testing.assert_allclose(answer(clip(), of={}, **off), plain, atol=1e-6)
  assert abs(answer(clip(), of={}) - plain).max() > 1e-3


def test_averaging_without_mixing_is_an_image_vit_frame_by_frame():
  more = {**NONE, 'ta_layers': 0, 'time_rows': 1}
  whole = answer(clip(), **more)
  alone = [answer(clip()[:, t : t + 1], **more) for t in range(4)]
  np.testing.assert_allclose(whole, sum(alone) / 4, atol=1e-5)


KINDS = (
  {},
  {'mix_share': 0.25},
  {'mix_share': 1.0},
  {'mix_window': 2},
  {'mix_window': 2, 'mix_boundary': True},
  {'mix_layout': 'per_head'},
  {'mix_layers': 'first_half'},
  {'mix_layers': 'second_half'},
  {'mix': 'x'},
  {'mix': 'key'},
  {'mix': 'value'},
  {'segment': 2},
  {'summary': True},
  NONE,
)


@pytest.mark.slow
def test_every_kind_of_mixing_is_a_model_of_its_own():
  answers = [answer(clip(), of={}, method='frames', **kind) for kind in KINDS]
  for i, one in enumerate(answers):
    for j, other in enumerate(answers[:i]):
      assert abs(one - other).max() > 1e-4, (KINDS[i], KINDS[j])


@pytest.mark.parametrize('ta_layers', [0, 1, 2])
@pytest.mark.fast_every(3)
def test_the_head_is_blind_to_order_but_for_time_positions_and_mixing(
  ta_layers,
):
  variables = trained(ta_layers=ta_layers)
  order = [2, 0, 3, 1]

  def moved(variables, **more):
    run = runner('__call__', tiny(ta_layers=ta_layers, **more))
    return abs(run(variables, clip()[:, order]) - run(variables, clip())).max()

  assert moved(without_time(variables), **NONE) < 1e-5
  assert moved(variables, **NONE) > 1e-3
  assert moved(without_time(variables)) > 1e-3


@pytest.mark.slow
def test_temporal_attention_looks_at_every_frame_and_is_deep_as_asked():
  for ta_layers in (1, 3):
    more = dict(ta_layers=ta_layers, ta_heads=4, **NONE)
    model, variables = tiny(**more), trained(**more)
    out = lambda v, m=model, p=variables: m.apply(p, v)[0, 0]
    seen_T = abs(jax.jit(jax.grad(out))(clip())[0]).max((1, 2, 3))
    assert (seen_T > 1e-6).all()
    asked = functools.partial(model.apply, mutable='intermediates')
    _, kept = jax.jit(asked)(variables, clip())
    layers = kept['intermediates']['temporal']
    assert set(layers) == {f'block_{i}' for i in range(ta_layers)}
    p_BAQS = layers['block_0']['attn']['weights'][0]
    assert p_BAQS.shape == (2, 4, 5, 5)  # z_final and four frames
  assert 'bias' not in variables['params']['temporal']['block_0']['attn']['qkv']


def test_probabilities_are_averaged_within_each_group():
  more = dict(ta_layers=0, average='probs', groups=(2, 3))
  logits_BK = answer(clip(), **more)
  frames_BTD = answer(clip(), method='frames', **more)
  params = trained(**more)['params']
  wanted = []
  for head in ('head_0', 'head_1'):
    each_BTK = frames_BTD @ params[head]['kernel'] + params[head]['bias']
    wanted.append(jax.nn.softmax(each_BTK).mean(1))
  np.testing.assert_allclose(
    jnp.exp(logits_BK), jnp.concatenate(wanted, 1), atol=1e-6
  )
  mean = answer(clip(), method='features', **more)
  np.testing.assert_allclose(mean, frames_BTD.mean(1), atol=1e-6)


def test_averaging_frames_is_averaging_what_they_answer():
  frames_BTD = answer(clip(), method='frames', ta_layers=0)
  head = trained(ta_layers=0)['params']['head']
  wanted = (frames_BTD @ head['kernel'] + head['bias']).mean(1)
  np.testing.assert_allclose(answer(clip(), ta_layers=0), wanted, atol=1e-5)


def test_each_group_of_classes_has_a_head_of_its_own():
  more = dict(groups=(2, 3))
  logits_BK, params = answer(clip(), **more), trained(**more)['params']
  y_BD = answer(clip(), method='features', **more)
  verbs, nouns = xvit.by_group(logits_BK, (2, 3))
  for got, classes, name in ((verbs, 2, 'head_0'), (nouns, 3, 'head_1')):
    head = MlpHead(classes, hidden=16, dropout=0.5)
    wanted = head.apply({'params': params[name]}, y_BD, False)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
  (whole,) = xvit.by_group(logits_BK, ())
  np.testing.assert_array_equal(whole, logits_BK)


@pytest.mark.parametrize(('rows', 'frames'), [(8, 20), (16, 16), (3, 2)])
def test_frame_i_takes_row_i_mod_rows_with_all_its_tokens(rows, frames):
  model, table_RD = tiny(time_rows=rows), normal(0, (rows, 16))
  params = {**trained()['params'], 'time_pos': {'table': table_RD}}
  video = jnp.zeros((1, frames, 16, 24, 3))
  embed = jax.jit(functools.partial(model.apply, method='embed'))
  s_BTLD = embed({'params': params}, video)
  bare = embed(without_time({'params': params}), video)
  for i in range(frames):
    row = jnp.broadcast_to(table_RD[i % rows], (7, 16))
    np.testing.assert_allclose((s_BTLD - bare)[0, i], row, atol=1e-5)


def test_a_fresh_table_has_eight_rows_or_one_a_frame():
  shapes = lambda **more: (
    jax.eval_shape(tiny(**more).init, jax.random.key(0), clip(16))['params'][
      'time_pos'
    ]['table'].shape
  )
  assert shapes() == (8, 16)
  assert shapes(time_rows=0) == (16, 16)


@pytest.mark.parametrize('method', ['nearest', 'bilinear', 'bicubic'])
def test_the_table_of_places_fits_another_grid_and_the_class_row_stays(method):
  model, params = tiny(pos_resize=method), trained()['params']
  video = jnp.zeros((1, 1, 24, 40, 3))
  s_BTLD = model.apply({'params': params}, video, method='embed')
  row_D = params['time_pos']['table'][0]
  place_HWD = position.fit_grid(params['space_pos']['table'], 3, 5, method)
  wanted = params['patch']['bias'] + place_HWD.reshape(15, 16) + row_D
  np.testing.assert_allclose(s_BTLD[0, 0, 1:], wanted, atol=1e-5)
  wanted = params['class_token'] + params['class_pos'] + row_D
  np.testing.assert_allclose(s_BTLD[0, 0, 0], wanted, atol=1e-6)
  assert xvit.Model(classes=5).pos_resize == 'bicubic'


def test_dropout_falls_on_the_features_of_every_frame():
  more = dict(ta_layers=0, dropout=0.5, **NONE)
  run = runner('features', tiny(**more), train=True)
  rngs = {'dropout': jax.random.key(1)}
  got = run(trained(**more), np.repeat(clip(1), 64, 1), rngs=rngs)
  plain = answer(np.repeat(clip(1), 64, 1), method='features', **more)
  # A mean of 64 equal-ish frames, each number dropped or doubled: near it.
  assert 0.02 < abs(got - plain).mean() / abs(plain).mean() < 0.5


@pytest.mark.slow
def test_without_rates_training_needs_no_key_and_changes_nothing():
  still = runner('__call__', tiny(dropout=0), train=True)
  np.testing.assert_allclose(
    still(trained(), clip()), answer(clip(), of={}), atol=1e-6
  )
  with pytest.raises(Exception, match='dropout'):
    tiny().apply(trained(), clip(), train=True)


def test_drop_path_rises_from_0_to_its_rate():
  model = tiny(layers=5, drop_path=0.2, **NONE)
  rates = [b.drop_path for b in model.bind(trained(layers=5)).blocks]
  np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.15, 0.2])


def test_half_of_the_layers_are_scanned_apart_from_the_other():
  more = dict(layers=4, mix_layers='first_half')
  model = tiny(scan=True, **more)
  text = str(jax.make_jaxpr(model.apply)(trained(layers=4), clip()))
  assert text.count(' scan[') == 2
  np.testing.assert_allclose(
    answer(clip(), of={'layers': 4}, scan=True, **more),
    answer(clip(), of={'layers': 4}, **more),
    atol=1e-5,
  )


@pytest.mark.slow
def test_weights_start_as_released():
  more = dict(width=64, heads=2, groups=(2, 3), ta_hidden=32)
  init = jax.jit(tiny(**more).init)
  params = init(jax.random.key(0), clip())['params']
  assert not params['time_pos']['table'].any()
  block = params['block_1']
  assert abs(float(block['attn']['qkv']['kernel'].std()) - 0.02) < 0.001
  assert not block['mlp']['down']['bias'].any()
  assert 0.014 < float(params['class_token'].std()) < 0.026
  # The temporal head is left as torch makes it.
  assert not params['temporal']['class_token'].any()
  inner = params['temporal']['block_0']
  for layer, fan_in in (
    (inner['attn']['qkv'], 64),
    (inner['mlp']['down'], 256),
    (params['head_1']['up'], 64),
    (params['head_1']['linear'], 32),
  ):
    bound = fan_in**-0.5
    assert 0.9 * bound < float(abs(layer['kernel']).max()) <= bound
  assert 0.1 < float(abs(params['head_1']['linear']['bias']).max()) <= 32**-0.5
  averaged = dict(width=64, heads=2, ta_layers=0)
  head = jax.jit(tiny(**averaged).init)(jax.random.key(0), clip())['params']
  head = head['head']
  assert 0.0008 < float(head['kernel'].std()) < 0.0012
  assert not head['bias'].any()


# The authors' constructor, less the `new_fc` that temporal attention leaves
# unread: classes * 769 for a width of 768.
L32 = dict(patch=32, layers=24, width=1024, heads=16)
COUNTS = [
  ({}, 174, 8, 93_617_070),
  ({}, 174, 16, 93_617_070),
  ({'segment': 8, 'mix_share': 0.25}, 400, 16, 93_790_864),
  ({'segment': 8, 'mix_share': 0.25}, 600, 16, 93_944_664),
  ({'ta_layers': 0}, 174, 8, 85_938_606),
  ({'patch': 32}, 174, 8, 95_273_646),
  (L32, 174, 8, 319_342_766),
]


@pytest.mark.parametrize(('fields', 'K', 'T', 'wanted'), COUNTS)
@pytest.mark.slow
def test_full_size_models_have_the_authors_number_of_parameters(
  fields, K, T, wanted
):
  model = models.build('xvit', classes=K, **fields)
  video = jax.ShapeDtypeStruct((1, T, 224, 224, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), video)['params']
  assert sum(x.size for x in jax.tree.leaves(params)) == wanted


def equations(jaxpr):
  """Every equation of a jaxpr, with the jaxpr it stands in."""
  for eqn in jaxpr.eqns:
    yield eqn, jaxpr
    for value in eqn.params.values():
      if hasattr(value, 'jaxpr'):
        yield from equations(value.jaxpr)


def test_full_size_models_use_exact_gelu_and_an_epsilon_for_each_part():
  model = models.build('xvit', classes=174)
  video = jax.ShapeDtypeStruct((1, 8, 224, 224, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), video)
  jaxpr = jax.make_jaxpr(model.apply)(variables, video)
  names, epsilons = [], []
  for eqn, home in equations(jaxpr.jaxpr):
    names.append(eqn.primitive.name)
    if eqn.primitive.name == 'rsqrt':
      (made,) = (e for e in home.eqns if eqn.invars[0] in e.outvars)
      assert made.primitive.name == 'add'
      epsilons.append(float(made.invars[1].val))
  assert names.count('erfc') + names.count('erf') == 12 + 1 + 1
  assert 'tanh' not in names
  # The image ViT's, then those of temporal attention and the head.
  np.testing.assert_allclose(epsilons, [1e-6] * 25 + [1e-5] * 3)


def test_the_papers_classifier_is_one_linear_layer_of_z_final():
  model = tiny(ta_head='linear')
  video = clip()
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)
  rng = np.random.default_rng(1)
  variables = jax.tree.map(
    lambda x: np.float32(0.2 * rng.normal(size=x.shape)), shapes
  )
  head = variables['params']['head']
  assert jax.tree.map(np.shape, head) == {'kernel': (16, 5), 'bias': (5,)}
  assert 'temporal' in variables['params']
  logits_BK = jax.jit(model.apply)(variables, video)
  y_BD = jax.jit(lambda v, x: model.apply(v, x, method='features'))(
    variables, video
  )
  wanted = np.asarray(y_BD) @ head['kernel'] + head['bias']
  np.testing.assert_allclose(logits_BK, wanted, atol=1e-5)


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    ({'mix': 'none', 'mix_share': 0.25}, 'mix_share=0.25, and nothing reads'),
    ({'mix': 'none', 'segment': 2}, 'segment=2, and nothing reads'),
    ({'mix_boundary': True}, 'mix_window=1, .* a window of at least 2'),
    ({'mix': 'x', 'mix_layout': 'per_head'}, 'before they have heads'),
    ({'mix_share': 0.3}, r'multiple of 2/16'),
    ({'mix_layout': 'per_head', 'mix_share': 0.125}, r'multiple of 2/8'),
    ({'mix_layers': '7'}, "layers '7' of 2"),
    ({'ta_layers': 0, 'ta_heads': 2}, 'ta_heads=2, and nothing reads'),
    ({'ta_layers': 0, 'ta_hidden': 8}, 'ta_hidden=8, and nothing reads'),
    ({'average': 'probs'}, "average='probs', and nothing reads"),
    ({'ta_layers': 0, 'ta_query': 'final'}, "ta_query='final', and nothing"),
    ({'ta_layers': 0, 'ta_head': 'linear'}, "ta_head='linear', and nothing"),
    ({'ta_head': 'linear', 'ta_hidden': 8}, 'ta_hidden=8, and nothing reads'),
    ({'heads': 3}, 'does not divide into 3 heads'),
    ({'heads': 3, 'mix': 'none'}, 'does not divide into 3 heads'),
    ({'ta_heads': 3}, 'does not divide into 3 heads'),
    ({'mix_share': 0.0, 'segment': 2}, 'segment=2, and nothing reads'),
    ({'mix_share': 0.0, 'mix': 'key'}, "mix='key', and .* mix_share=0"),
    ({'mix_share': 0.0, 'mix_layout': 'per_head'}, 'mix_layout=.per_head'),
    ({'mix_window': 0, 'mix_layers': 'odd'}, 'mix_layers=.* mix_window=0'),
  ],
)
def test_fields_that_contradict_each_other_are_refused(fields, says):
  with pytest.raises(InputError, match=says):
    tiny(**fields)


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    ({'groups': (2, 2)}, r'groups \(2, 2\), 4 in all, for 5 classes'),
    ({'groups': (5, 0)}, 'expected the classes of each head'),
  ],
)
def test_groups_that_do_not_fit_are_refused(fields, says):
  with pytest.raises(InputError, match=says):
    jax.eval_shape(tiny(**fields).init, jax.random.key(0), clip())
