"""From the views of a video to one row of scores.

After `scored`, before `measures`. NumPy, in float64: a sum of float32 logits
rounds differently with every order of the views.
"""

import dataclasses
import typing
from typing import Literal

import numpy as np

from vidmodels.data.records.task import SINGLE, Task
from vidmodels.evaluate.score_file import About, Scored
from vidmodels.typing import InputError

Average = Literal['logits', 'probs', 'max']
# Videos whose views are held in float64 at once.
_BLOCK = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
  """One row of scores a video, all that metrics and submissions look at.

  Attributes:
    score_RK: float64; higher is likelier.
    logits: whether scores are logits; else they are probabilities.
    label_Rx: as the task has it in a batch.
    videos: name of each.
    about: what they are of.
  """

  score_RK: np.ndarray
  logits: bool
  label_Rx: np.ndarray
  videos: tuple[str, ...]
  about: About

  def probabilities(self) -> np.ndarray:
    """Of each class, [R, K]: they sum to 1 in each head, but for 'multi'."""
    if not self.logits:
      return self.score_RK
    return probabilities(self.score_RK, self.about.task)

  def across(self) -> np.ndarray:
    """Scores that compare across videos, [R, K].

    A softmax leaves a video's logits any offset, which no loss holds in place:
    of 'any' they are probabilities. A sigmoid's logits have a zero.
    """
    if self.about.task.kind == 'multi':
      return self.score_RK
    return self.probabilities()

  def log_probabilities(self) -> np.ndarray:
    """Their logarithms, exact where probabilities underflow, [R, K].

    Not for 'multi', whose classes share nothing.
    """
    if self.logits:
      return _log_softmax(self.score_RK, self.about.task)
    with np.errstate(divide='ignore'):
      return np.log(self.score_RK)


def answers(scored: Scored, how: str = '') -> Answers:
  """Averages the views of every video.

  Args:
    scored: the views.
    how: instead of the average that the scores name.

  Raises:
    InputError: if a score is not finite, or the average does not suit the task.
  """
  scored.check()
  how = how or scored.about.average
  return Answers(
    score_RK=average(scored.logits_RVK, how, scored.about.task),
    logits=how != 'probs',
    label_Rx=scored.label_Rx,
    videos=scored.videos,
    about=dataclasses.replace(scored.about, average=how),
  )


def average(
  logits_RVK: np.ndarray, how: str, task: Task = SINGLE
) -> np.ndarray:
  """One row of scores a video, float64 [R, K].

  'logits': the mean of the views' logits. 'probs': the mean of their
  probabilities, which are softmaxes (of each head) or, for 'multi', sigmoids.
  'max': the highest logit of each class in any view, for 'multi' only: an
  action that one view shows is in the video. PySlowFast tests Charades so.

  Raises:
    InputError: if the task has no such average.
  """
  check(how, task)
  R, _, K = logits_RVK.shape
  score_RK = np.empty((R, K))
  for first in range(0, R, _BLOCK):
    part_RVK = logits_RVK[first : first + _BLOCK].astype(np.float64)
    if how == 'probs':
      part_RVK = probabilities(part_RVK, task)
    part_RK = part_RVK.max(1) if how == 'max' else part_RVK.mean(1)
    score_RK[first : first + _BLOCK] = part_RK
  return score_RK


def check(how: str, task: Task) -> None:
  """Raises InputError if views of such labels have no such average."""
  if how == 'max' and task.kind != 'multi':
    raise InputError(
      f'the average max came for {task.kind} labels; wanted logits or probs, '
      'since only classes that are questions of their own (multi) have a '
      'highest view each'
    )
  if how not in typing.get_args(Average):
    raise InputError(f'the average {how!r} came; wanted logits, probs or max')


def probabilities(logits_xK: np.ndarray, task: Task = SINGLE) -> np.ndarray:
  """Softmax over the classes of each head, or sigmoids for 'multi'."""
  if task.kind == 'multi':
    # exp of a negative number only, which cannot overflow.
    small_xK = np.exp(-np.abs(logits_xK))
    return np.where(logits_xK >= 0, 1, small_xK) / (1 + small_xK)
  return np.exp(_log_softmax(logits_xK, task))


def fewer(scored: Scored, temporal: int, spatial: int) -> Scored:
  """T' x S' of the T x S views.

  Over time view j of T' is view round(j (T - 1) / (T' - 1)) of T, halves
  upwards, so the first and the last stay; one view is the middle one, the
  earlier of two. Where T' - 1 divides T - 1 and clips are dense (2 of any; 4 of
  10), these are the very frames that T' views look at; else they are not, and
  the name says of how many they were chosen (`2x1of4x3`). Of three crops one is
  the centre, which is that of one crop.

  Raises:
    InputError: if there are not so many views.
  """
  about = scored.about
  T, S = about.temporal, about.spatial
  if (temporal, spatial) == (T, S):
    return scored
  if not 1 <= temporal <= T or spatial not in {1, S}:
    raise InputError(
      f'{temporal}x{spatial} views came; the scores hold {T}x{S}; wanted at '
      f'most {T} over time and 1{" or 3" if S == 3 else ""} crops; evaluate '
      'the model for others'
    )
  times, crops = chosen(T, temporal), (S // 2,) if spatial == 1 else range(S)
  views = [t * S + s for t in times for s in crops]
  smaller = dataclasses.replace(
    about, temporal=temporal, spatial=spatial, of=about.of or (T, S)
  )
  return dataclasses.replace(
    scored, logits_RVK=scored.logits_RVK[:, views], about=smaller
  )


def chosen(count: int, wanted: int) -> list[int]:
  """`wanted` numbers below `count`, evenly spread; see `fewer`."""
  if wanted == 1:
    return [(count - 1) // 2]
  gaps = wanted - 1
  return [(2 * j * (count - 1) + gaps) // (2 * gaps) for j in range(wanted)]


def _log_softmax(logits_xK: np.ndarray, task: Task) -> np.ndarray:
  log_xK = np.array(logits_xK, np.float64)
  for part in task.parts(log_xK.shape[-1]).values():
    part_xK = log_xK[..., part]
    part_xK -= part_xK.max(-1, keepdims=True)
    part_xK -= np.log(np.exp(part_xK).sum(-1, keepdims=True))
  return log_xK
