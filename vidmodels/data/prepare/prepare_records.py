"""Videos to records: each becomes a record, or a line that says why not.

Each worker writes whole shards, and the clips of one video file lie in one
shard (`layers.py`), so the result depends on the rows and the options alone:
not on how many workers there were, on the engine, nor on whether the run was
killed and started again.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vidmodels.data.listing.rows import Listing
from vidmodels.data.prepare import (
  encode,
  process_pool,
  resume_state,
  shard_job,
  sources,
)
from vidmodels.data.prepare.shard_job import Job
from vidmodels.data.prepare.split import SplitRun
from vidmodels.data.prepare.split_report import SplitReport, report_path
from vidmodels.data.records.class_list import CLASSES_FILE, ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.manifest import Manifest
from vidmodels.data.video.container import NO_FILE
from vidmodels.files import write_atomically
from vidmodels.typing import InputError

# Runs `shard_jobs.write` on every job, anywhere that sees the same folders.
Engine = Callable[[Sequence[Job]], None]


def prepare(
  source: str | os.PathLike[str],
  out: str | os.PathLike[str],
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
  **said: Any,
) -> Manifest:
  """Writes a split of records to `out`.

  A run that was killed continues where its finished shards end. A split that
  is complete is left alone, but its manifest takes what is new of the flip
  policy and the subsets. A clip that gives no frame is listed in
  `<split>.lost.txt` and never replaced; `<split>.report.json` counts them all.

  Args:
    source: a data set's name, a folder per class, a list, or `tfds:NAME`.
    out: a folder; its splits share one class list.
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
    **said: what else is said of the source; see `sources.Spec`.

  Raises:
    InputError: if source, options and what `out` holds do not go together, or
      too many clips are lost, or all.
  """
  spec = sources.Spec(source=os.fspath(source), **said)
  options = encode.Options(short_side=short_side, quality=quality, fps=fps)
  check_options(spec.split, shards, max_lost, workers)
  out = pathlib.Path(out)
  check_folder(out)
  bound = resume_state.bound_classes(out, spec.split)
  found = sources.read(spec, default=bound)
  _check_classes(out, found.listing.classes, bound)
  flip = sources.flip_of(flip, spec, found.listing)
  run = SplitRun(out, spec, found, options, shards)
  before = resume_state.claim(
    out, spec.split, run.identity, overwrite=overwrite, resume=resume
  )
  if before is None:
    found.listing.classes.save(out / CLASSES_FILE)
    if engine is None:
      _write_here(run, workers, progress)
    else:
      run.blame()  # a run that crashed ended without doing so
      engine(run.left())
  manifest = _told(before or run.manifest(), found.listing, flip)
  report = report_of(found.listing, manifest, spec.limit, before)
  _finish(out, manifest, report, max_lost=None if before else max_lost)
  return manifest


def _finish(
  out: pathlib.Path,
  manifest: Manifest,
  report: SplitReport,
  *,
  max_lost: float | None,
) -> None:
  """Writes what is said of a split; the manifest last, which makes it one.

  The report is there even if too much was lost (None: not asked again).
  """
  report.save(report_path(out, manifest.split))
  if max_lost is not None:
    _report_lost(out, manifest, max_lost)
  manifest.save(out)
  resume_state.release(out, manifest.split)


def check_options(
  split: str, shards: int, max_lost: float, workers: int
) -> None:
  """Raises InputError if an option is out of its range.

  Before the folder is touched: what claimed it would bind the next run.
  """
  wrong = None
  if not re.fullmatch(r'\w[\w.]*', split):
    wrong = f'split {split!r}; wanted a name of letters, digits, _ and .'
  elif not 0 <= shards <= 99_999:
    wrong = f'{shards} shards; wanted 0 (one per 64 clips) to 99999'
  elif not 0 <= max_lost <= 1:
    wrong = f'a share of {max_lost:g} to lose; wanted 0 to 1'
  elif workers < 0:
    wrong = f'{workers} workers; wanted 1 or more, 0 for one a CPU'
  if wrong:
    raise InputError(f'prepare was given {wrong}; correct it')


def check_folder(out: pathlib.Path) -> None:
  """Raises InputError if there is, or lies above it, what is no folder."""
  above = (out, *out.absolute().parents)
  there = next(p for p in above if p.exists() or p.is_symlink())
  if not there.is_dir():
    raise InputError(
      f'{out} cannot be the folder for the records: {there} is no folder; give '
      'another --out'
    )


def _told(
  manifest: Manifest, listing: Listing, flip: FlipPolicy | None
) -> Manifest:
  """The manifest with what is now said of its records.

  What nobody speaks of stays: a file of the annotations that is not given
  again takes nothing away.
  """
  return dataclasses.replace(
    manifest,
    flip=flip or manifest.flip,
    expected=listing.expected or manifest.expected,
    subsets={**manifest.subsets, **listing.subsets},
    class_subsets={**manifest.class_subsets, **listing.class_subsets},
  )


def report_of(
  listing: Listing, manifest: Manifest, limit: int, before: Manifest | None
) -> SplitReport:
  """What became of the clips of a split that was prepared.

  Args:
    listing: what was listed.
    manifest: of the split.
    limit: clips that were asked for at most; 0 for all.
    before: the manifest of the split if it was complete when this run came.
  """
  notes = list(listing.notes)
  if before is not None:
    notes.append(_left_alone(before, manifest))
  back = _back(listing, manifest)
  if back:
    are = 'is' if back == 1 else 'are'
    notes.append(
      f'{back} of the lost {are} there now; --overwrite takes what is'
    )
  return SplitReport.of(
    dataclasses.replace(listing, notes=tuple(notes)),
    bad=manifest.lost,
    labels=np.flatnonzero(manifest.labels).tolist(),
    split=manifest.split,
    listed=manifest.listed,
    limit=limit,
    ok=manifest.count,
    damaged=manifest.damaged,
  )


def _left_alone(before: Manifest, now: Manifest) -> str:
  """What is said of a split that was complete already."""
  names = ('flip', 'expected', 'subsets', 'class_subsets')
  news = [n for n in names if getattr(before, n) != getattr(now, n)]
  line = f'split {now.split!r} was complete; its records were left alone'
  return f'{line}, its manifest has new {", ".join(news)}' if news else line


def _back(listing: Listing, manifest: Manifest) -> int:
  """Clips that were lost for want of a file which is there now."""
  gone = {clip for clip, why in manifest.lost if why == NO_FILE}
  return sum(row.video in gone and row.path.is_file() for row in listing.rows)


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


def _write_here(
  run: SplitRun, workers: int, progress: process_pool.Progress | None
) -> None:
  """Writes the shards in processes of this machine; outlives their crashes."""
  jobs = run.left()
  workers = process_pool.count(workers, len(jobs))
  # One worker is this very process: the crash was an earlier run's end.
  if workers == 1 and run.blame():
    jobs = run.left()
  while True:
    try:
      for _ in process_pool.run(
        shard_job.write,
        jobs,
        workers=workers,
        done=run.clips - sum(len(job.part) for job in jobs),
        total=run.clips,
        progress=progress,
      ):
        pass
      return
    except process_pool.WorkerDied:
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
