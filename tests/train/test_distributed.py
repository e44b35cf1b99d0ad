"""A process of several never trains alone without being told to."""

import pytest

from vidmodels.train import distributed
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
