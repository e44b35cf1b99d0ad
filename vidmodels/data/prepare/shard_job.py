"""One shard to write, on whatever machine: from its part to a file and a note.

Every engine runs `write` on the same jobs and reads their notes afterwards, so
the bytes do not depend on the engine.
"""

import dataclasses
import json
import os
import pathlib
from typing import Any

from vidmodels.data.prepare import encode, process_pool
from vidmodels.data.prepare.shard_parts import ShardPart
from vidmodels.data.records import video_record
from vidmodels.data.records.task import Task
from vidmodels.data.records.tfrecord import ShardWriter
from vidmodels.data.video.container import BadVideo
from vidmodels.files import remove_part_on_error, write_atomically


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """A shard to write.

  Attributes:
    shard: the file.
    note: written after it: that it is whole, and what the manifest says of it.
    marker: holds the video under way until then.
    part: the clips.
    task: what their labels are.
    options: of the records.
  """

  shard: pathlib.Path
  note: pathlib.Path
  marker: pathlib.Path
  part: ShardPart
  task: Task
  options: encode.Options


def write(job: Job) -> None:
  """Writes a shard, then its note."""

  def mark(file: str | pathlib.Path) -> None:
    with remove_part_on_error(job.marker, job.marker):
      job.marker.write_bytes(os.fsencode(file))

  lost, damaged, labels, videos = [], [], [], []
  with ShardWriter(job.shard) as writer:
    for number, video, made, damage in job.part.made(job.options, mark):
      if isinstance(made, BadVideo):
        lost.append((number, video, made.reason))
        process_pool.tick(f'lost {video}: {made.reason}')
        continue
      writer.write(video_record.encode(made, job.task))
      labels.extend(made.labels)
      videos.append(video)
      if damage:
        damaged.append((number, video, damage))
      process_pool.tick(video)
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
  }
  write_atomically(job.note, json.dumps(note).encode())
  job.marker.unlink(missing_ok=True)


def read_note(job: Job) -> dict[str, Any]:
  """What `write` noted."""
  return json.loads(job.note.read_text())
