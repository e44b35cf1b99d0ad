"""Says once that clips are longer than the videos that they are cut from.

  describe(records, config.clip)  # '' if no clip repeats a frame

A clip that is longer than its video repeats frames, as its sampling rule says:
of a ten-second video a clip of 96 frames at a rate of 1/32 has ten frames, and
the last of them 87 times. The loss falls all the same.
"""

import contextlib

import numpy as np

from vidmodels.config import Clip
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.sampling import rules
from vidmodels.typing import InputError

# Evenly spread over the split. A record of ten seconds is about 5 MB.
LOOKED_AT = 64


def describe(records: RecordSet, clip: Clip) -> str:
  """How many of the videos looked at repeat frames in a clip, on one line.

  A record that does not parse, or has no times for the rule, is left to the
  stream, whose error names it.
  """
  looked, found = 0, []
  for i in np.unique(
    np.linspace(0, len(records) - 1, LOOKED_AT).round().astype(int)
  ):
    with contextlib.suppress(InputError):
      times_n = records.record(int(i)).timestamps_us
      index_T = rules.view_indices(times_n, clip, 0, 1)
      looked += 1
      differ = len(np.unique(index_T))
      if differ < clip.frames or (np.diff(index_T) < 0).any():
        found.append((len(times_n), differ, times_n[-1] / 1e6))
  if not found:
    return ''
  frames, differ, seconds = sorted(found)[(len(found) - 1) // 2]
  lasts = f' ({seconds:.1f} s)' if seconds > 0 else ''
  what = f'{differ} of the {clip.frames} frames of its clip differ'
  if differ == clip.frames:
    what = 'its clip goes on from its beginning'
  every = '' if looked == len(records) else f' looked at (of {len(records)})'
  return (
    f'{len(found)} of {looked} videos{every} of {records.manifest.split} are '
    f'too short for a clip of {clip.frames} frames ({_spacing(clip)}): in the '
    f'median one, of {frames} frames{lasts}, {what}; try fewer clip.frames'
    f'{" or a smaller clip.stride" if _strides(clip) else ""}'
  )


def _strides(clip: Clip) -> bool:
  return 'stride' in rules.find(clip.sampling).READS


def _spacing(clip: Clip) -> str:
  """The rule and, if it has one, its stride."""
  if not _strides(clip):
    return clip.sampling
  text = f'{clip.sampling}, every {clip.stride:g} '
  text += 'seconds' if clip.unit == 'second' else 'frames'
  return text + (f' at {clip.fps:g} a second' if clip.fps else '')
