"""'dmvr': DMVR's three rules, which train scenic's video models.

Random, in training: a start from 0 to n - (T - 1) * stride - 1, or 0. Middle,
for one test view: max(0, (n - T * stride) // 2). Linspace, for V views: the
whole parts of V points spread evenly from 0 to max(0, n - T * stride). Frames
are start + k * stride, always modulo n.

Odd: training counts (T - 1) * stride + 1 frames a clip and tests T * stride, so
that the middle is stride / 2 early and the last view ends stride - 1 frames
early. Points are computed in single precision and truncated, not rounded: of 15
views of 126 frames at 32 x 2 the eighth starts at 30, where the exact value is
62 / 14 * 7 = 31. Views differ if n - T * stride is at least V - 1.

A short video has one start, frame 0, and loops.
"""

import numpy as np
from numpy.random import Generator

from vidmodels.config import Clip
from vidmodels.data.sampling import clock

READS = ('stride',)
SHORT = 'loop'
check = clock.whole_stride  # refuses fractions


def train(times_n: np.ndarray, clip: Clip, rng: Generator) -> np.ndarray:
  """Draws a start; every start at which the clip fits is equally likely."""
  span = (clip.frames - 1) * clock.whole_stride(clip)
  n = len(times_n)
  return clock.looped_frames(n, clip, int(rng.integers(max(n - span, 1))))


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view` of `views`."""
  n = len(times_n)
  last = max(0, n - clip.frames * clock.whole_stride(clip))
  if views == 1:
    start = last // 2
  elif view == views - 1:
    start = last  # the product below may fall short of it
  else:
    step = np.float32(last) / np.float32(views - 1)
    start = int(step * np.float32(view))
  return clock.looped_frames(n, clip, start)
