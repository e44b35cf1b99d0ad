"""Decodes an open video file to frames in the order shown, with their times.

Frames come from the start of the file. `skip_to` leaves out frames before a
time: it continues at the last entry point before it (`find_key_frames`), and
the frames after that are those that a decoder from the start would give.
"""

import bisect
import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av

from vidmodels.data.video.container import (
  DECODE_ORDER_FORMATS,
  UPRIGHT,
  BadVideo,
  Matrix,
  display_matrix,
  frame_rate,
  open_video,
  start_time,
  video_stream,
)
from vidmodels.data.video.video_file import pass_over_damage, require_memory

SKIP_S = 2.0  # shorter gaps are decoded
EPS_S = 1e-6  # stamps are rationals; clip times are decimals


@dataclasses.dataclass(frozen=True)
class KeyFrame:
  """A packet that decoding may start with."""

  number: int  # packets before it in the file
  pts: int  # when its frame is shown, in the stream's units
  stamp: int  # what to seek to; the earlier of its two stamps


def last_before(entries: Sequence[KeyFrame], pts: float) -> KeyFrame | None:
  """The last entry point that is shown at `pts` or earlier."""
  i = bisect.bisect_right(entries, pts, key=lambda entry: entry.pts)
  return entries[i - 1] if i else None


def find_key_frames(path: pathlib.Path, until: float) -> list[KeyFrame]:
  """Where decoding may start without changing any frame that follows.

  An entry point is flagged as a key frame, and everything shown before it
  comes before it in the file: so no later frame depends on an earlier packet.
  A seek alone does not promise that: containers seek by the time of decoding,
  and some encoders flag frames as key frames that are not. Where two packets
  have the same stamp, or one has none, the file has no entry point at all:
  only a decoder from the start can count the times after them.

  Packets are read, not decoded, until one is decoded after `until`, in the
  stream's units.
  """
  pts, stamps, flags = [], [], []
  with (
    contextlib.closing(open_video(path, 1)) as container,
    pass_over_damage(),  # the file breaks off
  ):
    for packet in container.demux(video_stream(container)):
      if not packet.size:  # the last one only flushes the decoder
        continue
      if packet.pts is None:
        return []
      pts.append(packet.pts)
      dts = packet.pts if packet.dts is None else packet.dts
      stamps.append(min(packet.pts, dts))
      flags.append(packet.is_keyframe and not packet.is_discard)
      if packet.dts is not None and packet.dts > until:
        break
  return [] if len(set(pts)) < len(pts) else _select_entries(pts, stamps, flags)


def _select_entries(
  pts: Sequence[int], stamps: Sequence[int], flags: Sequence[bool]
) -> list[KeyFrame]:
  # An entry point is shown after all packets before it.
  latest = itertools.accumulate(pts, max)
  return [
    KeyFrame(number, time, stamps[number])
    for number, (time, last) in enumerate(zip(pts, latest, strict=True))
    if time == last and flags[number]
  ]


class FrameReader:
  """The decoder of one file; tolerates damage and counts it.

  `container` is the open file, None once closed, and `stream` its video stream;
  the last frame given is at `time_s`, seconds from the start of the video, and
  all frames are to be turned by `matrix`, which the first one has.
  """

  def __init__(
    self, path: pathlib.Path, *, threads: int = 1, last_s: float = 0.0
  ):
    """Opens a file as a video, or raises BadVideo.

    `threads` are the decoder's; `last_s` is the latest time that `skip_to` will
    be called with.
    """
    self.decoded_any = False
    self.container: Any = None
    self.matrix: Matrix = UPRIGHT
    self._path = path
    self._threads = threads
    self._last_skip_s = last_s
    self._key_frames: list[KeyFrame] | None = None
    self._open()

  def _open(self) -> None:
    self.close()
    self.container = open_video(self._path, self._threads)
    self.stream = video_stream(self.container)
    self._ordered = self.container.format.name not in DECODE_ORDER_FORMATS
    self._zero_s = start_time(self.container, self.stream)
    self._start_decoding(self._demux(), number=0)

  def _start_decoding(
    self, packets: Iterator[av.Packet], *, number: int
  ) -> None:
    self.time_s = 0.0
    self._number = number  # packets before the next one
    self._packet_s = 0.0
    self._last_s: float | None = None
    self._damage_s: list[float] = []  # when each damaged part would be shown
    self._key_s = float('-inf')  # time of the last key frame given
    self._frames = self._timed_frames(self._decode(packets))

  def close(self) -> None:
    """Closes the file."""
    container, self.container = self.container, None
    if container is not None:
      container.close()

  @property
  def damage(self) -> int:
    """Packets and frames so far that did not decode completely."""
    return len(self._damage_s)

  def damage_since(self, start_s: float) -> int:
    """Damage so far of a clip that starts with the last frame given.

    Damage before the last key frame does not reach the clip.
    """
    since_s = min(start_s, self._key_s) if start_s > 0 else float('-inf')
    return sum(time_s >= since_s - EPS_S for time_s in self._damage_s)

  def next_frame(self) -> tuple[av.VideoFrame, float] | None:
    """The next frame and its time, seconds from the start of the video."""
    return next(self._frames, None)

  def frames(
    self, start_s: float, end_s: float
  ) -> Iterator[tuple[av.VideoFrame, float]]:
    """Yields the frames of a time range with seconds from the video's start."""
    self.skip_to(start_s)
    while (pair := self.next_frame()) is not None:
      if pair[1] >= end_s - EPS_S:
        return
      if pair[1] >= start_s - EPS_S:
        yield pair

  def no_frame_error(self, start_s: float, end_s: float) -> BadVideo:
    """The error for a time range without a frame."""
    if not self.decoded_any:
      require_memory()
      return BadVideo('no frame decodes')
    return BadVideo(f'no frame from {start_s:g} to {end_s:g} s')

  def skip_to(self, start_s: float) -> None:
    """Skips frames before a time where that is safe; some may still come."""
    # Stamps without order or a known start mean nothing in advance.
    if not self._ordered or self._zero_s is None:
      return
    if start_s - self.time_s <= SKIP_S:
      return
    unit = self.stream.time_base
    if self._key_frames is None:
      until = (max(self._last_skip_s, start_s) + self._zero_s) / unit
      self._key_frames = find_key_frames(self._path, float(until))
    pts = float((start_s + EPS_S + self._zero_s) / unit)
    key = last_before(self._key_frames, pts)
    if key is None or key.number <= self._number:
      return
    with pass_over_damage():  # the file cannot be sought
      if self._enter(key):
        return
    self._key_frames = []
    self._open()

  def _enter(self, key: KeyFrame) -> bool:
    """Continues at an entry point; False if its frame does not come out."""
    self.container.seek(key.stamp, stream=self.stream)
    packets = self.container.demux(self.stream)
    for packet in packets:
      if packet.pts == key.pts and packet.is_keyframe:
        break
      if packet.dts is not None and packet.dts > key.stamp:
        return False
    else:
      return False
    self._start_decoding(itertools.chain([packet], packets), number=key.number)
    # Frames shown before it may depend on packets that were not decoded.
    for frame, time_s in self._frames:
      if frame.pts is None or frame.pts > key.pts:
        return False
      if frame.pts == key.pts:
        self._frames = itertools.chain([(frame, time_s)], self._frames)
        return frame.key_frame
    return False

  def _timed_frames(
    self, frames: Iterator[av.VideoFrame]
  ) -> Iterator[tuple[av.VideoFrame, float]]:
    for frame in frames:
      self._last_s = self._stamp(self._time_of(frame))
      if self._zero_s is None:
        self._zero_s = self._last_s
      self.time_s = self._last_s - self._zero_s
      if frame.key_frame:
        self._key_s = self.time_s
      if frame.is_corrupt:
        require_memory()
        self._damage_s.append(self.time_s)
      yield frame, self.time_s

  def _time_of(self, frame: av.VideoFrame | av.Packet) -> float | None:
    # Not `frame.time`: frames flushed from the decoder have no time base.
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

  def _demux(self) -> Iterator[av.Packet]:
    yield from self.container.demux(self.stream)

  def _decode(self, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame]:
    while True:
      try:
        packet = next(packets, None)
      except MemoryError:
        raise
      except av.FFmpegError:  # the file breaks off
        require_memory()
        self._damage_s.append(self._packet_s)
        packet = None
      if packet is None:
        break
      if packet.size:
        self._number += 1
        time_s = self._time_of(packet)
        if time_s is not None:
          self._packet_s = time_s - (self._zero_s or 0.0)
      yield from self._try_decode(packet.decode)
    # A file that broke off has left frames in the decoder.
    yield from self._try_decode(self.stream.codec_context.decode)

  def _try_decode(self, decode: Callable[[], Any]) -> Iterator[av.VideoFrame]:
    try:
      frames = decode()
    except av.error.EOFError:  # the decoder was empty already
      return
    except MemoryError:
      raise
    except av.FFmpegError:
      require_memory()
      self._damage_s.append(self._packet_s)
      return
    for frame in frames:
      if not self.decoded_any:
        self.matrix = display_matrix(frame)
        self.decoded_any = True
      yield frame
