"""Videos to records: each becomes a record, or a line that says why not.

Each worker writes whole shards, and the clips of one video file lie in one
shard (`parts.py`), so the result depends on the rows and the options alone:
not on how many workers there were, on the engine, nor on whether the run was
killed and started again.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import av
import numpy as np

from vidmodels.data import (
  crashes,
  encode,
  parallel,
  shard_jobs,
  sources,
  unfinished,
)
from vidmodels.data.annotations import Listing
from vidmodels.data.classes import CLASSES_FILE, ClassList
from vidmodels.data.flip import FlipPolicy
from vidmodels.data.manifest import Manifest, Shard
from vidmodels.data.report import Report, report_path
from vidmodels.data.shard_jobs import Job
from vidmodels.data.tfrecord import shard_name, write_atomically
from vidmodels.typing import InputError

CLIPS_A_SHARD = 64  # what a kill costs each worker at most
_MOST_SHARDS = 1024

# Runs `shard_jobs.write` on every job, anywhere that sees the same folders.
Engine = Callable[[Sequence[Job]], None]


def prepare(
  source: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  split: str = 'train',
  annotations: str | os.PathLike[str] | None = None,
  videos: str | os.PathLike[str] | None = None,
  classes: ClassList | None = None,
  root: str | os.PathLike[str] | None = None,
  labels: str | None = None,
  limit: int = 0,
  flip: FlipPolicy | str | None = None,
  short_side: int = 0,
  quality: int = 95,
  fps: float = 0.0,
  shards: int = 0,
  workers: int = 0,
  max_lost: float = 1.0,
  overwrite: bool = False,
  resume: bool = True,
  engine: Engine | None = None,
  progress: parallel.Progress | None = None,
) -> Manifest:
  """Writes a split of records to `out`.

  A run that was killed continues where its finished shards end. A split that
  is complete is left alone, but takes a new flip policy. A clip that gives no
  frame is counted, listed in `<split>.lost.txt` and never replaced;
  `<split>.report.json` says how much of the split is there.

  Args:
    source: a data set's name, a folder per class, a list, or `tfds:NAME`.
    out: a folder; its splits share one class list.
    split: name of the split.
    annotations: the data set's official file or folder.
    videos: the folder with its videos.
    classes: what labels refer to.
    root: what the paths of a list are relative to.
    labels: of a list: 'single', 'multi' or 'any'.
    limit: only the first clips, so many; 0 for all.
    flip: what a mirror does to the labels; 'swap' for the data set's pairs. If
      nothing was ever said, the data set's policy, or 'forbid'.
    short_side: frames are shrunk to it, pixels; 0 keeps their size.
    quality: of the JPEGs, 1 to 100.
    fps: frames a second to resample to by time stamps; 0 keeps every frame.
    shards: files to spread the records over; 0 for one per 64 clips.
    workers: processes; 0 for one a CPU.
    max_lost: the largest share of the clips that may be lost, 0 to 1.
    overwrite: starts the split anew.
    resume: continues a split that is part-written; else it is refused.
    engine: writes the shards in place of processes here; see `beam.py`.
    progress: called with clips done, clips listed, and the clip done last, as
      'lost <clip>: <reason>' if it gave no record.

  Raises:
    InputError: if source, options and what `out` holds do not go together, or
      too many clips are lost, or all.
  """
  options = encode.Options(short_side=short_side, quality=quality, fps=fps)
  check_options(split, options, shards, max_lost)
  spec = sources.Spec(
    source=os.fspath(source),
    split=split,
    annotations=annotations,
    videos=videos,
    classes=classes,
    root=root,
    labels=labels,
    limit=limit,
  )
  out = pathlib.Path(out)
  bound = unfinished.bound_classes(out, split)
  found = sources.read(spec, default=bound)
  _check_classes(out, found.listing.classes, bound)
  flip = sources.flip_of(flip, spec, found.listing)
  run = _Run(out, spec, found, options, shards)
  manifest = unfinished.claim(
    out, split, run.identity, overwrite=overwrite, resume=resume
  )
  if manifest is None:
    found.listing.classes.save(out / CLASSES_FILE)
    if engine is None:
      _write_here(run, workers, progress)
    else:
      engine(run.left())
    manifest = run.manifest()
    _report_lost(out, manifest, max_lost)
  if flip is not None:
    manifest = dataclasses.replace(manifest, flip=flip)
  report_of(found.listing, manifest, limit).save(report_path(out, split))
  manifest.save(out)
  unfinished.release(out, split)
  return manifest


def check_options(
  split: str, options: encode.Options, shards: int, max_lost: float
) -> None:
  """Raises InputError if an option is out of its range."""
  wrong = None
  if not re.fullmatch(r'\w[\w.]*', split):
    wrong = f'split {split!r}; wanted a name of letters, digits, _ and .'
  elif not 1 <= options.quality <= 100:
    wrong = f'JPEG quality {options.quality}; wanted 1 to 100'
  elif options.short_side < 0:
    wrong = f'short side {options.short_side}; wanted 0 (keep) or more pixels'
  elif not 0 <= options.fps <= 1000:
    wrong = f'{options.fps:g} fps; wanted 0 (keep) to 1000'
  elif not 0 <= shards <= 99_999:
    wrong = f'{shards} shards; wanted 0 (one per 64 clips) to 99999'
  elif not 0 <= max_lost <= 1:
    wrong = f'a share of {max_lost:g} to lose; wanted 0 to 1'
  if wrong:
    raise InputError(f'prepare was given {wrong}; correct it')


def report_of(listing: Listing, manifest: Manifest, limit: int) -> Report:
  """What became of the clips of a split that was prepared."""
  return Report.of(
    listing,
    lost=manifest.lost,
    labels=np.flatnonzero(manifest.labels).tolist(),
    split=manifest.split,
    listed=manifest.listed,
    limit=limit,
    ok=manifest.count,
    damaged=manifest.damaged,
  )


def _check_classes(
  out: pathlib.Path, classes: ClassList, bound: ClassList | None
) -> None:
  difference = bound and classes.first_difference(bound)
  if difference:
    raise InputError(
      f'the class list differs from {out / CLASSES_FILE}, which the other '
      f'splits there use: {difference} ("there" is that file); give the same '
      '--classes, or another --out'
    )


class _Run:
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
    parts = crashes.marked(self._parts, unfinished.deadly(out, split))
    return [
      Job(
        shard=out / shard_name(split, k, len(parts)),
        note=unfinished.note_path(out, split, k),
        marker=unfinished.marker_path(out, split, k),
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
      job for job in self.jobs() if not unfinished.is_done(job.shard, job.note)
    ]
    return sorted(left, key=lambda job: -len(job.part))

  def blame(self) -> frozenset[str]:
    """Tries alone what was being decoded when a worker died.

    Returns:
      The files that are to blame; remembered for the next `jobs`.
    """
    begun = unfinished.begun(self._out, self._spec.split)
    deadly = crashes.deadly(self._parts, begun, self._options)
    unfinished.sweep(self._out, self._spec.split)
    if deadly:
      unfinished.remember(self._out, self._spec.split, deadly)
    return deadly

  def manifest(self) -> Manifest:
    """The manifest, from the notes of all shards."""
    notes = [shard_jobs.read_note(job) for job in self.jobs()]
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


def _write_here(
  run: _Run, workers: int, progress: parallel.Progress | None
) -> None:
  """Writes the shards in processes of this machine; outlives their crashes."""
  jobs = run.left()
  workers = parallel.count(workers, len(jobs))
  # One worker is this very process: the crash was an earlier run's end.
  if workers == 1 and run.blame():
    jobs = run.left()
  while True:
    try:
      for _ in parallel.run(
        shard_jobs.write,
        jobs,
        workers=workers,
        done=run.clips - sum(len(job.part) for job in jobs),
        total=run.clips,
        progress=progress,
      ):
        pass
      return
    except parallel.WorkerDied:
      if not run.blame():
        raise
      jobs = run.left()


def _report_lost(
  out: pathlib.Path, manifest: Manifest, max_lost: float
) -> None:
  """Lists what was lost, and stops if that is too much."""
  path = out / f'{manifest.split}.lost.txt'
  path.unlink(missing_ok=True)
  if not manifest.lost:
    return
  lines = [f'{clip}\t{reason}\n' for clip, reason in manifest.lost]
  write_atomically(path, ''.join(lines).encode())
  share = len(manifest.lost) / manifest.listed
  if share > max_lost or not manifest.count:
    clip, reason = manifest.lost[0]
    raise InputError(
      f'{len(manifest.lost)} of {manifest.listed} videos are lost, as {clip} '
      f'({reason}); wanted at most {max_lost:.1%}, and one record at least; '
      f'see {path}; repair or unlist them and run again with --overwrite, or '
      'raise --max-lost'
    )
