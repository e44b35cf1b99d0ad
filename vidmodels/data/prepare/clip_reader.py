"""Reads the clips of a file in one pass, decoding each frame once.

Several clips may be open at a time. Each gets the frames, times and damage
that it gets when it is read alone. Gaps between clips are skipped where that
holds (`frame_reader.find_key_frames`).
"""

import dataclasses
import errno
import pathlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import av
from av.video.reformatter import VideoReformatter

from vidmodels import files
from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.video.container import BadVideo, VideoInfo, read_video_info
from vidmodels.data.video.decode import Picture
from vidmodels.data.video.frame_reader import EPS_S, FrameReader
from vidmodels.data.video.video_file import name_memory_errors


@dataclasses.dataclass(frozen=True)
class ClipRange:
  """A part of a file: frames shown from `start_s` on, before `end_s`."""

  start_s: float = 0.0
  end_s: float = float('inf')


def row_range(row: VideoRow) -> ClipRange:
  """The part of the file that a row lists."""
  end_s = float('inf') if row.end_s is None else row.end_s
  return ClipRange(row.start_s, end_s)


class ClipBuilder(Protocol):
  """Collects the frames of a clip."""

  def add(self, picture: Picture, time_us: int) -> None:
    """Adds the next frame, the first at time 0; a BadVideo loses the clip."""


Clip = TypeVar('Clip', bound=ClipBuilder)


def read_clips(
  path: pathlib.Path,
  ranges: Sequence[ClipRange],
  start_clip: Callable[[int, VideoInfo], Clip],
) -> Iterator[tuple[int, Clip | BadVideo, int]]:
  """Reads clips of a file and yields each as soon as it is complete.

  The ranges may overlap, in any order. `start_clip` makes the builder of a clip
  from its number and from what the file and the first frame of the clip say.

  Yields (number, clip, damage) in the order of the ends, then of the numbers. A
  clip without frames is a `BadVideo` with damage 0. Raises ReadError if the
  machine fails, also after some tries.
  """
  clips = _ClipQueue(ranges, start_clip)
  for wait_s in (*files.RETRY_WAITS_S, None):
    try:
      with name_memory_errors(path):
        yield from _read_rest(path, clips)
      return
    except files.ReadError as e:
      # Other errors were tried again where they happened.
      if wait_s is None or e.errno != errno.ENOMEM:
        raise
    time.sleep(wait_s)


def _read_rest(
  path: pathlib.Path, clips: '_ClipQueue'
) -> Iterator[tuple[int, Any, int]]:
  """Reads the clips that are not finished, from the start of the file."""
  try:
    file = FrameReader(path, last_s=clips.last_start_s)
    try:
      yield from clips.read(file)
    finally:
      file.close()
  except BadVideo as e:
    yield from clips.lose_rest(e)


class _ClipQueue:
  """The clips of a file that wait, that are open and that are finished."""

  def __init__(
    self,
    ranges: Sequence[ClipRange],
    start_clip: Callable[[int, VideoInfo], Any],
  ):
    self._ranges = ranges
    self._start_clip = start_clip
    self._waiting: deque[int] = deque()
    self._ends: deque[int] = deque()
    # The builder of each, its start and the file's damage that does not reach
    # it.
    self._open: dict[int, tuple[Any, float, int]] = {}
    self._finished: set[int] = set()
    self._converter = VideoReformatter()
    self.last_start_s = max(r.start_s for r in ranges)

  def read(self, file: FrameReader) -> Iterator[tuple[int, Any, int]]:
    """Yields each clip that is not finished when it has ended."""
    ranges = self._ranges
    rest = [i for i in range(len(ranges)) if i not in self._finished]
    self._waiting = deque(sorted(rest, key=lambda i: (ranges[i].start_s, i)))
    self._ends = deque(sorted(rest, key=lambda i: (ranges[i].end_s, i)))
    self._open = {}
    while self._ends:
      if not self._open and self._waiting:
        file.skip_to(self._ranges[self._waiting[0]].start_s)
      pair = file.next_frame()
      if pair is None:
        break
      frame, time_s = pair
      yield from self._finish(file, time_s)
      self._begin(file, frame, time_s)
      picture = Picture(frame, self._converter, file.matrix)
      for i, (builder, zero_s, _) in list(self._open.items()):
        try:
          builder.add(picture, round((time_s - zero_s) * 1e6))
        except BadVideo as e:
          del self._open[i]
          self._finished.add(i)
          yield i, e, 0
    yield from self._finish(file, float('inf'))

  def lose_rest(self, reason: BadVideo) -> Iterator[tuple[int, BadVideo, int]]:
    """Yields all unfinished clips as lost."""
    numbers = range(len(self._ranges))
    for i in sorted(numbers, key=lambda i: (self._ranges[i].end_s, i)):
      if i not in self._finished:
        self._finished.add(i)
        yield i, reason, 0

  def _begin(
    self, file: FrameReader, frame: av.VideoFrame, time_s: float
  ) -> None:
    """Opens the clips that start with this frame."""
    while self._waiting:
      i = self._waiting[0]
      start_s = self._ranges[i].start_s
      if start_s > time_s + EPS_S:
        return
      self._waiting.popleft()
      if i not in self._finished:
        earlier = file.damage - file.damage_since(start_s)
        info = read_video_info(file.container, frame, file.matrix)
        builder = self._start_clip(i, info)
        self._open[i] = builder, time_s, earlier

  def _finish(
    self, file: FrameReader, time_s: float
  ) -> Iterator[tuple[int, Any, int]]:
    """Yields the clips that end by a time, in the order of their ends."""
    while self._ends and self._ranges[self._ends[0]].end_s <= time_s + EPS_S:
      i = self._ends.popleft()
      if i in self._finished:
        continue
      self._finished.add(i)
      if i in self._open:
        builder, _, earlier = self._open.pop(i)
        yield i, builder, file.damage - earlier
      else:  # the range starts after its end, or after the file's
        start_s, end_s = self._ranges[i].start_s, self._ranges[i].end_s
        yield i, file.no_frame_error(start_s, end_s), 0
