"""Which clips are clearly shorter than they should be.

A download that broke off, or a stretch that its file does not reach, decodes
without an error. Such a clip is kept, counted and listed. It is one that lasts

- less than 80 % of the length that the annotations give, and at least a quarter
  of a second less: the length of a Kinetics clip, the end minus the start of a
  stretch, the length that a list gives for a file;
- if they give none, less than a fifth of the median of the split's clips of
  unknown length, where there are at least eight.
"""

from collections.abc import Sequence

import numpy as np

from vidmodels.data.listing.rows import VideoRow

RULE = 'under 80 % of the annotated length, or a fifth of the usual one'
_SHARE, _LACK_S = 0.8, 0.25
_USUAL_SHARE, _FEWEST = 0.2, 8

# A clip's name, how long it lasts and how long it should, seconds.
ShortClip = tuple[str, float, float]


def annotated_seconds(row: VideoRow) -> float | None:
  """How long a clip lasts according to its annotations; None if unknown."""
  if row.end_s is not None:
    return row.end_s - row.start_s
  return None if row.start_s else row.seconds


def find_short(
  clips: Sequence[tuple[str, float | None, float]],
) -> tuple[ShortClip, ...]:
  """The short ones of (name, annotated seconds or None, seconds), in order."""
  unknown = [lasts for _, annotated, lasts in clips if annotated is None]
  usual = float(np.median(unknown)) if len(unknown) >= _FEWEST else 0.0
  short = []
  for name, annotated, lasts in clips:
    if annotated is None:
      is_short, expected = lasts < _USUAL_SHARE * usual, usual
    else:
      is_short = lasts < min(_SHARE * annotated, annotated - _LACK_S)
      expected = annotated
    if is_short:
      short.append((name, round(lasts, 3), round(expected, 3)))
  return tuple(short)


def describe(clip: ShortClip) -> str:
  """'lasts 0.40 of 10.00 s'."""
  _, seconds, expected = clip
  return f'lasts {seconds:.2f} of {expected:.2f} s'
