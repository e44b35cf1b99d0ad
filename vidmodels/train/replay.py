"""Runs one step of a run again, to see what its loss was made of.

  replayed = replay(config, 'runs/first', 1234)
  replayed.metrics['loss'], replayed.clips[0]['video']

The state is that of the newest checkpoint before the step, or of the run's
start; the steps up to it are made again, with the same bits. The workdir is
only read.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from vidmodels import config as cfg
from vidmodels import files
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.stream import batch_stream
from vidmodels.train import (
  init_from,
  memory,
  metrics,
  mixup,
  spikes,
  teacher,
  workdirs,
)
from vidmodels.train.build import TrainingRun, build_for, training_records
from vidmodels.train.checkpoint import Checkpoints, DamagedCheckpoint
from vidmodels.train.feed import Feed
from vidmodels.train.mesh import batch_sharding, local_rows, replicated
from vidmodels.train.state import TrainState
from vidmodels.train.step import Batch, Objective, stream_key, stream_keys
from vidmodels.train.token_label import Teacher
from vidmodels.typing import AnyPath, InputError, quote

Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class ReplayedStep:
  """What a step did."""

  step: int  # as it was logged
  restored: int  # the step of the checkpoint before it; 0: the run's start
  metrics: Mapping[str, float]  # loss, accuracies, norms
  # clips: as `spikes.StepClips`, each with its loss, in the batch's order
  clips: tuple[Mapping[str, Any], ...]


def replay(
  config: cfg.Config,
  workdir: AnyPath,
  step: int,
  *,
  progress: Progress = lambda done, total, line: None,
  devices: list | None = None,
) -> ReplayedStep:
  """Makes the step that was logged as `step` again; writes nothing.

  `config` is the recipe of the run; fields without effect on its numbers may
  differ. On the mesh of the run the bits are the same.
  """
  workdir = files.place(workdir).absolute()
  records = training_records(config)
  run = build_for(config, records, devices=devices)
  if not 1 <= step <= run.total:
    raise InputError(
      f'got --replay-step {step}; expected a step of this run, 1 to {run.total}'
    )
  memory.check_state(config, run.mesh, run.abstract)
  scorer = teacher.load(config, run.model, records.classes, run.mesh)
  with contextlib.closing(Checkpoints(workdir)) as saved:
    lineage = workdirs.read_lineage(saved)
    meta, position = workdirs.checkpoint_metadata(
      run, records, scorer, lineage=lineage
    )
    workdirs.check_same_run(workdir, saved, meta=meta, position=position)
    state, start = _state_before(run, saved, step, lineage, progress)
  if state is None:
    weights = init_from.read_weights(run, records.classes)
    state, _ = init_from.initial_state(run, weights, progress)
  progress(start, step, f'from step {start} to {step}')
  values, losses_B = _run_to(
    run,
    records,
    state,
    range(start, step),
    scorer,
    lineage.clip_shift,
    progress,
  )
  clips = spikes.StepClips(records, config, lineage.clip_shift)(step)
  return ReplayedStep(
    step=step,
    restored=start,
    metrics=values,
    clips=tuple(
      clip | {'loss': float(loss)}
      for clip, loss in zip(clips, losses_B, strict=True)
    ),
  )


def _state_before(
  run: TrainingRun,
  saved: Checkpoints,
  step: int,
  lineage: workdirs.Lineage,
  progress: Progress,
) -> tuple[TrainState | None, int]:
  """The newest whole checkpoint before a step; (None, 0) for the start."""
  for older in reversed([s for s in saved.steps() if s < step]):
    try:
      return saved.restore(older, run.abstract), older
    except DamagedCheckpoint as error:
      progress(0, step, f'checkpoint {older} is damaged ({error.reason})')
  if not lineage.history:
    return None, 0
  fork = lineage.history[-1]
  raise InputError(
    f'got --replay-step {step} of a run that was forked at step '
    f'{fork["step"]} of {quote(fork["workdir"])}; expected a step after one of '
    f'its checkpoints ({", ".join(map(str, saved.steps()))}); try one, or the '
    'other workdir for steps before the fork'
  )


def _run_to(
  run: TrainingRun,
  records: RecordSet,
  state: TrainState,
  steps: range,
  scorer: Teacher | None,
  clip_shift: int,
  progress: Progress,
) -> tuple[dict[str, float], np.ndarray]:
  """The metrics of the last of the steps, and the loss of each of its clips."""
  config = run.config
  train_step = run.train_step_that_fits(scorer)
  clip_losses = make_clip_losses(run, scorer)
  batches = batch_stream.train_batches(
    records,
    clip=config.clip,
    augment=config.augment,
    data=config.data,
    batch=config.batch,
    seed=config.seed,
    rows=local_rows(run.mesh, config.batch),
    start_step=steps.start,
    steps=steps.stop,
    clip_shift=clip_shift,
  )
  feed = Feed(batches, rows=config.batch, mesh=run.mesh)
  losses_B, pairs = np.zeros(0), {}
  with contextlib.closing(feed), jax.set_mesh(run.mesh):
    for done, batch in enumerate(feed, steps.start + 1):
      if done == steps.stop:  # before the step, which donates the state
        losses_B = np.asarray(clip_losses(state, batch))
      state, pairs = train_step(state, batch)
      progress(done, steps.stop, '')
  return metrics.divide(pairs), losses_B


def make_clip_losses(
  run: TrainingRun, scorer: Teacher | None = None
) -> Callable[[TrainState, Batch], jax.Array]:
  """Returns the jitted (state, batch) -> loss of each clip in the step, [B].

  Random streams, mixing and microbatches are those of the step. The step's loss
  is the sum of loss_B * mask_B, so its derivative by mask_B is loss_B: no other
  code computes it.
  """
  config, M = run.config, run.config.accumulate
  objective = Objective(run.model, config, run.task, scorer, run.class_weights)

  def losses(state: TrainState, batch: Batch, frozen: Any) -> jax.Array:
    mixed = None
    if mixup.is_on(config.mix):
      key = stream_key(state.key, state.step, 'mix')
      B, H, W = len(batch['mask']), *batch['video'].shape[2:4]
      mixed = mixup.draw(key, B, config.mix, height=H, width=W)
      batch = mixup.add_partners(batch, mixed.distance)

    def part_losses(part_and_number: tuple[Batch, jax.Array]) -> jax.Array:
      part, m = part_and_number
      keys = stream_keys(state.key, state.step, m)

      def loss(mask_B: jax.Array) -> jax.Array:
        rows = {**part, 'mask': mask_B}
        return objective(
          state.params, state.model_state, rows, keys, frozen, mixed
        )[0]

      return jax.grad(loss)(part['mask'])

    # Rows m, m + M, ... are microbatch m, as in the step.
    parts = jax.tree.map(
      lambda v_Bx: v_Bx.reshape(-1, M, *v_Bx.shape[1:]).swapaxes(0, 1),
      dict(batch),
    )
    loss_MB = jax.lax.map(part_losses, (parts, jax.numpy.arange(M)))
    return loss_MB.swapaxes(0, 1).reshape(-1)

  frozen = dict(scorer.variables) if scorer else {}
  compute = jax.jit(
    losses,
    in_shardings=(
      run.shardings,
      batch_sharding(run.mesh),
      jax.tree.map(lambda leaf: leaf.sharding, frozen),
    ),
    out_shardings=replicated(run.mesh),
  )
  return lambda state, batch: compute(state, batch, frozen)
