"""Scores of views as an evaluation would have kept them, made by hand."""

import numpy as np

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.evaluate.averaging import Answers, answers
from vidmodels.evaluate.score_file import About, Scored

VERB_NOUN = Task(heads=(('verb', 3), ('noun', 4)))
MULTI, ANY = Task('multi'), Task('any')


def names(classes: int, task: Task = SINGLE) -> ClassList:
  """'c0', 'c1', ... or 'verb/c0', ..., 'noun/c0', ..."""
  if not task.heads:
    return ClassList.from_names([f'c{k}' for k in range(classes)])
  return ClassList.from_names(
    [f'{head}/c{k}' for head, size in task.heads for k in range(size)]
  )


def scored(logits, labels, task: Task = SINGLE, **about) -> Scored:
  """Scores of logits [R, V, K] or [R, K] and a tuple of classes a video."""
  logits = np.asarray(logits, np.float32)
  if logits.ndim == 2:
    logits = logits[:, None]
  R, V, K = logits.shape
  about = {'temporal': V, 'spatial': 1, 'classes': names(K, task)} | about
  about = {'split': 'test', 'average': 'logits', 'listed': R} | about
  about = {'step': 7, 'weights': 'ema', 'fingerprint': 'f' * 64} | about
  videos = about.pop('videos', tuple(f'v{i}.mp4' for i in range(R)))
  file = about.pop('file', 'here.npz')
  labelled = about.get('labelled', True)
  rows = [task.row(own, K) if labelled else task.blank(K) for own in labels]
  return Scored(
    logits_RVK=logits,
    label_Rx=np.stack(rows),
    videos=videos,
    about=About(task=task, **about),
    file=file,
  )


def answered(scores, labels, task: Task = SINGLE, **about) -> Answers:
  """The answers of one view a video."""
  return answers(scored(scores, labels, task, **about))


def drawn(rng, count: int, classes: int, task: Task = SINGLE, **about):
  """Random scores with labels that they know something of."""
  views = about.pop('views', 1)
  labels = [label(rng, classes, task) for _ in range(count)]
  logits = rng.normal(size=(count, views, classes))
  for i, own in enumerate(labels):
    logits[i, :, list(own)] += 1
  return scored(logits, labels, task, **about)


def label(rng, classes: int, task: Task) -> tuple[int, ...]:
  """Classes of a video, as its task has them."""
  if task.kind == 'single':
    parts = task.parts(classes).values()
    return tuple(int(rng.integers(p.start, p.stop)) for p in parts)
  fewest = 1 if task.kind == 'any' else 0
  count = int(rng.integers(fewest, 4))
  return tuple(rng.permutation(classes)[:count].tolist())
