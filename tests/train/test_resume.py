"""A run that is killed, stopped or moved goes on exactly where it was."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import fake
import jax
import numpy as np
import pytest
import tiny

from vidmodels.train import hooks, loop
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.typing import InputError

REPO = pathlib.Path(__file__).resolve().parents[2]
# Slow enough to be hit in the middle; saves every second of its 8 steps.
CHANGES = dict(
  optim__steps=8,
  optim__ema=0.9,
  model__drop_path=0.2,
  model__layers=1,
  mix__mixup=0.8,
  mix__cutmix=1.0,
)


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  return fake.write(tmp_path_factory.mktemp('records'))


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, records):
  """The run that nothing happened to."""
  workdir = tmp_path_factory.mktemp('unbroken')
  outcome = loop.train(tiny.config(records, **CHANGES), workdir)
  assert (outcome.step, outcome.preempted) == (8, False)
  return workdir


def stored(workdir: pathlib.Path, step: int = 8) -> dict[str, np.ndarray]:
  """Every array of a checkpoint, as it lies on disk."""
  import orbax.checkpoint as ocp

  arrays = {}
  for item in ('params', 'ema', 'opt'):
    path = workdir / 'checkpoints' / str(step) / item
    if not path.exists():
      continue
    reader = ocp.StandardCheckpointer()
    # As NumPy arrays: else orbax wants the devices of those that saved it.
    tree = reader.restore(
      path,
      jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        reader.metadata(path).item_metadata.tree,
      ),
    )
    for key, leaf in jax.tree_util.tree_leaves_with_path(tree):
      arrays[f'{item}{jax.tree_util.keystr(key)}'] = np.asarray(leaf)
  return arrays


def same_arrays(a: pathlib.Path, b: pathlib.Path) -> None:
  ours, theirs = stored(a), stored(b)
  assert ours.keys() == theirs.keys()
  assert len(ours) > 30
  for name, value in ours.items():
    np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def logged(workdir: pathlib.Path) -> list[dict[str, float]]:
  """The training metrics of every line; times and rates left out."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [
    {
      k: v
      for k, v in json.loads(line).items()
      if k[:10] in ('step', 'train_clip')
    }
    for line in lines
  ]


def start(records, workdir, *more: str) -> subprocess.Popen:
  """`vidmodels train` in a process of its own."""
  return subprocess.Popen(
    [
      sys.executable,
      '-m',
      'vidmodels',
      'train',
      '--config=demo',
      f'--workdir={workdir}',
      *tiny.flags(records, **CHANGES),
      *more,
    ],
    cwd=REPO,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    env=os.environ | {'PYTHONPATH': str(REPO)},
  )


def wait_for(path: pathlib.Path, process: subprocess.Popen) -> None:
  """Returns as soon as `path` exists."""
  for _ in range(24_000):  # 20 minutes: a busy machine starts slowly
    if path.exists():
      return
    assert process.poll() is None, process.stdout.read().decode()
    time.sleep(0.05)
  raise AssertionError(f'{path} did not appear')


@pytest.mark.slow  # test_chaos.py has the one of the fast lane
def test_kill_9_and_resume_equals_an_unbroken_run(tmp_path, records, unbroken):
  process = start(records, tmp_path)
  wait_for(tmp_path / 'checkpoints' / '2', process)
  process.send_signal(signal.SIGKILL)
  process.wait()
  steps = [
    int(p.name)
    for p in (tmp_path / 'checkpoints').iterdir()
    if p.name.isdecimal()
  ]
  assert 8 not in steps, 'the run had ended before it was killed'
  outcome = loop.train(tiny.config(records, **CHANGES), tmp_path)
  assert outcome.step == 8
  same_arrays(tmp_path, unbroken)
  # The batches behind the metrics were the same too.
  assert logged(tmp_path) == logged(unbroken)


@pytest.mark.parametrize(
  'number',
  [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_a_signal_saves_exits_42_and_the_same_command_goes_on(
  tmp_path, records, unbroken, number
):
  process = start(records, tmp_path, '--config.checkpoint.every=1000')
  wait_for(tmp_path / 'config.json', process)
  wait_for(tmp_path / 'metrics.jsonl', process)  # the first line is written
  process.send_signal(number)
  said = process.communicate()[0].decode()
  assert process.returncode == 42, said
  assert 'start again' in said
  assert ('Ctrl-C: the run will save' in said) == (number == signal.SIGINT)
  stopped = [line['step'] for line in logged(tmp_path)]
  outcome = loop.train(tiny.config(records, **CHANGES), tmp_path)
  assert outcome.step == 8
  same_arrays(tmp_path, unbroken)
  # The line that the signal cut short was written, and no step twice.
  steps = [line['step'] for line in logged(tmp_path)]
  assert steps[: len(stopped)] == stopped
  assert steps == sorted(set(steps))
  assert Checkpoints(tmp_path).latest() == 8


@pytest.mark.slow
def test_a_second_interrupt_ends_a_run_at_once(tmp_path, records):
  """Also while XLA compiles the first step, and without a traceback."""
  process = start(records, tmp_path, '--config.model.layers=6')
  wait_for(tmp_path / 'config.json', process)
  time.sleep(1)
  process.send_signal(signal.SIGINT)
  time.sleep(0.5)
  process.send_signal(signal.SIGINT)
  began = time.monotonic()
  said = process.communicate(timeout=60)[0].decode()
  assert time.monotonic() - began < 5
  assert process.returncode == 130, said
  assert 'stopped' in said
  assert 'Traceback' not in said


@pytest.mark.slow
@pytest.mark.parametrize('seconds', [0.5, 2, 4])
def test_an_interrupt_before_the_first_step_ends_soon(
  tmp_path, records, seconds
):
  process = start(records, tmp_path, '--config.optim.steps=100000')
  time.sleep(seconds)
  process.send_signal(signal.SIGINT)
  said = process.communicate(timeout=120)[0].decode()
  assert process.returncode in (42, 130), said
  # JAX may catch one in a callback of its own, and prints that.
  assert 'Traceback' not in said or 'Exception ignored in' in said


@pytest.mark.slow
def test_another_mesh_goes_on_from_the_same_checkpoint(
  tmp_path, records, unbroken
):
  first = stored(unbroken, 6)
  shutil.copytree(unbroken, tmp_path / 'copy')
  shutil.rmtree(tmp_path / 'copy/checkpoints/8')
  moved = tiny.config(records, mesh__fsdp=2, mesh__tensor=2, **CHANGES)
  loop.train(moved, tmp_path / 'copy')
  again, before = stored(tmp_path / 'copy'), stored(unbroken)
  assert first.keys() == again.keys()
  for name, value in before.items():
    np.testing.assert_allclose(
      again[name], value, rtol=1e-4, atol=1e-5, err_msg=name
    )


@pytest.mark.slow
def test_momentum_of_sgd_is_restored_too(tmp_path, records):
  changes = dict(
    optim__name='sgd', optim__steps=4, optim__clip_norm=0.0, model__layers=1
  )
  config = tiny.config(records, **changes)
  loop.train(config, tmp_path / 'whole')
  shutil.copytree(tmp_path / 'whole', tmp_path / 'cut')
  shutil.rmtree(tmp_path / 'cut/checkpoints/4')
  loop.train(config, tmp_path / 'cut')
  whole, cut = stored(tmp_path / 'whole', 4), stored(tmp_path / 'cut', 4)
  assert any('trace' in name for name in whole)
  for name, value in whole.items():
    np.testing.assert_array_equal(value, cut[name], err_msg=name)


@pytest.mark.slow
def test_a_first_try_that_saved_nothing_may_be_corrected(tmp_path, records):
  wrong = tiny.config(records, optim__warmup=2.0, model__layers=1)
  workdir = tmp_path / 'run'
  workdir.mkdir()
  meta = {'config': {'batch': 1}, 'data': {}}
  (workdir / 'config.json').write_text(json.dumps(meta))
  loop.train(wrong, workdir)
  with pytest.raises(InputError, match='belongs to another run'):
    loop.train(tiny.config(records, model__layers=1), workdir)


def test_a_finished_run_does_nothing_more(records, unbroken):
  before = (unbroken / 'metrics.jsonl').read_text()
  outcome = loop.train(tiny.config(records, **CHANGES), unbroken)
  assert outcome.step == 8
  assert (unbroken / 'metrics.jsonl').read_text() == before


def test_the_workdir_of_another_recipe_is_refused(records, unbroken):
  changed = tiny.config(records, **CHANGES | {'optim__lr': 0.5})
  with pytest.raises(InputError, match=r'config.optim.lr: 0.002 -> 0.5'):
    loop.train(changed, unbroken)


def test_a_run_from_before_a_field_was_there_goes_on(
  tmp_path, records, unbroken
):
  shutil.copytree(unbroken, tmp_path / 'old')
  path = tmp_path / 'old/checkpoints/8/meta/metadata'
  meta = json.loads(path.read_text())
  del meta['config']['clip']['fps'], meta['config']['augment']['repeats']
  path.write_text(json.dumps(meta))
  config = tiny.config(records, **CHANGES)
  assert loop.train(config, tmp_path / 'old').step == 8
  meta['config']['clip']['gone'] = 1  # then it is compared as it is
  path.write_text(json.dumps(meta))
  with pytest.raises(InputError, match=r'config.clip.gone: 1 -> None'):
    loop.train(config, tmp_path / 'old')


def test_a_checkpoint_under_another_number_is_refused(
  tmp_path, records, unbroken
):
  shutil.copytree(unbroken, tmp_path / 'copy')
  steps = tmp_path / 'copy/checkpoints'
  shutil.rmtree(steps / '8')
  (steps / '6').rename(steps / '7')
  with pytest.raises(InputError, match=r'checkpoint 7 .* is of step 6'):
    loop.train(tiny.config(records, **CHANGES), tmp_path / 'copy')


def test_other_records_under_the_same_path_are_refused(
  tmp_path, records, unbroken
):
  fake.write(tmp_path, videos=5)
  with pytest.raises(InputError, match=r'data\.fingerprint'):
    loop.train(tiny.config(tmp_path, **CHANGES), unbroken)


def test_a_checkpoint_of_another_shape_is_refused_by_name(unbroken):
  saved = Checkpoints(unbroken)
  wrong = {'head': {'bias': jax.ShapeDtypeStruct((4,), np.float32)}}
  with pytest.raises(InputError, match=r'not in the model'):
    saved.restore_item(8, 'params', wrong)
  with pytest.raises(InputError, match='expected one of 6, 8'):
    saved.pick(7)


def test_a_loss_that_is_no_number_stops_the_run_and_saves_nothing_broken(
  tmp_path, records
):
  config = tiny.config(
    records,
    optim__lr=1e30,
    optim__clip_norm=0.0,
    optim__steps=30,
    checkpoint__every=1,
    checkpoint__keep=9,
    model__layers=1,
  )
  with pytest.raises(hooks.NonFiniteLossError) as error:
    loop.train(config, tmp_path)
  said = re.search(
    r'update_norm is not finite at step (\d+); the last good state is '
    r'checkpoint (\d+)\.',
    str(error.value),
  )
  assert said, error.value
  broken, good = map(int, said.groups())
  assert good == broken - 1 == Checkpoints(tmp_path).latest()
  for name, value in stored(tmp_path, good).items():
    assert np.isfinite(value).all(), name


@pytest.mark.parametrize(
  ('names', 'saved', 'says'),
  [
    (['loss'], [], 'not on disk. Lower'),
    (['loss'], [3, 6], 'checkpoint 6. Lower'),
    (['loss'], [3, 6, 8], 'checkpoint 6; checkpoint 8 holds the broken'),
    (['grad_norm'], [3, 6, 8], 'checkpoint 8. Lower'),
  ],
)
def test_the_last_good_checkpoint_is_one_whose_loss_was_seen(
  names, saved, says
):
  assert says in hooks.non_finite_message(9, names, saved)
