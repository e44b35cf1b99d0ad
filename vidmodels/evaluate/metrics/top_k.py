"""top1 and top5: the share of videos whose right class is among the k best."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from vidmodels.evaluate.averaging import VideoScores
from vidmodels.evaluate.metrics import Metric, heads, label_rank

KINDS, ORDER = ('single', 'heads'), 10
# Combinations of several heads held at once, 8 bytes each.
_BLOCK = 2**21


def prepare(scores: VideoScores) -> Iterator[Metric]:
  """Yields top1 and top5; with heads, of the action and then of each head."""
  ranks = {
    head: label_rank(score_RK, label_R)
    for head, (score_RK, label_R) in heads(scores).items()
  }
  if scores.info.task.heads:
    # All heads right, which is not the same as the first of the products: two
    # probabilities may differ whose products are rounded to the same number.
    right_R = np.all([rank_R < 1 for rank_R in ranks.values()], 0)
    parts = scores.info.task.parts(len(scores.info.classes)).values()
    log_RK = scores.log_probabilities()
    labels = [label_R for _, label_R in heads(scores).values()]
    rank_R = joint_rank([log_RK[:, part] for part in parts], labels)
    in_5_R = right_R | (rank_R < 5)
    yield Metric(name='action_top1', right_R=right_R)
    few = math.prod(scores.info.task.sizes) <= 5
    yield Metric(name='action_top5', right_R=in_5_R, trivial=few)
  for head, rank_R in ranks.items():
    for k in (1, 5):
      yield Metric(
        name=f'{head}_top{k}'.removeprefix('_'),
        right_R=rank_R < k,
        question=head,
        trivial=k >= heads(scores)[head][0].shape[-1],
      )


def joint_rank(
  logs: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> np.ndarray:
  """Rank of the right class of every head among all combinations, int [R].

  A combination scores the product of its classes' probabilities: 29,100 of them
  for 97 verbs and 300 nouns, of a few videos at a time. `logs` are the log
  probabilities of each head, [R, K of the head].
  """
  R, combinations = len(labels[0]), math.prod(log.shape[-1] for log in logs)
  rows = max(1, _BLOCK // combinations)
  ranks_R = np.empty(R, np.int64)
  for first in range(0, R, rows):
    block = slice(first, first + rows)
    sum_RK, own_R1 = np.zeros((1, 1)), np.zeros((1, 1))
    for log_RK, label_R in zip(logs, labels, strict=True):
      # Sums in the same order for both, or the right answer would not tie
      # with itself.
      part_RK = log_RK[block]
      sum_RK = (sum_RK[:, :, None] + part_RK[:, None]).reshape(len(part_RK), -1)
      own_R1 = own_R1 + np.take_along_axis(part_RK, label_R[block, None], -1)
    ranks_R[block] = (~(sum_RK < own_R1)).sum(-1) - 1
  return ranks_R
