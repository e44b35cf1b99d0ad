"""Several processes as one run: who they are and where they meet.

On a TPU pod or under SLURM, Open MPI or GKE, JAX finds out by itself; anywhere
else the coordinator's address, the number of processes and one's own number
are given. Every process runs the same command.
"""

import jax

from vidmodels.typing import InputError

CONNECT_SECONDS = 60  # until a process that does not come is an error
HEARTBEAT_SECONDS = 60  # until a process that fell silent ends the others


def start(
  *, auto: bool = False, coordinator: str = '', count: int = 0, number: int = -1
) -> None:
  """Joins the other processes; does nothing if there are none to join.

  Call it before anything touches a device.

  Args:
    auto: ask the cluster's environment.
    coordinator: 'host:port' of process 0.
    count: processes in all.
    number: of this process, from 0.

  Raises:
    InputError: if only some of the three are given, or nobody answers.
  """
  if not auto and not coordinator and not count and number < 0:
    return
  if not auto and not (coordinator and 0 <= number < count):
    raise InputError(
      f'coordinator {coordinator!r}, {count} processes and number {number} '
      'came; wanted host:port, a count, and a number from 0 to count - 1'
    )
  given = (
    {}
    if auto
    else dict(
      coordinator_address=coordinator, num_processes=count, process_id=number
    )
  )
  try:
    jax.distributed.initialize(
      **given,
      initialization_timeout=CONNECT_SECONDS,
      heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )
  except (RuntimeError, ValueError) as error:
    raise InputError(
      f'the processes did not find each other: {error}; on a cluster that JAX '
      'does not know give --coordinator, --processes and --process'
    ) from error
