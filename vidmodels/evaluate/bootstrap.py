"""How far a number might have been elsewhere: percentiles over drawn videos.

Videos of the split are drawn with replacement, as many as there are, a thousand
times, and every measure is taken of each draw: the interval holds the middle
95 %. It is about the choice of videos; that a second training run would give
other weights is not in it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from vidmodels.evaluate.measures import Measure

# Counts held at once, 8 bytes each: all draws of 8,000 videos.
_BLOCK = 2**23


@dataclasses.dataclass(frozen=True)
class Bootstrap:
  """How intervals are drawn; reports carry it.

  Attributes:
    draws: of the whole split.
    level: the share of the draws within an interval.
    seed: of the draws.
  """

  draws: int = 1000
  level: float = 0.95
  seed: int = 0

  def as_json(self) -> dict[str, Any]:
    """A dict for JSON, with what was drawn."""
    return {**dataclasses.asdict(self), 'over': 'videos'}

  def intervals(
    self, found: Sequence[Measure], videos: int
  ) -> dict[str, tuple[float, float]]:
    """(low, high) of every measure, from the same draws.

    Draws without any video of a subset do not count for it. A measure that
    rises where videos come twice (mean average precision) has its interval
    moved by the difference of the draws' mean and its value.
    """
    rng = np.random.default_rng(self.seed)
    drawn: dict[str, list[np.ndarray]] = {m.name: [] for m in found}
    rows = max(1, _BLOCK // videos)
    for first in range(0, self.draws, rows):
      draws = range(first, min(first + rows, self.draws))
      counts = np.stack([_count(rng, videos) for _ in draws])
      for measure in found:
        drawn[measure.name].append(measure(counts))
    edges = 50 * (1 - self.level), 50 * (1 + self.level)
    intervals = {}
    for measure in found:
      values = np.concatenate(drawn[measure.name])
      low, high = np.nanpercentile(values, edges)
      if measure.rises:
        moved = np.nanmean(values) - measure(np.ones(videos))
        low, high = np.clip([low - moved, high - moved], 0, 1)
      intervals[measure.name] = (float(low), float(high))
    return intervals


def _count(rng: np.random.Generator, videos: int) -> np.ndarray:
  """How often each video is drawn, [R]; adds up to their number."""
  return np.bincount(rng.integers(videos, size=videos), minlength=videos)
