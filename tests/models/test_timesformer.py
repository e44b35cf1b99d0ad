"""TimeSformer: who sees whom, how it starts, and what it costs."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.models import timesformer
from vidmodels.typing import InputError


def normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
  draw = np.random.default_rng(seed).normal(size=shape)
  return draw.astype(np.float32)


def start(module, *args):
  """Parameters of a module away from zero, so that no path is closed."""
  init = functools.partial(module.init, train=False)
  rng = np.random.default_rng(9)

  def draw(path, leaf):
    middle = 1.0 if path[-1].key == 'scale' else 0.0
    return np.float32(middle + 0.2 * rng.normal(size=leaf.shape))

  abstract = jax.eval_shape(init, jax.random.key(0), *args)['params']
  return jax.tree_util.tree_map_with_path(draw, abstract)


def tiny(**more) -> timesformer.Model:
  fields = {**timesformer.TINY, **more}
  return models.build('timesformer', classes=5, **fields)


def clip(*sizes: int) -> jax.Array:
  return normal(3, (2, *(sizes or timesformer.TINY_CLIP), 3))


@functools.cache
def trained(attention: str):
  """Parameters of a tiny model, none of them at its start."""
  return {'params': start(tiny(attention=attention), clip())}


@functools.cache
def fresh():
  """Parameters of a small divided model as they start."""
  return jax.jit(wide().init)(jax.random.key(0), clip())


def wide(attention: str = 'divided') -> timesformer.Model:
  return tiny(width=64, attention=attention)


def features(model, variables, video):
  return jax.jit(functools.partial(model.apply, method='features'))(
    variables, video
  )


SCHEMES = timesformer.Scheme.__args__


@pytest.mark.parametrize('attention', SCHEMES)
@pytest.mark.fast_every(3)
def test_only_space_attention_is_blind_to_the_order_of_frames(attention):
  both = np.concatenate([clip(), clip()[:, ::-1]])
  y_BD = features(tiny(attention=attention), trained(attention), both)
  moved = float(abs(y_BD[:2] - y_BD[2:]).max())
  assert moved < 1e-5 if attention == 'space' else moved > 1e-2


@pytest.mark.slow
def test_a_fresh_divided_model_answers_a_static_clip_as_its_image_parent():
  image = clip(1, 16, 24)
  static = np.repeat(image, 4, axis=1)
  parent = dict(fresh()['params'])
  del parent['time_pos']
  for i in range(2):
    parent[f'block_{i}'] = dict(parent[f'block_{i}'])
    del parent[f'block_{i}']['time']
  wanted = features(wide('space'), {'params': parent}, image)
  np.testing.assert_allclose(
    features(wide(), fresh(), static), wanted, atol=2e-6
  )


def test_embedding_adds_the_place_to_every_frame_and_the_frame_to_every_place():
  model, variables = tiny(), trained('divided')
  cls_BTD, h_BTHWD = model.apply(variables, clip(), method='embed')
  params = variables['params']
  bare = tiny(positions='none')
  less = {k: v for k, v in params.items() if not k.endswith('_pos')}
  bare_cls, bare_h = bare.apply({'params': less}, clip(), method='embed')
  place_HWD, frame_TD = (
    params['space_pos']['table'],
    params['time_pos']['table'],
  )
  assert place_HWD.shape == (2, 3, 16)
  wanted = bare_h + place_HWD + frame_TD[:, None, None]
  np.testing.assert_allclose(h_BTHWD, wanted, atol=1e-6)
  # The class token has a place of its own and belongs to no frame.
  np.testing.assert_allclose(cls_BTD, bare_cls + params['class_pos'], atol=1e-6)
  assert cls_BTD.shape == (2, 1, 16)


@pytest.mark.parametrize(
  ('attention', 'positions', 'tables'),
  [
    ('divided', 'space_time', {'class_pos', 'space_pos', 'time_pos'}),
    ('divided', 'space', {'class_pos', 'space_pos'}),
    ('divided', 'none', set()),
    ('joint', 'space_time', {'class_pos', 'space_pos', 'time_pos'}),
    ('space', 'space_time', {'class_pos', 'space_pos'}),
  ],
)
def test_tables_are_those_asked_for_and_none_for_time_in_space_attention(
  attention, positions, tables
):
  model = tiny(attention=attention, positions=positions)
  params = jax.eval_shape(model.init, jax.random.key(0), clip())['params']
  assert {name for name in params if name.endswith('_pos')} == tables


@pytest.mark.parametrize('method', ['nearest', 'bilinear', 'bicubic'])
@pytest.mark.fast_every(3)
def test_tables_fit_another_clip_by_the_named_method(method):
  model, variables = tiny(pos_resize=method), trained('divided')
  larger = jnp.zeros((1, 6, 24, 40, 3))
  _, h_BTHWD = model.apply(variables, larger, method='embed')
  params = variables['params']
  place = timesformer.position.fit_grid(
    params['space_pos']['table'], 3, 5, method
  )
  frame = timesformer.position.fit_axis(params['time_pos']['table'], 6, method)
  wanted = params['patch']['bias'] + place + frame[:, None, None]
  np.testing.assert_allclose(h_BTHWD[0], wanted, atol=1e-6)


@pytest.mark.parametrize(
  ('field', 'value', 'attention'),
  [
    ('local', 'quadrant', 'divided'),
    ('sparse', 'lattice', 'axial'),
    ('axial_order', 'hwt', 'local_global'),
    ('axial_identity', True, 'joint'),
    ('temporal_class_key', True, 'space'),
    ('temporal_class_key', True, 'local_global'),
    ('class_copies', False, 'joint'),
    ('class_copies', False, 'space'),
  ],
)
def test_a_field_of_another_scheme_is_refused(field, value, attention):
  with pytest.raises(InputError, match=f'{field}=.*which does not read it'):
    tiny(**{field: value, 'attention': attention})


def test_one_class_token_is_refused_where_there_are_no_copies():
  sparse = {'attention': 'local_global', 'class_copies': False}
  tiny(**sparse)
  tiny(**sparse, local='quadrant', sparse='lattice')
  with pytest.raises(InputError, match='no copies; expected True'):
    tiny(**sparse, sparse='lattice')


def test_a_hidden_layer_of_the_head_is_the_papers_perceptron():
  model = tiny(head_hidden=6)
  params = start(model, clip())
  p = params['head']
  assert {k: v['kernel'].shape for k, v in p.items()} == {
    'up': (16, 6),
    'down': (6, 5),
  }
  y_BD = features(model, {'params': params}, clip())
  up = np.asarray(y_BD) @ p['up']['kernel'] + p['up']['bias']
  erf = np.vectorize(math.erf)
  up = up * (1 + erf(up / math.sqrt(2))) / 2
  wanted = up @ p['down']['kernel'] + p['down']['bias']
  got = jax.jit(model.apply)({'params': params}, clip())
  np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_pos_resize_without_positions_is_refused():
  with pytest.raises(InputError, match='no table'):
    tiny(positions='none', pos_resize='bicubic')


@pytest.mark.slow
def test_second_projections_start_at_zero_or_as_the_identity():
  model = tiny(attention='axial', axial_identity=True)
  params = jax.jit(model.init)(jax.random.key(0), clip())['params']
  for i in range(2):
    block = params[f'block_{i}']
    assert not block['time']['fc']['kernel'].any()
    assert 'fc' not in block['height']
    np.testing.assert_array_equal(block['width']['fc']['kernel'], np.eye(16))
  plain = tiny(attention='axial')
  params = jax.jit(plain.init)(jax.random.key(0), clip())['params']
  assert not params['block_0']['width']['fc']['kernel'].any()


@pytest.mark.parametrize(
  ('attention', 'change'),
  [
    ('divided', {'temporal_class_key': True}),
    ('axial', {'temporal_class_key': True}),
    ('divided', {'class_copies': False}),
    ('divided', {'attention': 'space_time'}),
    ('divided', {'attention': 'parallel'}),
    ('space_time', {'attention': 'parallel'}),
    ('local_global', {'local': 'quadrant'}),
    ('local_global', {'sparse': 'lattice'}),
    ('axial', {'axial_order': 'wth'}),
  ],
  ids=str,
)
@pytest.mark.fast_every(8)
def test_every_choice_reads_the_same_weights_otherwise(attention, change):
  model, variables = tiny(attention=attention), trained(attention)
  wanted = jax.tree.map(np.shape, variables)
  shapes = jax.eval_shape(model.clone(**change).init, jax.random.key(0), clip())
  assert jax.tree.map(np.shape, shapes) == wanted
  one = features(model, variables, clip())
  other = features(model.clone(**change), variables, clip())
  assert abs(one - other).max() > 1e-3


def test_drop_path_rises_from_0_to_its_rate():
  model = tiny(layers=5, drop_path=0.2)
  rates = [b.drop_path for b in model.bind(trained('divided')).blocks]
  np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.slow
def test_training_needs_a_key_and_evaluation_does_not():
  model = tiny(drop_path=0.5)
  with pytest.raises(Exception, match='drop_path'):
    model.apply(trained('divided'), clip(), train=True)
  run = jax.jit(functools.partial(model.apply, train=True))
  keys = [{'drop_path': jax.random.key(seed)} for seed in (0, 1)]
  one, other = (run(trained('divided'), clip(), rngs=key) for key in keys)
  assert abs(one - other).max() > 1e-4


def test_weights_start_as_released():
  params = fresh()['params']
  assert not params['time_pos']['table'].any()
  for i in range(2):
    block = params[f'block_{i}']
    assert not block['time']['fc']['kernel'].any()
    assert not block['time']['fc']['bias'].any()
    for kernel in (
      block['time']['attn']['qkv']['kernel'],
      block['space']['attn']['out']['kernel'],
      block['mlp']['up']['kernel'],
      block['mlp']['down']['kernel'],
    ):
      assert abs(float(kernel.std()) - 0.02) < 0.001
    assert not block['space']['attn']['qkv']['bias'].any()
    assert not block['mlp']['up']['bias'].any()
    assert (block['mlp_norm']['scale'] == 1).all()
  for table in (params['class_token'], params['class_pos']):
    assert 0.014 < float(table.std()) < 0.026
  assert abs(float(params['space_pos']['table'].std()) - 0.02) < 0.003
  assert abs(float(params['head']['kernel'].std()) - 0.02) < 0.003
  assert not params['head']['bias'].any()
  assert params['patch']['bias'].any()  # torch's convolution, unlike the rest


@pytest.mark.slow
def test_time_learns_from_the_second_step_on():
  # The projection starts at zero, so at first it alone has a gradient.
  params, video = fresh()['params'], clip()
  answer = lambda p: wide().apply({'params': p}, video)[:, 0]
  grad = jax.jit(jax.grad(lambda p: (answer(p) ** 2).sum()))
  first = grad(params)['block_0']['time']
  assert not first['attn']['qkv']['kernel'].any()
  assert not first['norm']['scale'].any()
  assert first['fc']['kernel'].any()
  params = jax.tree.map(lambda p, g: p - g, params, grad(params))
  for value in jax.tree.leaves(grad(params)):
    assert np.isfinite(value).all()
    assert value.any()


# The authors' constructors on the meta device, at full size.
COUNTS = [
  ('divided', 400, 8, 224, 121_566_352),
  ('divided', 174, 8, 224, 121_392_558),
  ('joint', 400, 8, 224, 86_112_400),
  ('joint', 174, 8, 224, 85_938_606),
  ('space', 400, 8, 224, 86_106_256),
  ('space', 174, 8, 224, 85_932_462),
  ('divided', 400, 16, 448, 122_024_080),
  ('divided', 174, 16, 448, 121_850_286),
  ('divided', 400, 96, 224, 121_633_936),
  ('divided', 174, 64, 224, 121_435_566),
  ('joint', 400, 32, 224, 86_130_832),
  ('joint', 400, 8, 448, 86_563_984),
  # Never released: what the paper's Table 1 prints has these, to its digits
  # (121.4 and 156.8 million).
  ('local_global', 174, 8, 224, 121_392_558),
  ('space_time', 174, 8, 224, 121_392_558),
  ('parallel', 174, 8, 224, 121_392_558),
  ('axial', 174, 8, 224, 156_846_510),
  ('axial', 400, 8, 224, 157_020_304),
]


@pytest.mark.parametrize(('attention', 'K', 'T', 'size', 'wanted'), COUNTS)
@pytest.mark.slow
def test_full_size_models_have_the_authors_number_of_parameters(
  attention, K, T, size, wanted
):
  model = models.build('timesformer', classes=K, attention=attention)
  video = jax.ShapeDtypeStruct((1, T, size, size, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), video)['params']
  assert sum(x.size for x in jax.tree.leaves(params)) == wanted


# An image ViT's parameters with 1,000 classes, as timm counts them.
IMAGES = [
  (dict(width=384, heads=6), 12, 22_050_664),
  (dict(patch=32), 12, 88_224_232),
  (dict(width=1024, heads=16, layers=24), 24, 304_326_632),
]


@pytest.mark.parametrize(('fields', 'layers', 'image'), IMAGES)
@pytest.mark.slow
def test_other_sizes_are_image_vits_with_a_time_table_and_more_steps(
  fields, layers, image
):
  video = jax.ShapeDtypeStruct((1, 8, 224, 224, 3), jnp.float32)
  D = fields.get('width', 768)
  step = layers * (5 * D**2 + 7 * D)  # norm, attention, second projection
  wanted = {
    'joint': 0,
    'divided': step,
    'local_global': step,
    'axial': 2 * step,
  }
  for attention, more in wanted.items():
    model = models.build(
      'timesformer', classes=1000, attention=attention, **fields
    )
    params = jax.eval_shape(model.init, jax.random.key(0), video)['params']
    total = sum(x.size for x in jax.tree.leaves(params))
    assert total == image + 8 * D + more


def equations(jaxpr):
  """Every equation of a jaxpr, with the jaxpr it stands in."""
  for eqn in jaxpr.eqns:
    yield eqn, jaxpr
    for value in eqn.params.values():
      if hasattr(value, 'jaxpr'):
        yield from equations(value.jaxpr)


def test_full_size_models_use_exact_gelu_and_an_epsilon_of_1e6():
  model = models.build('timesformer', classes=400)
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
  assert names.count('erfc') + names.count('erf') == 12
  assert 'tanh' not in names
  assert len(epsilons) == 12 * 3 + 1
  np.testing.assert_allclose(epsilons, 1e-6)


def test_attention_maps_of_every_step_are_kept_on_request():
  _, kept = tiny().apply(trained('divided'), clip(), mutable='intermediates')
  block = kept['intermediates']['block_1']
  (time,), (space,) = (block[s]['attn']['weights'] for s in ('time', 'space'))
  assert time.shape == (2, 2, 3, 2, 4, 4)  # B, H, W, A, T, T
  assert space.shape == (2, 4, 2, 7, 7)  # B, T, A, 1 + N, 1 + N
  (after,) = block['after']
  assert after['patches'].shape == (2, 4, 2, 3, 16)
  assert after['cls'].shape == (2, 1, 16)
