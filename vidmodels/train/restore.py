"""Restores a trained model from a checkpoint: weights, classes, recipe.

  model = restore.load('runs/first')
  logits_BK = model.eval_step()(model.params, model.model_state, video_BTHWC)

Preprocessing and class names come from the checkpoint, never from the command
line, so a model always gets the input that it was trained on.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh

from vidmodels import config as cfg
from vidmodels import files, models
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import memory, sharding, step
from vidmodels.train.build import make_model
from vidmodels.train.checkpoint import Checkpoints, StepChoice
from vidmodels.train.mesh import make_mesh, replicated
from vidmodels.typing import InputError

Weights = Literal['auto', 'params', 'ema']


@dataclasses.dataclass(frozen=True)
class TrainedModel:
  """A trained model with all that its use needs."""

  config: cfg.Config  # the recipe of its training
  classes: ClassList  # the classes of its logits
  step: int  # updates behind the weights
  weights: str  # 'params' or 'ema', as restored
  workdir: pathlib.Path  # of its run
  model: nn.Module  # the linen module
  params: Any  # its weights, on the mesh
  model_state: Any  # its other collections
  # fps: frame rate to which its records were resampled; 0 if they keep the rate
  # of the videos
  fps: float
  mesh: Mesh  # the devices of its weights and batches
  task: Task = SINGLE  # the kind of labels that it was trained on
  # source: the weight file that its training started from, if it did
  source: Mapping[str, Any] | None = None

  def eval_step(self):
    """Returns (params, model_state, uint8 video) -> logits, to be jitted."""
    return step.make_eval_step(self.model, self.config.data)


def load(
  workdir: str | pathlib.Path,
  *,
  step: StepChoice = None,
  weights: Weights = 'auto',
  sizes: cfg.Mesh | None = None,
  mesh: Mesh | None = None,
) -> TrainedModel:
  """Loads a checkpoint of a training run, by default the newest.

  `step` is a number, 'latest' or 'best', by the metric of the run's recipe.

  `weights` 'ema' are the averaged ones, 'params' the raw ones; 'auto' takes the
  averaged ones if the run kept them. Without `mesh`, a new one has `sizes`, by
  default all devices along data.
  """
  with contextlib.closing(Checkpoints(workdir)) as saved:
    step = saved.pick(step)
    meta = saved.read_json(step, 'meta')
    config, classes, task, model = check_meta(meta, saved.folder / str(step))
    if weights == 'auto':
      weights = 'ema' if saved.has(step, 'ema') else 'params'
    mesh = mesh or make_mesh(sizes or cfg.Mesh())
    clip = config.clip
    video_BTHWC = jax.ShapeDtypeStruct(
      (1, clip.frames, clip.size, clip.size, 3), jnp.float32
    )
    variables = dict(
      jax.eval_shape(
        lambda video: model.init(jax.random.key(0), video), video_BTHWC
      )
    )
    variables.pop('intermediates', None)
    params = variables.pop('params')
    rules = models.find(config.family).SHARDING
    placements, _ = sharding.place_parameters(rules, params, mesh)
    params = jax.tree.map(sharding.shape_on_devices, params, placements)
    everywhere = replicated(mesh)
    model_state = jax.tree.map(
      lambda leaf: sharding.shape_on_devices(leaf, everywhere), variables
    )
    memory.check_program(
      memory.bytes_on_device((params, model_state)),
      mesh,
      f'weights of {config.family}',
      lambda _: 'try more devices with --mesh -1,8,1, or a larger device',
    )
    return TrainedModel(
      config=config,
      classes=classes,
      step=step,
      weights=weights,
      workdir=files.place(workdir),
      model=model,
      params=saved.restore_item(step, weights, params),
      model_state=saved.restore_item(step, 'model_state', model_state)
      if jax.tree.leaves(model_state)
      else model_state,
      fps=meta['fps'],
      mesh=mesh,
      task=task,
      source=meta['source'],
    )


def check_meta(
  meta: Mapping[str, Any], place: pathlib.Path
) -> tuple[cfg.Config, ClassList, Task, nn.Module]:
  """Recipe, classes, task and model of a checkpoint, maybe a stranger's.

  `place` is the checkpoint's folder, for errors.
  """
  try:
    classes = ClassList.from_names(meta['classes'])
    task = Task.from_json(meta['task'])
    task.parts(len(classes))  # raises if the heads do not add up
    config = cfg.check(meta['config'])
    return config, classes, task, make_model(config, classes=len(classes))
  except InputError as error:
    raise InputError(
      f'got the checkpoint {place}, whose meta cannot be used: {error}'
    ) from error
