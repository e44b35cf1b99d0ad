"""The training loop: batch, step, hooks, preemption check, save.

  outcome = train(config, 'runs/first')  # the same call again resumes the run
  outcome.step, outcome.preempted

The step number is the whole position in the data: after a kill, the next batch
is the one that the unbroken run would have used.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from vidmodels import config as cfg
from vidmodels import files
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.stream import batch_stream
from vidmodels.train import (
  distributed,
  hooks,
  init_from,
  memory,
  save_errors,
  spikes,
  start_notes,
  teacher,
  validate,
  workdir_lock,
  workdirs,
)
from vidmodels.train.build import TrainingRun, build_for, training_records
from vidmodels.train.checkpoint import Checkpoints, DamagedCheckpoint, finite
from vidmodels.train.feed import Feed
from vidmodels.train.fork import ForkPoint
from vidmodels.train.goodput import FILE as GOODPUT_FILE
from vidmodels.train.goodput import Goodput
from vidmodels.train.mesh import local_rows
from vidmodels.train.preemption import Preemption
from vidmodels.train.state import TrainState
from vidmodels.train.step_trace import StepTrace, TracedSteps
from vidmodels.train.token_label import Teacher
from vidmodels.weights.load_weights import Imported

Progress = Callable[[int, int, str], None]


def no_progress(done: int, total: int, line: str) -> None:
  """Reports nothing."""


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a run ended."""

  step: int  # updates made
  preempted: bool  # whether it saved and stopped early because of a notice
  workdir: pathlib.Path  # folder of the run


def train(
  config: cfg.Config,
  workdir: str | pathlib.Path,
  *,
  progress: Progress = no_progress,
  devices: list | None = None,
  fork: ForkPoint | None = None,
  profile: TracedSteps | None = None,
) -> Outcome:
  """Trains to the recipe's last step; resumes if `workdir` has a checkpoint.

  With `fork` a new run goes on from a checkpoint of another one. The workdir
  gets config.json, metrics.jsonl, goodput.json, checkpoints/ and, with a trace
  of the steps `profile`, profile/. `progress` is called with (steps done,
  total, line or ''). Raises hooks.NonFiniteLossError if the loss stops being a
  number.
  """
  workdir = files.place(workdir).absolute()
  hooks.check_place(workdir, tensorboard=config.log.tensorboard)
  clock = Goodput(workdir / GOODPUT_FILE if distributed.is_first() else None)
  if jax.process_index():  # only one process reports, or lines would repeat
    progress = no_progress
  records = training_records(config)
  run = build_for(config, records, devices=devices)
  if profile is not None:
    profile.check(run.total)
  trace = StepTrace(profile, workdir / 'profile')
  progress(0, run.total, f'on {memory.describe_devices(run.mesh)}')
  memory.check_state(config, run.mesh, run.abstract)
  advice = functools.partial(memory.training_advice, config, run.mesh)
  with memory.explained(run.mesh, advice):
    return _train(run, records, workdir, progress, fork, clock, trace)


def _train(
  run: TrainingRun,
  records: RecordSet,
  workdir: pathlib.Path,
  progress: Progress,
  fork: ForkPoint | None,
  clock: Goodput,
  trace: StepTrace,
) -> Outcome:
  """Trains a run that is built, in a workdir that it locks."""
  config = run.config
  say = functools.partial(progress, 0, run.total)
  scorer = teacher.load(config, run.model, records.classes, run.mesh)
  validation = validate.make_validation(run, records)
  forked, weights = None, None
  if fork is not None:
    fork.check(run, records)
    if not workdirs.has_checkpoint(workdir):
      forked = fork.restore(run)
  else:
    weights = init_from.read_init_weights(run, workdir, records.classes)
  lock: Any = contextlib.nullcontext()
  if jax.process_index() == 0:
    lock = workdir_lock.hold(workdir, say)
  with (
    lock,
    _checkpoints(workdir, config.checkpoint) as checkpoints,
  ):
    lineage = workdirs.read_lineage(checkpoints)
    if fork is not None and forked is not None:
      lineage = fork.lineage(run, records)
    meta, position = workdirs.checkpoint_metadata(
      run, records, scorer, lineage=lineage
    )
    if fork is not None and fork.meta['source']:
      meta['source'] = fork.meta['source']
    loop = Loop(
      run=run,
      records=records,
      checkpoints=checkpoints,
      workdir=workdir,
      meta=meta,
      position=position,
      progress=progress,
      teacher=scorer,
      validation=validation,
      clock=clock,
      trace=trace,
    )
    if fork is not None and forked is not None:
      loop.save_fork(fork, *forked)
      forked = None  # it is restored as any other checkpoint
    claim = functools.partial(
      workdirs.claim_workdir, workdir, checkpoints, meta=meta, position=position
    )
    state, start = _restore_newest_whole(run, checkpoints, claim, progress)
    say(workdirs.run_summary(run, records))
    if jax.process_index() == 0:
      workdirs.write_parameter_table(workdir, run)
    if state is None:
      state, source = _first_state(run, records, weights, progress)
    else:
      source = checkpoints.read_json(start, 'meta').get('source')
      progress(start, run.total, _resumed(start, run.total))
    if source:
      meta['source'] = source
    return loop.run_from(state, start)


def _first_state(
  run: TrainingRun,
  records: RecordSet,
  weights: Imported | None,
  progress: Progress,
) -> tuple[TrainState, dict[str, Any] | None]:
  """The state of a run that starts, and what it says of its weights."""
  state, source = init_from.initial_state(run, weights, progress)
  if jax.process_index() == 0:
    for line in start_notes.start_notes(run, records):
      progress(0, run.total, line)
  return state, source


def _resumed(start: int, total: int) -> str:
  """What a run that has a checkpoint of step `start` says."""
  if start < total:
    return f'resumed from checkpoint {start}'
  return (
    f'step {start} of {total} was saved before: this run has ended, and '
    'nothing is left to do'
  )


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


@dataclasses.dataclass(kw_only=True)
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
  # validation: (state, whether to stop) -> numbers; see `make_validation`
  validation: Callable[..., Mapping[str, float]]
  clock: Goodput  # where the time goes
  trace: StepTrace  # of the steps that --profile asks for

  def run_from(self, state: TrainState, start: int) -> Outcome:
    """Runs from step `start` to the end, a preemption or an error."""
    run, config = self.run, self.run.config
    train_step = run.train_step_that_fits(self.teacher, self._say)
    feed = Feed(self._batches(start), rows=config.batch, mesh=run.mesh)
    log = self._open_log(feed, start)
    done, stop, measured = start, False, None
    clock, trace = self.clock, self.trace
    clock.resume(start)
    with (
      contextlib.closing(feed),
      contextlib.closing(trace),
      jax.set_mesh(run.mesh),
      Preemption(self._say) as preemption,
    ):
      if self._owes_validation(start):
        measured = self._validate(log, state, done, preemption)
        stop = measured is None
        if measured:
          self.checkpoints.note_validation(start, measured)
      ended = not stop and self._has_stalled(start)
      while not (stop or ended) and done < run.total:
        trace.begin(done + 1)
        batch = clock.wait(functools.partial(next, feed), log.busy)
        clock.switch('compile' if done == start else 'steps')
        state, pairs = train_step(state, batch)
        clock.switch('steps')
        done += 1
        log.add_step(done, pairs)
        if trace.end(done, pairs):
          self._say(f'the profile is in {self.workdir / "profile"}')
        stop = preemption.reached(done)
        measured = None
        if self._validates(done) and not stop:
          measured = self._validate(log, state, done, preemption)
          stop = measured is None
          ended = not stop and self._has_stalled(done, measured)
        if (
          stop
          or ended
          or done % config.checkpoint.every == 0
          or done == run.total
          or self.checkpoints.is_among_best(measured or {})
        ):
          log.flush()  # a state is only worth saving when its loss is finite
          self._save(state, done, log.remember(), measured)
      log.finish(done)
      if ended and done < run.total:
        self._say(self._why_ended(done))
      # Inside the context: a second SIGTERM must not interrupt the save.
      with clock.phase('checkpoint'):
        self.checkpoints.wait()
      clock.write(done)
    if done > start:
      self.progress(done, run.total, clock.line(done))
    # A run that still owes a validation of its last step has not ended either.
    owes = self._validates(done) and stop and measured is None
    preempted = (done < run.total or owes) and not ended
    return Outcome(done, preempted=preempted, workdir=self.workdir)

  def _batches(self, start: int) -> batch_stream.Batches:
    """The stream from step `start` on."""
    config = self.run.config
    return batch_stream.train_batches(
      self.records,
      clip=config.clip,
      augment=config.augment,
      data=config.data,
      batch=config.batch,
      seed=config.seed,
      rows=local_rows(self.run.mesh, config.batch),
      start_step=start,
      steps=self.run.total,
      clip_shift=self.position['clip_shift'],
    )

  def _validates(self, done: int) -> bool:
    """Whether step `done` is one after which the run validates."""
    every = self.run.config.log.validate
    return bool(every and done and done % every == 0)

  def _has_stalled(
    self, done: int, measured: Mapping[str, float] | None = None
  ) -> bool:
    """Whether the run's patience is over at step `done`.

    `measured` is the validation of this step, if it is not saved yet. Counts
    the validations after the best step, which stays: so a run that goes on
    counts as one that was never stopped.
    """
    config, best = self.run.config, self.checkpoints.best_measured()
    patience, every = config.checkpoint.patience, config.log.validate
    if not patience or best is None:
      return False
    if measured is not None and self.checkpoints.is_best(measured):
      return False
    return done // every - best // every >= patience

  def _why_ended(self, done: int) -> str:
    options = self.run.config.checkpoint
    best = self.checkpoints.best_measured()
    return (
      f'checkpoint.patience={options.patience}: no validation after step '
      f'{best} had a better {options.metric}, so the run ends at step {done} '
      f'of {self.run.total}; evaluate it with --step best'
    )

  def _owes_validation(self, start: int) -> bool:
    """Whether a notice kept the run from validating the step it resumes at."""
    if not self._validates(start) or start not in self.checkpoints.steps():
      return False
    return self.checkpoints.read_json(start, 'meta')['validation'] == {}

  def _validate(
    self, log: hooks.StepLog, state: TrainState, step: int, notice: Preemption
  ) -> Mapping[str, float] | None:
    """The numbers of a validation; None if a notice stopped it."""
    stops = functools.partial(notice.reached, step)
    log.flush()
    try:
      with self.clock.phase('validation'):
        return log.validate(
          step, functools.partial(self.validation, state, stops)
        )
    except validate.InterruptedValidation:
      return None

  def _save(
    self,
    state: TrainState,
    step: int,
    memory: Mapping[str, Any],
    measured: Mapping[str, float] | None,
  ) -> None:
    """Saves a state with what a run that goes on from it has to know."""
    validation = finite(measured or {}) if self._validates(step) else None
    with self.clock.phase('checkpoint'):
      self.checkpoints.save(
        state,
        step=step,
        data={**self.position, 'next_step': step, 'log': dict(memory)},
        meta={**self.meta, 'validation': validation},
      )
    self.clock.write(step)

  def save_fork(
    self, fork: ForkPoint, state: TrainState, notes: list[str]
  ) -> None:
    """Saves the first checkpoint of a fork, and says what it is.

    From then on the run needs the other one no more, and cannot be taken for a
    run that starts at step 0.
    """
    entry = self.meta['history'][-1]
    self._say(f'forked from checkpoint {fork.step} of {fork.workdir}')
    for line in (
      f'changed: {"; ".join(entry["changed"]) or "nothing"}',
      f'the order of examples {entry["order"]}',
      *notes,
    ):
      self._say(line)
    self._save(state, fork.step, fork.data['log'], None)
    self.checkpoints.wait()

  def _say(self, line: str) -> None:
    self.progress(0, 0, line)

  def _open_log(self, feed: Feed, start: int) -> hooks.StepLog:
    config = self.run.config
    writers: list[hooks.Writer] = []
    spike_writers: list[hooks.Writer] = []
    if jax.process_index() == 0:
      writers = hooks.make_writers(
        self.workdir,
        tensorboard=config.log.tensorboard,
        start_step=start,
        # A kill may have come after the line of a validation that it owes.
        again='val_clip/' if self._owes_validation(start) else '',
      )
      path = self.workdir / spikes.FILE
      spike_writers.append(hooks.make_lines_writer(path, start_step=start))
    memory: Mapping[str, Any] = {}
    if start in self.checkpoints.steps():
      memory = self.checkpoints.read_json(start, 'data')['log']
    return hooks.StepLog(
      writers=writers,
      every=config.log.every,
      total=self.run.total,
      batch=config.batch,
      learning_rate=self.run.learning_rate,
      waited=feed.reset,
      saved=self.steps_saved,
      report=self.progress,
      goodput=self.clock.scalars,
      skips=config.optim.non_finite == 'skip',
      max_skips=config.optim.max_skips,
      spike=config.log.spike,
      clips=spikes.StepClips(self.records, config, self.position['clip_shift']),
      spike_writers=spike_writers,
      memory=memory,
    )

  def steps_saved(self) -> list[int]:
    """The steps of complete checkpoints, once what is being saved is."""
    self.checkpoints.wait()
    return self.checkpoints.steps_saved()
