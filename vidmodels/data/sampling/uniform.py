"""'uniform': test clips that cover a long video and do not overlap.

For videos of minutes, such as HowTo100M's in TimeSformer's paper; no code for
it was released. A clip is a window of L frames as in 'pyslowfast', and training
draws it as there. View v of V starts at (n - L) * v / (V - 1), from the
beginning to the end of the video; a single view is the middle. So V clips cover
a video of up to V * L frames, and do not overlap in one of V * L frames or
more: there they lie evenly, with equal gaps. Views differ if n - L is at least
V - 1.

Odd: the paper takes as many clips as cover each video. Here all videos have the
same number, so the clips of a shorter video overlap, evenly, and a longer one
has gaps. Set `views.temporal` to what a video of usual length needs.

A video shorter than one window repeats its last frame; its views are the same.
"""

import numpy as np

from vidmodels.config import Clip
from vidmodels.data.sampling import pyslowfast

READS = ('stride', 'fps')
SHORT = 'clamp'

train = pyslowfast.train


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view` of `views`."""
  free = max(len(times_n) - pyslowfast.window(times_n, clip), 0.0)
  share = view / (views - 1) if views > 1 else 0.5
  return pyslowfast.spread(times_n, clip, free * share)
