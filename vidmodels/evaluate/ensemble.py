"""Several models' answers as one: the mean of their probabilities.

Models may have views and preprocessing of their own; what they must share are
classes, labels and videos. Videos are matched by name, not by place.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vidmodels.evaluate.averaging import Answers
from vidmodels.typing import InputError


def combine(
  members: Sequence[Answers], files: Sequence[str], shares: Sequence[float] = ()
) -> Answers:
  """sum_i s_i p_i / sum_i s_i, in the order of the first member's videos.

  Args:
    members: two or more.
    files: what to call each in errors.
    shares: s_i of each, above 0; equal if none is given.

  Raises:
    InputError: if a member has other classes, labels or videos than the first,
      or a number of shares came that is not that of the members.
  """
  shares = tuple(shares) or (1.0,) * len(members)
  if len(shares) != len(members) or min(shares) <= 0:
    raise InputError(
      f'shares {", ".join(f"{s:g}" for s in shares)} came for '
      f'{len(members)} models; wanted one above 0 for each'
    )
  first, total = members[0], 0.0
  for member, file, share in zip(members, files, shares, strict=True):
    order = _order(first, member, files[0], file)
    total = total + share * member.probabilities()[order]
  about = dataclasses.replace(first.about, average='probs')
  return dataclasses.replace(
    first, score_RK=total / sum(shares), logits=False, about=about
  )


def name(members: Sequence[Answers]) -> str:
  """What an ensemble's numbers are called, e.g. 'test_10x3+4x3'."""
  views = '+'.join(member.about.views for member in members)
  return f'{members[0].about.split}_{views}'


def _order(
  first: Answers, member: Answers, first_file: str, file: str
) -> np.ndarray:
  """Where the first's videos are in a member; refuses what differs."""
  ours, theirs = first.about, member.about
  different = ours.classes.first_difference(theirs.classes)
  if different or ours.task != theirs.task:
    raise InputError(
      f'{first_file} ("here") and {file} disagree about classes: '
      f'{different or f"{ours.task} here and {theirs.task} there"}; wanted '
      'models of one class list'
    )
  where = _places(member, file)
  _places(first, first_file)
  lacks = [video for video in first.videos if video not in where]
  known = set(first.videos)
  more = [video for video in member.videos if video not in known]
  if lacks or more:
    raise InputError(
      f'{file} lacks {len(lacks)} and has {len(more)} other than the '
      f'{len(first.videos)} videos of {first_file}, as {(lacks or more)[0]!r}; '
      'wanted the same videos; evaluate both on the same records'
    )
  order = np.array([where[video] for video in first.videos])
  theirs_Rx = member.label_Rx[order]
  differ = theirs_Rx != first.label_Rx
  wrong = np.flatnonzero(differ.reshape(len(order), -1).any(1))
  if ours.labelled != theirs.labelled or len(wrong):
    at = first.videos[wrong[0]] if len(wrong) else 'all, which one has not'
    raise InputError(
      f'{first_file} and {file} disagree about the labels of {len(wrong)} '
      f'videos, as {at!r}; wanted one labelling; evaluate both on the same '
      'records'
    )
  return order


def _places(member: Answers, file: str) -> dict[str, int]:
  where = {video: i for i, video in enumerate(member.videos)}
  if len(where) < len(member.videos):
    twice = next(
      video for i, video in enumerate(member.videos) if where[video] != i
    )
    raise InputError(
      f'{file} has video {twice!r} more than once; wanted names of their own '
      'to match videos by'
    )
  return where
