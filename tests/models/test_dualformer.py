"""DualFormer: its kernels, patterns and positions, and what it costs."""

import functools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidmodels import models
from vidmodels.models import dualformer
from vidmodels.nn.pyramid import PyramidKernels
from vidmodels.typing import InputError
from vidmodels.weights import dualformer_weights
from vidmodels.weights.mapping import apply
from vidmodels.weights.mapping.key_rules import STATS

SMALL = dict(
  widths=(96, 192, 384, 768), layers=(2, 2, 18, 2), heads=(3, 6, 12, 24)
)
BASE = dict(
  widths=(128, 256, 512, 1024), layers=(2, 2, 18, 2), heads=(4, 8, 16, 32)
)


def normal(seed: int, *shape: int) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tiny(**more) -> dualformer.Model:
  fields = {**dualformer.TINY, **more}
  return models.build('dualformer', classes=5, **fields)


def full(classes: int = 400, **more) -> dualformer.Model:
  return models.build('dualformer', classes=classes, **more)


def clip(*sizes: int) -> np.ndarray:
  return normal(3, 2, *(sizes or dualformer.TINY_CLIP), 3)


def abstract(model, *sizes: int):
  """A model's variables as shapes."""
  video = jax.ShapeDtypeStruct((2, *(sizes or model.built), 3), jnp.float32)
  return dict(jax.eval_shape(model.init, jax.random.key(0), video))


@functools.cache
def drawn(model):
  """Variables away from zero and from their start."""
  rng, found = np.random.default_rng(9), abstract(model)
  draw = lambda x: np.float32(0.2 * rng.normal(size=x.shape))
  return {
    name: jax.tree.map(draw if name == 'params' else np.square, tree)
    if name == 'params'
    else jax.tree.map(lambda x: np.float32(1 + rng.uniform(size=x.shape)), tree)
    for name, tree in found.items()
  }


def names(model, *sizes: int) -> dict[str, tuple[int, ...]]:
  flat = apply.flatten_variables(abstract(model, *sizes))
  return {path: x.shape for path, x in flat.items()}


def count(model, *sizes: int) -> int:
  return sum(x.size for x in jax.tree.leaves(abstract(model, *sizes)['params']))


@pytest.mark.parametrize(
  ('fields', 'wanted'),
  [
    ({}, 21_972_560),
    (SMALL, 49_215_664),
    (BASE, 87_247_632),
    ({'built': (16, 224, 224)}, 21_755_328 + 205_200),
    ({'token_head': True}, 25_416_672),
  ],
)
@pytest.mark.slow
def test_full_size_models_have_the_authors_number_of_parameters(fields, wanted):
  assert count(full(**fields)) == wanted


def test_only_two_places_have_batch_statistics():
  stats = [p for p in names(full()) if p.startswith(STATS)]
  assert sorted(stats) == [
    f'batch_stats/stage_{s}/block_0/level_1/attn/pyramid/coarse_norm/{name}'
    for s in (0, 1)
    for name in ('mean', 'var')
  ]


def keys(model, *sizes: int) -> list[int]:
  """How many keys a query of each stage's first global level sees."""
  video = jax.ShapeDtypeStruct((1, *sizes, 3), jnp.float32)
  ask = functools.partial(model.apply, mutable='intermediates')
  _, kept = jax.eval_shape(ask, abstract(model), video)
  kept = kept['intermediates']
  found = [kept[f'stage_{s}']['block_0']['level_1'] for s in range(4)]
  return [level['attn']['weights'][0].shape[-1] for level in found]


@pytest.mark.slow
def test_kernels_stay_those_of_the_clip_they_were_built_for():
  assert keys(full(), 32, 224, 224) == [456, 456, 392, 784]
  # Fed half the frames, half the keys; built for them, finer kernels.
  assert keys(full(), 16, 224, 224) == [228, 228, 196, 392]
  half = full(built=(16, 224, 224))
  assert keys(half, 16, 224, 224) == [456, 456, 392, 392]
  assert [plan.kernels for plan in half.plans()] == [
    PyramidKernels((1, 8, 8), ((1, 7, 7), (2, 2, 2))),
    PyramidKernels((1, 4, 4), ((1, 7, 7), (2, 1, 1))),
    PyramidKernels((1, 2, 2)),
    PyramidKernels(),
  ]


@pytest.mark.slow
def test_the_papers_own_pyramid_has_two_scales_thrice_and_then_one():
  printed = full(
    fine=((8, 7, 7),) * 4, coarse=((4, 4, 4), (4, 4, 4), (4, 4, 4), ())
  )
  assert keys(printed, 32, 224, 224) == [456, 456, 456, 392]
  single = full(fine=((), (), (8, 7, 7), ()))
  assert keys(single, 32, 224, 224) == [64, 64, 392, 784]


def equations(jaxpr):
  """Every equation of a jaxpr, with the jaxpr it stands in."""
  for eqn in jaxpr.eqns:
    yield eqn, jaxpr
    for value in eqn.params.values():
      if hasattr(value, 'jaxpr'):
        yield from equations(value.jaxpr)


@pytest.mark.slow
def test_full_size_models_use_exact_gelu_and_an_epsilon_of_1e5():
  model = full()
  video = jax.ShapeDtypeStruct((1, 32, 224, 224, 3), jnp.float32)
  found = [
    (eqn.primitive.name, eqn, home)
    for eqn, home in equations(
      jax.make_jaxpr(model.apply)(abstract(model), video).jaxpr
    )
  ]
  primitives = [name for name, *_ in found]
  assert primitives.count('erfc') + primitives.count('erf') == 18
  assert 'tanh' not in primitives
  epsilons = []
  for name, eqn, home in found:
    if name == 'rsqrt':
      (made,) = (e for e in home.eqns if eqn.invars[0] in e.outvars)
      assert made.primitive.name == 'add'
      epsilons.append(float(made.invars[1].val))
  # Two a level; patches; pooled tokens and batch norms; the last.
  assert len(epsilons) == 18 * 2 + 4 + 7 + 2 + 1
  np.testing.assert_allclose(epsilons, 1e-5)


def test_drop_path_rises_level_by_level_through_all_stages():
  model = full(drop_path=0.17)
  stages = model.bind(abstract(model)).stages
  rates = [
    r for stage in stages for block in stage.blocks for r in block.drop_path
  ]
  np.testing.assert_allclose(rates, np.arange(18) / 100, atol=1e-12)


def kinds(model) -> list[str]:
  """'L' or 'G' for every level, by its parameters."""
  found = {}
  for path in names(model):
    if '/attn/qkv/kernel' in path or '/attn/q/kernel' in path:
      level = path.split('/attn/')[0].split('/')
      at = tuple(int(part.split('_')[1]) for part in level)
      found[at] = 'L' if '/qkv/' in path else 'G'
  stages = {at[0] for at in found}
  return [
    ''.join(found[at] for at in sorted(found) if at[0] == s) for s in stages
  ]


@pytest.mark.parametrize(
  ('patterns', 'wanted'),
  [
    (('LG',) * 4, ['LG', 'LG', 'LGLGLGLGLG', 'LGLG']),
    (('LL',) * 4, ['LL', 'LL', 'L' * 10, 'LLLL']),
    (('GG',) * 4, ['GG', 'GG', 'G' * 10, 'GGGG']),
    (('LL', 'LL', 'LG', 'LG'), ['LL', 'LL', 'LG' * 5, 'LGLG']),
    (('L', 'GL', 'LLG', 'LG'), ['LL', 'GL', 'LLGLLGLLGL', 'LGLG']),
  ],
)
@pytest.mark.slow
def test_patterns_say_which_levels_are_local(patterns, wanted):
  model = full(patterns=patterns)
  assert kinds(model) == wanted
  encodings = [p for p in names(model) if p.endswith('/peg/kernel')]
  assert encodings == [f'stage_{s}/block_0/peg/kernel' for s in range(4)]


def reach(model) -> np.ndarray:
  """Which pixels the first token of the first clip's stage 0 depends on."""
  variables = drawn(model)

  def out(video_BTHWC):
    _, kept = model.apply(variables, video_BTHWC, mutable='intermediates')
    (h_BTHWD,) = kept['intermediates']['after_stage_0']
    return (h_BTHWD[0, 0, 0, 0] * normal(2, h_BTHWD.shape[-1])).sum()

  grad = abs(np.asarray(jax.jit(jax.grad(out))(clip()))).max(-1)
  assert not grad[1].any()
  return grad[0] > 1e-9


@pytest.mark.slow
def test_a_local_stage_sees_a_corner_and_a_global_one_the_clip():
  # Windows of 2 x 4 x 4 tokens of 2 x 4 x 4 pixels.
  local = reach(tiny(patterns=('LL', 'LG'), position='none'))
  assert local[:, :16, :16].all()
  assert not local[:, 16:].any()
  assert not local[:, :, 16:].any()
  assert reach(tiny(patterns=('LG', 'LG'), position='none')).all()
  assert reach(tiny(patterns=('GG', 'LG'), position='none')).all()
  # A position encoding between two local levels: one token further, and with
  # that token nothing of its window, whose attention is over by then.
  wider = reach(tiny(patterns=('LL', 'LG')))
  assert wider.any(axis=(0, 2))[:32].all()


@pytest.mark.parametrize(
  ('position', 'wanted'),
  [
    ('peg', ['peg/bias', 'peg/kernel']),
    ('none', []),
    ('absolute', ['space_pos/table', 'time_pos/table']),
    ('relative', ['relative/table']),
  ],
)
@pytest.mark.fast_every(2)
def test_positions_are_those_asked_for(position, wanted):
  found = {
    '/'.join(path.split('/')[-2:])
    for path in names(full(position=position))
    if any(w in path for w in ('/peg/', '_pos/', '/relative/'))
  }
  assert sorted(found) == wanted


def test_relative_positions_are_of_local_levels_alone():
  found = names(full(position='relative'))
  tables = {p: s for p, s in found.items() if '/relative/' in p}
  assert len(tables) == 9  # half of the 18 levels
  assert tables['stage_0/block_0/level_0/relative/table'] == (15, 13, 13, 2)
  assert all('level_0' in path for path in tables)


@pytest.mark.slow
def test_absolute_positions_are_added_once_and_stretch_to_the_clip():
  model = tiny(position='absolute')
  shapes = names(model)
  assert shapes['stage_0/space_pos/table'] == (8, 12, 8)
  assert shapes['stage_0/time_pos/table'] == (2, 8)
  assert not any('_pos/' in p and 'stage_1' in p for p in shapes)
  params = jax.tree.map(jnp.zeros_like, drawn(model)['params'])
  stage = params['stage_0']
  stage['space_pos']['table'] = space = normal(1, 8, 12, 8)
  stage['time_pos']['table'] = time = normal(2, 2, 8)
  # All weights are zero, so the residual stream carries the positions alone.
  run = functools.partial(model.apply, mutable='intermediates')
  variables = {**drawn(model), 'params': params}
  for scale in (1, 2):
    sizes = [scale * n for n in dualformer.TINY_CLIP]
    _, kept = jax.jit(run)(variables, clip(*sizes))
    (got,) = kept['intermediates']['after_stage_0']
    assert got.shape[1:4] == (2 * scale, 8 * scale, 12 * scale)
    fit = lambda table, *size: jax.image.resize(
      table, (*size, 8), 'linear', antialias=False
    )
    wanted = fit(space, 8 * scale, 12 * scale)
    wanted = wanted + fit(time, 2 * scale)[:, None, None]
    np.testing.assert_allclose(got[1], wanted, atol=1e-5)


@pytest.mark.parametrize('position', ['none', 'peg'])
@pytest.mark.slow
def test_a_static_clip_is_answered_as_the_image_was(position):
  # Without the coarse scale, whose second convolution images do not have.
  more = dict(coarse=((), ()), position=position)
  image = tiny(
    patch_frames=1, built=(1, 32, 48), fine=((1, 4, 4), (1, 2, 3)), **more
  )
  video = tiny(built=(8, 32, 48), fine=((2, 4, 4), (2, 2, 3)), **more)
  assert [plan.kernels.fine[0] for plan in video.plans()] == [2, 2]
  start = drawn(image)
  flat = golden.save_state('dualformer', image, start)
  state = {
    key.removeprefix('backbone.'): x[:, :, 1] * 3
    if x.shape[2:] == (3, 3, 3)
    else (x[:, :, 0] if x.ndim == 5 else x)
    for key, x in flat.items()
    if key.startswith('backbone.') and '.lr.3.' not in key
  }
  made = apply.load_variables(
    dualformer_weights.image_rules(video),
    state,
    video,
    video=(*video.built, 3),
    random=[('^head/', 'taken from the image model below')],
  )
  made['params']['head'] = start['params']['head']
  still = clip(1, 32, 48)
  wanted = jax.jit(image.apply)(start, still)
  got = jax.jit(video.apply)(made, np.repeat(still, 8, axis=1))
  error = abs(got - wanted).max()
  # The image's position encoding here has neighbours in time that are zeros.
  assert error < 1e-4 if position == 'none' else error > 1e-4


@pytest.mark.slow
def test_training_matches_the_authors_step():
  ran = 0
  for path in golden.every('dualformer').values():
    config = golden.read_config(path)
    if 'labels' not in config:
      continue
    ran += 1
    model = golden.maps()['dualformer'].model_of(config)
    state = golden.read_state(path)
    _, variables = golden.load_state('dualformer', model, state)
    with np.load(path) as arrays:
      video = arrays['input'].transpose(0, 2, 3, 4, 1)
      label_B, wanted = arrays['labels'], arrays['loss']

    def loss(
      params, model=model, variables=variables, video=video, label_B=label_B
    ):
      logits_BK, changed = model.apply(
        {**variables, 'params': params},
        video,
        train=True,
        mutable=['batch_stats'],
      )
      loss_B = optax.softmax_cross_entropy_with_integer_labels(
        logits_BK, label_B
      )
      return loss_B.mean(), changed

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, changed), grads = step(variables['params'])
    np.testing.assert_allclose(value, wanted, atol=1e-5)
    theirs = golden.save_state('dualformer', model, {'params': grads})
    for key, grad in golden.read_state(path, 'grad/').items():
      np.testing.assert_allclose(theirs[key], grad, atol=1e-5, err_msg=key)
    theirs = golden.save_state('dualformer', model, {**variables, **changed})
    updated = golden.read_state(path, 'updated/')
    assert any(key.endswith('running_var') for key in updated)
    for key, value in updated.items():
      if not key.endswith('num_batches_tracked'):
        np.testing.assert_allclose(theirs[key], value, atol=1e-5, err_msg=key)
  assert ran


@pytest.mark.slow
def test_dropout_and_drop_path_need_keys_in_training_alone():
  model = tiny(drop_path=0.5)
  run = jax.jit(
    functools.partial(model.apply, train=True, mutable=['batch_stats'])
  )
  ask = lambda **rngs: run(
    drawn(model), clip(), rngs={k: jax.random.key(v) for k, v in rngs.items()}
  )[0]
  with pytest.raises(Exception, match='dropout'):
    ask(drop_path=0)
  with pytest.raises(Exception, match='drop_path'):
    ask(dropout=0)
  one = ask(dropout=0, drop_path=0)
  for other in (ask(dropout=1, drop_path=0), ask(dropout=0, drop_path=1)):
    assert abs(one - other).max() > 1e-4


@pytest.mark.slow
def test_a_student_and_a_teacher_score_tokens_in_their_own_ways():
  student = tiny(token_head=True)
  variables = drawn(student)
  score = lambda model: jax.jit(
    functools.partial(model.apply, method='token_logits')
  )
  logits_BK, tokens_BTHWK = score(student)(variables, clip())
  assert tokens_BTHWK.shape == (2, 2, 4, 6, 5)
  np.testing.assert_allclose(
    logits_BK, jax.jit(student.apply)(variables, clip()), atol=1e-5
  )
  grid = functools.partial(student.apply, method='grid')
  h = np.asarray(jax.jit(grid)(variables, clip()))
  head = variables['params']['token_head']
  for name in ('up', 'up_again'):
    h = np.maximum(h @ head[name]['kernel'] + head[name]['bias'], 0)
  wanted = h @ head['down']['kernel'] + head['down']['bias']
  np.testing.assert_allclose(tokens_BTHWK, wanted, atol=1e-4)
  # A teacher's tokens are scored by the layer that scores the clip.
  teacher = tiny()
  params = {k: v for k, v in variables['params'].items() if k != 'token_head'}
  logits_BK, tokens_BTHWK = score(teacher)(
    {**variables, 'params': params}, clip()
  )
  np.testing.assert_allclose(tokens_BTHWK.mean((1, 2, 3)), logits_BK, atol=1e-5)


@pytest.mark.slow
def test_weights_start_as_released():
  model = tiny(widths=(32, 64), layers=(1, 1), token_head=True)
  params = jax.jit(model.init)(jax.random.key(0), clip())['params']
  local, peg = (params['stage_0']['block_0'][n] for n in ('level_0', 'peg'))
  for kernel in (
    local['attn']['qkv'],
    local['attn']['out'],
    local['mlp']['up'],
  ):
    assert abs(float(kernel['kernel'].std()) - 0.02) < 0.002
    assert not kernel['bias'].any()
  assert abs(float(params['head']['kernel'].std()) - 0.01) < 0.002
  assert not params['head']['bias'].any()
  for convolution, fan_in in (
    (peg, 27),
    (params['stage_1']['patch'], 4 * 32),
    (params['token_head']['up'], 64),
  ):
    for value in convolution.values():
      assert 0.7 * fan_in**-0.5 < abs(value).max() <= fan_in**-0.5


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    ({'heads': (2, 4, 8)}, r'heads=\(2, 4, 8\) with widths'),
    ({'rates': (1, 1)}, 'expected 3 values for 4 stages'),
    ({'heads': (3, 4, 8, 16)}, 'width 64, which does not divide into 3'),
    ({'patterns': ('LG', 'LG', 'LX', 'LG')}, "'LX'; expected letters L and G"),
    ({'patterns': ('LG', 'LG', '', 'LG')}, 'expected letters L and G'),
    ({'windows': ((1, 1, 1),) * 4}, 'windows of a single token'),
    ({'fine': ((8, 7),) * 4}, r'got a scale of \(8, 7\)'),
    ({'coarse': ((4, 4, 60), (), (), ())}, r'more than the grid'),
    ({'coarser': (((4, 4, 60),), (), (), ())}, 'coarser scale .* more than'),
    ({'coarser': ((), (), (), ((1, 1, 1),))}, 'every token is a key'),
    ({'coarser': (((1, 1, 1),),)}, 'expected 4 values for 4 stages'),
    (
      {
        'patterns': ('LL',) + ('LG',) * 3,
        'coarser': (((1, 1, 1),), (), (), ()),
      },
      r"expected \(\) for a stage without global levels; try G in 'LL'",
    ),
    ({'factorised': True, 'pooling': 'average'}, 'is the mean of both'),
    ({'patterns': ('LL',) * 4, 'factorised': True}, 'factorised=.* no level'),
    ({'built': (32, 16, 16)}, 'leaves .* tokens in stage 3'),
    (
      {'patterns': ('LL',) * 4, 'pooling': 'dense'},
      "pooling='?dense'?, which no level",
    ),
    (
      {'patterns': ('LL',) * 4, 'fine': ((4, 4, 4),) * 4},
      'fine=.* which no level .* reads',
    ),
    ({'patterns': ('GG',) * 4, 'windows': ((2, 2, 2),) * 4}, 'windows=.* read'),
    (
      {'patterns': ('GG',) * 4, 'position': 'relative'},
      'expected a local level',
    ),
  ],
)
def test_fields_that_contradict_each_other_are_refused(fields, says):
  with pytest.raises(InputError, match=says):
    full(**fields)  # before there is a clip


def test_a_clip_too_short_for_the_kernels_is_refused():
  with pytest.raises(InputError, match=r'holds no kernel of .*model\.built'):
    jax.eval_shape(full().apply, abstract(full()), clip(4, 224, 224))
