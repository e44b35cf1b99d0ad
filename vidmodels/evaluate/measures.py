"""What is measured of a task's answers, each measure a function of the videos.

A measure is given how often every video counts and answers with a number: all
ones give the number itself, the counts of videos drawn with replacement give
what it might have been (`bootstrap.py`). After `averaging`, before `report`.

  one class      top1, top5, mean_class
  heads          of each head h: h_top1, h_top5, h_mean_class; action_top1 (all
                 heads right) and action_top5 (the right combination is among
                 the five whose product of probabilities is highest)
  any            hit1, hit5 (a right class is among the k best), map
  multi          map

`unseen/action_top1` is of a subset: of the videos that a manifest names, or of
those whose class is one of a set. With heads, the sets `tail_verb` and
`tail_noun` are the subset `tail`: a video belongs to it for a head's measures
if that head's class does, and for actions if the class of any head does. So
EPIC-KITCHENS-100 counts; a set that some head has no part of has no actions.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from vidmodels.evaluate import ranks
from vidmodels.evaluate.averaging import Answers
from vidmodels.evaluate.mean_ap import MeanAPMeasure, divide
from vidmodels.train import average_precision


class Measure(Protocol):
  """A number that depends on how often each video counts.

  Attributes:
    name: of the measure.
    rises: whether videos that count twice raise it, as two copies of a right
      answer rank beside each other; intervals are moved back by as much.
  """

  name: str
  rises: bool

  def __call__(self, count_xR: np.ndarray) -> np.ndarray:
    """The number for each row of counts; NaN where none of its videos is."""


@dataclasses.dataclass(frozen=True)
class Share:
  """The share of videos that are right, among those that are asked.

  Attributes:
    name: of the measure.
    right_R: 1 where the video is right.
    asked_R: True where it belongs to the set.
  """

  name: str
  right_R: np.ndarray
  asked_R: np.ndarray
  rises = False

  def __call__(self, count_xR: np.ndarray) -> np.ndarray:
    """sum(count * right) / sum(count) over the set."""
    count_xR = count_xR[..., self.asked_R].astype(np.float64)
    return divide(count_xR @ self.right_R[self.asked_R], count_xR.sum(-1))


@dataclasses.dataclass(frozen=True)
class ClassMean:
  """The mean over classes of the share of their videos that are right.

  Classes without a video are not in the mean.

  Attributes:
    name: of the measure.
    right_R: 1 where the video is right.
    label_R: its class.
    classes: K.
  """

  name: str
  right_R: np.ndarray
  label_R: np.ndarray
  classes: int
  rises = False

  def __call__(self, count_xR: np.ndarray) -> np.ndarray:
    """The mean of sum(count * right) / sum(count) over the classes there."""
    rows = count_xR.reshape(-1, count_xR.shape[-1]).astype(np.float64)
    found = [self._of_row(count_R) for count_R in rows]
    return np.reshape(found, count_xR.shape[:-1])

  def _of_row(self, count_R: np.ndarray) -> float:
    right_K, all_K = (
      np.bincount(self.label_R, weights=w, minlength=self.classes)
      for w in (count_R * self.right_R, count_R)
    )
    there_K = all_K > 0
    return float((right_K[there_K] / all_K[there_K]).mean())


def measures(answers: Answers) -> tuple[Measure, ...]:
  """All measures of the answers' task, the one it is known for first.

  A subset that none of the videos is in has none; see `absent`.
  """
  about = answers.about
  everyone_R = np.ones(len(answers.videos), bool)
  if about.task.kind in ('multi', 'any'):
    found = [*_many(answers, everyone_R, '')]
    for name, videos_R in _video_subsets(answers).items():
      found += _many(answers, videos_R, f'{name}/')
    return tuple(found)
  right, labels = _right(answers), _labels(answers)
  found = [Share(name, right_R, everyone_R) for name, right_R in right.items()]
  for head, (label_R, size) in labels.items():
    right_R = right[f'{head}top1']
    found.append(ClassMean(f'{head}mean_class', right_R, label_R, size))
  for name, videos_R in _video_subsets(answers).items():
    found += [Share(f'{name}/{m}', right[m], videos_R) for m in right]
  for name, asked in _class_subsets(answers).items():
    for m in right:
      head = m.rpartition('_')[0]
      if asked[head].any():
        found.append(Share(f'{name}/{m}', right[m], asked[head]))
  return tuple(found)


def values(found: tuple[Measure, ...], videos: int) -> dict[str, float]:
  """Every measure by its name, each video counted once."""
  once_R = np.ones(videos)
  return {measure.name: float(measure(once_R)) for measure in found}


def _many(
  answers: Answers, asked_R: np.ndarray, prefix: str
) -> Iterator[Measure]:
  """Measures of labels that are rows of zeros and ones."""
  right_RK = answers.label_Rx
  if answers.about.task.kind == 'any':
    rank_R = ranks.best_rank(answers.score_RK, right_RK)
    for k in (1, 5):
      right_R = (rank_R < k).astype(float)
      yield Share(f'{prefix}hit{k}', right_R, asked_R)
  if (right_RK[asked_R] > 0).any():
    yield MeanAPMeasure(f'{prefix}map', answers.across(), right_RK, asked_R)


def _labels(answers: Answers) -> dict[str, tuple[np.ndarray, int]]:
  """'verb_' (or '') -> (class within the head of each video, its classes)."""
  parts = answers.about.task.parts(len(answers.about.classes))
  label_Rx = answers.label_Rx.reshape(len(answers.videos), -1)
  return {
    name and f'{name}_': (label_Rx[:, i] - part.start, part.stop - part.start)
    for i, (name, part) in enumerate(parts.items())
  }


def _right(answers: Answers) -> dict[str, np.ndarray]:
  """Which videos are right, by measure, the whole answer's first."""
  parts = answers.about.task.parts(len(answers.about.classes))
  rank = {
    head: ranks.rank(answers.score_RK[:, part], label_R)
    for (head, (label_R, _)), part in zip(
      _labels(answers).items(), parts.values(), strict=True
    )
  }
  if not answers.about.task.heads:
    return {f'top{k}': (rank[''] < k).astype(float) for k in (1, 5)}
  log_RK = answers.log_probabilities()
  joint_R = ranks.joint_rank(
    [log_RK[:, part] for part in parts.values()],
    [label_R for label_R, _ in _labels(answers).values()],
  )
  # All heads right, and not the first of the products: two probabilities may
  # differ where their products are rounded to the same.
  all_R = np.all([rank_R < 1 for rank_R in rank.values()], 0)
  right = {'action_top1': all_R, 'action_top5': all_R | (joint_R < 5)}
  for head, rank_R in rank.items():
    right |= {f'{head}top{k}': rank_R < k for k in (1, 5)}
  return {name: right_R.astype(float) for name, right_R in right.items()}


def _video_subsets(answers: Answers) -> dict[str, np.ndarray]:
  """Which videos are in each subset that the manifest names, if any is."""
  found = {
    name: np.isin(np.array(answers.videos, object), list(videos))
    for name, videos in answers.about.subsets.items()
  }
  return {name: in_R for name, in_R in found.items() if in_R.any()}


def _class_subsets(answers: Answers) -> dict[str, Mapping[str, np.ndarray]]:
  """subset -> head ('verb', 'action', '') -> whose class is one of it."""
  if answers.about.task.kind != 'single':
    return {}
  label_Rx = answers.label_Rx.reshape(len(answers.videos), -1)
  heads = [name for name, _ in answers.about.task.heads] or ['']
  found = {}
  for name, classes in _joined(answers).items():
    in_Rx = np.isin(label_Rx, classes)
    of = {head: in_Rx[:, i] for i, head in enumerate(heads)}
    parts = answers.about.task.parts(len(answers.about.classes)).values()
    whole = all(np.isin(classes, range(p.start, p.stop)).any() for p in parts)
    found[name] = of | {'action': in_Rx.any(1) & whole}
  return {n: of for n, of in found.items() if any(o.any() for o in of.values())}


def _joined(answers: Answers) -> dict[str, list[int]]:
  """Sets of classes, those called `tail_<head>` as one."""
  ends = tuple(f'_{name}' for name, _ in answers.about.task.heads)
  found: dict[str, list[int]] = {}
  for name, classes in answers.about.class_subsets.items():
    if name.endswith(ends):
      name = name.rpartition('_')[0]
    found.setdefault(name, []).extend(classes)
  return found


def absent(answers: Answers) -> list[str]:
  """Subsets that none of the videos is in."""
  about = answers.about
  there = {*_video_subsets(answers), *_class_subsets(answers)}
  every = [*about.subsets]
  if about.task.kind == 'single':
    every += _joined(answers)
  return [name for name in every if name not in there]


def missing_classes(answers: Answers) -> dict[str, list[str]]:
  """Head ('' without) -> names of classes that no video has."""
  about = answers.about
  names, K = about.classes.names, len(about.classes)
  if about.task.kind == 'single':
    labels = np.unique(answers.label_Rx)
  else:
    found = average_precision.mean_ap(answers.score_RK, answers.label_Rx)
    labels = np.setdiff1d(np.arange(K), found.missing)
  none_K = np.isin(np.arange(K), labels, invert=True)
  return {
    head: [names[k] for k in range(part.start, part.stop) if none_K[k]]
    for head, part in about.task.parts(K).items()
  }
