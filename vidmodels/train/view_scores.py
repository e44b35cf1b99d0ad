"""Runs a model over test views; keeps each score with its video and view.

Validation during training and `evaluate/` use it. It does not average views.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vidmodels.train.feed import Feed
from vidmodels.train.mesh import replicated

Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class ViewScores:
  """One row per view, in the order of computation.

  Attributes:
    index_R: record number of the view's video.
    view_R: number of the view within its video.
    label_Rx: labels of the video, as in the batch.
    logits_RK: float32 scores.
  """

  index_R: np.ndarray
  view_R: np.ndarray
  label_Rx: np.ndarray
  logits_RK: np.ndarray


def make_score_step(
  eval_step: Callable[..., jax.Array], mesh: Mesh
) -> Callable[..., dict[str, jax.Array]]:
  """Jits an evaluation step over a batch; every process gets all rows.

  Args:
    eval_step: from `step.make_eval_step`.
    mesh: the device mesh.

  Returns:
    (params, model_state, batch) -> dict of replicated arrays, `logits` added.
  """

  def score(params, model_state, batch):
    rest = {name: v for name, v in batch.items() if name != 'video'}
    return {**rest, 'logits': eval_step(params, model_state, batch['video'])}

  return jax.jit(score, out_shardings=replicated(mesh))


def collect(
  score_step: Callable[..., dict[str, jax.Array]],
  params: Any,
  model_state: Any,
  batches: Iterator[Mapping[str, np.ndarray]],
  *,
  rows: int,
  mesh: Mesh,
  total: int = 0,
  progress: Progress | None = None,
) -> ViewScores:
  """Scores every view of `batches`; rows that only pad a batch are left out.

  Args:
    score_step: from `make_score_step`.
    params: weights to evaluate.
    model_state: the module's other collections.
    batches: from `batch_stream.eval_batches`.
    rows: rows of a global batch.
    mesh: the device mesh.
    total: number of batches, for the progress call.
    progress: called with (batches done, total, '').
  """
  parts, feed = [], Feed(batches, rows=rows, mesh=mesh)
  with contextlib.closing(feed), jax.set_mesh(mesh):
    pending = None
    for done, batch in enumerate(feed):
      running = score_step(params, model_state, batch)
      if pending is not None:
        parts.append(_real_rows(pending))
      pending = running  # fetched after the next batch is dispatched
      if progress:
        progress(done + 1, total, '')
    if pending is not None:
      parts.append(_real_rows(pending))
  names = ('index', 'view', 'label', 'logits')
  return ViewScores(*(np.concatenate([p[n] for p in parts]) for n in names))


def _real_rows(scored: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
  """Device arrays to host arrays, without the rows that pad the batch."""
  host = {name: np.asarray(v) for name, v in scored.items()}
  real = host['mask'] > 0
  return {name: v[real] for name, v in host.items()}
