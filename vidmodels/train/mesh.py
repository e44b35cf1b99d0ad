"""The device mesh: axes data, fsdp and tensor, and the rows of each device.

  mesh = make_mesh(cfg.Mesh(data=-1, fsdp=4))

The batch is split over data and fsdp together; tensor devices share rows. Next:
`sharding.py` places the parameters, `feed.py` the batches.
"""

import math

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vidmodels import config as cfg
from vidmodels.typing import InputError

AXES = ('data', 'fsdp', 'tensor')
BATCH = PartitionSpec(('data', 'fsdp'))


def make_mesh(sizes: cfg.Mesh, *, devices: list | None = None) -> Mesh:
  """Arranges the devices, by default all, as (data, fsdp, tensor).

  One size may be -1: it takes all devices that are left.
  """
  devices = list(jax.devices() if devices is None else devices)
  shape = [sizes.data, sizes.fsdp, sizes.tensor]
  if -1 in shape:
    rest = math.prod(s for s in shape if s != -1)
    shape[shape.index(-1)] = max(len(devices) // rest, 1)
  if math.prod(shape) != len(devices):
    raise InputError(
      f'mesh (data, fsdp, tensor) = {tuple(shape)} needs {math.prod(shape)} '
      f'devices and {len(devices)} are here; expected sizes whose product is '
      f'{len(devices)}; change config.mesh, one of its sizes may be -1'
    )
  grid = mesh_utils.create_device_mesh(shape, devices=devices)
  # Auto axes: jax.make_mesh defaults to Explicit axes, with which a sharding
  # constraint asserts instead of placing.
  return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 3)


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
  tensor axis crosses processes, because they then need the same rows.
  """
  indices = batch_sharding(mesh).addressable_devices_indices_map((batch,))
  rows = [np.arange(batch)[index] for index in indices.values()]
  return np.unique(np.concatenate(rows)).tolist()


def round_up_batch(batch: int, mesh: Mesh) -> int:
  """`batch` rounded up to a multiple of the devices that split it."""
  shards = mesh.shape['data'] * mesh.shape['fsdp']
  return -(-batch // shards) * shards
