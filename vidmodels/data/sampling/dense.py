"""'dense': T frames at a stride, views from the first to the last start.

Ours, and the default. The frames are start + k * stride, k = 0..T-1. A start is
a frame; it is valid if the whole clip fits after it. Training draws any valid
start, the last one included. Test starts lie evenly from the first valid one to
the last, rounded to the nearest, halves up; a single view starts in the middle.
Views differ if there are at least as many valid starts as views.

The stride counts frames or, with `clip.unit` 'second', time: then a frame is
the one on show at its moment, at any frame rate, also at a varying one. In
seconds a clip fits if its last moment is no later than the last frame's stamp:
how long that frame is shown is not recorded, so it does not count.

A video too short for any clip has one start, its first frame. `clip.short` says
what follows after the end: the last frame again ('clamp') or the video from its
beginning ('loop').
"""

import math

import numpy as np
from numpy.random import Generator

from vidmodels.config import Clip
from vidmodels.data.sampling import clock

READS = ('stride', 'unit', 'short')
SHORT = 'clip.short'


def train(times_n: np.ndarray, clip: Clip, rng: Generator) -> np.ndarray:
  """Draws a start; every valid one is equally likely."""
  return frames(times_n, clip, int(rng.integers(starts(times_n, clip))))


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view` of `views`."""
  last = starts(times_n, clip) - 1
  if views == 1:
    return frames(times_n, clip, last // 2)
  # round(view * last / (views - 1)) in whole numbers, halves upwards.
  start = (2 * view * last + views - 1) // (2 * (views - 1))
  return frames(times_n, clip, start)


def starts(times_n: np.ndarray, clip: Clip) -> int:
  """How many frames, from frame 0 on, may start a clip; at least 1."""
  span = (clip.frames - 1) * clip.stride
  if clip.unit == 'frame':
    return max(1, len(times_n) - math.floor(span + clock.TOLERANCE_FRAMES))
  clock.check_times(times_n, 'clip.unit=second', 'clip.unit=frame')
  latest = times_n[-1] - span * 1e6 + clock.TOLERANCE_US
  return max(1, int(np.searchsorted(times_n, latest, side='right')))


def frames(times_n: np.ndarray, clip: Clip, start: int) -> np.ndarray:
  """The T frames from frame `start` on, `clip.stride` apart, int64 [T].

  In frames: floor(start + k * stride). In seconds: the last frame whose stamp
  is no later than the start's plus k * stride.
  """
  n, steps_T = len(times_n), np.arange(clip.frames) * clip.stride
  if clip.unit == 'frame':
    offset_T = np.floor(steps_T + clock.TOLERANCE_FRAMES).astype(np.int64)
    index_T = start + offset_T
    return index_T % n if clip.short == 'loop' else np.minimum(index_T, n - 1)
  times_n = times_n - times_n[0]
  at_T = times_n[start] + steps_T * 1e6
  at_T += clock.TOLERANCE_US
  if clip.short == 'loop':
    if n == 1:
      return np.zeros(clip.frames, np.int64)
    # The last frame is taken to be shown for the mean time of the others.
    period = times_n[-1] * n / (n - 1)
    # Each round adds the period's own rounding.
    at_T += clock.TOLERANCE_US * (at_T // period)
    at_T %= period
  return np.searchsorted(times_n, at_T, side='right') - 1
