"""'mmaction_segment': T clips of one frame each, spread over the video.

As released with Video-FocalNets, with T = 8 and a stride of 4, on all its data
sets. Of n frames the last stride - 1 start no clip. Training cuts the others
into T parts of a whole length, floor((n - stride + 1) / T), from frame 0 on
(the rest at the end is lost), and draws a frame of each part. A single test
view takes floor(i * a + a / 2), a = (n - stride + 1) / T: the middles, as the
release's validation does.

Odd: the stride has no other effect; with a stride of 4, the last three frames
are never seen. The release tests on 4 draws of its training rule, with a stride
of 1, and its accuracy varies by .3 from run to run. Here several views are the
same every time: view v of V takes floor(i * a + a * (2 v + 1) / (2 V)), the
quantiles of each part. Views differ if a is at least V.

In a short video the parts have less than a frame. Training then takes T sorted
draws if n is above T and above the stride; else rounded steps of a, modulo n,
which a stride of 1 needs: 4 frames give 0 0 1 2 2 2 3 0. With fewer than
`stride` frames all numbers are 0.
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
  return np.round(np.arange(T) * starts / T).astype(np.int64) % n


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view` of `views`."""
  starts = max(len(times_n) - clock.whole_stride(clip) + 1, 0)
  part = starts / clip.frames
  at_T = np.arange(clip.frames) * part + part * (2 * view + 1) / (2 * views)
  return at_T.astype(np.int64)
