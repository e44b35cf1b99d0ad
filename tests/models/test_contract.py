"""What holds for every family, whichever there are.

Each test takes its families from `models.families()` and its sizes from the
family's own TINY, so that a new file is tested without an edit here.
"""

import functools
import re
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sixth

from vidmodels import models

CLASSES = 5
FAMILIES = models.families()
every_family = pytest.mark.parametrize('family', FAMILIES)


def tiny(family: str, **more):
  """The family's smallest model, with some fields changed."""
  fields = {**models.find(family).TINY, **more}
  return models.build(family, classes=CLASSES, **fields)


def clip(family: str, batch: int = 2, scale: int = 1) -> jax.Array:
  T, H, W = (scale * size for size in models.find(family).TINY_CLIP)
  draw = np.random.default_rng(7).normal(size=(batch, T, H, W, 3))
  return jnp.asarray(draw, jnp.float32)


def drawn(model, video):
  """Variables whose parameters are all away from zero, and from their start.

  Parameters are drawn here: to compile a model's own draws takes up to 17 s.
  """
  abstract = jax.eval_shape(model.init, jax.random.key(0), video)
  rng = np.random.default_rng(1)

  def draw(path, leaf):
    fan_in = max(np.prod(leaf.shape[:-1]), 1)
    spread = 0.1 if leaf.ndim < 2 else max(fan_in**-0.5, 0.1)
    if any(part.key == 'kqv' for part in path):
      spread = 0.02  # more, and the features of a Performer are all 0
    middle = 1.0 if path[-1].key == 'scale' else 0.0
    return np.float32(middle + spread * rng.normal(size=leaf.shape))

  params = jax.tree_util.tree_map_with_path(draw, abstract['params'])
  if len(abstract) == 1:
    return {'params': params}
  rest = lambda key: {**model.init(key, video), 'params': {}}
  return {**jax.jit(rest)(jax.random.key(0)), 'params': params}


@functools.cache
def made(family: str):
  return drawn(tiny(family), clip(family))


def answer(family: str, video=None, **more):
  if video is None and 'dtype' not in more:  # gradients() ran it already
    return _logits_and_gradients(family, **more)[0]
  video = clip(family) if video is None else video
  return _runner(family, **more)(made(family), video)


@functools.cache
def _runner(family: str, **more):
  return jax.jit(tiny(family, **more).apply)


def variants(family: str) -> list[dict]:
  """The defaults, and each choice of each field that has choices.

  A family whose choices depend on each other lists its own, as VARIANTS.
  """
  if listed := getattr(models.find(family), 'VARIANTS', None):
    return [{}, *listed]
  hints = {f.name: f.type for f in models._fields(family).values()}
  return [{}] + [
    {name: choice}
    for name, hint in hints.items()
    if typing.get_origin(hint) is typing.Literal
    for choice in typing.get_args(hint)
    if choice != models.fields(family)[name]
  ]


def rngs() -> dict[str, jax.Array]:
  return {'drop_path': jax.random.key(3), 'dropout': jax.random.key(4)}


def some_variants(family: str) -> list[dict]:
  """The defaults and every fourth variant: the slow lane takes them all."""
  first, *others = variants(family)
  return [first, *others[::4]]


some_or_all = pytest.mark.parametrize(
  'choose',
  [
    pytest.param(some_variants, id='some'),
    pytest.param(variants, id='all', marks=pytest.mark.slow),
  ],
)
some_or_long = pytest.mark.parametrize(
  'choose',
  [
    pytest.param(some_variants, id='some'),
    pytest.param(
      variants, id='all', marks=[pytest.mark.slow, pytest.mark.long]
    ),
  ],
)


@functools.cache
def shapes(model):
  """A clip, the logits and the variables of a model, as shapes alone."""
  family = type(model).__module__.rpartition('.')[2]
  T, H, W = models.find(family).TINY_CLIP
  video = jax.ShapeDtypeStruct((2, T, H, W, 3), jnp.float32)
  key = jax.random.key(0)
  return video, *jax.eval_shape(model.init_with_output, key, video)


def paths(params) -> dict[str, tuple[int, ...]]:
  flat, _ = jax.tree_util.tree_flatten_with_path(params)
  name = functools.partial(jax.tree_util.keystr, simple=True, separator='/')
  return {name(path): leaf.shape for path, leaf in flat}


def uncovered(sharding, params) -> list[str]:
  """What is wrong with a family's rules for these parameters."""
  wrong = []
  for path, shape in paths(params).items():
    axes = next(
      (axes for rule, axes in sharding if re.search(rule, path)), None
    )
    if axes is None:
      wrong.append(f'{path}: no rule')
    elif axes and len(axes) != len(shape):
      wrong.append(f'{path}: {axes} for {shape}')
    elif not {a for a in axes if a} <= {'data', 'fsdp', 'tensor'}:
      wrong.append(f'{path}: unknown axis in {axes}')
  return wrong


@every_family
@some_or_long
@pytest.mark.fast_every(9)
def test_every_variant_answers_float32_from_float32_parameters(family, choose):
  for more in choose(family):
    # In float32 the defaults alone: it is bfloat16 that has to be turned back.
    for dtype in ['bfloat16'] if more else models.DTYPES:
      model = tiny(family, dtype=dtype, **more)
      video, logits_BK, variables = shapes(model)
      if not more:
        logits_BK = jax.eval_shape(model.apply, variables, video)
      assert (logits_BK.shape, logits_BK.dtype) == ((2, CLASSES), jnp.float32)
      if not more:
        features = functools.partial(model.apply, method='features')
        y_BD = jax.eval_shape(features, variables, video)
        assert (y_BD.ndim, y_BD.shape[0], y_BD.dtype) == (2, 2, jnp.float32)
      dtypes = {x.dtype for x in jax.tree.leaves(variables['params'])}
      assert dtypes == {jnp.dtype('float32')}


@every_family
@some_or_all
@pytest.mark.fast_every(9)
def test_every_parameter_of_every_variant_has_a_sharding_rule(family, choose):
  sharding, used = models.find(family).SHARDING, set()
  for more in choose(family):
    *_, variables = shapes(tiny(family, dtype='bfloat16', **more))
    assert uncovered(sharding, variables['params']) == [], more
    for path in paths(variables['params']):
      used.add(next(rule for rule, _ in sharding if re.search(rule, path)))
  if choose is variants:
    assert {rule for rule, _ in sharding} == used, 'rules that nothing needs'


@every_family
@pytest.mark.fast_every(9)
def test_bfloat16_answers_nearly_as_float32_does(family):
  full, half = answer(family), answer(family, dtype='bfloat16')
  assert np.isfinite(full).all()
  scale = float(jnp.abs(full).max())
  np.testing.assert_allclose(half, full, atol=0.05 * scale)
  assert (full != half).any()  # bfloat16 was used at all


@every_family
@pytest.mark.fast_every(9)
def test_a_clip_is_answered_alone_as_in_a_batch(family):
  video = clip(family)
  one = jnp.concatenate([answer(family, video[i : i + 1]) for i in range(2)])
  np.testing.assert_allclose(one, answer(family, video), atol=1e-5)
  assert abs(one[0] - one[1]).max() > 1e-3  # and the clip matters


def gradients(family: str, **more):
  return _logits_and_gradients(family, **more)[1]


@functools.cache
def _logits_and_gradients(family: str, **more):
  """One program for both: to compile it is what takes the time."""
  model, video = tiny(family, **more), clip(family)

  def loss(params):
    variables = {**made(family), 'params': params}
    logits_BK = model.apply(variables, video)
    return (logits_BK[:, 0] - logits_BK[:, 1] ** 2).sum(), logits_BK

  grad = jax.jit(jax.grad(loss, has_aux=True))
  grads, logits_BK = grad(made(family)['params'])
  return logits_BK, paths_to(grads)


def paths_to(params) -> dict[str, np.ndarray]:
  names, leaves = paths(params), jax.tree.leaves(params)
  return dict(zip(names, map(np.asarray, leaves), strict=True))


@every_family
@pytest.mark.fast_every(9)
def test_every_parameter_has_a_finite_gradient_that_is_not_zero(family):
  for path, grad in gradients(family).items():
    assert np.isfinite(grad).all(), path
    assert abs(grad).max() > 1e-6, path


# Blocks are scanned and computed again by nn/stack.py alone: two families
# stand for all. With both switches, all do in EVERY_VARIANT below.
@pytest.mark.parametrize('family', ['timesformer', 'vidtr'])
@pytest.mark.parametrize(
  'switches',
  [
    ('remat', 'scan'),
    pytest.param(('remat',), marks=pytest.mark.slow),
    pytest.param(('scan',), marks=pytest.mark.slow),
  ],
  ids='+'.join,
)
def test_remat_and_scan_change_neither_answers_nor_gradients(family, switches):
  on = {switch: True for switch in switches if switch in models.fields(family)}
  if not on:
    pytest.skip(f'{family} has no {" and no ".join(switches)}')
  # Not bit for bit: XLA may fuse the blocks differently.
  np.testing.assert_allclose(answer(family, **on), answer(family), atol=1e-5)
  plain, again = gradients(family), gradients(family, **on)
  assert set(plain) == set(again)
  for path in plain:
    scale = 1e-5 * max(abs(plain[path]).max(), 1)
    np.testing.assert_allclose(
      again[path], plain[path], atol=scale, err_msg=path
    )


@pytest.mark.slow
@every_family
def test_a_scan_is_one_and_draws_drop_path_while_training(family):
  if 'scan' not in models.fields(family):
    pytest.skip(f'{family} has no scan')
  model, video = tiny(family, scan=True), clip(family)
  asked = dict(rngs=rngs(), mutable=['batch_stats'])
  train = jax.jit(functools.partial(model.apply, train=True, **asked))
  assert ' scan[' in str(jax.make_jaxpr(model.apply)(made(family), video))
  one, _ = train(made(family), video)
  again, _ = train(made(family), video)
  assert np.isfinite(one).all()
  np.testing.assert_array_equal(one, again)


EVERY_VARIANT = [
  pytest.param(family, more, id=f'{family}-{n}')
  for family in FAMILIES
  for n, more in enumerate(variants(family))
]


@pytest.mark.slow
@pytest.mark.slow_every(8)
@pytest.mark.parametrize(('family', 'more'), EVERY_VARIANT)
def test_every_variant_computes_as_the_defaults_do(family, more):
  """Gradients, bfloat16, remat and scan of one variant at a time."""
  model, video = tiny(family, **more), clip(family)
  variables = drawn(model, video)

  def both(model):
    def loss(params):
      given = {**variables, 'params': params}
      logits_BK = model.apply(given, video)
      # Of all classes: some variants have a head for each group of them.
      total = (logits_BK[:, 1:] - logits_BK[:, :-1] ** 2).sum()
      if getattr(model, 'token_head', False):  # answers in training alone
        _, tokens = model.apply(given, video, method='token_logits')
        total += (tokens[..., 0] - tokens[..., 1] ** 2).sum()
      return total, logits_BK

    grad = jax.jit(jax.grad(loss, has_aux=True))
    grads, logits_BK = grad(variables['params'])
    return np.asarray(logits_BK), paths_to(grads)

  logits_BK, grads = both(model)
  assert np.isfinite(logits_BK).all()
  # A scheme that ends with time leaves that last step to patches which the
  # class token no longer looks at.
  depth = {path: re.match(r'(?:block|layer)_(\d+)/', path) for path in grads}
  last = max((int(m[1]) for m in depth.values() if m), default=-1)
  for path, grad in grads.items():
    assert np.isfinite(grad).all(), path
    unread = depth[path] and int(depth[path][1]) == last
    assert abs(grad).max() > 0 or unread, path
  switches = [s for s in ('remat', 'scan') if s in models.fields(family)]
  again_BK, again = both(tiny(family, **more, **dict.fromkeys(switches, True)))
  np.testing.assert_allclose(again_BK, logits_BK, atol=1e-5)
  for path, grad in grads.items():
    scale = 1e-5 * max(abs(grad).max(), 1)
    np.testing.assert_allclose(again[path], grad, atol=scale, err_msg=path)
  half = tiny(family, dtype='bfloat16', **more)
  half_BK = jax.jit(half.apply)(variables, video)
  off = abs(np.asarray(half_BK) - logits_BK).max()
  assert off < 0.05 * max(abs(logits_BK).max(), 0.1)


@every_family
@pytest.mark.fast_every(9)
def test_one_checkpoint_fits_other_lengths_and_sizes(family):
  longer = clip(family, scale=2)
  logits_BK = jax.eval_shape(tiny(family).apply, made(family), longer)
  assert logits_BK.shape == (2, CLASSES)


@pytest.mark.slow
@every_family
def test_one_checkpoint_runs_at_other_lengths_and_sizes(family):
  logits_BK = answer(family, clip(family, scale=2))
  assert logits_BK.shape == (2, CLASSES)
  assert np.isfinite(logits_BK).all()


@every_family
@pytest.mark.parametrize(
  'bad',
  [
    lambda video: video[0],
    lambda video: video[:, :, :1, :1],
    lambda video: video[..., :1],
    lambda video: (video * 10).astype(jnp.uint8),
  ],
  ids=['no batch axis', 'one pixel', 'grey', 'uint8'],
)
def test_video_it_cannot_take_is_a_value_error_that_names_the_shape(
  family, bad
):
  video = bad(clip(family))
  with pytest.raises(ValueError, match=r'\d+|uint8'):
    jax.eval_shape(tiny(family).apply, made(family), video)


@every_family
@pytest.mark.fast_every(9)
def test_training_is_a_function_of_its_key(family):
  model, video = tiny(family), clip(family)

  run = jax.jit(
    functools.partial(model.apply, train=True, mutable=['batch_stats'])
  )
  one, _ = run(made(family), video, rngs=rngs())
  again, _ = run(made(family), video, rngs=rngs())
  np.testing.assert_array_equal(one, again)


@pytest.mark.slow
@every_family
def test_intermediates_are_kept_on_request_and_change_nothing(family):
  model, video = tiny(family), clip(family)
  assert 'intermediates' not in made(family)
  apply = jax.jit(functools.partial(model.apply, mutable='intermediates'))
  logits_BK, kept = apply(made(family), video)
  assert jax.tree.leaves(kept['intermediates'])
  np.testing.assert_allclose(logits_BK, answer(family), atol=1e-5)
  plain = str(jax.make_jaxpr(model.apply)(made(family), video))
  asked = functools.partial(model.apply, mutable='intermediates')
  assert len(plain) <= len(str(jax.make_jaxpr(asked)(made(family), video)))


def test_a_sixth_family_is_one_new_file(tmp_path, monkeypatch):
  sixth.add(tmp_path, monkeypatch)
  assert models.families() == sorted([*FAMILIES, 'sixth'])
  assert models.fields('sixth') == {'width': 8}
  test_every_variant_answers_float32_from_float32_parameters('sixth', variants)
  test_every_parameter_of_every_variant_has_a_sharding_rule('sixth', variants)
  with pytest.raises(ValueError, match="try 'sixth'"):
    models.find('sixht')
