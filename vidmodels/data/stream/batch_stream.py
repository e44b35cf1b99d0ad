"""From records to batches: read, sample, decode, cut, stack.

Position is a number: batch k of a stream is a function of the recipe, the seed
and k, whoever makes it. A process asks for the rows of the global batch that
its devices hold, R of them; a row is the same wherever it is made.

A batch is a dict of arrays that are contiguous and nobody else's:
  video: uint8 [R, T, H, W, C], RGB.
  label: int32 [R], or [R, heads], or float32 [R, K]; see `task.Task.row`.
  mask: float32 [R], 1 for a clip, 0 for padding.
  index: int32 [R], the record's number in its split; -1 for padding.
  view: int32 [R], in evaluation only, the view's number; -1 for padding.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import cv2
import numpy as np

from vidmodels import config
from vidmodels.data import augment as augmenting
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.records.video_record import Record
from vidmodels.data.sampling import rules
from vidmodels.data.sampling import views as viewing
from vidmodels.data.stream.example_order import ExampleOrder
from vidmodels.typing import InputError

Batch = dict[str, np.ndarray]
Item = dict[str, Any]  # a batch's row


class Batches(Iterator[Batch]):
  """An iterator over batches that threads make ahead.

  Close it, leave its `with` block, drop it or run it to the end, and the
  threads finish the clip they are at and go. An error of a thread reaches the
  caller as it was raised, in the place of its batch, and closes the stream.

  Attributes:
    batches: how many it gives in all; the same for every process.
  """

  def __init__(
    self,
    make_item: Callable[[int, int], Item],
    *,
    rows: Sequence[int],
    steps: range,
    data: config.Data,
  ):
    import grain  # here, since it brings JAX along

    def item(position: int) -> Item:
      step, j = divmod(position, len(rows))
      return make_item(step, rows[j])

    # OpenCV's own threads would fight with those that decode whole clips.
    cv2.setNumThreads(1)
    self.batches = len(steps)
    self._closed = False
    items = grain.MapDataset.range(steps.stop * len(rows)).map(item)
    options = grain.ReadOptions(
      num_threads=data.threads,
      prefetch_buffer_size=max(data.threads, data.prefetch * len(rows)),
    )
    self._iterator = iter(
      items[steps.start * len(rows) :]
      .to_iter_dataset(options)
      .batch(len(rows), batch_fn=_stack)
    )

  def __next__(self) -> Batch:
    if self._closed:
      raise StopIteration
    try:
      return next(self._iterator)
    except BaseException as e:
      # Another thread may close the stream while this one waits for a clip.
      if self._closed and isinstance(e, Exception):
        raise StopIteration from None
      self.close()
      raise

  def close(self) -> None:
    """Ends the stream without waiting; may be called twice, by any thread."""
    self._closed = True
    self._iterator.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()


def train_batches(
  records: RecordSet,
  *,
  clip: config.Clip,
  augment: config.Augment,
  data: config.Data,
  batch: int,
  seed: int,
  rows: Sequence[int],
  start_step: int,
  steps: int,
) -> Batches:
  """The training stream: batches for steps start_step, ..., steps - 1.

  Args:
    records: what to train on.
    clip: which frames, and the size of the crop.
    augment: what varies from clip to clip.
    data: threads, batches made ahead, and the mean of what is erased.
    batch: clips of a step, over all processes.
    seed: of the order and of the augmentation.
    rows: the rows of the global batch that this process feeds, in the order
      wanted; other processes may ask for the same ones.
    start_step: the first step wanted; what came before is not replayed.
    steps: the length of the whole run.

  Raises:
    InputError: at once if the crop does not fit or the data set forbids the
      flips; later, naming shard and offset, for a record that is unfit.
    ValueError: if rows or steps are out of range.
  """
  if not records.manifest.labelled:
    raise InputError(
      f'split {records.manifest.split!r} of {records.dir} has no labels; '
      'wanted a labelled one to train on; set data.train'
    )
  augmenting.check(augment, clip.size)
  policy, classes = records.manifest.flip, records.classes
  mirror_K = augmenting.mirror_labels(augment, policy, classes)
  rows = _checked_rows(rows, batch)
  if not 0 <= start_step <= steps:
    raise ValueError(f'{start_step=} of {steps=}; give one from 0 to {steps}')
  plan = ExampleOrder(
    examples=len(records), batch=batch, seed=seed, repeats=augment.repeats
  )
  item = functools.partial(
    _train_item, records, clip, augment, data, plan, mirror_K
  )
  return Batches(item, rows=rows, steps=range(start_step, steps), data=data)


def eval_batches(
  records: RecordSet,
  *,
  clip: config.Clip,
  views: config.Views,
  data: config.Data,
  rows: Sequence[int],
) -> Batches:
  """The evaluation stream: every view of every record, once.

  Global batches of `views.batch` follow the records in order and each record's
  views in order (see `views.py`). Padding fills the last one, so that every
  process gets equally many; the masks of all rows sum to records times views.

  Args:
    records: what to evaluate.
    clip: which frames, and the size of the crop.
    views: how many views, and of what.
    data: threads, and batches made ahead.
    rows: the rows of the global batch that this process feeds.

  Raises:
    InputError: at once if the crop does not fit or the rule has fewer views;
      later, naming shard and offset, for a record that is unfit.
    ValueError: if rows are out of range.
  """
  viewing.short_side(views, clip.size)
  rules.check_views(clip, views.temporal)
  rows = _checked_rows(rows, views.batch)
  item = functools.partial(_view_item, records, clip, views)
  total = len(records) * viewing.count(views)
  steps = range(-(-total // views.batch))  # rounded up
  return Batches(item, rows=rows, steps=steps, data=data)


def _train_item(
  records: RecordSet,
  clip: config.Clip,
  augment: config.Augment,
  data: config.Data,
  plan: ExampleOrder,
  mirror_K: np.ndarray,
  step: int,
  row: int,
) -> Item:
  g = plan.number(step, row)
  index, rng = plan.example(g), plan.rng(g)
  record = _read(records, index)
  with _named(records, index):
    frames = rules.train_indices(record.timestamps_us, clip, rng)
    video, drawn = augmenting.train_clip(
      record.frames, frames, rng, augment, clip.size, data
    )
  flip = drawn.crop.flip
  labels = [mirror_K[k] for k in record.labels] if flip else record.labels
  return _item(video, _labels(records, labels), index=index)


def _view_item(
  records: RecordSet,
  clip: config.Clip,
  views: config.Views,
  step: int,
  row: int,
) -> Item:
  number = step * views.batch + row
  index, view = divmod(number, viewing.count(views))
  if index >= len(records):
    shape = (clip.frames, clip.size, clip.size, 3)
    black = np.zeros(shape, np.uint8)
    blank = records.manifest.task.blank(len(records.classes))
    return _item(black, blank, mask=0, index=-1, view=-1)
  when, where = viewing.split(view, views)
  record = _read(records, index)
  choose = functools.partial(
    viewing.crop_of, size=clip.size, view=where, views=views
  )
  with _named(records, index):
    frames = rules.view_indices(
      record.timestamps_us, clip, when, views.temporal
    )
    video, _ = augmenting.cut_clip(record.frames, frames, choose, clip.size)
  label_x = _labels(records, record.labels)
  return _item(video, label_x, index=index, view=view)


def _item(
  video_THWC: np.ndarray,
  label_x: np.ndarray,
  *,
  mask: float = 1,
  **numbers: int,
) -> Item:
  item = {key: np.int32(number) for key, number in numbers.items()}
  mask = np.float32(mask)
  return {'video': video_THWC, 'label': label_x, 'mask': mask, **item}


def _labels(records: RecordSet, labels: Sequence[int]) -> np.ndarray:
  """The labels as the batch has them; blank where none are published."""
  task, classes = records.manifest.task, len(records.classes)
  if not records.manifest.labelled:
    return task.blank(classes)
  return task.row(labels, classes)


def _read(records: RecordSet, index: int) -> Record:
  record = records.record(index)  # its errors name the place themselves
  if records.manifest.labelled:
    with _named(records, index):
      records.manifest.task.check(record.labels, len(records.classes))
  return record


@contextlib.contextmanager
def _named(records: RecordSet, index: int) -> Iterator[None]:
  """Says in an InputError which record it is about."""
  try:
    yield
  except InputError as e:
    shard, offset = records.where(index)
    raise InputError(f'{shard} at offset {offset}: {e}') from e


def _checked_rows(rows: Sequence[int], batch: int) -> list[int]:
  rows = [int(row) for row in rows]
  if not rows or not all(0 <= row < batch for row in rows):
    raise ValueError(
      f'{rows=} of a batch of {batch}; give at least one, from 0 to {batch - 1}'
    )
  return rows


def _stack(items: Sequence[Item]) -> Batch:
  return {key: np.stack([item[key] for item in items]) for key in items[0]}
