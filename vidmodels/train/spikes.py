"""Loss spikes: when one is, and which videos were in its batch.

  watch = SpikeWatch(times=4.0)
  if median := watch.add(loss): ...  # the loss is over 4 x the median

The videos of a step follow from its number, so that nothing is kept for them
while the run goes. `vidmodels train --replay-step` runs such a step again.
"""

import collections
import dataclasses
import math
import statistics
from typing import Any

from vidmodels import config as cfg
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.stream.batch_stream import order_of
from vidmodels.typing import quote

FILE = 'spikes.jsonl'
WINDOW = 100  # steps of the median
LEAST = 5  # steps that have a median
_NAMED = 8  # videos in a line; the file has all


class SpikeWatch:
  """The last losses of a run; finite ones alone."""

  def __init__(self, times: float, losses: list[float] | None = None) -> None:
    self._times = times  # a spike is over so many times the median; 0: none
    self.losses = collections.deque[float](losses or [], maxlen=WINDOW)

  def add(self, loss: float) -> float | None:
    """The median of the losses before, if this one is a spike; else None."""
    before = list(self.losses)
    if not math.isfinite(loss):
      return None
    self.losses.append(loss)
    if not self._times or len(before) < LEAST:
      return None
    median = statistics.median(before)
    return median if loss > self._times * median else None


@dataclasses.dataclass(frozen=True)
class StepClips:
  """Names the clips of any step of a run."""

  records: RecordSet
  config: cfg.Config
  clip_shift: int = 0  # as in `batch_stream.train_batches`

  def __call__(self, step: int) -> list[dict[str, Any]]:
    """The clips of the step that was logged as `step`, in the batch's order.

    A clip has its video's name, the record's number `example`, its own number
    `clip` in the run, and `seed`: what its generator is keyed by.
    """
    config, batch = self.config, self.config.batch
    order = order_of(
      self.records,
      batch,
      config.seed,
      augment=config.augment,
      data=config.data,
    )
    first = self.clip_shift + (step - 1) * batch  # step n uses batch n - 1
    clips = []
    for g in range(first, first + batch):
      example = order.example(g)
      clips.append(
        {
          'video': self.records.video(example),
          'example': example,
          'clip': g,
          'seed': [config.seed, g],
        }
      )
    return clips


def record(
  step: int, loss: float, median: float | None, clips: list[dict[str, Any]]
) -> dict[str, Any]:
  """A line of `spikes.jsonl`; the loss is None if it is no number."""
  return {
    'step': step,
    'loss': loss if math.isfinite(loss) else None,
    'median': median,
    'videos': [clip['video'] for clip in clips],
    'examples': [clip['example'] for clip in clips],
    'clips': [clip['clip'] for clip in clips],
    'seeds': [clip['seed'] for clip in clips],
  }


def some_names(clips: list[dict[str, Any]]) -> str:
  """The first videos of a batch, for a line."""
  names = [quote(clip['video']) for clip in clips[:_NAMED]]
  more = len(clips) - len(names)
  return ', '.join(names) + (f' and {more} more' if more else '')
