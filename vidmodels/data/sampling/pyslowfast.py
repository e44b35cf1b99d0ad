"""'pyslowfast': T frames spread over a window, both its ends included.

As released with X-ViT (Kinetics, in the video's own frames). TimeSformer and
SlowFast have the same windows and count their frames otherwise: see
`pyslowfast_pyav.py`. The window is

  L = T * stride                            if clip.fps is 0
  L = T * stride * (video's fps) / clip.fps  else

source frames long; it need not be a whole number. The frames are the floors of
T points spread evenly from start to start + L - 1, so that with 8 x 32 they are
255 / 7 = 36.4 apart and not 32. Training draws the start evenly from 0 to
n - L, not rounded.

Odd: view k of K starts at (n - L) * k / K. So the first view starts at the
video's beginning, even a single view, where papers say the middle; and no view
reaches the video's end. Views differ if n - L is at least K frames. Points are
computed in single precision, from both ends, and truncated: where one is a
whole number, the frame may be the one before it. The third view of ten of a
video of 131 frames, 16 x 8, starts at 0.6 and takes frame 25, where the exact
value is 0.6 + 127 / 15 * 3 = 26. With a clip.fps they are computed exactly, as
the video's rate is not known as the release reads it.

A video shorter than the window has one start, frame 0, and repeats its last
frame; all its views are the same.
"""

import numpy as np
from numpy.random import Generator

from vidmodels.config import Clip
from vidmodels.data.sampling import clock

READS = ('stride', 'fps')
SHORT = 'clamp'


def train(times_n: np.ndarray, clip: Clip, rng: Generator) -> np.ndarray:
  """Draws a window that fits; its start may be a fraction of a frame."""
  length = window(times_n, clip)
  return spread(times_n, clip, rng.uniform(0, max(len(times_n) - length, 0.0)))


def view(times_n: np.ndarray, clip: Clip, view: int, views: int) -> np.ndarray:
  """The frames of test view `view` of `views`."""
  free = max(len(times_n) - window(times_n, clip), 0.0)
  return spread(times_n, clip, free * view / views)


def window(times_n: np.ndarray, clip: Clip) -> float:
  """How many source frames a clip spans, at least 1; may be a fraction."""
  length = clip.frames * clip.stride
  if clip.fps:
    field = f'clip.fps={clip.fps:g}'
    length *= clock.frame_rate(times_n, field, 'clip.fps=0') / clip.fps
  return max(length, 1.0)


def spread(times_n: np.ndarray, clip: Clip, start: float) -> np.ndarray:
  """T frames from `start` to the window's end, int64 [T]."""
  n, T = len(times_n), clip.frames
  last = start + window(times_n, clip) - 1
  if not clip.fps:
    at_T = _single_precision(start, last, T)
  else:
    at_T = np.linspace(start, last, T) + clock.TOLERANCE_FRAMES
    if n > 1:
      # The rate is as exact as the stamps: 300 frames at 30 fps last 9.966667
      # s, which makes a window of 256 frames 255.99999.
      at_T += clock.TOLERANCE_US * (n - 1) / (times_n[-1] - times_n[0])
  return np.clip(np.floor(at_T), 0, n - 1).astype(np.int64)


def _single_precision(start: float, last: float, frames: int) -> np.ndarray:
  """T points spread evenly as torch.linspace computes them, float32 [T]."""
  first, end = np.float32(start), np.float32(last)
  steps_T = np.arange(frames, dtype=np.float32)
  step = (end - first) / np.float32(max(frames - 1, 1))
  # A single point is the start.
  return np.where(
    steps_T < max(frames // 2, 1),
    first + step * steps_T,
    end - step * steps_T[::-1],
  )
