"""Draws the motion clips, whose label is the direction of time alone.

  scene = scenes.draw_scene(scenes.clip_rng(seed, split, number), Motion())
  video_THWC = scenes.render(scene, 'left')

A clip shows one textured disc, half bright and half dim, repeated every short
side so that any square crop contains one. It travels, turns or changes size at
a steady speed. What moves is a phase on a circle: position, angle and log size
wrap around. The phase of the first frame is uniform, so every frame of every
clip of an axis has the same distribution; and the clips of a backward class are
clips of the forward class played backwards. So no frame, and no statistic of
frames that ignores their order, distinguishes 'left' from 'right'.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

# Forward class and backward class of each axis.
AXES = {
  'horizontal': ('right', 'left'),
  'vertical': ('down', 'up'),
  'turn': ('clockwise', 'anticlockwise'),
  'depth': ('approaching', 'receding'),
}
# Sorted, as the classes of a folder per class are.
CLASSES = ClassList(tuple(sorted(sum(AXES.values(), ()))))
FLIP = FlipPolicy('swap', (('left', 'right'), ('clockwise', 'anticlockwise')))

# Height to width; the short side is drawn separately.
ASPECTS = ((1, 1), (3, 4), (9, 16), (4, 3), (16, 9), (9, 11))
_CANVAS = 64  # the shape is drawn once at this size, then warped
_SMALL, _LARGE = 0.25, 0.9  # diameter of the shape, in short sides


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipOptions:
  """What the clips of every made-up set have; ranges include both ends."""

  short_side: tuple[int, int] = (36, 64)  # of the frames, pixels; drawn even
  frames: tuple[int, int] = (16, 40)  # length of a clip
  fps: tuple[float, ...] = (12.5, 24.0, 25.0, 30.0)  # frame rates
  noise: float = 0.02  # standard deviation of pixels, in a range of 1
  qp: int = 20  # the quantiser of the coder, 0 (lossless) to 51


@dataclasses.dataclass(frozen=True, kw_only=True)
class Motion(ClipOptions):
  """What a set of motion clips looks like; ranges include both ends."""

  # speed: turns of the phase a frame; a model that takes every s-th frame sees
  # the direction while s * speed stays below 1/2
  speed: tuple[float, float] = (0.02, 0.05)
  # contrast: 'bright' is a bright disc on a dark background; 'any' draws both
  # from all colours, and is much harder to learn
  contrast: Literal['bright', 'any'] = 'bright'
  background: Literal['plain', 'textured'] = 'plain'  # textured: harder too


@dataclasses.dataclass(frozen=True)
class Scene:
  """Everything random about a clip except its direction."""

  height: int  # of the frames, pixels
  width: int  # of the frames, pixels
  frames: int  # their number
  fps: float  # their rate
  phase: float  # of the first frame, 0 to 1
  speed: float  # of the phase, turns a frame
  centre: tuple[float, float]  # of the shape, in short sides, (down, right)
  angle: float  # of the shape, turns
  size: float  # diameter of the shape, in short sides
  shape_HWC: np.ndarray  # colour and opacity of the shape, float32 [64, 64, 4]
  back_HWC: np.ndarray  # the background, float32 [H, W, 3]
  noise_HWC: np.ndarray  # each frame takes a window; 32 pixels larger
  windows: np.ndarray  # where the window of each frame starts, [frames, 2]


def clip_rng(
  seed: int, split: int, number: int, *, stream: int = 0
) -> np.random.Generator:
  """The random stream of one clip; no two clips share any part of it.

  `stream` numbers the sets.
  """
  clip = (stream << 48) + (split << 32) + number
  return np.random.Generator(np.random.Philox(key=[seed, clip]))


def draw_scene(rng: np.random.Generator, motion: Motion) -> Scene:
  """Draws everything about a clip except its direction."""
  low, high = motion.short_side
  short = 2 * int(rng.integers((low + 1) // 2, high // 2 + 1))
  rows, columns = ASPECTS[rng.integers(len(ASPECTS))]
  scale = short / min(rows, columns)
  height, width = (2 * round(scale * side / 2) for side in (rows, columns))
  frames = int(rng.integers(motion.frames[0], motion.frames[1] + 1))
  back = rng.uniform(0, _background_limit(motion), 3)
  return Scene(
    height=height,
    width=width,
    frames=frames,
    fps=motion.fps[rng.integers(len(motion.fps))],
    phase=float(rng.uniform()),
    speed=float(rng.uniform(*motion.speed)),
    centre=(float(rng.uniform()), float(rng.uniform())),
    angle=float(rng.uniform()),
    size=float(rng.uniform(0.4, 0.6)),
    shape_HWC=_draw_disc(rng, motion, back),
    back_HWC=_draw_background(rng, motion, height, width, back),
    noise_HWC=np.float32(motion.noise)
    * rng.standard_normal((height + 32, width + 32, 3), np.float32),
    windows=rng.integers(0, 33, (frames, 2)),
  )


def frame_at(scene: Scene, axis: str, t: int) -> np.ndarray:
  """Frame `t` of the forward class of an axis, float32 [H, W, 3] in 0 to 1.

  It has no noise and depends on time only through the phase,
  `scene.phase + t * scene.speed`.
  """
  short = min(scene.height, scene.width)
  phase = (scene.phase + t * scene.speed) % 1
  down, right = scene.centre
  angle, size = scene.angle, scene.size
  if axis == 'horizontal':
    right = phase
  elif axis == 'vertical':
    down = phase
  elif axis == 'turn':
    angle = phase
  else:
    size = _SMALL * (_LARGE / _SMALL) ** phase
  tile_HWC = _draw_tile(scene.shape_HWC, short, down, right, angle, size)
  border = (0, scene.height - short, 0, scene.width - short)
  tile_HWC = cv2.copyMakeBorder(tile_HWC, *border, cv2.BORDER_WRAP)
  colour_HWC, cover_HWC = tile_HWC[..., :3], tile_HWC[..., 3:]
  return colour_HWC + scene.back_HWC * (1 - cover_HWC)


def render(scene: Scene, label: str) -> np.ndarray:
  """The clip of a scene for one class, uint8 [T, H, W, 3], RGB.

  A backward class is its forward class with the frames in reverse.
  """
  CLASSES.index(label)
  axis = next(axis for axis, pair in AXES.items() if label in pair)
  video_THWC = add_noise(scene, lambda t: frame_at(scene, axis, t))
  return video_THWC if label == AXES[axis][0] else video_THWC[::-1]


def motion_clip(
  rng: np.random.Generator, label: str, motion: Motion
) -> tuple[np.ndarray, float]:
  """A clip of the motion set: video_THWC and its frame rate."""
  scene = draw_scene(rng, motion)
  return render(scene, label), scene.fps


def add_noise(scene: Scene, frame: Callable[[int], np.ndarray]) -> np.ndarray:
  """Frames 0, 1, ... of a clip with their noise, uint8 [T, H, W, 3].

  `frame` gives frame t without noise, float32 [H, W, 3] in 0 to 1.
  """
  video_THWC = np.empty((scene.frames, scene.height, scene.width, 3), np.uint8)
  for t, (top, left) in enumerate(scene.windows):
    window = np.s_[top : top + scene.height, left : left + scene.width]
    frame_HWC = frame(t) + scene.noise_HWC[window]
    video_THWC[t] = np.clip(frame_HWC * 255 + 0.5, 0, 255)
  return video_THWC


def _background_limit(motion: Motion) -> float:
  """The largest value of a channel of the background."""
  if motion.contrast not in ('bright', 'any'):
    raise InputError(
      f'got contrast {motion.contrast!r}; expected bright or any'
    )
  return 0.35 if motion.contrast == 'bright' else 1.0


def _draw_disc(
  rng: np.random.Generator, motion: Motion, back: np.ndarray
) -> np.ndarray:
  """Draws a disc of two halves; only a full turn maps it to itself.

  It lies just inside the circle that touches the edges: colour times opacity,
  and opacity, float32 [64, 64, 4].
  """
  middle = (_CANVAS - 1) / 2
  y_HW, x_HW = (np.mgrid[:_CANVAS, :_CANVAS] - middle) / (_CANVAS / 2)
  # Edges about a tenth of the radius wide, so that the warp does not alias.
  cover_HWC = np.clip((0.95 - np.hypot(y_HW, x_HW)) * 8, 0, 1)[..., None]
  turn = rng.uniform(0, 2 * np.pi)
  side_HW = x_HW * np.cos(turn) + y_HW * np.sin(turn)
  half_HWC = np.clip(side_HW * 4 + 0.5, 0, 1)[..., None]
  if motion.contrast == 'bright':
    bright, dim = rng.uniform(0.65, 1, 3), rng.uniform(0.3, 0.5, 3)
  else:  # half a turn of the colour circle away, give or take
    bright, dim = (back + 0.5 + rng.uniform(-0.2, 0.2, (2, 3))) % 1
  grain_HWC = 0.85 + 0.15 * _draw_texture(rng, _CANVAS, _CANVAS, 6)[..., None]
  colour_HWC = bright * half_HWC + dim * (1 - half_HWC)
  colour_HWC = colour_HWC * grain_HWC * cover_HWC
  return np.concatenate([colour_HWC, cover_HWC], -1).astype(np.float32)


def _draw_background(
  rng: np.random.Generator,
  motion: Motion,
  height: int,
  width: int,
  colour: np.ndarray,
) -> np.ndarray:
  if motion.background == 'plain':
    return np.broadcast_to(colour.astype(np.float32), (height, width, 3))
  if motion.background != 'textured':
    raise InputError(
      f'got background {motion.background!r}; expected plain or textured'
    )
  other = rng.uniform(0, _background_limit(motion), 3)
  mix_HWC = _draw_texture(rng, height, width, 8)[..., None]
  return (colour * mix_HWC + other * (1 - mix_HWC)).astype(np.float32)


def _draw_texture(
  rng: np.random.Generator, height: int, width: int, cells: int
) -> np.ndarray:
  """Smooth noise in 0 to 1, float32 [height, width]."""
  grid = rng.uniform(0, 1, (cells, cells)).astype(np.float32)
  texture_HW = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
  return np.clip(texture_HW, 0, 1)


def _draw_tile(
  shape_HWC: np.ndarray,
  short: int,
  down: float,
  right: float,
  angle: float,
  size: float,
) -> np.ndarray:
  """The shape on a torus of `short` by `short` pixels, [short, short, 4]."""
  # A roll, which wraps, moves by whole pixels; the warp, which does not wrap,
  # by the rest.
  (down, y), (right, x) = (divmod(v * short, 1) for v in (down, right))
  scale, turn = size * short / _CANVAS, 2 * np.pi * angle
  # Image rows run down, so a growing angle turns clockwise.
  cos, sin = scale * np.cos(turn), scale * np.sin(turn)
  half = (_CANVAS - 1) / 2
  middle = (short - 1) / 2
  matrix = np.array(
    [
      [cos, -sin, middle + x - cos * half + sin * half],
      [sin, cos, middle + y - sin * half - cos * half],
    ]
  )
  tile_HWC = cv2.warpAffine(
    shape_HWC, matrix, (short, short), flags=cv2.INTER_LINEAR
  )
  return np.roll(tile_HWC, (int(down), int(right)), (0, 1))
