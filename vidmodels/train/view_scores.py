"""Runs a model over test views and keeps every score with its address.

Used by validation during training and by `evaluate/`; the averaging of views
into a video's score is not done here.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from vidmodels.train.feed import Feed
from vidmodels.train.mesh import replicated

Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class ViewScores:
  """One row per view, in the order in which they were computed.

  Attributes:
    index_R: record number of the view's video.
    view_R: number of the view within its video.
    label_Rx: labels of its video, as the batch has them.
    logits_RK: float32 scores.
  """

  index_R: np.ndarray
  view_R: np.ndarray
  label_Rx: np.ndarray
  logits_RK: np.ndarray


def make_score_step(eval_step, mesh: Mesh):
  """Jits an evaluation step over a batch; every process gets all rows.

  Args:
    eval_step: what `step.make_eval_step` built.
    mesh: the device mesh.

  Returns:
    (params, model_state, batch) -> dict of replicated arrays, `logits` added.
  """

  def score(params, model_state, batch):
    rest = {name: v for name, v in batch.items() if name != 'video'}
    return {**rest, 'logits': eval_step(params, model_state, batch['video'])}

  return jax.jit(score, out_shardings=replicated(mesh))


def collect(
  score_step,
  params,
  model_state,
  batches: Iterator[Mapping[str, np.ndarray]],
  *,
  rows: int,
  mesh: Mesh,
  total: int = 0,
  progress: Progress | None = None,
) -> ViewScores:
  """Scores every view that `batches` holds; padded rows are left out.

  Args:
    score_step: what `make_score_step` built.
    params: weights to evaluate.
    model_state: the module's other collections.
    batches: of `data.pipeline.eval_batches`.
    rows: rows of a global batch.
    mesh: the device mesh.
    total: batches to come, for the progress call.
    progress: called with (batches done, total, '').
  """
  parts, feed = [], Feed(batches, rows=rows, mesh=mesh)
  with contextlib.closing(feed), jax.set_mesh(mesh):
    pending = None
    for done, batch in enumerate(feed):
      ahead = score_step(params, model_state, batch)
      if pending is not None:
        parts.append(_real_rows(pending))
      pending = ahead  # fetched after the next batch is dispatched
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
