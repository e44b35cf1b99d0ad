"""Video files to RGB frames or JPEGs with true time stamps, by PyAV.

  with decode.VideoReader('a.mp4', short_side=256) as reader:
    for frame_HWC, time_us in reader: ...

Everything that FFmpeg opens is read: the first video stream, turned as its
rotation says, any pixel format and colour range converted to 8-bit RGB, in the
order shown. A damaged packet costs its own frames and is counted; a file
without a frame is a `BadVideo` with a short reason. The aspect ratio of pixels
is ignored, as in the papers.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any, Self

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from vidmodels.data.video.container import (
  BadVideo,
  Matrix,
  VideoInfo,
  read_video_info,
  turn_upright,
)
from vidmodels.data.video.frame_reader import FrameReader
from vidmodels.data.video.video_file import name_memory_errors, require_memory
from vidmodels.typing import AnyPath

# FFmpeg's default in this build turns white of 10-bit video into 253.
_CONVERSION = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT


class VideoReader:
  """An iterator over `(frame_HWC, timestamp_us)` of one file.

  Frames are uint8 [H, W, 3], RGB, all of the size of the first; times are
  microseconds from the first. Stamps come from the file where they rise. A
  stamp that is missing or does not rise is set one frame after the last; so is
  every stamp of an AVI, whose stamps follow the order of decoding.

  It holds one frame at a time. It closes the file at its end, on an error, by
  `close`, or at the end of a `with` block. `info` is what its header says.
  """

  def __init__(
    self,
    path: AnyPath,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    short_side: int = 0,
    threads: int = 1,
  ):
    """Opens a file; BadVideo if it, or the time range, has no frame.

    Frames shown before `start_s`, seconds from the start of the video, or at
    `end_s` or later are left out. Frames are shrunk to `short_side` pixels,
    never enlarged; 0 keeps them. `threads` change the speed of the decoder
    only.
    """
    end_s = float('inf') if end_s is None else end_s
    self._path = pathlib.Path(path)
    # A separate object: a generator that referred to this one would keep the
    # file open until the garbage is collected.
    with name_memory_errors(path):
      self._file = FrameReader(self._path, threads=threads)
    self._converter = VideoReformatter()
    self._frames: Iterator[tuple[av.VideoFrame, float]] = iter(())
    try:
      frames = self._file.frames(start_s, end_s)
      with name_memory_errors(path):
        first = next(frames, None)
      if first is None:
        raise self._file.no_frame_error(start_s, end_s)
      frame, self._zero_s = first
      earlier = self._file.damage - self._file.damage_since(start_s)
      self._earlier_damage = earlier
      self.info = read_video_info(
        self._file.container, frame, self._file.matrix
      )
      self._size = shrink_size(self.info.width, self.info.height, short_side)
    except BaseException:
      self.close()
      raise
    self._frames = itertools.chain([first], frames)

  @property
  def damage(self) -> int:
    """Packets and frames so far that did not decode completely."""
    return self._file.damage - self._earlier_damage

  def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
    return self

  def __next__(self) -> tuple[np.ndarray, int]:
    try:
      with name_memory_errors(self._path):
        frame, time_s = next(self._frames)
        picture = Picture(frame, self._converter, self._file.matrix)
        return picture.rgb(self._size), round((time_s - self._zero_s) * 1e6)
    except BaseException:  # usually StopIteration
      self.close()
      raise

  def pictures(self) -> Iterator[tuple['Picture', int]]:
    """Yields what iterating gives, with frames that become RGB on demand.

    A picture that is not asked for its RGB costs only its decoding. At the size
    of `info`, `short_side` is not applied.
    """
    while True:
      try:
        with name_memory_errors(self._path):
          pair = next(self._frames, None)
      except BaseException:
        self.close()
        raise
      if pair is None:
        self.close()
        return
      picture = Picture(pair[0], self._converter, self._file.matrix)
      yield picture, round((pair[1] - self._zero_s) * 1e6)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()

  def __del__(self):
    if hasattr(self, '_file'):
      self.close()

  def close(self) -> None:
    """Closes the file; iteration ends."""
    self._frames = iter(())
    self._file.close()


def probe(path: AnyPath) -> VideoInfo:
  """Opens a file and decodes its first frame."""
  with VideoReader(path) as reader:
    return reader.info


@dataclasses.dataclass(eq=False)
class Picture:
  """A decoded frame; makes its RGB and its JPEGs on demand and only once.

  Clips that share a frame share its picture.
  """

  frame: av.VideoFrame  # as decoded
  converter: VideoReformatter  # one for each file: its tables are made once
  matrix: Matrix  # the file's display matrix

  def __post_init__(self):
    self._rgb_HWC: np.ndarray | None = None
    self._jpegs: dict[tuple[tuple[int, int], int], bytes] = {}

  def rgb(self, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] of a (width, height), upright.

    Raises BadVideo if FFmpeg cannot convert the pixels.
    """
    if self._rgb_HWC is None:
      frame = self.frame
      try:
        rgb = self.converter.reformat(
          frame,
          format='rgb24',
          src_color_range=frame.color_range,
          interpolation=_CONVERSION,
          threads=1,
        )
        self._rgb_HWC = turn_upright(rgb.to_ndarray(), self.matrix)
      except MemoryError:
        raise
      except (av.FFmpegError, ValueError) as e:
        require_memory()
        raise BadVideo(f'{frame.format.name} frames cannot become RGB') from e
    return resize_frame(self._rgb_HWC, size)

  def jpeg(self, size: tuple[int, int], quality: int) -> bytes:
    """The frame as a JPEG of a (width, height); quality is 1 to 100.

    Raises BadVideo if it cannot become RGB or is too large for a JPEG.
    """
    key = (size, quality)
    if key not in self._jpegs:
      self._jpegs[key] = encode_jpeg(self.rgb(size), size, quality)
    return self._jpegs[key]


class RgbPicture(Picture):
  """A frame that is RGB already."""

  def __init__(self, frame_HWC: np.ndarray):
    self._rgb_HWC, self._jpegs = frame_HWC, {}


def shrink_size(width: int, height: int, short_side: int) -> tuple[int, int]:
  """(width, height) with a short side, pixels; never larger; 0 keeps them."""
  scale = min(1.0, short_side / min(width, height)) if short_side else 1.0
  return max(1, round(scale * width)), max(1, round(scale * height))


def resize_frame(frame_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The frame at a (width, height), contiguous."""
  if frame_HWC.shape[1::-1] != size:
    frame_HWC = cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA)
  return np.ascontiguousarray(frame_HWC)


def encode_jpeg(
  frame_HWC: np.ndarray, size: tuple[int, int], quality: int
) -> bytes:
  """An RGB frame as a JPEG of a (width, height); quality is 1 to 100.

  Raises BadVideo if it is too large for a JPEG, MemoryError if memory ran out.
  """
  bgr_HWC = cv2.cvtColor(resize_frame(frame_HWC, size), cv2.COLOR_RGB2BGR)
  flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
  try:
    encoded, data = cv2.imencode('.jpg', bgr_HWC, flags)
  except cv2.error as e:
    if e.code == cv2.Error.StsNoMem:
      raise MemoryError(str(e)) from e
    require_memory()
    encoded = False
  if not encoded:
    raise BadVideo(f'frames of {size[0]}x{size[1]} cannot become JPEGs')
  return data.tobytes()
