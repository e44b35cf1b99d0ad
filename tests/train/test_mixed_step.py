"""The whole step with every kind of label, mixed, split and on many devices.

A model of two layers, so that the step is what is tested and compiles fast.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from vidmodels import config as cfg
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import feed, losses, mixup, state, step, token_label
from vidmodels.train.mesh import batch_sharding, make_mesh, replicated

B, CLIP, K = 16, (2, 8, 8, 3), 7
HEADS, MULTI, ANY = (
  Task(heads=(('verb', 3), ('noun', 4))),
  Task('multi'),
  Task('any'),
)
TASKS = [pytest.param(t, id=t.kind + '2' * bool(t.heads))
         for t in (SINGLE, HEADS, MULTI, ANY)]  # fmt: skip
BOTH = cfg.Mix(mixup=0.8, cutmix=1.0)
TX = optax.sgd(1.0)
STEP = 5  # where runs start; draws are of the step


class Small(nn.Module):
  """Two layers over all pixels; what pixel belongs to which clip matters."""

  @nn.compact
  def __call__(self, video_BTHWC, *, train=False):
    h_BF = nn.Dense(6)(video_BTHWC.reshape(len(video_BTHWC), -1))
    return nn.Dense(K)(nn.tanh(h_BF))


def recipe(mix: cfg.Mix = BOTH, **changes) -> cfg.Config:
  return cfg.Config(family='', model={}, mix=mix, **changes)


def smoothing(task: Task) -> float:
  return 0.0 if task == MULTI else 0.1


@functools.cache
def program(
  task: Task,
  mix: cfg.Mix,
  accumulate: int,
  devices: int,
  altered: str,
):
  """A compiled step and its mesh; `altered` says what a test changed in it."""
  del altered
  mesh = make_mesh(cfg.Mesh(), devices=jax.devices()[:devices])
  loss = cfg.Loss(label_smoothing=smoothing(task))
  config = recipe(mix, accumulate=accumulate, loss=loss)
  update = jax.jit(
    step.make_train_step(Small(), TX, config, task=task),
    in_shardings=(replicated(mesh), batch_sharding(mesh), None),
  )
  return update, mesh


def batch(task: Task, seed: int = 0) -> dict[str, np.ndarray]:
  """Random clips with labels of the task; the last four are padding."""
  draw = np.random.default_rng(seed)
  if task.kind == 'single':
    parts = task.parts(K).values()
    label = np.stack([draw.integers(p.start, p.stop, B) for p in parts], 1)
    label = (
      label.astype(np.int32) if task.heads else label[:, 0].astype(np.int32)
    )
  else:
    label = (draw.random((B, K)) < 0.4).astype(np.float32)
    label[:, 2] = 1
  return {
    'video': draw.integers(0, 256, (B, *CLIP), np.uint8),
    'label': label,
    'mask': (np.arange(B) < B - 4).astype(np.float32),
  }


def first() -> state.TrainState:
  """The state that runs start from."""
  init = state.make_init(
    Small(), lambda _: TX, clip_shape=CLIP, seed=3, ema=False
  )
  return init().replace(step=jnp.int32(STEP))


def run(
  task=SINGLE,
  *,
  mix=BOTH,
  accumulate=1,
  devices=1,
  altered='',
  steps=1,
  data=None,
):
  """Metrics of the last of a few steps and the weights after it."""
  update, mesh = program(task, mix, accumulate, devices, altered)
  now = jax.device_put(first(), replicated(mesh))
  fed = feed.to_device(data or batch(task), rows=B, mesh=mesh)
  with jax.set_mesh(mesh):
    for _ in range(steps):
      now, pairs = update(now, fed, {})
  return jax.device_get(pairs), jax.device_get(now.params)


@functools.cache
def alone(task: Task):
  return run(task)


def close(found, wanted, rtol=3e-6):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6),
    found,
    wanted,
  )


def equal(found, wanted):
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.slow
def test_microbatches_do_not_change_what_is_mixed():
  close(run(accumulate=4), alone(SINGLE))


@pytest.mark.parametrize(
  ('task', 'devices', 'accumulate'),
  [
    pytest.param(SINGLE, 2, 1, marks=pytest.mark.slow),
    (HEADS, 4, 4),
    pytest.param(MULTI, 8, 2, marks=pytest.mark.slow),
  ],
)
@pytest.mark.slow
def test_the_mesh_does_not_change_what_is_mixed(task, devices, accumulate):
  close(run(task, accumulate=accumulate, devices=devices), alone(task))


@pytest.mark.slow
def test_a_draw_is_the_same_bits_on_any_mesh():
  key = step.stream_key(jax.random.key_data(jax.random.key(0)), 5, 'mix')
  draw = lambda key: mixup.draw(key, B, BOTH, height=8, width=8)
  spread = jax.jit(draw, out_shardings=replicated(make_mesh(cfg.Mesh())))
  equal(spread(key), jax.jit(draw)(key))


def alter(monkeypatch, change) -> None:
  """Every draw is changed before it is used."""
  draw = mixup.draw
  monkeypatch.setattr(mixup, 'draw', lambda *a, **o: change(draw(*a, **o)))


@pytest.mark.slow
def test_a_share_of_nothing_is_no_mixing_bit_for_bit(monkeypatch):
  """Operation by operation: XLA rounds two whole programs differently.

  On some CPUs alone: weights differed by 1e-8 on one Xeon and not on another.
  """
  alter(
    monkeypatch,
    lambda d: d._replace(weight_HW=d.weight_HW * 0, share=d.share * 0),
  )

  def update(mix: cfg.Mix):
    config = recipe(mix, loss=cfg.Loss(label_smoothing=smoothing(SINGLE)))
    fed = {name: jnp.asarray(v) for name, v in batch(SINGLE).items()}
    now, pairs = step.make_train_step(Small(), TX, config)(first(), fed, {})
    return pairs, now.params

  with jax.disable_jit():
    pairs, params = update(BOTH)
    plain, wanted = update(cfg.Mix())
  equal(params, wanted)
  for name, value in plain.items():
    equal(pairs[name if name in pairs else f'mixed_{name}'], value)
  assert {'mixed_top1', 'loss'} < set(pairs)


def test_a_clip_mixed_with_itself_is_itself(monkeypatch):
  alter(monkeypatch, lambda d: d._replace(distance=jnp.int32(0)))
  pairs, params = run(altered='itself')
  plain, wanted = run(mix=cfg.Mix())
  equal(pairs['loss'], plain['loss'])
  close(params, wanted)  # the gradient is a sum of two shares


@pytest.mark.parametrize('task', [SINGLE, ANY])
@pytest.mark.slow
def test_padding_never_leaks_into_a_clip(task):
  data, again = batch(task), batch(task, seed=9)
  for name in ('video', 'label'):
    again[name][: B - 4] = data[name][: B - 4]
  pairs, params = run(task, data=again)
  equal((pairs, params), alone(task))
  assert pairs['loss'][1] == B - 4


@pytest.mark.slow
def test_every_step_mixes_anew_and_as_in_every_other_run():
  key = jax.random.key_data(jax.random.key(0))
  draw = jax.jit(
    lambda number: mixup.draw(
      step.stream_key(key, number, 'mix'), B, BOTH, height=8, width=8
    )
  )
  shares = [float(draw(number).share) for number in range(6)]
  assert len(set(shares)) == 6
  assert shares[3] == float(draw(3).share)
  # Nothing else is drawn with its key.
  others = step.stream_keys(key, 3, 0).values()
  ours = jax.random.key_data(step.stream_key(key, 3, 'mix')).tolist()
  assert ours not in [jax.random.key_data(k).tolist() for k in others]


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.slow
def test_the_step_is_one_of_gradient_descent_on_the_mixed_loss(task):
  """By hand: pixels and losses mixed, the gradient of the mean of real rows."""
  data, now = batch(task), first()
  key = step.stream_key(now.key, STEP, 'mix')
  draw = mixup.draw(key, B, BOTH, height=8, width=8)
  partner = np.roll(np.arange(B), -int(draw.distance))
  partner = np.where(data['mask'][partner] > 0, partner, np.arange(B))
  weight = np.asarray(draw.weight_HW)[..., None]
  video = (1 - weight) * data['video'] + weight * data['video'][partner]

  def loss(params):
    logits = Small().apply(
      {'params': params}, step.normalise(video, (0.45,) * 3, (0.225,) * 3)
    )
    of = lambda label: losses.loss_per_clip(
      logits, label, task=task, smoothing=smoothing(task)
    )
    own, other = of(data['label']), of(data['label'][partner])
    each = (1 - draw.share) * own + draw.share * other
    return each[: B - 4].mean()

  value, slope = jax.value_and_grad(loss)(now.params)
  pairs, params = alone(task)
  assert pairs['loss'][0] / pairs['loss'][1] == pytest.approx(
    float(value), rel=1e-5
  )
  moved = jax.tree.map(lambda p, g: p - g, now.params, slope)
  close(params, jax.device_get(moved), rtol=1e-4)


def test_training_brings_each_kind_of_loss_down():
  for task in (HEADS, MULTI, ANY):
    before, after = (run(task, mix=cfg.Mix(), steps=n)[0] for n in (1, 8))
    assert after['loss'][0] < 0.7 * before['loss'][0], task


@pytest.mark.slow
def test_a_teacher_is_shown_the_mixed_clip():
  shown = []

  class Student(nn.Module):
    def token_logits(self, video_BTHWC, *, train):
      return jnp.zeros((B, K)), jnp.zeros((B, 1, 1, 1, K))

  def score(frozen, video_BTHWC):
    shown.append(np.asarray(video_BTHWC))
    return jnp.zeros((B, 1, 1, 1, K))

  data = {k: jnp.asarray(v) for k, v in batch(SINGLE).items()}
  draw = mixup.Draw(jnp.int32(B - 1), jnp.full((8, 8), 0.3), jnp.float32(0.3))
  cost = step.Objective(
    Student(), recipe(), teacher=token_label.Teacher(score, {}, {})
  )
  total, _ = cost({}, {}, mixup.add_partners(data, draw.distance), {}, {}, draw)
  assert float(total) == pytest.approx((B - 4) * np.log(K), rel=1e-5)
  partner = mixup.add_partners(data, draw.distance)['partner_video']
  np.testing.assert_array_equal(partner[1:13], data['video'][:12])
  wanted = mixup.blend(data['video'], partner, draw.weight_HW)
  np.testing.assert_array_equal(shown[0], wanted)
