"""Checks of time stamps and strides that several sampling rules share."""

import numpy as np

from vidmodels.config import Clip
from vidmodels.typing import InputError

# Stored stamps are whole microseconds: two of them may each be off by half of
# one, and 2/3 of a second lies 0.33 us before its own stamp.
TOLERANCE_US = 1.01
# 0.29 * 100 is 28.999999999999996, and means frame 29.
TOLERANCE_FRAMES = 1e-6


def check_times(times_n: np.ndarray, field: str, instead: str) -> None:
  """Refuses stamps, in microseconds, that are unknown, fall or all agree.

  `field` is the setting that needs them, such as 'clip.unit=second', and
  `instead` is one that does not.
  """
  n = len(times_n)
  if times_n[0] < 0:
    raise InputError(
      f'got a record with no time stamps; expected them for {field}; set '
      f'{instead}, or prepare the videos again with `vidmodels prepare`'
    )
  if (np.diff(times_n) < 0).any() or (n > 1 and times_n[0] == times_n[-1]):
    raise InputError(
      f'got {n} time stamps from {times_n[0]} to {times_n[-1]} us, which do '
      f'not rise; expected rising ones for {field}; set {instead}'
    )


def frame_rate(times_n: np.ndarray, field: str, instead: str) -> float:
  """Frames a second, the mean if the rate varies; 1 for a single frame.

  The rate comes from the stamps and not from the file's header, so that
  prepared records, cuts of them and the files of `predict` agree. At a varying
  rate a whole clip spans the right time, but its frames are evenly spaced in
  number and not in time.
  """
  check_times(times_n, field, instead)
  if len(times_n) == 1:
    return 1.0
  return (len(times_n) - 1) * 1e6 / float(times_n[-1] - times_n[0])


def whole_stride(clip: Clip) -> int:
  """The stride of a rule that counts whole frames; refuses a fraction."""
  if clip.stride != int(clip.stride):
    raise InputError(
      f'got clip.stride={clip.stride} with clip.sampling={clip.sampling}; '
      'expected whole frames; round it, or try clip.sampling=dense'
    )
  return int(clip.stride)


def looped_frames(n: int, clip: Clip, start: int) -> np.ndarray:
  """The frames start + k * stride of a video of n that loops, int64 [T]."""
  steps_T = np.arange(clip.frames, dtype=np.int64) * whole_stride(clip)
  return (start + steps_T) % n
