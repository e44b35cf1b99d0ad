"""Random erasing: boxes of the crop are filled, the same in all frames."""

import math
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from vidmodels.config import Augment, Data

ORDER = 30
READS = {'erase': 'erase_area erase_aspect erase_count erase_with'}
TRIES = 10  # draws of an area and a shape until one fits


class Box(NamedTuple):
  """Rows and columns of the crop, pixels."""

  top: int
  left: int
  height: int
  width: int


def draw(
  rng: Generator, augment: Augment, frames: int, size: int
) -> tuple[Box, ...]:
  """The boxes of a clip: none, or 1 to `erase_count` of them.

  A box's area, as a share of the crop, is uniform in `erase_area` and divided
  by the number of boxes; height over width is log-uniform in `erase_aspect`.
  The first of ten such pairs that is smaller than the crop is taken, at a
  uniform place; if none is, the box is left out.
  """
  del frames
  if rng.random() >= augment.erase:
    return ()
  count = 1
  if augment.erase_count > 1:
    count = int(rng.integers(1, augment.erase_count + 1))
  boxes = []
  for _ in range(count):
    for _ in range(TRIES):
      area = rng.uniform(*augment.erase_area) * size * size / count
      shape = math.exp(rng.uniform(*np.log(augment.erase_aspect)))
      h, w = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
      if 1 <= h < size and 1 <= w < size:
        top, left = (int(rng.integers(size - n + 1)) for n in (h, w))
        boxes.append(Box(top, left, h, w))
        break
  return tuple(boxes)


def change_clip(
  video_THWC: np.ndarray,
  boxes: tuple[Box, ...],
  augment: Augment,
  rng: Generator,
  data: Data,
) -> None:
  """Fills boxes of a clip, in place, with what `erase_with` says.

  'mean' is the recipe's `data.mean`, which the model sees as 0, to half a
  level. 'black' is 0 before scaling. 'colour' draws one colour a box, 'noise'
  every value of every frame, from the normal distribution that the model sees
  as standard (except values outside 0..255, which are clipped).
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
