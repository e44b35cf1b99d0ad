"""Mean average precision: how well scores rank the videos of every class.

The measure of labels that are questions of their own (Charades) and of whole
videos with several right classes (ActivityNet). It is of a whole set: averaging
it over batches gives another number. numpy only, on the host.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class MeanAP:
  """Average precision of a set.

  Attributes:
    value: the mean over classes that occur, from 0 to 1; NaN if none does, or
      if a score is NaN.
    class_K: of each class; NaN where it does not occur.
    missing: classes that no video has. They are not in the mean: say so beside
      it.
  """

  value: float
  class_K: np.ndarray
  missing: tuple[int, ...]


def mean_ap(scores_RK: np.ndarray, right_RK: np.ndarray) -> MeanAP:
  """Average precision of each class over all videos, and their mean.

  Args:
    scores_RK: of video r for class k; only their order within a class counts.
    right_RK: above 0 where the video has the class. Videos without any class
      belong in: they are wrong answers to all of them.

  Raises:
    ValueError: if the two are not of one shape [R, K].
  """
  scores_RK, right_RK = np.asarray(scores_RK), np.asarray(right_RK) > 0
  if scores_RK.ndim != 2 or scores_RK.shape != right_RK.shape:
    raise ValueError(
      f'scores of {scores_RK.shape} came with labels of {right_RK.shape}; '
      'wanted [videos, classes] of both'
    )
  class_K = np.array(
    [average_precision(*of) for of in zip(scores_RK.T, right_RK.T, strict=True)]
  )
  occurs_K = right_RK.any(0)
  broken = np.isnan(scores_RK).any() or not occurs_K.any()
  return MeanAP(
    value=float('nan') if broken else float(class_K[occurs_K].mean()),
    class_K=class_K,
    missing=tuple(np.flatnonzero(~occurs_K).tolist()),
  )


def average_precision(scores_R: np.ndarray, right_R: np.ndarray) -> float:
  """sum_n (R_n - R_{n-1}) P_n over thresholds n, from the highest score down.

  P_n and R_n are precision and recall of the videos that score at least the
  n-th different score: videos that tie enter together, so that their order in
  the file does not count. No interpolation. It is scikit-learn's
  average_precision_score.

  Args:
    scores_R: of each video.
    right_R: whether it has the class.

  Returns:
    From 0 to 1; NaN if no video has the class or a score is NaN.
  """
  if not right_R.any() or np.isnan(scores_R).any():
    return float('nan')
  order = np.argsort(-scores_R, kind='stable')
  scores_R = scores_R[order]
  last = np.append(scores_R[1:] != scores_R[:-1], True)  # of those that tie
  found = np.cumsum(right_R[order])[last]
  precision = found / (np.flatnonzero(last) + 1)
  return float((np.diff(found, prepend=0) * precision).sum() / found[-1])
