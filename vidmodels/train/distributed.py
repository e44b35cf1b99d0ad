"""Connects the processes of one training run.

  distributed.connect(coordinator='host0:1234', count=4, number=0)

On a TPU pod or under SLURM, Open MPI or GKE, JAX finds the other processes by
itself. Anywhere else, the user gives the coordinator's address, the number of
processes and the number of this process. Every process runs the same command.
"""

import contextlib
import ctypes
import itertools
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import jax

from vidmodels.train import rendezvous
from vidmodels.typing import InputError

JOIN_SECONDS = 300.0  # a process that has not joined by then is an error
# JAX ends a process with a C++ stack trace when another one is silent for so
# long; `rendezvous` has seen it long before.
_HEARTBEAT_SECONDS = 2 * round(rendezvous.SILENT_SECONDS)
_NEWS_SECONDS = 5.0  # for the news that a process is gone, after an error

# Variables that say how many processes a launcher started for one command.
# Not SLURM_NTASKS: an interactive allocation sets it for a single process too.
_COUNTS = {
  'SLURM_STEP_NUM_TASKS': 'srun',
  'OMPI_COMM_WORLD_SIZE': 'mpirun',
  'PMI_SIZE': 'mpiexec',
}
_HOSTS = 'TPU_WORKER_HOSTNAMES'  # of a TPU slice, with commas between


def connect(
  *,
  auto: bool = False,
  coordinator: str = '',
  count: int = 0,
  number: int = -1,
  seconds: float = JOIN_SECONDS,
  say: rendezvous.Say = print,
) -> rendezvous.Peers | None:
  """Joins the other processes; returns None without any argument.

  Call it before anything touches a device. `auto` asks the cluster's
  environment; else `coordinator` is 'host:port' of process 0, `count` the
  number of processes and `number` that of this one, from 0. `say` is told who
  is missing, for `seconds` at most.
  """
  addresses: dict[str, Any] = {}
  if not seconds > 0:
    raise InputError(
      f'got {seconds:g} s to wait for the other processes; expected a number '
      'above 0; try --join-timeout 300'
    )
  if auto:
    addresses = _ask_cluster(seconds)
  else:
    if not coordinator and not count and number < 0:
      _refuse_cluster()
      return None
    if not (coordinator and 0 <= number < count):
      raise InputError(
        f'got coordinator {coordinator!r}, {count} processes and number '
        f'{number}; expected host:port, a count, and a number from 0 to '
        'count - 1; try --coordinator host0:1234 --processes 2 --process 0'
      )
    addresses = dict(
      coordinator_address=coordinator, num_processes=count, process_id=number
    )
  peers = None
  if addresses:
    peers = rendezvous.join(
      addresses['coordinator_address'],
      count=addresses['num_processes'],
      number=addresses['process_id'],
      seconds=seconds,
      say=say,
    )
    _delay_abort()
  try:
    jax.distributed.initialize(
      **addresses,
      initialization_timeout=max(round(seconds), 1),
      heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
    )
  except (RuntimeError, ValueError) as error:
    raise InputError(
      f'the processes did not find each other: {error}; on a cluster that JAX '
      'does not know give --coordinator, --processes and --process'
    ) from error
  return peers


def _delay_abort() -> None:
  """Lets a thread of C++ that aborts sleep for some seconds before.

  JAX's client aborts when its coordinator is gone, at the same moment as
  `rendezvous` notices; meanwhile that says who is gone, and ends the process
  with a code of ours. JAX 0.10.2 takes a callback for it, and crashes when it
  calls it. A handler of Python's would never run: its thread is not the
  one that aborts. libc calls a handler with the number of the signal, and so
  `sleep` sleeps for 6 seconds.
  """
  libc = ctypes.CDLL(None)
  libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
  libc.signal.restype = ctypes.c_void_p
  libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


def _ask_cluster(seconds: float) -> dict[str, Any]:
  """The addresses that JAX finds in the cluster's environment, if it tells.

  {} leaves all of it to JAX, which is silent while it waits.
  """
  try:
    from jax._src import clusters

    found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
      None, None, None, None, None, round(seconds)
    )
    coordinator, count, number, devices = found
  except Exception:  # not a public interface of JAX
    return {}
  if not coordinator or count is None or number is None:
    return {}
  addresses: dict[str, Any] = dict(
    coordinator_address=coordinator, num_processes=count, process_id=number
  )
  return addresses | ({'local_device_ids': devices} if devices else {})


@contextlib.contextmanager
def explained(peers: rendezvous.Peers | None) -> Iterator[None]:
  """Tells the others why this process ends, or learns why it has to.

  What is at work with a process that is gone fails at the same moment, with
  errors that do not name it, a save among them: `peers.watch` gets the time to
  end this process.
  """
  try:
    yield
  except Exception as error:
    if peers is not None:
      if not isinstance(error, InputError | MemoryError):
        time.sleep(_NEWS_SECONDS)
      # Of other errors their traceback tells more.
      if isinstance(error, InputError | OSError | MemoryError):
        peers.leave(str(error), wrong_input=isinstance(error, InputError))
    raise
  if peers is not None:
    peers.close()


_AGREE_SECONDS = 60.0
_asked = itertools.count()


def agree(text: str, *, seconds: float = _AGREE_SECONDS) -> list[str]:
  """What every process says, by number; all must ask, in the same order.

  Raises RuntimeError if one does not in `seconds`: it may wait for this one in
  the middle of something else.
  """
  if jax.process_count() == 1:
    return [text]
  from jax._src import distributed  # nothing public has a time limit

  client: Any = distributed.global_state.client
  place = f'vidmodels/agree/{next(_asked)}'
  client.key_value_set(f'{place}/{jax.process_index()}', f'.{text[:1000]}')
  client.wait_at_barrier(place, round(1000 * seconds))
  return [
    client.blocking_key_value_get(f'{place}/{number}', 1000)[1:]
    for number in range(jax.process_count())
  ]


def is_first() -> bool:
  """Whether this process reports and writes for all of the run."""
  return jax.process_index() == 0


_CHUNK = 1 << 19  # letters of a message: gRPC takes 4 MB


def broadcast(text: str, *, seconds: float = _AGREE_SECONDS) -> str:
  """What process 0 says, in every process; all must ask, in the same order.

  The others wait for it, for `seconds` at most (RuntimeError).
  """
  if jax.process_count() == 1:
    return text
  if is_first():
    return _post(text)
  return _receive(0, next(_asked), seconds)


def gather(text: str, *, seconds: float) -> list[str]:
  """What every process says, by number, in process 0; [] in the others.

  All must ask, in the same order. Only process 0 has the texts of all.
  """
  if jax.process_count() == 1:
    return [text]
  if not is_first():
    _post(text)
    return []
  place = next(_asked)
  others = range(1, jax.process_count())
  return [text, *(_receive(number, place, seconds) for number in others)]


def _post(text: str) -> str:
  """Leaves a text with the coordinator, in pieces."""
  from jax._src import distributed

  client: Any = distributed.global_state.client
  place = f'vidmodels/text/{next(_asked)}/{jax.process_index()}'
  pieces = range(0, len(text), _CHUNK)
  for piece, start in enumerate(pieces):
    client.key_value_set(f'{place}/{piece}', text[start : start + _CHUNK])
  client.key_value_set(f'{place}/pieces', str(len(pieces)))
  return text


def _receive(number: int, place: int, seconds: float) -> str:
  """The text that a process has left."""
  from jax._src import distributed

  client: Any = distributed.global_state.client
  where, wait_ms = f'vidmodels/text/{place}/{number}', round(1000 * seconds)
  pieces = int(client.blocking_key_value_get(f'{where}/pieces', wait_ms))
  return ''.join(
    client.blocking_key_value_get(f'{where}/{piece}', wait_ms)
    for piece in range(pieces)
  )


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
