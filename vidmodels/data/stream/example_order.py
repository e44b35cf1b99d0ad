"""Which example comes when, and with which randomness, from the step alone.

The stream of clips is numbered: row j of step s is clip g = s * batch + j.
Clip g shows example `permutation(seed, epoch)[i]` with epoch, i = divmod(g, n)
and draws its augmentation from a generator keyed by (seed, g). So nothing but
the step number is state, any process may make any row, and no epoch skips or
repeats an example, whether or not the batch divides n.

With r repeats, epoch, i = divmod(g // r, n): r clips in a row show the same
example, each with a generator of its own, and none of them stands in the next
batch. An epoch is then n * r clips: every example r times.
"""

import dataclasses
import functools
import threading

import numpy as np

# Philox keys are (seed, purpose): two purposes never share a number.
_ORDER, _AUGMENT = 0, 1
_LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True)
class ExampleOrder:
  """The whole training stream, as a function of the clip's number.

  Attributes:
    examples: how many there are, n.
    batch: clips of a step, over all processes.
    seed: 0 to 2**64 - 1; equal seeds give equal streams.
    repeats: clips of an example in a row, r; must divide the batch.

  Raises:
    ValueError: if a number is not positive, the seed no uint64 or the batch no
      multiple of the repeats.
  """

  examples: int
  batch: int
  seed: int
  repeats: int = 1

  def __post_init__(self):
    if min(self.examples, self.batch, self.repeats) < 1:
      raise ValueError(
        f'{self} is empty; give at least 1 example, batch 1 and repeats 1'
      )
    if self.batch % self.repeats:
      raise ValueError(
        f'repeats {self.repeats} of a batch of {self.batch}; give a divisor'
      )
    if not 0 <= self.seed < 2**64:
      raise ValueError(f'seed {self.seed}; give one from 0 to 2**64 - 1')

  def number(self, step: int, row: int) -> int:
    """The clip's number g of a row (0 to batch - 1) of the global batch."""
    return step * self.batch + row

  def example(self, g: int) -> int:
    """The example that clip `g` shows, 0 to n - 1."""
    epoch, i = divmod(g // self.repeats, self.examples)
    with _LOCK:  # or every thread would shuffle the new epoch for itself
      return int(permutation(self.seed, epoch, self.examples)[i])

  def rng(self, g: int) -> np.random.Generator:
    """A fresh generator for everything that clip `g` draws."""
    return np.random.Generator(_philox(self.seed, _AUGMENT, g))


@functools.lru_cache(maxsize=3)  # this epoch, the next, one of another run
def permutation(seed: int, epoch: int, examples: int) -> np.ndarray:
  """The order of an epoch: 0 to examples - 1 shuffled, [examples], read-only.

  It sorts Philox's raw output: numpy keeps that the same in every version,
  which it does not promise of `Generator.permutation`. (Two equal numbers among
  10 million have a chance of 3e-6, and keep their order.)
  """
  raw = _philox(seed, _ORDER, epoch).random_raw(examples)
  order = np.argsort(raw, kind='stable')
  order = order.astype(np.uint32 if examples < 2**32 else np.int64)
  order.flags.writeable = False
  return order


def _philox(seed: int, purpose: int, number: int) -> np.random.Philox:
  # The counter's top word is ours; the draws count in the 2**192 below it.
  return np.random.Philox(
    key=np.array([seed, purpose], np.uint64),
    counter=np.array([0, 0, 0, number], np.uint64),
  )
