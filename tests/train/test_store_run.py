"""A run with records and workdir in an object store, killed and resumed."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import psutil
import pytest
import tiny
import videos

from vidmodels import config as cfg
from vidmodels import files, local_cache, object_store
from vidmodels.cli import main
from vidmodels.train import loop, workdir_lease, workdirs
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.typing import InputError

pytestmark = pytest.mark.slow
CHANGES = dict(
  optim__steps=8, optim__ema=0.9, model__layers=1, data__test='train'
)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp('source')
  for i in range(9):
    path = folder / ('run', 'sit', 'walk')[i % 3] / f'{i}.mp4'
    path.parent.mkdir(exist_ok=True)
    videos.write(path, videos.moving(6, level=20 + 3 * i))
  return folder


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
  before = os.environ.get(local_cache.FOLDER)
  os.environ[local_cache.FOLDER] = str(tmp_path_factory.mktemp('cache'))
  yield
  os.environ.pop(local_cache.FOLDER)
  if before is not None:
    os.environ[local_cache.FOLDER] = before


@pytest.fixture(scope='module')
def unbroken(source, tmp_path_factory):
  """The workdir, on this machine, of the run that nothing interrupts."""
  folder = tmp_path_factory.mktemp('unbroken')
  argv = ['prepare', str(source), '--out', str(folder / 'records')]
  assert main([*argv, '--shards', '2', '--flip=free', '--workers', '1']) == 0
  loop.train(tiny.config(folder / 'records', **CHANGES), folder / 'run')
  return folder / 'run'


@pytest.fixture(scope='module')
def answers(source, unbroken):
  """What evaluating it and predicting with it says."""
  return ask(unbroken, source)


@pytest.fixture(scope='module')
def records(server, source):
  out = f'{server.root}/records'
  argv = ['prepare', str(source), '--out', out, '--shards', '2', '--flip=free']
  assert main([*argv, '--workers', '1']) == 0
  return out


def sums(workdir, step=8):
  """The checksum of every array of a checkpoint."""
  with contextlib.closing(Checkpoints(workdir)) as saved:
    return saved.read_json(step, 'checksums')


def steps(workdir):
  text = (files.place(workdir) / 'metrics.jsonl').read_text()
  return [json.loads(line)['step'] for line in text.splitlines()]


def losses(workdir):
  """The training loss of each step that was logged."""
  text = (files.place(workdir) / 'metrics.jsonl').read_text()
  lines = map(json.loads, text.splitlines())
  return {line['step']: line['train_clip/loss'] for line in lines}


def ask(workdir, source):
  """The documents that evaluate and predict print."""
  documents = []
  for argv in (
    ['evaluate', '--workdir', str(workdir), '--views', '1x1', '--json'],
    ['predict', str(source / 'run/0.mp4'), '--workdir', str(workdir), '--json'],
  ):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
      assert main(argv) == 0
    documents.append(json.loads(said.getvalue()))
    for key in ('scores', 'config'):  # with paths
      documents[-1].pop(key, None)
  return documents


def test_records_in_a_store_are_those_of_a_disk(records, unbroken, source):
  place = files.place(records)
  ours = {p.name: p.read_bytes() for p in place.iterdir() if p.is_file()}
  folder = unbroken.parent / 'records'
  theirs = {p.name: p.read_bytes() for p in folder.iterdir()}
  assert ours == theirs
  # The state of the work is gone, and a second call finds the split complete.
  argv = ['prepare', str(source), '--shards', '2', '--flip=free', '--workers=1']
  assert main([*argv, '--out', records]) == 0
  assert {p.name for p in place.iterdir()} == theirs.keys()


def test_a_run_killed_in_a_store_equals_an_unbroken_one_bit_for_bit(
  server, records, source, unbroken, answers
):
  config = tiny.config(records, **CHANGES)
  workdir = f'{server.root}/runs/killed'
  argv = ['train', '--config=demo', f'--workdir={workdir}']
  argv += tiny.flags(records, **CHANGES)
  _kill_after_a_save(workdir, argv)
  # An interrupted save is no checkpoint; a store that is busy delays.
  server.proxy.fail(503, 3)
  said = []
  outcome = loop.train(
    config, workdir, progress=lambda done, total, line: said.append(line)
  )
  assert outcome.step == 8
  assert any('it was killed' in line for line in said)
  assert any('resumed from checkpoint' in line for line in said)
  assert sums(workdir) == sums(unbroken)
  assert steps(workdir) == steps(unbroken) == [2, 4, 6, 8]
  assert ask(workdir, source) == answers
  (scores,) = files.place(f'{workdir}/evaluation').glob('*.npz')
  table = f'{workdir}/tables/classes.csv'
  argv = ['evaluate', '--scores', str(scores), '--per-class', table]
  assert main(argv) == 0
  assert files.place(table).read_text().startswith('number,name,videos')


def _kill_after_a_save(workdir, argv, *, refused=False):
  """Kills a command and those that it started; first tries a second run."""
  process = subprocess.Popen(
    [sys.executable, '-m', 'vidmodels', *argv],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
  end = time.monotonic() + 240
  while not workdirs.has_checkpoint(files.place(workdir)):
    assert process.poll() is None, process.stderr.read()
    assert time.monotonic() < end
    time.sleep(0.2)
  if refused:
    with (
      pytest.raises(InputError, match='another run is at work'),
      workdir_lease.hold(files.place(workdir)),
    ):
      pass
  everyone = [*psutil.Process(process.pid).children(recursive=True), process]
  for other in everyone:
    other.send_signal(signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL


def test_two_processes_write_one_workdir_of_a_store_and_one_goes_on(
  server, records, unbroken
):
  if server.scheme == 'gs':
    pytest.skip('of several processes the store sees what it sees of one')
  workdir = f'{server.root}/runs/two'
  train = ['train', '--config=demo', f'--workdir={workdir}']
  train += tiny.flags(records, **CHANGES, mesh__fsdp=2)
  argv = ['launch', '--processes=2', '--devices-per-process=1', '--']
  _kill_after_a_save(workdir, [*argv, *train], refused=True)
  folder = files.place(workdir) / 'checkpoints'
  # The kill may have come in the next save.
  newest = next(
    p for p in folder.iterdir() if (p / 'commit_success.txt').exists()
  )
  parts = {p.name for p in (newest / 'params').iterdir()}
  assert {'ocdbt.process_0', 'ocdbt.process_1'} <= parts
  said = []
  outcome = loop.train(
    tiny.config(records, **CHANGES),
    workdir,
    progress=lambda done, total, line: said.append(line),
  )
  assert outcome.step == 8
  assert any('resumed from checkpoint' in line for line in said)
  assert losses(workdir) == pytest.approx(losses(unbroken), abs=2e-6, rel=1e-5)


def test_a_checkpoint_in_a_store_is_whole_until_an_object_is_lost(server):
  workdir = files.place(f'{server.root}/weights')
  params = {'a': jnp.arange(6.0), 'b': {'c': jnp.ones((3, 2), jnp.bfloat16)}}
  meta = {'config': {}, 'classes': ['x'], 'fps': 0.0}
  with contextlib.closing(Checkpoints(workdir, cfg.Checkpoint())) as saved:
    saved.save_weights({'params': params}, meta=meta)
  assert workdirs.has_checkpoint(workdir)
  with contextlib.closing(Checkpoints(workdir)) as saved:
    assert saved.steps() == saved.steps_on_disk() == [0]
    assert saved.is_whole(0)
    # A store that refuses says nothing of the checkpoint.
    server.proxy.fail(403)
    with pytest.raises(InputError, match='may not use'):
      saved.is_whole(0)
    server.proxy.work()
    (workdir / 'checkpoints/0/params/_METADATA').unlink()
    assert not saved.is_whole(0)
  (workdir / 'checkpoints/0/commit_success.txt').unlink()
  assert not workdirs.has_checkpoint(workdir)


def test_a_run_without_permission_ends_before_any_work(
  server, records, tmp_path
):
  config = tiny.config(records, **CHANGES)
  object_store._list_one.cache_clear()
  server.proxy.fail(403)
  try:
    with pytest.raises(InputError, match='may not use'):
      loop.train(config, tmp_path / 'run')
  finally:
    server.proxy.work()
  assert not (tmp_path / 'run').exists()


def test_tensorboard_in_a_store_is_refused_at_once(server, records):
  config = tiny.config(records, **CHANGES, log__tensorboard=True)
  with pytest.raises(InputError, match='where files cannot'):
    loop.train(config, f'{server.root}/runs/board')
