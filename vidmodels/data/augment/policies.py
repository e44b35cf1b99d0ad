"""RandAugment and AutoAugment: which operations a clip gets, and how much.

Levels run from 0 to 10. For most operations 10 is the strongest. As in timm and
the EfficientNet releases, `posterize`, `solarize` and the four blends do more
at low levels (a blend's factor is 1 at level 5, and level 0 takes nine tenths
away), unless `increasing` reverses them. The signs of geometric operations are
drawn, and with `increasing` those of the blends.
"""

import numpy as np
from numpy.random import Generator

from vidmodels.config import Augment
from vidmodels.data.augment.ops import OPS, Op, apply
from vidmodels.typing import InputError

ORDER = 10
READS = {
  'rand_n': 'rand_m rand_mstd rand_inc rand_p',
  'auto rand_n': 'policy_on',
}

TOP = 10  # highest level
# What RandAugment chooses from, each equally often; the draws need this order.
RAND_OPS = tuple(name for name in OPS if name not in ('hue', 'grey'))
BLENDS = ('colour', 'contrast', 'brightness', 'sharpness')
# Amounts at the top level: shears, shares of a side, degrees.
FULL = {
  'shear_x': 0.3,
  'shear_y': 0.3,
  'translate_x': 0.45,
  'translate_y': 0.45,
  'rotate': 30.0,
}
# AutoAugment's ImageNet policy as in EfficientNet's TPU code, timm's 'v0': 25
# pairs of (operation, chance, level). A clip gets one pair.
V0 = (
  (('equalize', 0.8, 1), ('shear_y', 0.8, 4)),
  (('colour', 0.4, 9), ('equalize', 0.6, 3)),
  (('colour', 0.4, 1), ('rotate', 0.6, 8)),
  (('solarize', 0.8, 3), ('equalize', 0.4, 7)),
  (('solarize', 0.4, 2), ('solarize', 0.6, 2)),
  (('colour', 0.2, 0), ('equalize', 0.8, 8)),
  (('equalize', 0.4, 8), ('solarize_add', 0.8, 3)),
  (('shear_x', 0.2, 9), ('rotate', 0.6, 8)),
  (('colour', 0.6, 1), ('equalize', 1.0, 2)),
  (('invert', 0.4, 9), ('rotate', 0.6, 0)),
  (('equalize', 1.0, 9), ('shear_y', 0.6, 3)),
  (('colour', 0.4, 7), ('equalize', 0.6, 0)),
  (('posterize', 0.4, 6), ('autocontrast', 0.4, 7)),
  (('solarize', 0.6, 8), ('colour', 0.6, 9)),
  (('solarize', 0.2, 4), ('rotate', 0.8, 9)),
  (('rotate', 1.0, 7), ('translate_y', 0.8, 9)),
  (('shear_x', 0.0, 0), ('solarize', 0.8, 4)),
  (('shear_y', 0.8, 0), ('colour', 0.6, 4)),
  (('colour', 1.0, 0), ('rotate', 0.6, 2)),
  (('equalize', 0.8, 4), ('equalize', 0.0, 8)),
  (('equalize', 1.0, 4), ('autocontrast', 0.6, 2)),
  (('shear_y', 0.4, 7), ('solarize_add', 0.6, 7)),
  # Level 2 keeps no bit: 3 % of all clips are black, in the releases too.
  (('posterize', 0.8, 2), ('solarize', 0.6, 10)),
  (('solarize', 0.6, 8), ('equalize', 0.6, 1)),
  (('colour', 0.8, 6), ('rotate', 0.4, 5)),
)


def check(augment: Augment) -> None:
  """Refuses two policies."""
  if augment.auto and augment.rand_n:
    raise InputError(
      f'got two policies, augment.auto={augment.auto!r} and augment.rand_n='
      f'{augment.rand_n}; expected one at most; leave one of them out'
    )


def draw(
  rng: Generator, augment: Augment, frames: int, size: int
) -> tuple[Op, ...]:
  """The operations of a clip, in order."""
  del frames, size
  return auto(rng) if augment.auto else rand(rng, augment)


def change_frame(
  frame_HWC: np.ndarray, ops: tuple[Op, ...], augment: Augment
) -> np.ndarray:
  """Runs the policy on the whole frame, unless `policy_on` says the crop."""
  return apply(frame_HWC, ops) if augment.policy_on == 'frame' else frame_HWC


def change_crop(
  crop_HWC: np.ndarray, ops: tuple[Op, ...], augment: Augment, t: int
) -> np.ndarray:
  """Runs the policy on the crop, if `policy_on` says so."""
  del t
  return apply(crop_HWC, ops) if augment.policy_on == 'crop' else crop_HWC


def auto(rng: Generator) -> tuple[Op, ...]:
  """Draws one of the 25 pairs, then for each of the two whether to apply it."""
  ops = []
  for name, chance, level in V0[rng.integers(len(V0))]:
    done, sign = rng.random() < chance, _sign(rng)
    if done:
      ops.append(Op(name, amount(name, level, sign=sign)))
  return tuple(ops)


def rand(rng: Generator, augment: Augment) -> tuple[Op, ...]:
  """Draws `rand_n` operations, the same one perhaps twice.

  Each is applied with chance `rand_p`, at a level from a normal distribution
  around `rand_m` with deviation `rand_mstd`, clipped to 0..10. A deviation
  above 100 means uniform from 0 to `rand_m`, as in timm's strings.
  """
  ops = []
  for _ in range(augment.rand_n):
    name = RAND_OPS[rng.integers(len(RAND_OPS))]
    done, sign = rng.random() < augment.rand_p, _sign(rng)
    if augment.rand_mstd > 100:
      level = rng.uniform(0, augment.rand_m)
    else:
      level = np.clip(rng.normal(augment.rand_m, augment.rand_mstd), 0, TOP)
    if done:
      strength = amount(
        name, float(level), sign=sign, increasing=augment.rand_inc
      )
      ops.append(Op(name, strength))
  return tuple(ops)


def amount(
  name: str, level: float, *, sign: int, increasing: bool = False
) -> float:
  """The amount of one of RAND_OPS at a level of 0 to 10.

  `sign` is 1 or -1, for operations with two directions; `increasing` makes
  higher levels stronger where they are not.
  """
  share = level / TOP
  if name in FULL:
    return sign * share * FULL[name]
  if name in BLENDS:
    return 1 + sign * share * 0.9 if increasing else 0.1 + share * 1.8
  if name == 'posterize':
    bits = int(share * 4)
    return 4 - bits if increasing else bits
  if name == 'solarize':
    threshold = int(share * 256)
    return 256 - threshold if increasing else threshold
  if name == 'solarize_add':
    return int(share * 110)
  return 0.0


def _sign(rng: Generator) -> int:
  return -1 if rng.random() < 0.5 else 1
