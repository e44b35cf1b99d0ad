"""Two runs never share a workdir, and none starts among other things."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import fake
import pytest
import tiny

from vidmodels.train import loop, run_holder, workdir_lock
from vidmodels.typing import InputError

HOLD = """
import sys, time
from vidmodels.train import workdir_lock
with workdir_lock.hold(sys.argv[1]):
  print('held', flush=True)
  time.sleep(600)
"""


def test_a_second_run_is_told_who_is_there(tmp_path):
  process = subprocess.Popen(
    [sys.executable, '-c', HOLD, str(tmp_path / 'run')], stdout=subprocess.PIPE
  )
  assert process.stdout.readline() == b'held\n'
  try:
    with (
      pytest.raises(InputError, match=f'process {process.pid} on'),
      workdir_lock.hold(tmp_path / 'run'),
    ):
      pass
  finally:
    process.send_signal(signal.SIGKILL)
    process.wait()
  # The system let go of the lock of the killed process.
  said = []
  with workdir_lock.hold(tmp_path / 'run', said.append):
    (line,) = said
  assert line.startswith(f'the last run here (process {process.pid} on ')
  assert line.endswith('this one takes over')
  with workdir_lock.hold(tmp_path / 'run', said.append):
    pass
  assert len(said) == 1  # that one ended by itself


def test_training_holds_the_lock(tmp_path):
  config = tiny.config(
    fake.write(tmp_path / 'records'), optim__steps=1, optim__warmup=0.0
  )
  with workdir_lock.hold(tmp_path / 'run'):
    with pytest.raises(InputError, match='another run is at work'):
      loop.train(config, tmp_path / 'run')
    assert os.listdir(tmp_path / 'run') == ['run.lock']


@pytest.mark.parametrize(
  ('holder', 'refused'),
  [
    ({'machine': 'elsewhere', 'process': 1, 'since': 'monday'}, True),
    ({'process': 2**22 + 1}, False),
    ({'process': os.getpid()}, True),
    ({}, False),
  ],
)
def test_on_a_disk_without_locks_the_file_is_the_lock(
  tmp_path, monkeypatch, holder, refused
):
  def flock(*_):
    raise OSError(errno.ENOLCK, 'no locks')

  monkeypatch.setattr(fcntl, 'flock', flock)
  if holder:
    holder = run_holder.this_process() | holder
  (tmp_path / 'run.lock').write_text(json.dumps(holder))
  if refused:
    with (
      pytest.raises(InputError, match=r'delete .*run\.lock'),
      workdir_lock.hold(tmp_path),
    ):
      pass
  else:
    said = []
    with workdir_lock.hold(tmp_path, said.append):
      pass
    assert 'has no locks: run.lock alone' in said[0]
    assert len(said) == 1 + bool(holder)


@pytest.mark.parametrize(
  ('name', 'said'),
  [
    ('a.mp4', 'videos such as'),
    ('walk/', 'and no run'),
    ('thesis.tex', 'and no run'),
  ],
)
def test_a_folder_of_other_things_is_no_workdir(tmp_path, name, said):
  if name.endswith('/'):
    (tmp_path / name).mkdir()
  else:
    (tmp_path / name).write_bytes(b'')
  with pytest.raises(InputError, match=said):
    workdir_lock.check_folder(tmp_path)


def test_a_folder_of_records_is_no_workdir(tmp_path):
  records = fake.write(tmp_path / 'records')
  config = tiny.config(records, optim__steps=1, optim__warmup=0.0)
  before = sorted(os.listdir(records))
  with pytest.raises(InputError, match='the records of train'):
    loop.train(config, records)
  assert sorted(os.listdir(records)) == before


def test_notes_and_logs_may_be_there_first(tmp_path):
  for name in ('slurm-7.out', 'log.txt', 'README', '.nfs01', 'job.sh'):
    (tmp_path / name).write_bytes(b'')
  workdir_lock.check_folder(tmp_path)
  workdir_lock.check_folder(tmp_path / 'none')
