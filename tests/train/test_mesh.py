"""Losses of every family are the same on every mesh, whole clips or split."""

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
# The meshes that split clips: it depends on the family what divides.
SPLIT = {
  'timesformer': {'fsdp': 2, 'context': 4},
  'xvit': {'fsdp': 2, 'context': 2, 'tensor': 2},
  'vidtr': {'fsdp': 2, 'context': 2, 'tensor': 2},
  'dualformer': {'fsdp': 2, 'context': 2, 'data': 2},
  'video_focalnet': {'fsdp': 2, 'context': 4},
}
# Fields of small models, with dropout and drop path on where a family has them.
FAMILIES = {
  'timesformer': {'attention': 'divided', 'layers': 2, 'drop_path': 0.3},
  'xvit': {'layers': 2, 'drop_path': 0.3, 'dropout': 0.5},
  'vidtr': {'layers': 2, 'dropout': 0.3, 'head_dropout': 0.5},
  'dualformer': {
    **{'widths': (16,), 'heads': (4,), 'layers': (2,), 'mlp_ratios': (2.0,)},
    **{'patterns': ('LG',), 'windows': ((1, 4, 4),), 'fine': ((2, 2, 2),)},
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
@pytest.mark.slow_every(2)
def test_losses_do_not_depend_on_the_mesh(records, family):
  config = family_config(records, family)
  one = jax.devices()[:1]
  _, first = run(config, records, devices=one, steps=0)
  first = jax.device_get(first)
  losses, _ = run(config, records, devices=one, first=first)
  axes = ('data', 'fsdp', 'tensor')
  meshes = [dict(zip(axes, sizes, strict=True)) for sizes in MESHES]
  for sizes in (*meshes, SPLIT[family]):
    # One of them draws its first state itself, which is as long to compile.
    start = None if sizes == meshes[-1] else first
    changed = dataclasses.replace(config, mesh=cfg.Mesh(**sizes))
    found, _ = run(changed, records, first=start)
    worst = abs(found[:, 0] / found[:, 1] - losses[:, 0] / losses[:, 1]).max()
    assert worst < 2e-6, sizes
    assert (found[:, 1] == 8).all()
