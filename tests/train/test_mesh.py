"""Losses of every family are the same on every mesh."""

import dataclasses

import fake
import jax
import pytest
import tiny
from test_step import run

from vidmodels import config as cfg
from vidmodels import models

# (data, fsdp, tensor)
MESHES = [(8, 1, 1), (1, 8, 1), (2, 2, 2), (1, 2, 4)]
# Fields of small models, with dropout and drop path on where a family has them.
FAMILIES = {
  'timesformer': {'layers': 2, 'drop_path': 0.3},
  'xvit': {'layers': 2, 'drop_path': 0.3, 'dropout': 0.5},
  'vidtr': {'layers': 2, 'dropout': 0.3, 'head_dropout': 0.5},
  'dualformer': {
    **{'widths': (16,), 'heads': (4,), 'layers': (2,), 'mlp_ratios': (2.0,)},
    **{'patterns': ('LG',), 'windows': ((2, 4, 4),), 'fine': ((2, 2, 2),)},
    **{'coarse': ((1, 1, 1),), 'rates': (), 'built': (4, 16, 16)},
    **{'drop_path': 0.3, 'dropout': 0.5},
  },
  'video_focalnet': {'width': 16, 'layers': (2,), 'drop_path': 0.5},
}


def family_config(records, family: str) -> cfg.Config:
  """The demo's recipe with a small model of a family."""
  config = tiny.config(records)
  model = {**models.find(family).TINY, **FAMILIES[family]}
  if 'heads' in model and family != 'dualformer':
    model |= {'width': 32, 'heads': 4}
  if family == 'video_focalnet':
    model |= {'levels': (2,), 'windows': (3,)}
  return dataclasses.replace(config, family=family, model=model)


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  return fake.write(tmp_path_factory.mktemp('records'))


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.slow
def test_losses_do_not_depend_on_the_mesh(records, family):
  config = family_config(records, family)
  one = jax.devices()[:1]
  _, first = run(config, records, devices=one, steps=0)
  first = jax.device_get(first)
  losses, _ = run(config, records, devices=one, first=first)
  for sizes in MESHES:
    mesh = cfg.Mesh(**dict(zip(('data', 'fsdp', 'tensor'), sizes, strict=True)))
    # One of them draws its first state itself, which is as long to compile.
    start = None if sizes == MESHES[-1] else first
    found, _ = run(dataclasses.replace(config, mesh=mesh), records, first=start)
    worst = abs(found[:, 0] / found[:, 1] - losses[:, 0] / losses[:, 1]).max()
    assert worst < 2e-6, sizes
    assert (found[:, 1] == 8).all()


# Meshes that split clips, and fields with which they divide.
SPLIT = {
  'timesformer': ({'attention': 'divided'}, {'context': 4}),
  'xvit': ({}, {'context': 2, 'tensor': 2}),
  'vidtr': ({}, {'context': 2, 'tensor': 2}),
  'dualformer': ({'windows': ((1, 4, 4),)}, {'context': 2}),
  'video_focalnet': ({}, {'context': 4}),
}


@pytest.mark.parametrize('family', SPLIT)
@pytest.mark.slow
def test_nor_do_they_depend_on_what_splits_clips(records, family):
  config, (fields, sizes) = family_config(records, family), SPLIT[family]
  config = dataclasses.replace(config, model={**config.model, **fields})
  one = jax.devices()[:1]
  _, first = run(config, records, devices=one, steps=0)
  first = jax.device_get(first)
  losses, _ = run(config, records, devices=one, first=first)
  mesh = cfg.Mesh(fsdp=2, **sizes)
  # The state is the same: a run goes on with another mesh.
  found, _ = run(dataclasses.replace(config, mesh=mesh), records, first=first)
  worst = abs(found[:, 0] / found[:, 1] - losses[:, 0] / losses[:, 1]).max()
  assert worst < 2e-6
  assert (found[:, 1] == 8).all()
