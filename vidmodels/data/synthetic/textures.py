"""Draws static textures, and motions in front of textures.

  scene = textures.draw_texture_scene(rng, ClipOptions(), 'checks')
  video_THWC = textures.render_still(scene)

The label of a texture clip is its pattern, which stands still: only the noise
differs from frame to frame, and each frame draws its own. So the frames of a
clip have one distribution in any order, and time has nothing to add.

A pattern is the rank of each pixel of a picture, so its values are 0 to 1 in
equal shares whatever the pattern is: every class has the same distribution of
colours, and no histogram tells two classes apart. Only space does.

In the mixed set every clip shows both: a disc that goes left, right, up or
down, in front of one of eight textures. Behind the four texture classes stand
the textures that name them, in front of which the disc goes any of the four
ways with equal chance. Behind the four motion classes stand the other four
textures, and the disc goes as the class says. So the texture tells which half a
clip belongs to, and the motion, which has one distribution in both halves,
does not. A model that is blind to the order of frames knows the texture classes
and the axis of a motion: at best three quarters are right.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.synthetic.scenes import (
  ClipOptions,
  Motion,
  Scene,
  add_noise,
  draw_scene,
  render,
)

# Length of a period or grain, in short sides: 5 to 9 pixels of 36.
_PERIOD = (0.15, 0.25)
_TILT = 0.02  # stripes lean by up to so many turns, 7 degrees
_DARK, _LIGHT = (0.0, 0.2), (0.45, 0.65)  # a channel of the two colours

# A pattern: from a generator and coordinates in short sides to a picture.
_Pattern = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]


def _stripes(
  rng: np.random.Generator, y_HW: np.ndarray, x_HW: np.ndarray, *, turn: float
) -> np.ndarray:
  """Waves whose crests lie at `turn` from a row, clockwise."""
  angle = 2 * np.pi * (turn + rng.uniform(-_TILT, _TILT))
  across_HW = y_HW * np.cos(angle) - x_HW * np.sin(angle)
  return np.cos(2 * np.pi * (across_HW / rng.uniform(*_PERIOD) + rng.uniform()))


def _checks(
  rng: np.random.Generator, y_HW: np.ndarray, x_HW: np.ndarray
) -> np.ndarray:
  """A chessboard: the product of two waves."""
  wave = functools.partial(_stripes, rng, y_HW, x_HW)
  return wave(turn=0.0) * wave(turn=0.25)


def _rings(
  rng: np.random.Generator, y_HW: np.ndarray, x_HW: np.ndarray
) -> np.ndarray:
  """Rings around the corners of a grid of short sides, moved at random."""
  y_HW, x_HW = ((v + rng.uniform()) % 1 - 0.5 for v in (y_HW, x_HW))
  wave_HW = np.hypot(y_HW, x_HW) / rng.uniform(*_PERIOD) + rng.uniform()
  return np.cos(2 * np.pi * wave_HW)


def _noise(
  rng: np.random.Generator,
  y_HW: np.ndarray,
  x_HW: np.ndarray,
  *,
  finer: float,
) -> np.ndarray:
  """Smooth noise whose cells are a period long, divided by `finer`."""
  H, W = y_HW.shape
  cell = min(H, W) * rng.uniform(*_PERIOD) / finer
  grid = rng.standard_normal((round(H / cell) + 2, round(W / cell) + 2))
  return cv2.resize(grid, (W, H), interpolation=cv2.INTER_CUBIC)


PATTERNS: dict[str, _Pattern] = {
  'bands': functools.partial(_stripes, turn=0.0),  # along rows
  'bars': functools.partial(_stripes, turn=0.25),  # along columns
  'blobs': functools.partial(_noise, finer=1.0),
  'checks': _checks,
  'falling': functools.partial(_stripes, turn=0.125),  # down to the right
  'grain': functools.partial(_noise, finer=3.0),
  'rings': _rings,
  'rising': functools.partial(_stripes, turn=-0.125),  # up to the right
}
TEXTURE_CLASSES = ClassList(tuple(PATTERNS))
TEXTURE_FLIP = FlipPolicy('swap', (('falling', 'rising'),))

# Of the mixed set: textures that are classes, and those behind the motions.
NAMED = ('bands', 'bars', 'checks', 'rings')
OTHERS = tuple(name for name in PATTERNS if name not in NAMED)
WAYS = ('down', 'left', 'right', 'up')
MIXED_CLASSES = ClassList(tuple(sorted(NAMED + WAYS)))
MIXED_FLIP = FlipPolicy('swap', (('left', 'right'),))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixed(ClipOptions):
  """What a set of discs in front of textures looks like."""

  # turns of the phase a frame, see `Motion`
  speed: tuple[float, float] = (0.02, 0.05)


def draw_texture(
  rng: np.random.Generator, pattern: str, height: int, width: int
) -> np.ndarray:
  """A pattern between two random colours, float32 [height, width, 3]."""
  short = min(height, width)
  y_HW, x_HW = np.mgrid[:height, :width] / short
  order = np.argsort(PATTERNS[pattern](rng, y_HW, x_HW), axis=None)
  rank_N = np.empty(order.size)
  rank_N[order] = np.linspace(0, 1, order.size)
  rank_HWC = rank_N.reshape(height, width, 1)
  dark, light = rng.uniform(*_DARK, 3), rng.uniform(*_LIGHT, 3)
  return (dark + (light - dark) * rank_HWC).astype(np.float32)


def draw_texture_scene(
  rng: np.random.Generator, options: ClipOptions, pattern: str
) -> Scene:
  """A scene whose background is a texture."""
  own = dataclasses.fields(ClipOptions)
  shared: dict[str, Any] = {f.name: getattr(options, f.name) for f in own}
  speed = getattr(options, 'speed', Motion().speed)  # a still one has none
  scene = draw_scene(rng, Motion(**shared, speed=speed))
  back_HWC = draw_texture(rng, pattern, scene.height, scene.width)
  return dataclasses.replace(scene, back_HWC=back_HWC)


def render_still(scene: Scene) -> np.ndarray:
  """The clip of a scene's background alone, uint8 [T, H, W, 3], RGB."""
  return add_noise(scene, lambda _: scene.back_HWC)


def texture_clip(
  rng: np.random.Generator, label: str, options: ClipOptions
) -> tuple[np.ndarray, float]:
  """A clip of the texture set: video_THWC and its frame rate."""
  scene = draw_texture_scene(rng, options, label)
  return render_still(scene), scene.fps


def mixed_clip(
  rng: np.random.Generator, label: str, options: Mixed
) -> tuple[np.ndarray, float]:
  """A clip of the mixed set: video_THWC and its frame rate."""
  # Both are drawn for every class, so that a clip's other draws do not depend
  # on its label.
  way, other = WAYS[rng.integers(4)], OTHERS[rng.integers(4)]
  way, pattern = (way, label) if label in NAMED else (label, other)
  scene = draw_texture_scene(rng, options, pattern)
  return render(scene, way), scene.fps
