"""A split that `prepare` is writing: its jobs, its state on disk, its manifest.

`<split>.parts/` holds the state until the split is complete:
  run.json: what the split is made of; a run that finds another one stops.
  00012.json: the note of shard 12, written once the shard is whole, with what
    the manifest will say of it.
  00012.at: the video that the worker on shard 12 is decoding. If a decoder
    crashes, this file is tried alone.
  crashes.json: the files that are known to crash a decoder.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import av
import numpy as np

from vidmodels import checked_json, object_store
from vidmodels.data.prepare import (
  encode,
  process_pool,
  shard_job,
  short_clips,
  sources,
)
from vidmodels.data.prepare.shard_job import FileGroup, FilePart, ShardJob
from vidmodels.data.prepare.split_report import report_path
from vidmodels.data.records.class_list import CLASSES_FILE, ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.record_set import (
  Manifest,
  Shard,
  check_stored_shards,
  index_path,
  list_splits,
  manifest_path,
  parts_folder,
)
from vidmodels.data.records.tfrecord import shard_files, shard_name
from vidmodels.files import write_atomically
from vidmodels.typing import InputError, check_value

CLIPS_PER_SHARD = 64  # the most that a kill costs each worker
_MOST_SHARDS = 1024


def bound_classes(out: pathlib.Path, split: str) -> ClassList | None:
  """The class list that the other splits of a folder are bound to."""
  started = {
    path.parent.name.removesuffix('.parts')
    for path in out.glob('*.parts/run.json')
  }
  others = {*list_splits(out), *started} - {split}
  return ClassList.load(out / CLASSES_FILE) if others else None


class SplitRun:
  """A split that is being written, of `clips` clips listed."""

  def __init__(
    self,
    out: pathlib.Path,
    spec: sources.SourceSpec,
    source: sources.Source,
    options: encode.Options,
    shards: int,
  ):
    self._out, self._spec, self._source = out, spec, source
    self._split = spec.split
    self._options = options
    self._state = parts_folder(out, spec.split)
    self.clips = source.clips
    usual = min(_MOST_SHARDS, -(-source.clips // CLIPS_PER_SHARD))
    self._parts = source.make_parts(shards or usual)
    self._identity = dataclasses.asdict(options) | {
      'shards': len(self._parts),
      'limit': spec.limit,
      'labels': source.listing.task.kind,
      'rows_sha256': source.sha256,
      'classes_sha256': source.listing.classes.sha256,
    }

  def claim(self, *, overwrite: bool, resume: bool) -> Manifest | None:
    """Makes the folder ready to write the split, unless it is complete.

    Returns the manifest if this very split is complete. Raises InputError if
    the folder holds the split made with other options, or part of it and
    `resume` is False.
    """
    out, split = self._out, self._split
    out.mkdir(parents=True, exist_ok=True)
    run = self._state / 'run.json'
    if overwrite:
      self._clear()
    elif manifest_path(out, split).exists():
      return self._complete_manifest()
    elif run.exists() and not resume:
      raise InputError(
        f'got --no-resume, but {out} holds part of split {split!r}; expected '
        'none of it; try to leave --no-resume out, --overwrite or another --out'
      )
    elif run.exists():
      before = checked_json.read(run, advice=shard_job.START_ANEW)
      self._compare(checked_json.fields(before, {}, name=f'{run}') | before)
    elif shard_files(out, split):
      raise InputError(
        f'got {out}, which holds shards of {split!r} that this command did not '
        'write; expected none; try another --out or --split, or --overwrite'
      )
    self._state.mkdir(exist_ok=True)
    write_atomically(run, json.dumps(self._identity).encode())
    self._remove_partial_files()
    return None

  def jobs(self) -> list[ShardJob]:
    """All shards; their jobs know which files crash a decoder."""
    folder, state = self._out.absolute(), self._state.absolute()
    crashing = self._known_crashes()
    return [
      ShardJob(
        shard=folder / shard_name(self._split, k, len(self._parts)),
        note=state / f'{k:05d}.json',
        marker=state / f'{k:05d}.at',
        part=dataclasses.replace(part, crashing=crashing)
        if isinstance(part, FilePart)
        else part,
        task=self._source.listing.task,
        options=self._options,
      )
      for k, part in enumerate(self._parts)
    ]

  def unfinished_jobs(self) -> list[ShardJob]:
    """The shards that are not written, the largest first.

    So no large shard starts when all others have ended.
    """
    jobs = self.jobs()
    if object_store.in_store(self._out):  # two requests, not two a shard
      shards, notes = map(object_store.entries, (self._out, self._state))
      jobs = [job for job in jobs if not _is_stored(shards, notes, job)]
    else:
      jobs = [job for job in jobs if not _is_written(job)]
    return sorted(jobs, key=lambda job: -len(job.part))

  def find_crashing_files(self) -> bool:
    """Tries alone each file that was being decoded when a worker died.

    A crash ends its process at once, so the run only sees that a worker is
    gone; the markers say which files it may have been. Returns whether any file
    crashes the decoder; later jobs do not open it.
    """
    markers = sorted(self._state.glob('*.at'))
    begun = [os.fsdecode(path.read_bytes()) for path in markers]
    groups = {
      shard_job.group_path(group): (part, group)
      for part in self._parts
      if isinstance(part, FilePart)
      for group in part.groups
    }
    crashing = {
      file
      for file in begun
      if file in groups
      and not process_pool.ends_normally(
        _decode_group, *groups[file], self._options
      )
    }
    self._remove_partial_files()
    for path in markers:
      path.unlink(missing_ok=True)
    if crashing:
      every = sorted(self._known_crashes() | crashing)
      write_atomically(self._state / 'crashes.json', json.dumps(every).encode())
    return bool(crashing)

  def manifest(self) -> Manifest:
    """The manifest, from the notes of all shards."""
    notes = [shard_job.read_note(job) for job in self.jobs()]
    listing = self._source.listing

    def by_number(key: str) -> list[list[Any]]:
      entries = [entry for note in notes for entry in note[key]]
      return sorted(entries, key=lambda entry: entry[0])

    labels = [label for note in notes for label in note['labels']]
    # A run that was begun by an earlier version has notes without lengths.
    timed = sorted(x for note in notes for x in note.get('seconds', ()))
    names = self._names(notes)
    counts = np.bincount(
      np.asarray(labels, np.int64), minlength=len(listing.classes)
    )
    return Manifest(
      split=self._split,
      shards=tuple(
        Shard(
          **{key: note[key] for key in ('name', 'count', 'bytes', 'sha256')},
          offsets=np.asarray(note['offsets'], np.int64),
          videos=tuple(note['videos']),
        )
        for note in notes
      ),
      classes_sha256=listing.classes.sha256,
      flip=listing.flip or FlipPolicy(),
      listed=self.clips,
      lost=tuple((clip, reason) for _, clip, reason in by_number('lost')),
      damaged=tuple((clip, n) for _, clip, n in by_number('damaged')),
      short=short_clips.find_short(
        [(*names[number], lasts) for number, lasts in timed]
      ),
      options={
        **self._identity,
        'source': self._spec.source,
        'pyav': av.__version__,
      },
      labels=tuple(counts.tolist()),
      task=listing.task,
      labelled=listing.labelled,
      expected=listing.expected,
      subsets=listing.subsets,
      class_subsets=listing.class_subsets,
    )

  def _names(
    self, notes: Sequence[Mapping[str, Any]]
  ) -> dict[int, tuple[str, float | None]]:
    """The name of each clip with a length, and what the annotations give."""
    rows = self._source.listing.rows
    if rows:
      return {
        number: (row.video, short_clips.annotated_seconds(row))
        for number, row in enumerate(rows)
      }
    return {  # TFDS: all of a shard have lengths, or none
      number: (video, None)
      for note in notes
      for (number, _), video in zip(
        note.get('seconds', ()), note['videos'], strict=False
      )
    }

  def release(self) -> None:
    """Removes the state, once the manifest is written."""
    if object_store.in_store(self._state):
      with contextlib.suppress(FileNotFoundError):
        object_store.remove(self._state, folder=True)
    else:
      shutil.rmtree(self._state, ignore_errors=True)

  def _known_crashes(self) -> frozenset[str]:
    path = self._state / 'crashes.json'
    if not path.exists():
      return frozenset()
    files = checked_json.read(path, advice=shard_job.START_ANEW)
    return frozenset(check_value(files, tuple[str, ...], path=f'{path}'))

  def _remove_partial_files(self) -> None:
    """Removes the files of workers that were killed while writing."""
    for path in [
      *self._out.glob(f'{self._split}-*.part'),
      *self._state.glob('*.part'),
    ]:
      path.unlink(missing_ok=True)

  def _complete_manifest(self) -> Manifest:
    manifest = Manifest.load(self._out, self._split)
    self._compare(manifest.options)
    if object_store.in_store(self._out):
      check_stored_shards(self._out, manifest)
      return manifest
    for shard in manifest.shards:
      path = self._out / shard.name
      if not path.exists() or path.stat().st_size != shard.bytes:
        raise InputError(
          f'got {path} missing or changed; expected {shard.bytes} bytes; try '
          'to restore it, or run again with --overwrite'
        )
    return manifest

  def _clear(self) -> None:
    out, split = self._out, self._split
    for path in (
      manifest_path(out, split),  # first: without it, the rest is no split
      index_path(out, split),
      out / f'{split}.lost.txt',
      report_path(out, split),
      *shard_files(out, split),
    ):
      path.unlink(missing_ok=True)
    self.release()

  def _compare(self, before: Mapping[str, Any]) -> None:
    """Raises InputError if the split was begun with another identity."""
    names = {
      'rows_sha256': 'the videos or labels listed',
      'classes_sha256': 'the class list',
    }
    # Sets of the first release do not have these.
    before = {'limit': 0, 'labels': 'single', **before}
    changes = [
      names.get(key) or f'{key} (then {before.get(key)}, now {value})'
      for key, value in self._identity.items()
      if before.get(key) != value
    ]
    if changes:
      raise InputError(
        f'got other options for split {self._split!r} than {self._out} was '
        f'made with: {", ".join(changes)}; expected the same ones; try those '
        'to continue, another --out, or --overwrite'
      )


def _is_written(job: ShardJob) -> bool:
  """Whether a shard has a note and still has the size noted."""
  if not job.note.exists() or not job.shard.exists():
    return False
  return job.shard.stat().st_size == shard_job.read_note(job)['bytes']


def _is_stored(
  shards: Mapping[str, Any], notes: Mapping[str, Any], job: ShardJob
) -> bool:
  """`_is_written`, by what a store lists."""
  if job.note.name not in notes or job.shard.name not in shards:
    return False
  size = shards[job.shard.name].get('size')
  return size == shard_job.read_note(job)['bytes']


def _decode_group(
  part: FilePart, group: FileGroup, options: encode.Options
) -> None:
  for _ in part.decode_group(group, options):
    pass
