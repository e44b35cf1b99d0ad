"""'pyslowfast_pyav': as 'pyslowfast', from the next whole frame on.

As released with TimeSformer (Kinetics, at 30 frames a second) and SlowFast,
which read with PyAV from a time stamp. The window of L frames and its start are
those of 'pyslowfast', and the start may lie between two frames. The reader
drops what comes before it, so that the first frame is the next whole one, and
the others count from there:

  ceil(start - .002) + floor(k * (L - 1) / (T - 1)), k = 0 .. T - 1

A frame at most later than 'pyslowfast', whose every frame is a floor of start
and step together. The two agree for a single test view, which starts at 0. The
.002 is a tick of a file's clock, which at 30 frames a second has 512 a frame: a
start is cut to whole ticks before it is compared. Training draws the first
frame from 0 to ceil(n - L), where 0 is rare: only a start of 0 gives it.

A video shorter than the window has one start, frame 0, and repeats its last
frame; all its views are the same. Views differ if n - L is at least K frames.

Odd: in AVI files with B-frames the release takes frames out of order; here they
are in order.
"""

import math

import numpy as np
from numpy.random import Generator

from vidmodels.config import Clip
from vidmodels.data.sampling import pyslowfast

READS = ('stride', 'fps')
SHORT = 'clamp'
TICK = 0.002  # frames


def train(times_n: np.ndarray, clip: Clip, rng: Generator) -> np.ndarray:
  """Draws a window that fits, and takes it from the next whole frame on."""
  return spread(times_n, clip, rng.uniform(0, _free(times_n, clip)))


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view` of `views`."""
  return spread(times_n, clip, _free(times_n, clip) * view / views)


def spread(times_n: np.ndarray, clip: Clip, start: float) -> np.ndarray:
  """T frames from the first one at `start` or later, int64 [T]."""
  first = math.ceil(start - TICK)
  steps_T = pyslowfast.spread(times_n, clip, 0.0)
  return np.minimum(first + steps_T, len(times_n) - 1)


def _free(times_n: np.ndarray, clip: Clip) -> float:
  """How far a window may start from the video's beginning, frames."""
  return max(len(times_n) - pyslowfast.window(times_n, clip), 0.0)
