"""Compiles training steps for 16 devices that are not there, and counts.

  python tests/sharded_steps.py '[{"family": "xvit", "mesh": [1, 16, 1]}]'

A case is a family, a mesh (data, fsdp, tensor and, if above 1, context) and a
batch. For each case it prints a line of JSON: the bytes of the parameters, of a
device's arguments and temporary memory, and the `Traffic` of each kind of
collective. In a process of its own, as the other tests have 8 devices.
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import sys

if __name__ == '__main__':
  os.environ['JAX_PLATFORMS'] = 'cpu'
  # The passes that place collectives all run; the machine code is not used.
  os.environ['XLA_FLAGS'] = (
    '--xla_force_host_platform_device_count=16'
    ' --xla_backend_optimization_level=0'
    ' --xla_cpu_parallel_codegen_split_count=1'
  )
  if importlib.metadata.version('jaxlib').startswith('0.10.'):
    # 2.4 s a program instead of 8 s, with the same collectives; see conftest.
    os.environ['XLA_FLAGS'] += ' --xla_cpu_use_fusion_emitters=false'
  os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'

import jax
import jax.numpy as jnp

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.analysis import compiled_program
from vidmodels.cli import recipe
from vidmodels.train import build
from vidmodels.train.mesh import batch_sharding

CLASSES = 16

# Models of one block whose every axis divides over 16 devices, and their clips.
MODELS = {
  'timesformer': ({'layers': 1}, 4, 16),
  'xvit': ({'layers': 1}, 4, 16),
  'vidtr': ({'layers': 1}, 4, 16),
  'vit': ({'layers': 1}, 2, 16),
  'dualformer': (
    {
      **{'widths': (64,), 'heads': (4,), 'layers': (2,), 'mlp_ratios': (2.0,)},
      **{'patterns': ('LG',), 'windows': ((2, 4, 4),), 'fine': ((2, 4, 4),)},
      **{'coarse': ((1, 1, 1),), 'rates': (), 'built': (4, 32, 32)},
    },
    4,
    32,
  ),
  'twins_svt': (
    {'widths': (64,), 'heads': (4,), 'layers': (2,), 'reductions': (4,)},
    2,
    32,
  ),
  'video_focalnet': (
    {'width': 64, 'layers': (1,), 'levels': (2,), 'windows': (3,)},
    4,
    16,
  ),
  'focalnet': (
    {'width': 64, 'layers': (1,), 'levels': (2,), 'windows': (3,)},
    2,
    16,
  ),
  'i3d': ({'width': 16}, 8, 32),
}
WIDE = {'width': 64, 'heads': 4}


# Clips of 16 frames, which 'context' splits, for the same models.
LONG = {
  'timesformer': ({}, 112),  # of its 14 x 14 places no quarter is a rectangle
  'xvit': ({}, 32),
  'vidtr': ({}, 64),
  'dualformer': ({'built': (16, 32, 32), 'fine': ((2, 4, 4),)}, 32),
  'video_focalnet': ({}, 32),
}


def make_config(
  family: str,
  mesh: list[int],
  batch: int,
  long: bool = False,
  mix: bool = False,
) -> cfg.Config:
  """The demo's recipe with a small model of a family."""
  fields, frames, size = MODELS[family]
  if long:
    more, size = LONG[family]
    fields, frames = fields | more, 16
  values = cfg.as_dict(recipe.load('demo', ['--config.data.dir=none']))
  model = {**models.find(family).TINY, **fields}
  if 'patch' in model:
    model |= WIDE
  values |= {'family': family, 'model': model, 'batch': batch}
  values['clip'] |= {'frames': frames, 'size': size}
  values['augment'] |= {'short_side': (size, size + 2)}
  values['mix']['mixup'] = 0.4 if mix else 0.0
  axes = ('data', 'fsdp', 'tensor', 'context')
  values['mesh'] |= dict(zip(axes, mesh, strict=False))
  return cfg.check(values)


def compile_step(config: cfg.Config, devices: int = 16):
  """The compiled training step of a config, and the run that it is of."""
  run = build.build(
    config, classes=CLASSES, examples=1000, devices=jax.devices()[:devices]
  )
  T, S, rows = config.clip.frames, config.clip.size, batch_sharding(run.mesh)
  shape = lambda dtype, *sizes: jax.ShapeDtypeStruct(
    (config.batch, *sizes), dtype, sharding=rows
  )
  batch = {
    'video': shape(jnp.uint8, T, S, S, 3),
    'label': shape(jnp.int32),
    'mask': shape(jnp.float32),
  }
  update, frozen = run._jitted_step(None)
  with jax.set_mesh(run.mesh):
    return update.lower(run.abstract, batch, frozen).compile(), run


def main(cases: list[dict]) -> None:
  for case in cases:
    config = make_config(**case)
    program, run = compile_step(config, math.prod(case['mesh']))
    found = compiled_program.collectives(program)
    parameters = sum(
      leaf.size * leaf.dtype.itemsize
      for leaf in jax.tree.leaves(run.abstract.params)
    )
    traffic = {kind: dataclasses.asdict(t) for kind, t in found.items()}
    used = compiled_program.memory(program)
    answer = {'parameters': parameters, 'traffic': traffic}
    answer |= {'arguments': used.arguments, 'temporary': used.temporary}
    print(json.dumps(answer))


if __name__ == '__main__':
  main(json.loads(sys.argv[1]))
