"""What each remat policy keeps, in every family; the memory of a whole step."""

import functools
import math

import fake
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.data.records.task import SINGLE
from vidmodels.train import build, restore, workdirs
from vidmodels.train.mesh import batch_sharding
from vidmodels.typing import REMAT, InputError

FAMILIES = sorted(
  (f for f in models.families() if 'remat' in models.fields(f)),
  key=lambda family: family != 'timesformer',  # the one of the fast lane
)


def tiny_model(family: str, **more):
  """The family's smallest model, with drops where it has any."""
  known = models.fields(family)
  drops = {'drop_path': 0.2, 'dropout': 0.2}
  fields = {name: rate for name, rate in drops.items() if name in known}
  if 'scan' not in known:
    more.pop('scan', None)
  return models.build(
    family, classes=3, **models.find(family).TINY | fields | more
  )


@functools.cache
def inputs(family: str):
  """A clip and variables, drawn here: compiling a model's own takes longer."""
  rng = np.random.default_rng(0)
  video = rng.normal(size=(2, *models.find(family).TINY_CLIP, 3))
  video = jnp.asarray(video, jnp.float32)
  shapes = jax.eval_shape(tiny_model(family).init, jax.random.key(0), video)
  draw = lambda leaf: jnp.asarray(0.2 * rng.normal(size=leaf.shape), leaf.dtype)
  variables = jax.tree.map(draw, shapes)
  return video, jax.tree.map(jnp.abs, variables)


def objective(family: str, **more):
  """(parameters, other collections, clip) -> a training loss."""
  model = tiny_model(family, **more)
  keys = jax.random.split(jax.random.key(1))
  rngs = dict(zip(('drop_path', 'dropout'), keys, strict=True))

  def loss(params, rest, video):
    out, changed = model.apply(
      {'params': params, **rest},
      video,
      train=True,
      rngs=rngs,
      mutable=['batch_stats'],
    )
    return (jax.nn.log_softmax(out) ** 2).mean(), changed

  return loss


def split(variables):
  rest = dict(variables)
  return rest.pop('params'), rest


def some_switches(family: str) -> list[tuple[str, bool]]:
  """A policy, in every second family with a scan; and a scan under 'none'.

  Each compiles a model: all of them take 100 s a family. Small layers are
  scanned under every policy in `test_stack.py`.
  """
  at, policies = FAMILIES.index(family), REMAT[1:]
  if 'scan' not in models.fields(family):
    return [(policies[at % 4], False)]
  return [(policies[at % 4], at % 2 == 0), ('none', True)]


# Image models are made of the blocks of these.
IMAGES = ('focalnet', 'twins_svt', 'vit')
every_family = pytest.mark.parametrize(
  'family', [f for f in FAMILIES if f not in IMAGES]
)


@pytest.mark.slow
@pytest.mark.slow_every(2)
@every_family
def test_losses_gradients_and_statistics_are_those_of_no_policy(family):
  video, variables = inputs(family)
  params, rest = split(variables)

  def run(**more):
    step = jax.value_and_grad(objective(family, **more), has_aux=True)
    lowered = jax.jit(step).lower(params, rest, video)
    # Half the time to compile, for slow code.
    options = {'xla_backend_optimization_level': 0}
    compiled = lowered.compile(compiler_options=options)
    return compiled(params, rest, video)

  wanted = run(remat='none')
  scale = max(abs(leaf).max() for leaf in jax.tree.leaves(wanted[1]))
  for policy, scan in some_switches(family):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6 * max(scale, 1)),
      run(remat=policy, scan=scan),
      wanted,
    )


def kept(family: str, **more) -> list[jax.ShapeDtypeStruct]:
  """What waits for the backward pass, parameters among it."""
  video, variables = inputs(family)
  params, rest = split(variables)
  loss = objective(family, **more)

  def residuals(params):
    return jax.vjp(lambda p: loss(p, rest, video)[0], params)[1]

  return jax.tree.leaves(jax.eval_shape(residuals, params))


def size(leaves: list[jax.ShapeDtypeStruct]) -> int:
  """Their bytes."""
  return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


@pytest.mark.parametrize(
  ('family', 'scan'),
  [(f, 'scan' in models.fields(f)) for f in FAMILIES]
  + [('timesformer', False)],
)
@pytest.mark.fast_every(20)
def test_a_policy_keeps_less_than_the_one_before_it(family, scan):
  # In bfloat16, where products have a derivative of their own.
  found = [
    size(kept(family, remat=policy, scan=scan, dtype='bfloat16'))
    for policy in ('none', 'dots', 'save_attention', 'block')
  ]
  assert found == sorted(found, reverse=True)
  assert len(set(found)) == 4, found


@pytest.mark.parametrize(
  'family', ['timesformer', 'xvit', 'vidtr', 'video_focalnet']
)
@pytest.mark.fast_every(4)
def test_a_scan_does_not_keep_what_is_cheap_to_compute_again(family):
  whole, scanned = (
    kept(family, remat='none', scan=scan, dtype='bfloat16')
    for scan in (False, True)
  )
  assert size(scanned) < 0.6 * size(whole)  # with what is outside of the loop


def test_heads_are_kept_as_one_axis():
  leaves = kept('timesformer', remat='none', scan=True, dtype='bfloat16')
  model = tiny_model('timesformer')
  tokens = [leaf.shape for leaf in leaves if leaf.dtype == jnp.bfloat16]
  scanned = [shape for shape in tokens if shape[0] == model.layers]
  # Queries, keys and values, mixed tokens and outputs, over time and space.
  assert len(scanned) >= 6
  # As [A, d] a TPU would pad d, from 64 to 128.
  assert not [shape for shape in scanned if shape[-2] == model.heads], scanned


@pytest.mark.parametrize('scan', [False, True])
def test_offload_moves_what_is_kept_to_the_host(scan):
  video, variables = inputs('timesformer')
  params, rest = split(variables)

  def program(policy):
    loss = objective('timesformer', remat=policy, scan=scan)
    grad = jax.grad(lambda p: loss(p, rest, video)[0])
    return str(jax.make_jaxpr(grad)(params))

  assert 'host' in program('offload')
  assert 'host' not in program('save_attention')


def test_offload_is_refused_where_devices_have_no_memory_of_the_host(
  tmp_path, monkeypatch
):
  class Memory:
    kind = 'device'

  config = tiny.config(fake.write(tmp_path), model__remat='offload')
  build.build(config, classes=3, examples=24)
  monkeypatch.setattr(build, 'memories', lambda device: [Memory.kind])
  with pytest.raises(InputError, match=r"'offload'.*pinned_host.*try .*block"):
    build.build(config, classes=3, examples=24)


@pytest.mark.parametrize(
  ('old', 'policy'), [(True, 'block'), (False, 'none'), ('True', 'block')]
)
def test_true_and_false_are_block_and_none(old, policy):
  assert models.build('timesformer', classes=3, remat=old).remat == policy
  flag = [f'--config.model.remat={old}']
  loaded = tiny.recipe.load('demo', ['--config.data.dir=x', *flag])
  assert loaded.model['remat'] == policy


def test_a_checkpoint_of_a_recipe_with_true_is_opened_and_goes_on(tmp_path):
  config = cfg.as_dict(tiny.config(fake.write(tmp_path), model__remat='block'))
  old = {**config, 'model': {**config['model'], 'remat': True}}
  meta = {'config': old, 'classes': list('abc'), 'task': SINGLE.to_json()}
  *_, model = restore.check_meta(meta, tmp_path)
  assert model.remat == 'block'
  found = workdirs.differences({'config': old}, {'config': config})
  assert found == []


@pytest.mark.slow
def test_the_memory_of_a_scanned_step_falls_from_policy_to_policy(tmp_path):
  records = fake.write(tmp_path)

  def temporary(policy: str) -> int:
    config = tiny.config(
      records,
      model__remat=policy,
      model__scan=True,
      model__layers=6,
      model__width=64,
      clip__frames=8,
      clip__size=32,
      augment__short_side='(32, 36)',
      mesh__data=1,
    )
    run = build.build(config, classes=3, examples=24, devices=jax.devices()[:1])
    place = batch_sharding(run.mesh)
    clip = (config.batch, 8, 32, 32, 3)
    shapes = {
      'video': (clip, jnp.uint8),
      'label': (clip[:1], jnp.int32),
      'mask': (clip[:1], jnp.float32),
    }
    batch = {
      name: jax.ShapeDtypeStruct(*spec, sharding=place)
      for name, spec in shapes.items()
    }
    update, frozen = run._jitted_step(None)
    with jax.set_mesh(run.mesh):
      compiled = update.lower(run.abstract, batch, frozen).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  found = [temporary(p) for p in ('none', 'dots', 'save_attention', 'block')]
  assert found == sorted(found, reverse=True), found
  assert found[-1] < found[0] / 2, found
