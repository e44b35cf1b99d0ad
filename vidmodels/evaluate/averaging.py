"""From the views of a video to one row of scores.

  scores = average_views(SplitScores.load(path))  # one row per video
  scores.score_RK, scores.probabilities()

This comes after `score_file` and before `metrics`. NumPy, in float64: a sum of
float32 logits rounds differently for every order of the views.
"""

import dataclasses
import typing
from typing import Literal

import numpy as np

from vidmodels.data.records.task import SINGLE, Task
from vidmodels.evaluate.score_file import ScoreInfo, SplitScores
from vidmodels.typing import InputError

Average = Literal['logits', 'probs', 'max']
# Videos whose views are held in float64 at once.
_BLOCK = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoScores:
  """One row of scores per video: the input of metrics and submissions."""

  score_RK: np.ndarray  # float64; higher is likelier
  logits: bool  # True if the scores are logits, False if they are probabilities
  label_Rx: np.ndarray  # as the task has it in a batch
  videos: tuple[str, ...]  # name of each video
  info: ScoreInfo  # describes the scores

  def probabilities(self) -> np.ndarray:
    """Class probabilities, [R, K]; each head sums to 1, but not for 'multi'."""
    if not self.logits:
      return self.score_RK
    return probabilities(self.score_RK, self.info.task)

  def comparable_across_videos(self) -> np.ndarray:
    """Scores by which videos can be ranked for a class, [R, K].

    A softmax ignores an offset of all logits of a video, and no loss controls
    it. So for 'any' these are probabilities. For 'multi' they are the scores
    themselves: the logits of a sigmoid have a fixed zero.
    """
    if self.info.task.kind == 'multi':
      return self.score_RK
    return self.probabilities()

  def log_probabilities(self) -> np.ndarray:
    """Log probabilities, exact where probabilities underflow, [R, K].

    Not for 'multi', whose classes share no softmax.
    """
    if self.logits:
      return _log_softmax(self.score_RK, self.info.task)
    with np.errstate(divide='ignore'):
      return np.log(self.score_RK)


def average_views(scores: SplitScores, how: str = '') -> VideoScores:
  """Averages the views of every video; by default as the scores say."""
  scores.check()
  how = how or scores.info.average
  return VideoScores(
    score_RK=average_logits(scores.logits_RVK, how, scores.info.task),
    logits=how != 'probs',
    label_Rx=scores.label_Rx,
    videos=scores.videos,
    info=dataclasses.replace(scores.info, average=how),
  )


def average_logits(
  logits_RVK: np.ndarray, how: str, task: Task = SINGLE
) -> np.ndarray:
  """Averages over the views; one row of scores per video, float64 [R, K].

  'logits': the mean of the views' logits. 'probs': the mean of their
  probabilities, which are softmaxes (of each head) or, for 'multi', sigmoids.
  'max': the highest logit of each class in any view, for 'multi' only: an
  action that one view shows is in the video. PySlowFast tests Charades this
  way.
  """
  check_average(how, task)
  R, _, K = logits_RVK.shape
  score_RK = np.empty((R, K))
  for first in range(0, R, _BLOCK):
    part_RVK = logits_RVK[first : first + _BLOCK].astype(np.float64)
    if how == 'probs':
      part_RVK = probabilities(part_RVK, task)
    part_RK = part_RVK.max(1) if how == 'max' else part_RVK.mean(1)
    score_RK[first : first + _BLOCK] = part_RK
  return score_RK


def check_average(how: str, task: Task) -> None:
  """Raises InputError if views with such labels cannot be averaged this way."""
  if how == 'max' and task.kind != 'multi':
    raise InputError(
      f'got the average max for {task.kind} labels; expected logits or probs: '
      'only classes that are questions of their own (multi) have a highest '
      'view each'
    )
  if how not in typing.get_args(Average):
    raise InputError(f'got the average {how!r}; expected logits, probs or max')


def probabilities(logits_xK: np.ndarray, task: Task = SINGLE) -> np.ndarray:
  """Softmax over the classes of each head, or sigmoids for 'multi'."""
  if task.kind == 'multi':
    # exp of a negative number only, which cannot overflow.
    small_xK = np.exp(-np.abs(logits_xK))
    return np.where(logits_xK >= 0, 1, small_xK) / (1 + small_xK)
  return np.exp(_log_softmax(logits_xK, task))


def select_views(
  scores: SplitScores, temporal: int, spatial: int
) -> SplitScores:
  """Selects T' x S' of the T x S views.

  Over time, view j of T' is view round(j (T - 1) / (T' - 1)) of T, halves
  rounded up, so the first and the last view stay; one view is the middle one,
  the earlier of two. If T' - 1 divides T - 1 and clips are dense (2 of any; 4
  of 10), these use the very frames that T' views use. Otherwise they do not,
  and the name says how many views they come from (`2x1of4x3`). Of three crops,
  one is the centre, which is also the crop of a one-crop evaluation unless
  `views.centre_scale` gives that a larger frame.
  """
  info = scores.info
  T, S = info.temporal, info.spatial
  if (temporal, spatial) == (T, S):
    return scores
  if not 1 <= temporal <= T or spatial not in {1, S}:
    raise InputError(
      f'got {temporal}x{spatial} views and scores that hold {T}x{S}; expected '
      f'at most {T} over time and 1{" or 3" if S == 3 else ""} crops; try '
      'evaluating the model with those views'
    )
  times = spread_evenly(T, temporal)
  crops = (S // 2,) if spatial == 1 else range(S)
  views = [t * S + s for t in times for s in crops]
  smaller = dataclasses.replace(
    info, temporal=temporal, spatial=spatial, of=info.of or (T, S)
  )
  return dataclasses.replace(
    scores, logits_RVK=scores.logits_RVK[:, views], info=smaller
  )


def spread_evenly(total: int, count: int) -> list[int]:
  """`count` numbers below `total`, evenly spread; see `select_views`."""
  if count == 1:
    return [(total - 1) // 2]
  gaps = count - 1
  return [(2 * j * (total - 1) + gaps) // (2 * gaps) for j in range(count)]


def _log_softmax(logits_xK: np.ndarray, task: Task) -> np.ndarray:
  log_xK = np.array(logits_xK, np.float64)
  for part in task.parts(log_xK.shape[-1]).values():
    part_xK = log_xK[..., part]
    part_xK -= part_xK.max(-1, keepdims=True)
    part_xK -= np.log(np.exp(part_xK).sum(-1, keepdims=True))
  return log_xK
