"""Video file to RGB frames and true time stamps, by PyAV.

Whatever FFmpeg opens is read: the first video stream, turned as its rotation
says, any pixel format and colour range converted to 8-bit RGB, in the order
shown. A damaged packet costs its own frames and is counted; a file that gives
no frame is a `BadVideo` with a short reason. The pixels' aspect ratio is
ignored, as the papers do.
"""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, Self

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from vidmodels.data.container import (
  UNORDERED,
  BadVideo,
  display_matrix,
  frame_rate,
  open_video,
  rotation,
  start_time,
  turned,
  video_stream,
)

_SEEK_S = 2.0  # a cut that starts later than this is sought
_EPS_S = 1e-6  # stamps are rationals; cuts come in decimals
# FFmpeg's default in this build turns white of 10-bit video into 253.
_CONVERSION = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoInfo:
  """What a file says of its video, and what its first frame shows.

  Attributes:
    width: as shown, after rotation, pixels.
    height: as shown, after rotation, pixels.
    fps: the average rate by the header.
    frames: by the header: 0 if it does not say, often too many if it does.
    duration_s: by the header; 0 if it does not say.
    codec: its FFmpeg name.
    pix_fmt: of the coded frames, FFmpeg's name.
    rotation: degrees clockwise, 0, 90, 180 or 270, that frames were turned.
  """

  width: int
  height: int
  fps: float
  frames: int
  duration_s: float
  codec: str
  pix_fmt: str
  rotation: int


def probe(path: str | os.PathLike[str]) -> VideoInfo:
  """Opens a file and decodes its first frame.

  Raises:
    BadVideo: if that fails.
  """
  with read_video(path) as reading:
    return reading.info


def read_video(
  path: str | os.PathLike[str],
  *,
  start_s: float = 0.0,
  end_s: float | None = None,
  short_side: int = 0,
  threads: int = 1,
) -> 'Reading':
  """Opens a file to iterate over `(frame_HWC, timestamp_us)`.

  Args:
    path: any container FFmpeg opens.
    start_s: frames shown earlier are left out; seconds from the video's start.
    end_s: frames shown then or later are left out.
    short_side: frames are shrunk to this short side, pixels; never enlarged;
      0 keeps them.
    threads: of the decoder; they change speed only.

  Returns:
    An iterator that holds one frame at a time and closes the file at its end,
    on an error, by `close` or at the end of a `with` block.

  Raises:
    BadVideo: if the file gives no frame, here or for a cut.
  """
  return Reading(
    pathlib.Path(path),
    start_s=start_s,
    end_s=end_s,
    short_side=short_side,
    threads=threads,
  )


class Reading:
  """Frames of one file, uint8 [H, W, 3], with microseconds from the first.

  Stamps come from the file where they rise. One that is missing or does not
  rise is set a frame after the last; so is every one of an AVI, whose stamps
  follow the order of decoding. All frames get the size of the first.

  Attributes:
    info: what the file says.
    damage: packets and frames so far that did not decode whole.
  """

  def __init__(
    self,
    path: pathlib.Path,
    *,
    start_s: float,
    end_s: float | None,
    short_side: int,
    threads: int,
  ):
    self.damage = 0
    self._path = path
    self._cut_s = (start_s, float('inf') if end_s is None else end_s)
    self._short_side = short_side
    self._threads = threads
    self._converter = VideoReformatter()
    self._container = None
    self._last_s: float | None = None
    frames = self._cut(seek=start_s > _SEEK_S)
    try:
      first = next(frames, None)
      if first is None:
        raise BadVideo(self._nothing())
      frame, self._zero_s = first
      self.info = _info(self._container, frame)
      side = min(self.info.height, self.info.width)
      scale = min(1.0, short_side / side) if short_side else 1.0
      self._size = tuple(
        max(1, round(scale * s)) for s in (self.info.width, self.info.height)
      )
    except BaseException:
      self.close()
      raise
    self._frames = itertools.chain([first], frames)

  def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
    return self

  def __next__(self) -> tuple[np.ndarray, int]:
    try:
      frame, time_s = next(self._frames)
      return self._picture(frame), round((time_s - self._zero_s) * 1e6)
    except BaseException:  # StopIteration is the usual one
      self.close()
      raise

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()

  def __del__(self):
    self.close()

  def close(self) -> None:
    """Closes the file; iteration ends."""
    self._frames = iter(())
    container, self._container = self._container, None
    if container is not None:
      container.close()

  def _cut(self, *, seek: bool) -> Iterator[tuple[av.VideoFrame, float]]:
    """Yields the frames of the cut, with seconds from the video's start."""
    start_s, end_s = self._cut_s
    self._container = open_video(self._path, self._threads)
    stream = video_stream(self._container)
    zero_s = start_time(self._container, stream)
    # Without a known start the stamps after a seek would mean nothing.
    if seek := seek and zero_s is not None:
      target = int((start_s + zero_s) / stream.time_base)
      self._container.seek(target, stream=stream)
    self._last_s, began = None, False
    for frame in self._decode(stream):
      time_s = self._last_s = self._stamp(frame, stream)
      zero_s = time_s if zero_s is None else zero_s
      time_s -= zero_s
      if seek and not began and time_s > start_s + _EPS_S:
        self._container.close()  # a wrong index led past the start
        yield from self._cut(seek=False)
        return
      began = True
      if time_s >= end_s - _EPS_S:
        return
      if time_s >= start_s - _EPS_S:
        yield frame, time_s

  def _decode(self, stream: Any) -> Iterator[av.VideoFrame]:
    packets = self._container.demux(stream)
    while True:
      try:
        packet = next(packets, None)
      except av.FFmpegError:  # the file breaks off
        self.damage += 1
        packet = None
      if packet is None:
        break
      yield from self._decoded(packet.decode)
    # A file that broke off has left frames in the decoder.
    yield from self._decoded(stream.codec_context.decode)

  def _decoded(
    self, decode: Callable[[], list[av.VideoFrame]]
  ) -> Iterator[av.VideoFrame]:
    try:
      frames = decode()
    except av.error.EOFError:  # was empty already
      return
    except av.FFmpegError:
      self.damage += 1
      return
    for frame in frames:
      self.damage += frame.is_corrupt
      yield frame

  def _stamp(self, frame: av.VideoFrame, stream: Any) -> float:
    ordered = self._container.format.name not in UNORDERED
    time_s = frame.time if ordered else None
    if self._last_s is None:
      return time_s or start_time(self._container, stream) or 0.0
    if time_s is None or time_s <= self._last_s:
      return self._last_s + 1 / frame_rate(stream)
    return time_s

  def _picture(self, frame: av.VideoFrame) -> np.ndarray:
    try:
      rgb = self._converter.reformat(
        frame,
        format='rgb24',
        src_color_range=frame.color_range,
        interpolation=_CONVERSION,
        threads=1,
      )
      frame_HWC = turned(rgb.to_ndarray(), display_matrix(frame))
    except (av.FFmpegError, ValueError) as e:
      raise BadVideo(f'{frame.format.name} frames cannot become RGB') from e
    if frame_HWC.shape[1::-1] != self._size:
      frame_HWC = cv2.resize(
        frame_HWC, self._size, interpolation=cv2.INTER_AREA
      )
    return np.ascontiguousarray(frame_HWC)

  def _nothing(self) -> str:
    start_s, end_s = self._cut_s
    if self._last_s is None:
      return 'no frame decodes'
    return f'no frame from {start_s:g} to {end_s:g} s'


def _info(container: Any, frame: av.VideoFrame) -> VideoInfo:
  stream = video_stream(container)
  degrees = rotation(display_matrix(frame))
  height, width = frame.height, frame.width
  if degrees in (90, 270):
    height, width = width, height
  if stream.duration is not None:
    duration_s = float(stream.duration * stream.time_base)
  else:
    duration_s = (container.duration or 0) / 1e6
  return VideoInfo(
    width=width,
    height=height,
    fps=frame_rate(stream),
    frames=stream.frames,
    duration_s=duration_s,
    codec=stream.codec_context.name,
    pix_fmt=frame.format.name,
    rotation=degrees,
  )
