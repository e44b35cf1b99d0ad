"""All clips of one file in one pass: opened once, each frame decoded once.

Several clips may be open at a time. Every clip has the frames, times and
damage that it has when it is cut by itself; gaps between clips are skipped
where that holds (`keyframes.py`).
"""

import dataclasses
import pathlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import av
from av.video.reformatter import VideoReformatter

from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.video.container import BadVideo
from vidmodels.data.video.decode import VideoInfo, info_of, nothing
from vidmodels.data.video.frame_reader import EPS_S, Packets
from vidmodels.data.video.picture import Picture


@dataclasses.dataclass(frozen=True)
class Cut:
  """A stretch of a file: frames shown from `start_s` on, before `end_s`."""

  start_s: float = 0.0
  end_s: float = float('inf')


def of_row(row: VideoRow) -> Cut:
  """The stretch that a row of a listing wants."""
  return Cut(row.start_s, float('inf') if row.end_s is None else row.end_s)


class DecodedClip(Protocol):
  """What a cut is made into."""

  def add(self, picture: Picture, time_us: int) -> None:
    """Takes the next frame; the first has time 0.

    Raises:
      BadVideo: if it cannot; the clip is lost.
    """


C = TypeVar('C', bound=DecodedClip)
# Number of the cut, its clip or why there is none, and its damage.
Made = tuple[int, C | BadVideo, int]


@dataclasses.dataclass
class _Open:
  clip: DecodedClip
  zero_s: float
  harmless: int  # damage of the file that is not the clip's


def read(
  path: pathlib.Path,
  cuts: Sequence[Cut],
  make: Callable[[int, VideoInfo], C],
) -> Iterator[Made]:
  """Reads cuts of a file; each comes as soon as it is whole.

  Args:
    path: any container FFmpeg opens.
    cuts: in any order; they may overlap.
    make: starts the clip of a cut, given its number and what the file and the
      clip's first frame say.

  Yields:
    (number, clip, damage) by the end of the cuts, then by number; a `BadVideo`
    in place of a clip without frames comes with damage 0.
  """
  reader = _Reader(cuts, make)
  try:
    packets = Packets(path, last_s=max(cut.start_s for cut in cuts))
    try:
      yield from reader.read(packets)
    finally:
      packets.close()
  except BadVideo as e:
    yield from reader.lose(e)


class _Reader:
  """The cuts that still wait, and those that are open."""

  def __init__(
    self, cuts: Sequence[Cut], make: Callable[[int, VideoInfo], DecodedClip]
  ):
    self._cuts = cuts
    self._make = make
    numbers = range(len(cuts))
    self._waiting = deque(sorted(numbers, key=lambda i: (cuts[i].start_s, i)))
    self._ends = deque(sorted(numbers, key=lambda i: (cuts[i].end_s, i)))
    self._open: dict[int, _Open] = {}
    self._over: set[int] = set()
    self._converter = VideoReformatter()

  def read(self, packets: Packets) -> Iterator[Made]:
    """Yields each cut when it has ended."""
    while self._ends:
      if not self._open and self._waiting:
        packets.skip(self._cuts[self._waiting[0]].start_s)
      shown = packets.next()
      if shown is None:
        break
      frame, time_s = shown
      yield from self._ended(packets, time_s)
      self._begin(packets, frame, time_s)
      yield from self._add(Picture(frame, self._converter), time_s)
    yield from self._ended(packets, float('inf'))

  def lose(self, why: BadVideo) -> Iterator[Made]:
    """Yields all that is left as lost."""
    for i in self._ends:
      if i not in self._over:
        yield i, why, 0

  def _begin(
    self, packets: Packets, frame: av.VideoFrame, time_s: float
  ) -> None:
    """Opens the cuts whose first frame this is."""
    while (
      self._waiting and self._cuts[self._waiting[0]].start_s <= time_s + EPS_S
    ):
      i = self._waiting.popleft()
      if i in self._over:
        continue
      harm = packets.harm(self._cuts[i].start_s)
      clip = self._make(i, info_of(packets.container, frame))
      self._open[i] = _Open(clip, time_s, packets.damage - harm)

  def _add(self, picture: Picture, time_s: float) -> Iterator[Made]:
    for i, one in list(self._open.items()):
      try:
        one.clip.add(picture, round((time_s - one.zero_s) * 1e6))
      except BadVideo as e:
        del self._open[i]
        self._over.add(i)
        yield i, e, 0

  def _ended(self, packets: Packets, time_s: float) -> Iterator[Made]:
    """Yields the cuts that end at a time or before, in the order they end."""
    while self._ends and self._cuts[self._ends[0]].end_s <= time_s + EPS_S:
      i = self._ends.popleft()
      if i in self._over:
        continue
      self._over.add(i)
      if i in self._open:
        one = self._open.pop(i)
        yield i, one.clip, packets.damage - one.harmless
      else:  # begins after its end, or after the file's
        cut = self._cuts[i]
        yield i, BadVideo(nothing(packets, cut.start_s, cut.end_s)), 0
