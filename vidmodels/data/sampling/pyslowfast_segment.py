"""'pyslowfast_segment': one frame of each of T segments that share their ends.

As released with TimeSformer and X-ViT for Something-Something V2. Of n frames,
segment i runs from round(i * (n - 1) / T) to round((i + 1) * (n - 1) / T),
halves to the even number, both ends included: a segment's last frame is the
next one's first. Training draws a frame of each, independently, so that two in
a row may be the same frame. View 0 takes the middle, (first + last) // 2, view
1 each segment's first frame and view 2 its last.

Odd: X-ViT names these three views, TimeSformer only the first, which its
further "views" repeat; here a fourth is refused. The three differ if n is above
T + 1. It has no stride. A video of fewer than T frames repeats some, in
order.
"""

import numpy as np
from numpy.random import Generator

from vidmodels.config import Clip

READS = ()
SHORT = 'repeat'
MOST_VIEWS = 3  # the middle, the first and the last frame of each segment


def train(times_n: np.ndarray, clip: Clip, rng: Generator) -> np.ndarray:
  """Draws a frame of each segment, both ends included."""
  first_T, last_T = _segments(len(times_n), clip.frames)
  return rng.integers(first_T, last_T, endpoint=True)


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view`; they do not depend on `views`."""
  del views
  first_T, last_T = _segments(len(times_n), clip.frames)
  return ((first_T + last_T) // 2, first_T, last_T)[view]


def _segments(n: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
  """First and last frame of each of T segments."""
  size = (n - 1) / frames
  edges = np.round(size * np.arange(frames + 1)).astype(np.int64)
  return edges[:-1], edges[1:]
