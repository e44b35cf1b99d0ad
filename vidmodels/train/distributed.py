"""Connects the processes of one training run.

  distributed.connect(coordinator='host0:1234', count=4, number=0)

On a TPU pod or under SLURM, Open MPI or GKE, JAX finds the other processes by
itself. Anywhere else, the user gives the coordinator's address, the number of
processes and the number of this process. Every process runs the same command.
"""

from typing import Any

import jax

from vidmodels.typing import InputError

CONNECT_SECONDS = 60  # a process that has not joined by then is an error
HEARTBEAT_SECONDS = 60  # a process that is silent for longer ends the others


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
