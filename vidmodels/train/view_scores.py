"""Runs a model over test views; keeps each score with its video and view.

  score = ViewScorer(model, config, mesh=mesh, views=config.views)
  scores = score(params, model_state, records)

Validation during training and `evaluate/` use it. It does not average views.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from vidmodels import config as cfg
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.sampling import rules
from vidmodels.data.stream import batch_stream
from vidmodels.train import distributed, memory
from vidmodels.train.feed import Feed
from vidmodels.train.mesh import local_rows, replicated, round_up_batch
from vidmodels.train.step import make_eval_step
from vidmodels.typing import InputError

Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class ViewScores:
  """One row per view, in the order of computation."""

  index_R: np.ndarray  # record number of the view's video
  view_R: np.ndarray  # number of the view within its video
  label_Rx: np.ndarray  # labels of the video, as in the batch
  logits_RK: np.ndarray  # float32 scores, or [R, D] features


class ViewScorer:
  """Scores all views of record sets; compiled once for all calls.

  The batch of the views is rounded up to a multiple of the devices. With
  `features` it gives what the head sees in place of scores.
  """

  def __init__(
    self,
    model: nn.Module,
    config: cfg.Config,
    *,
    mesh: Mesh,
    views: cfg.Views,
    features: bool = False,
  ) -> None:
    method = 'features' if features else None
    eval_step = make_eval_step(model, config.data, method)

    def score(params, model_state, batch):
      rest = {name: v for name, v in batch.items() if name != 'video'}
      return {**rest, 'logits': eval_step(params, model_state, batch['video'])}

    batch = round_up_batch(views.batch, mesh)
    self._advice = functools.partial(memory.scoring_advice, config, batch)
    self._score = memory.compiled_to_fit(
      jax.jit(score, out_shardings=replicated(mesh)),
      lambda needed: memory.check_program(
        needed, mesh, f'a step of {batch} views', self._advice
      ),
    )
    self._config, self._mesh = config, mesh
    self._views = dataclasses.replace(views, batch=batch)

  def __call__(
    self,
    params: Any,
    model_state: Any,
    records: RecordSet,
    progress: Progress | None = None,
  ) -> ViewScores | None:
    """Scores the views of `records`; leaves out rows that only pad a batch.

    Every process decodes the rows of its own devices. Only process 0 fetches
    the scores, batch by batch; the others return None. `progress` is called
    with (batches done, batches, '').
    """
    first = distributed.is_first()
    fetch = _real_rows if first else jax.block_until_ready
    config, mesh, rows = self._config, self._mesh, self._views.batch
    batches = batch_stream.eval_batches(
      records,
      clip=config.clip,
      views=self._views,
      data=config.data,
      rows=local_rows(mesh, rows),
    )
    parts, pending = [], []  # fetched after the next batch starts
    feed = Feed(batches, rows=rows, mesh=mesh)
    with (
      memory.explained(mesh, self._advice),
      contextlib.closing(feed),
      jax.set_mesh(mesh),
    ):
      for done, batch in enumerate(feed):
        pending.append(self._score(params, model_state, batch))
        if done:
          parts.append(fetch(pending.pop(0)))
        if progress:
          progress(done + 1, batches.batches, '')
      parts += map(fetch, pending)
    if not first:
      return None
    names = ('index', 'view', 'label', 'logits')
    return ViewScores(*(np.concatenate([p[n] for p in parts]) for n in names))


def _real_rows(scored: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
  """Device arrays to host arrays, without the rows that pad the batch."""
  host = {name: np.asarray(v) for name, v in scored.items()}
  real = host['mask'] > 0
  return {name: v[real] for name, v in host.items()}


def check_frame_rate(
  records: RecordSet, *, fps: float, clip: cfg.Clip, trained_on: str
) -> None:
  """Refuses records of another frame rate if the recipe counts frames.

  `fps` is the `--fps` of the records that the model was trained on, and
  `trained_on` their name in the error.
  """
  theirs = records.manifest.options.get('fps', 0.0)
  if theirs != fps and not rules.by_time(clip):
    raise InputError(
      f'got records of {records.manifest.split!r} prepared with --fps '
      f'{theirs:g}; expected --fps {fps:g} as for {trained_on} (0 keeps the '
      'rate), because the recipe counts frames; prepare them alike, or train '
      'with clip.unit=second or clip.fps'
    )
