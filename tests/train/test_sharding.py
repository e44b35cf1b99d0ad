"""Rules: every parameter matches one, what does not divide is replicated."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.train import build, sharding
from vidmodels.train import mesh as meshes
from vidmodels.typing import InputError

RULES = (('kernel$', ('fsdp', 'tensor')), ('bias$', ()), ('never', ()))
PARAMS = {'up': {'kernel': jnp.ones((6, 8)), 'bias': jnp.ones(8)}}


@pytest.fixture
def mesh():
  return meshes.make_mesh(cfg.Mesh(data=2, fsdp=2, tensor=2))


def test_the_first_rule_that_matches_places_a_parameter(mesh):
  placed, report = sharding.place_parameters(RULES, PARAMS, mesh)
  assert placed['up']['kernel'].spec == P('fsdp', 'tensor')
  assert placed['up']['bias'].spec == P()
  assert report.unused == ('never',)
  assert report.bytes_per_device == 6 * 8 * 4 // 4 + 8 * 4


def test_a_dimension_that_does_not_divide_is_whole_everywhere(mesh):
  odd = {'up': {'kernel': jnp.ones((6, 7)), 'bias': jnp.ones(7)}}
  placed, report = sharding.place_parameters(RULES, odd, mesh)
  assert placed['up']['kernel'].spec == P('fsdp', None)
  assert report.dropped == ('up/kernel dim 1 of 7 over tensor',)


def test_a_parameter_without_a_rule_stops_the_run(mesh):
  with pytest.raises(InputError, match=r'up/scale of shape \(3,\)'):
    sharding.place_parameters(RULES, {'up': {'scale': jnp.ones(3)}}, mesh)


def test_a_rule_with_more_axes_than_the_parameter_is_refused(mesh):
  with pytest.raises(InputError, match='names 2 axes'):
    sharding.place_parameters(RULES, {'kernel': jnp.ones(4)}, mesh)


@pytest.mark.parametrize(
  ('sizes', 'shape'),
  [
    (cfg.Mesh(), (8, 1, 1)),
    (cfg.Mesh(data=2, fsdp=-1, tensor=2), (2, 2, 2)),
    (cfg.Mesh(data=1, fsdp=8), (1, 8, 1)),
  ],
)
def test_minus_one_takes_what_is_left(sizes, shape):
  assert tuple(meshes.make_mesh(sizes).shape.values()) == shape


@pytest.mark.parametrize(
  ('sizes', 'shape'),
  [
    ({'context': 4}, {'data': 2, 'fsdp': 1, 'context': 4, 'tensor': 1}),
    (
      {'data': 1, 'fsdp': 2, 'context': -1, 'tensor': 2},
      {'data': 1, 'fsdp': 2, 'context': 2, 'tensor': 2},
    ),
    ({}, {'data': 8, 'fsdp': 1, 'tensor': 1}),
  ],
)
def test_a_mesh_has_context_where_it_splits_clips(sizes, shape):
  made = meshes.make_mesh(cfg.Mesh(**sizes))
  assert dict(made.shape) == shape
  # Devices that share a clip need all of its rows.
  rows = shape['data'] * shape['fsdp']
  held = meshes.batch_sharding(made).devices_indices_map((8,)).values()
  assert len({str(index) for index in held}) == rows
  with pytest.raises(InputError, match='multiple of'):
    meshes.check_batch(rows + 1, accumulate=1, mesh=made)


def test_a_mesh_of_another_size_than_the_devices_is_refused():
  with pytest.raises(InputError, match='needs 6 devices and 8 are here'):
    meshes.make_mesh(cfg.Mesh(data=3, fsdp=2))


def test_a_batch_that_does_not_divide_the_mesh_is_refused(mesh):
  meshes.check_batch(24, accumulate=2, mesh=mesh)
  with pytest.raises(InputError, match='multiple of 8'):
    meshes.check_batch(20, accumulate=2, mesh=mesh)


# Families, their fields, the frames of a clip of 16 pixels, and what is said.
WHOLE = (
  ('timesformer', {'attention': 'joint'}, 4, "attention='joint'"),
  ('timesformer', {'attention': 'local_global'}, 4, "'local_global'"),
  ('timesformer', {'class_copies': False}, 4, 'class_copies=False'),
  ('timesformer', {}, 6, '=4 with 6 frames.*try mesh.context=2'),
  ('timesformer', {'patch': 4}, 6, 'with 6 frames'),
  ('timesformer', {'patch': 16}, 4, '1 places of a frame.*context=1'),
  ('xvit', {'segment': 2}, 4, '2 segments of 2 frames'),
  ('video_focalnet', {'depthwise': 'conv'}, 4, "depthwise='conv'"),
  ('video_focalnet', {'overlap': True}, 4, 'overlap=True'),
  ('video_focalnet', {'tubelet': 2}, 4, '2 frames of tokens'),
  ('dualformer', {}, 8, '2 windows along time in stage 0'),
  ('dualformer', {}, 6, 'windows of 2 on 3 frames'),
  ('dualformer', {'depthwise': 'conv'}, 16, "depthwise='conv'"),
  ('vidtr', {}, 4, '=4 with 2 heads'),
  ('vidtr', {'attention': 'joint'}, 4, "attention='joint'"),
  ('vidtr', {'stem': 't2t', 'patch': 16}, 4, "stem='t2t'"),
  ('i3d', {}, 8, 'need clips whole'),
)


@pytest.mark.parametrize(('family', 'fields', 'frames', 'says'), WHOLE)
def test_clips_that_cannot_be_split_are_refused(family, fields, frames, says):
  made = meshes.make_mesh(cfg.Mesh(context=4))
  known = {**models.find(family).TINY, **fields}
  model = models.build(family, classes=3, dtype='float32', **known)
  with pytest.raises(InputError, match=rf'mesh\.context.*{says}'):
    build.check_context(model, made, (frames, 16, 16))
  whole = meshes.make_mesh(cfg.Mesh())
  build.check_context(model, whole, (frames, 16, 16))


def test_one_process_feeds_every_row_once_whatever_the_mesh(mesh):
  assert meshes.local_rows(mesh, 8) == list(range(8))
  one = meshes.make_mesh(cfg.Mesh(data=1), devices=jax.devices()[:1])
  assert meshes.local_rows(one, 3) == [0, 1, 2]


@dataclasses.dataclass(frozen=True)
class Chip:
  """What JAX reads of a device when it arranges a mesh."""

  id: int
  process_index: int
  slice_index: int
  platform: str = 'fake'
  device_kind: str = 'fake'


@dataclasses.dataclass(frozen=True)
class Core:
  """A device that does not name its slice, as a CPU."""

  id: int
  process_index: int
  platform: str = 'cpu'
  device_kind: str = 'cpu'


# Two slices of 8, numbered in turn, so that their order must be found.
CHIPS = [Chip(i, i // 4, i % 2) for i in range(16)]
CORES = [Core(i, i // 4) for i in range(16)]  # four processes


@pytest.mark.parametrize(
  ('devices', 'attribute', 'sizes'),
  [
    (CHIPS, 'slice_index', cfg.Mesh(fsdp=4, tensor=2)),
    (CHIPS, 'slice_index', cfg.Mesh(fsdp=2, slices=2)),
    (CORES, 'process_index', cfg.Mesh(fsdp=2, tensor=2, slices=4)),
    (CHIPS, 'slice_index', cfg.Mesh(context=4, tensor=2)),
  ],
)
def test_only_data_reaches_from_one_slice_to_another(devices, attribute, sizes):
  mesh = meshes.make_mesh(sizes, devices=devices)
  assert sorted(d.id for d in mesh.devices.flat) == list(range(16))
  of = [[getattr(d, attribute) for d in row.flat] for row in mesh.devices]
  assert all(len(set(row)) == 1 for row in of)
  # Slice by slice, so that a sum over data crosses the network once.
  order = [row[0] for row in of]
  assert order == sorted(order)


@dataclasses.dataclass(frozen=True)
class Tpu(Chip):
  """A device that says where it is."""

  platform: str = 'tpu'
  device_kind: str = 'TPU v5 lite'
  coords: tuple[int, int, int] = (0, 0, 0)
  core_on_chip: int = 0


@pytest.mark.parametrize('slices', [1, 2])
@pytest.mark.parametrize('shape', [[64, 1, 4], [2, 16, 8], [2, 128, 1]])
def test_a_pod_is_cut_into_axes_that_are_no_side_of_it(shape, slices):
  """16 x 16 chips a slice; those of the last axis are near each other."""
  places = [(y, x) for y in range(16) for x in range(16)]
  pod = [
    Tpu(256 * n + i, 0, n, coords=(x, y, 0))
    for n in range(slices)
    for i, (y, x) in enumerate(places)
  ]
  shape = [shape[0] * slices, *shape[1:]]
  grid = meshes._arrange(shape, pod, slices)
  assert grid.shape == tuple(shape)
  assert {chip.id for chip in grid.flat} == set(range(256 * slices))
  for row in grid.reshape(-1, shape[-1]):
    assert len({chip.slice_index for chip in row}) == 1
    for axis in (0, 1):
      side = [chip.coords[axis] for chip in row]
      assert max(side) - min(side) < shape[-1]


def test_devices_that_name_no_slice_are_one():
  mesh = meshes.make_mesh(cfg.Mesh(data=1, fsdp=16), devices=CORES)
  assert mesh.shape['fsdp'] == 16


def test_several_slices_are_one_on_demand():
  mesh = meshes.make_mesh(cfg.Mesh(data=1, fsdp=-1, slices=1), devices=CHIPS)
  assert [d.slice_index for d in mesh.devices.flat] == [0] * 8 + [1] * 8


@pytest.mark.parametrize(
  ('sizes', 'message'),
  [
    (cfg.Mesh(data=1, fsdp=16), r'mesh\.data=1 over 2 slices.*mesh\.slices=1'),
    (cfg.Mesh(slices=3), r'mesh\.slices=3 .*2 slices and 4 processes'),
  ],
)
def test_a_mesh_that_does_not_fit_the_slices_is_refused(sizes, message):
  with pytest.raises(InputError, match=message):
    meshes.make_mesh(sizes, devices=CHIPS)
