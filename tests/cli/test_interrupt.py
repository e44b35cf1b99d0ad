"""Ctrl-C ends every command with code 130 and one line, wherever it is."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import fake
import pytest
import videos

from vidmodels.cli import main

REPO = pathlib.Path(__file__).resolve().parents[2]
# Sends a signal as a module is imported (WHERE), or as the nth report is made.
PRESS = """
import os, runpy, signal, sys, threading, time
number, where = int(sys.argv[1]), sys.argv[2]
sys.argv[:3] = ['vidmodels']
press = lambda: os.kill(os.getpid(), number)

class Importing:
  def find_spec(self, name, path=None, target=None):
    if name == where:
      sys.meta_path.remove(self)
      try:
        press()
      except BaseException as error:  # as libraries of C++ have it
        raise ImportError('while initializing the extension') from error

sys.meta_path.insert(0, Importing())
if where.isdecimal() or where == 'twice':
  from vidmodels.cli import terminal
  def report(self, done, total, line=''):
    self.count = getattr(self, 'count', 0) + 1
    if where == 'twice' or self.count == int(where):
      press()
  terminal.Reporter.__call__ = report
  if where == 'twice':
    def slowly(self, *_):
      threading.Timer(0.5, press).start()
      for _ in range(600):
        time.sleep(0.1)
    terminal.Reporter.__exit__ = slowly
runpy.run_module('vidmodels', run_name='__main__')
"""


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp('source')
  for name in ('walk', 'run'):
    (folder / name).mkdir()
    for i in range(3):
      videos.write(folder / name / f'{i}.mp4', videos.moving(6))
  return folder


def signalled(
  number: int, where: str, *argv: str
) -> subprocess.CompletedProcess:
  """A command that a signal reaches somewhere."""
  return subprocess.run(
    [sys.executable, '-c', PRESS, str(number), where, *argv],
    cwd=REPO,
    env=os.environ | {'PYTHONPATH': str(REPO)},
    capture_output=True,
    text=True,
    timeout=120,
  )


def press(where: str, *argv: str) -> subprocess.CompletedProcess:
  """A command that Ctrl-C reaches somewhere; it must end with 130."""
  run = signalled(signal.SIGINT, where, *argv)
  assert run.returncode == 130, run.stderr
  assert 'Traceback' not in run.stderr
  assert run.stdout == ''
  (line,) = run.stderr.splitlines()
  assert 'stopped by the keyboard' in line
  return run


@pytest.mark.parametrize(
  ('where', 'command'),
  [
    ('vidmodels.cli', 'check'),
    ('vidmodels.fields', 'prepare'),
    ('vidmodels.data.prepare.prepare_records', 'prepare'),
    ('vidmodels.data.records.record_set', 'inspect'),
    ('numpy', 'weights'),
    ('vidmodels.evaluate.accuracy_report', 'evaluate'),
    ('vidmodels.evaluate.predict_videos', 'predict'),
    ('jax', 'train'),
  ],
)
@pytest.mark.fast_every(3)
def test_while_it_is_imported(tmp_path, source, where, command):
  out = tmp_path / 'out'
  more = {
    'check': [source],
    'prepare': [source, '--out', out, '--flip', 'free'],
    'inspect': [tmp_path, '--split', 'train'],
    'weights': ['inspect', REPO / 'README.md'],
    'evaluate': ['--workdir', tmp_path],
    'predict': [source / 'walk/0.mp4', '--workdir', tmp_path],
    'train': ['--config=demo', f'--workdir={out}'],
  }
  press(where, command, *map(str, more[command]))
  assert not out.exists()


@pytest.mark.parametrize(
  ('where', 'number', 'more'),
  [
    ('vidmodels.train.loop', signal.SIGTERM, '--json'),
    ('numpy', signal.SIGUSR1, '--distributed'),
    ('jax', signal.SIGTERM, '--distributed'),
  ],
)
@pytest.mark.fast_every(3)
def test_a_notice_while_training_is_imported_loses_nothing(
  tmp_path, where, number, more
):
  argv = ['train', '--config=demo', f'--workdir={tmp_path / "run"}', more]
  run = signalled(number, where, *argv)
  assert run.returncode == 42, run.stderr
  if more == '--json':
    assert json.loads(run.stdout)['preempted'] is True
  else:
    assert 'preempted before its first step' in run.stdout + run.stderr
  assert 'Traceback' not in run.stderr
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
@pytest.mark.parametrize('where', ['1', '4'])
@pytest.mark.parametrize('command', ['check', 'prepare'])
def test_among_the_files(tmp_path, source, where, command):
  """In a first file or in the middle; what is there is whole, or not there."""
  argv = [command, str(source), '--workers', '2']
  out = tmp_path / 'out'
  if command == 'prepare':
    argv += ['--out', str(out), '--flip', 'free']
  press(where, *argv)
  left = [path.name for path in out.rglob('*')] if out.exists() else []
  assert not [name for name in left if name.endswith(('.part', '.tmp'))]
  assert 'train.json' not in left
  assert main(argv) == 0  # goes on from there
  if command == 'prepare':
    whole = tmp_path / 'whole'
    assert main([*argv[:4], '--out', str(whole), '--flip', 'free']) == 0
    shards = [*whole.glob('*.tfrecord')]
    assert shards
    for path in shards:
      assert path.read_bytes() == (out / path.name).read_bytes()


@pytest.mark.slow
def test_the_second_time_it_ends_at_once(source):
  press('twice', 'check', str(source), '--workers', '1')


def test_nothing_is_left_of_a_sheet(tmp_path):
  records = fake.write(tmp_path / 'records', videos=4)
  press('cv2', 'inspect', str(records), '--sheet', str(tmp_path / 'a.png'))
  assert not (tmp_path / 'a.png').exists()
