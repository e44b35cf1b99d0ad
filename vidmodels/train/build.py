"""From a checked recipe and a record set to everything a run is made of.

Nothing is allocated here: parameters exist as shapes until `state.create` or a
checkpoint fills them.
"""

import dataclasses
import functools
from typing import Any

import jax
import optax
from flax import linen as nn
from jax.sharding import Mesh

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import optim, sharding, state, step, task_check
from vidmodels.train.mesh import (
  batch_sharding,
  check_batch,
  make_mesh,
  replicated,
)


@dataclasses.dataclass(frozen=True)
class TrainingRun:
  """The parts of a training run.

  Attributes:
    config: the recipe.
    mesh: the device mesh.
    model: the family's module.
    tx: optimiser.
    learning_rate: of a step.
    total: steps of the whole run.
    init: makes the first TrainState, no arguments.
    abstract: that state as shapes with shardings.
    report: what the sharding rules did.
    task: what the labels are.
  """

  config: cfg.Config
  mesh: Mesh
  model: nn.Module
  tx: optax.GradientTransformation
  learning_rate: optax.Schedule
  total: int
  init: Any
  abstract: state.TrainState
  report: sharding.ShardingReport
  task: Task = SINGLE

  @property
  def shardings(self) -> state.TrainState:
    """Where each array of the state lives."""
    return jax.tree.map(lambda leaf: leaf.sharding, self.abstract)

  def train_step(self, teacher: step.Teacher | None = None):
    """(state, batch) -> (state, metrics), jitted; the old state is given up.

    Placed on both sides: left to the compiler, a state may come back laid out
    otherwise, which costs a second compilation and the donation.

    Args:
      teacher: that scores the tokens, where the recipe names one.
    """
    frozen = dict(teacher.variables) if teacher else {}
    update = jax.jit(
      step.make_train_step(
        self.model, self.tx, self.config, teacher, task=self.task
      ),
      in_shardings=(
        self.shardings,
        batch_sharding(self.mesh),
        jax.tree.map(lambda leaf: leaf.sharding, frozen),
      ),
      out_shardings=(self.shardings, replicated(self.mesh)),
      donate_argnums=0,
    )
    return lambda state, batch: update(state, batch, frozen)


def make_model(config: cfg.Config, *, classes: int) -> nn.Module:
  """The family's module with the recipe's fields and compute dtype."""
  return models.build(
    config.family, classes=classes, dtype=config.dtype, **config.model
  )


def build(
  config: cfg.Config,
  *,
  classes: int,
  examples: int,
  task: Task = SINGLE,
  devices: list | None = None,
) -> TrainingRun:
  """Puts a run together.

  Args:
    config: a checked recipe.
    classes: K of the data set.
    examples: clips of its training split.
    task: what its labels are.
    devices: default all.

  Raises:
    InputError: if batch, mesh, schedule, model, task or sharding rules do not
      fit.
  """
  mesh = make_mesh(config.mesh, devices=devices)
  check_batch(config.batch, accumulate=config.accumulate, mesh=mesh)
  model = make_model(config, classes=classes)
  task_check.check(config, model, task, classes=classes)
  # An epoch shows every example as often as it is repeated.
  clips = examples * config.augment.repeats
  sizes = dict(examples=clips, batch=config.batch)
  learning_rate = optim.schedule(config.optim, **sizes)
  tx_of = functools.partial(optim.optimizer, config.optim, learning_rate)
  clip = config.clip
  init = state.make_init(
    model,
    tx_of,
    clip_shape=(clip.frames, clip.size, clip.size, 3),
    seed=config.seed,
    ema=bool(config.optim.ema),
  )
  shapes = jax.eval_shape(init)
  tx = tx_of(shapes.params)
  rules = models.find(config.family).SHARDING
  shardings, report = state.place(shapes, tx, rules=rules, mesh=mesh)
  return TrainingRun(
    config=config,
    mesh=mesh,
    model=model,
    tx=tx,
    learning_rate=learning_rate,
    total=optim.total_steps(config.optim, **sizes),
    init=init,
    abstract=jax.tree.map(_with_sharding, shapes, shardings),
    report=report,
    task=task,
  )


def _with_sharding(leaf, where) -> jax.ShapeDtypeStruct:
  """A shape that knows where it lives."""
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
