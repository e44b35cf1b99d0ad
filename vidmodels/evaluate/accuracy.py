"""View scores to video scores to a report that says what was measured."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vidmodels.train import metrics
from vidmodels.train.scores import ViewScores
from vidmodels.typing import InputError

Average = Literal['logits', 'probs']


@dataclasses.dataclass(frozen=True)
class VideoScores:
  """Every view of every video, in record order.

  Attributes:
    logits_RVK: scores of video r, view v, class k, float32.
    label_R: class indices.
  """

  logits_RVK: np.ndarray
  label_R: np.ndarray


def by_video(found: ViewScores, *, videos: int, views: int) -> VideoScores:
  """Sorts view scores into their places.

  Args:
    found: rows in any order.
    videos: records of the split.
    views: views of each.

  Raises:
    ValueError: if a view of a video is missing or came twice.
  """
  place_R = found.index_R.astype(np.int64) * views + found.view_R
  if not np.array_equal(np.sort(place_R), np.arange(videos * views)):
    raise ValueError(
      f'{len(place_R)} view scores came, {len(np.unique(place_R))} different; '
      f'wanted each of {videos} x {views} once'
    )
  order = np.argsort(place_R)
  logits = found.logits_RK[order]
  return VideoScores(
    logits_RVK=logits.reshape(videos, views, -1),
    label_R=found.label_R[order][::views],
  )


def average(logits_RVK: np.ndarray, how: Average) -> np.ndarray:
  """One row of scores a video: the mean of its views' logits or softmaxes."""
  if how == 'probs':
    logits_RVK = np.asarray(jax.nn.softmax(jnp.asarray(logits_RVK)))
  return logits_RVK.mean(1)


def accuracy(scored: VideoScores, how: Average) -> dict[str, float]:
  """Top-1 and top-5 accuracy of videos, from 0 to 1.

  Raises:
    InputError: if a score is not finite.
  """
  if not np.isfinite(scored.logits_RVK).all():
    raise InputError(
      'some scores are not finite: the weights are broken; take an earlier '
      'checkpoint with --step'
    )
  scores_RK = jnp.asarray(average(scored.logits_RVK, how))
  label_R = jnp.asarray(scored.label_R)
  return {
    f'top{k}': float(metrics.top_k(scores_RK, label_R, k).mean())
    for k in (1, 5)
  }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """The result of an evaluation.

  Attributes:
    split: name of the split.
    temporal: views over time.
    spatial: crops of each.
    average: what was averaged over views.
    videos: videos scored.
    listed: videos the source listed; the others were lost in preparation.
    top1: accuracy of videos, 0 to 1.
    top5: accuracy of videos, 0 to 1.
    classes_sha256: hash of the class list that both sides agree on.
    data_fingerprint: identifies the records.
    step: updates behind the weights.
    weights: 'params' or 'ema'.
    scores: file that holds every view's scores.
    config: the recipe, as a dict.
  """

  split: str
  temporal: int
  spatial: int
  average: str
  videos: int
  listed: int
  top1: float
  top5: float
  classes_sha256: str
  data_fingerprint: str
  step: int
  weights: str
  scores: str
  config: dict[str, Any]

  @property
  def name(self) -> str:
    """What the numbers are called, e.g. 'test_4x3'."""
    return f'{self.split}_{self.temporal}x{self.spatial}'

  def as_json(self) -> dict[str, Any]:
    """A plain dict; the accuracies appear under their full names only."""
    tree = dataclasses.asdict(self)
    top1, top5 = tree.pop('top1'), tree.pop('top5')
    return {f'{self.name}/top1': top1, f'{self.name}/top5': top5, **tree}

  def line(self) -> str:
    """What was measured, for people."""
    return (
      f'{self.name}: top-1 {self.top1:.2%}, top-5 {self.top5:.2%} of '
      f'{self.videos} of {self.listed} videos, '
      f'{self.temporal * self.spatial} views (mean of {self.average}, step '
      f'{self.step}, {self.weights})'
    )
