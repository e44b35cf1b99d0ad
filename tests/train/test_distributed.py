"""A process of several never trains alone without being told to."""

import types

import pytest

from vidmodels.train import distributed
from vidmodels.train.save_errors import SaveError, is_disk_error
from vidmodels.typing import InputError


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('SLURM_STEP_NUM_TASKS', '4'),
    ('OMPI_COMM_WORLD_SIZE', '2'),
    ('PMI_SIZE', '8'),
    ('TPU_WORKER_HOSTNAMES', 'host0,host1'),
  ],
)
def test_several_tasks_without_the_flag_are_refused(monkeypatch, name, value):
  monkeypatch.setenv(name, value)
  with pytest.raises(InputError, match=f'{name}={value}.*try --distributed'):
    distributed.connect()


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('SLURM_STEP_NUM_TASKS', '1'),
    ('SLURM_NTASKS', '4'),  # of an interactive allocation
    ('OMPI_COMM_WORLD_SIZE', 'many'),
    ('TPU_WORKER_HOSTNAMES', 'localhost'),
    ('TPU_WORKER_HOSTNAMES', ''),
  ],
)
def test_a_single_task_runs_alone(monkeypatch, name, value):
  monkeypatch.setenv(name, value)
  distributed.connect()


@pytest.mark.parametrize(
  'given',
  [
    {'coordinator': 'a:1'},
    {'count': 2},
    {'coordinator': 'a:1', 'count': 2, 'number': 2},
  ],
)
def test_half_an_address_is_refused(given):
  with pytest.raises(InputError, match='try --coordinator host0:1234'):
    distributed.connect(**given)


def test_a_lost_process_is_no_fault_of_the_disk():
  reset = 'Read error [127.0.0.1]:44176: Connection reset by peer'
  assert not is_disk_error(
    ValueError(f'UNKNOWN: Gloo AllGather failed: {reset}')
  )
  assert is_disk_error(ValueError('RESOURCE_EXHAUSTED: no space left'))


class Ended(BaseException):
  """The news of a lost process has ended this one."""


@pytest.mark.parametrize(
  ('error', 'waits', 'tells'),
  [
    (InputError('a wrong field'), False, True),
    (MemoryError('out of memory'), False, True),
    # Its save fails because another process is gone.
    (SaveError('Connection reset by peer'), True, True),
    (OSError('Connection reset by peer'), True, True),
    (ValueError('UNKNOWN: Gloo AllGather failed'), True, False),
  ],
)
def test_what_a_lost_process_may_have_caused_waits_for_the_news_of_it(
  monkeypatch, error, waits, tells
):
  left = []
  peers = types.SimpleNamespace(
    leave=lambda reason, wrong_input: left.append((reason, wrong_input))
  )
  slept = []
  monkeypatch.setattr(distributed.time, 'sleep', slept.append)
  with pytest.raises(type(error)), distributed.explained(peers):
    raise error
  assert slept == [5.0] * waits
  wrong = isinstance(error, InputError)
  assert left == [(str(error), wrong)] * tells
  left.clear()

  def news(seconds):
    raise Ended

  monkeypatch.setattr(distributed.time, 'sleep', news)
  with (
    pytest.raises(Ended if waits else type(error)),
    distributed.explained(peers),
  ):
    raise error
  assert not waits or left == []
