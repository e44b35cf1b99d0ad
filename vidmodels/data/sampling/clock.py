"""What sampling rules ask of time stamps and of the stride."""

import numpy as np

from vidmodels import config
from vidmodels.typing import InputError

# Stored stamps are whole microseconds: two of them may each be half one off,
# and 2/3 of a second lies 0.33 us before its own stamp.
TOLERANCE_US = 1.01
# 0.29 * 100 is 28.999999999999996, and means frame 29.
TOLERANCE_FRAMES = 1e-6


def check(times_n: np.ndarray, field: str, instead: str) -> None:
  """Refuses stamps that do not tell when frames are shown.

  Args:
    times_n: of every frame, microseconds.
    field: what needs them, as 'clip.unit=second'.
    instead: what does not.

  Raises:
    InputError: if stamps are unknown, fall, or all agree.
  """
  n = len(times_n)
  if times_n[0] < 0:
    raise InputError(
      f'the record holds no time stamps; wanted them for {field}; set '
      f'{instead}, or prepare the videos again with `vidmodels prepare`'
    )
  if (np.diff(times_n) < 0).any() or (n > 1 and times_n[0] == times_n[-1]):
    raise InputError(
      f'the {n} time stamps run from {times_n[0]} to {times_n[-1]} us and do '
      f'not rise; wanted rising ones for {field}; set {instead}'
    )


def rate(times_n: np.ndarray, field: str, instead: str) -> float:
  """Frames a second, the mean if they vary; 1 for a single frame.

  It comes from the stamps and not from what a header says: prepared records,
  cuts of them, and files in `predict` then agree. A clip as a whole is as long
  as it should be at any rate; at a varying one its frames are evenly spaced in
  number and not in time.

  Raises:
    InputError: as `check`.
  """
  check(times_n, field, instead)
  if len(times_n) == 1:
    return 1.0
  return (len(times_n) - 1) * 1e6 / float(times_n[-1] - times_n[0])


def whole_stride(clip: config.Clip) -> int:
  """The stride of a rule that counts whole frames.

  Raises:
    InputError: if it has a fraction.
  """
  if clip.stride != int(clip.stride):
    raise InputError(
      f'clip.stride={clip.stride} came with clip.sampling={clip.sampling}, '
      'which counts whole frames; round it, or set clip.sampling=dense'
    )
  return int(clip.stride)
