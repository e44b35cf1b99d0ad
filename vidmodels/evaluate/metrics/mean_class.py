"""mean_class: the mean over classes of their top-1 accuracy."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from vidmodels.evaluate.averaging import VideoScores
from vidmodels.evaluate.metrics import Metric, heads, label_rank

KINDS, ORDER = ('single', 'heads'), 20


def prepare(scores: VideoScores) -> Iterator[Metric]:
  """Yields mean_class, of each head if there are heads."""
  for head, (score_RK, label_R) in heads(scores).items():
    yield Metric(
      name=f'{head}_mean_class'.removeprefix('_'),
      function=MeanClassAccuracy(
        label_rank(score_RK, label_R) < 1, label_R, score_RK.shape[-1]
      ),
      question=head,
      in_subsets=False,
    )


@dataclasses.dataclass(frozen=True)
class MeanClassAccuracy:
  """The mean over the classes with a video of the share that is right."""

  right_R: np.ndarray  # True where the video is right
  label_R: np.ndarray  # its class
  classes: int  # the number of classes K

  def __call__(self, count_xR: np.ndarray) -> np.ndarray:
    """The mean of sum(count * right) / sum(count) over the classes there."""
    rows = count_xR.reshape(-1, count_xR.shape[-1]).astype(np.float64)
    return np.reshape([self._of_row(row) for row in rows], count_xR.shape[:-1])

  def _of_row(self, count_R: np.ndarray) -> float:
    right_K, all_K = (
      np.bincount(self.label_R, weights=w, minlength=self.classes)
      for w in (count_R * self.right_R, count_R)
    )
    occurs_K = all_K > 0
    return float((right_K[occurs_K] / all_K[occurs_K]).mean())
