"""A decoded frame as RGB or as a JPEG, made when asked for and only once."""

import dataclasses

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from vidmodels.data.video.container import BadVideo, display_matrix, turned

# FFmpeg's default in this build turns white of 10-bit video into 253.
_CONVERSION = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT


@dataclasses.dataclass(eq=False)
class Picture:
  """One frame of a file; clips that share it share its RGB and its JPEG.

  Attributes:
    frame: as decoded.
    converter: one a file, so that its tables are made once.
  """

  frame: av.VideoFrame
  converter: VideoReformatter

  def __post_init__(self):
    self._rgb_HWC: np.ndarray | None = None
    self._jpegs: dict[tuple[tuple[int, int], int], bytes] = {}

  def rgb(self, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] of a (width, height), the right way up.

    Raises:
      BadVideo: if FFmpeg cannot convert the pixels.
    """
    if self._rgb_HWC is None:
      self._rgb_HWC = self._upright()
    return resized(self._rgb_HWC, size)

  def jpeg(self, size: tuple[int, int], quality: int) -> bytes:
    """The frame as a JPEG of a (width, height); quality is 1 to 100.

    Raises:
      BadVideo: if it cannot become RGB or is too large for a JPEG.
    """
    key = (size, quality)
    if key not in self._jpegs:
      self._jpegs[key] = jpeg(self.rgb(size), size, quality)
    return self._jpegs[key]

  def _upright(self) -> np.ndarray:
    frame = self.frame
    try:
      rgb = self.converter.reformat(
        frame,
        format='rgb24',
        src_color_range=frame.color_range,
        interpolation=_CONVERSION,
        threads=1,
      )
      return turned(rgb.to_ndarray(), display_matrix(frame))
    except (av.FFmpegError, ValueError) as e:
      raise BadVideo(f'{frame.format.name} frames cannot become RGB') from e


@dataclasses.dataclass(eq=False)
class Still:
  """A frame that is RGB already, to be used as a `Picture` is."""

  frame_HWC: np.ndarray

  def __post_init__(self):
    self._jpeg = b''

  def jpeg(self, size: tuple[int, int], quality: int) -> bytes:
    """As `Picture.jpeg`; the first size and quality are all it is made in."""
    self._jpeg = self._jpeg or jpeg(self.frame_HWC, size, quality)
    return self._jpeg


def shrunk(width: int, height: int, short_side: int) -> tuple[int, int]:
  """(width, height) with a short side, pixels; never larger; 0 keeps them."""
  scale = min(1.0, short_side / min(width, height)) if short_side else 1.0
  return max(1, round(scale * width)), max(1, round(scale * height))


def resized(frame_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The frame at a (width, height), contiguous."""
  if frame_HWC.shape[1::-1] != size:
    frame_HWC = cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA)
  return np.ascontiguousarray(frame_HWC)


def jpeg(frame_HWC: np.ndarray, size: tuple[int, int], quality: int) -> bytes:
  """An RGB frame as a JPEG of a (width, height); quality is 1 to 100.

  Raises:
    BadVideo: if it is too large for a JPEG.
  """
  bgr_HWC = cv2.cvtColor(resized(frame_HWC, size), cv2.COLOR_RGB2BGR)
  flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
  try:
    done, data = cv2.imencode('.jpg', bgr_HWC, flags)
  except cv2.error:
    done = False
  if not done:
    raise BadVideo(f'frames of {size[0]}x{size[1]} cannot become JPEGs')
  return data.tobytes()
