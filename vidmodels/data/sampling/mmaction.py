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
  free = _free(len(times_n), clip)
  return _frames(len(times_n), clip, int(rng.integers(max(free, 1))))


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view` of `views`."""
  part = max(_free(len(times_n), clip), 0) / views
  return _frames(len(times_n), clip, int(view * part + part / 2))


def _free(n: int, clip: Clip) -> int:
  """How many starts have L frames after them."""
  return n - clip.frames * clock.whole_stride(clip) + 1


def _frames(n: int, clip: Clip, start: int) -> np.ndarray:
  steps_T = np.arange(clip.frames, dtype=np.int64) * clock.whole_stride(clip)
  return (start + steps_T) % n
