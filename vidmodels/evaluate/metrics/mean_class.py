"""mean_class: the mean over classes of their top-1 accuracy."""

from collections.abc import Callable, Iterator

import numpy as np

from vidmodels.evaluate.averaging import VideoScores
from vidmodels.evaluate.metrics import Metric, heads, label_rank

KINDS, ORDER = ('single', 'heads'), 20


def prepare(scores: VideoScores) -> Iterator[Metric]:
  """Yields mean_class, of each head if there are heads."""
  for head, (score_RK, label_R) in heads(scores).items():
    right_R = label_rank(score_RK, label_R) < 1
    yield Metric(
      name=f'{head}_mean_class'.removeprefix('_'),
      function=mean_accuracy(right_R, label_R, score_RK.shape[-1]),
      question=head,
      in_subsets=False,
    )


def mean_accuracy(
  right_R: np.ndarray, label_R: np.ndarray, classes: int
) -> Callable[[np.ndarray], np.ndarray]:
  """The function of a metric: mean of the classes' shares of right videos."""

  def mean_of_row(count_R: np.ndarray) -> float:
    right_K, all_K = (
      np.bincount(label_R, weights=w, minlength=classes)
      for w in (count_R * right_R, count_R)
    )
    occurs_K = all_K > 0
    return float((right_K[occurs_K] / all_K[occurs_K]).mean())

  def mean(count_xR: np.ndarray) -> np.ndarray:
    rows = count_xR.reshape(-1, count_xR.shape[-1]).astype(np.float64)
    return np.reshape([mean_of_row(row) for row in rows], count_xR.shape[:-1])

  return mean
