"""A run that is killed again and again equals one that nothing happened to.

  VIDMODELS_CHAOS_KILLS=30 VIDMODELS_CHAOS_SEED=7 \\
    pytest tests/train/test_chaos.py -s

Processes are killed by SIGKILL, SIGTERM, SIGINT and SIGUSR1 while they start,
make a step, save and validate, and started again on one process or two and on
another mesh. Then weights, moments and metrics are those of the unbroken run,
and every example was used exactly as often.
"""

import contextlib
import dataclasses
import functools
import inspect
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import compiling
import fake
import jax
import made_run
import numpy as np
import pytest
import tiny
from test_resume import stored

from vidmodels.train import loop
from vidmodels.train.checkpoint import Checkpoints

REPO = pathlib.Path(__file__).resolve().parents[2]
SEED = int(os.environ.get('VIDMODELS_CHAOS_SEED', '12'))
KILLS = int(os.environ.get('VIDMODELS_CHAOS_KILLS', '0'))
VIDEOS, BATCH = 13, 8  # 13 steps are 8 epochs
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
MOMENTS = ('start', 'step', 'save', 'validation')
CHANGES = dict(
  batch=BATCH,
  optim__name='adamw',
  optim__ema=0.9,
  model__layers=1,
  model__drop_path=0.2,
  mix__mixup=0.8,
  mix__cutmix=1.0,
  dtype='float32',
  log__every=1,
  log__validate=4,
  checkpoint__every=2,
  checkpoint__keep=2,
  checkpoint__best=1,
  checkpoint__metric='loss',
)


@dataclasses.dataclass(frozen=True)
class Layout:
  """How many processes, and how they share two devices."""

  processes: int = 1
  data: int = 2
  fsdp: int = 1


ALONE = Layout()
LAYOUTS = (ALONE, Layout(2), Layout(1, 1, 2), Layout(2, 1, 2))


class Run:
  """One workdir and every start of it."""

  def __init__(self, folder: pathlib.Path, records: pathlib.Path, steps: int):
    self.folder, self.records, self.steps = folder, records, steps
    self.workdir, self.starts = folder / 'run', 0
    self.codes: list[tuple[str, tuple[int, ...]]] = []
    folder.mkdir()

  def notes(self, start: int, process: int) -> pathlib.Path:
    return self.folder / f'notes-{start:03d}-{process}.jsonl'

  def start(self, layout: Layout, seconds: float) -> list[subprocess.Popen]:
    """Starts the processes of a layout, with one command."""
    with socket.socket() as free:
      free.bind(('localhost', 0))
      port = free.getsockname()[1]
    self.starts += 1
    changes = CHANGES | {
      'optim__steps': self.steps,
      'mesh__data': layout.data,
      'mesh__fsdp': layout.fsdp,
    }
    devices = 2 // layout.processes
    flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count='
    environment = os.environ | {
      'PYTHONPATH': str(REPO),
      'XLA_FLAGS': f'{flags}{devices}',
    }
    processes = []
    for number in range(layout.processes):
      argv = [sys.executable, str(REPO / 'tests/chaos_run.py')]
      argv += [str(self.notes(self.starts, number)), str(seconds)]
      argv += ['train', '--config=demo', f'--workdir={self.workdir}']
      argv += tiny.flags(self.records, **changes)
      if layout.processes > 1:
        argv += [f'--coordinator=localhost:{port}', '--join-timeout=120']
        argv += [f'--processes={layout.processes}', f'--process={number}']
      log = (self.folder / f'said-{self.starts:03d}-{number}.txt').open('w')
      processes.append(
        subprocess.Popen(
          argv, cwd=REPO, env=environment, stdout=log, stderr=log
        )
      )
      log.close()
    return processes

  def said(self) -> str:
    """What the processes of the last start said."""
    paths = sorted(self.folder.glob(f'said-{self.starts:03d}-*.txt'))
    return '\n'.join(path.read_text() for path in paths)

  def finish(self, layout: Layout) -> None:
    """Runs to the end; the same command again is all that it takes."""
    processes = self.start(layout, 0.0)
    codes = {process.wait(timeout=600) for process in processes}
    assert codes == {0}, self.said()

  def killed_once(
    self, rng: random.Random, layout: Layout, moment: str
  ) -> bool:
    """Starts, kills at a moment, waits; False if the run ended before."""
    processes = self.start(layout, 0.15)
    victim = rng.choice(processes)
    number = rng.choice(SIGNALS)
    if moment == 'start':
      time.sleep(rng.uniform(0, 6))
    else:
      self._wait_for(moment, rng.randint(1, 3), processes)
    ended = all(process.poll() == 0 for process in processes)
    if not ended:
      victim.send_signal(number)
    self._wait_all(processes, victim)
    codes = tuple(process.returncode for process in processes)
    self.codes.append((f'{moment} {number.name} {layout}', codes))
    if moment != 'start' and number == signal.SIGTERM and not ended:
      # Saved, or it was making its last steps; never an error.
      assert set(codes) <= {0, 42}, (self.codes[-1], self.said())
    # 43: the others of a victim; SIGKILL: those that wait for one to join.
    right = {0, 42, 43, 130, -signal.SIGKILL}
    if moment == 'start':  # before the first line of Python has set a handler
      right |= {-signal.SIGTERM, -signal.SIGINT, -signal.SIGUSR1}
    assert set(codes) <= right, (self.codes[-1], self.said())
    return not ended

  def _wait_for(self, moment: str, count: int, processes) -> None:
    """Returns at a moment of this start, or when a process has ended."""
    notes = self.notes(self.starts, 0)
    until = time.monotonic() + 300
    while time.monotonic() < until:
      text = notes.read_text() if notes.exists() else ''
      if any(process.poll() is not None for process in processes):
        return
      if moment == 'step' and text.count('index') >= count:
        return
      if moment == 'validation' and 'validation' in text:
        return
      if moment == 'save' and 'index' in text:
        names = [p.name for p in self.workdir.glob('checkpoints/*')]
        if any(not name.isdecimal() for name in names):
          return
      time.sleep(0.002)
    raise AssertionError(self.said())

  def _wait_all(self, processes, victim) -> None:
    """Waits; as a launcher does, ends those that outlive the victim long."""
    victim.wait(timeout=300)
    until = time.monotonic() + 30
    for process in processes:
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=max(until - time.monotonic(), 0.1))
      if process.poll() is None:
        process.kill()
        process.wait()

  def used(self) -> dict[int, list[int]]:
    """Of each step, the examples of the start that made it last."""
    steps: dict[int, list[int]] = {}
    for start in range(1, self.starts + 1):
      made: dict[int, list[int]] = {}
      for path in sorted(self.folder.glob(f'notes-{start:03d}-*.jsonl')):
        for line in path.read_text().splitlines():
          with contextlib.suppress(json.JSONDecodeError):  # cut short
            note = json.loads(line)
            if 'index' in note:
              made.setdefault(note['step'], []).extend(note['index'])
      steps |= made
    return steps


def logged(workdir: pathlib.Path) -> dict[tuple[int, str], float]:
  """Every number of training and validation; none comes twice."""
  numbers = {}
  for line in (workdir / 'metrics.jsonl').read_text().splitlines():
    values = json.loads(line)
    for name, value in values.items():
      if '_clip/' in name:
        assert (values['step'], name) not in numbers
        numbers[values['step'], name] = value
  return numbers


def learned(name: str, value: np.ndarray) -> np.ndarray:
  """An array without the biases of keys, [..., 3, A, d] of the qkv layer.

  They add the same number to all scores of a query, which its softmax takes
  away: their gradient is zero but for the order of sums, which another layout
  changes. AdamW divides it by its own size, and makes whole steps of it: after
  91 steps these biases differ by 1e-3. No answer depends on them.
  """
  if name.endswith("['qkv']['bias']"):
    return np.delete(value, 1, axis=-3)
  return value


def check_same(broken: Run, whole: Run, *, exact: bool) -> None:
  steps = whole.steps
  ours, theirs = (stored(run.workdir, steps) for run in (broken, whole))
  assert ours.keys() == theirs.keys()
  assert any(name.endswith("['qkv']['bias']") for name in ours)
  if not exact:
    far = {n: abs(learned(n, ours[n] - theirs[n])).max() for n in ours}
    print('farthest apart:', sorted((v, n) for n, v in far.items())[-3:])
  for name, value in theirs.items():
    if exact:
      np.testing.assert_array_equal(ours[name], value, err_msg=name)
    else:
      np.testing.assert_allclose(
        learned(name, ours[name]),
        learned(name, value),
        rtol=1e-6,
        atol=1e-6,
        err_msg=name,
      )
  used = broken.used()
  assert sorted(used) == list(range(1, steps + 1))
  assert used == whole.used() or not exact
  assert {s: sorted(v) for s, v in used.items()} == {
    s: sorted(v) for s, v in whole.used().items()
  }
  counts = np.bincount([i for row in used.values() for i in row])
  assert counts.tolist() == [steps * BATCH // VIDEOS] * VIDEOS
  ours, theirs = logged(broken.workdir), logged(whole.workdir)
  assert ours.keys() == theirs.keys()
  assert (4, 'val_clip/loss') in ours
  if exact:
    assert ours == theirs
  else:
    assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  folder = fake.write(tmp_path_factory.mktemp('records'), videos=VIDEOS)
  return fake.write(folder, 'test', videos=20)


@pytest.fixture(autouse=True)
def _interrupts_are_heard():
  """A shell ignores SIGINT for what it runs in the background, and children."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


def survive(tmp_path, records, kills: int, layouts, *, exact: bool) -> None:
  print(f'VIDMODELS_CHAOS_SEED={SEED} VIDMODELS_CHAOS_KILLS={kills}')
  rng = random.Random(SEED)
  # Few of a start's steps last; 13 are whole epochs.
  steps = 13 * max(1, round(kills * 3 / 13))
  whole = Run(tmp_path / 'whole', records, steps)
  whole.finish(layouts[0])
  broken = Run(tmp_path / 'broken', records, steps)
  made = 0
  for k in range(kills):
    # Every moment comes, in any order.
    moment = MOMENTS[k] if k < len(MOMENTS) else rng.choice(MOMENTS)
    made += broken.killed_once(rng, rng.choice(layouts), moment)
    print(k, *broken.codes[-1], flush=True)
  assert made > kills / 2, 'most of the kills came too late'
  broken.finish(layouts[0])
  check_same(broken, whole, exact=exact)


class Killed(BaseException):
  """The process is gone, as far as the run can tell."""


def test_a_run_that_is_cut_off_at_every_kind_of_moment_leaves_no_trace(
  tmp_path, records, monkeypatch
):
  """The short form, in this process: what a kill leaves is made by hand."""
  changes = CHANGES | dict(optim__steps=6, mesh__data=1, log__validate=3)
  changes |= dict(mix__mixup=0.0, mix__cutmix=0.0)  # a second less to trace
  # Killed in its first save, it has to read the file's weights again.
  changes |= dict(init_from=made_run.write(tmp_path / 'file', model__layers=1))
  config = tiny.config(records, **changes)
  compiling.share_programs(monkeypatch)
  train = functools.partial(loop.train, config, devices=jax.devices()[:1])
  train(tmp_path / 'whole')
  workdir = tmp_path / 'broken'
  rng, reached = random.Random(SEED), loop.Preemption.reached
  print(f'VIDMODELS_CHAOS_SEED={SEED}')
  for moment in ('save', 'validation', 'notice'):
    left = {'save': 3, 'validation': 1}.get(moment, rng.randint(1, 2))

    def asked(self, step: int, moment=moment) -> bool:
      nonlocal left
      validates = inspect.stack()[1].function == 'check'
      left -= validates if moment == 'validation' else not validates
      if left > 0:
        return False
      if moment == 'notice':
        return True
      raise Killed(step)

    monkeypatch.setattr(loop.Preemption, 'reached', asked)
    with contextlib.suppress(Killed):
      assert train(workdir).preempted
    names = [p.name for p in (workdir / 'checkpoints').iterdir()]
    steps = sorted(int(name) for name in names if name.isdecimal())
    if moment == 'save':  # the first one has not got its name
      assert steps == [2]
      newest = workdir / 'checkpoints' / str(steps[-1])
      newest.rename(f'{newest}.orbax-checkpoint-tmp')
  monkeypatch.setattr(loop.Preemption, 'reached', reached)
  assert train(workdir).step == 6
  with contextlib.closing(Checkpoints(workdir)) as saved:
    assert saved.read_json(6, 'meta')['source'] is not None
  ours, theirs = stored(workdir, 6), stored(tmp_path / 'whole', 6)
  assert ours.keys() == theirs.keys()
  for name, value in theirs.items():
    np.testing.assert_array_equal(ours[name], value, err_msg=name)
  assert logged(workdir) == logged(tmp_path / 'whole')


kills = pytest.mark.parametrize(
  'kills', [KILLS or 4, pytest.param(30, marks=pytest.mark.long)]
)


@pytest.mark.slow
@pytest.mark.long  # across meshes is in the slow lane, on one in test_resume
@kills
def test_many_kills_on_one_layout_leave_no_bit_behind(tmp_path, records, kills):
  """Two processes each time."""
  survive(tmp_path, records, kills, [Layout(2)], exact=True)


@pytest.mark.slow
@kills
def test_many_kills_across_processes_and_meshes_leave_no_trace(
  tmp_path, records, kills
):
  survive(tmp_path, records, kills, LAYOUTS, exact=False)
