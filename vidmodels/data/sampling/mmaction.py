"""'mmaction': T frames at a stride, past the end from the beginning again.

As released with DualFormer; also mmaction2's rule for I3D and most others. With
L = T * stride, training draws a whole start from 0 to n - L, all equally
likely. View v of V starts at floor(v * a + a / 2) with a = (n - L + 1) / V: in
the middle of its part of the starts, so that with many starts neither the first
nor the last is taken. The frames are start + k * stride, modulo n. Views differ
if n - L + 1 is at least V.

Odd: a clip's last frame is start + L - stride, but L counts `stride` frames for
it. So the last stride - 1 frames of a video are never seen, and a video with
room for a clip but not for L frames counts as short.

A short video (n < L) has one start, frame 0, and loops: T = 4, stride 2, n = 5
gives 0 2 4 1.
"""

import numpy as np
from numpy.random import Generator

from vidmodels.config import Clip
from vidmodels.data.sampling import clock

READS = ('stride',)
SHORT = 'loop'
check = clock.whole_stride  # refuses fractions


def train(times_n: np.ndarray, clip: Clip, rng: Generator) -> np.ndarray:
  """Draws a start; every start with L frames after it is equally likely."""
  n = len(times_n)
  start = int(rng.integers(max(_free(n, clip), 1)))
  return clock.looped_frames(n, clip, start)


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view` of `views`."""
  n = len(times_n)
  part = max(_free(n, clip), 0) / views
  return clock.looped_frames(n, clip, int(view * part + part / 2))


def _free(n: int, clip: Clip) -> int:
  """How many starts have L frames after them."""
  return n - clip.frames * clock.whole_stride(clip) + 1
