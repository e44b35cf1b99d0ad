"""Videos to records: each becomes a record, or a line that says why not.

Each worker writes whole shards. Row i goes to shard i mod count, so the result
depends on the rows and the options alone: not on how many workers there were,
nor on whether the run was killed and started again.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import av
import numpy as np

from vidmodels.data import encode, parallel, records, unfinished
from vidmodels.data.annotations import Row, read_source
from vidmodels.data.classes import CLASSES_FILE, ClassList
from vidmodels.data.decode import BadVideo
from vidmodels.data.flip import FlipPolicy
from vidmodels.data.manifest import Manifest, Shard
from vidmodels.data.tfrecord import ShardWriter, shard_name, write_atomically
from vidmodels.typing import InputError

_VIDEOS_A_SHARD = 64  # what a kill costs each worker at most
_MOST_SHARDS = 1024


@dataclasses.dataclass(frozen=True)
class _Job:
  """One shard to write; each row comes with its number in the list."""

  shard: pathlib.Path
  note: pathlib.Path
  rows: tuple[tuple[int, Row], ...]
  names: tuple[str, ...]
  options: encode.Options


def prepare(
  source: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  split: str = 'train',
  classes: ClassList | None = None,
  root: str | os.PathLike[str] | None = None,
  flip: FlipPolicy | None = None,
  short_side: int = 0,
  quality: int = 95,
  fps: float = 0.0,
  shards: int = 0,
  workers: int = 0,
  max_lost: float = 1.0,
  overwrite: bool = False,
  progress: parallel.Progress | None = None,
) -> Manifest:
  """Writes a split of records to `out`.

  A run that was killed continues where its finished shards end. A split that
  is complete is left alone, but takes a new flip policy. A video that gives no
  frame is counted, listed in `<split>.lost.txt` and never replaced.

  Args:
    source: a folder per class, or a list; see `annotations.read_source`.
    out: a folder; its splits share one class list.
    split: name of the split.
    classes: what labels refer to.
    root: what the paths of a list are relative to.
    flip: what a mirror does to the labels; 'forbid' if nothing was ever said.
    short_side: frames are shrunk to it, pixels; 0 keeps their size.
    quality: of the JPEGs, 1 to 100.
    fps: frames a second to resample to by time stamps; 0 keeps every frame.
    shards: files to spread the records over; 0 for one per 64 videos.
    workers: processes; 0 for one a CPU.
    max_lost: the largest share of the videos that may be lost, 0 to 1.
    overwrite: starts the split anew.
    progress: called with videos done, videos listed, and the video done last,
      as 'lost <video>: <reason>' if it gave no record.

  Raises:
    InputError: if source, options and what `out` holds do not go together, or
      too many videos are lost, or all.
  """
  options = encode.Options(short_side=short_side, quality=quality, fps=fps)
  _check(split, options, shards, max_lost)
  out = pathlib.Path(out)
  bound = unfinished.bound_classes(out, split)
  listing = read_source(source, classes, root=root, default=bound)
  rows, classes = listing.rows, listing.classes
  _check_classes(out, classes, bound, flip)
  count = _shard_count(shards, len(rows))
  identity = dataclasses.asdict(options) | {
    'shards': count,
    'rows_sha256': _sha256(rows),
    'classes_sha256': classes.sha256,
  }
  finished = unfinished.claim(out, split, identity, overwrite=overwrite)
  if finished is None:
    classes.save(out / CLASSES_FILE)
    jobs = _jobs(out, split, rows, classes, options, count)
    _run(jobs, len(rows), workers, progress)
    written = {**identity, 'source': os.fspath(source), 'pyav': av.__version__}
    finished = _assembled(jobs, split, classes, written)
    _report_lost(out, finished, max_lost)
  if flip is not None:
    finished = dataclasses.replace(finished, flip=flip)
  finished.save(out)
  unfinished.release(out, split)
  return finished


def _check(
  split: str, options: encode.Options, shards: int, max_lost: float
) -> None:
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
    wrong = f'{shards} shards; wanted 0 (one per 64 videos) to 99999'
  elif not 0 <= max_lost <= 1:
    wrong = f'a share of {max_lost:g} to lose; wanted 0 to 1'
  if wrong:
    raise InputError(f'prepare was given {wrong}; correct it')


def _check_classes(
  out: pathlib.Path,
  classes: ClassList,
  bound: ClassList | None,
  flip: FlipPolicy | None,
) -> None:
  if flip is not None:
    flip.check(classes)
  difference = bound and classes.first_difference(bound)
  if difference:
    raise InputError(
      f'the class list differs from {out / CLASSES_FILE}, which the other '
      f'splits there use: {difference} ("there" is that file); give the same '
      '--classes, or another --out'
    )


def _shard_count(wanted: int, videos: int) -> int:
  """Shards for so many videos; none is empty."""
  auto = min(_MOST_SHARDS, -(-videos // _VIDEOS_A_SHARD))
  return min(wanted or auto, videos)


def _sha256(rows: Sequence[Row]) -> str:
  """Identifies what was listed, wherever the files lie."""
  digest = hashlib.sha256()
  for row in rows:
    entry = [row.video, row.labels, row.start_s, row.end_s]
    digest.update(json.dumps(entry).encode() + b'\n')
  return digest.hexdigest()


def _jobs(
  out: pathlib.Path,
  split: str,
  rows: Sequence[Row],
  classes: ClassList,
  options: encode.Options,
  count: int,
) -> list[_Job]:
  numbered = list(enumerate(rows))
  return [
    _Job(
      shard=out / shard_name(split, k, count),
      note=unfinished.note_path(out, split, k),
      rows=tuple(numbered[k::count]),
      names=classes.names,
      options=options,
    )
    for k in range(count)
  ]


def _run(
  jobs: Sequence[_Job],
  total: int,
  workers: int,
  progress: parallel.Progress | None,
) -> None:
  left = [job for job in jobs if not unfinished.is_done(job.shard, job.note)]
  done = total - sum(len(job.rows) for job in left)
  for _ in parallel.run(
    _write_shard,
    left,
    workers=workers,
    done=done,
    total=total,
    progress=progress,
  ):
    pass


def _write_shard(job: _Job) -> None:
  """Writes a shard, then the note that says it is whole and what it holds."""
  lost, damaged, labels, videos = [], [], [], []
  with ShardWriter(job.shard) as writer:
    for number, row in job.rows:
      texts = tuple(job.names[label] for label in row.labels)
      try:
        record, damage = encode.make_record(row, texts, job.options)
      except BadVideo as e:
        lost.append((number, row.video, e.reason))
        parallel.tick(f'lost {row.video}: {e.reason}')
        continue
      writer.write(records.encode(record))
      labels.extend(row.labels)
      videos.append(row.video)
      if damage:
        damaged.append((number, row.video, damage))
      parallel.tick(row.video)
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


def _assembled(
  jobs: Sequence[_Job],
  split: str,
  classes: ClassList,
  options: Mapping[str, Any],
) -> Manifest:
  notes = [json.loads(job.note.read_text()) for job in jobs]
  keys = ('name', 'count', 'bytes', 'sha256')
  labels = [label for note in notes for label in note['labels']]
  lost = sorted(tuple(entry) for note in notes for entry in note['lost'])
  damaged = sorted(tuple(entry) for note in notes for entry in note['damaged'])
  return Manifest(
    split=split,
    shards=tuple(
      Shard(
        **{key: note[key] for key in keys},
        offsets=np.asarray(note['offsets'], np.int64),
        videos=tuple(note['videos']),
      )
      for note in notes
    ),
    classes_sha256=classes.sha256,
    flip=FlipPolicy(),
    listed=sum(len(job.rows) for job in jobs),
    lost=tuple((video, reason) for _, video, reason in lost),
    damaged=tuple((video, packets) for _, video, packets in damaged),
    options=options,
    labels=tuple(np.bincount(labels, minlength=len(classes)).tolist())
    if labels
    else (0,) * len(classes),
  )


def _report_lost(
  out: pathlib.Path, manifest: Manifest, max_lost: float
) -> None:
  """Lists what was lost, and stops if that is too much."""
  path = out / f'{manifest.split}.lost.txt'
  path.unlink(missing_ok=True)
  if not manifest.lost:
    return
  lines = [f'{video}\t{reason}\n' for video, reason in manifest.lost]
  write_atomically(path, ''.join(lines).encode())
  share = len(manifest.lost) / manifest.listed
  if share > max_lost or not manifest.count:
    video, reason = manifest.lost[0]
    raise InputError(
      f'{len(manifest.lost)} of {manifest.listed} videos are lost, as {video} '
      f'({reason}); wanted at most {max_lost:.1%}, and one record at least; '
      f'see {path}; repair or unlist them and run again with --overwrite, or '
      'raise --max-lost'
    )
