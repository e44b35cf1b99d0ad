"""The rules that choose which frames of a video make a clip.

  index_T = rules.find('dense').train(times_n, clip, rng)  # drawn
  index_T = rules.view_indices(times_n, clip, view=0, views=3)  # for tests

A video has n frames with a time stamp each; a clip takes T of them by the rule
that `clip.sampling` names. A rule is index arithmetic and sees no pixels.

Every file of this folder that defines READS is a rule of the file's name;
nothing else has to know of it. It says who uses the rule and what is odd about
it, and defines

* READS: the fields of a recipe's `clip` that it reads, besides frames and size;
* SHORT: what a video with too few frames gives: its last frame again ('clamp'),
  the video from its beginning ('loop'), some frames several times, in order
  ('repeat'), or what the field `clip.short` says ('clip.short');
* train(times_n, clip, rng): frame numbers, int64 [T], drawn with rng;
* view(times_n, clip, view, views): the same for test view `view` of `views`,
  where nothing is drawn;
* MOST_VIEWS: how many views over time it has, if it has not any number;
* check(clip): raises InputError for values that it cannot use, if there are
  any.

`train` and `view` get at least one frame, which every record has, and a view
that exists. The times are microseconds, int64 [n], and never fall; a rule that
reads them refuses times that are unknown or all agree. They return T numbers
from 0 to n - 1 for every n.
"""

import dataclasses
import functools
import types

import numpy as np

from vidmodels.config import Clip
from vidmodels.fields import modules_with, refuse_unread
from vidmodels.typing import InputError, unknown_name

# The fields that a rule may read; each rule declares those that it does.
FIELDS = tuple(
  field.name
  for field in dataclasses.fields(Clip)
  if field.name not in ('frames', 'sampling', 'size')
)
SHORT = ('clamp', 'loop', 'repeat', 'clip.short')


def names() -> list[str]:
  """The names of all rules, sorted. Imports every rule."""
  return list(modules_with('data.sampling', 'READS'))


@functools.cache
def find(name: str) -> types.ModuleType:
  """The module of a rule; refuses a name that does not exist."""
  rules = modules_with('data.sampling', 'READS')
  if name not in rules:
    raise InputError(unknown_name('clip.sampling', name, rules))
  rule = rules[name]
  if not set(rule.READS) <= set(FIELDS):
    raise TypeError(f'{rule} has READS={rule.READS}; expected some of {FIELDS}')
  if rule.SHORT not in SHORT:
    raise TypeError(f'{rule} has SHORT={rule.SHORT!r}; expected one of {SHORT}')
  return rule


def check(clip: Clip, views: int) -> None:
  """Refuses an unknown rule, what it cannot do and fields it does not read."""
  rule = find(clip.sampling)
  if hasattr(rule, 'check'):
    rule.check(clip)
  check_views(clip, views)
  rules = modules_with('data.sampling', 'READS')
  for field in FIELDS:
    if field not in rule.READS:
      readers = [name for name, r in rules.items() if field in r.READS]
      refuse_unread(clip, field, f'clip.sampling={" or ".join(readers)}')


def check_views(clip: Clip, views: int) -> None:
  """Raises InputError if the rule has fewer than `views` views over time."""
  most = getattr(find(clip.sampling), 'MOST_VIEWS', views)
  if views > most:
    raise InputError(
      f'got views.temporal={views} with clip.sampling={clip.sampling}, which '
      f'has {most} views over time; expected at most {most}; try '
      'clip.sampling=segment'
    )


def view_indices(
  timestamps_us: np.ndarray, clip: Clip, view: int, views: int
) -> np.ndarray:
  """The frames of test view `view` (from 0) of `views`; nothing is drawn.

  Each rule's file says where its views lie, and how long a video must be for
  them to differ. More views than the rule has raise InputError.
  """
  if not 0 <= view < views:
    raise ValueError(
      f'got {view=} of {views} views; expected one from 0 to {views - 1}'
    )
  check_views(clip, views)
  times_n = np.asarray(timestamps_us, np.int64)
  if not len(times_n):
    raise InputError(
      'got a video of 0 frames; expected at least 1; try to prepare it again, '
      'or leave it out'
    )
  return find(clip.sampling).view(times_n, clip, view, views)


def by_time(clip: Clip) -> bool:
  """Whether a clip spans the same seconds at any frame rate.

  If not, its stride counts the frames that the records happen to hold, and
  splits that were prepared at different rates must not be mixed.
  """
  return clip.unit == 'second' or clip.fps > 0
