"""Which frames of a video make a clip: index arithmetic, no pixels.

A video has n frames with a time stamp each; a clip takes T of them, by the rule
that `clip.sampling` names. The rules are in this folder, one a file, each with
what the release that it comes from does, oddities included.
"""

import types

import numpy as np

from vidmodels import config
from vidmodels.data.sampling import (
  dense,
  dmvr,
  mmaction,
  mmaction_segment,
  pyslowfast,
  pyslowfast_segment,
  segment,
  uniform,
  vidtr,
)
from vidmodels.fields import refuse_unread
from vidmodels.typing import InputError, unknown_name

SAMPLERS: dict[str, types.ModuleType] = {
  'dense': dense,
  'segment': segment,
  'pyslowfast': pyslowfast,
  'pyslowfast_segment': pyslowfast_segment,
  'mmaction': mmaction,
  'mmaction_segment': mmaction_segment,
  'vidtr': vidtr,
  'dmvr': dmvr,
  'uniform': uniform,
}
# The fields of `clip` that each rule reads besides `frames`.
READS = {
  'dense': ('stride', 'unit', 'short'),
  'segment': (),
  'pyslowfast': ('stride', 'fps'),
  'pyslowfast_segment': (),
  'mmaction': ('stride',),
  'mmaction_segment': ('stride',),
  'vidtr': ('stride',),
  'dmvr': ('stride',),
  'uniform': ('stride', 'fps'),
}
# Rules whose stride counts whole frames.
WHOLE_STRIDES = ('mmaction', 'mmaction_segment', 'vidtr', 'dmvr')
# Rules that have only so many views over time.
MOST_VIEWS = {'pyslowfast_segment': 3}


def check(clip: config.Clip, views: int) -> None:
  """Refuses an unknown rule, what it cannot do and fields it does not read.

  Args:
    clip: the section of the recipe.
    views: its `views.temporal`.

  Raises:
    InputError: names the field, its value and what was expected.
  """
  if clip.sampling not in SAMPLERS:
    raise InputError(unknown_name('clip.sampling', clip.sampling, SAMPLERS))
  if clip.sampling in WHOLE_STRIDES and clip.stride != int(clip.stride):
    raise InputError(
      f'got clip.stride={clip.stride} with clip.sampling={clip.sampling}; '
      'expected whole frames; round it, or try clip.sampling=dense'
    )
  check_views(clip, views)
  for field in ('stride', 'unit', 'fps', 'short'):
    rules = [rule for rule, fields in READS.items() if field in fields]
    if clip.sampling not in rules:
      refuse_unread(clip, field, f'clip.sampling={" or ".join(rules)}')


def train_indices(
  timestamps_us: np.ndarray, clip: config.Clip, rng: np.random.Generator
) -> np.ndarray:
  """Draws the frames of a training clip.

  Args:
    timestamps_us: when each frame is shown, microseconds, [n], never falling;
      its values matter only to a recipe that is `by_time`.
    clip: the sampling rule.
    rng: where the draw comes from.

  Returns:
    Frame numbers, int64 [T], each from 0 to n - 1.

  Raises:
    InputError: if there is no frame, or time is asked of a video whose stamps
      are unknown, fall or all agree.
  """
  times_n = _checked(timestamps_us)
  return SAMPLERS[clip.sampling].train(times_n, clip, rng)


def view_indices(
  timestamps_us: np.ndarray, clip: config.Clip, view: int, views: int
) -> np.ndarray:
  """The frames of test view `view` (from 0) of `views`; nothing is drawn.

  Where views lie, and of how long a video they differ, its rule's file says.

  Args:
    timestamps_us: as for `train_indices`.
    clip: the sampling rule.
    view: which view, 0 to views - 1.
    views: how many views over time.

  Returns:
    Frame numbers, int64 [T], each from 0 to n - 1.

  Raises:
    InputError: as `train_indices`; and if the rule has fewer views.
    ValueError: if there is no such view.
  """
  if not 0 <= view < views:
    raise ValueError(f'{view=} of {views}; give one from 0 to {views - 1}')
  check_views(clip, views)
  return SAMPLERS[clip.sampling].view(
    _checked(timestamps_us), clip, view, views
  )


def check_views(clip: config.Clip, views: int) -> None:
  """Raises InputError if the rule has fewer than `views` views over time."""
  most = MOST_VIEWS.get(clip.sampling, views)
  if views > most:
    raise InputError(
      f'got views.temporal={views} with clip.sampling={clip.sampling}, which '
      f'has {most} views over time; expected at most {most}; try '
      'clip.sampling=segment'
    )


def by_time(clip: config.Clip) -> bool:
  """Whether a clip is as long in seconds at any frame rate.

  If not, its stride counts the frames that records happen to hold, and splits
  prepared at different rates do not go together.
  """
  return clip.unit == 'second' or clip.fps > 0


def _checked(timestamps_us: np.ndarray) -> np.ndarray:
  times_n = np.asarray(timestamps_us, np.int64)
  if not len(times_n):
    raise InputError(
      'a video of 0 frames came; wanted at least 1; leave it out'
    )
  return times_n
