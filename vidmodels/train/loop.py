"""The training loop: batch, step, hooks, preemption check, save.

  outcome = train(config, 'runs/first')  # the same call again resumes the run
  outcome.step, outcome.preempted

The step number is the whole position in the data: after a kill, the next batch
is the one that the unbroken run would have used.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import jax

from vidmodels import config as cfg
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.stream import batch_stream
from vidmodels.train import (
  distributed,
  hooks,
  init_from,
  memory,
  save_errors,
  start_notes,
  teacher,
  validate,
  workdir_lock,
  workdirs,
)
from vidmodels.train.build import TrainingRun, build
from vidmodels.train.checkpoint import Checkpoints, DamagedCheckpoint
from vidmodels.train.feed import Feed
from vidmodels.train.mesh import local_rows
from vidmodels.train.state import TrainState
from vidmodels.train.token_label import Teacher

Progress = Callable[[int, int, str], None]


def no_progress(done: int, total: int, line: str) -> None:
  """Reports nothing."""


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a run ended."""

  step: int  # updates made
  preempted: bool  # whether it saved and stopped early because of SIGTERM
  workdir: pathlib.Path  # folder of the run


def train(
  config: cfg.Config,
  workdir: str | pathlib.Path,
  *,
  progress: Progress = no_progress,
  devices: list | None = None,
) -> Outcome:
  """Trains to the recipe's last step; resumes if `workdir` has a checkpoint.

  The workdir gets config.json, metrics.jsonl and checkpoints/. `progress` is
  called with (steps done, total, line or ''). Raises hooks.NonFiniteLossError
  if the loss stops being a number.
  """
  workdir = pathlib.Path(workdir).absolute()
  if jax.process_index():  # only one process reports, or lines would repeat
    progress = no_progress
  records = RecordSet.open(config.data.dir, config.data.train)
  run = build(
    config,
    classes=len(records.classes.names),
    examples=len(records),
    task=records.manifest.task,
    devices=devices,
  )
  progress(0, run.total, f'on {memory.describe_devices(run.mesh)}')
  memory.check_state(config, run.mesh, run.abstract)
  advice = functools.partial(memory.training_advice, config, run.mesh)
  with memory.explained(run.mesh, advice):
    return _train(run, records, workdir, progress)


def _train(
  run: TrainingRun,
  records: RecordSet,
  workdir: pathlib.Path,
  progress: Progress,
) -> Outcome:
  """Trains a run that is built, in a workdir that it locks."""
  config = run.config
  scorer = teacher.load(config, run.model, records.classes, run.mesh)
  weights = init_from.read_init_weights(run, workdir, records.classes)
  lock: Any = contextlib.nullcontext()
  if jax.process_index() == 0:
    lock = workdir_lock.hold(workdir, functools.partial(progress, 0, run.total))
  with (
    lock,
    _checkpoints(workdir, config.checkpoint) as checkpoints,
  ):
    meta, position = workdirs.checkpoint_metadata(run, records, scorer)
    claim = functools.partial(
      workdirs.claim_workdir, workdir, checkpoints, meta=meta, position=position
    )
    state, start = _restore_newest_whole(run, checkpoints, claim, progress)
    progress(0, run.total, workdirs.run_summary(run, records))
    if jax.process_index() == 0:
      workdirs.write_parameter_table(workdir, run)
    if state is None:
      state, source = init_from.initial_state(run, weights, progress)
      if jax.process_index() == 0:
        for line in start_notes.start_notes(run, records):
          progress(0, run.total, line)
    else:
      source = checkpoints.read_json(start, 'meta').get('source')
      line = f'resumed from checkpoint {start}'
      if start == run.total:
        line = (
          f'step {start} of {run.total} was saved before: this run has ended, '
          'and nothing is left to do'
        )
      progress(start, run.total, line)
    if source:
      meta['source'] = source
    loop = Loop(
      run, records, checkpoints, workdir, meta, position, progress, scorer
    )
    return loop.run_from(state, start)


@contextlib.contextmanager
def _checkpoints(
  workdir: pathlib.Path, options: cfg.Checkpoint
) -> Iterator[Checkpoints]:
  """The run's checkpoints, closed at the end; soon after a failed save."""
  checkpoints = Checkpoints(workdir, options)
  try:
    yield checkpoints
  except save_errors.SaveError:
    checkpoints.abandon()
    raise
  except BaseException:
    checkpoints.close()  # what is being saved is good
    raise
  checkpoints.close()


def _restore_newest_whole(
  run: TrainingRun,
  checkpoints: Checkpoints,
  claim: Callable[[], None],
  progress: Progress,
) -> tuple[TrainState | None, int]:
  """The state and the step to go on from; (None, 0) without a checkpoint.

  `claim` checks whose checkpoints these are. A damaged one is set aside while
  there are others: the run makes its steps again, with the same bits. What one
  process cannot read is damaged for all of them.
  """
  while True:
    state, start, damage = None, None, None
    try:
      claim()
      start = checkpoints.latest()
      if start is not None:
        state = checkpoints.restore(start, run.abstract)
    except DamagedCheckpoint as error:
      damage = error
    reasons = distributed.agree(damage.reason if damage else '')
    if not any(reasons):
      return state, start or 0
    if damage is None:
      raise RuntimeError(f'only another process cannot read: {reasons}')
    if len(checkpoints.steps()) < 2:
      raise damage
    place = checkpoints.set_aside(damage.step)
    progress(
      0,
      run.total,
      f'checkpoint {damage.step} is damaged ({damage.reason}); it was moved to '
      f'{place}',
    )


@dataclasses.dataclass
class Loop:
  """The parts that one pass over the steps needs; see `train`."""

  run: TrainingRun
  records: RecordSet
  checkpoints: Checkpoints
  workdir: pathlib.Path
  meta: Mapping[str, Any]
  position: Mapping[str, Any]
  progress: Progress
  teacher: Teacher | None

  def run_from(self, state: TrainState, start: int) -> Outcome:
    """Runs from step `start` to the end, a preemption or an error."""
    run, config = self.run, self.run.config
    train_step = run.train_step_that_fits(self.teacher)
    batches = batch_stream.train_batches(
      self.records,
      clip=config.clip,
      augment=config.augment,
      data=config.data,
      batch=config.batch,
      seed=config.seed,
      rows=local_rows(run.mesh, config.batch),
      start_step=start,
      steps=run.total,
    )
    feed = Feed(batches, rows=config.batch, mesh=run.mesh)
    log = self._open_log(feed, start)
    validation = validate.make_validation(run, self.records)
    with (
      contextlib.closing(feed),
      jax.set_mesh(run.mesh),
      Preemption(self.checkpoints, self._say) as preemption,
    ):
      for done in range(start + 1, run.total + 1):
        state, pairs = train_step(state, next(feed))
        log.add_step(done, pairs)
        stop = preemption.reached(done)
        every = config.log.validate
        if every and done % every == 0 and not stop:
          log.validate(done, functools.partial(validation, state))
        if stop or done % config.checkpoint.every == 0 or done == run.total:
          log.flush()  # a state is only worth saving when its loss is finite
          data = {**self.position, 'next_step': done}
          self.checkpoints.save(state, step=done, data=data, meta=self.meta)
        if stop:
          break
      else:
        done = run.total
      log.finish(done)
      # Inside the context: a second SIGTERM must not interrupt the save.
      self.checkpoints.wait()
    return Outcome(done, preempted=done < run.total, workdir=self.workdir)

  def _say(self, line: str) -> None:
    self.progress(0, 0, line)

  def _open_log(self, feed: Feed, start: int) -> hooks.StepLog:
    config = self.run.config
    writers = []
    if jax.process_index() == 0:
      writers = hooks.make_writers(
        self.workdir, tensorboard=config.log.tensorboard, start_step=start
      )
    return hooks.StepLog(
      writers=writers,
      every=config.log.every,
      total=self.run.total,
      batch=config.batch,
      learning_rate=self.run.learning_rate,
      waited=feed.reset,
      saved=self.steps_saved,
      report=self.progress,
    )

  def steps_saved(self) -> list[int]:
    """The steps of complete checkpoints, once what is being saved is."""
    self.checkpoints.wait()
    return self.checkpoints.steps_on_disk()


class Preemption:
  """A context that notes SIGTERM and Ctrl-C; the loop asks `reached` each step.

  Then the loop finishes the step and saves; the command exits with code 42. A
  second Ctrl-C ends the process at once, with code 130, even while XLA
  compiles: a thread of its own sees it. What is on disk stays whole.

  With several processes, orbax and the coordination service agree on the step
  at which all of them stop, after SIGTERM or Ctrl-C to any of them. A single
  process sets a flag here, because without `jax.distributed` the signal would
  kill it before it saves.
  """

  def __init__(
    self, checkpoints: Checkpoints, say: Callable[[str], None]
  ) -> None:
    self._checkpoints = checkpoints
    self._say = say  # tells the user
    self._flag = threading.Event()
    self._handlers: dict[int, Any] = {}  # those that were there before

  def __enter__(self) -> Self:
    if threading.current_thread() is not threading.main_thread():
      return self
    set_flag: Any = lambda *_: self._flag.set()
    handlers = {signal.SIGTERM: set_flag, signal.SIGINT: set_flag}
    if jax.distributed.is_initialized():
      stop_all: Any = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
      handlers = {signal.SIGINT: stop_all}
    self._handlers = {s: signal.signal(s, h) for s, h in handlers.items()}
    self._read_fd, self._write_fd = os.pipe()
    os.set_blocking(self._write_fd, False)
    self._old_fd = signal.set_wakeup_fd(
      self._write_fd, warn_on_full_buffer=False
    )
    self._watcher = threading.Thread(target=self._watch, daemon=True)
    self._watcher.start()
    return self

  def __exit__(self, *_) -> None:
    if not self._handlers:
      return
    signal.set_wakeup_fd(self._old_fd)
    for number, handler in self._handlers.items():
      signal.signal(number, handler)
    os.close(self._write_fd)  # ends the watcher
    self._watcher.join()
    os.close(self._read_fd)

  def _watch(self) -> None:
    """Reads the number of each signal that arrives, until the pipe is closed.

    Python runs handlers between two lines of Python alone; this runs at once.
    """
    pressed = False
    while numbers := os.read(self._read_fd, 1):
      if numbers[0] != signal.SIGINT:
        continue
      if pressed:
        self._say('stopped at once; the last checkpoint is whole')
        os._exit(128 + signal.SIGINT)
      pressed = True
      self._say(
        'Ctrl-C: the run will save after this step and stop; press it again to '
        'stop at once, without saving'
      )

  def reached(self, step: int) -> bool:
    """Whether to save and stop after `step`; every process must ask."""
    if jax.distributed.is_initialized():
      return self._checkpoints.reached_preemption(step)
    return self._flag.is_set()
