"""Processes on one machine: started, stopped, started again, never orphaned.

Small scripts stand for the command: what matters is how they end. The last test
trains.
"""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import fake
import jax
import pytest
import tiny

from vidmodels.cli import main
from vidmodels.train import launcher, loop
from vidmodels.typing import InputError

REPO = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def script(tmp_path, monkeypatch):
  """Makes `python -m vidmodels` run a text instead, with `number` set."""
  folder = tmp_path / 'stub' / 'vidmodels'
  folder.mkdir(parents=True)
  (folder / '__init__.py').touch()

  def write(text: str) -> None:
    start = (
      'import json, os, pathlib, signal, sys, time\n'
      'flags = dict(a[2:].split("=", 1) for a in sys.argv if "=" in a)\n'
      'number = int(flags.get("process", 0))\n'
      f'place = pathlib.Path({str(tmp_path)!r})\n'
      'tries = place / f"tries{number}"\n'
      'tries.open("a").write("x")\n'
      'attempt = len(tries.read_text())\n'
    )
    (folder / '__main__.py').write_text(start + text)

  monkeypatch.setenv('PYTHONPATH', str(folder.parent))
  monkeypatch.chdir(tmp_path)
  return write


class Run:
  """A launcher, what it says, and its exit code."""

  def __init__(self, count: int = 2, **fields):
    self.said, self.out = [], []
    self.launcher = launcher.Launcher(
      ['train'], count=count, say=self.said.append, out=self.out.append,
      first_wait_s=0.01, **fields,
    )  # fmt: skip
    self.code = self.launcher.run()


def test_every_process_gets_its_number_and_one_address(script):
  script('print(json.dumps(flags), file=sys.stderr)')
  run = Run(count=3)
  assert run.code == 0
  flags = [eval(line.partition(' ')[2]) for line in sorted(run.said)]
  assert [f['process'] for f in flags] == ['0', '1', '2']
  assert {f['processes'] for f in flags} == {'3'}
  (address,) = {f['coordinator'] for f in flags}
  assert address.startswith('localhost:')


@pytest.mark.parametrize(
  ('codes', 'code', 'tries'),
  [
    ((0, 0), 0, 1),
    ((42, 42), 42, 1),
    ((2, 43), 2, 1),
    ((43, 130), 130, 1),
    ((1, 43), 1, 3),
    ((43, -signal.SIGKILL), 137, 3),
    ((43, 43), 43, 3),
  ],
)
def test_a_run_starts_again_only_after_a_death(
  script, tmp_path, codes, code, tries
):
  script(
    f'code = {codes}[number]\n'
    'if code < 0: os.kill(os.getpid(), -code)\n'
    'sys.exit(code)'
  )
  run = Run(restarts=2)
  assert run.code == code
  assert (tmp_path / 'tries0').read_text() == 'x' * tries
  restarts = [line for line in run.said if 'starting again' in line]
  assert len(restarts) == tries - 1
  assert ('launch: gave up after 2 restarts' in run.said) == (tries == 3)


def test_a_run_that_ends_well_after_a_restart_is_done(script):
  script(
    'print(f"attempt {attempt}")\n'
    'sys.exit(43 if number and attempt == 1 else 0)'
  )
  run = Run(restarts=5)
  assert run.code == 0
  assert run.out == ['attempt 2']  # one answer, of the attempt that counts


def test_a_process_that_hangs_after_anothers_death_is_killed(
  script, monkeypatch
):
  monkeypatch.setattr(launcher, 'LAST_WORDS_S', 0.5)
  script(
    'signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
    'time.sleep(600 if number else 0)\nsys.exit(1)'
  )
  began = time.monotonic()
  run = Run()
  assert run.code == 1
  assert time.monotonic() - began < 30
  assert any('has not ended 0.5 s after' in line for line in run.said)


def test_lines_are_numbered_and_shown_once():
  said = []
  lines = launcher.Lines(said.append)
  for number, line in [
    (1, 'a'),
    (0, 'a'),
    (0, 'b'),
    (0, 'b'),
    (1, 'b'),
    (1, ''),
  ]:
    lines.add(number, line, stdout=False)
  lines.add(0, '{"step": 3}', stdout=True)
  lines.add(1, '[Gloo] Rank 1 is connected', stdout=True)
  assert said == ['[1] a', '[0] b', '[0] b']
  assert lines.stdout == ['{"step": 3}']


def test_a_line_without_an_end_and_codes_of_a_terminal_are_shown(script):
  script('os.write(2, b"\\x1b[31mred\\xff"); os.write(1, b"{}")')
  run = Run(count=1)
  assert run.said == ['[0] \\x1b[31mred\ufffd']
  assert run.out == ['{}']


def interrupt_when(ready, *numbers: int, between_s: float = 0.5) -> None:
  """Sends signals to this process, where the launcher runs, once `ready()`."""

  def wait() -> None:
    for _ in range(3000):
      if ready():
        break
      time.sleep(0.01)
    for number in numbers:
      os.kill(os.getpid(), number)
      time.sleep(between_s)

  threading.Thread(target=wait, daemon=True).start()


SAVES = """
def save(*_):
  (place / f'saved{number}').touch()
  sys.exit(42)
signal.signal(signal.SIGTERM, save)
(place / f'ready{number}').touch()
while True: time.sleep(0.05)
"""
STUBBORN = SAVES.replace('sys.exit(42)', 'return')


@pytest.mark.parametrize(
  'number', [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
)
def test_the_first_signal_saves_in_all_processes(script, tmp_path, number):
  script(SAVES)
  interrupt_when(lambda: len(list(tmp_path.glob('ready*'))) == 2, number)
  run = Run(restarts=3)
  assert run.code == 42
  assert len(list(tmp_path.glob('saved*'))) == 2
  assert not any('starting again' in line for line in run.said)


def test_a_second_signal_ends_all_processes_at_once(script, tmp_path):
  script(STUBBORN)
  ready = lambda: len(list(tmp_path.glob('ready*'))) == 2
  interrupt_when(ready, signal.SIGINT, signal.SIGINT)
  run = Run(restarts=3)
  assert run.code == 130
  assert len(list(tmp_path.glob('saved*'))) == 2
  assert not any('starting again' in line for line in run.said)


def test_a_signal_between_two_starts_ends_the_run(script, tmp_path):
  script('sys.exit(43)')
  interrupt_when((tmp_path / 'tries0').exists, signal.SIGTERM, between_s=0)
  run = launcher.Launcher(
    ['train'], count=1, restarts=3, first_wait_s=60, say=lambda line: None
  )
  assert run.run() == 42


def test_a_signal_before_the_first_step_has_lost_nothing(script, tmp_path):
  script('(place / "ready").touch(); time.sleep(600)')
  interrupt_when((tmp_path / 'ready').exists, signal.SIGTERM)
  assert Run(count=1, restarts=3).code == 42


@pytest.mark.skipif(sys.platform != 'linux', reason='a call of Linux')
def test_no_process_outlives_a_launcher_that_is_killed(script, tmp_path):
  script(
    '(place / f"pid{number}").write_text(str(os.getpid()) + "\\n")\n'
    'signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)'
  )
  code = (
    f'import sys; sys.path.insert(0, {str(REPO)!r})\n'
    'from vidmodels.train import launcher\n'
    "launcher.Launcher(['train'], count=2).run()"
  )
  parent = subprocess.Popen([sys.executable, '-c', code])
  files = [tmp_path / f'pid{n}' for n in range(2)]
  until(lambda: all(f.exists() and f.read_text().endswith('\n') for f in files))
  parent.kill()
  parent.wait()
  until(lambda: not any(is_alive(int(f.read_text())) for f in files))


def until(holds) -> None:
  for _ in range(1500):
    if holds():
      return
    time.sleep(0.02)
  raise AssertionError('it did not come')


def is_alive(pid: int) -> bool:
  try:
    state = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
  except OSError:
    return False
  return state.split()[0] not in 'ZX'


@pytest.mark.parametrize(
  ('count', 'devices', 'environ', 'wanted'),
  [
    (2, 0, {'CUDA_VISIBLE_DEVICES': '4,5'}, ['4', '5']),
    (2, 0, {'CUDA_VISIBLE_DEVICES': '0,1,2,3'}, ['0,1', '2,3']),
    (2, 1, {'CUDA_VISIBLE_DEVICES': 'GPU-a, GPU-b,GPU-c'}, ['GPU-a', 'GPU-b']),
    (1, 0, {'CUDA_VISIBLE_DEVICES': '0,1'}, ['0,1']),
  ],
)
def test_gpus_are_shared_out(count, devices, environ, wanted):
  variables = launcher.device_variables(count, devices, environ)
  assert variables == [{'CUDA_VISIBLE_DEVICES': share} for share in wanted]


def test_more_processes_than_gpus_are_refused():
  environ = {'CUDA_VISIBLE_DEVICES': '0,1'}
  with pytest.raises(InputError, match=r'3 processes with 1 GPUs each.*most 2'):
    launcher.device_variables(3, 0, environ)


def test_cpu_devices_are_counted_and_other_flags_stay():
  environ = {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': '0'}
  assert launcher.device_variables(2, 0, environ) == [{}, {}]
  environ['XLA_FLAGS'] = '--xla_a=1'
  for variables in launcher.device_variables(2, 4, environ):
    assert variables['XLA_FLAGS'] == (
      '--xla_a=1 --xla_force_host_platform_device_count=4'
    )
    assert variables['JAX_NUM_CPU_DEVICES'] is None  # JAX refuses both


@pytest.mark.parametrize(
  ('argv', 'said'),
  [
    (['--processes', '2'], 'got no command to launch; expected a command of'),
    (['--processes', '2', '--', 'prepare'], "got 'prepare' to launch"),
    (['--processes', '0', '--', 'train'], 'expected at least 1 process'),
    (['--processes', '2', '--restarts', '-1', '--', 'train'], '--restarts -1'),
    (['--processes', '2', '--', 'train', '--process=1'], "got '--process=1'"),
    (['--processes', '2', '--', 'train', '--distributed'], '--distributed'),
  ],
)
def test_what_cannot_be_launched_is_refused(capsys, argv, said):
  assert main(['launch', *argv]) == 2
  assert said in capsys.readouterr().err


def test_a_wrong_recipe_is_said_once_and_never_tried_again(capfd, tmp_path):
  argv = ['launch', '--processes=1', '--restarts=3', '--json', '--']
  argv += ['train', '--config=no_such_recipe', f'--workdir={tmp_path}']
  assert main(argv) == 2
  out, err = capfd.readouterr()
  assert err.count('no_such_recipe') == 1
  assert 'starting again' not in err
  assert out == '{"exit_code": 2}\n'


@pytest.mark.slow
def test_a_run_survives_a_death_and_a_sigterm_while_it_compiles_again(tmp_path):
  """Process 1 is killed; the next start gets SIGTERM before its first step."""
  records = fake.write(tmp_path / 'records')
  changes = dict(
    model__layers=1, optim__steps=12, checkpoint__every=1, log__every=1
  )
  flags = tiny.flags(records, mesh__data=2, **changes)
  said, killed, stopped = [], [], []

  def say(line: str) -> None:
    said.append(line)
    if ' step 3/12 ' in line and not killed:
      killed.append(line)
      launched._workers[1].kill(signal.SIGKILL)
    if 'resumed from checkpoint' in line:
      stopped.append(int(line.split()[-1]))
      os.kill(os.getpid(), signal.SIGTERM)

  command = ['train', '--config=demo', f'--workdir={tmp_path / "run"}', *flags]
  launched = launcher.Launcher(
    command, count=2, devices=1, restarts=2, say=say, first_wait_s=0.1
  )
  assert launched.run() == 42, '\n'.join(said)
  assert len(stopped) == 1, '\n'.join(said)
  assert 'launch: process 1 of 2 was killed by SIGKILL' in said
  assert sum('starting again' in line for line in said) == 1
  # It made one step, saved it and stopped; nobody was killed for being late.
  assert not any('has not ended' in line for line in said)
  steps = [p.name for p in (tmp_path / 'run/checkpoints').iterdir()]
  assert max(int(s) for s in steps if s.isdecimal()) == stopped[0] + 1
  # One process ends it, as one that nothing happened to.
  train = functools.partial(
    loop.train,
    tiny.config(records, mesh__data=2, **changes),
    devices=jax.devices()[:2],
  )
  assert train(tmp_path / 'run').step == 12
  train(tmp_path / 'whole')
  ours, theirs = (
    [json.loads(line) for line in path.read_text().splitlines()]
    for path in (
      tmp_path / 'run/metrics.jsonl',
      tmp_path / 'whole/metrics.jsonl',
    )
  )
  assert [line['step'] for line in ours] == list(range(1, 13))
  for mine, his in zip(ours, theirs, strict=True):
    assert mine['train_clip/loss'] == pytest.approx(
      his['train_clip/loss'], abs=2e-6
    )
