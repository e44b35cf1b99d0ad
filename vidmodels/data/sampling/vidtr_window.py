"""'vidtr': training and tests take different frames of a window of T * stride.

As released with VidTr, 64 frames on Kinetics. With L = T * stride, training
draws an end from L to n - 1 and takes the floors of T points spread evenly from
end - L to end, the last one held at end - 1: 64 / 7 = 9.1 apart for T = 8. View
v of V starts at floor(v * (n - L + 1) / V) and takes every stride-th frame: 8
apart. Views differ if n - L + 1 is at least V.

Odd: the two spacings above. Training never sees a video's last frame. The first
view is the video's beginning; the last one stops before its end.

Short videos: in training (n <= L) the frames are floor(n / stride) points from
0 to n, and then the last frame again; with n below the stride that is the last
frame alone. In tests (n < L) all views start at 0 and repeat the last frame
that the stride reaches, which need not be the video's last.
"""

import numpy as np
from numpy.random import Generator

from vidmodels.config import Clip
from vidmodels.data.sampling import clock

NAME = 'vidtr'
READS = ('stride',)
SHORT = 'clamp'
check = clock.whole_stride  # refuses fractions


def train(times_n: np.ndarray, clip: Clip, rng: Generator) -> np.ndarray:
  """Draws the end of a window."""
  T, stride, n = clip.frames, clock.whole_stride(clip), len(times_n)
  length = T * stride
  if n > length:
    end = int(rng.integers(length, n))
    at_T = np.minimum(np.linspace(end - length, end, T), end - 1)
  else:
    reached = np.linspace(0, n, n // stride)
    at_T = np.minimum(np.append(reached, [n] * (T - len(reached))), n - 1)
  return at_T.astype(np.int64)


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view` of `views`."""
  T, stride, n = clip.frames, clock.whole_stride(clip), len(times_n)
  start = int(view * (max(n - T * stride + 1, 0) / views))
  steps_T = np.arange(T, dtype=np.int64)
  return start + stride * np.minimum(steps_T, (n - 1 - start) // stride)
