"""Which frames of a video make a clip: index arithmetic, no pixels.

A video has n frames with a time stamp each; a clip takes T of them.

Dense sampling takes the frames at start + k * stride, k = 0..T-1. A start is a
frame; it is valid if the whole clip fits after it. A video too short for any
clip has one start, its first frame, and `Clip.short` says what stands past the
end: the last frame again ('clamp') or the video from its beginning ('loop').

Segment sampling (TSN) cuts the n frames into T equal segments and takes one
frame of each. With n < T, segments share frames: segment i takes frame
floor(i * n / T). It has no stride, unit or short rule.
"""

from collections.abc import Callable

import numpy as np

from vidmodels import config
from vidmodels.typing import InputError

# Stored stamps are whole microseconds: start and frame may each be half one
# off, and 2/3 of a second lies 0.33 us before its own stamp.
TOLERANCE_US = 1.01
# 0.29 * 100 is 28.999999999999996, and means frame 29.
TOLERANCE_FRAMES = 1e-6


def train_indices(
  timestamps_us: np.ndarray, clip: config.Clip, rng: np.random.Generator
) -> np.ndarray:
  """Draws the frames of a training clip.

  Dense: every valid start is equally likely, the last one included. Segment:
  every frame of a segment is equally likely, each segment on its own.

  Args:
    timestamps_us: when each frame is shown, microseconds, [n], never falling;
      its values matter only if `clip.unit` is 'second'.
    clip: the sampling rule.
    rng: where the draw comes from.

  Returns:
    Frame numbers, int64 [T], each from 0 to n - 1.

  Raises:
    InputError: if there is no frame, or seconds are asked of a video whose
      time stamps are unknown, fall or all agree.
  """
  times = _checked(timestamps_us, clip)
  return _SAMPLERS[clip.sampling][0](times, clip, rng)


def view_indices(
  timestamps_us: np.ndarray, clip: config.Clip, view: int, views: int
) -> np.ndarray:
  """The frames of test view `view` (from 0) of `views`; nothing is drawn.

  Dense: the starts lie evenly from the first to the last valid start, rounded
  to the nearest; one view starts in the middle. Segment: a view takes the
  (view + 0.5) / views quantile of each segment; one view takes the centre (of
  4 frames the third). Views differ if the video has as many valid starts, or
  its segments as many frames, as there are views.

  Args:
    timestamps_us: as for `train_indices`.
    clip: the sampling rule.
    view: which view, 0 to views - 1.
    views: how many views over time.

  Returns:
    Frame numbers, int64 [T], each from 0 to n - 1.

  Raises:
    InputError: as `train_indices`.
    ValueError: if there is no such view.
  """
  if not 0 <= view < views:
    raise ValueError(f'{view=} of {views}; give one from 0 to {views - 1}')
  times = _checked(timestamps_us, clip)
  return _SAMPLERS[clip.sampling][1](times, clip, view, views)


def starts(timestamps_us: np.ndarray, clip: config.Clip) -> int:
  """How many frames, from frame 0 on, may start a dense clip; at least 1.

  In seconds a clip fits if its last moment is no later than the last frame's
  stamp: how long that frame is shown is not recorded, so it counts for nothing.
  """
  n = len(timestamps_us)
  if clip.unit == 'frame':
    return max(1, n - int(_offsets(clip)[-1]))
  span_us = (clip.frames - 1) * clip.stride * 1e6
  latest = timestamps_us[-1] - span_us + TOLERANCE_US
  return max(1, int(np.searchsorted(timestamps_us, latest, side='right')))


def dense(
  timestamps_us: np.ndarray, clip: config.Clip, start: int
) -> np.ndarray:
  """The T frames from frame `start` on, `clip.stride` apart, int64 [T].

  In frames: floor(start + k * stride). In seconds: the last frame whose stamp
  is no later than the start's plus k * stride, which is the frame on show then,
  at any and at varying frame rates.
  """
  n = len(timestamps_us)
  if clip.unit == 'second':
    return _dense_seconds(timestamps_us, clip, start)
  index_T = start + _offsets(clip)
  return index_T % n if clip.short == 'loop' else np.minimum(index_T, n - 1)


def _dense_seconds(
  timestamps_us: np.ndarray, clip: config.Clip, start: int
) -> np.ndarray:
  n = len(timestamps_us)
  times_n = timestamps_us - timestamps_us[0]
  at_T = times_n[start] + np.arange(clip.frames) * clip.stride * 1e6
  at_T += TOLERANCE_US
  if clip.short == 'loop':
    if n == 1:
      return np.zeros(clip.frames, np.int64)
    # The last frame is taken to be shown for the mean time of the others.
    period = times_n[-1] * n / (n - 1)
    # Each round adds the period's own rounding.
    at_T += TOLERANCE_US * (at_T // period)
    at_T %= period
  return np.searchsorted(times_n, at_T, side='right') - 1


def _offsets(clip: config.Clip) -> np.ndarray:
  steps_T = np.arange(clip.frames) * clip.stride
  return np.floor(steps_T + TOLERANCE_FRAMES).astype(np.int64)


def _dense_train(
  times: np.ndarray, clip: config.Clip, rng: np.random.Generator
) -> np.ndarray:
  return dense(times, clip, int(rng.integers(starts(times, clip))))


def _dense_view(
  times: np.ndarray, clip: config.Clip, view: int, views: int
) -> np.ndarray:
  last = starts(times, clip) - 1
  if views == 1:
    return dense(times, clip, last // 2)
  # round(view * last / (views - 1)) in whole numbers, halves upwards.
  start = (2 * view * last + views - 1) // (2 * (views - 1))
  return dense(times, clip, start)


def _segments(n: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
  """First frame and length of each of T segments; every length is 1 or more."""
  edges = np.arange(frames + 1, dtype=np.int64) * n // frames
  return edges[:-1], np.maximum(1, np.diff(edges))


def _segment_train(
  times: np.ndarray, clip: config.Clip, rng: np.random.Generator
) -> np.ndarray:
  first_T, length_T = _segments(len(times), clip.frames)
  return first_T + rng.integers(length_T)


def _segment_view(
  times: np.ndarray, clip: config.Clip, view: int, views: int
) -> np.ndarray:
  first_T, length_T = _segments(len(times), clip.frames)
  return first_T + length_T * (2 * view + 1) // (2 * views)


# A sampler is its training draw and its test views; `Clip.sampling` names it.
_SAMPLERS: dict[str, tuple[Callable[..., np.ndarray], ...]] = {
  'dense': (_dense_train, _dense_view),
  'segment': (_segment_train, _segment_view),
}


def _checked(timestamps_us: np.ndarray, clip: config.Clip) -> np.ndarray:
  times = np.asarray(timestamps_us, np.int64)
  n = len(times)
  if not n:
    raise InputError(
      'a video of 0 frames came; wanted at least 1; leave it out'
    )
  if clip.sampling == 'segment' or clip.unit == 'frame':
    return times
  if times[0] < 0:
    raise InputError(
      'the record holds no time stamps; wanted them for clip.unit=second; set '
      'clip.unit=frame, or prepare the videos again with `vidmodels prepare`'
    )
  if (np.diff(times) < 0).any() or (n > 1 and times[0] == times[-1]):
    raise InputError(
      f'the {n} time stamps run from {times[0]} to {times[-1]} us and do not '
      'rise; wanted rising ones for clip.unit=second; set clip.unit=frame'
    )
  return times
