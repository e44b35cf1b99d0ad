"""A save that fails is told once, with what is on disk and the next move."""

import errno
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import time

import fake
import pytest
import tiny

from vidmodels import config as cfg
from vidmodels import object_store
from vidmodels.cli import main
from vidmodels.train import checkpoint, hooks, loop, save_errors

REPO = pathlib.Path(__file__).resolve().parents[2]
FULL = OSError(errno.ENOSPC, 'No space left on device')
# As tensorstore says it.
STATUS = ValueError(
  'RESOURCE_EXHAUSTED: Error writing "key/0" in OCDBT database: Failed to '
  "write 641 bytes to file 19: No space left on device [os_error_code='28'] "
  "[tensorstore_spec='{}']"
)

# As on a full disk: no file may grow beyond so many bytes.
SMALL = """
import resource, signal
from vidmodels.cli import run_and_exit
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
run_and_exit()
"""


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  return fake.write(tmp_path_factory.mktemp('records'))


@pytest.fixture
def hooked():
  """Puts back what `one_voice` leaves for the rest of a process."""
  before = sys.unraisablehook
  names = ('absl', 'asyncio')
  filters = {name: [*logging.getLogger(name).filters] for name in names}
  yield
  sys.unraisablehook = before
  for name in names:
    logging.getLogger(name).filters[:] = filters[name]


def fails(monkeypatch, error, step):
  """From `step` on the disk is full."""
  save = checkpoint.Checkpoints.save

  def full(self, state, *, step: int, **more):
    manager = self._manager
    if step >= fails_from:
      monkeypatch.setattr(manager, 'save', raises)
    save(self, state, step=step, **more)

  def raises(*args, **more):
    logging.getLogger('absl').error('a thread failed', exc_info=error)
    raise error

  fails_from = step
  monkeypatch.setattr(checkpoint.Checkpoints, 'save', full)


@pytest.mark.slow
def test_a_full_disk_is_one_message_and_the_run_goes_on_from_the_last_save(
  records, tmp_path, capsys, monkeypatch, hooked
):
  argv = ['train', '--config=demo', f'--workdir={tmp_path}', '--json']
  argv += tiny.flags(records, model__layers=1)
  with monkeypatch.context() as patch:
    fails(patch, STATUS, 4)
    assert main(argv) == 1
  out, err = capsys.readouterr()
  said = json.loads(out)
  assert said['exit_code'] == 1
  assert said['error'] == (
    f'checkpoint 4 of {tmp_path}/checkpoints could not be saved: the disk is '
    'full (No space left on device); checkpoint 2 is the last complete '
    'one; make room and give the same command again, it resumes from there'
  )
  assert err.endswith(f'\nvidmodels train: {said["error"]}\n')
  assert 'Traceback' not in err
  assert 'a thread failed' not in err
  assert main(argv) == 0
  assert 'resumed from checkpoint 2' in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_failure_at_the_last_step_ends_the_process_with_one_message(
  records, tmp_path
):
  """What orbax and its threads say of it is held back."""
  run = subprocess.run(
    [
      sys.executable,
      *('-B', '-c', SMALL, 'train', '--config=demo'),
      f'--workdir={tmp_path}',
      *tiny.flags(
        records,
        model__layers=1,
        optim__steps=3,
        checkpoint__every=1000,
        log__every=1,
      ),
    ],
    cwd=REPO,
    # Its files of compiled programs would be too large as well.
    env=os.environ
    | {'PYTHONPATH': str(REPO), 'JAX_ENABLE_COMPILATION_CACHE': 'false'},
    capture_output=True,
    text=True,
  )
  ended = time.time() - (tmp_path / 'metrics.jsonl').stat().st_mtime
  assert ended < 10
  assert run.returncode == 1
  lines = run.stderr.splitlines()
  assert all(line.startswith('train: ') for line in lines[:-1]), run.stderr
  assert lines[-1] == (
    f'vidmodels train: checkpoint 3 of {tmp_path}/checkpoints could not be '
    'saved: File too large; there is no complete checkpoint yet; fix that '
    'and give the same command again, it starts anew'
  )


@pytest.mark.slow
def test_a_save_that_fails_at_preemption_is_no_preemption(
  records, tmp_path, capsys, monkeypatch, hooked
):
  """Code 42 would say that all is saved."""
  argv = ['train', '--config=demo', f'--workdir={tmp_path}']
  argv += tiny.flags(records, model__layers=1, checkpoint__every=1000)
  monkeypatch.setattr(loop.Preemption, 'reached', lambda self, step: step == 2)
  fails(monkeypatch, FULL, 2)
  assert main(argv) == 1
  out, err = capsys.readouterr()
  assert 'preempted' not in out + err
  assert 'checkpoint 2 of' in err.splitlines()[-1]
  assert 'the disk is full' in err.splitlines()[-1]


def fail_and_close(workdir, monkeypatch, close) -> None:
  """A save fails; then orbax closes as `close` does."""
  with loop._checkpoints(workdir, cfg.Checkpoint()) as checkpoints:
    monkeypatch.setattr(checkpoints._manager, 'close', close)
    raise save_errors.SaveError('first')


def test_threads_that_wait_for_a_dead_disk_are_left_behind(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(checkpoint, '_ABANDON_SECONDS', 0.2)
  began = time.monotonic()
  with pytest.raises(save_errors.SaveError, match='first'):
    fail_and_close(tmp_path, monkeypatch, lambda: time.sleep(60))
  assert time.monotonic() - began < 5


@pytest.mark.parametrize('error', [FULL, RuntimeError('cannot schedule')])
def test_a_failed_close_after_a_failed_save_is_not_told(
  tmp_path, monkeypatch, error
):
  def fail():
    raise error

  with pytest.raises(save_errors.SaveError, match='first'):
    fail_and_close(tmp_path, monkeypatch, fail)


def test_a_folder_that_is_gone_counts_for_nothing(tmp_path):
  with loop._checkpoints(tmp_path, cfg.Checkpoint()) as checkpoints:
    (tmp_path / 'checkpoints/40').mkdir()
    (tmp_path / 'checkpoints/80.orbax-checkpoint-tmp').mkdir()
    assert checkpoints.steps_on_disk() == [40]
    shutil.rmtree(tmp_path / 'checkpoints')
    assert checkpoints.steps_on_disk() == []


def test_other_errors_are_neither_renamed_nor_held_back(
  records, tmp_path, monkeypatch, caplog, hooked
):
  broken = ValueError('a bug, not a disk')
  fails(monkeypatch, broken, 2)
  with (
    pytest.raises(ValueError, match='a bug') as error,
    save_errors.hold_back_tracebacks(),
  ):
    loop.train(tiny.config(records, model__layers=1), tmp_path)
  assert error.value is broken
  assert 'a thread failed' in caplog.text


def test_what_was_held_back_is_shown_unless_a_save_error_tells_of_it(
  caplog, capsys, hooked
):
  class Unraisable:
    exc_type, exc_value, exc_traceback = RuntimeError, None, None
    err_msg = object = None

  def speak():
    for name in ('absl', 'asyncio'):
      logging.getLogger(name).error('of %s', name, exc_info=FULL)
    logging.getLogger('absl').error('another')
    for text in ('Event loop is closed', 'of another kind'):
      Unraisable.exc_value = RuntimeError(text)
      sys.unraisablehook(Unraisable)

  seen = []
  sys.unraisablehook = lambda unraisable: seen.append(str(unraisable.exc_value))
  mine = sys.unraisablehook
  for ends in (None, KeyError('other')):
    caplog.clear()
    seen.clear()
    try:
      with save_errors.hold_back_tracebacks():
        speak()
        assert caplog.messages == ['another']
        assert seen == ['of another kind']
        if ends:
          raise ends
    except KeyError:
      pass
    assert caplog.messages == ['another', 'of absl', 'of asyncio']
    assert len(seen) == 2
    assert sys.unraisablehook is mine
  caplog.clear()

  @save_errors.hold_back_tracebacks()
  def told():
    speak()
    raise save_errors.SaveError('told')

  with pytest.raises(save_errors.SaveError):
    told()
  speak()  # threads are late
  assert caplog.messages == ['another', 'another']


@pytest.mark.parametrize(
  'kind', [object_store.StoreError, object_store.StoreRefusal]
)
def test_what_a_store_refuses_is_told_once(caplog, hooked, kind):
  refusal = kind('the bucket says no')

  @save_errors.hold_back_tracebacks()
  def refused():
    logging.getLogger('absl').error('a save', exc_info=refusal)
    raise refusal

  with pytest.raises(kind):
    refused()
  assert caplog.messages == []


def test_metrics_that_cannot_be_written_are_told_too(tmp_path):
  class Full:
    def write_scalars(self, step, scalars):
      raise FULL

  log = hooks.StepLog(
    writers=[Full()], every=1, total=4, batch=1, learning_rate=float,
    waited=float, saved=lambda: [2], report=loop.no_progress,
  )  # fmt: skip
  says = 'the metrics of step 3 could not be saved: the disk is full .*; '
  with pytest.raises(
    save_errors.SaveError, match=f'{says}checkpoint 2 is the last'
  ):
    log.write(3, {'loss': 1.0})
