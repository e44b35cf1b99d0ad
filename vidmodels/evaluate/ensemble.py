"""Several models as one: the mean of their probabilities.

  scores = combine_members([a, b], ['a.npz', 'b.npz'], shares=(2, 1))

Models may have their own views and preprocessing. Classes, labels and videos
must be the same. Videos are matched by name, not by position.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from vidmodels.evaluate.averaging import VideoScores
from vidmodels.evaluate.score_file import ScoreInfo
from vidmodels.typing import InputError


class Described(Protocol):
  """Scores, or a plan to compute them."""

  @property
  def info(self) -> ScoreInfo:
    """Describes the scores."""

  @property
  def videos(self) -> tuple[str, ...]:
    """Name of each video."""


class Member(Described, Protocol):
  """A model of an ensemble, before or after it scores the videos."""

  def same_model(self, other: Any) -> bool:
    """Whether the other is the same model."""


def check_members(
  members: Sequence[Described],
  files: Sequence[str],
  shares: Sequence[float] = (),
) -> None:
  """Refuses models that cannot form an ensemble, before any scores a video.

  Labels are only compared by `combine_members`. `files` are the members' names
  in errors, `shares` their weights in the mean; () for equal weights.
  """
  text = ', '.join(f'{share:g}' for share in shares)
  if shares and len(members) == 1:
    raise InputError(
      f'got shares {text} for one model; expected two or more; leave shares out'
    )
  # A sum that overflows would make all probabilities 0; NaN is above nothing.
  valid = math.isfinite(sum(shares)) and all(share > 0 for share in shares)
  if shares and (len(shares) != len(members) or not valid):
    raise InputError(
      f'got shares {text} for {len(members)} models; expected one above 0 for '
      'each, with a finite sum'
    )
  for member, file in zip(members[1:], files[1:], strict=True):
    _check_pair(members[0], member, files[0], file)


def check_distinct_models(
  members: Sequence[Member], files: Sequence[str]
) -> None:
  """Refuses a model that is given twice: its views would count double."""
  for (i, one), (j, other) in itertools.combinations(enumerate(members), 2):
    if one.same_model(other):
      raise InputError(
        f'{files[i]} and {files[j]} are of one model (the same recipe, step '
        f'{one.info.step}, {one.info.weights} and records); expected each '
        'model once; leave one of them out, or, if they are two models after '
        'all, evaluate both with the same --views'
      )


def combine_members(
  members: Sequence[VideoScores],
  files: Sequence[str],
  shares: Sequence[float] = (),
) -> VideoScores:
  """sum_i s_i p_i / sum_i s_i, in the order of the first member's videos.

  `files` are the members' names in errors, `shares` are s_i; () for equal ones.
  """
  check_members(members, files, shares)
  shares = tuple(shares) or (1.0,) * len(members)
  first = members[0]
  total_RK = np.zeros(first.score_RK.shape)
  for member, file, share in zip(members, files, shares, strict=True):
    positions = _video_positions(member, file)
    order = np.array([positions[video] for video in first.videos])
    differ_Rx = member.label_Rx[order] != first.label_Rx
    wrong = np.flatnonzero(differ_Rx.reshape(len(order), -1).any(1))
    if len(wrong):
      raise InputError(
        f'{files[0]} and {file} disagree about the labels of {len(wrong)} '
        f'videos, as {first.videos[wrong[0]]!r}; expected one labelling; try '
        'evaluating both on the same records'
      )
    total_RK += share * member.probabilities()[order]
  return dataclasses.replace(
    first,
    score_RK=total_RK / sum(shares),
    logits=False,
    info=dataclasses.replace(first.info, average='probs'),
  )


def ensemble_name(members: Sequence[VideoScores]) -> str:
  """The name of an ensemble's numbers, e.g. 'test_10x3+4x3'."""
  views = '+'.join(member.info.views for member in members)
  return f'{members[0].info.split}_{views}'


def _check_pair(
  first: Described, member: Described, first_file: str, file: str
) -> None:
  ours, theirs = first.info, member.info
  different = ours.classes.first_difference(theirs.classes)
  if different or ours.task != theirs.task:
    raise InputError(
      f'{first_file} ("here") and {file} disagree about classes: '
      f'{different or f"{ours.task} here and {theirs.task} there"}; expected '
      'models of one class list'
    )
  if ours.labelled != theirs.labelled:
    raise InputError(
      f'{first_file} and {file} disagree about the labels: one split has them '
      'and the other has not; expected one labelling; try evaluating both on '
      'the same records'
    )
  positions = _video_positions(member, file)
  _video_positions(first, first_file)
  missing = [video for video in first.videos if video not in positions]
  known = set(first.videos)
  unknown = [video for video in member.videos if video not in known]
  if missing or unknown:
    raise InputError(
      f'{file} lacks {len(missing)} and has {len(unknown)} other than the '
      f'{len(first.videos)} videos of {first_file}, as '
      f'{(missing or unknown)[0]!r}; expected the same videos; try evaluating '
      'both on the same records'
    )


def _video_positions(member: Described, file: str) -> dict[str, int]:
  positions = {video: i for i, video in enumerate(member.videos)}
  for i, video in enumerate(member.videos):
    if positions[video] != i:
      raise InputError(
        f'{file} has video {video!r} more than once; expected unique names, '
        'since videos are matched by name'
      )
  return positions
