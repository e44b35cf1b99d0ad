"""Several models' answers as one: the mean of their probabilities.

Models may have views and preprocessing of their own; what they must share are
classes, labels and videos. Videos are matched by name, not by place.
"""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np

from vidmodels.evaluate.averaging import Answers
from vidmodels.evaluate.score_file import About
from vidmodels.typing import InputError


class Member(Protocol):
  """A model of several, with its scores or yet without."""

  @property
  def about(self) -> About:
    """What its scores are of."""

  @property
  def videos(self) -> tuple[str, ...]:
    """Name of each."""

  @property
  def inputs(self) -> tuple[pathlib.Path, ...]:
    """Files and folders that nothing may be written over."""

  def same_model(self, other: Self) -> bool:
    """Whether the other is this model again."""


def check(
  members: Sequence[Member], files: Sequence[str], shares: Sequence[float] = ()
) -> None:
  """Refuses models that cannot be one, before any has scored a video.

  Labels are only compared by `combine`.

  Args:
    members: one or more.
    files: what to call each in errors.
    shares: of each in the mean; none for equal ones.

  Raises:
    InputError: if a member has other classes or videos than the first, or
      shares are not one a member, finite and above 0.
  """
  said = ', '.join(f'{share:g}' for share in shares)
  if shares and len(members) == 1:
    raise InputError(
      f'shares {said} came for one model; wanted two or more models to mix'
    )
  # A sum that overflows would make all probabilities 0; NaN is above nothing.
  good = math.isfinite(sum(shares)) and all(share > 0 for share in shares)
  if shares and (len(shares) != len(members) or not good):
    raise InputError(
      f'shares {said} came for {len(members)} models; wanted one above 0 for '
      'each, with a finite sum'
    )
  for member, file in zip(members[1:], files[1:], strict=True):
    _same_classes(members[0], member, files[0], file)
    _same_videos(members[0], member, files[0], file)


def check_distinct(members: Sequence[Member], files: Sequence[str]) -> None:
  """Refuses a model that came twice: no ensemble, and its views count double.

  Args:
    members: that `check` let through.
    files: what to call each in errors.

  Raises:
    InputError: if two are of the same weights.
  """
  for (i, one), (j, other) in itertools.combinations(enumerate(members), 2):
    if one.same_model(other):
      raise InputError(
        f'{files[i]} and {files[j]} are of one model (the same recipe, step '
        f'{one.about.step}, {one.about.weights} and records); wanted each '
        'model once; leave one of them out, or, if they are two models after '
        'all, evaluate both with the same --views'
      )


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
  check(members, files, shares)
  shares = tuple(shares) or (1.0,) * len(members)
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


def _same_classes(
  first: Member, member: Member, first_file: str, file: str
) -> None:
  ours, theirs = first.about, member.about
  different = ours.classes.first_difference(theirs.classes)
  if different or ours.task != theirs.task:
    raise InputError(
      f'{first_file} ("here") and {file} disagree about classes: '
      f'{different or f"{ours.task} here and {theirs.task} there"}; wanted '
      'models of one class list'
    )
  if ours.labelled != theirs.labelled:
    raise InputError(
      f'{first_file} and {file} disagree about the labels: one split has them '
      'and the other has not; wanted one labelling; evaluate both on the same '
      'records'
    )


def _same_videos(
  first: Member, member: Member, first_file: str, file: str
) -> None:
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


def _order(
  first: Answers, member: Answers, first_file: str, file: str
) -> np.ndarray:
  """Where the first's videos are in a member; refuses other labels."""
  where = _places(member, file)
  order = np.array([where[video] for video in first.videos])
  theirs_Rx = member.label_Rx[order]
  differ = theirs_Rx != first.label_Rx
  wrong = np.flatnonzero(differ.reshape(len(order), -1).any(1))
  if len(wrong):
    raise InputError(
      f'{first_file} and {file} disagree about the labels of {len(wrong)} '
      f'videos, as {first.videos[wrong[0]]!r}; wanted one labelling; evaluate '
      'both on the same records'
    )
  return order


def _places(member: Member, file: str) -> dict[str, int]:
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
