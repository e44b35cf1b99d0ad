"""Where decoding may start without changing any frame that follows.

A seek alone does not promise that: containers seek by the time of decoding,
some encoders flag frames as key frames that are not, and where stamps are
missing or doubled, times have to be counted from the start of the file. So the
packets are read, not decoded, up to the latest time of interest, and only
packets that pass the rule of `find_key_frames` become entry points.
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from vidmodels.data.video.container import open_video, video_stream


@dataclasses.dataclass(frozen=True)
class KeyFrame:
  """A packet that decoding may start with.

  Attributes:
    number: packets before it in the file.
    pts: when its frame is shown, in the stream's units.
    stamp: what to seek to; the earlier of its two stamps.
  """

  number: int
  pts: int
  stamp: int


@dataclasses.dataclass(frozen=True)
class KeyFrames:
  """The entry points of a file, sorted by time."""

  numbers_n: np.ndarray
  pts_n: np.ndarray
  stamps_n: np.ndarray

  def last_before(self, pts: float) -> KeyFrame | None:
    """The last entry point that is shown at `pts` or earlier."""
    i = int(np.searchsorted(self.pts_n, pts, side='right')) - 1
    if i < 0:
      return None
    columns = (self.numbers_n, self.pts_n, self.stamps_n)
    return KeyFrame(*(int(column[i]) for column in columns))


def find_key_frames(path: pathlib.Path, until: float) -> KeyFrames:
  """Reads the packets of a file up to a time and selects the entry points.

  An entry point is flagged as a key frame, and everything shown before it
  comes before it in the file: so no later frame depends on an earlier packet.
  Where two packets have the same stamp, or one has none, the file has no entry
  point at all: only a decoder from the start can count the times after them.

  Args:
    path: a video file.
    until: time in the stream's units; packets decoded later are not read.

  Raises:
    BadVideo: if the file cannot be opened.
  """
  pts, stamps, flags = [], [], []
  with open_video(path, 1) as container:
    for packet in _packets(container):
      if packet.pts is None:
        return NO_KEY_FRAMES
      pts.append(packet.pts)
      dts = packet.pts if packet.dts is None else packet.dts
      stamps.append(min(packet.pts, dts))
      flags.append(packet.is_keyframe and not packet.is_discard)
      if packet.dts is not None and packet.dts > until:
        break
  if len(set(pts)) != len(pts):
    return NO_KEY_FRAMES
  return _select_entries(pts, stamps, flags)


def _packets(container: Any) -> Iterator[av.Packet]:
  try:
    for packet in container.demux(video_stream(container)):
      if packet.size:  # the last, empty packet only flushes the decoder
        yield packet
  except av.FFmpegError:  # the file breaks off
    return


def _select_entries(
  pts: list[int], stamps: list[int], flags: list[bool]
) -> KeyFrames:
  pts_n, stamps_n = np.array(pts, np.int64), np.array(stamps, np.int64)
  flags_n = np.array(flags, bool)
  if len(pts_n):
    # The latest so far: an entry is shown after all packets before it.
    flags_n &= pts_n >= np.maximum.accumulate(pts_n)
  numbers_n = np.flatnonzero(flags_n)
  return KeyFrames(numbers_n, pts_n[numbers_n], stamps_n[numbers_n])


NO_KEY_FRAMES = _select_entries([], [], [])
