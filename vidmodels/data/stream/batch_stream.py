"""From records to batches: read, sample, decode, cut, stack.

  with train_batches(records, clip=c.clip, augment=c.augment, data=c.data,
                     batch=64, seed=0, rows=range(64), start_step=0,
                     steps=1000) as batches:
    video_BTHWC = next(batches)['video']

The stream is a function of the step: nothing but the step number is state. Row
j of step s is clip g = s * batch + j. With epoch, i = divmod(g, n), clip g
shows example `permutation(seed, epoch)[i]` and draws its frames and its
augmentation from a generator keyed by (seed, g). So any process may make any
row, a stream may start at any step, and no epoch skips or repeats an example,
whether or not the batch divides n. A process asks for the rows of the global
batch that its devices hold, R of them; a row is the same wherever it is made.

A batch is a dict of contiguous arrays that nobody else holds:
  video: uint8 [R, T, H, W, C], RGB.
  label: int32 [R], or [R, heads], or float32 [R, K]; see `task.Task.row`.
  mask: float32 [R], 1 for a clip, 0 for padding.
  index: int32 [R], the record's number in its split; -1 for padding.
  view: int32 [R], in evaluation only, the view's number; -1 for padding.
"""

import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import cv2
import numpy as np

from vidmodels import config
from vidmodels.data import augment as augmenting
from vidmodels.data.records import record_share
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.sampling import rules
from vidmodels.data.sampling import views as viewing
from vidmodels.typing import InputError

Batch = dict[str, np.ndarray]
Row = dict[str, Any]  # one row of a batch
# Philox keys are (seed, purpose): two purposes never share a number.
_ORDER, _AUGMENT = 0, 1  # 2 is in `record_share`
_CLASSES, _WITHIN = 3, 4
_LOCK = threading.Lock()


class Batches(Iterator[Batch]):
  """An iterator over batches that threads make ahead.

  Close it, leave its `with` block, drop it or run it to the end, and the
  threads finish their current clip and end. An error of a thread reaches the
  caller as it was raised, in the place of its batch, and closes the stream.
  """

  def __init__(
    self,
    make_row: Callable[[int, int], Row],
    *,
    rows: Sequence[int],
    steps: range,
    data: config.Data,
  ):
    # make_row: (step, row of the global batch) -> that row
    import grain  # here, since it brings JAX along

    def row_at(position: int) -> Row:
      step, j = divmod(position, len(rows))
      return make_row(step, rows[j])

    # OpenCV's own threads would compete with those that decode whole clips.
    cv2.setNumThreads(1)
    self.batches = len(steps)  # in all; the same for every process
    self._closed = False
    options = grain.ReadOptions(
      num_threads=data.threads,
      prefetch_buffer_size=max(data.threads, data.prefetch * len(rows)),
    )
    positions = grain.MapDataset.range(steps.stop * len(rows)).map(row_at)
    self._iterator = iter(
      positions[steps.start * len(rows) :]
      .to_iter_dataset(options)
      # Grain's own batch of a single row would be a view of that row.
      .batch(
        len(rows),
        batch_fn=lambda clips: {
          key: np.stack([row[key] for row in clips]) for key in clips[0]
        },
      )
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
  clip_shift: int = 0,
) -> Batches:
  """The training stream: batches for steps start_step, ..., steps - 1.

  `batch` counts the clips of a step over all processes. `rows` are those of the
  global batch that this process feeds, in any order; other processes may feed
  the same ones. Steps before `start_step` are not replayed; `steps` is the
  length of the whole run. `clip_shift` is added to the number of each clip, so
  that a fork's order can go on with another batch. `data` gives threads,
  batches made ahead and the mean of what is erased.

  Raises:
    InputError: at once if the crop does not fit, a name is unknown or the data
      set forbids the flips; later, naming shard and offset, for a bad record.
    ValueError: if rows or steps are out of range.
  """
  manifest = records.manifest
  if not manifest.labelled:
    raise InputError(
      f'got split {manifest.split!r} of {records.dir}, which has no labels; '
      'expected a labelled one to train on; try another data.train'
    )
  rule = rules.find(clip.sampling)
  augmenting.check(augment, clip.size)
  augmenter = augmenting.ClipAugmenter(augment, size=clip.size, data=data)
  mirror_K = augmenting.mirror_labels(augment, manifest.flip, records.classes)
  if not 0 <= start_step <= steps:
    raise ValueError(f'got {start_step=}; expected one from 0 to {steps}')
  order = order_of(records, batch, seed, augment=augment, data=data)
  task, classes = manifest.task, len(records.classes)

  def train_row(step: int, row: int) -> Row:
    g = clip_shift + step * batch + row
    index, rng = order.example(g), order.rng(g)
    record = records.record(index)
    try:
      label_x = task.row(record.labels, classes)
      index_T = rule.train(record.timestamps_us, clip, rng)
      video_THWC, drawn = augmenter(record.frames, index_T, rng)
      if drawn.crop.flip:
        label_x = task.row([mirror_K[k] for k in record.labels], classes)
    except InputError as e:
      raise _name_record(e, records, index) from e
    return {
      'video': video_THWC,
      'label': label_x,
      'mask': np.float32(1),
      'index': np.int32(index),
    }

  return Batches(
    train_row,
    rows=_check_rows(rows, batch),
    steps=range(start_step, steps),
    data=data,
  )


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
  views in order (see `sampling/views.py`). Padding fills the last one, so that
  every process gets equally many; the masks of all rows sum to records times
  views. Labels that are not published are blank. Raises as `train_batches`;
  also at once if the rule has fewer views.
  """
  size = viewing.crop_size(views, clip.size)
  viewing.short_side(views, size)
  rules.check_views(clip, views.temporal)
  manifest, count = records.manifest, viewing.count(views)
  task, classes = manifest.task, len(records.classes)

  def eval_row(step: int, row: int) -> Row:
    index, view = divmod(step * views.batch + row, count)
    if index >= len(records):
      return {
        'video': np.zeros((clip.frames, size, size, 3), np.uint8),
        'label': task.blank(classes),
        'mask': np.float32(0),
        'index': np.int32(-1),
        'view': np.int32(-1),
      }
    record = records.record(index)
    temporal, spatial = viewing.split(view, views)
    choose_crop = functools.partial(
      viewing.view_crop, size=size, view=spatial, views=views
    )
    try:
      label_x = task.blank(classes)
      if manifest.labelled:
        label_x = task.row(record.labels, classes)
      index_T = rules.view_indices(
        record.timestamps_us, clip, temporal, views.temporal
      )
      video_THWC = augmenting.cut_clip(
        record.frames, index_T, choose_crop, size
      )
    except InputError as e:
      raise _name_record(e, records, index) from e
    return {
      'video': video_THWC,
      'label': label_x,
      'mask': np.float32(1),
      'index': np.int32(index),
      'view': np.int32(view),
    }

  return Batches(
    eval_row,
    rows=_check_rows(rows, views.batch),
    steps=range(-(-len(records) * count // views.batch)),  # rounded up
    data=data,
  )


def _check_rows(rows: Sequence[int], batch: int) -> list[int]:
  rows = [int(row) for row in rows]
  if not rows or not all(0 <= row < batch for row in rows):
    raise ValueError(
      f'got {rows=} of a batch of {batch}; expected at least one, from 0 to '
      f'{batch - 1}'
    )
  return rows


def _name_record(e: InputError, records: RecordSet, index: int) -> InputError:
  """The same error, with the place of the record it is about."""
  shard, offset = records.where(index)
  return InputError(f'{shard} at offset {offset}: {e}')


@dataclasses.dataclass(frozen=True)
class ExampleOrder:
  """Which example comes when, and with which randomness.

  With r repeats, epoch, i = divmod(g // r, n): r clips in a row show the same
  example, each with a generator of its own, and none of them is in the next
  batch. An epoch is then n * r clips: every example r times.

  With K groups, k, j = divmod(g // r, K): the jth group of a shuffle keyed by
  (seed, k) shows its kth example, in orders of its own that are shuffled anew
  each time it has shown all. So every K examples have one of each group.
  """

  examples: int  # how many there are, n
  batch: int  # clips of a step, over all processes
  seed: int  # 0 to 2**64 - 1; equal seeds give equal streams
  repeats: int = 1  # clips of an example in a row, r; must divide the batch
  # The examples of each class, if classes are to come equally often; else ().
  groups: tuple[np.ndarray, ...] = dataclasses.field(default=(), compare=False)

  def __post_init__(self):
    if min(self.examples, self.batch, self.repeats) < 1:
      raise ValueError(
        f'got {self}; expected at least 1 example, batch 1 and repeats 1'
      )
    if self.batch % self.repeats:
      raise ValueError(
        f'got repeats {self.repeats} of a batch of {self.batch}; expected a '
        'divisor'
      )
    if not 0 <= self.seed < 2**64:
      raise ValueError(f'got seed {self.seed}; expected 0 to 2**64 - 1')

  def example(self, g: int) -> int:
    """The example that clip `g` shows, 0 to n - 1."""
    if self.groups:
      turn, j = divmod(g // self.repeats, len(self.groups))
      with _LOCK:
        k = int(_class_order(self.seed, turn, len(self.groups), _CLASSES)[j])
        group = self.groups[k]
        epoch, i = divmod(turn, len(group))
        # Each group has orders of its own, 2**40 of them.
        number = (k << 40) + epoch
        order = _class_order(self.seed, number, len(group), _WITHIN)
      return int(group[order[i]])
    epoch, i = divmod(g // self.repeats, self.examples)
    with _LOCK:  # or every thread would shuffle a new epoch
      return int(permutation(self.seed, epoch, self.examples)[i])

  def rng(self, g: int) -> np.random.Generator:
    """A fresh generator for all that clip `g` draws."""
    return np.random.Generator(_philox(self.seed, _AUGMENT, g))


def order_of(
  records: RecordSet,
  batch: int,
  seed: int,
  *,
  augment: config.Augment,
  data: config.Data,
) -> ExampleOrder:
  """The order in which a recipe shows its training records."""
  groups: tuple[np.ndarray, ...] = ()
  if data.balance:
    groups = record_share.by_class(records, 'data.balance=True')
  return ExampleOrder(len(records), batch, seed, augment.repeats, groups)


@functools.lru_cache(maxsize=3)  # this epoch, the next, one of another run
def permutation(
  seed: int, number: int, size: int, purpose: int = _ORDER
) -> np.ndarray:
  """0 to size - 1 shuffled, [size], read-only: the order of epoch `number`.

  It sorts Philox's raw output: numpy keeps that the same in every version,
  which it does not promise for `Generator.permutation`. (Two equal numbers
  among 10 million have a chance of 3e-6, and keep their order.)
  """
  raw = _philox(seed, purpose, number).random_raw(size)
  order = np.argsort(raw, kind='stable')
  order = order.astype(np.uint32 if size < 2**32 else np.int64)
  order.flags.writeable = False
  return order


# The same for single classes, of which a set has many.
_class_order = functools.lru_cache(maxsize=2048)(permutation.__wrapped__)


def _philox(seed: int, purpose: int, number: int) -> np.random.Philox:
  # The counter's top word is ours; the draws count in the 2**192 below it.
  return np.random.Philox(
    key=np.array([seed, purpose], np.uint64),
    counter=np.array([0, 0, 0, number], np.uint64),
  )
