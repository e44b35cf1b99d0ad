"""The device mesh: axes data, fsdp, context, tensor; the rows of each device.

  mesh = make_mesh(cfg.Mesh(data=-1, fsdp=4))

The batch is split over data and fsdp together; context and tensor devices share
rows. A mesh has the axis context only where it splits clips. Of several slices
or nodes, `data` runs over the slow network between them: it carries one sum of
gradients a step, where the others send in every layer. Next: `sharding.py`
places the parameters, `feed.py` the batches.
"""

import math
import operator
from collections import Counter

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vidmodels import config as cfg
from vidmodels.nn import linear
from vidmodels.typing import InputError

AXES = ('data', 'fsdp', linear.CONTEXT, 'tensor')
BATCH = PartitionSpec(linear.BATCH)


def make_mesh(sizes: cfg.Mesh, *, devices: list | None = None) -> Mesh:
  """Arranges the devices, by default all, as (data, fsdp, context, tensor).

  One size may be -1: it takes all devices that are left. Raises InputError for
  sizes that do not fit the devices or their slices.
  """
  devices = list(jax.devices() if devices is None else devices)
  axes = [a for a in AXES if a != linear.CONTEXT or sizes.context != 1]
  shape = [getattr(sizes, axis) for axis in axes]
  if -1 in shape:
    rest = math.prod(s for s in shape if s != -1)
    shape[shape.index(-1)] = max(len(devices) // rest, 1)
  if math.prod(shape) != len(devices):
    raise InputError(
      f'mesh ({", ".join(axes)}) = {tuple(shape)} needs {math.prod(shape)} '
      f'devices and {len(devices)} are here; expected sizes whose product is '
      f'{len(devices)}; change config.mesh, one of its sizes may be -1'
    )
  grid = _arrange(shape, devices, sizes.slices or _count_slices(devices))
  # Auto axes: jax.make_mesh defaults to Explicit axes, with which a sharding
  # constraint asserts instead of placing.
  return Mesh(grid, tuple(axes), axis_types=(AxisType.Auto,) * len(axes))


def _count_slices(devices: list) -> int:
  """How many slices the devices say they are in; 1 if they do not say it."""
  numbers = {getattr(device, 'slice_index', None) for device in devices}
  return 1 if None in numbers else len(numbers)


def _arrange(shape: list[int], devices: list, slices: int) -> np.ndarray:
  """The devices as an array of `shape`, neighbours near each other.

  With several slices `data` is slice by slice, and the other axes stay inside.
  Devices that do not name their slice, as CPUs, have one a process.
  """
  # 16 x 16 chips have no side of 4 for tensor=4: JAX must be told to cut one.
  if slices == 1 and _count_slices(devices) == 1:
    return mesh_utils.create_device_mesh(
      shape, devices=devices, allow_split_physical_axes=True
    )
  if slices == 1:  # as one slice on demand: JAX arranges only real ones
    key = operator.attrgetter('slice_index', 'id')
    return np.asarray(sorted(devices, key=key), object).reshape(shape)
  by_process = _count_slices(devices) != slices
  attribute = 'process_index' if by_process else 'slice_index'
  groups = Counter(getattr(device, attribute) for device in devices)
  if len(groups) != slices or len(set(groups.values())) > 1:
    raise InputError(
      f'got mesh.slices={slices} with {len(devices)} devices in '
      f'{_count_slices(devices)} slices and '
      f'{len({d.process_index for d in devices})} processes; expected the '
      'number of slices or of processes, with equally many devices each; try '
      'mesh.slices=0, which asks the devices'
    )
  if shape[0] % slices:
    raise InputError(
      f'got mesh.data={shape[0]} over {slices} slices; expected a multiple of '
      f'{slices}, as only data reaches from slice to slice; try mesh.data='
      f'{slices}, or mesh.slices=1 to let the others use the slow network'
    )
  return mesh_utils.create_hybrid_device_mesh(
    [shape[0] // slices, *shape[1:]],
    [slices] + [1] * len(shape[1:]),
    devices,
    process_is_granule=by_process,
    allow_split_physical_axes=True,
  )


def make_own_mesh(sizes: cfg.Mesh | None = None) -> Mesh:
  """A mesh of this process's devices alone: each process works for itself."""
  return make_mesh(sizes or cfg.Mesh(), devices=jax.local_devices())


def check_batch(batch: int, *, accumulate: int, mesh: Mesh) -> None:
  """Refuses a batch whose microbatches do not divide over the mesh."""
  shards = mesh.shape['data'] * mesh.shape['fsdp']
  if batch % (accumulate * shards):
    raise InputError(
      f'a batch of {batch} clips does not divide into accumulate={accumulate} '
      f'microbatches over data x fsdp = {shards} devices; expected a multiple '
      f'of {accumulate * shards}'
    )


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The sharding of a batch along its leading axis."""
  return NamedSharding(mesh, BATCH)


def replicated(mesh: Mesh) -> NamedSharding:
  """A whole copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def local_rows(mesh: Mesh, batch: int) -> list[int]:
  """Rows of the global batch that this process's devices hold, ascending.

  Computed from the sharding: `batch / process_count` rows is wrong if the
  tensor or context axis crosses processes, because they then need the same
  rows.
  """
  indices = batch_sharding(mesh).addressable_devices_indices_map((batch,))
  rows = [np.arange(batch)[index] for index in indices.values()]
  return np.unique(np.concatenate(rows)).tolist()


def round_up_batch(batch: int, mesh: Mesh) -> int:
  """`batch` rounded up to a multiple of the devices that split it."""
  shards = mesh.shape['data'] * mesh.shape['fsdp']
  return -(-batch // shards) * shards
