"""Operations on the pixels of one frame: points, colours, geometry.

Each takes a frame, uint8 [H, W, C] in RGB, and an amount, and returns a new
frame of the same shape. They follow PIL's operations of the same names, with
which the policies were tuned: look-ups are equal to PIL's, blends agree within
two levels, geometry within one, hue within a dozen (the two round it to 8 bits
differently). Histograms and means are those of the single frame.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

FILL = 128  # level of what geometry leaves empty
# The eight neighbours count 1, the pixel itself 5.
_SMOOTH = np.ones((3, 3), np.float32)
_SMOOTH[1, 1] = 5
_SMOOTH /= 13
_LEVELS = np.arange(256)


@dataclasses.dataclass(frozen=True)
class Op:
  """An operation with its amount, as drawn for a clip."""

  name: str  # one of OPS
  amount: float = 0.0  # the operation's argument; some ignore it


def apply(frame_HWC: np.ndarray, ops: Sequence[Op]) -> np.ndarray:
  """Runs operations one after the other; the frame given is not changed."""
  for op in ops:
    frame_HWC = OPS[op.name](frame_HWC, op.amount)
  return frame_HWC


def invert(frame_HWC: np.ndarray, _: float) -> np.ndarray:
  """255 - x."""
  return cv2.bitwise_not(frame_HWC)


def posterize(frame_HWC: np.ndarray, bits: float) -> np.ndarray:
  """Keeps the highest `bits` bits; with 0 the frame is black."""
  return frame_HWC & np.uint8((0xFF00 >> int(bits)) & 0xFF)


def solarize(frame_HWC: np.ndarray, threshold: float) -> np.ndarray:
  """Inverts levels of at least `threshold`, 0 to 256."""
  return _look_up(
    frame_HWC, np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS)
  )


def solarize_add(frame_HWC: np.ndarray, add: float) -> np.ndarray:
  """Adds to levels below 128, up to 255."""
  added = np.minimum(255, _LEVELS + int(add))
  return _look_up(frame_HWC, np.where(_LEVELS < 128, added, _LEVELS))


def autocontrast(frame_HWC: np.ndarray, _: float) -> np.ndarray:
  """Stretches each channel to 0..255; a flat channel stays as it is."""
  tables = []
  for C in range(3):
    low, high = cv2.minMaxLoc(frame_HWC[..., C])[:2]
    scale = 255 / (high - low) if high > low else 1.0
    shift = low * scale if high > low else 0.0
    tables.append(_LEVELS * scale - shift)
  return _look_up(frame_HWC, np.stack(tables, -1))


def equalize(frame_HWC: np.ndarray, _: float) -> np.ndarray:
  """Evens out each channel's histogram, as PIL does.

  A level maps to (the number of darker pixels + half a step) / a step. A step
  is 1/255 of the pixels below the brightest level in the channel.
  """
  tables = []
  for C in range(3):
    count = np.bincount(frame_HWC[..., C].ravel(), minlength=256)
    last = count[count > 0][-1]
    step = int(count.sum() - last) // 255
    darker = np.cumsum(count) - count
    tables.append((darker + step // 2) // step if step else _LEVELS)
  return _look_up(frame_HWC, np.stack(tables, -1))


def brightness(frame_HWC: np.ndarray, factor: float) -> np.ndarray:
  """factor * x: away from black, or towards it."""
  return _look_up(frame_HWC, _LEVELS * factor)


def contrast(frame_HWC: np.ndarray, factor: float) -> np.ndarray:
  """Away from the frame's mean grey, or towards it."""
  mean = int(cv2.mean(cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY))[0] + 0.5)
  return _look_up(frame_HWC, mean + (_LEVELS - mean) * factor)


def colour(frame_HWC: np.ndarray, factor: float) -> np.ndarray:
  """Away from each pixel's grey, or towards it: saturation."""
  return _blend(grey(frame_HWC, 0), frame_HWC, factor)


def sharpness(frame_HWC: np.ndarray, factor: float) -> np.ndarray:
  """Away from the smoothed frame, or towards it; the border stays."""
  smooth_HWC = frame_HWC.copy()
  inner = np.s_[1:-1, 1:-1]
  smooth_HWC[inner] = cv2.filter2D(frame_HWC, -1, _SMOOTH)[inner]
  return _blend(smooth_HWC, frame_HWC, factor)


def hue(frame_HWC: np.ndarray, turn: float) -> np.ndarray:
  """Turns the hue by a share of the circle, -.5 to .5, in steps of 1/256."""
  hsv_HWC = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2HSV_FULL)
  hsv_HWC[..., 0] += np.uint8(int(turn * 255) % 256)  # wraps around
  return cv2.cvtColor(hsv_HWC, cv2.COLOR_HSV2RGB_FULL)


def grey(frame_HWC: np.ndarray, _: float) -> np.ndarray:
  """Luma, .299 R + .587 G + .114 B, in all three channels."""
  grey_HW = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY)
  return cv2.cvtColor(grey_HW, cv2.COLOR_GRAY2RGB)


def shear_x(frame_HWC: np.ndarray, by: float) -> np.ndarray:
  """Row y shows the pixels that were `by` * y further right."""
  return _warp(frame_HWC, [[1, by, 0], [0, 1, 0]])


def shear_y(frame_HWC: np.ndarray, by: float) -> np.ndarray:
  """Column x shows the pixels that were `by` * x further down."""
  return _warp(frame_HWC, [[1, 0, 0], [by, 1, 0]])


def translate_x(frame_HWC: np.ndarray, share: float) -> np.ndarray:
  """Shows the pixels that were a share of the width further right."""
  return _warp(frame_HWC, [[1, 0, share * frame_HWC.shape[1]], [0, 1, 0]])


def translate_y(frame_HWC: np.ndarray, share: float) -> np.ndarray:
  """Shows the pixels that were a share of the height further down."""
  return _warp(frame_HWC, [[1, 0, 0], [0, 1, share * frame_HWC.shape[0]]])


def rotate(frame_HWC: np.ndarray, degrees: float) -> np.ndarray:
  """Turns the picture about its middle, anticlockwise."""
  y, x = (n / 2 for n in frame_HWC.shape[:2])
  cos, sin = (f(math.radians(degrees)) for f in (math.cos, math.sin))
  return _warp(
    frame_HWC,
    [[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]],
  )


def _warp(frame_HWC: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
  """Resamples a frame: `matrix` maps places in the result to the frame.

  Places are continuous: the middle of the first pixel is (.5, .5) here and
  (0, 0) for OpenCV. Bilinear; PIL-based code draws bilinear or bicubic anew for
  every frame. As in PIL a pixel whose place is outside the frame is FILL, and
  one whose place is inside never mixes with it.
  """
  at = np.array(matrix, np.float64)
  at[:, 2] += at[:, :2].sum(1) / 2 - 0.5
  size, inverse = frame_HWC.shape[1::-1], cv2.WARP_INVERSE_MAP
  warped_HWC = cv2.warpAffine(
    frame_HWC,
    at,
    size,
    flags=cv2.INTER_LINEAR | inverse,
    borderMode=cv2.BORDER_REPLICATE,
  )
  # The nearest pixel of a place is one of the frame, or else the border's 0.
  everywhere_HW = np.full(frame_HWC.shape[:2], 255, np.uint8)
  inside_HW = cv2.warpAffine(
    everywhere_HW, at, size, flags=cv2.INTER_NEAREST | inverse
  )
  filled_HWC = np.full_like(frame_HWC, FILL)
  return cv2.copyTo(warped_HWC, inside_HW, filled_HWC)


def _blend(
  from_HWC: np.ndarray, to_HWC: np.ndarray, factor: float
) -> np.ndarray:
  """from + factor * (to - from), clipped; factor 1 is `to`, exactly."""
  return cv2.addWeighted(to_HWC, factor, from_HWC, 1 - factor, 0)


def _look_up(frame_HWC: np.ndarray, table: np.ndarray) -> np.ndarray:
  """Replaces levels by a table, [256] or [256, C]; clips and rounds down."""
  table = np.clip(table, 0, 255).astype(np.uint8)
  return cv2.LUT(frame_HWC, table.reshape(1, 256, -1))


OPS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
  op.__name__: op
  for op in (
    *(autocontrast, equalize, invert, rotate, posterize, solarize),
    *(solarize_add, colour, contrast, brightness, sharpness, shear_x, shear_y),
    *(translate_x, translate_y, hue, grey),
  )
}
