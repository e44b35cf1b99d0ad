"""Writes one shard on any machine: from its clips to a file and a note.

Every engine runs `write_shard` on the same jobs and reads their notes
afterwards, so the bytes do not depend on the engine. A job can be sent to
another process or another machine. All clips of a file lie in one shard and
are made in one pass over the file.
"""

import contextlib
import dataclasses
import heapq
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vidmodels import checked_json, object_store
from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.prepare import encode, process_pool, tfds
from vidmodels.data.records import video_record
from vidmodels.data.records.task import Task
from vidmodels.data.records.tfrecord import ShardWriter
from vidmodels.data.video.container import BadVideo
from vidmodels.files import remove_part_on_error, write_atomically
from vidmodels.typing import Count, quote

START_ANEW = 'try the same command with --overwrite'
_NOTE_FIELDS: Mapping[str, Any] = {
  'name': str,
  'count': Count,
  'bytes': Count,
  'sha256': str,
  'offsets': tuple[Count, ...],
  'labels': tuple[Count, ...],
  'videos': tuple[str, ...],
  'lost': tuple[tuple[Count, str, str], ...],
  'damaged': tuple[tuple[Count, str, Count], ...],
  'seconds': tuple[tuple[Count, float], ...],
}
CRASHES = 'crashes the decoder'

# A clip's number in the split, its name, its record or the reason for none,
# and its packets and frames that did not decode completely.
NumberedRecord = tuple[int, str, video_record.Record | BadVideo, int]
# The numbered rows of one file.
FileGroup = tuple[tuple[int, VideoRow], ...]


@dataclasses.dataclass(frozen=True)
class FilePart:
  """Clips of video files."""

  groups: tuple[FileGroup, ...]  # the numbered rows of each file
  names: tuple[str, ...]  # of the classes
  crashing: frozenset[str] = frozenset()  # absolute paths that crash decoders

  def __len__(self) -> int:
    return sum(len(group) for group in self.groups)

  def make_records(
    self, options: encode.Options, begin_file: Callable[[str], None]
  ) -> Iterator[NumberedRecord]:
    """Makes the records file by file; within one, in the order of the ends.

    Calls `begin_file(path)` before each file.
    """
    for group in self.groups:
      path = group_path(group)
      if path in self.crashing:
        for number, row in group:
          yield number, row.video, BadVideo(CRASHES), 0
        continue
      begin_file(path)
      for i, record, damage in self.decode_group(group, options):
        yield group[i][0], group[i][1].video, record, damage

  def decode_group(
    self, group: FileGroup, options: encode.Options
  ) -> Iterator[tuple[int, video_record.Record | BadVideo, int]]:
    """Makes the records of one file; see `encode.make_records`."""
    rows = [row for _, row in group]
    texts = [tuple(self.names[i] for i in row.labels) for row in rows]
    return encode.make_records(rows[0].path, rows, texts, options)


@dataclasses.dataclass(frozen=True)
class TfdsPart:
  """Videos `start` to `stop` of a split that TFDS has prepared."""

  split: tfds.TfdsSplit
  start: int
  stop: int

  def __len__(self) -> int:
    return self.stop - self.start

  def make_records(
    self, options: encode.Options, begin_file: Callable[[str], None]
  ) -> Iterator[NumberedRecord]:
    """Makes the records in TFDS's order; there are no files to report."""
    names = self.split.classes.names
    videos = self.split.videos(self.start, self.stop)
    for number, video in enumerate(videos, self.start):
      record: video_record.Record | BadVideo
      try:
        record = encode.record_from_frames(
          video.frames_THWC,
          fps=video.fps,
          video=video.video,
          labels=video.labels,
          label_texts=tuple(names[label] for label in video.labels),
          options=options,
        )
      except BadVideo as e:
        record = e
      yield number, video.video, record, 0


ShardPart = FilePart | TfdsPart


def group_path(group: FileGroup) -> str:
  """The absolute path of a group's file."""
  return os.fspath(group[0][1].path.absolute())


def group_by_file(rows: Sequence[VideoRow]) -> list[FileGroup]:
  """Groups rows by their file, in the order in which files first appear."""
  groups: dict[pathlib.Path, list[tuple[int, VideoRow]]] = {}
  for number, row in enumerate(rows):
    groups.setdefault(row.path, []).append((number, row))
  return [tuple(group) for group in groups.values()]


def deal_files(
  groups: Sequence[FileGroup], count: int
) -> list[tuple[FileGroup, ...]]:
  """Deals files to shards, each to the one with the fewest clips so far.

  Files with one clip each go round the shards in turn. A shard exceeds the
  average by at most the clips of the largest file. There are at least `count`
  groups.
  """
  shards: list[list[FileGroup]] = [[] for _ in range(count)]
  heap = [(0, k) for k in range(count)]
  for group in groups:
    clips, k = heap[0]
    shards[k].append(group)
    heapq.heapreplace(heap, (clips + len(group), k))
  return [tuple(shard) for shard in shards]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardJob:
  """A shard to write; paths are absolute, as workers elsewhere need them."""

  shard: pathlib.Path  # the file
  note: pathlib.Path  # says that it is whole, and what the manifest needs
  marker: pathlib.Path  # names the video that is being decoded, until the note
  part: ShardPart  # the clips
  task: Task  # what their labels are
  options: encode.Options  # of the records


def write_shard(job: ShardJob) -> None:
  """Writes a shard, then its note."""

  def mark(file: str) -> None:
    if object_store.in_store(job.marker):
      object_store.write(job.marker, os.fsencode(file))
      return
    with remove_part_on_error(job.marker, job.marker):
      job.marker.write_bytes(os.fsencode(file))

  lost: list[tuple[int, str, str]] = []
  damaged: list[tuple[int, str, int]] = []
  labels: list[int] = []
  videos: list[str] = []
  seconds: list[tuple[int, float]] = []
  with ShardWriter(job.shard) as writer, _unmark_on_error(job.marker):
    records = job.part.make_records(job.options, mark)
    for number, video, record, damage in records:
      if isinstance(record, BadVideo):
        lost.append((number, video, record.reason))
        process_pool.tick(f'lost {quote(video)}: {record.reason}')
        continue
      writer.write(video_record.encode(record, job.task))
      labels.extend(record.labels)
      videos.append(video)
      if record.timed:
        lasts_us = record.end_us - record.start_us
        seconds.append((number, lasts_us / 1e6))
      if damage:
        damaged.append((number, video, damage))
      process_pool.tick(quote(video))
  note = {
    'name': job.shard.name,
    'count': len(writer.offsets),
    'bytes': writer.bytes,
    'sha256': writer.sha256,
    'offsets': writer.offsets,
    'labels': labels,
    'videos': videos,
    'lost': lost,
    'damaged': damaged,
    'seconds': seconds,
  }
  write_atomically(job.note, json.dumps(note).encode())
  job.marker.unlink(missing_ok=True)


@contextlib.contextmanager
def _unmark_on_error(marker: pathlib.Path) -> Iterator[None]:
  """Removes the marker if an exception ends the block.

  A marker that stays says that a decoder crashed with the whole process.
  """
  try:
    yield
  except BaseException:
    with contextlib.suppress(OSError):
      marker.unlink(missing_ok=True)
    raise


def read_note(job: ShardJob) -> dict[str, Any]:
  """Reads what `write_shard` noted; an InputError says how to start anew."""
  value = checked_json.read(job.note, largest=1 << 28, advice=START_ANEW)
  return checked_json.fields(
    value, _NOTE_FIELDS, optional={'seconds': []}, name=f'the note {job.note}'
  )
