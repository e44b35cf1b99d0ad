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
  yield Metric(name='map', function=function, rises=True)


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

  def __call__(self, count_xR: np.ndarray) -> np.ndarray:
    """The mean for each row of counts; NaN if no class has a video."""
    total_x, classes_x = np.zeros((2, *count_xR.shape[:-1]))
    for ranking in self._rankings:
      value_x = ranking.average_precision(count_xR)
      total_x += np.nan_to_num(value_x)
      classes_x += ~np.isnan(value_x)
    nan_x = np.full(total_x.shape, np.nan)
    return np.divide(total_x, classes_x, out=nan_x, where=classes_x > 0)
