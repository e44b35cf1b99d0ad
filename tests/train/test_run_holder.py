"""A process that was killed is dead, whatever has its number."""

import subprocess
import sys
import time

import psutil
import pytest

from vidmodels.train import run_holder


@pytest.fixture
def child():
  process = subprocess.Popen(
    [sys.executable, '-c', 'import time; print(flush=True); time.sleep(60)'],
    stdout=subprocess.PIPE,
  )
  process.stdout.readline()
  holder = run_holder.this_process() | {
    'process': process.pid,
    'started': run_holder.started(psutil.Process(process.pid)),
  }
  yield process, holder
  process.kill()
  process.wait()


def test_a_process_is_alive_until_it_is_killed(child):
  process, holder = child
  assert run_holder.find_state(holder) == 'alive'
  process.kill()
  # Nobody asks for its exit code, as in a container without an init.
  while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
    time.sleep(0.01)
  assert run_holder.find_state(holder) == 'dead'
  process.wait()
  assert run_holder.find_state(holder) == 'dead'


@pytest.mark.parametrize(
  ('changes', 'state'),
  [
    ({}, 'alive'),
    ({'started': 1e9}, 'dead'),  # its number has gone to another process
    ({'process': 2**22 + 1}, 'dead'),
    ({'process': 10**30}, 'dead'),
    ({'process': -1}, 'dead'),
    ({'process': 'x'}, 'dead'),
    ({'started': None}, 'dead'),
    # Numbers of another container, or of before the machine was started.
    ({'machine': 'another'}, 'unknown'),
    ({'machine': None}, 'unknown'),
  ],
)
def test_what_a_holder_says_decides(changes, state):
  holder = run_holder.this_process() | changes
  assert run_holder.find_state(holder) == state


def test_a_clock_that_is_set_kills_nobody(monkeypatch):
  holder, hour = run_holder.this_process(), 3600.0
  for owner, name in ((psutil, 'boot_time'), (psutil.Process, 'create_time')):
    true = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *a, true=true: true(*a) + hour)
  assert run_holder.find_state(holder) == 'alive'


def test_a_holder_is_described_by_what_a_file_says_of_it():
  holder = {'process': 7, 'host': 'a\x1b[0m', 'since': 'monday'}
  said = run_holder.describe(holder)
  assert said.startswith('process 7 on ')
  assert said.endswith(', since monday')
  assert '\x1b' not in said
  assert run_holder.describe({'seen': 'now'}) == (
    'process ? on ?, last seen now'
  )
