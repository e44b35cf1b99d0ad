"""Random erasing: boxes of the crop are filled, the same in all frames."""

import math
from typing import NamedTuple

import numpy as np

from vidmodels import config

TRIES = 10  # of an area and a shape that fit


class Box(NamedTuple):
  """Rows and columns of the crop, pixels."""

  top: int
  left: int
  height: int
  width: int


def draw(
  rng: np.random.Generator, augment: config.Augment, size: int
) -> tuple[Box, ...]:
  """The boxes of a clip: none, or 1 to `erase_count` of them.

  A box's area is uniform in `erase_area`, as a share of the crop and divided by
  how many there are; height over width is log-uniform in `erase_aspect`. Of ten
  such pairs the first that is smaller than the crop is taken, at a uniform
  place; if none is, the box is left out.
  """
  if not augment.erase or rng.random() >= augment.erase:
    return ()
  count = 1
  if augment.erase_count > 1:
    count = int(rng.integers(1, augment.erase_count + 1))
  boxes = (_box(rng, augment, size, count) for _ in range(count))
  return tuple(box for box in boxes if box)


def _box(
  rng: np.random.Generator, augment: config.Augment, size: int, count: int
) -> Box | None:
  for _ in range(TRIES):
    area = rng.uniform(*augment.erase_area) * size * size / count
    shape = math.exp(rng.uniform(*np.log(augment.erase_aspect)))
    h, w = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
    if 1 <= h < size and 1 <= w < size:
      top = int(rng.integers(size - h + 1))
      return Box(top, int(rng.integers(size - w + 1)), h, w)
  return None


def fill(
  video_THWC: np.ndarray,
  boxes: tuple[Box, ...],
  rng: np.random.Generator,
  augment: config.Augment,
  data: config.Data,
) -> None:
  """Fills boxes of a clip, in place.

  'mean' is the recipe's `data.mean`, which is 0 once it is scaled, to half a
  level; 'black' is 0 before; 'colour' draws a colour a box and 'noise' every
  value of every frame, from a normal distribution that is standard once it is
  scaled (but for what falls outside of 0..255 and is clipped).
  """
  mean, std = np.array(data.mean), np.array(data.std)
  for top, left, height, width in boxes:
    box = video_THWC[:, top : top + height, left : left + width]
    value = np.zeros(3)
    if augment.erase_with == 'mean':
      value = mean
    elif augment.erase_with == 'colour':
      value = mean + std * rng.standard_normal(3)
    elif augment.erase_with == 'noise':
      value = mean + std * rng.standard_normal(box.shape)
    box[:] = np.clip(np.rint(value * 255), 0, 255)
