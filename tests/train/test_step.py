"""The step on several meshes, with microbatches, averaging and bad numbers."""

import dataclasses

import fake
import jax
import numpy as np
import pytest
import tiny

from vidmodels import config as cfg
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.stream import batch_stream
from vidmodels.train import build, feed, state, step
from vidmodels.train.mesh import local_rows


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  return fake.write(tmp_path_factory.mktemp('records'))


def run(
  config: cfg.Config, records, *, devices=None, steps: int = 3, first=None
):
  """Losses, gradient norms and the last state of a few steps.

  `first` is the state to begin with, in place of a fresh one.
  """
  opened = RecordSet.open(records, 'train')
  made = build.build(config, classes=3, examples=len(opened), devices=devices)
  batches = batch_stream.train_batches(
    opened,
    clip=config.clip,
    augment=config.augment,
    data=config.data,
    batch=config.batch,
    seed=config.seed,
    rows=local_rows(made.mesh, config.batch),
    start_step=0,
    steps=steps,
  )
  fed = feed.Feed(batches, rows=config.batch, mesh=made.mesh)
  if first is None:
    now = state.create_state(made.init, made.shardings)
  else:
    now = jax.device_put(first, made.shardings)
  update = made.train_step()
  losses = []
  with jax.set_mesh(made.mesh):
    for batch in fed:
      now, pairs = update(now, batch)
      losses.append([float(v) for v in (*pairs['loss'], pairs['grad_norm'][0])])
  return np.array(losses), now


@pytest.fixture(scope='module')
def alone(records):
  """One device, no microbatches, drop path on."""
  config = tiny.config(records, model__drop_path=0.3, optim__ema=0.5)
  return config, *run(config, records, devices=jax.devices()[:1])


@pytest.mark.slow
def test_losses_do_not_depend_on_the_mesh(alone, records):
  """With all of XLA's optimisations; test_mesh.py has families and meshes."""
  config, losses, _ = alone
  mesh = cfg.Mesh(data=2, fsdp=2, tensor=2)
  found, _ = run(dataclasses.replace(config, mesh=mesh), records)
  worst = abs(found[:, 0] / found[:, 1] - losses[:, 0] / losses[:, 1]).max()
  assert worst < 2e-6
  assert (found[:, 1] == 8).all()


@pytest.mark.slow
def test_microbatches_change_memory_and_not_the_answer(records):
  config = tiny.config(records)
  one = jax.devices()[:1]
  whole, _ = run(config, records, devices=one)
  config = dataclasses.replace(config, accumulate=4)
  parts, _ = run(config, records, devices=one)
  np.testing.assert_allclose(parts, whole, rtol=2e-6)


def test_drop_path_draws_anew_every_step_and_the_same_in_every_run():
  keys = [
    step.stream_keys(jax.random.key_data(jax.random.key(0)), s, part)
    for s in (0, 1)
    for part in (0, 1)
  ]
  seen = {
    tuple(np.asarray(jax.random.key_data(k[name])))
    for k in keys
    for name in step.STREAMS
  }
  assert len(seen) == 8  # two steps, two microbatches, two streams


@pytest.mark.slow
def test_the_average_follows_the_weights(alone, records):
  config, _, last = alone
  steps = [run(config, records, devices=jax.devices()[:1], steps=n)[1].params
           for n in (0, 1, 2, 3)]  # fmt: skip
  expected = steps[0]
  for params in steps[1:]:
    expected = jax.tree.map(lambda e, p: 0.5 * e + 0.5 * p, expected, params)
  jax.tree.map(
    lambda e, a: np.testing.assert_allclose(e, a, rtol=1e-5, atol=1e-7),
    expected,
    last.ema,
  )


def test_pixels_are_scaled_per_channel():
  video = np.full((1, 1, 1, 1, 3), 255, np.uint8)
  found = step.normalise(video, (0.5, 0.0, 1.0), (0.25, 1.0, 0.5))
  np.testing.assert_allclose(np.ravel(found), [2.0, 1.0, 0.0])
