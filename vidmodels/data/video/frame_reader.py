"""An open video file as frames in the order shown, each with its time.

Frames come from the start of the file. Where `skip` says that none is wanted
before some time, those up to the last entry before it (`keyframes.py`) are not
decoded; what then comes is what a decoder from the start would give.
"""

import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import av

from vidmodels.data.video import keyframes
from vidmodels.data.video.container import (
  UNORDERED,
  frame_rate,
  open_video,
  start_time,
  video_stream,
)

SKIP_S = 2.0  # a shorter gap is decoded
EPS_S = 1e-6  # stamps are rationals; cuts come in decimals


class Packets:
  """The decoder of one file; forgives what is damaged, and counts it.

  Attributes:
    container: the open file; None once closed.
    stream: its video.
    seen: whether any frame was decoded.
    time_s: of the frame given last, seconds from the video's start.
  """

  def __init__(
    self, path: pathlib.Path, *, threads: int = 1, last_s: float = 0.0
  ):
    """Opens a file.

    Args:
      path: the file.
      threads: of the decoder.
      last_s: the latest time that `skip` will be asked for.

    Raises:
      BadVideo: if there is no video to be had.
    """
    self.seen = False
    self.container: Any = None
    self._path = path
    self._threads = threads
    self._last_skip_s = last_s
    self._keys: keyframes.Keys | None = None
    self._open()

  def _open(self) -> None:
    self.close()
    self.container = open_video(self._path, self._threads)
    self.stream = video_stream(self.container)
    self._ordered = self.container.format.name not in UNORDERED
    self._zero_s = start_time(self.container, self.stream)
    self._begin(self._demuxed(), number=0)

  def _begin(self, packets: Iterator[av.Packet], *, number: int) -> None:
    self.time_s = 0.0
    self._number = number  # packets before the next one
    self._packet_s = 0.0
    self._last_s: float | None = None
    self._harmed_s: list[float] = []  # when each damaged part would be shown
    self._key_s = float('-inf')  # of the last key frame given
    self._shown = self._timed(self._decode(packets))

  def close(self) -> None:
    """Closes the file."""
    container, self.container = self.container, None
    if container is not None:
      container.close()

  @property
  def damage(self) -> int:
    """Packets and frames so far that did not decode whole."""
    return len(self._harmed_s)

  def harm(self, start_s: float) -> int:
    """Damage so far of a clip that starts with the frame given last.

    What lies before the last key frame does not reach the clip.
    """
    since_s = min(start_s, self._key_s) if start_s > 0 else float('-inf')
    return sum(time_s >= since_s - EPS_S for time_s in self._harmed_s)

  def next(self) -> tuple[av.VideoFrame, float] | None:
    """The next frame and its time, seconds from the video's start."""
    return next(self._shown, None)

  def frames(
    self, start_s: float, end_s: float
  ) -> Iterator[tuple[av.VideoFrame, float]]:
    """Yields the frames of a cut with seconds from the video's start."""
    self.skip(start_s)
    while (shown := self.next()) is not None:
      frame, time_s = shown
      if time_s >= end_s - EPS_S:
        return
      if time_s >= start_s - EPS_S:
        yield frame, time_s

  def skip(self, start_s: float) -> None:
    """Says that no frame before a time is wanted; some may come.

    Raises:
      BadVideo: if the file is no longer there.
    """
    # Without order or a known start, stamps mean nothing before they come.
    may = self._ordered and self._zero_s is not None
    if not may or start_s - self.time_s <= SKIP_S:
      return
    unit = self.stream.time_base
    if self._keys is None:
      until = (max(self._last_skip_s, start_s) + self._zero_s) / unit
      self._keys = keyframes.scan(self._path, float(until))
    key = self._keys.before(float((start_s + EPS_S + self._zero_s) / unit))
    if key is None or key.number <= self._number:
      return
    try:
      entered = self._enter(key)
    except av.FFmpegError:  # cannot be sought
      entered = False
    if not entered:
      self._keys = keyframes.NONE
      self._open()

  def _enter(self, key: keyframes.Key) -> bool:
    """Goes on with an entry; False if its frame does not come out."""
    self.container.seek(key.stamp, stream=self.stream)
    packets = self.container.demux(self.stream)
    for packet in packets:
      if packet.pts == key.pts and packet.is_keyframe:
        break
      if packet.dts is not None and packet.dts > key.stamp:
        return False
    else:
      return False
    self._begin(itertools.chain([packet], packets), number=key.number)
    # Frames that are shown before it lean on what was not decoded.
    for frame, time_s in self._shown:
      if frame.pts is None or frame.pts > key.pts:
        return False
      if frame.pts == key.pts:
        self._shown = itertools.chain([(frame, time_s)], self._shown)
        return frame.key_frame
    return False

  def _timed(
    self, frames: Iterator[av.VideoFrame]
  ) -> Iterator[tuple[av.VideoFrame, float]]:
    for frame in frames:
      self._last_s = self._stamp(self._time(frame))
      if self._zero_s is None:
        self._zero_s = self._last_s
      self.time_s = self._last_s - self._zero_s
      if frame.key_frame:
        self._key_s = self.time_s
      if frame.is_corrupt:
        self._harmed_s.append(self.time_s)
      yield frame, self.time_s

  def _time(self, frame: av.VideoFrame | av.Packet) -> float | None:
    # Not `frame.time`: what the decoder is flushed of has no time base.
    if frame.pts is None:
      return None
    return float(frame.pts * self.stream.time_base)

  def _stamp(self, time_s: float | None) -> float:
    """When a frame is shown, given its stamp if it has one."""
    if not self._ordered:
      time_s = None
    if self._last_s is None:
      return time_s if time_s is not None else self._zero_s or 0.0
    if time_s is None or time_s <= self._last_s:
      return self._last_s + 1 / frame_rate(self.stream)
    return time_s

  def _demuxed(self) -> Iterator[av.Packet]:
    yield from self.container.demux(self.stream)

  def _decode(self, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame]:
    while True:
      try:
        packet = next(packets, None)
      except av.FFmpegError:  # the file breaks off
        self._harmed_s.append(self._packet_s)
        packet = None
      if packet is None:
        break
      if packet.size:
        self._number += 1
        time_s = self._time(packet)
        if time_s is not None:
          self._packet_s = time_s - (self._zero_s or 0.0)
      yield from self._decoded(packet.decode)
    # A file that broke off has left frames in the decoder.
    yield from self._decoded(self.stream.codec_context.decode)

  def _decoded(
    self, decode: Callable[[], list[av.VideoFrame]]
  ) -> Iterator[av.VideoFrame]:
    try:
      frames = decode()
    except av.error.EOFError:  # was empty already
      return
    except av.FFmpegError:
      self._harmed_s.append(self._packet_s)
      return
    for frame in frames:
      self.seen = True
      yield frame
