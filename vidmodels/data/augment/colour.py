"""Colour jitter and grey: drawn once a clip, or the jitter for every frame."""

import numpy as np

from vidmodels import config
from vidmodels.data.augment.ops import Op

Frames = tuple[tuple[Op, ...], ...]


def draw(
  rng: np.random.Generator, augment: config.Augment, frames: int
) -> Frames:
  """The operations on colours: for all frames alike, or for each of them.

  Whether a clip is jittered, and whether it is grey, is one draw a clip each;
  `jitter_each='frame'` draws order and factors anew for every frame, so that
  colours flicker. Grey comes last.

  Args:
    rng: where the draws come from.
    augment: the chances and strengths.
    frames: T of the clip.

  Returns:
    Operations, in order: one tuple for all frames, or T of them.
  """
  jitters: Frames = ((),)
  if augment.jitter and rng.random() < augment.jitter:
    count = frames if augment.jitter_each == 'frame' else 1
    jitters = tuple(_jitter(rng, augment) for _ in range(count))
  if augment.grey and rng.random() < augment.grey:
    return tuple((*ops, Op('grey')) for ops in jitters)
  return jitters


def _jitter(
  rng: np.random.Generator, augment: config.Augment
) -> tuple[Op, ...]:
  """Factors uniform in 1 +- strength, at least 0; hue in +- its strength.

  All four in random order: they do not commute.
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
