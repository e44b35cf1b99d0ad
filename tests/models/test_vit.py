"""The image ViT: what its fields mean, how it takes a clip, what it costs."""

import functools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vidmodels import models
from vidmodels.models import vit
from vidmodels.nn import position
from vidmodels.typing import InputError


def tiny(**more) -> vit.Model:
  return models.build('vit', classes=5, **{**vit.TINY, **more})


def clip(*sizes: int) -> np.ndarray:
  draw = np.random.default_rng(3).normal(size=(2, *sizes, 3))
  return draw.astype(np.float32)


@functools.cache
def trained(**fields):
  """Variables of a tiny model, none of them at their start."""
  model = tiny(**fields)
  video = jax.ShapeDtypeStruct((1, *vit.TINY_CLIP, 3), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)
  rng = np.random.default_rng(9)

  def draw(path, leaf):
    middle = 1.0 if path[-1].key == 'scale' else 0.0
    return np.float32(middle + 0.3 * rng.normal(size=leaf.shape))

  return jax.tree_util.tree_map_with_path(draw, shapes)


def test_a_clip_is_the_mean_of_what_its_frames_answer():
  model, variables = tiny(), trained()
  video = clip(3, 16, 24)
  apply = jax.jit(model.apply)
  frames = [apply(variables, video[:, t : t + 1]) for t in range(3)]
  np.testing.assert_allclose(
    apply(variables, video), np.mean(frames, axis=0), atol=2e-6
  )
  np.testing.assert_allclose(
    apply(variables, video[:, ::-1]), apply(variables, video), atol=2e-6
  )
  assert abs(frames[0] - frames[1]).max() > 1e-2


def test_frames_are_apart_before_the_mean():
  model, variables = tiny(), trained()
  video = clip(3, 16, 24)
  _, kept = model.apply(variables, video, mutable='intermediates')
  video[:, 1] += 1
  _, moved = model.apply(variables, video, mutable='intermediates')
  one, other = (k['intermediates']['after_norm'][0] for k in (kept, moved))
  changed = np.asarray(abs(one - other).max((0, 2, 3)))
  assert changed[1] > 1e-2
  assert (changed[[0, 2]] == 0).all()


def test_a_distilled_model_answers_the_mean_of_two_heads():
  model, variables = tiny(distilled=True), trained(distilled=True)
  video = clip(2, 16, 24)
  y_BD = model.apply(variables, video, method='features')
  assert y_BD.shape == (2, 32)
  params = variables['params']
  heads = [params['head'], params['head_distilled']]
  halves = [y_BD[:, :16], y_BD[:, 16:]]
  wanted = sum(
    y @ head['kernel'] + head['bias']
    for y, head in zip(halves, heads, strict=True)
  )
  np.testing.assert_allclose(
    model.apply(variables, video), wanted / 2, atol=2e-6
  )
  _, kept = model.apply(variables, video, mutable='intermediates')
  tokens_BTLD = kept['intermediates']['after_norm'][0]
  assert tokens_BTLD.shape == (2, 2, 8, 16)
  np.testing.assert_allclose(halves[1], tokens_BTLD[:, :, 1].mean(1), atol=1e-6)


def test_a_layer_before_the_head_has_a_tanh_and_the_head_sees_it():
  model, variables = tiny(pre_logits=True), trained(pre_logits=True)
  video = clip(2, 16, 24)
  _, kept = model.apply(variables, video, mutable='intermediates')
  cls_BTD = kept['intermediates']['after_norm'][0][:, :, 0]
  layer = variables['params']['pre_logits']
  wanted = np.tanh(cls_BTD @ layer['kernel'] + layer['bias']).mean(1)
  y_BD = model.apply(variables, video, method='features')
  np.testing.assert_allclose(y_BD, wanted, atol=2e-6)


@pytest.mark.parametrize('distilled', [False, True])
def test_tokens_in_front_have_a_position_only_if_asked_for(distilled):
  with_rows = tiny(distilled=distilled)
  without = tiny(distilled=distilled, class_position=False)
  variables = trained(distilled=distilled)
  params = variables['params']
  bare = {k: v for k, v in params.items() if not k.endswith('_pos')}
  bare['space_pos'] = params['space_pos']
  video = clip(1, 16, 24)
  one = with_rows.apply(variables, video, method='embed')
  other = without.apply({'params': bare}, video, method='embed')
  names = ('class', 'distilled') if distilled else ('class',)
  for i, name in enumerate(names):
    moved = params[f'{name}_pos']
    np.testing.assert_allclose(
      one[:, :, i] - other[:, :, i],
      np.broadcast_to(moved, (2, 1, 16)),
      atol=1e-6,
    )
  np.testing.assert_array_equal(
    one[:, :, len(names) :], other[:, :, len(names) :]
  )


@pytest.mark.parametrize('method', position.Resize.__args__)
def test_the_table_fits_another_size_by_the_named_method(method):
  model, variables = tiny(pos_resize=method), trained()
  video = np.zeros((1, 1, 24, 40, 3), np.float32)
  h_BTLD = model.apply(variables, video, method='embed')
  params = variables['params']
  table = params['space_pos']['table']
  assert table.shape == (2, 3, 16)
  wanted = position.fit_grid(table, 3, 5, method) + params['patch']['bias']
  got = h_BTLD[0, 0, 1:].reshape(3, 5, 16)
  np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_distilled_with_a_layer_before_the_head_is_refused():
  with pytest.raises(InputError, match='leave either out'):
    tiny(distilled=True, pre_logits=True)


# timm's constructors, Google's analytic shapes, DeiT's files.
SIZES = {
  'S': dict(width=384, heads=6),
  'B': {},
  'L': dict(layers=24, width=1024, heads=16),
}
COUNTS = [
  ('S', {}, 1000, 22_050_664),
  ('S', {}, 21843, 30_075_219),
  ('B', {}, 1000, 86_567_656),
  ('B', {}, 21843, 102_595_923),
  ('B', {'patch': 32}, 1000, 88_224_232),
  ('B', {'patch': 32}, 21843, 104_252_499),
  ('L', {}, 1000, 304_326_632),
  ('L', {}, 21843, 325_690_707),
  ('B', {'distilled': True}, 1000, 87_338_192),
  ('S', {'distilled': True}, 1000, 22_436_432),
  ('B', {'pre_logits': True}, 21843, 103_186_515),
  ('B', {'class_position': False}, 1000, 86_566_888),
]


@pytest.mark.parametrize(('size', 'fields', 'classes', 'wanted'), COUNTS)
@pytest.mark.slow
def test_full_size_models_have_the_releases_number_of_parameters(
  size, fields, classes, wanted
):
  model = models.build('vit', classes=classes, **SIZES[size], **fields)
  video = jax.ShapeDtypeStruct((1, 1, 224, 224, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), video)['params']
  assert sum(x.size for x in jax.tree.leaves(params)) == wanted


@pytest.mark.parametrize(
  ('fields', 'epsilon', 'gelu', 'other'),
  [
    ({}, 1e-6, 'erf', 'tanh'),
    ({'activation': 'gelu_tanh', 'epsilon': 1e-12}, 1e-12, 'tanh', 'erf'),
  ],
  ids=str,
)
def test_full_size_models_have_the_epsilon_and_the_gelu_asked_for(
  fields, epsilon, gelu, other
):
  model = models.build('vit', classes=1000, **fields)
  video = jax.ShapeDtypeStruct((1, 1, 224, 224, 3), jnp.float32)
  epsilons = []

  def watch(call, args, kwargs, context):
    if isinstance(context.module, nn.LayerNorm):
      epsilons.append(context.module.epsilon)
      assert not context.module.use_fast_variance
    return call(*args, **kwargs)

  with nn.intercept_methods(watch):
    variables = jax.eval_shape(model.init, jax.random.key(0), video)
  assert set(epsilons) == {epsilon}
  assert len(epsilons) == 12 * 2 + 1
  program = str(jax.make_jaxpr(model.apply)(variables, video))
  assert gelu in program
  assert other not in program


ANSWERS = {
  'logits_tanh_gelu': {'activation': 'gelu_tanh'},
  'logits_eps_1e-12': {'epsilon': 1e-12},
}


def test_other_numerics_answer_as_their_owners_code_does():
  tried = 0
  for path in golden.every('vit').values():
    state = golden.read_state(path)
    with np.load(path) as arrays:
      there = [name for name in ANSWERS if name in arrays.files and state]
      for name in there:
        got = golden.answers(path, **ANSWERS[name])
        np.testing.assert_allclose(
          got.logits, arrays[name], rtol=0, atol=1e-5, err_msg=f'{path} {name}'
        )
        if name == 'logits_tanh_gelu':
          assert abs(arrays[name] - arrays['logits']).max() > 1e-4
        tried += 1
  if not tried:
    pytest.skip('no file with answers of other numerics is here')


@pytest.mark.slow
def test_position_tables_are_resized_as_their_owners_do():
  methods = {
    'scipy_zoom_order1': 'corner_aligned',
    'torch_bilinear': 'bilinear',
    'torch_bicubic': 'bicubic',
    'torch_bicubic_antialias': 'bicubic_antialias',
    'torch_nearest': 'nearest',
  }
  files = golden.every('pos_embed_resize')
  assert files
  for path in files.values():
    config = golden.read_config(path)
    old, new = config['old_grid'], config['new_grid']
    old, new = (n if isinstance(n, list) else [n, n] for n in (old, new))
    skip = config['prefix_tokens']
    with np.load(path) as arrays:
      grid = arrays['input'][0, skip:].reshape(*old, -1)
      for theirs in config['methods']:
        got = position.fit_grid(jnp.asarray(grid), *new, methods[theirs])
        wanted = arrays[theirs][0, skip:].reshape(*new, -1)
        np.testing.assert_allclose(
          got, wanted, rtol=0, atol=3e-6, err_msg=theirs
        )
