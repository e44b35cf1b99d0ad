"""Metrics of videos: one file each, found by file name.

  metrics = prepare_metrics(scores)           # all metrics of the labels
  metric_values(metrics, len(scores.videos))  # {'top1': 0.71, ...}

A metric is a function of how often each video counts. All ones give the number
itself; the counts of videos drawn with replacement give what it might have been
(`bootstrap.py`). A file in this folder defines

  KINDS            the kinds of labels that it applies to: 'single' (one class
                   per video), 'heads' (one class of each head), 'any' (several
                   classes, each of them right), 'multi' (each class a question
                   of its own)
  prepare(scores)  yields `Metric`s of the `VideoScores`
  ORDER            optional: reports list metrics in rising order

The built-in metrics are

  single   top1, top5, mean_class
  heads    for each head h: h_top1, h_top5, h_mean_class; action_top1 (all heads
           right) and action_top5 (the right combination is among the five whose
           product of probabilities is highest)
  any      hit1, hit5 (a right class is among the k best), map
  multi    map

`unseen/action_top1` belongs to a subset: the videos that a manifest names, or
the videos whose class is in a set. With heads, the sets `tail_verb` and
`tail_noun` are one subset `tail`: a video belongs to it for a head's metrics if
that head's class does, and for actions if the class of any head does. This is
how EPIC-KITCHENS-100 counts. A subset in which some head has no class has no
action metrics.
"""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from vidmodels.evaluate.averaging import VideoScores
from vidmodels.fields import modules_with


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
  """A number that depends on how often each video counts.

  It has either `right_R` or a `function`.
  """

  name: str  # its name in reports
  # whether each video is right, [R]: the metric is the share of right ones
  right_R: np.ndarray | None = None
  # counts [..., R], and which videos the metric is about [R] -> numbers [...];
  # NaN where no video that it needs counts. A mean over classes is over those
  # that have one of these videos. A class that has none in a draw keeps its
  # value, or the mean would move as classes come and go.
  function: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
  # groups: of a function that is the mean over classes of the shares of right
  # videos: whether each video is right and its class, [R] each. Its interval is
  # made of those of the shares
  groups: tuple[np.ndarray, np.ndarray] | None = None
  # question: the head that it belongs to; '' for the whole answer. A subset of
  # classes selects videos by the label of this head
  question: str = ''
  # whether it is also measured in subsets of the videos
  in_subsets: bool = True
  # rises: whether videos that count twice raise it, because two copies of a
  # right answer rank beside each other; intervals are moved back by as much
  rises: bool = False
  # whether any answer would be right, such as the best 5 of 4 classes: reports
  # for people leave it out
  trivial: bool = False
  member_R: np.ndarray | None = (
    None  # the videos of a subset, 0 or 1; None: all
  )

  def __call__(self, count_xR: np.ndarray) -> np.ndarray:
    """Returns the number for each row of counts."""
    count_xR = np.asarray(count_xR, np.float64)
    member_R = self.members(count_xR.shape[-1])
    if self.function is not None:
      return self.function(count_xR * member_R, member_R)
    right_x = count_xR @ (member_R * np.asarray(self.right_R, np.float64))
    all_x = count_xR @ member_R
    nan_x = np.full(np.shape(all_x), np.nan)
    return np.divide(right_x, all_x, out=nan_x, where=all_x > 0)

  def members(self, videos: int) -> np.ndarray:
    """1 for each video that the metric is about, else 0, [R]."""
    if self.member_R is None:
      return np.ones(videos)
    return np.asarray(self.member_R, np.float64)

  def shares(self, videos: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The shares that the metric is the mean of, and the videos of each, [K].

    One for `right_R`, one a class that has videos for `groups`; None for any
    other function.
    """
    if self.right_R is None and self.groups is None:
      return None
    right_R, class_R = self.groups or (self.right_R, np.zeros(videos, int))
    member_R = self.members(videos)
    all_K = np.bincount(class_R, weights=member_R)
    right_K = np.bincount(class_R, weights=member_R * np.asarray(right_R))
    return right_K[all_K > 0] / all_K[all_K > 0], all_K[all_K > 0]

  def restricted(self, subset: str, member_R: np.ndarray) -> 'Metric':
    """Returns this metric for the videos of a subset, 'subset/name'."""
    return dataclasses.replace(
      self, name=f'{subset}/{self.name}', member_R=member_R
    )


def prepare_metrics(scores: VideoScores) -> tuple[Metric, ...]:
  """All metrics of the scores; the best known one comes first.

  A metric without a value is left out: `map` if no video has any class, all
  metrics of a subset that has none of the videos (see `absent_subsets`).
  """
  task = scores.info.task
  kind = 'heads' if task.heads else task.kind
  modules = modules_with('evaluate.metrics', 'prepare').values()
  metrics = [
    metric
    for module in sorted(modules, key=lambda m: getattr(m, 'ORDER', 100))
    if kind in module.KINDS
    for metric in module.prepare(scores)
  ]
  parts = [metric for metric in metrics if metric.in_subsets]
  for subset, member_R in _video_subsets(scores).items():
    metrics += [metric.restricted(subset, member_R) for metric in parts]
  for subset, members in _class_subsets(scores).items():
    metrics += [m.restricted(subset, members[m.question]) for m in parts]
  names = [metric.name for metric in metrics]
  for name in names:
    if names.count(name) > 1:
      raise ValueError(f'two metrics are called {name!r}; rename one of them')
  once_R = np.ones(len(scores.videos))
  return tuple(metric for metric in metrics if not np.isnan(metric(once_R)))


def metric_values(metrics: Iterable[Metric], videos: int) -> dict[str, float]:
  """Every metric's name -> its value, with each video counted once."""
  once_R = np.ones(videos)
  return {metric.name: float(metric(once_R)) for metric in metrics}


def heads(scores: VideoScores) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Head ('' without heads) -> (its scores [R, K], its labels [R] within K)."""
  parts = scores.info.task.parts(len(scores.info.classes))
  label_Rx = scores.label_Rx.reshape(len(scores.videos), -1)
  return {
    head: (scores.score_RK[:, part], label_Rx[:, i] - part.start)
    for i, (head, part) in enumerate(parts.items())
  }


def label_rank(score_RK: np.ndarray, label_R: np.ndarray) -> np.ndarray:
  """How many other classes score at least as high as the label's, int [R].

  0 is first. Ties count against the video: a class with the same score ranks
  above the right one, so a constant answer is never right. A NaN counts against
  it too. This is the rule of `train/metrics.py`, in NumPy.
  """
  own_R1 = np.take_along_axis(score_RK, label_R[:, None], -1)
  return (~(score_RK < own_R1)).sum(-1) - 1


def absent_subsets(scores: VideoScores) -> list[str]:
  """Subsets that none of the videos is in."""
  present = {*_video_subsets(scores), *_class_subsets(scores)}
  names = [*scores.info.subsets]
  if scores.info.task.kind == 'single':
    names += _joined_class_sets(scores)
  return [name for name in names if name not in present]


def missing_classes(scores: VideoScores) -> dict[str, list[str]]:
  """Head ('' without heads) -> names of the classes that no video has."""
  info, K = scores.info, len(scores.info.classes)
  if info.task.kind == 'single':
    occurs_K = np.isin(np.arange(K), scores.label_Rx).tolist()
  else:
    occurs_K = (scores.label_Rx > 0).any(0).tolist()
  return {
    head: [name for k, name in enumerate(info.classes.names[part], part.start)
           if not occurs_K[k]]
    for head, part in info.task.parts(K).items()
  }  # fmt: skip


def _video_subsets(scores: VideoScores) -> dict[str, np.ndarray]:
  """Subset of the manifest -> which videos are in it; none without a video."""
  videos_R = np.array(scores.videos, object)
  members = {
    name: np.asarray(np.isin(videos_R, list(videos)))
    for name, videos in scores.info.subsets.items()
  }
  return {name: in_R for name, in_R in members.items() if in_R.any()}


def _class_subsets(scores: VideoScores) -> dict[str, dict[str, np.ndarray]]:
  """Subset -> question (head, '' for the whole answer) -> which videos."""
  task = scores.info.task
  if task.kind != 'single':
    return {}
  label_Rx = scores.label_Rx.reshape(len(scores.videos), -1)
  parts = task.parts(len(scores.info.classes)).values()
  subsets = {}
  for name, classes in _joined_class_sets(scores).items():
    in_Rx = np.asarray(np.isin(label_Rx, classes))
    members = {head: in_Rx[:, i] for i, (head, _) in enumerate(task.heads)}
    complete = all(
      np.isin(classes, range(part.start, part.stop)).any() for part in parts
    )
    members[''] = np.asarray(in_Rx.any(1) & complete)
    if in_Rx.any():
      subsets[name] = members
  return subsets


def _joined_class_sets(scores: VideoScores) -> dict[str, list[int]]:
  """The sets of classes; `tail_<head>` of all heads become one set `tail`."""
  ends = tuple(f'_{head}' for head, _ in scores.info.task.heads)
  sets: dict[str, list[int]] = {}
  for name, classes in scores.info.class_subsets.items():
    if name.endswith(ends):
      name = name.rpartition('_')[0]
    sets.setdefault(name, []).extend(classes)
  return sets
