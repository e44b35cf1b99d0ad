"""A sampling rule that is not ours, as the one file that a stranger writes."""

import pathlib

RULE = '''
"""'backwards': T frames at a stride, the last one first."""

import numpy as np

from vidmodels.typing import InputError

READS = ('stride',)
SHORT = 'clamp'
MOST_VIEWS = 2  # from the end, and from the middle


def check(clip):
  if clip.stride > 4:
    raise InputError(f'got clip.stride={clip.stride}; expected 4 at most')


def train(times_n, clip, rng):
  return _frames(clip, int(rng.integers(len(times_n))))


def view(times_n, clip, view, views):
  last = len(times_n) - 1
  return _frames(clip, last // 2 if view else last)


def _frames(clip, start):
  steps_T = (np.arange(clip.frames) * clip.stride).astype(np.int64)
  return np.maximum(start - steps_T, 0)
'''
# One whose author forgot that `pace` is no field of a clip.
MISTAKEN = "READS, SHORT = ('pace',), 'clamp'\n"


def add(folder: pathlib.Path, monkeypatch) -> None:
  """Puts the rules beside ours."""
  from vidmodels.data import sampling

  (folder / 'backwards.py').write_text(RULE)
  (folder / 'mistaken.py').write_text(MISTAKEN)
  (folder / 'helper.py').write_text('x = 1\n')  # defines no READS
  paths = [*sampling.__path__, str(folder)]
  monkeypatch.setattr(sampling, '__path__', paths)
