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
      groups=(right_R, label_R),
      question=head,
      in_subsets=False,
      trivial=score_RK.shape[-1] == 1,
    )


def mean_accuracy(
  right_R: np.ndarray, label_R: np.ndarray, classes: int
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
  """The function of a metric: mean of the classes' shares of right videos."""

  def share_of_classes(count_R: np.ndarray) -> np.ndarray:
    right_K, all_K = (
      np.bincount(label_R, weights=w, minlength=classes)
      for w in (count_R * right_R, count_R)
    )
    nan_K = np.full(classes, np.nan)
    return np.divide(right_K, all_K, out=nan_K, where=all_K > 0)

  def mean(count_xR: np.ndarray, member_R: np.ndarray) -> np.ndarray:
    own_K = share_of_classes(member_R)
    occurs_K = ~np.isnan(own_K)
    means = []
    for count_R in count_xR.reshape(-1, count_xR.shape[-1]):
      drawn_K = share_of_classes(count_R)
      means.append(np.where(np.isnan(drawn_K), own_K, drawn_K)[occurs_K].mean())
    return np.reshape(means, count_xR.shape[:-1])

  return mean
