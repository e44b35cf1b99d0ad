"""Videos to records: each becomes a record, or a line that says why not.

  manifest = prepare_records.prepare('videos/train', 'records', short_side=256)
  records = RecordSet.open('records', 'train')

Each worker writes whole shards, and all clips of a video file lie in one shard
(`shard_job.py`). So the result depends on the rows and the options alone: not
on the number of workers, on the engine, nor on whether the run was killed and
started again.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vidmodels import files, object_store
from vidmodels.data.listing.rows import Listing
from vidmodels.data.prepare import encode, process_pool, shard_job, sources
from vidmodels.data.prepare.shard_job import ShardJob
from vidmodels.data.prepare.split_report import SplitReport, report_path
from vidmodels.data.prepare.split_run import SplitRun, bound_classes
from vidmodels.data.records.class_list import CLASSES_FILE
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.record_set import Manifest
from vidmodels.data.video.container import NO_FILE
from vidmodels.files import write_atomically
from vidmodels.typing import AnyPath, InputError, quote

# Runs `shard_job.write_shard` on every job, anywhere that sees the same files.
Engine = Callable[[Sequence[ShardJob]], None]


def prepare(
  source: AnyPath,
  out: AnyPath,
  *,
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
  progress: process_pool.Progress | None = None,
  **source_fields: Any,
) -> Manifest:
  """Writes a split of records to `out`.

  A run that was killed continues after its finished shards. A complete split
  is left alone, but its manifest takes a new flip policy and new subsets. A
  clip without a frame is listed in `<split>.lost.txt` and never replaced;
  `<split>.report.json` counts all clips.

  Args:
    source: a data set's name, a folder per class, a list, or `tfds:NAME`.
    out: a folder; its splits share one class list.
    flip: what a mirror does to the labels; 'swap' for the data set's pairs. By
      default the data set's policy, or 'forbid'.
    short_side, quality, fps: see `encode.Options`.
    shards: files to spread the records over; 0 for one per 64 clips.
    workers: processes; 0 for one a CPU.
    max_lost: the largest share of the clips that may be lost, 0 to 1.
    overwrite: removes the split first.
    resume: continues a split that is partly written; False refuses it.
    engine: writes the shards instead of processes here; see `beam.py`.
    progress: called with clips done, clips listed, and the last clip, as
      'lost <clip>: <reason>' if it gave no record.
    **source_fields: the other fields of `sources.SourceSpec`.

  Raises InputError if source, options and the contents of `out` do not fit, or
  too many clips are lost, or all.
  """
  spec = sources.SourceSpec(source=os.fspath(source), **source_fields)
  options = encode.Options(short_side=short_side, quality=quality, fps=fps)
  check_options(spec.split, shards, max_lost, workers)
  out = files.place(out)
  check_out_folder(out)
  bound = bound_classes(out, spec.split)
  opened = sources.open_source(spec, default=bound)
  listing = opened.listing
  listing.classes.check_same(bound, out)
  flip = sources.resolve_flip(flip, spec, listing)
  run = SplitRun(out, spec, opened, options, shards)
  before = run.claim(overwrite=overwrite, resume=resume)
  if before is None:
    listing.classes.save(out / CLASSES_FILE)
    _write_shards(run, engine, workers, progress)
  manifest = _update(before or run.manifest(), flip, listing)
  # The report exists even if too many clips are lost. The manifest comes last:
  # only with it is there a split.
  report = make_report(listing, manifest, spec.limit, before)
  report.save(report_path(out, manifest.split))
  if before is None:
    _list_lost(out, manifest, max_lost)
  manifest.save(out)
  run.release()
  return manifest


def check_options(
  split: str, shards: int, max_lost: float, workers: int
) -> None:
  """Raises InputError if an option is out of its range.

  Before the folder is touched: a claim would bind the next run.
  """
  problem = None
  if not re.fullmatch(r'\w[\w.]*', split):
    problem = f'split {split!r}; expected a name of letters, digits, _ and .'
  elif not 0 <= shards <= 99_999:
    problem = f'{shards} shards; expected 0 (one per 64 clips) to 99999'
  elif not 0 <= max_lost <= 1:
    problem = f'a share of {max_lost:g} to lose; expected 0 to 1'
  elif workers < 0:
    problem = f'{workers} workers; expected 1 or more, 0 for one a CPU'
  if problem:
    raise InputError(f'got {problem}; try another value')


def check_out_folder(out: pathlib.Path) -> None:
  """Raises InputError if `out` or a path above it is not a folder.

  In an object store, if the bucket cannot be used.
  """
  if object_store.in_store(out):
    object_store.check_bucket(out)
    return
  above = (out, *out.absolute().parents)
  existing = next(p for p in above if p.exists() or p.is_symlink())
  if not existing.is_dir():
    raise InputError(
      f'got {out} for the records, but {existing} is no folder; expected a new '
      'or existing folder; try another --out'
    )


def make_report(
  listing: Listing, manifest: Manifest, limit: int, before: Manifest | None
) -> SplitReport:
  """Reports what became of the clips of a split, up to the limit; 0 for all.

  `before` is the manifest if the split was complete before this run.
  """
  notes = list(listing.notes)
  if before is not None:
    note = f'split {manifest.split!r} was complete; its records were left alone'
    fields = ('flip', 'expected', 'subsets', 'class_subsets')
    new = [f for f in fields if getattr(before, f) != getattr(manifest, f)]
    if new:
      note += f', its manifest has new {", ".join(new)}'
    notes.append(note)
  missing = {clip for clip, reason in manifest.lost if reason == NO_FILE}
  rows = [row for row in listing.rows if row.video in missing]
  back = sum(row.path.is_file() for row in rows)
  if back:
    exist = 'exists' if back == 1 else 'exist'
    notes.append(
      f'{back} of the lost clips {exist} now; try --overwrite to include them'
    )
  return SplitReport.from_listing(
    dataclasses.replace(listing, notes=tuple(notes)),
    bad=manifest.lost,
    labels=np.flatnonzero(manifest.labels).tolist(),
    split=manifest.split,
    listed=manifest.listed,
    limit=limit,
    ok=manifest.count,
    damaged=manifest.damaged,
    short=manifest.short,
  )


def _write_locally(
  run: SplitRun, workers: int, progress: process_pool.Progress | None
) -> None:
  """Writes the shards in processes here; survives crashes of the decoder."""
  jobs = run.unfinished_jobs()
  workers = process_pool.worker_count(workers, len(jobs))
  # A single worker is this very process: only an earlier run can have crashed.
  if workers == 1 and run.find_crashing_files():
    jobs = run.unfinished_jobs()
  while True:
    try:
      for _ in process_pool.run_jobs(
        shard_job.write_shard,
        jobs,
        workers=workers,
        done=run.clips - sum(len(job.part) for job in jobs),
        total=run.clips,
        progress=progress,
      ):
        pass
      return
    except process_pool.WorkerDied:
      if not run.find_crashing_files():
        raise
      jobs = run.unfinished_jobs()


def _write_shards(
  run: SplitRun,
  engine: Engine | None,
  workers: int,
  progress: process_pool.Progress | None,
) -> None:
  """Writes the shards that are not finished, by `engine` or processes here."""
  if engine is None:
    _write_locally(run, workers, progress)
  else:
    run.find_crashing_files()  # of an earlier run that crashed
    engine(run.unfinished_jobs())


def _update(
  manifest: Manifest, flip: FlipPolicy | None, listing: Listing
) -> Manifest:
  """The manifest with what the source and the user say now.

  A field that is not given now keeps its value: annotation files that are not
  given again take nothing away.
  """
  return dataclasses.replace(
    manifest,
    flip=flip or manifest.flip,
    expected=listing.expected or manifest.expected,
    subsets={**manifest.subsets, **listing.subsets},
    class_subsets={**manifest.class_subsets, **listing.class_subsets},
  )


def _list_lost(out: pathlib.Path, manifest: Manifest, max_lost: float) -> None:
  """Lists the lost clips; raises InputError if they are too many."""
  path = out / f'{manifest.split}.lost.txt'
  path.unlink(missing_ok=True)
  if not manifest.lost:
    return
  lines = [f'{quote(clip)}\t{reason}\n' for clip, reason in manifest.lost]
  write_atomically(path, ''.join(lines).encode())
  share = len(manifest.lost) / manifest.listed
  if share > max_lost or not manifest.count:
    clip, reason = manifest.lost[0]
    raise InputError(
      f'{len(manifest.lost)} of {manifest.listed} videos are lost, as '
      f'{quote(clip)} ({reason}); expected at most {max_lost:.1%}, and at '
      'least one record; '
      f'see {path}; try to repair or unlist them and run again with '
      '--overwrite, or raise --max-lost'
    )
