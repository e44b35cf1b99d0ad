"""Hand-made scores of views, as an evaluation keeps them."""

import numpy as np

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.evaluate.averaging import VideoScores, average_views
from vidmodels.evaluate.score_file import ScoreInfo, SplitScores

VERB_NOUN = Task(heads=(('verb', 3), ('noun', 4)))
MULTI, ANY = Task('multi'), Task('any')


def names(classes: int, task: Task = SINGLE) -> ClassList:
  """'c0', 'c1', ... or 'verb/c0', ..., 'noun/c0', ..."""
  if not task.heads:
    return ClassList.from_names([f'c{k}' for k in range(classes)])
  return ClassList.from_names(
    [f'{head}/c{k}' for head, size in task.heads for k in range(size)]
  )


def split_scores(logits, labels, task: Task = SINGLE, **info) -> SplitScores:
  """Scores of logits [R, V, K] or [R, K] and a tuple of classes per video."""
  logits = np.asarray(logits, np.float32)
  if logits.ndim == 2:
    logits = logits[:, None]
  R, V, K = logits.shape
  info = {'temporal': V, 'spatial': 1, 'classes': names(K, task)} | info
  info = {'split': 'test', 'average': 'logits', 'listed': R} | info
  info = {'step': 7, 'weights': 'ema', 'fingerprint': 'f' * 64} | info
  videos = info.pop('videos', tuple(f'v{i}.mp4' for i in range(R)))
  file = info.pop('file', 'here.npz')
  labelled = info.get('labelled', True)
  rows = [task.row(own, K) if labelled else task.blank(K) for own in labels]
  return SplitScores(
    logits_RVK=logits,
    label_Rx=np.stack(rows),
    videos=videos,
    info=ScoreInfo(task=task, **info),
    file=file,
  )


def video_scores(scores, labels, task: Task = SINGLE, **info) -> VideoScores:
  """One row of scores per video."""
  return average_views(split_scores(scores, labels, task, **info))


def random_scores(rng, count: int, classes: int, task: Task = SINGLE, **info):
  """Random scores that are a little higher for the labels."""
  views = info.pop('views', 1)
  labels = [label(rng, classes, task) for _ in range(count)]
  logits = rng.normal(size=(count, views, classes))
  for i, own in enumerate(labels):
    logits[i, :, list(own)] += 1
  return split_scores(logits, labels, task, **info)


def label(rng, classes: int, task: Task) -> tuple[int, ...]:
  """Random classes of a video, as its task has them."""
  if task.kind == 'single':
    parts = task.parts(classes).values()
    return tuple(int(rng.integers(p.start, p.stop)) for p in parts)
  fewest = 1 if task.kind == 'any' else 0
  count = int(rng.integers(fewest, 4))
  return tuple(rng.permutation(classes)[:count].tolist())
