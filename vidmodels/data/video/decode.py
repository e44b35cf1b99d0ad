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
from collections.abc import Iterator
from typing import Any, Self

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from vidmodels.data.video.container import (
  BadVideo,
  display_matrix,
  frame_rate,
  rotation,
  video_stream,
)
from vidmodels.data.video.frame_reader import Packets
from vidmodels.data.video.picture import Picture, shrunk

__all__ = ['BadVideo', 'Reading', 'VideoInfo', 'probe', 'read_video']


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
    # Frames come from an object of its own: a generator that held this one
    # would keep the file open until the garbage is collected.
    self._packets = Packets(path, threads=threads)
    self._converter = VideoReformatter()
    try:
      end_s = float('inf') if end_s is None else end_s
      frames = self._packets.frames(start_s, end_s)
      first = next(frames, None)
      if first is None:
        raise BadVideo(nothing(self._packets, start_s, end_s))
      frame, self._zero_s = first
      self._harmless = self._packets.damage - self._packets.harm(start_s)
      self.info = info_of(self._packets.container, frame)
      self._size = shrunk(self.info.width, self.info.height, short_side)
    except BaseException:
      self.close()
      raise
    self._frames = itertools.chain([first], frames)

  @property
  def damage(self) -> int:
    """Packets and frames so far that did not decode whole."""
    return self._packets.damage - self._harmless

  def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
    return self

  def __next__(self) -> tuple[np.ndarray, int]:
    try:
      frame, time_s = next(self._frames)
      frame_HWC = Picture(frame, self._converter).rgb(self._size)
      return frame_HWC, round((time_s - self._zero_s) * 1e6)
    except BaseException:  # StopIteration is the usual one
      self.close()
      raise

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()

  def __del__(self):
    if hasattr(self, '_packets'):
      self.close()

  def close(self) -> None:
    """Closes the file; iteration ends."""
    self._frames = iter(())
    self._packets.close()


def nothing(packets: Packets, start_s: float, end_s: float) -> str:
  """Why a cut of a file has no frame."""
  if not packets.seen:
    return 'no frame decodes'
  return f'no frame from {start_s:g} to {end_s:g} s'


def info_of(container: Any, frame: av.VideoFrame) -> VideoInfo:
  """What an open file says of itself, and what a frame of it shows."""
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
