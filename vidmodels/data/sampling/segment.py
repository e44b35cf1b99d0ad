"""'segment': one frame of each of T equal segments, as TSN does.

Ours. Segment i of n frames runs from floor(i * n / T) to just before the next
one's start, so that lengths differ by one at most and every frame is in one.
Training draws a frame of each, independently, all equally likely. A test view
takes the (view + 0.5) / views quantile of each segment; a single view takes the
centre (of 4 frames the third). Views differ if n is at least T * views. It has
no stride. With n < T, segments share frames: segment i takes frame
floor(i * n / T).
"""

import numpy as np
from numpy.random import Generator

from vidmodels.config import Clip

READS = ()
SHORT = 'repeat'


def train(times_n: np.ndarray, clip: Clip, rng: Generator) -> np.ndarray:
  """Draws a frame of each segment."""
  first_T, length_T = _segments(len(times_n), clip.frames)
  return first_T + rng.integers(length_T)


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view` of `views`."""
  first_T, length_T = _segments(len(times_n), clip.frames)
  return first_T + length_T * (2 * view + 1) // (2 * views)


def _segments(n: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
  """First frame and length of each of T segments; every length is 1 or more."""
  edges = np.arange(frames + 1, dtype=np.int64) * n // frames
  return edges[:-1], np.maximum(1, np.diff(edges))
