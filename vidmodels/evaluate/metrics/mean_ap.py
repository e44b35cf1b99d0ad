"""map: the mean over classes of `train/average_precision.py`."""

from collections.abc import Iterator

import numpy as np

from vidmodels.evaluate.averaging import VideoScores
from vidmodels.evaluate.metrics import Metric
from vidmodels.train.average_precision import rank_videos

KINDS, ORDER = ('any', 'multi'), 20


def prepare(scores: VideoScores) -> Iterator[Metric]:
  """Yields map."""
  score_RK = scores.comparable_across_videos()
  function = MeanAveragePrecision(score_RK, scores.label_Rx)
  # A class that all videos have is ranked right by any scores.
  right_RK = scores.label_Rx > 0
  certain = bool((right_RK.all(0) == right_RK.any(0)).all())
  yield Metric(name='map', function=function, rises=True, trivial=certain)


class MeanAveragePrecision:
  """The mean of average precision over the classes with a video that counts.

  Scores are sorted once; a draw then takes one pass over the videos per class.
  """

  def __init__(self, score_RK: np.ndarray, right_RK: np.ndarray) -> None:
    right_RK = right_RK > 0
    self._rankings = [
      rank_videos(score_RK[:, k], right_RK[:, k])
      for k in np.flatnonzero(right_RK.any(0))
    ]

  def __call__(self, count_xR: np.ndarray, member_R: np.ndarray) -> np.ndarray:
    """The mean for each row of counts; NaN if no class has a video."""
    total_x, classes = np.zeros(count_xR.shape[:-1]), 0
    for ranking in self._rankings:
      own = float(ranking.average_precision(member_R))
      if np.isnan(own):
        continue
      value_x = ranking.average_precision(count_xR)
      total_x += np.where(np.isnan(value_x), own, value_x)
      classes += 1
    drawn_x = (count_xR.sum(-1) > 0) & (classes > 0)
    return np.where(drawn_x, total_x / max(classes, 1), np.nan)
