"""Intervals of metrics: what another choice of videos might have given.

  Bootstrap(draws=1000).intervals(prepare_metrics(scores), len(scores.videos))

A share of right videos has Wilson's interval, which is honest for few videos
too: 4 of 4 are 100 %, from 51 %. A mean of such shares (`mean_class`) has an
interval made of Wilson's of each share. For every other metric the videos of
the split are drawn with replacement, as many as there are, a thousand times,
and the metric is taken of each draw: the interval holds the middle 95 %. Draws
of a few videos say little, and draws that all agree say nothing: then there is
no interval. None of them includes that a second training run would give other
weights.
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
# Below so many videos, percentiles of draws are no interval: those of mean
# average precision, called 95 %, held the mean of other choices of videos 77 to
# 89 times in 100 with 20 videos, 92 to 97 times with 60.
FEWEST = 50

# (low, high); None where the videos are too few to give any.
Interval = tuple[float, float] | None


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
  ) -> dict[str, Interval]:
    """Returns (low, high) of every metric, or None; its value is within.

    All draws are the same ones. Draws without any video of a subset do not
    count for it. A metric that rises if videos occur twice (mean average
    precision) has its interval moved by the difference between the mean of the
    draws and its value.
    """
    intervals: dict[str, Interval] = {}
    enough = [
      metric
      for metric in metrics
      if metric.shares(videos) is None
      and (metric.members(videos) > 0).sum() >= FEWEST
    ]
    drawn = self._draw(enough, videos)
    for metric in metrics:
      value = float(metric(np.ones(videos)))
      shares = metric.shares(videos)
      interval: Interval
      if shares:
        interval = mean_interval(*shares, self.level)
      else:
        interval = self._percentiles(metric, value, drawn.get(metric.name))
      intervals[metric.name] = interval and (
        min(interval[0], value),
        max(interval[1], value),
      )
    return intervals

  def _draw(
    self, metrics: Sequence[Metric], videos: int
  ) -> dict[str, np.ndarray]:
    """Metric -> its value in each draw that has a video for it."""
    rng = np.random.default_rng(self.seed)
    drawn: dict[str, list[np.ndarray]] = {m.name: [] for m in metrics}
    rows = max(1, _BLOCK // videos)
    for first in range(0, self.draws if metrics else 0, rows):
      draws = range(first, min(first + rows, self.draws))
      counts = np.stack([_draw_counts(rng, videos) for _ in draws])
      for metric in metrics:
        drawn[metric.name].append(metric(counts))
    return {
      name: values[~np.isnan(values)]
      for name, blocks in drawn.items()
      for values in (np.concatenate(blocks),)
    }

  def _percentiles(
    self, metric: Metric, value: float, drawn: np.ndarray | None
  ) -> Interval:
    """The middle of what was drawn; None of nothing, or if all draws agree."""
    if drawn is None or not len(drawn) or np.ptp(drawn) < 1e-12:
      return None
    low, high = np.percentile(
      drawn, [50 * (1 - self.level), 50 * (1 + self.level)]
    )
    if metric.rises:
      moved = drawn.mean() - value
      low, high = np.clip([low - moved, high - moved], 0, 1)
    return float(low), float(high)


def mean_interval(
  shares: np.ndarray, counts: np.ndarray, level: float
) -> tuple[float, float]:
  """The interval of the mean of K shares, share k of n_k videos of its own.

  Wilson's for a share of K^2 / sum_k 1/n_k videos. So many videos have the
  variance of the mean if all classes are equally hard; if not, the mean varies
  less and the interval is on the safe side. Classes of one video are as
  uncertain as they are: two classes of two videos, all right, are 100 %, from
  51 %, as 4 of 4 are.
  """
  videos = len(counts) ** 2 / float((1 / counts).sum())
  return wilson_interval(float(np.mean(shares)), videos, level)


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
