"""Where decoding may start without changing any frame that follows.

A seek alone does not promise that: containers seek by the time of decoding,
some encoders flag frames as key frames that are not, and where stamps are
missing or doubled, times have to be counted from the start of the file. So the
packets are read, not decoded, up to the latest time of interest, and only
packets that pass the rule of `find_key_frames` become entry points.
"""

import bisect
import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import av

from vidmodels.data.video.container import open_video, video_stream


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
  """Reads the packets of a file and selects its entry points, sorted by time.

  An entry point is flagged as a key frame, and everything shown before it
  comes before it in the file: so no later frame depends on an earlier packet.
  Where two packets have the same stamp, or one has none, the file has no entry
  point at all: only a decoder from the start can count the times after them.
  Packets that are decoded after `until`, in the stream's units, are not read.
  """
  pts, stamps, flags = [], [], []
  with open_video(path, 1) as container:
    for packet in _packets(container):
      if packet.pts is None:
        return []
      pts.append(packet.pts)
      dts = packet.pts if packet.dts is None else packet.dts
      stamps.append(min(packet.pts, dts))
      flags.append(packet.is_keyframe and not packet.is_discard)
      if packet.dts is not None and packet.dts > until:
        break
  if len(set(pts)) != len(pts):
    return []
  return _select_entries(pts, stamps, flags)


def _packets(container: Any) -> Iterator[av.Packet]:
  try:
    for packet in container.demux(video_stream(container)):
      if packet.size:  # the last, empty packet only flushes the decoder
        yield packet
  except av.FFmpegError:  # the file breaks off
    return


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
