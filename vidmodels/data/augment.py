"""From a stored frame to the model's pixels: resize, crop, mirror.

A `Crop` holds what was drawn, once a clip; `cut` applies it to each frame.
Evaluation cuts with the same function, from the crops of `views.py`.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from vidmodels import config
from vidmodels.data.classes import ClassList
from vidmodels.data.flip import FlipPolicy
from vidmodels.typing import InputError

# RGB, three channels of grey JPEGs too, and no turning by EXIF tags: readers
# of the same records in TensorFlow do not turn either.
_READ = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crop:
  """Where a clip is cut from its frames; all of them alike.

  Attributes:
    short_side: the frame's short side after resizing, pixels.
    top: first row of the crop in the resized frame.
    left: its first column.
    flip: whether the crop is mirrored, left to right.
  """

  short_side: int
  top: int
  left: int
  flip: bool = False


def check(augment: config.Augment, size: int) -> None:
  """Raises InputError if the crop of `size` pixels does not always fit."""
  low, high = augment.short_side
  if not size <= low <= high:
    raise InputError(
      f'augment.short_side=({low}, {high}) came with clip.size={size}; wanted '
      f'lowest and highest short side, both at least the crop; set them to '
      f'{size} or more, the lower first'
    )


def mirror_labels(
  augment: config.Augment, policy: FlipPolicy, classes: ClassList
) -> np.ndarray:
  """The label of each class's mirror image, int64 [K].

  Raises:
    InputError: if `augment.flip` asks for what the data set's policy forbids.
  """
  if not augment.flip:
    return np.arange(len(classes))
  if policy.kind == 'forbid':
    raise InputError(
      f'augment.flip={augment.flip:g} came with a data set that forbids it (a '
      'mirrored clip may have another label); set augment.flip=0, or if labels '
      'survive a mirror prepare the set with --flip=free, or if some trade '
      'places with --flip=swap:left=right'
    )
  return policy.label_map(classes)


def draw(
  rng: np.random.Generator,
  height: int,
  width: int,
  augment: config.Augment,
  size: int,
) -> Crop:
  """Draws a training crop: short side, place and flip.

  The short side is uniform over the whole numbers of `augment.short_side`, both
  ends included; the place is uniform over all that fit, the last included.

  Args:
    rng: where the draws come from; the flip is the last of them, so that a
      recipe without flips sees the same crops.
    height: of the frames as stored, pixels.
    width: of the frames as stored, pixels.
    augment: what may vary.
    size: height and width of the crop, pixels.
  """
  low, high = augment.short_side
  side = int(rng.integers(low, high + 1))
  new_height, new_width = resized(height, width, side)
  return Crop(
    short_side=side,
    top=int(rng.integers(new_height - size + 1)),
    left=int(rng.integers(new_width - size + 1)),
    flip=bool(rng.random() < augment.flip),
  )


def resized(height: int, width: int, short_side: int) -> tuple[int, int]:
  """Height and width once the short side is `short_side`.

  The long side is rounded down, as DMVR and PySlowFast do.
  """
  short = min(height, width)
  return height * short_side // short, width * short_side // short


def decode(jpeg: bytes) -> np.ndarray:
  """A JPEG as RGB, uint8 [H, W, C]; a grey one has three equal channels.

  Raises:
    InputError: if the bytes are no whole image.
  """
  # OpenCV asserts that a buffer is not empty, and returns None for the rest.
  data = np.frombuffer(jpeg, np.uint8)
  frame_HWC = cv2.imdecode(data, _READ) if len(data) else None
  if frame_HWC is None:
    raise InputError(
      f'{len(data)} bytes came that do not decode; wanted a whole JPEG; '
      'prepare the video again or leave it out'
    )
  return frame_HWC


def cut(frame: bytes | np.ndarray, crop: Crop, size: int) -> np.ndarray:
  """Resizes a frame, cuts the crop out of it and mirrors it if asked.

  Bilinear without antialiasing, larger or smaller, in training and in tests:
  the five papers' releases and DMVR resize so, and their weights know those
  pixels. Shrinking by far more than 2 aliases; `prepare --short-side` brings
  large videos near the size wanted.

  Args:
    frame: a JPEG, or its pixels, uint8 [H, W, C].
    crop: what to cut; must fit.
    size: height and width of the crop, pixels.

  Returns:
    An array of its own, contiguous, uint8 [size, size, C].

  Raises:
    InputError: if a JPEG does not decode.
    ValueError: if the crop reaches past the resized frame.
  """
  frame_HWC = decode(frame) if isinstance(frame, bytes) else frame
  H, W = resized(*frame_HWC.shape[:2], crop.short_side)
  if not (0 <= crop.top <= H - size and 0 <= crop.left <= W - size):
    raise ValueError(f'{crop} of {size=} does not fit in {H} x {W} pixels')
  if frame_HWC.shape[:2] != (H, W):
    frame_HWC = cv2.resize(frame_HWC, (W, H), interpolation=cv2.INTER_LINEAR)
  rows = slice(crop.top, crop.top + size)
  cut_HWC = frame_HWC[rows, crop.left : crop.left + size]
  if crop.flip:
    cut_HWC = cut_HWC[:, ::-1]
  return cut_HWC.copy()


def cut_clip(
  jpegs: Sequence[bytes],
  indices: Sequence[int],
  choose: Callable[[int, int], Crop],
  size: int,
) -> tuple[np.ndarray, Crop]:
  """Decodes the frames of a clip, each once, and cuts all of them alike.

  Args:
    jpegs: the frames of the whole video; only those asked for are decoded.
    indices: T frame numbers; they may repeat.
    choose: gives the crop for a height and width. It is asked once, with the
      size of the first frame decoded and not with what the record says: foreign
      records may say nothing, or something else.
    size: height and width of the crop, pixels.

  Returns:
    The clip, uint8 [T, H, W, C], and the crop chosen.

  Raises:
    InputError: naming the frame, if one does not decode or has another size.
  """
  video_THWC = np.empty((len(indices), size, size, 3), np.uint8)
  places = collections.defaultdict(list)
  for t, frame in enumerate(indices):
    places[int(frame)].append(t)
  shape = crop = None
  for frame, ts in places.items():
    try:
      frame_HWC = decode(jpegs[frame])
    except InputError as e:
      raise InputError(f'frame {frame}: {e}') from e
    if crop is None:
      shape = frame_HWC.shape
      crop = choose(*shape[:2])
    if frame_HWC.shape != shape:
      raise InputError(
        f'frame {frame} has {frame_HWC.shape} where frame {indices[0]} has '
        f'{shape}; wanted one size a video; prepare the video again'
      )
    video_THWC[ts] = cut(frame_HWC, crop, size)
  return video_THWC, crop
