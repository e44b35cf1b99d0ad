"""Intervals of metrics: percentiles over videos drawn with replacement.

  Bootstrap(draws=1000).intervals(prepare_metrics(scores), len(scores.videos))

The videos of the split are drawn with replacement, as many as there are, a
thousand times, and every metric is taken of each draw: the interval holds the
middle 95 %. It describes the choice of videos; it does not include that a
second training run would give other weights.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from vidmodels.evaluate.metrics import Metric

# Counts held at once, 8 bytes each: all draws of 8,000 videos.
_BLOCK = 2**23


@dataclasses.dataclass(frozen=True)
class Bootstrap:
  """How intervals are drawn; reports contain it."""

  draws: int = 1000  # draws of the whole split
  level: float = 0.95  # the share of the draws within an interval
  seed: int = 0  # of the draws

  def as_json(self) -> dict[str, Any]:
    """Returns a dict for JSON, which also says what was drawn."""
    return {**dataclasses.asdict(self), 'over': 'videos'}

  def intervals(
    self, metrics: Sequence[Metric], videos: int
  ) -> dict[str, tuple[float, float]]:
    """Returns (low, high) of every metric, all from the same draws.

    Draws without any video of a subset do not count for it. A metric that rises
    if videos occur twice (mean average precision) has its interval moved by the
    difference between the mean of the draws and its value.
    """
    rng = np.random.default_rng(self.seed)
    drawn: dict[str, list[np.ndarray]] = {m.name: [] for m in metrics}
    rows = max(1, _BLOCK // videos)
    for first in range(0, self.draws, rows):
      draws = range(first, min(first + rows, self.draws))
      counts = np.stack([_draw_counts(rng, videos) for _ in draws])
      for metric in metrics:
        drawn[metric.name].append(metric(counts))
    edges = 50 * (1 - self.level), 50 * (1 + self.level)
    intervals = {}
    for metric in metrics:
      values = np.concatenate(drawn[metric.name])
      low, high = np.nanpercentile(values, edges)
      if metric.rises:
        moved = np.nanmean(values) - metric(np.ones(videos))
        low, high = np.clip([low - moved, high - moved], 0, 1)
      intervals[metric.name] = (float(low), float(high))
    return intervals


def _draw_counts(rng: np.random.Generator, videos: int) -> np.ndarray:
  """How often each video is drawn, [R]; the counts add up to `videos`."""
  return np.bincount(rng.integers(videos, size=videos), minlength=videos)
