"""JPEGs to pixels of the crop: decode, resize, cut, mirror."""

import collections
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from vidmodels.data.augment.crops import Crop, resized
from vidmodels.typing import InputError

# RGB, three channels of grey JPEGs too, and no turning by EXIF tags: readers
# of the same records in TensorFlow do not turn either.
_READ = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


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
  if crop.short_side:
    frame_HWC = _resize(
      frame_HWC, *resized(*frame_HWC.shape[:2], crop.short_side, crop.long_side)
    )
  if crop.zoom != 1:
    frame_HWC = _resize(
      frame_HWC, *(int(n * crop.zoom) for n in frame_HWC.shape[:2])
    )
  H, W = frame_HWC.shape[:2]
  h, w = crop.height or size, crop.width or size
  if not (0 <= crop.top <= H - h and 0 <= crop.left <= W - w):
    raise ValueError(f'{crop} of {size=} does not fit in {H} x {W} pixels')
  cut_HWC = frame_HWC[crop.top : crop.top + h, crop.left : crop.left + w]
  cut_HWC = _resize(cut_HWC, size, size)
  if crop.flip:
    cut_HWC = cut_HWC[:, ::-1]
  return cut_HWC.copy()


def _resize(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
  if frame_HWC.shape[:2] == (height, width):
    return frame_HWC
  return cv2.resize(frame_HWC, (width, height), interpolation=cv2.INTER_LINEAR)


def each(
  jpegs: Sequence[bytes], indices: Sequence[int]
) -> Iterator[tuple[list[int], np.ndarray]]:
  """Decodes the frames of a clip, each once.

  Args:
    jpegs: the frames of the whole video; only those asked for are decoded.
    indices: T frame numbers; they may repeat.

  Yields:
    The places in the clip where a frame stands, and the frame as stored, uint8
    [H, W, C].

  Raises:
    InputError: naming the frame, if one does not decode or has another size.
  """
  places = collections.defaultdict(list)
  for t, frame in enumerate(indices):
    places[int(frame)].append(t)
  shape = None
  for frame, ts in places.items():
    try:
      frame_HWC = decode(jpegs[frame])
    except InputError as e:
      raise InputError(f'frame {frame}: {e}') from e
    shape = shape or frame_HWC.shape
    if frame_HWC.shape != shape:
      raise InputError(
        f'frame {frame} has {frame_HWC.shape} where frame {indices[0]} has '
        f'{shape}; wanted one size a video; prepare the video again'
      )
    yield ts, frame_HWC


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
  crop = None
  for ts, frame_HWC in each(jpegs, indices):
    if crop is None:
      crop = choose(*frame_HWC.shape[:2])
    video_THWC[ts] = cut(frame_HWC, crop, size)
  return video_THWC, crop
