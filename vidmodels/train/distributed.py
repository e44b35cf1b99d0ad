"""Connects the processes of one training run.

  distributed.connect(coordinator='host0:1234', count=4, number=0)

On a TPU pod or under SLURM, Open MPI or GKE, JAX finds the other processes by
itself. Anywhere else, the user gives the coordinator's address, the number of
processes and the number of this process. Every process runs the same command.
"""

import os
from typing import Any

import jax

from vidmodels.typing import InputError

CONNECT_SECONDS = 60  # a process that has not joined by then is an error
HEARTBEAT_SECONDS = 60  # a process that is silent for longer ends the others


# Variables that say how many processes a launcher started for one command.
# Not SLURM_NTASKS: an interactive allocation sets it for a single process too.
_COUNTS = {
  'SLURM_STEP_NUM_TASKS': 'srun',
  'OMPI_COMM_WORLD_SIZE': 'mpirun',
  'PMI_SIZE': 'mpiexec',
}
_HOSTS = 'TPU_WORKER_HOSTNAMES'  # of a TPU slice, with commas between


def connect(
  *, auto: bool = False, coordinator: str = '', count: int = 0, number: int = -1
) -> None:
  """Joins the other processes; does nothing without any argument.

  Call it before anything touches a device. `auto` asks the cluster's
  environment; else `coordinator` is 'host:port' of process 0, `count` the
  number of processes and `number` that of this one, from 0.
  """
  addresses: dict[str, Any] = {}
  if not auto:
    if not coordinator and not count and number < 0:
      _refuse_cluster()
      return
    if not (coordinator and 0 <= number < count):
      raise InputError(
        f'got coordinator {coordinator!r}, {count} processes and number '
        f'{number}; expected host:port, a count, and a number from 0 to '
        'count - 1; try --coordinator host0:1234 --processes 2 --process 0'
      )
    addresses = dict(
      coordinator_address=coordinator, num_processes=count, process_id=number
    )
  try:
    jax.distributed.initialize(
      **addresses,
      initialization_timeout=CONNECT_SECONDS,
      heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )
  except (RuntimeError, ValueError) as error:
    raise InputError(
      f'the processes did not find each other: {error}; on a cluster that JAX '
      'does not know give --coordinator, --processes and --process'
    ) from error


def _refuse_cluster() -> None:
  """Refuses to run alone where a launcher started several processes.

  Each would train the whole run, in the same workdir.
  """
  counts = {name: os.environ.get(name, '') for name in _COUNTS}
  hosts = [host for host in os.environ.get(_HOSTS, '').split(',') if host]
  several = {k: v for k, v in counts.items() if v.isdecimal() and int(v) > 1}
  if len(hosts) > 1:
    several[_HOSTS] = ','.join(hosts)
  for name, value in several.items():
    raise InputError(
      f'got {name}={value:.80}, so this is one of several processes of '
      f'{_COUNTS.get(name, "a TPU slice")}, without --distributed; expected '
      'all of them to join one run; try --distributed, or start a single '
      f'process, or unset {name} for a run of its own'
    )
