"""Rules: every parameter matches one, what does not divide is replicated."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from vidmodels import config as cfg
from vidmodels.train import mesh as meshes
from vidmodels.train import sharding
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


def test_a_mesh_of_another_size_than_the_devices_is_refused():
  with pytest.raises(InputError, match='needs 6 devices and 8 are here'):
    meshes.make_mesh(cfg.Mesh(data=3, fsdp=2))


def test_a_batch_that_does_not_divide_the_mesh_is_refused(mesh):
  meshes.check_batch(24, accumulate=2, mesh=mesh)
  with pytest.raises(InputError, match='multiple of 8'):
    meshes.check_batch(20, accumulate=2, mesh=mesh)


def test_one_process_feeds_every_row_once_whatever_the_mesh(mesh):
  assert meshes.local_rows(mesh, 8) == list(range(8))
  one = meshes.make_mesh(cfg.Mesh(data=1), devices=jax.devices()[:1])
  assert meshes.local_rows(one, 3) == [0, 1, 2]
