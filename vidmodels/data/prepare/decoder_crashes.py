"""Which file a decoder crashes on, found by trying each alone.

A crash ends its process at once, so the run sees only that a worker is gone;
the workers' markers say what they were at (`resume_state.py`).
"""

import dataclasses
from collections.abc import Sequence

from vidmodels.data.prepare import encode, process_pool
from vidmodels.data.prepare.shard_parts import (
  FilePart,
  Group,
  ShardPart,
  file_of,
)


def marked(
  parts: Sequence[ShardPart], deadly: frozenset[str]
) -> list[ShardPart]:
  """The parts, told which files not to open."""
  return [
    dataclasses.replace(part, deadly=deadly)
    if deadly and isinstance(part, FilePart)
    else part
    for part in parts
  ]


def deadly(
  parts: Sequence[ShardPart], files: Sequence[str], options: encode.Options
) -> frozenset[str]:
  """The files among `files`, absolute paths, that end who decodes them."""
  groups = {
    file_of(group): (part, group)
    for part in parts
    if isinstance(part, FilePart)
    for group in part.groups
  }
  return frozenset(
    file
    for file in files
    if file in groups
    and not process_pool.survives(_decode, *groups[file], options)
  )


def _decode(part: FilePart, group: Group, options: encode.Options) -> None:
  for _ in part.records(group, options):
    pass
