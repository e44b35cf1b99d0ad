"""Made-up videos as sampling rules see them: time stamps and fixed draws."""

import numpy as np

from vidmodels.config import Clip
from vidmodels.data.sampling import rules


def train_indices(times, clip, rng):
  """A training clip of the rule that it names, as the stream draws it."""
  return rules.find(clip.sampling).train(times, clip, rng)


def stamps(n, fps=30.0):
  return np.round(np.arange(n) * 1e6 / fps).astype(np.int64)


def views(n, clip, count, fps=30.0):
  times = stamps(n, fps)
  return [
    rules.view_indices(times, clip, k, count).tolist() for k in range(count)
  ]


def starts(n, clip, count):
  return [view[0] for view in views(n, clip, count)]


class Fixed:
  """A generator whose draws lie at a share of their range, and are told."""

  def __init__(self, share):
    self.share, self.ranges = share, []

  def uniform(self, low, high):
    self.ranges.append((low, high))
    return low + self.share * (high - low)

  def integers(self, low, high=None, size=None, endpoint=False):
    low, high = (0, low) if high is None else (low, high)
    low, last = np.asarray(low), np.asarray(high) - (not endpoint)
    self.ranges.append((low.tolist(), last.tolist()))
    value = low + np.round(self.share * (last - low)).astype(np.int64)
    return value if size is None else np.full(size, value)


def drawn(n, clip, share, fps=30.0):
  """The frames of a draw, and the ranges drawn from, both ends included."""
  rng = Fixed(share)
  index_T = train_indices(stamps(n, fps), clip, rng)
  return index_T.tolist(), rng.ranges


def pyslowfast(T, stride, fps=30.0, sampling='pyslowfast'):
  return Clip(frames=T, stride=stride, fps=fps, sampling=sampling)
