"""The training loop: batch, step, hooks, preemption check, save.

`train` opens the records, restores or creates the state and runs to the last
step. The step number is the whole position in the data: after a kill the next
batch is the one that the unbroken run would have seen.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax

from vidmodels import config as cfg
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.stream import batch_stream
from vidmodels.train import hooks, init_from, teacher, validate, workdirs
from vidmodels.train.build import TrainingRun, build
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.train.feed import Feed
from vidmodels.train.mesh import local_rows
from vidmodels.train.preempt import Preemption
from vidmodels.train.state import TrainState
from vidmodels.train.step import Teacher

Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, line: str) -> None:
  """Reports nothing."""


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a run ended.

  Attributes:
    step: updates made.
    preempted: saved early because of SIGTERM.
    workdir: where everything is.
  """

  step: int
  preempted: bool
  workdir: pathlib.Path


def train(
  config: cfg.Config,
  workdir: str | pathlib.Path,
  *,
  progress: Progress = silent,
  devices: list | None = None,
) -> Outcome:
  """Trains to the recipe's last step, resuming from `workdir` if it can.

  Args:
    config: a checked recipe.
    workdir: holds config.json, metrics.jsonl and checkpoints/.
    progress: called with (steps done, total, line or '').
    devices: default all.

  Raises:
    InputError: for records, recipe or workdir that do not fit together.
    hooks.NonFiniteLossError: if the loss stops being a number.
  """
  workdir = pathlib.Path(workdir).absolute()
  if jax.process_index():  # one process speaks, or every line comes twice
    progress = silent
  records = RecordSet.open(config.data.dir, config.data.train)
  run = build(
    config,
    classes=len(records.classes.names),
    examples=len(records),
    task=records.manifest.task,
    devices=devices,
  )
  taught = teacher.load(config, run.model, records.classes, run.mesh)
  weights = init_from.given(run, workdir)
  with contextlib.closing(Checkpoints(workdir, config.checkpoint)) as saved:
    meta, position = workdirs.describe(run, records, taught)
    workdirs.claim(workdir, saved, meta=meta, position=position)
    progress(0, run.total, workdirs.summary(run, records))
    if jax.process_index() == 0:
      workdirs.list_parameters(workdir, run)
    start = saved.latest()
    if start is None:
      start = 0
      state, source = init_from.first_state(run, weights, progress)
    else:
      source = saved.read_json(start, 'meta').get('source')
      state = saved.restore(start, run.abstract)
      progress(start, run.total, f'resumed from checkpoint {start}')
    if source:
      meta['source'] = source
    loop = Loop(run, records, saved, workdir, meta, position, progress, taught)
    return loop.go(state, start)


@dataclasses.dataclass
class Loop:
  """The parts that one pass over the steps needs."""

  run: TrainingRun
  records: RecordSet
  saved: Checkpoints
  workdir: pathlib.Path
  meta: Mapping[str, Any]
  position: Mapping[str, Any]
  progress: Progress
  teacher: Teacher | None

  def go(self, state: TrainState, start: int) -> Outcome:
    """Runs from step `start` to the end, a preemption or an error."""
    run, config = self.run, self.run.config
    train_step = run.train_step(self.teacher)
    feed = self._feed(start)
    log = self._log(feed, start)
    validation = validate.make(run, self.records)
    with (
      contextlib.closing(feed),
      jax.set_mesh(run.mesh),
      Preemption(self.saved) as preemption,
    ):
      for done in range(start + 1, run.total + 1):
        state, pairs = train_step(state, next(feed))
        log.after(done, pairs)
        stop = preemption.reached(done)
        if self._validates(done) and not stop:
          log.validate(done, functools.partial(validation, state))
        if stop or done % config.checkpoint.every == 0 or done == run.total:
          log.flush()  # a state is only worth saving when its loss is finite
          self._save(state, done)
        if stop:
          break
      else:
        done = run.total
      log.finish(done)
      self.saved.wait()  # still guarded: a second SIGTERM must not cut it off
    preempted = done < run.total
    return Outcome(done, preempted=preempted, workdir=self.workdir)

  def _validates(self, done: int) -> bool:
    every = self.run.config.log.validate
    return bool(every) and done % every == 0

  def _feed(self, start: int) -> Feed:
    config = self.run.config
    batches = batch_stream.train_batches(
      self.records,
      clip=config.clip,
      augment=config.augment,
      data=config.data,
      batch=config.batch,
      seed=config.seed,
      rows=local_rows(self.run.mesh, config.batch),
      start_step=start,
      steps=self.run.total,
    )
    return Feed(batches, rows=config.batch, mesh=self.run.mesh)

  def _log(self, feed: Feed, start: int) -> hooks.StepLog:
    config = self.run.config
    return hooks.StepLog(
      writers=hooks.writers(
        self.workdir, tensorboard=config.log.tensorboard, start_step=start
      )
      if jax.process_index() == 0
      else [],
      every=config.log.every,
      total=self.run.total,
      batch=config.batch,
      learning_rate=self.run.learning_rate,
      waited=feed.reset,
      saved=self.saved.steps,
      report=self.progress,
    )

  def _save(self, state: TrainState, done: int) -> None:
    data = {**self.position, 'next_step': done}
    self.saved.save(state, step=done, data=data, meta=self.meta)
