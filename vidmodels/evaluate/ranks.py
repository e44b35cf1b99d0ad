"""Where the right answer stands among the scores; 0 is first.

Ties count against the video: what scores the same stands before the right
answer, so that a constant answer is never right. A NaN counts against too. It
is the rule of `train/metrics.py`, in NumPy.
"""

import math
from collections.abc import Sequence

import numpy as np

# Answers of several heads held at once, 8 bytes each.
_BLOCK = 2**21


def rank(score_RK: np.ndarray, label_R: np.ndarray) -> np.ndarray:
  """How many classes score at least as high as the label's, int [R]."""
  own_R1 = np.take_along_axis(score_RK, label_R[:, None], -1)
  return (~(score_RK < own_R1)).sum(-1) - 1


def best_rank(score_RK: np.ndarray, right_RK: np.ndarray) -> np.ndarray:
  """How many wrong classes score at least as high as the best right one, [R].

  A video without a right class has all classes before it.
  """
  right_RK = right_RK > 0
  best_R1 = np.where(right_RK, score_RK, -np.inf).max(-1, keepdims=True)
  return (~right_RK & ~(score_RK < best_R1)).sum(-1)


def joint_rank(
  logs: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> np.ndarray:
  """Rank of the right class of every head among all combinations, int [R].

  A combination scores the product of its classes' probabilities: 29,100 of them
  for 97 verbs and 300 nouns, of a few videos at a time.

  Args:
    logs: log probabilities of each head, [R, K of the head].
    labels: right class in each head, [R].
  """
  R, many = len(labels[0]), math.prod(log.shape[-1] for log in logs)
  rows = max(1, _BLOCK // many)
  ranks_R = np.empty(R, np.int64)
  for first in range(0, R, rows):
    part = slice(first, first + rows)
    sum_RK, own_R1 = np.zeros((1, 1)), 0.0
    for log_RK, label_R in zip(logs, labels, strict=True):
      # Sums in the same order for both, or the right answer would not tie
      # with itself.
      at_RK = log_RK[part]
      sum_RK = (sum_RK[:, :, None] + at_RK[:, None]).reshape(len(at_RK), -1)
      own_R1 = own_R1 + np.take_along_axis(at_RK, label_R[part, None], -1)
    ranks_R[part] = (~(sum_RK < own_R1)).sum(-1) - 1
  return ranks_R
