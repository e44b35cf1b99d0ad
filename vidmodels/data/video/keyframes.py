"""Where a file may be entered so that no frame differs from a full decode.

A seek alone does not promise that: containers seek by the time of decoding,
some flag as key frames what are none, and stamps that are missing or doubled
have to be counted from the start. So the packets are read, not decoded, up to
the last time that is wanted, and only entries that pass the rule remain.
"""

import dataclasses
import pathlib
from typing import Any

import av
import numpy as np

from vidmodels.data.video.container import open_video, video_stream


@dataclasses.dataclass(frozen=True)
class Key:
  """A packet that decoding may begin with.

  Attributes:
    number: packets before it in the file.
    pts: when its frame is shown, in the stream's units.
    stamp: what to seek; the earlier of its two stamps.
  """

  number: int
  pts: int
  stamp: int


@dataclasses.dataclass(frozen=True)
class Keys:
  """The entries of a file, sorted by time."""

  numbers_n: np.ndarray
  pts_n: np.ndarray
  stamps_n: np.ndarray

  def before(self, pts: float) -> Key | None:
    """The last entry that is shown at `pts` or earlier."""
    i = int(np.searchsorted(self.pts_n, pts, side='right')) - 1
    if i < 0:
      return None
    columns = (self.numbers_n, self.pts_n, self.stamps_n)
    return Key(*(int(column[i]) for column in columns))


def scan(path: pathlib.Path, until: float) -> Keys:
  """Reads the packets of a file up to a time and keeps what is an entry.

  An entry is flagged as a key frame, and what is shown before it comes before
  it in the file, so that nothing shown later was decoded without it. Where two
  packets have one stamp, or one has none, there is no entry at all: frames
  after them get times that only a decoder from the start can count.

  Args:
    path: a video file.
    until: time in the stream's units; packets that are decoded later are not
      read.

  Raises:
    BadVideo: if the file cannot be opened.
  """
  pts, stamps, flags = [], [], []
  container = open_video(path, 1)
  try:
    for packet in _packets(container):
      if packet.pts is None:
        return NONE
      pts.append(packet.pts)
      dts = packet.pts if packet.dts is None else packet.dts
      stamps.append(min(packet.pts, dts))
      flags.append(packet.is_keyframe and not packet.is_discard)
      if packet.dts is not None and packet.dts > until:
        break
  finally:
    container.close()
  if len(set(pts)) != len(pts):
    return NONE
  return _keys(pts, stamps, flags)


def _packets(container: Any) -> Any:
  try:
    for packet in container.demux(video_stream(container)):
      if packet.size:  # the last one is empty: it asks the decoder for the rest
        yield packet
  except av.FFmpegError:  # the file breaks off
    return


def _keys(pts: list[int], stamps: list[int], flags: list[bool]) -> Keys:
  pts_n, stamps_n = np.array(pts, np.int64), np.array(stamps, np.int64)
  flags_n = np.array(flags, bool)
  if len(pts_n):
    # The latest so far: an entry is shown after everything that precedes it.
    flags_n &= pts_n >= np.maximum.accumulate(pts_n)
  numbers_n = np.flatnonzero(flags_n)
  return Keys(numbers_n, pts_n[numbers_n], stamps_n[numbers_n])


NONE = _keys([], [], [])
