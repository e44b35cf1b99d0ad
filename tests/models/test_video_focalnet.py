"""Video-FocalNet: its designs, how it starts, what it drops and costs."""

import functools
import itertools
import json

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util

from vidmodels import models
from vidmodels.analysis import model_cost
from vidmodels.analysis.model_cost import CountedModel
from vidmodels.models import focalnet, video_focalnet
from vidmodels.nn import focal
from vidmodels.nn.focal import LayerNorm, Modulation, TimeConv
from vidmodels.nn.transformer import Mlp
from vidmodels.typing import InputError

SMALL = {'layers': (2, 2, 18, 2)}
BASE = {'layers': (2, 2, 18, 2), 'width': 128}


def tiny(family: str = 'video_focalnet', **more):
  # XLA's convolution compiles faster than the sum of shifts.
  fields = {**models.find(family).TINY, 'depthwise': 'conv', **more}
  return models.build(family, classes=5, **fields)


def clip(*sizes: int) -> np.ndarray:
  shape = (2, *(sizes or video_focalnet.TINY_CLIP), 3)
  return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def trained(**more) -> dict[str, np.ndarray]:
  """Parameters away from their start, by path; the same for the same path."""
  return dict(_trained(**more))


@functools.cache
def _trained(**more) -> dict[str, np.ndarray]:
  model = tiny(**more)
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip())['params']

  def draw(path: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(list(path.encode()))
    middle = 1.0 if path.endswith('scale') else 0.0
    spread = 0.1 if len(shape) < 2 else np.prod(shape[:-1]) ** -0.5
    return np.float32(middle + spread * rng.normal(size=shape))

  flat = traverse_util.flatten_dict(shapes, sep='/')
  return {path: draw(path, leaf.shape) for path, leaf in flat.items()}


def answer(params: dict, video=None, family='video_focalnet', **more):
  video = clip() if video is None else video
  tree = {'params': traverse_util.unflatten_dict(params, sep='/')}
  return np.asarray(runner(family, **more)(tree, video))


@functools.cache
def runner(family: str, **more):
  # Slow code in half the time.
  fast = {'xla_backend_optimization_level': 0}
  return jax.jit(tiny(family, **more).apply, compiler_options=fast)


def only(params: dict, without: str) -> dict:
  return {path: x for path, x in params.items() if without not in path}


@pytest.mark.parametrize('said', ['config', 'constructor', 'neither'])
def test_a_file_without_the_norm_of_patches_is_read_as_such(said, tmp_path):
  # The authors' `patch_norm=False`: no `patch_embed.norm` in the file.
  path = tmp_path / 'no_patch_norm.npz'
  with np.load(golden.HERE / 'golden/overlap_embed_layerscale.npz') as arrays:
    kept = {k: x for k, x in arrays.items() if 'patch_embed.norm' not in k}
  config = json.loads(str(kept['config']))
  config.pop('patch_norm')
  if said != 'neither':
    where = config if said == 'config' else config['original_args']
    where['patch_norm'] = False
  np.savez(path, **{**kept, 'config': np.array(json.dumps(config))})
  if said == 'neither':  # a model with the norm is not what the file holds
    with pytest.raises(InputError, match='patch/norm'):
      golden.answers(path)
    return
  got = golden.answers(path)
  # Feature (B T, H W, D): here the convolution alone, by hand at one token.
  weight = kept['state_dict/patch_embed.proj.weight']  # [D, C, 7, 7]
  frame = np.pad(kept['input'][1, 2], ((0, 0), (2, 2), (2, 2)))
  y, x = 3, 5
  window = frame[:, 4 * y : 4 * y + 7, 4 * x : 4 * x + 7]
  wanted = (weight * window).sum((1, 2, 3))
  wanted += kept['state_dict/patch_embed.proj.bias']
  token = np.asarray(got.features['patch_embed'])[5 + 2, 8 * y + x]
  np.testing.assert_allclose(token, wanted, atol=1e-5)


def test_design_a_is_the_image_model_frame_by_frame():
  params = trained(design='space')
  whole = answer(params, design='space')
  frames = [
    answer(params, clip()[:, t : t + 1], 'focalnet')
    for t in range(video_focalnet.TINY_CLIP[0])
  ]
  np.testing.assert_allclose(whole, sum(frames) / len(frames), atol=1e-5)
  images = answer(params, clip(), 'focalnet')
  np.testing.assert_allclose(whole, images, atol=1e-6)
  assert abs(frames[0] - frames[1]).max() > 1e-2


@pytest.mark.slow
def test_design_b_with_kernels_that_leave_time_alone_is_design_a():
  b = {'design': 'volume', 'frame_context': True}
  params = trained(**b)
  for path, kernel in params.items():
    if 'time_conv' in path:
      k, D, _ = kernel.shape
      params[path] = np.zeros_like(kernel)
      params[path][k // 2] = np.eye(D)
  a = {p.replace('/volume/', '/space/'): x for p, x in params.items()}
  a = only(a, 'time_conv')
  wanted = answer(a, design='space')
  np.testing.assert_allclose(answer(params, **b), wanted, atol=1e-5)
  # A global context of the clip is another thing, and so is a real kernel.
  assert abs(answer(params, design='volume') - wanted).max() > 1e-3
  assert abs(answer(trained(**b), **b) - wanted).max() > 1e-3


@pytest.mark.slow
def test_design_c_follows_the_frames_means_with_blocks_along_time():
  c = {'design': 'encoder', 'time_layers': 2}
  params = trained(**c)
  assert 'time_block_1/time_mod/time/time_conv_0/kernel' in params
  assert not any('time_' in p for p in params if p.startswith('stage_'))
  # Blocks that add nothing leave the means, which are normalised once more.
  closed = dict(params)
  for path in params:
    if path.startswith('time_block') and '/out/' in path + '/':
      closed[path] = np.zeros_like(params[path])
    if path.startswith('time_block') and '/down/' in path:
      closed[path] = np.zeros_like(params[path])
  model = tiny(design='space')
  space = {p: x for p, x in params.items() if not p.startswith('time_')}
  variables = {'params': traverse_util.unflatten_dict(space, sep='/')}
  _, kept = jax.jit(functools.partial(model.apply, mutable='intermediates'))(
    variables, clip()
  )
  (h_BTHWD,) = kept['intermediates']['after_norm']
  y = np.asarray(h_BTHWD).mean((2, 3))
  y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
  y = y * params['time_norm/scale'] + params['time_norm/bias']
  wanted = y.mean(1) @ params['head/kernel'] + params['head/bias']
  np.testing.assert_allclose(answer(closed, **c), wanted, atol=1e-5)
  assert abs(answer(params, **c) - wanted).max() > 1e-3


def test_design_d_as_pairs_is_design_a_where_time_adds_nothing():
  params = trained(design='pair')
  assert 'stage_1_block_0/time_mod/query/kernel' in params
  closed = dict(params)
  for path in params:
    if '/time_mod/out/' in path:
      closed[path] = np.zeros_like(params[path])
  wanted = answer(only(params, 'time_mod'), design='space')
  got = answer(closed, design='pair')
  np.testing.assert_allclose(got, wanted, atol=1e-5)
  assert abs(answer(params, design='pair') - wanted).max() > 1e-3


def modulations(**more) -> list[str]:
  """The modulations of a model in the order in which they run."""
  model, order = tiny(**more), []

  def note(run, args, kwargs, context):
    if isinstance(context.module, Modulation):
      order.append('/'.join(context.module.path))
    return run(*args, **kwargs)

  with nn.intercept_methods(note):
    jax.eval_shape(model.init, jax.random.key(0), clip())
  return order


@pytest.mark.parametrize(
  ('more', 'wanted'),
  [
    ({'design': 'pair'}, ['0/mod', '0/time_mod', '1/mod', '1/time_mod']),
    (
      {'design': 'pair', 'time_first': True},
      ['0/time_mod', '0/mod', '1/time_mod', '1/mod'],
    ),
    ({'design': 'alternate'}, ['0/mod', '1/time_mod']),
    ({'design': 'alternate', 'time_first': True}, ['0/time_mod', '1/mod']),
    ({'design': 'parallel'}, ['0/mod', '1/mod']),
  ],
)
def test_space_and_time_take_turns_in_the_order_asked_for(more, wanted):
  order = modulations(**more)
  first = [path for path in order if path.startswith('stage_0')]
  assert first == [f'stage_0_block_{part}' for part in wanted]
  if more['design'] == 'alternate':  # turns are taken over the whole model
    last = wanted[0].replace('0/', 'stage_1_block_0/')
    assert order[-1] == last


@pytest.mark.parametrize('design', video_focalnet.DESIGNS)
@pytest.mark.slow
def test_only_design_a_is_blind_to_the_order_of_frames(design):
  params = trained(design=design)
  there = answer(params, design=design)
  back = answer(params, clip()[:, ::-1], design=design)
  moved = abs(there - back).max()
  assert moved < 1e-5 if design == 'space' else moved > 1e-3


@pytest.mark.slow
def test_both_ways_to_convolve_give_the_same_answer():
  params = trained(temporal_conv='depthwise')
  one, other = (
    answer(params, temporal_conv='depthwise', depthwise=how)
    for how in ('shift', 'conv')
  )
  np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.slow
def test_what_does_not_fill_a_patch_is_left_out_or_filled_with_zeros():
  params = trained()
  odd = clip(4, 19, 30)
  np.testing.assert_allclose(
    answer(params, odd), answer(params, odd[:, :, :16, :28]), atol=1e-6
  )
  filled = np.pad(odd, [(0, 0), (0, 0), (0, 1), (0, 2), (0, 0)])
  padded = answer(params, odd, uneven='pad')
  wanted = answer(params, filled, uneven='pad')
  np.testing.assert_allclose(padded, wanted, atol=1e-6)
  # 5 x 8 tokens: the fifth row meets no partner on the way down.
  grids = {}
  for uneven in ('floor', 'pad'):
    model = tiny(uneven=uneven)
    keep = functools.partial(model.apply, mutable='intermediates')
    tree = {'params': traverse_util.unflatten_dict(params, sep='/')}
    _, kept = jax.eval_shape(keep, tree, filled)
    grids[uneven] = kept['intermediates']['after_stage_1'][0].shape[2:4]
  assert grids == {'floor': (2, 4), 'pad': (3, 4)}


@pytest.mark.slow
def test_tubelets_make_one_token_of_t_frames():
  model = tiny(tubelet=2)
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip())['params']
  assert shapes['patch']['conv']['kernel'].shape == (2, 4, 4, 3, 8)
  params = trained(tubelet=2)
  nine = np.concatenate([clip(), clip()[:, :1]], axis=1)
  np.testing.assert_allclose(  # a frame over is left out
    answer(params, nine, tubelet=2), answer(params, tubelet=2), atol=1e-6
  )


def test_overlapping_patches_are_torchs_convolutions():
  video, module = clip(2, 12, 16), focal.OverlapEmbed(width=5, patch=4)
  params = module.init(jax.random.key(0), video)['params']
  kernel = np.float64(params['kernel'])
  assert kernel.shape == (7, 7, 3, 5)
  padded = np.pad(video, [(0, 0), (0, 0), (2, 2), (2, 2), (0, 0)])
  got = module.apply({'params': params}, video)
  assert got.shape == (2, 2, 3, 4, 5)
  for y, x in np.ndindex(3, 4):
    part = padded[:, :, 4 * y : 4 * y + 7, 4 * x : 4 * x + 7]
    wanted = np.einsum('BTyxC,yxCD->BTD', part, kernel) + params['bias']
    np.testing.assert_allclose(got[:, :, y, x], wanted, atol=1e-5)
  down = focal.OverlapEmbed(width=5, patch=2, tokens=True)
  shapes = jax.eval_shape(down.init, jax.random.key(0), got)['params']
  assert shapes['kernel'].shape == (3, 3, 5, 5)
  assert jax.eval_shape(down.apply, {'params': params | shapes}, got).shape[
    2:4
  ] == (2, 2)


@pytest.mark.slow
def test_norms_come_before_or_after_what_they_are_for():
  h = np.random.default_rng(0).normal(size=(2, 2, 3, 3, 4))
  h = h.astype(np.float32)
  modulate = functools.partial(Modulation, levels=1, window=3)
  block = focal.FocalBlock((('HW',),), modulate, hidden=8)
  params = jax.jit(functools.partial(block.init, train=False))(
    jax.random.key(0), h
  )['params']
  rng = np.random.default_rng(1)
  shake = lambda x: np.float32(x + 0.3 * rng.normal(size=x.shape))
  params = jax.tree.map(shake, params)
  inner = {
    'mod': modulate(streams=('HW',)),
    'mlp': Mlp(8),
  }
  norm = lambda name, x: LayerNorm().apply({'params': params[name]}, x)
  for post_norm in (False, True):
    wanted = h
    for name, module in inner.items():
      run = functools.partial(module.apply, {'params': params[name]})
      if post_norm:
        wanted = wanted + norm(f'{name}_norm', run(wanted))
      else:
        wanted = wanted + run(norm(f'{name}_norm', wanted))
    got = block.clone(post_norm=post_norm).apply({'params': params}, h, False)
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize('unit', ['frame', 'clip'])
@pytest.mark.parametrize('close', ['mod', 'mlp'])
def test_drop_path_drops_frames_as_released_or_clips(unit, close):
  block = focal.FocalBlock(
    (('HW',),),
    functools.partial(Modulation, levels=1, window=3),
    hidden=8,
    drop_path=0.5,
    drop_unit=unit,
  )
  h = np.random.default_rng(0).normal(size=(64, 3, 2, 2, 4))
  h = h.astype(np.float32)
  params = jax.jit(functools.partial(block.init, train=False))(
    jax.random.key(0), h
  )['params']
  branch = params['mod'] if close == 'mod' else params['mlp']
  last = 'out' if close == 'mod' else 'down'
  branch[last] = jax.tree.map(np.zeros_like, branch[last])
  run = jax.jit(functools.partial(block.apply, train=True))
  rngs = {'drop_path': jax.random.key(5)}
  more = run({'params': params}, h, rngs=rngs) - h
  gone = np.isclose(more, 0, atol=1e-7).all(-1)  # [B, T, H, W]
  assert (gone == gone[:, :, :1, :1]).all()
  frames = gone[:, :, 0, 0]
  assert 0.3 < frames.mean() < 0.7
  assert (frames == frames[:, :1]).all() == (unit == 'clip')


def test_drop_path_rises_from_0_to_its_rate_over_all_stages():
  def rates(**more):
    model = tiny(layers=(2, 3), drop_path=0.2, **more)
    tree = {'params': {}}
    bound = model.bind(tree)
    blocks = [*itertools.chain(*bound.stages), *bound.time_blocks]
    return [block.drop_path for block in blocks]

  np.testing.assert_allclose(rates(), [0, 0.05, 0.1, 0.15, 0.2])
  np.testing.assert_allclose(
    rates(design='encoder', time_layers=3),
    np.linspace(0, 0.2, 8),
  )


def test_the_temporal_encoder_drops_clips_whatever_the_blocks_before_it_do():
  bound = tiny(design='encoder', drop_unit='frame').bind({'params': {}})
  assert {block.drop_unit for block in bound.time_blocks} == {'clip'}
  assert {block.drop_unit for block in bound.stages[0]} == {'frame'}


@pytest.mark.slow
def test_layer_scale_starts_at_1e4_and_scales_both_branches():
  more = {'layer_scale': True}
  fresh = jax.jit(tiny(**more).init)(jax.random.key(0), clip())['params']
  for gamma in ('mod_gamma', 'mlp_gamma'):
    np.testing.assert_allclose(fresh['stage_0_block_0'][gamma], 1e-4)
  params = trained(**more)
  ones = {
    path: np.ones_like(x) if path.endswith('gamma') else x
    for path, x in params.items()
  }
  np.testing.assert_allclose(
    answer(ones, **more), answer(only(params, 'gamma')), atol=1e-5
  )
  for gamma in ('mod_gamma', 'mlp_gamma'):
    less = {p: x * (2 if p.endswith(gamma) else 1) for p, x in ones.items()}
    assert abs(answer(less, **more) - answer(ones, **more)).max() > 1e-3


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    ({'levels': (2,)}, r'levels \(2,\) .* one value a stage'),
    ({'layers': (), 'levels': (), 'windows': ()}, 'one value a stage'),
    ({'windows': (3, 4)}, 'has 4; expected odd'),
    ({'overlap': True, 'tubelet': 2}, 'overlap=True with tubelet=2'),
    ({'design': 'space', 'fusion': 'average'}, "fusion='average' with"),
    ({'design': 'pair', 'time_start': 'neutral'}, 'time_start='),
    ({'design': 'space', 'temporal_conv': 'depthwise'}, 'temporal_conv='),
    ({'frame_context': True}, "design='parallel', which does not read"),
    ({'time_first': True}, 'time_first=True'),
    ({'time_layers': 2}, r"design of \('encoder',\)"),
    ({'fusion': 'average', 'time_start': 'neutral'}, 'expected multiplication'),
  ],
)
def test_fields_that_contradict_each_other_are_refused(fields, says):
  with pytest.raises(InputError, match=says):
    tiny(**fields)  # before there is a clip


@pytest.mark.parametrize(
  ('fields', 'sizes', 'says'),
  [
    ({}, (4, 4, 7), 'got a token grid of 4 frames of 1 x 1 tokens'),
    ({}, (4, 3, 7), '4 frames of 3 x 7 pixels'),
    ({'overlap': True}, (4, 2, 9), r'2 x 9; expected at least .* 3 x 3'),
    ({'tubelet': 2}, (1, 16, 16), 'of 1 frames .* expected at least 2'),
  ],
)
def test_clips_that_are_too_small_are_refused(fields, sizes, says):
  with pytest.raises(InputError, match=says):
    jax.eval_shape(tiny(**fields).init, jax.random.key(0), clip(*sizes))


@pytest.mark.parametrize(
  ('fields', 'wanted'),
  [({}, 49_553_272), (SMALL, 88_735_168), (BASE, 157_389_216)],
)
@pytest.mark.slow
def test_full_size_models_have_the_authors_number_of_parameters(fields, wanted):
  model = models.build('video_focalnet', classes=400, **fields)
  video = jax.ShapeDtypeStruct((1, 8, 224, 224, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), video)['params']
  assert sum(x.size for x in jax.tree.leaves(params)) == wanted


# Of the small model on 8 frames of 224 x 224: billions of multiply-adds and
# millions of parameters, from closed formulas of each design.
DESIGN_COSTS = [
  ('space', 'dense', 68.8, 49.4),
  ('volume', 'dense', 113.2, 80.8),
  ('volume', 'depthwise', 68.9, 49.5),
  ('alternate', 'dense', 90.7, 65.0),
  ('alternate', 'depthwise', 68.5, 49.3),
  ('pair', 'dense', 135.4, 96.6),
  ('pair', 'depthwise', 91.2, 65.3),
  ('parallel', 'dense', 124.3, 88.7),
  ('parallel', 'depthwise', 80.1, 57.4),
]


@pytest.mark.parametrize(
  ('design', 'temporal_conv', 'gmacs', 'millions'), DESIGN_COSTS
)
@pytest.mark.slow
def test_designs_cost_what_their_formulas_say(
  design, temporal_conv, gmacs, millions
):
  fields = {**SMALL, 'design': design, 'temporal_conv': temporal_conv}
  counted = model_cost.count(
    CountedModel(family='video_focalnet', model=fields)
  )
  assert f'{counted.total_params() / 1e6:.1f}' == f'{millions}'
  assert counted.total_macs() / 1e9 == pytest.approx(gmacs, rel=2e-3)


def equations(jaxpr):
  """Every equation of a jaxpr, with the jaxpr it stands in."""
  for eqn in jaxpr.eqns:
    yield eqn, jaxpr
    for value in eqn.params.values():
      if hasattr(value, 'jaxpr'):
        yield from equations(value.jaxpr)


@pytest.mark.parametrize('family', ['video_focalnet', 'focalnet'])
@pytest.mark.slow
def test_full_size_models_use_exact_gelu_and_an_epsilon_of_1e5(family):
  model = models.build(family, classes=400)
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
  # A block's perceptron, and two levels and a global context of each stream.
  streams = 2 if family == 'video_focalnet' else 1
  assert names.count('erfc') + names.count('erf') == 12 * (1 + 3 * streams)
  assert 'tanh' not in names
  assert len(epsilons) == 2 * 12 + 4 + 1
  np.testing.assert_allclose(epsilons, 1e-5)


@pytest.mark.slow
def test_defaults_are_the_released_tiny_model():
  model = models.build('video_focalnet', classes=400)
  seen = []

  def note(run, args, kwargs, context):
    if isinstance(context.module, TimeConv):
      seen.append(context.module.window)
    return run(*args, **kwargs)

  video = jax.ShapeDtypeStruct((1, 8, 224, 224, 3), jnp.float32)
  with nn.intercept_methods(note):
    jax.eval_shape(model.init, jax.random.key(0), video)
  assert seen == [3, 5] * 12
  assert model.drop_path == 0.2
  assert focalnet.Model(classes=1).drop_path == 0.2


def test_gates_and_modulators_are_kept_on_request():
  tree = {'params': traverse_util.unflatten_dict(trained(), sep='/')}
  keep = functools.partial(tiny().apply, mutable='intermediates')
  _, kept = jax.eval_shape(keep, tree, clip())
  mod = kept['intermediates']['stage_0_block_1']['mod']
  for stream in ('space', 'time'):
    assert mod[stream]['gates'][0].shape == (2, 4, 4, 6, 3)
    assert mod[stream]['modulator'][0].shape == (2, 4, 4, 6, 8)
  assert mod['modulated'][0].shape == (2, 4, 4, 6, 8)
  assert kept['intermediates']['after_stage_1'][0].shape == (2, 4, 2, 3, 16)


@pytest.mark.slow
def test_linear_layers_start_at_002_and_convolutions_as_torchs():
  model = tiny(width=64, overlap=False)
  params = jax.jit(model.init)(jax.random.key(0), clip())['params']
  for layer in (
    params['stage_0_block_0']['mlp']['up'],
    params['stage_0_block_0']['mlp']['down'],
    params['head'],
  ):
    assert abs(float(layer['kernel'].std()) - 0.02) < 0.002
    assert not layer['bias'].any()
  for layer, bound in (
    (params['patch']['conv'], 48**-0.5),
    (params['down_0']['conv'], 256**-0.5),
  ):
    for leaf in ('kernel', 'bias'):
      draw = abs(np.asarray(layer[leaf]))
      assert 0.9 * bound < draw.max() <= bound


def test_from_scratch_modulators_are_about_one_and_kernels_keep_the_scale():
  clip_BTHWC = jnp.asarray(
    np.random.default_rng(0).normal(size=(2, 4, 16, 16, 3)), jnp.float32
  )
  rms = {}
  for fresh in ('image', 'scratch'):
    model = video_focalnet.Model(
      classes=3, **{**video_focalnet.TINY, 'width': 64}, fresh=fresh
    )
    variables = model.init(jax.random.key(0), clip_BTHWC)
    _, kept = model.apply(variables, clip_BTHWC, mutable='intermediates')
    block = kept['intermediates']['stage_0_block_0']['mod']
    mean = block['time']['modulator'][0].mean()
    rms[fresh] = float(jnp.sqrt((block['modulated'][0] ** 2).mean()))
    assert abs(mean - (fresh == 'scratch')) < 0.2
  # Of a branch beside tokens of size 1: next to nothing as released.
  assert rms['image'] < 0.01
  assert 0.2 < rms['scratch'] < 5
