"""Checkpoints in a store that stops answering, or refuses: told soon, once."""

import contextlib
import time

import jax
import jax.numpy as jnp
import pytest

from vidmodels import config as cfg
from vidmodels import files, object_store
from vidmodels.train import orbax_stores, save_errors
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.train.state import TrainState

PARAMS = {'a': jnp.arange(6.0), 'b': {'c': jnp.ones((3, 2))}}
META = {'config': {}, 'classes': ['x'], 'fps': 0.0}
ABSTRACT = jax.tree.map(
  lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), PARAMS
)


@pytest.fixture(scope='module')
def workdir(server):
  folder = files.place(f'{server.root}/weights#1 [a]?')
  save(folder)
  return folder


@pytest.fixture
def impatient(server, monkeypatch):
  monkeypatch.setattr(object_store, 'PATIENCE_S', 1.0)
  yield server
  server.proxy.work()


def save(folder):
  with contextlib.closing(Checkpoints(folder, cfg.Checkpoint())) as saved:
    saved.save_weights({'params': PARAMS}, meta=META)


def only_arrays(proxy, status):
  """Answers `status` to TensorStore alone, which names its objects so."""
  proxy.fail(status, only='/d/')


def test_tries_take_about_the_patience_of_other_requests():
  retries = object_store.tensorstore_retries()
  waits = [min(0.25 * 2**k, 8.0) for k in range(retries['max_retries'])]
  assert object_store.PATIENCE_S <= sum(waits) < object_store.PATIENCE_S + 10
  description = orbax_stores.describe_s3('s3://bucket/run')
  assert description['s3_request_retries'] == retries


@pytest.mark.fast_every(2)
def test_a_run_copied_into_a_store_is_whole_and_without_its_last_object_none(
  server, tmp_path
):
  save(tmp_path)
  target = files.place(f'{server.root}/copied')
  for path in tmp_path.rglob('*'):
    if path.is_file():
      object_store.upload(path, target / path.relative_to(tmp_path))
  with contextlib.closing(Checkpoints(target)) as saved:
    assert saved.steps() == saved.steps_on_disk() == [0]
    assert saved.is_whole(0)
  # As one that is being written, or whose run was killed in the save.
  (target / 'checkpoints/0' / orbax_stores.COMMIT_NAME).unlink()
  with contextlib.closing(Checkpoints(target)) as saved:
    assert saved.steps() == saved.steps_on_disk() == []


# Of TensorStore's threads, whose orbax is gone.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.fast_every(4)
@pytest.mark.parametrize(
  ('status', 'error', 'words'),
  [
    (503, object_store.StoreError, 'did not answer'),
    (403, object_store.StoreRefusal, 'may not use'),
  ],
)
def test_arrays_that_the_store_withholds_are_no_damage_and_told_soon(
  impatient, workdir, status, error, words
):
  with contextlib.closing(Checkpoints(workdir)) as saved:
    for read in (
      lambda: saved.restore_item(0, 'params', ABSTRACT),
      lambda: saved.is_whole(0),
    ):
      only_arrays(impatient.proxy, status)
      start = time.monotonic()
      with pytest.raises(error, match=words):
        read()
      assert time.monotonic() - start < 20
      impatient.proxy.work()
      assert saved.is_whole(0)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.fast_every(4)
@pytest.mark.parametrize('status', [503, 403])
def test_a_save_that_the_store_refuses_is_one_error_and_no_checkpoint(
  impatient, status
):
  folder = files.place(f'{impatient.root}/refused{status}')
  state = TrainState(
    step=jnp.asarray(2),
    params=PARAMS,
    opt_state={},
    ema=None,
    model_state={},
    key=jnp.zeros(2, jnp.uint32),
  )
  saved = Checkpoints(folder, cfg.Checkpoint())
  saved.save(state, step=2, data={'next_step': 2}, meta=META)
  saved.wait()
  assert saved.steps_saved() == [2]
  only_arrays(impatient.proxy, status)
  start = time.monotonic()
  saved.save(state, step=4, data={'next_step': 4}, meta=META)
  with pytest.raises(save_errors.SaveError) as error:
    saved.wait()
  assert 'checkpoint 4 of ' in str(error.value)
  assert 'checkpoint 2 is the last complete one' in str(error.value)
  # To say so, a store that has just been silent is not asked again.
  impatient.proxy.fail(status)
  assert saved.steps_saved() == [2]
  assert time.monotonic() - start < 20
  impatient.proxy.work()
  saved.abandon()
  with contextlib.closing(Checkpoints(folder, cfg.Checkpoint())) as again:
    assert again.steps_on_disk() == [2]
