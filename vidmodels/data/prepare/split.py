"""A split on its way: its jobs, what identifies it, and its manifest."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import av
import numpy as np

from vidmodels.data.prepare import (
  decoder_crashes,
  encode,
  resume_state,
  shard_job,
  sources,
)
from vidmodels.data.prepare.shard_job import Job
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.manifest import Manifest, Shard
from vidmodels.data.records.tfrecord import shard_name

CLIPS_A_SHARD = 64  # what a kill costs each worker at most
_MOST_SHARDS = 1024


class SplitRun:
  """A split being written: its jobs, and what identifies it."""

  def __init__(
    self,
    out: pathlib.Path,
    spec: sources.Spec,
    found: sources.Files | sources.Tfds,
    options: encode.Options,
    shards: int,
  ):
    self._out, self._spec, self._found = out, spec, found
    self.clips = found.clips
    self._options = options
    auto = min(_MOST_SHARDS, -(-found.clips // CLIPS_A_SHARD))
    self._parts = found.parts(shards or auto)
    self.identity = dataclasses.asdict(options) | {
      'shards': len(self._parts),
      'limit': spec.limit,
      'labels': found.listing.task.kind,
      'rows_sha256': found.sha256,
      'classes_sha256': found.listing.classes.sha256,
    }

  def jobs(self) -> list[Job]:
    """All shards; files that crash a decoder are marked as such."""
    out, split = self._out, self._spec.split
    parts = decoder_crashes.marked(self._parts, resume_state.deadly(out, split))
    return [
      Job(
        shard=out / shard_name(split, k, len(parts)),
        note=resume_state.note_path(out, split, k),
        marker=resume_state.marker_path(out, split, k),
        part=part,
        task=self._found.listing.task,
        options=self._options,
      )
      for k, part in enumerate(parts)
    ]

  def left(self) -> list[Job]:
    """The shards that are not there, the largest first.

    So none is begun when all others have ended.
    """
    left = [
      job
      for job in self.jobs()
      if not resume_state.is_done(job.shard, job.note)
    ]
    return sorted(left, key=lambda job: -len(job.part))

  def blame(self) -> frozenset[str]:
    """Tries alone what was being decoded when a worker died.

    Returns:
      The files that are to blame; remembered for the next `jobs`.
    """
    begun = resume_state.begun(self._out, self._spec.split)
    deadly = decoder_crashes.deadly(self._parts, begun, self._options)
    resume_state.sweep(self._out, self._spec.split)
    if deadly:
      resume_state.remember(self._out, self._spec.split, deadly)
    return deadly

  def manifest(self) -> Manifest:
    """The manifest, from the notes of all shards."""
    notes = [shard_job.read_note(job) for job in self.jobs()]
    listing = self._found.listing
    by_number = lambda key: sorted(
      (tuple(entry) for note in notes for entry in note[key]),
      key=lambda entry: entry[0],
    )
    labels = [label for note in notes for label in note['labels']]
    options = {
      **self.identity,
      'source': self._spec.source,
      'pyav': av.__version__,
    }
    counts = np.bincount(
      np.asarray(labels, np.int64), minlength=len(listing.classes)
    )
    return Manifest(
      split=self._spec.split,
      shards=tuple(_shard(note) for note in notes),
      classes_sha256=listing.classes.sha256,
      flip=listing.flip or FlipPolicy(),
      listed=self.clips,
      lost=tuple((clip, why) for _, clip, why in by_number('lost')),
      damaged=tuple((clip, n) for _, clip, n in by_number('damaged')),
      options=options,
      labels=tuple(counts.tolist()),
      task=listing.task,
      labelled=listing.labelled,
      expected=listing.expected,
      subsets=listing.subsets,
      class_subsets=listing.class_subsets,
    )


def _shard(note: Mapping[str, Any]) -> Shard:
  return Shard(
    **{key: note[key] for key in ('name', 'count', 'bytes', 'sha256')},
    offsets=np.asarray(note['offsets'], np.int64),
    videos=tuple(note['videos']),
  )
