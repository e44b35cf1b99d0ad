"""hit1 and hit5: the share of videos with a right class among the k best."""

from collections.abc import Iterator

import numpy as np

from vidmodels.evaluate.averaging import VideoScores
from vidmodels.evaluate.metrics import Metric

KINDS, ORDER = ('any',), 10


def prepare(scores: VideoScores) -> Iterator[Metric]:
  """Yields hit1 and hit5."""
  rank_R = best_rank(scores.score_RK, scores.label_Rx)
  # A video with w wrong classes has a right one among any w + 1.
  wrong_R = (scores.label_Rx <= 0).sum(-1)
  for k in (1, 5):
    certain = bool((wrong_R < k).all())
    yield Metric(name=f'hit{k}', right_R=rank_R < k, trivial=certain)


def best_rank(score_RK: np.ndarray, right_RK: np.ndarray) -> np.ndarray:
  """How many wrong classes score at least as high as the best right one, [R].

  A video without a right class ranks behind all classes. Ties and NaN count
  against the video, as in `label_rank`.
  """
  right_RK = right_RK > 0
  best_R1 = np.where(right_RK, score_RK, -np.inf).max(-1, keepdims=True)
  return (~right_RK & ~(score_RK < best_R1)).sum(-1)
