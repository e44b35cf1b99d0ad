"""Colour jitter and grey: drawn once a clip, or the jitter for every frame."""

import numpy as np
from numpy.random import Generator

from vidmodels.config import Augment
from vidmodels.data.augment.ops import Op, apply
from vidmodels.typing import InputError

ORDER = 20
READS = {'jitter': 'jitter_each brightness contrast saturation hue', 'grey': ''}

Frames = tuple[tuple[Op, ...], ...]


def check(augment: Augment) -> None:
  """Refuses a jitter without strength."""
  strengths = READS['jitter'].split()[1:]
  if augment.jitter and not any(getattr(augment, name) for name in strengths):
    raise InputError(
      f'got augment.jitter={augment.jitter}, and brightness, contrast, '
      'saturation and hue are all 0; expected one of them above 0; try '
      'augment.jitter=0 for none'
    )


def draw(rng: Generator, augment: Augment, frames: int, size: int) -> Frames:
  """The operations on colours, in order: one tuple for all frames, or T of
  them.

  Whether a clip is jittered, and whether it is grey, is drawn once a clip each.
  `jitter_each='frame'` draws order and factors anew for every frame, so that
  colours flicker. Grey comes last.
  """
  del size
  jitters: Frames = ((),)
  if augment.jitter and rng.random() < augment.jitter:
    count = frames if augment.jitter_each == 'frame' else 1
    jitters = tuple(_jitter(rng, augment) for _ in range(count))
  if augment.grey and rng.random() < augment.grey:
    return tuple((*ops, Op('grey')) for ops in jitters)
  return jitters


def change_crop(
  crop_HWC: np.ndarray, jitters: Frames, augment: Augment, t: int
) -> np.ndarray:
  """Runs the operations of frame t."""
  del augment
  return apply(crop_HWC, jitters[t % len(jitters)])


def _jitter(rng: Generator, augment: Augment) -> tuple[Op, ...]:
  """Factors uniform in 1 +- strength, at least 0; hue in +- its strength.

  All four run in random order, because they do not commute.
  """
  low_high = {
    name: (max(0.0, 1 - strength), 1 + strength)
    for name, strength in (
      ('brightness', augment.brightness),
      ('contrast', augment.contrast),
      ('colour', augment.saturation),
    )
    if strength
  }
  if augment.hue:
    low_high['hue'] = (-augment.hue, augment.hue)
  ops = [Op(name, float(rng.uniform(*ends))) for name, ends in low_high.items()]
  return tuple(ops[i] for i in np.argsort(rng.random(len(ops))))
