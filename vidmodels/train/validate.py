"""Validation during training, with one view per video.

The numbers are called `val_clip/...`: they measure single clips of the test
split. `vidmodels evaluate` measures videos over several views.
"""

import dataclasses
import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vidmodels.config import Config, Views
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import (
  average_precision,
  distributed,
  losses,
  metrics,
  view_scores,
)
from vidmodels.train.build import TrainingRun
from vidmodels.train.checkpoint import full_name
from vidmodels.train.state import TrainState
from vidmodels.typing import InputError, unknown_name

_METRICS_SECONDS = 3600.0  # for process 0 to measure what all have scored


class InterruptedValidation(Exception):
  """A validation that its caller has stopped; it has no numbers."""


def make_validation(
  run: TrainingRun, trained_on: RecordSet
) -> Callable[[TrainState, Callable[[], bool]], dict[str, float]]:
  """Returns (state, stops) -> {'val_clip/loss': ..., 'val_clip/top1': ...}.

  `stops` is asked after each batch but the last, equally often by every
  process; once it is true the function raises InterruptedValidation.

  It uses the averaged weights if the recipe keeps them. The test split is
  opened before the first step, so that a missing or unfit one stops the run at
  once; without validation it is not opened.
  """
  config = run.config
  if not config.log.validate:
    return lambda state, stops: {}
  records = RecordSet.open(config.data.dir, config.data.test)
  different = trained_on.classes.first_difference(records.classes)
  if different:
    raise InputError(
      f'the test split has other classes: {different}; expected those of the '
      'training split ("here"); prepare both with one class list'
    )
  manifest = records.manifest
  if manifest.task != run.task or not manifest.labelled:
    kind = manifest.task.to_json() if manifest.labelled else 'not published'
    raise InputError(
      f'the labels of the split {config.data.test!r} are {kind}, those of the '
      f'training split {run.task.to_json()}; expected the same kind; set '
      'data.test to such a split, or log.validate to 0'
    )
  check_metric(run, classes=len(records.classes))
  view_scores.check_frame_rate(
    records,
    fps=trained_on.manifest.options.get('fps', 0.0),
    clip=config.clip,
    trained_on='the training split',
  )
  score = view_scores.ViewScorer(
    run.model,
    config,
    mesh=run.mesh,
    views=validation_views(config),
  )

  def validate(
    state: TrainState, stops: Callable[[], bool]
  ) -> dict[str, float]:
    def check(done: int, batches: int, _: str) -> None:
      if done < batches and stops():
        raise InterruptedValidation

    params = state.params if state.ema is None else state.ema
    scores = score(params, state.model_state, records, check)
    values = {} if scores is None else validation_metrics(scores, run.task)
    # Each process needs the numbers, to keep the same checkpoints.
    return json.loads(
      distributed.broadcast(json.dumps(values), seconds=_METRICS_SECONDS)
    )

  return validate


def validation_views(config: Config) -> Views:
  """The single view that training validates on: one clip, its centre."""
  return dataclasses.replace(
    config.views,
    temporal=1,
    spatial=1,
    size=0,  # releases validate on crops of the training size
    centre_scale=config.log.validate_scale or config.views.centre_scale,
  )


def check_metric(run: TrainingRun, *, classes: int) -> None:
  """Refuses a `checkpoint.metric` that no validation of this run measures."""
  options, every = run.config.checkpoint, run.config.log.validate
  if not options.best:
    return
  if every > run.total:
    raise InputError(
      f'got checkpoint.best={options.best} and log.validate={every} for a run '
      f'of {run.total} steps, which never validates; expected at most '
      f'{run.total}; try --config.log.validate={max(run.total // 4, 1)}'
    )
  names = metric_names(run.task, classes=classes)
  if full_name(options.metric) not in names:
    raise InputError(unknown_name('checkpoint.metric', options.metric, names))


def metric_names(task: Task, *, classes: int) -> list[str]:
  """The names of `validation_metrics`, without any scores, sorted."""
  one_B = jnp.ones(1)
  pairs = jax.eval_shape(
    lambda logits_BK, label_Bx: metrics.clip_metrics(
      logits_BK, label_Bx, one_B, one_B, task=task
    ),
    jnp.zeros((1, classes)),
    task.blank(classes)[None],
  )
  names = [*pairs] + (['map'] if task.kind != 'single' else [])
  return [f'val_clip/{name}' for name in sorted(names)]


def validation_metrics(
  scores: view_scores.ViewScores, task: Task = SINGLE
) -> dict[str, float]:
  """Loss and accuracies over single clips; mAP if several classes are right.

  mAP is the mean over the classes that occur in the split.
  """
  logits_BK, label_Bx = map(jnp.asarray, (scores.logits_RK, scores.label_Rx))
  loss_B = losses.loss_per_clip(logits_BK, label_Bx, task=task)
  pairs = metrics.clip_metrics(
    logits_BK, label_Bx, loss_B, jnp.ones(len(label_Bx)), task=task
  )
  values = metrics.divide(pairs)
  if task.kind != 'single':
    scores_BK = logits_BK
    if task.kind == 'any':  # a clip may add a constant to all of its logits
      scores_BK = jax.nn.softmax(logits_BK)
    ranked = average_precision.mean_ap(np.asarray(scores_BK), scores.label_Rx)
    values['map'] = ranked.value
  return {f'val_clip/{k}': v for k, v in values.items()}
