"""TimeSformer: who sees whom, how it starts, and what it costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.models import timesformer
from vidmodels.models.timesformer import STEPS, Block, Step
from vidmodels.nn.init import FRESH

GRID = (2, 3, 4, 5, 16)  # B, T, H, W, D of patches
FRAME, ROW, COLUMN = 2, 1, 3  # no corner: a reshape for a transpose keeps those


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


def step_of(name: str, drop_path: float = 0.0) -> Step:
  axes, has_fc = STEPS[name]
  return Step(
    axes=axes,
    has_fc=has_fc,
    fresh=FRESH['image'],
    heads=2,
    qkv_bias=True,
    drop_path=drop_path,
    dtype=jnp.float32,
  )


def block_of(scheme: str, drop_path: float = 0.0) -> Block:
  return Block(
    steps=timesformer.BLOCKS[scheme],
    fresh=FRESH['image'],
    heads=2,
    hidden=32,
    qkv_bias=True,
    drop_path=drop_path,
    dtype=jnp.float32,
  )


def tiny(**more) -> timesformer.Model:
  fields = {**timesformer.TINY, **more}
  return models.build('timesformer', classes=5, **fields)


def clip(*sizes: int) -> jax.Array:
  return normal(3, (2, *(sizes or timesformer.TINY_CLIP), 3))


def seen(step, *, frames: int = 1) -> tuple[np.ndarray, np.ndarray]:
  """How much one patch after a step depends on each patch before, and on cls.

  Returns:
    [T, H, W] and [frames], of the first clip; the other clip must not count.
  """
  cls_BTD, h_BTHWD = normal(1, (2, frames, 16)), normal(0, GRID)
  params = start(step, cls_BTD, h_BTHWD)

  def out(cls_BTD, h_BTHWD):
    _, h_BTHWD = step.apply({'params': params}, cls_BTD, h_BTHWD, False)
    return (h_BTHWD[0, FRAME, ROW, COLUMN] * normal(2, (16,))).sum()

  cls, h = jax.jit(jax.grad(out, argnums=(0, 1)))(cls_BTD, h_BTHWD)
  assert not cls[1].any()
  assert not h[1].any()
  return abs(np.asarray(h[0])).max(-1), abs(np.asarray(cls[0])).max(-1)


def test_time_attention_follows_one_patch_through_the_clip():
  h_THW, cls_T = seen(step_of('time'))
  assert (h_THW[:, ROW, COLUMN] > 1e-4).all()  # every frame, at this patch
  h_THW[:, ROW, COLUMN] = 0
  assert (h_THW == 0).all()  # and no other patch
  assert (cls_T == 0).all()  # nor the class token, against the paper's Eq. 11


@pytest.mark.parametrize('frames', [1, GRID[1]])
def test_space_attention_stays_in_its_frame(frames):
  h_THW, cls_T = seen(step_of('space'), frames=frames)
  assert (h_THW[FRAME] > 1e-4).all()
  assert (np.delete(h_THW, FRAME, axis=0) == 0).all()
  own = FRAME if frames > 1 else 0  # its own frame's class token
  assert cls_T[own] > 1e-4
  assert (np.delete(cls_T, own) == 0).all()


def test_joint_attention_sees_the_whole_clip_and_its_class_token():
  h_THW, cls_T = seen(step_of('joint'))
  assert (h_THW > 1e-4).all()
  assert (cls_T > 1e-4).all()


def test_a_divided_block_sees_its_frame_and_its_place_and_their_crossings():
  # Time first: what a patch sees in its frame has itself looked along time.
  h_THW, _ = seen(block_of('divided'))
  assert (h_THW > 1e-5).all()


def test_the_class_token_takes_the_mean_of_what_its_copies_saw():
  step, cls_BTD = step_of('space'), normal(1, (1, 1, 16))
  h_BTHWD = normal(0, (1, *GRID[1:]))
  variables = {'params': start(step, cls_BTD, h_BTHWD)}
  run = jax.jit(functools.partial(step.apply, variables, train=False))
  whole, _ = run(cls_BTD, h_BTHWD)
  alone = [run(cls_BTD, h_BTHWD[:, t : t + 1])[0] for t in range(GRID[1])]
  np.testing.assert_allclose(whole, sum(alone) / GRID[1], atol=1e-5)


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


@pytest.mark.parametrize('attention', ['divided', 'joint', 'space'])
def test_only_space_attention_is_blind_to_the_order_of_frames(attention):
  both = np.concatenate([clip(), clip()[:, ::-1]])
  y_BD = features(tiny(attention=attention), trained(attention), both)
  moved = float(abs(y_BD[:2] - y_BD[2:]).max())
  assert moved < 1e-5 if attention == 'space' else moved > 1e-2


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
def test_tables_fit_another_clip_by_the_named_method(method):
  model, variables = tiny(pos_resize=method), trained('divided')
  larger = jnp.zeros((1, 6, 24, 40, 3))
  _, h_BTHWD = model.apply(variables, larger, method='embed')
  params = variables['params']
  place = timesformer.position.fit_grid(
    params['space_pos']['table'], 3, 5, method
  )
  frame = timesformer.position.fit_time(params['time_pos']['table'], 6, method)
  wanted = params['patch']['bias'] + place + frame[:, None, None]
  np.testing.assert_allclose(h_BTHWD[0], wanted, atol=1e-6)


def test_drop_path_rises_from_0_to_its_rate():
  model = tiny(layers=5, drop_path=0.2)
  rates = [b.drop_path for b in model.bind(trained('divided')).blocks]
  np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.15, 0.2])


def dropped(module, frames: int = 1):
  """What a module adds to class tokens and patches of many clips, training."""
  cls_BTD, h_BTHWD = normal(1, (64, frames, 16)), normal(0, (64, *GRID[1:]))
  variables = {'params': start(module, cls_BTD, h_BTHWD)}
  run = jax.jit(functools.partial(module.apply, train=True))
  rngs = {'drop_path': jax.random.key(5)}
  cls, h = run(variables, cls_BTD, h_BTHWD, rngs=rngs)
  return variables['params'], cls - cls_BTD, h - h_BTHWD


def test_time_drops_whole_tubes_and_still_adds_the_last_bias():
  params, _, more = dropped(step_of('time', drop_path=0.5))
  # The projection comes after drop path: a dropped branch is its bias.
  gone = np.isclose(more, params['fc']['bias'], atol=1e-5).all(-1)  # [B,T,H,W]
  assert (gone == gone[:, :1]).all()
  tubes = gone[:, 0]
  assert 0.45 < tubes.mean() < 0.55
  assert not (tubes == tubes[:, :1, :1]).all(axis=(1, 2)).all()


def test_space_drops_frames_and_their_share_of_the_class_token():
  _, cls, more = dropped(step_of('space', drop_path=0.5), frames=GRID[1])
  gone = np.isclose(more, 0, atol=1e-6).all(-1)
  assert (gone == gone[:, :, :1, :1]).all()
  frames = gone[:, :, 0, 0]
  assert 0.38 < frames.mean() < 0.62
  np.testing.assert_array_equal(frames, np.isclose(cls, 0, atol=1e-6).all(-1))


@pytest.mark.parametrize(('scheme', 'frames'), [('joint', 1), ('space', 3)])
def test_the_perceptron_drops_what_the_class_token_is_for(scheme, frames):
  # Attention closed: what is left is the perceptron.
  block = block_of(scheme, drop_path=0.5)
  cls_BTD, h_BTHWD = normal(1, (64, frames, 16)), normal(0, (64, *GRID[1:]))
  params = start(block, cls_BTD, h_BTHWD)
  for value in params[scheme]['attn']['out'].values():
    value[:] = 0
  run = jax.jit(functools.partial(block.apply, train=True))
  rngs = {'drop_path': jax.random.key(5)}
  cls, h = run({'params': params}, cls_BTD, h_BTHWD, rngs=rngs)
  gone = np.isclose(h, h_BTHWD, atol=1e-6).all(-1).all(axis=(2, 3))  # [B, T]
  none = ~np.isclose(h, h_BTHWD, atol=1e-6).all(-1).any(axis=(2, 3))
  assert (gone | none).all()  # a frame is dropped whole or not at all
  class_gone = np.isclose(cls, cls_BTD, atol=1e-6).all(-1)  # [B, frames]
  np.testing.assert_array_equal(gone, np.broadcast_to(class_gone, gone.shape))
  assert 0.3 < gone.mean() < 0.7


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
  ('joint', 174, 8, 224, 85_938_606),
  ('space', 174, 8, 224, 85_932_462),
  ('divided', 400, 16, 448, 122_024_080),
  ('divided', 400, 96, 224, 121_633_936),
]


@pytest.mark.parametrize(('attention', 'K', 'T', 'size', 'wanted'), COUNTS)
def test_full_size_models_have_the_authors_number_of_parameters(
  attention, K, T, size, wanted
):
  model = models.build('timesformer', classes=K, attention=attention)
  video = jax.ShapeDtypeStruct((1, T, size, size, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), video)['params']
  assert sum(x.size for x in jax.tree.leaves(params)) == wanted


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
  (after,) = kept['intermediates']['after_block_1']
  assert after['patches'].shape == (2, 4, 2, 3, 16)
  assert after['cls'].shape == (2, 1, 16)
