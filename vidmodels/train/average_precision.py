"""Mean average precision: how well scores rank the videos of every class.

  mean_ap(scores_RK, right_RK).value
  rank_videos(score_R, right_R).average_precision(count_R)

It is the metric for labels that are questions of their own (Charades) and for
whole videos with several right classes (ActivityNet). It is a number of a whole
set: the mean over batches is another number. NumPy only, on the host.
"""

from typing import NamedTuple

import numpy as np


class MeanAP(NamedTuple):
  """Average precision of a set."""

  # value: the mean over the classes that occur, from 0 to 1; NaN if no class
  # occurs or a score is NaN
  value: float
  class_K: np.ndarray  # of each class; NaN if the class does not occur
  # missing: classes that no video has: not in the mean, report them beside it
  missing: tuple[int, ...]


def mean_ap(scores_RK: np.ndarray, right_RK: np.ndarray) -> MeanAP:
  """Average precision of each class over all videos, and their mean.

  Only the order of `scores_RK` within a class matters. `right_RK` is above 0
  where the video has the class. Include videos without any class: they are
  wrong answers for all classes.
  """
  scores_RK, right_RK = np.asarray(scores_RK), np.asarray(right_RK) > 0
  if scores_RK.ndim != 2 or scores_RK.shape != right_RK.shape:
    raise ValueError(
      f'got scores of shape {scores_RK.shape} and labels of shape '
      f'{right_RK.shape}; expected [videos, classes] for both'
    )
  class_K = np.array([
    average_precision(score_R, right_R)
    for score_R, right_R in zip(scores_RK.T, right_RK.T, strict=True)
  ])  # fmt: skip
  occurs_K = right_RK.any(0)
  undefined = np.isnan(scores_RK).any() or not occurs_K.any()
  return MeanAP(
    value=float('nan') if undefined else float(class_K[occurs_K].mean()),
    class_K=class_K,
    missing=tuple(np.flatnonzero(~occurs_K).tolist()),
  )


def average_precision(score_R: np.ndarray, right_R: np.ndarray) -> float:
  """Average precision of one class; NaN if no video has it or a score is NaN.

  sum_n (R_n - R_{n-1}) P_n over thresholds n, from the highest score down. P_n
  and R_n are precision and recall of the videos that score at least the n-th
  different score. Videos with equal scores enter together, so their order in
  the file does not matter. There is no interpolation. Equals scikit-learn's
  average_precision_score.
  """
  if np.isnan(score_R).any():
    return float('nan')
  return float(
    rank_videos(score_R, right_R).average_precision(np.ones(len(score_R)))
  )


class VideoRanking(NamedTuple):
  """The videos ranked for one class, once for any weights of the videos."""

  # place_R: the number of different scores, among the videos of the class, that
  # are higher than the video's own score. int32: half the bytes of an index.
  place_R: np.ndarray
  own_N: np.ndarray  # indices of the videos of the class

  def average_precision(self, count_xR: np.ndarray) -> np.ndarray:
    """Average precision if each video counts so often; NaN if no own counts.

    The precision at a video of the class is taken over all videos with at least
    its score, so ties need no order. `count_xR` is [R], or rows of that.
    """
    rows = np.reshape(count_xR, (-1, len(self.place_R))).astype(np.float64)
    place_R = self.place_R.astype(np.intp)  # as bincount would for every row
    values = [self._of_row(place_R, count_R) for count_R in rows]
    return np.reshape(values, np.shape(count_xR)[:-1])

  def _of_row(self, place_R: np.ndarray, count_R: np.ndarray) -> float:
    own_N = np.bincount(place_R[self.own_N], weights=count_R[self.own_N])
    # Videos below all of the class's own have a place behind its last.
    all_N = np.bincount(place_R, weights=count_R)[: len(own_N)].cumsum()
    above_N = own_N.cumsum()
    if not own_N.any():
      return float('nan')
    precision_N = np.zeros(len(own_N))
    np.divide(above_N, all_N, out=precision_N, where=all_N > 0)
    return float((own_N * precision_N).sum() / above_N[-1])


def rank_videos(score_R: np.ndarray, right_R: np.ndarray) -> VideoRanking:
  """Ranks the videos, whose scores are not NaN, for one class."""
  own_N = np.flatnonzero(right_R)
  falling = np.unique(-score_R[own_N])
  place_R = np.searchsorted(falling, -score_R).astype(np.int32)
  return VideoRanking(place_R, own_N)
