"""Intervals of metrics: what another choice of videos might have given.

  Bootstrap(draws=1000).intervals(prepare_metrics(scores), len(scores.videos))

A share of right videos has Wilson's interval, which is honest for few videos
too: 4 of 4 are 100 %, from 51 %. For every other metric the videos of the split
are drawn with replacement, as many as there are, a thousand times, and the
metric is taken of each draw: the interval holds the middle 95 %. Neither
includes that a second training run would give other weights.
"""

import dataclasses
import math
import statistics
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
    return {**dataclasses.asdict(self), 'over': 'videos', 'shares': 'Wilson'}

  def intervals(
    self, metrics: Sequence[Metric], videos: int
  ) -> dict[str, tuple[float, float]]:
    """Returns (low, high) of every metric; its value is within.

    All draws are the same ones. Draws without any video of a subset do not
    count for it. A metric that rises if videos occur twice (mean average
    precision) has its interval moved by the difference between the mean of the
    draws and its value.
    """
    rng = np.random.default_rng(self.seed)
    others = [metric for metric in metrics if metric.right_R is None]
    drawn: dict[str, list[np.ndarray]] = {m.name: [] for m in others}
    rows = max(1, _BLOCK // videos)
    for first in range(0, self.draws if others else 0, rows):
      draws = range(first, min(first + rows, self.draws))
      counts = np.stack([_draw_counts(rng, videos) for _ in draws])
      for metric in others:
        drawn[metric.name].append(metric(counts))
    edges = 50 * (1 - self.level), 50 * (1 + self.level)
    intervals = {}
    for metric in metrics:
      value = float(metric(np.ones(videos)))
      if metric.right_R is not None:
        counted = metric.members(videos).sum()
        low, high = wilson_interval(value, counted, self.level)
      else:
        values = np.concatenate(drawn[metric.name])
        low, high = np.nanpercentile(values, edges)
        if metric.rises:
          moved = np.nanmean(values) - value
          low, high = np.clip([low - moved, high - moved], 0, 1)
      intervals[metric.name] = (min(float(low), value), max(float(high), value))
    return intervals


def wilson_interval(
  share: float, videos: float, level: float
) -> tuple[float, float]:
  """Wilson's score interval of a share of so many videos, within 0 to 1."""
  z = statistics.NormalDist().inv_cdf((1 + level) / 2)
  middle = share + z**2 / (2 * videos)
  half = z * math.sqrt(share * (1 - share) / videos + z**2 / (4 * videos**2))
  scale = 1 + z**2 / videos
  return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def _draw_counts(rng: np.random.Generator, videos: int) -> np.ndarray:
  """How often each video is drawn, [R]; the counts add up to `videos`."""
  return np.bincount(rng.integers(videos, size=videos), minlength=videos)
