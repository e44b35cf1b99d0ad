"""Parts of a split by class: a share of every class, and who is in which.

  records = record_share.take(RecordSet.open('records', 'train'), 0.25, seed=0)
  len(records)  # a quarter of each class, at least one record of it

For learning curves (TimeSformer's Fig. 4): `prepare --limit` takes the first
records of a list that is often sorted by class. Shares of one seed are nested:
a quarter is a part of a half. They depend on the split and the seed alone.
"""

import numpy as np

from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.records.task import SINGLE
from vidmodels.typing import InputError

_PURPOSE = 2  # of Philox's key; `batch_stream` has others


def take(records: RecordSet, share: float, *, seed: int) -> RecordSet:
  """The same share of every class, rounded, at least one record of each.

  A record with several labels, those of several heads included, counts for the
  one that is rarest in the split; records without any are a class of their own.
  The records keep their order. A share of 1 is the split itself.

  Raises:
    InputError: if the labels of the split are not published.
  """
  if share == 1:
    return records
  if not records.manifest.labelled:
    raise InputError(
      f'got data.share={share} of split {records.manifest.split!r}, which has '
      'no labels; expected a labelled one; try data.share=1.0'
    )
  raw = np.random.Philox(key=np.array([seed, _PURPOSE], np.uint64))
  # Raw output stays the same in every version of numpy.
  drawn_N = raw.random_raw(len(records))
  kept = []
  for numbers in _by_rarest_label(records):
    count = max(1, int(share * len(numbers) + 0.5))
    order = np.argsort(drawn_N[numbers], kind='stable')
    kept.append(numbers[order[:count]])
  return records.take(np.sort(np.concatenate(kept)))


def by_class(records: RecordSet, field: str) -> tuple[np.ndarray, ...]:
  """The record numbers of each class that has any, in order of the classes.

  `field` is the recipe's field in errors.

  Raises:
    InputError: unless every video has one class.
  """
  task = records.manifest.task
  if task != SINGLE:
    raise InputError(
      f'got {field} with labels of kind {task.kind!r} and heads '
      f'{list(dict(task.heads))}; expected one class a video, as it counts the '
      f'videos of each class; try leaving {field} out'
    )
  if not records.manifest.labelled:
    raise InputError(
      f'got {field} with split {records.manifest.split!r}, which has no '
      'labels; expected a labelled one; try another data.train'
    )
  label_N = np.array([label for (label,) in records.labels()])
  return tuple(np.flatnonzero(label_N == k) for k in np.unique(label_N))


def _by_rarest_label(records: RecordSet) -> list[np.ndarray]:
  """The record numbers of each stratum, in the order of the labels."""
  labels = records.labels()
  flat = [label for row in labels for label in row]
  counts_K = np.bincount(np.asarray(flat, np.int64), minlength=1)
  rarest_N = np.array(
    [min(row, key=lambda k: (counts_K[k], k), default=-1) for row in labels]
  )
  return [np.flatnonzero(rarest_N == k) for k in np.unique(rarest_N)]
