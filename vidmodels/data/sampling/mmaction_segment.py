"""'mmaction_segment': T clips of one frame each, spread over the video.

As released with Video-FocalNets, with T = 8 and a stride of 4, on all its data
sets. Of n frames the last stride - 1 start no clip. Training cuts the others
into T parts of a whole length, floor((n - stride + 1) / T), from frame 0 on
(the rest at the end is lost), and draws a frame of each part. A single test
view takes floor(i * a + a / 2), a = (n - stride + 1) / T: the middles, as the
release's validation does.

The release's test has 4 views, which are draws of the training rule at a stride
of 1, whatever `clip.stride` says: parts of p = floor(n / T) frames, up to the
video's end. Its accuracy varies by .3 from run to run. Here several views are
the same every time: view v of V takes i * p + floor(p * (2 v + 1) / (2 V)), the
quantiles of each part, all of which the release may draw. Views differ if p is
at least V.

Odd: the stride has no other effect; with a stride of 4, training and a single
view never see the last three frames.

In a short video the parts have less than a frame. Training then takes T sorted
draws if n is above T and above the stride. Else it takes rounded steps of
(n - stride + 1) / T, modulo n: all numbers are 0 with fewer than `stride`
frames. So do several views with n < T, at their stride of 1: 4 frames give
0 0 1 2 2 2 3 0 and 7 give 0 1 2 3 4 4 5 6.
"""

import numpy as np
from numpy.random import Generator

from vidmodels.config import Clip
from vidmodels.data.sampling import clock

READS = ('stride',)
SHORT = 'repeat'
check = clock.whole_stride  # refuses fractions


def train(times_n: np.ndarray, clip: Clip, rng: Generator) -> np.ndarray:
  """Draws a frame of each part."""
  T, stride, n = clip.frames, clock.whole_stride(clip), len(times_n)
  starts = max(n - stride + 1, 0)
  part = starts // T
  if part:
    return np.arange(T) * part + rng.integers(part, size=T)
  if n > max(T, stride):
    return np.sort(rng.integers(starts, size=T))
  return _rounded(starts, T, n)


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view` of `views`."""
  T, stride, n = clip.frames, clock.whole_stride(clip), len(times_n)
  steps_T = np.arange(T)
  if views == 1:
    part = max(n - stride + 1, 0) / T
    return (steps_T * part + part / 2).astype(np.int64)
  whole = n // T
  if not whole:
    return _rounded(n, T, n)
  return steps_T * whole + whole * (2 * view + 1) // (2 * views)


def _rounded(starts: int, T: int, n: int) -> np.ndarray:
  """T rounded steps over the frames that may start a clip, modulo n."""
  return np.round(np.arange(T) * starts / T).astype(np.int64) % n
