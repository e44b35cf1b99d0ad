"""Where a training clip is cut from its frames: drawn once a clip.

A frame is brought to a short side, and a box of it becomes the crop. The box is
  square: as large as the crop, anywhere in the frame;
  area: a share of the frame's area in a shape of its own, resized to the crop;
  multi_scale: a few scales of the short side, at fixed places, resized too.
"""

import dataclasses
import itertools
import math

import numpy as np

from vidmodels import config
from vidmodels.fields import refuse_unread
from vidmodels.typing import InputError

TRIES = 10  # of an area and a shape that fit the frame
NEAR = 3  # a side this near to the crop's is the crop's: nothing is resized


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crop:
  """Where a clip is cut from its frames; all of them alike.

  Attributes:
    short_side: the frame's short side after resizing, pixels; 0: as stored.
    top: first row of the box in the resized frame.
    left: its first column.
    flip: whether the crop is mirrored, left to right.
    zoom: what the resized frame is resized by once more.
    height: of the box, which is resized to the crop; 0: the crop's own.
    width: of the box; 0: the crop's own.
    long_side: how the long side is rounded when the short side is set.
  """

  short_side: int
  top: int
  left: int
  flip: bool = False
  zoom: float = 1.0
  height: int = 0
  width: int = 0
  long_side: str = 'floor'


def check(augment: config.Augment, size: int) -> None:
  """Refuses fields that disagree and fields without effect.

  Args:
    augment: the section of the recipe.
    size: height and width of the crop, pixels.

  Raises:
    InputError: names the field, its value and what was expected; also if the
      crop does not always fit the frame.
  """
  low, high = augment.short_side
  if augment.crop == 'square' and not size <= low <= high:
    raise InputError(
      f'got augment.short_side=({low}, {high}) with crops of {size} pixels: '
      'the crop is larger than the frame; expected clip.size <= low <= high; '
      f'try ({size}, {size}) or more'
    )
  if augment.crop != 'square' and not (high == low == 0 or 1 <= low <= high):
    raise InputError(
      f'got augment.short_side=({low}, {high}) with augment.crop='
      f'{augment.crop}; expected 1 <= low <= high; try (0, 0) for frames as '
      'they are stored'
    )
  if augment.zoom[0] < 1:
    raise InputError(
      f'got augment.zoom={augment.zoom}: the crop is larger than the frame; '
      'expected factors of at least 1; try a lower augment.short_side instead'
    )
  if not augment.scales:
    raise InputError(
      'got augment.scales=(), which is empty; expected shares of the short '
      'side, largest first'
    )
  if augment.auto and augment.rand_n:
    raise InputError(
      f'got two policies, augment.auto={augment.auto!r} and augment.rand_n='
      f'{augment.rand_n}; expected one at most; leave one of them out'
    )
  colours = 'brightness contrast saturation hue'
  if augment.jitter and not any(
    getattr(augment, name) for name in colours.split()
  ):
    raise InputError(
      f'got augment.jitter={augment.jitter}, and brightness, contrast, '
      'saturation and hue are all 0; expected one of them above 0; try '
      'augment.jitter=0 for none'
    )
  for names, read, condition in (
    ('short_draw', low < high, 'two ends of augment.short_side'),
    ('zoom', augment.crop == 'square', 'augment.crop=square'),
    ('area aspect', augment.crop == 'area', 'augment.crop=area'),
    (
      'scales scale_gap places',
      augment.crop == 'multi_scale',
      'augment.crop=multi_scale',
    ),
    (
      'rand_m rand_mstd rand_inc rand_p',
      augment.rand_n,
      'augment.rand_n above 0',
    ),
    (
      'policy_on',
      augment.auto or augment.rand_n,
      'augment.auto or augment.rand_n',
    ),
    (f'jitter_each {colours}', augment.jitter, 'augment.jitter above 0'),
    (
      'erase_area erase_aspect erase_count erase_with',
      augment.erase,
      'augment.erase above 0',
    ),
  ):
    if not read:
      refuse_unread(augment, names, condition)


def draw(
  rng: np.random.Generator,
  height: int,
  width: int,
  augment: config.Augment,
  size: int,
) -> Crop:
  """Draws a training crop: short side, box and flip.

  Args:
    rng: where the draws come from; the flip is the last of them, so that a
      recipe without flips sees the same crops.
    height: of the frames as stored, pixels.
    width: of the frames as stored, pixels.
    augment: what may vary.
    size: height and width of the crop, pixels.
  """
  side, zoom = _short_side(rng, augment), 1.0
  if augment.zoom[0] < augment.zoom[1]:
    zoom = float(rng.uniform(*augment.zoom))
  H, W = scaled(height, width, short_side=side, zoom=zoom)
  box = (0, 0)
  if augment.crop == 'square':
    top, left = (int(rng.integers(n - size + 1)) for n in (H, W))
  elif augment.crop == 'area':
    top, left, *box = area_box(rng, H, W, augment.area, augment.aspect)
  else:
    top, left, *box = scale_box(
      rng,
      H,
      W,
      augment.scales,
      gap=augment.scale_gap,
      places=augment.places,
      size=size,
    )
  return Crop(
    short_side=side,
    top=top,
    left=left,
    flip=bool(rng.random() < augment.flip),
    zoom=zoom,
    height=box[0],
    width=box[1],
  )


def _short_side(rng: np.random.Generator, augment: config.Augment) -> int:
  """Uniform over whole numbers, or round(1 / U(1 / high, 1 / low)).

  The inverse is uniform in how large the crop is beside the frame. Its ends
  come half as often as they would, since they round from one side only.
  """
  low, high = augment.short_side
  if augment.short_draw == 'inverse' and low < high:
    return round(1 / rng.uniform(1 / high, 1 / low))
  return int(rng.integers(low, high + 1))


def area_box(
  rng: np.random.Generator,
  height: int,
  width: int,
  area: tuple[float, float],
  aspect: tuple[float, float],
) -> tuple[int, int, int, int]:
  """A box of a random share of the frame, in a random shape.

  The share is uniform in `area`, width over height log-uniform in `aspect`. Of
  ten such pairs the first that fits is taken, at a uniform place; if none does,
  the largest square in the middle. Large shares fit less often, so that the
  boxes taken are somewhat smaller than the shares drawn.

  Returns:
    (top, left, height, width), whole pixels, inside the frame.
  """
  for _ in range(TRIES):
    pixels = rng.uniform(*area) * height * width
    shape = math.exp(rng.uniform(*np.log(aspect)))
    h, w = round(math.sqrt(pixels / shape)), round(math.sqrt(pixels * shape))
    if 1 <= h <= height and 1 <= w <= width:
      top = int(rng.integers(height - h + 1))
      return top, int(rng.integers(width - w + 1)), h, w
  side = min(height, width)
  return (height - side) // 2, (width - side) // 2, side, side


def scale_box(
  rng: np.random.Generator,
  height: int,
  width: int,
  scales: tuple[float, ...],
  *,
  gap: int,
  places: int,
  size: int,
) -> tuple[int, int, int, int]:
  """A box whose sides are scales of the short side, at a fixed place (TSN).

  Height and width have scales of their own that stand at most `gap` apart in
  `scales`; all such pairs are equally likely. Places count in quarters of what
  is left, rounded down to whole pixels: the corners and the middle; of 13
  places also the middles of the edges and of the quarters.

  Args:
    rng: where the draws come from.
    height: of the frame, pixels.
    width: of the frame, pixels.
    scales: shares of the frame's short side.
    gap: 0 for squares.
    places: 5 or 13.
    size: of the crop: a side within 2 pixels of it is made equal.

  Returns:
    (top, left, height, width), whole pixels, inside the frame.
  """
  short = min(height, width)
  sides = [max(1, int(short * scale)) for scale in scales]
  sides = [size if abs(s - size) < NEAR and size <= short else s for s in sides]
  pairs = [
    (sides[i], sides[j])
    for i, j in itertools.product(range(len(sides)), repeat=2)
    if abs(i - j) <= gap
  ]
  h, w = pairs[rng.integers(len(pairs))]
  down, right = PLACES[rng.integers(places)]
  return down * ((height - h) // 4), right * ((width - w) // 4), h, w


# In quarters of the room, down and right; the first five are TSN's own.
PLACES = (
  *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
  *((2, 0), (2, 4), (4, 2), (0, 2)),
  *((1, 1), (1, 3), (3, 1), (3, 3)),
)


def resized(
  height: int, width: int, short_side: int, long_side: str = 'floor'
) -> tuple[int, int]:
  """Height and width once the short side is `short_side`.

  The long side is rounded down, as DMVR, PySlowFast and VidTr do, or with
  `long_side` 'round' to the nearest, halves up, as mmaction2 does: 340 x 256 to
  a short side of 224 is 297 or 298 long.
  """
  short = min(height, width)
  half = short // 2 if long_side == 'round' else 0
  return (
    (height * short_side + half) // short,
    (width * short_side + half) // short,
  )


def scaled(
  height: int, width: int, *, short_side: int, zoom: float
) -> tuple[int, int]:
  """Height and width after both resizes; 0 keeps the short side."""
  if short_side:
    height, width = resized(height, width, short_side)
  return int(height * zoom), int(width * zoom)
