"""What a shard is made of: clips of some video files, or a stretch of TFDS.

The clips of one file lie in one shard and are made in one pass over it. A part
can be sent to another process, or to another machine.
"""

import dataclasses
import heapq
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.prepare import encode, tfds
from vidmodels.data.records import video_record
from vidmodels.data.video.container import BadVideo

CRASHES = 'crashes the decoder'

# A clip's number in the split, its name, its record or why there is none, and
# its packets and frames that did not decode whole.
Made = tuple[int, str, video_record.Record | BadVideo, int]
Group = tuple[tuple[int, VideoRow], ...]


class ShardPart(Protocol):
  """Some clips of a split."""

  def __len__(self) -> int:
    """How many there are."""

  def made(
    self, options: encode.Options, begin: Callable[[str], None]
  ) -> Iterator[Made]:
    """Makes them one after the other; says `begin(file)` before each file."""


@dataclasses.dataclass(frozen=True)
class FilePart:
  """Clips of video files.

  Attributes:
    groups: the numbered rows of each file.
    names: of the classes.
    deadly: absolute paths of files that a decoder is known to crash on; they
      are not opened.
  """

  groups: tuple[Group, ...]
  names: tuple[str, ...]
  deadly: frozenset[str] = frozenset()

  def __len__(self) -> int:
    return sum(len(group) for group in self.groups)

  def made(
    self, options: encode.Options, begin: Callable[[str], None]
  ) -> Iterator[Made]:
    """Makes the clips file by file; within one they come by their end.

    `begin` gets absolute paths: whoever reads them may have been started in
    another folder.
    """
    for group in self.groups:
      file = file_of(group)
      if file in self.deadly:
        for number, row in group:
          yield number, row.video, BadVideo(CRASHES), 0
        continue
      begin(file)
      for i, record, damage in self.records(group, options):
        yield group[i][0], group[i][1].video, record, damage

  def records(
    self, group: Group, options: encode.Options
  ) -> Iterator[tuple[int, video_record.Record | BadVideo, int]]:
    """Makes the clips of one file; see `encode.make_records`."""
    rows = [row for _, row in group]
    texts = [tuple(self.names[i] for i in row.labels) for row in rows]
    return encode.make_records(rows[0].path, rows, texts, options)


@dataclasses.dataclass(frozen=True)
class TfdsPart:
  """Videos `start` to `stop` of a split that TFDS has prepared."""

  split: tfds.Split
  start: int
  stop: int

  def __len__(self) -> int:
    return self.stop - self.start

  def made(
    self, options: encode.Options, begin: Callable[[str], None]
  ) -> Iterator[Made]:
    """Makes them in TFDS's order; there is no file to say."""
    names = self.split.classes.names
    videos = self.split.videos(self.start, self.stop)
    for number, video in enumerate(videos, self.start):
      texts = tuple(names[label] for label in video.labels)
      try:
        record = encode.from_frames(
          video.frames_THWC,
          fps=video.fps,
          video=video.video,
          labels=video.labels,
          label_texts=texts,
          options=options,
        )
      except BadVideo as e:
        record = e
      yield number, video.video, record, 0


def file_of(group: Group) -> str:
  """The absolute path of a group's file."""
  return os.fspath(group[0][1].path.absolute())


def groups_of(rows: Sequence[VideoRow]) -> list[Group]:
  """Rows by their file, in the order in which files are first named."""
  groups: dict[pathlib.Path, list[tuple[int, VideoRow]]] = {}
  for number, row in enumerate(rows):
    groups.setdefault(row.path, []).append((number, row))
  return [tuple(group) for group in groups.values()]


def spread(groups: Sequence[Group], count: int) -> list[tuple[Group, ...]]:
  """Deals files to shards: each to the one with the fewest clips so far.

  Files with a clip each go round the shards in turn. No shard has more clips
  above the average than the largest file has.

  Args:
    groups: at least `count` of them.
    count: shards.
  """
  shards: list[list[Group]] = [[] for _ in range(count)]
  heap = [(0, k) for k in range(count)]
  for group in groups:
    clips, k = heap[0]
    shards[k].append(group)
    heapq.heapreplace(heap, (clips + len(group), k))
  return [tuple(shard) for shard in shards]
