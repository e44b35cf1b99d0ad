"""The workdir of a run that was never trained: drawn weights, saved as a run's.

To train even a tiny model is seconds of compiling; what is made of a run's
checkpoint does not depend on it.
"""

import contextlib
import pathlib

import fake
import jax.numpy as jnp
import numpy as np
import tiny

from vidmodels import config as cfg
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE
from vidmodels.train.build import make_model
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.train.state import TrainState
from vidmodels.weights.mapping import apply


def write(
  workdir: pathlib.Path, *, steps: tuple[int, ...] = (1,), **changes
) -> pathlib.Path:
  """Writes checkpoints of `steps`, with averaged weights if `ema` is on."""
  config = tiny.config(workdir / 'records', **changes)
  clip = config.clip
  model = make_model(config, classes=len(fake.CLASSES))
  shapes = apply.variable_shapes(model, (clip.frames, clip.size, clip.size, 3))
  classes = ClassList(fake.CLASSES)
  meta = {
    'config': cfg.as_dict(config),
    'classes': list(classes.names),
    'classes_sha256': classes.sha256,
    'task': SINGLE.to_json(),
    'fps': 0.0,
  }
  with contextlib.closing(Checkpoints(workdir, config.checkpoint)) as saved:
    for step in steps:
      params = draw(shapes, step)['params']
      state = TrainState(
        step=jnp.asarray(step),
        params=params,
        opt_state={},
        ema=draw(shapes, -step)['params'] if config.optim.ema else None,
        model_state={},
        key=jnp.zeros(2, jnp.uint32),
      )
      saved.save(state, step=step, data={'next_step': step}, meta=meta)
    saved.wait()
  return workdir


def draw(shapes, seed: int):
  """Arrays of these shapes, other ones for each seed."""
  rng = np.random.default_rng(seed % 100)
  flat = apply.flatten_variables(shapes)
  arrays = {
    path: jnp.asarray(0.2 * rng.normal(size=leaf.shape), jnp.float32)
    for path, leaf in flat.items()
  }
  return apply.unflatten_variables(arrays)
