"""An open video file as frames in the order shown, each with its time."""

import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import av

from vidmodels.data.container import (
  UNORDERED,
  frame_rate,
  open_video,
  start_time,
  video_stream,
)

SEEK_S = 2.0  # a cut that starts later than this is sought
_EPS_S = 1e-6  # stamps are rationals; cuts come in decimals


class Packets:
  """The decoder of one file; forgives what is damaged, and counts it.

  Attributes:
    container: the open file; None once closed.
    stream: its video.
    damage: packets and frames so far that did not decode whole.
    seen: whether any frame was decoded.
  """

  def __init__(self, path: pathlib.Path, *, threads: int):
    self.damage = 0
    self.seen = False
    self.container: Any = None
    self._path = path
    self._threads = threads
    self._open()

  def _open(self) -> None:
    self.close()
    self.container = open_video(self._path, self._threads)
    self.stream = video_stream(self.container)
    self._ordered = self.container.format.name not in UNORDERED
    self._zero_s = start_time(self.container, self.stream)
    self._last_s: float | None = None

  def close(self) -> None:
    """Closes the file."""
    container, self.container = self.container, None
    if container is not None:
      container.close()

  def frames(
    self, start_s: float, end_s: float
  ) -> Iterator[tuple[av.VideoFrame, float]]:
    """Yields the frames of a cut with seconds from the video's start."""
    for frame, time_s in self._from(start_s):
      if time_s >= end_s - _EPS_S:
        return
      if time_s >= start_s - _EPS_S:
        yield frame, time_s

  def _from(self, start_s: float) -> Iterator[tuple[av.VideoFrame, float]]:
    """Yields frames from some time at or before `start_s`."""
    # A seek goes by stamps: without order or a known start they mean nothing.
    if start_s > SEEK_S and self._zero_s is not None:
      target = int((start_s + self._zero_s) / self.stream.time_base)
      try:
        self.container.seek(target, stream=self.stream)
        timed = self._timed()
        first = next(timed, None)
      except av.FFmpegError:  # cannot be sought
        first = None
      if (
        first
        and self._time(first[0]) is not None
        and first[1] <= start_s + _EPS_S
      ):
        self.damage = 0  # of frames that lean on some before the key frame
        yield from itertools.chain([first], timed)
        return
      self._open()
      self.damage = 0
    yield from self._timed()

  def _timed(self) -> Iterator[tuple[av.VideoFrame, float]]:
    for frame in self._decode():
      self._last_s = self._stamp(self._time(frame))
      if self._zero_s is None:
        self._zero_s = self._last_s
      yield frame, self._last_s - self._zero_s

  def _time(self, frame: av.VideoFrame) -> float | None:
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

  def _decode(self) -> Iterator[av.VideoFrame]:
    packets = self.container.demux(self.stream)
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
    yield from self._decoded(self.stream.codec_context.decode)

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
      self.seen = True
      self.damage += frame.is_corrupt
      yield frame
