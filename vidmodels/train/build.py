"""Puts a training run together from a checked recipe and a record set.

  run = build(config, classes=400, examples=240_000)
  train_step = run.train_step()
  state = create_state(run.init, run.shardings)

Building allocates nothing: parameters exist as shapes until `create_state` or a
checkpoint fills them.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import Mesh

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.data.records import record_share
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.nn.linear import CONTEXT
from vidmodels.train import (
  freezing,
  memory,
  optim,
  sharding,
  state,
  step,
  token_label,
)
from vidmodels.train.mesh import (
  batch_sharding,
  check_batch,
  make_mesh,
  replicated,
)
from vidmodels.typing import InputError

# Model fields with which a model answers in log probabilities: the field's
# name, and the value that switches it on (None: any value but 0).
LOG_PROBABILITY_FIELDS = (('average', 'probs'), ('head_window', None))


@dataclasses.dataclass(frozen=True)
class TrainingRun:
  """The parts of a training run."""

  config: cfg.Config  # the recipe
  mesh: Mesh  # the device mesh
  model: nn.Module  # the family's module
  tx: optax.GradientTransformation  # the optimiser
  learning_rate: optax.Schedule  # the learning rate of a step
  total: int  # steps of the whole run
  # init: makes the first TrainState; takes no arguments
  init: Callable[[], state.TrainState]
  abstract: state.TrainState  # that state as shapes with shardings
  report: sharding.ShardingReport  # what the sharding rules did
  task: Task = SINGLE  # the kind of labels
  # what the loss of each class is multiplied by, [K]; () for all the same
  class_weights: tuple[float, ...] = ()

  @property
  def shardings(self) -> state.TrainState:
    """The sharding of each array of the state."""
    return jax.tree.map(lambda leaf: leaf.sharding, self.abstract)

  def train_step(self, teacher: token_label.Teacher | None = None):
    """Returns the jitted (state, batch) -> (state, metrics).

    The step donates its old state. Shardings are given for inputs and outputs:
    if the compiler chose them, a state could come back in another layout, which
    costs a second compilation and the donation.
    """
    update, frozen = self._jitted_step(teacher)
    return lambda state, batch: update(state, batch, frozen)

  def train_step_that_fits(
    self,
    teacher: token_label.Teacher | None = None,
    say: Callable[[str], None] | None = None,
  ):
    """`train_step`, refused at its first call if the devices are too small.

    `say` gets the memory that a step needs and, after the first, had.
    """
    update, frozen = self._jitted_step(teacher)
    fitted = memory.compiled_to_fit(update, self._check_step, say)
    return lambda state, batch: fitted(state, batch, frozen)

  def batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of the recipe as shapes with shardings."""
    B, clip = self.config.batch, self.config.clip
    blank_x = self.task.blank(self.model.classes)
    rows = {
      'video': ((clip.frames, clip.size, clip.size, 3), np.uint8),
      'label': (blank_x.shape, blank_x.dtype),
      'mask': ((), np.float32),
    }
    return {
      name: jax.ShapeDtypeStruct(
        (B, *shape), dtype, sharding=batch_sharding(self.mesh)
      )
      for name, (shape, dtype) in rows.items()
    }

  def lower_step(self) -> jax.stages.Lowered:
    """The training step, traced for the mesh and ready to be compiled."""
    update, frozen = self._jitted_step(None)
    with jax.set_mesh(self.mesh):
      return update.lower(self.abstract, self.batch_shapes(), frozen)

  def _check_step(self, needed: int) -> None:
    config, mesh = self.config, self.mesh
    memory.check_program(
      needed,
      mesh,
      f'a training step of {config.batch} clips',
      lambda factor: memory.training_advice(config, mesh, factor),
    )

  def _jitted_step(self, teacher: token_label.Teacher | None):
    frozen = dict(teacher.variables) if teacher else {}
    update = jax.jit(
      step.make_train_step(
        self.model,
        self.tx,
        self.config,
        teacher,
        task=self.task,
        class_weights=self.class_weights,
      ),
      in_shardings=(
        self.shardings,
        batch_sharding(self.mesh),
        jax.tree.map(lambda leaf: leaf.sharding, frozen),
      ),
      out_shardings=(self.shardings, replicated(self.mesh)),
      donate_argnums=0,
    )
    return update, frozen


def make_model(config: cfg.Config, *, classes: int) -> nn.Module:
  """Builds the family's module with the recipe's fields and compute dtype."""
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
  class_weights: tuple[float, ...] = (),
) -> TrainingRun:
  """Puts a run together.

  `examples` counts the clips that it trains on; `class_weights` is what the
  function of this name returns.
  """
  mesh = make_mesh(config.mesh, devices=devices)
  check_batch(config.batch, accumulate=config.accumulate, mesh=mesh)
  model = make_model(config, classes=classes)
  check_task(config, model, task, classes=classes)
  check_offload(model, mesh)
  clip = config.clip
  check_context(model, mesh, (clip.frames, clip.size, clip.size))
  # An epoch shows every example as often as it is repeated.
  clips = examples * config.augment.repeats
  sizes = dict(examples=clips, batch=config.batch)
  learning_rate = optim.make_schedule(config.optim, **sizes)
  make_tx = functools.partial(optim.make_optimizer, config.optim, learning_rate)
  init = state.make_init(
    model,
    make_tx,
    clip_shape=(clip.frames, clip.size, clip.size, 3),
    seed=config.seed,
    ema=bool(config.optim.ema),
  )
  shapes = jax.eval_shape(init)
  tx = make_tx(shapes.params)
  rules = models.find(config.family).SHARDING
  shardings, report = state.place_state(
    shapes,
    tx,
    rules=rules,
    mesh=mesh,
    trained=functools.partial(freezing.trained, config.optim),
  )
  return TrainingRun(
    config=config,
    mesh=mesh,
    model=model,
    tx=tx,
    learning_rate=learning_rate,
    total=optim.total_steps(config.optim, **sizes),
    init=init,
    abstract=jax.tree.map(sharding.shape_on_devices, shapes, shardings),
    report=report,
    task=task,
    class_weights=class_weights,
  )


def training_records(config: cfg.Config) -> RecordSet:
  """The records that a recipe trains on: its split, or its share of it."""
  records = RecordSet.open(config.data.dir, config.data.train)
  return record_share.take(
    records, config.data.share, seed=config.data.share_seed
  )


def class_weights(config: cfg.Config, records: RecordSet) -> tuple[float, ...]:
  """What the loss of each class is multiplied by, [K]; () for all the same.

  'balanced': n / (classes that have videos * videos of the class), for n
  videos; 0 for a class without any.
  """
  if not config.loss.class_weights:
    return ()
  groups = record_share.by_class(records, 'loss.class_weights=balanced')
  weights_K = np.zeros(len(records.classes))
  labels = records.labels()
  for numbers in groups:
    ((label,),) = {labels[i] for i in numbers}
    weights_K[label] = len(records) / (len(groups) * len(numbers))
  return tuple(weights_K.tolist())


def build_for(
  config: cfg.Config, records: RecordSet, *, devices: list | None = None
) -> TrainingRun:
  """The run of a recipe on its training records."""
  return build(
    config,
    classes=len(records.classes.names),
    examples=len(records),
    task=records.manifest.task,
    devices=devices,
    class_weights=class_weights(config, records),
  )


def check_task(
  config: cfg.Config, model: nn.Module, task: Task, *, classes: int
) -> None:
  """Refuses a loss or a model that does not suit the labels of the data set.

  This runs when a run is built: a recipe is checked before its data is known.
  """
  task.parts(classes)  # raises if the heads do not add up to the classes
  groups = tuple(getattr(model, 'groups', ()))
  if groups and groups != task.sizes:
    heads = dict(task.heads) or 'none'
    raise InputError(
      f'model.groups is {groups} and the heads of the data set are {heads}; '
      f'set model.groups to {task.sizes}'
    )
  if 'action' in dict(task.heads):
    raise InputError(
      "got a head called 'action', the name for all heads together; give the "
      'head another name'
    )
  smoothing, teacher = config.loss.label_smoothing, config.loss.teacher
  if task.kind == 'multi' and smoothing:
    raise InputError(
      f'got loss.label_smoothing={smoothing} and a data set with any number of '
      'classes per video, each a yes or no of its own; expected no smoothing; '
      'set it to 0'
    )
  if teacher and (task.kind == 'multi' or task.heads):
    raise InputError(
      f'got loss.teacher={teacher} and a data set with more than one question '
      f'per video ({task.kind}, heads {list(dict(task.heads))}); a teacher '
      'answers only one; leave loss.teacher out'
    )
  if task.kind == 'multi' or (task.heads and not groups):
    _check_answers(model, task)


def memories(device: jax.Device) -> list[str]:
  """The kinds of memory that a program on this device can use."""
  return [memory.kind for memory in device.addressable_memories()]


def check_context(
  model: nn.Module, mesh: Mesh, clip: tuple[int, int, int]
) -> None:
  """Refuses a mesh that splits clips (frames, height, width) unevenly.

  And one whose model needs clips whole: its layers would gather them.
  """
  parts = mesh.shape.get(CONTEXT, 1)
  if parts == 1:
    return
  sizes_to_split = getattr(model, 'sizes_to_split', None)
  if sizes_to_split is None:
    raise InputError(
      f'got mesh.context={parts} with a model whose layers need clips whole; '
      'expected 1; try mesh.fsdp, mesh.tensor or model.remat=block'
    )
  sizes = sizes_to_split(clip)
  for what, size in sizes.items():
    if size % parts:
      most = math.gcd(parts, *sizes.values())
      raise InputError(
        f'got mesh.context={parts} with {size} {what}; expected a divisor of '
        f'{size}; try mesh.context={most}'
      )


def check_offload(model: nn.Module, mesh: Mesh) -> None:
  """Refuses to keep activations in a host's memory that devices do not see."""
  kinds = memories(mesh.devices.flat[0])
  if getattr(model, 'remat', '') == 'offload' and 'pinned_host' not in kinds:
    raise InputError(
      "got model.remat='offload' on devices whose programs see "
      f'{", ".join(kinds)}; expected pinned_host, the memory of their host; '
      "try model.remat='save_attention' or 'block'"
    )


def _check_answers(model: nn.Module, task: Task) -> None:
  """Refuses one softmax over all classes if the labels are several questions.

  If probabilities were averaged over windows or frames, the weight of a head
  would depend on its share of the sum: a window that is sure of its noun would
  count more for the verbs .9 and .1.
  """
  questions = ', '.join(dict(task.heads)) or 'any number of classes per video'
  for name, value in LOG_PROBABILITY_FIELDS:
    ours = getattr(model, name, 0)
    if ours and value in (ours, None):
      raise InputError(
        f'got model.{name}={ours!r}, which makes the answers probabilities '
        f'that add up to 1, and a data set with {questions}; leave '
        f'model.{name} at its default'
      )
