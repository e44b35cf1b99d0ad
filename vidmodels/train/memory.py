"""Memory: what a run needs, what its devices have, and one message if it fails.

  memory.check_state(config, mesh, abstract)      # before anything is compiled
  step = memory.compiled_to_fit(jitted, check)    # before anything is run
  with memory.explained(mesh, advice): step(...)  # OutOfMemoryError

A program that does not fit is refused with an `InputError`, since a device that
runs out of memory in the middle of a step prints a page of XLA's allocations,
and a machine that does ends the process without a word.

On a CPU the devices share the machine's memory. `Room` is what one of them may
have; the limits of the machine, its control groups and `ulimit -v` all count.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
import resource
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh
from rich.filesize import decimal

from vidmodels import config as cfg
from vidmodels.analysis import compiled_program
from vidmodels.analysis.compiled_program import ProgramMemory
from vidmodels.train import distributed, freezing
from vidmodels.train.mesh import local_rows
from vidmodels.typing import InputError, remat_policy

_CGROUPS = pathlib.Path('/sys/fs/cgroup')
# (limit, use, the part of the use that can be given back) of versions 2 and 1.
_CGROUP_FILES = (
  ('memory.max', 'memory.current', 'inactive_file'),
  ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file'),
)
# What is advised should fit: beside activations, a step has gradients, and the
# batch that is read ahead.
_SPARE = 1.2
_COMPILE_SECONDS = 3600.0  # that one process may compile longer than another
_UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
# 'allocate 4294967296 bytes', 'allocate 12.0 GiB', 'Used 20.05G of 15.48G hbm',
# 'HLO temporaries (29.33G) exceeds available HBM (15.75G)'.
_NUMBER = r'(\d+(?:\.\d+)?)\s*([KMGT]?)'
_ASKED = re.compile(
  r'(?:allocat\w+\s+|Used\s+|HLO temporaries \()' + _NUMBER + 'i?'
)
_USED_OF = re.compile(
  rf'(?:Used |HLO temporaries \(){_NUMBER}'
  rf'(?: of |\) exceeds available HBM \(){_NUMBER}(?: hbm|\))'
)
_WORDS = re.compile(
  r'RESOURCE_EXHAUSTED|out of memory|OUT_OF_MEMORY|Insufficient memory',
  re.IGNORECASE,
)


class OutOfMemoryError(MemoryError):
  """A device or the machine has no memory left; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Room:
  """The memory that one device has, in bytes."""

  name: str  # of the kind of device
  total: int
  free: int

  def __str__(self) -> str:
    return f'{decimal(self.free)} free of {decimal(self.total)}'


def room_on(mesh: Mesh) -> Room:
  """The memory of the fullest of this process's devices."""
  return room_of(list(mesh.local_devices))


def room_of(devices: list) -> Room:
  """The memory of the fullest of some devices of this process."""
  kind = devices[0].device_kind
  rooms = []
  for device in devices:
    stats = device.memory_stats() if device.platform != 'cpu' else None
    if stats and 'bytes_limit' in stats:
      limit = stats['bytes_limit']
      rooms.append(Room(kind, limit, limit - stats.get('bytes_in_use', 0)))
  if rooms:
    return min(rooms, key=lambda room: room.free)
  if devices[0].platform != 'cpu':  # it does not say
    return Room(kind, 2**63, 2**63)
  host = host_room()
  return Room(kind, host.total // len(devices), host.free // len(devices))


def host_room() -> Room:
  """The memory of this machine that this process may have."""
  total = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  free = total
  with contextlib.suppress(OSError):  # only Linux has it
    known = _numbers(pathlib.Path('/proc/meminfo').read_text())
    free = 1024 * (known.get('MemAvailable', 0) + known.get('SwapFree', 0))
    total += 1024 * known.get('SwapTotal', 0)
  for limit, use in _cgroup_limits():
    total, free = min(total, limit), min(free, max(limit - use, 0))
  limit = resource.getrlimit(resource.RLIMIT_AS)[0]
  if limit != resource.RLIM_INFINITY:
    use = 0
    with contextlib.suppress(OSError):
      pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0])
      use = pages * os.sysconf('SC_PAGE_SIZE')
    total, free = min(total, limit), min(free, max(limit - use, 0))
  return Room('machine', total, free)


def _numbers(text: str) -> dict[str, int]:
  """The lines 'name: 12 kB' or 'name 12' as a dict."""
  found = re.findall(r'^(\w+):?\s+(\d+)', text, re.MULTILINE)
  return {name: int(value) for name, value in found}


def _cgroup_limits() -> Iterator[tuple[int, int]]:
  """(limit, use) of each control group of this process that has a limit."""
  try:
    lines = pathlib.Path('/proc/self/cgroup').read_text().splitlines()
  except OSError:
    return
  for line in lines:
    _, kinds, place = line.split(':', 2)
    if kinds not in ('', 'memory'):
      continue
    top = _CGROUPS / kinds
    # In a container the path may be that of the machine outside.
    here = top / place.strip('/')
    for folder in {top, here, *here.parents}:
      if folder != top and top not in folder.parents:
        continue
      for limit, use, cache in _CGROUP_FILES:
        with contextlib.suppress(OSError, ValueError):  # 'max' is no number
          most = int((folder / limit).read_text())
          used = int((folder / use).read_text())
          stat = _numbers((folder / 'memory.stat').read_text())
          yield most, max(used - stat.get(cache, 0), 0)


def describe_devices(mesh: Mesh) -> str:
  """The devices and their memory: '8 x NVIDIA H100 80GB HBM3, ... free ...'."""
  room = room_on(mesh)
  text = f'{mesh.size} x {room.name}'
  if jax.process_count() > 1:
    text += f' in {jax.process_count()} processes'
  if mesh.devices.flat[0].platform == 'cpu':
    return f'{text}, {host_room()} on this machine'
  return f'{text}, {room} each'


def bytes_on_device(tree: Any) -> int:
  """Bytes of a tree of arrays or shapes with shardings, on each device."""
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )


def check_state(config: cfg.Config, mesh: Mesh, abstract: Any) -> None:
  """Refuses a run whose weights and batches alone do not fit.

  `abstract` is the TrainState as shapes with shardings. Raises InputError.
  """
  learning = freezing.trained(config.optim, abstract.params)
  state, gradients = map(bytes_on_device, (abstract, learning))
  clip = config.clip.frames * config.clip.size**2 * 3
  rows = config.batch // (mesh.shape['data'] * mesh.shape['fsdp'])
  ahead = config.data.prefetch + 1  # batches that are read before their step
  on_host = ahead * len(local_rows(mesh, config.batch)) * clip
  on_cpu = mesh.devices.flat[0].platform == 'cpu'
  devices = len(mesh.local_devices)
  needed, room = state + gradients + rows * clip, room_on(mesh)
  if on_cpu:
    needed += on_host // devices
  text = (
    f'{decimal(state)} of weights, moments and averages, {decimal(gradients)} '
    f'of gradients, {decimal(rows * clip)} a batch'
  )
  if needed > room.free:
    advice = training_advice(config, mesh, factor=needed / max(room.free, 1))
    raise InputError(
      f'got a recipe that needs {decimal(needed)} on each device ({text}) '
      f'before any activation; expected at most {room.name} with {room}; '
      f'{advice}'
    )
  host = host_room()
  if on_host > host.free:
    raise InputError(
      f'got {ahead} batches of {config.batch} clips to read ahead, '
      f'{decimal(on_host)}; expected at most the {host} of this machine; try '
      f'--config.batch={config.batch // 2} (now {config.batch})'
    )


def _arrays(tree: Any) -> list[jax.Array]:
  """The arrays of a tree that are on devices."""
  return [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]


def compiled_to_fit(
  function: Any,
  check: Callable[[int], None],
  say: Callable[[str], None] | None = None,
) -> Callable[..., Any]:
  """A jitted function that is compiled when it is first called.

  `check` gets the bytes that the program needs on each device beside its
  arguments, and refuses it by raising. It is compiled once for each shape of
  the arguments after the first, which never changes its shapes. `say` gets a
  line with what the first program needs, and one with what was used once it has
  run.
  """
  programs: dict[Any, Any] = {}

  def call(*args: Any) -> Any:
    shapes = tuple((v.shape, v.dtype) for v in jax.tree.leaves(args[1:]))
    first = not programs
    if shapes not in programs:
      program = _compile(function.lower(*args), args, check)
      used = compiled_program.memory(program)
      if used is not None:
        check(used.beside_arguments)
      # Collectives on CPUs give up if a process comes 30 s after another, as it
      # does where one of the machines compiles more slowly.
      if any(not leaf.sharding.is_fully_addressable for leaf in _arrays(args)):
        distributed.agree('compiled', seconds=_COMPILE_SECONDS)
      programs[shapes] = program
      if say and first and used is not None:
        say(_needs(used))
    results = programs[shapes](*args)
    if say and first:
      jax.block_until_ready(results)
      say(_was_used(jax.tree.leaves(results)))
    return results

  return call


def _compile(lowered: Any, args: Any, check: Callable[[int], None]) -> Any:
  """Compiles; `check` refuses what the compiler refuses for its memory."""
  try:
    return lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if amounts := used_and_limit(error):
      check(amounts[0] - bytes_on_device(args))
    raise


def _needs(used: ProgramMemory) -> str:
  """What a program needs, before it runs."""
  return (
    f'a step needs {decimal(used.total)} on each device: '
    f'{decimal(used.arguments)} of weights, moments and batch, '
    f'{decimal(used.beside_arguments)} of activations, gradients and code'
  )


def _was_used(arrays: list[jax.Array]) -> str:
  """What was in use at most, after a step."""
  devices: Any = arrays[0].sharding.addressable_devices
  peaks = [
    (device.memory_stats() or {}).get('peak_bytes_in_use', 0)
    for device in devices
    if device.platform != 'cpu'
  ]
  if any(peaks):
    return f'measured after a step: {decimal(max(peaks))} at most on a device'
  resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  return (
    f'measured after a step: {decimal(resident)} at most of this machine, for '
    'the whole process'
  )


def check_program(
  needed: int, mesh: Mesh, what: str, advice: Callable[[float], str]
) -> None:
  """Refuses a program that needs more bytes than a device has free.

  `advice` gets how many times too much it is. Raises InputError.
  """
  room = room_on(mesh)
  if needed > room.free:
    where, of = 'each device', f'{room.name} with {room}'
    if mesh.devices.flat[0].platform == 'cpu':
      devices = len(mesh.local_devices)
      where, of = 'this machine', f'the {host_room()}'
      needed *= devices
      room = dataclasses.replace(room, free=room.free * devices)
    raise InputError(
      f'got {what} that needs {decimal(needed)} on {where} beside its weights; '
      f'expected at most {of}; {advice(needed / max(room.free, 1))}'
    )


def training_advice(config: cfg.Config, mesh: Mesh, factor: float = 2.0) -> str:
  """'try ...': the fields that lower the memory, and their present values.

  `factor` says how many times too much was needed; a little more is left free.
  """
  factor *= _SPARE
  shards = mesh.shape['data'] * mesh.shape['fsdp']
  batch, parts = config.batch, config.accumulate
  moves = []
  splits = [
    m
    for m in range(parts + 1, batch // shards + 1)
    if batch % (m * shards) == 0
  ]
  if splits:
    enough = [m for m in splits if m >= parts * factor]
    moves.append(
      f'--config.accumulate={(enough or splits[-1:])[0]} (now {parts})'
    )
  unit = math.lcm(parts * shards, config.augment.repeats)
  smaller = max(int(batch / factor) // unit, 1) * unit
  if smaller < batch:
    moves.append(f'--config.batch={smaller} (now {batch})')
  remat = config.model.get('remat', 'block')
  if remat_policy(remat) in ('none', 'dots'):
    moves.append(f'--config.model.remat=block (now {remat_policy(remat)})')
  if config.dtype == 'float32':
    moves.append('--config.dtype=bfloat16 (now float32)')
  if mesh.shape['fsdp'] < mesh.size and config.mesh.data == -1:
    moves.append(f'--config.mesh.fsdp={mesh.size} (now {mesh.shape["fsdp"]})')
  if config.optim.ema:
    moves.append(f'--config.optim.ema=0 (now {config.optim.ema:g})')
  clip = config.clip
  moves.append(
    f'a smaller recipe (now {config.family} on {clip.frames} frames of '
    f'{clip.size} pixels)'
  )
  return (
    f'try {", ".join(moves[:-1])}{" or " * (len(moves) > 1)}{moves[-1]}; '
    '`vidmodels plan --search` finds what fits without training'
  )


def scoring_advice(config: cfg.Config, batch: int, factor: float = 2.0) -> str:
  """As `training_advice`, for views that are scored `batch` at a time."""
  moves = []
  if batch > 1:
    moves.append(
      f'fewer views a step, --batch {max(int(batch / factor), 1)} (now '
      f'{batch}; while training it is --config.views.batch)'
    )
  moves.append('more devices with --mesh, or a larger device')
  if config.dtype == 'float32':
    moves.append('a run with dtype=bfloat16 (now float32)')
  return f'try {", or ".join(moves)}'


@contextlib.contextmanager
def explained(mesh: Mesh, advice: Callable[[], str]) -> Iterator[None]:
  """Raises one OutOfMemoryError for whatever says that memory ran out."""
  try:
    yield
  except OutOfMemoryError:
    raise
  except Exception as error:
    if not is_out_of_memory(error):
      raise
    text = f'out of memory: {request(error)}'
    if _of_device(error) and mesh.devices.flat[0].platform != 'cpu':
      room = room_on(mesh)
      text += f' on {room.name}, which has {room}'
    else:
      text += f' on this machine, which has {host_room()}'
    raise OutOfMemoryError(f'{text}; {advice()}') from error


def is_out_of_memory(error: BaseException) -> bool:
  """Whether Python, NumPy, OpenCV or XLA ran out of memory.

  Not a ValueError of TensorStore: its RESOURCE_EXHAUSTED is a full disk.
  """
  if isinstance(error, MemoryError):
    return True
  if 'std::bad_alloc' in str(error):
    return True
  said = _of_device(error) or type(error).__module__ == 'cv2'
  return said and bool(_WORDS.search(str(error)))


def used_and_limit(error: BaseException) -> tuple[int, int] | None:
  """The bytes that a program needs and those of a device, as a compiler says.

  If temporaries alone are too many, libtpu names them and not the arguments.
  None for other errors: those of a program that runs.
  """
  match = _USED_OF.search(str(error)) if is_out_of_memory(error) else None
  if match is None:
    return None
  used, limit = (int(float(match[i]) * _UNITS[match[i + 1]]) for i in (1, 3))
  return used, limit


def request(error: BaseException) -> str:
  """What was asked for: 'got a request for 12.9 GB'."""
  match = _ASKED.search(str(error))
  if match is None:
    return 'got a request for more than is left'
  return f'got a request for {decimal(int(float(match[1]) * _UNITS[match[2]]))}'


def _of_device(error: BaseException) -> bool:
  return isinstance(error, jax.errors.JaxRuntimeError)
