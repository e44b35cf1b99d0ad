"""Estimates what a split takes before it is prepared: clips, disk, time.

  print('\\n'.join(estimate.estimate('k400', annotations=csv).lines()))

The annotations say how many clips there are and often their lengths. The cost
of a frame is measured on a few of the videos or, without videos, taken from
constants measured on others. `basis` says which.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from vidmodels.data.datasets import registry
from vidmodels.data.datasets.dataset import Dataset
from vidmodels.data.listing.rows import VideoRow, join_names
from vidmodels.data.listing.video_files import find_move
from vidmodels.data.prepare import encode, process_pool, sources
from vidmodels.data.prepare.split_report import count_noun
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.video import decode
from vidmodels.data.video.container import BadVideo
from vidmodels.files import short_path
from vidmodels.typing import AnyPath, quote

_SAMPLES = 8  # videos
_SAMPLE_S = 2.0  # of each
# Assumed without other information: a Kinetics clip as most people keep it.
# Data sets with clips of other lengths have their own.
_FPS, _WIDTH, _HEIGHT = 30.0, 340, 256
# Bytes a pixel by JPEG quality; CPU seconds a pixel to decode and convert
# H.264, and to write JPEGs of quality 95: four clips of 240 to 256 lines, on
# one core of a 2-core server.
_QUALITIES = (50, 75, 85, 95, 100)
_JPEG_BYTES = (0.097, 0.137, 0.177, 0.308, 0.625)
_DECODE_S, _JPEG_S = 6.7e-9, 4.7e-9


@dataclasses.dataclass(frozen=True)
class _Costs:
  """What clips take on average."""

  seconds: float  # of a clip of unknown length
  fps: float  # of the records
  bytes: float  # of a frame
  cpu_s: float  # to make a frame
  basis: str  # where these come from


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
  """What is known of a split before it is made."""

  split: str  # its name
  rows: int  # clips
  classes: int  # classes that have a clip
  all_classes: int  # classes of the list
  # videos: source videos of the clips, existing or not: different files of the
  # folder or, without a folder, different names in the annotations
  videos: int
  expected: int  # clips that the split officially has; 0 if unknown
  limit: int  # the most clips asked for; 0 for all
  timed: int  # clips whose length the annotations give
  duration_s: tuple[float, ...]  # their shortest, median, longest, if any
  seconds: float  # of all clips; the untimed ones by `basis`
  frames: int  # of all records
  bytes: int  # on disk
  workers: int  # processes
  hours: float  # with that many workers
  basis: str  # where the numbers of frames, bytes and hours come from
  flip: str  # what a mirror does to labels
  missing: tuple[str, ...]  # clips without a file; none if none are needed
  notes: tuple[str, ...]  # of the reader of the source

  def as_json(self) -> dict[str, Any]:
    """All attributes, for JSON."""
    return dataclasses.asdict(self)

  def lines(self) -> list[str]:
    """The estimate for people."""
    expected = f' of {self.expected} expected' if self.expected else ''
    lines = [
      f'{self.split}: {count_noun(self.rows, "clip")}{expected}, '
      f'{self.classes} of {self.all_classes} classes seen, '
      f'{count_noun(self.videos, "video")}, flip {self.flip}'
    ]
    if self.limit:
      lines.append(f'only the first {self.limit} clips were asked for')
    if self.duration_s:
      low, middle, high = self.duration_s
      lines.append(
        f'the length of {count_noun(self.timed, "clip")} is known: '
        f'{low:.1f} to {high:.1f} s, median {middle:.1f} s'
      )
    lines.append(
      f'about {self.seconds / 3600:.2f} h of video, {self.frames} frames, '
      f'{self.bytes / 1e9:.2f} GB, {self.hours:.2f} h with '
      + count_noun(self.workers, 'worker')
    )
    lines.append(f'by {self.basis}')
    if self.missing:
      named = join_names([quote(name) for name in self.missing])
      lines.append(
        f'missing: the files of {len(self.missing)} of '
        f'{count_noun(self.rows, "clip")}: {named}'
      )
    return [*lines, *(f'note: {note}' for note in self.notes)]


def estimate(
  source: AnyPath,
  *,
  flip: FlipPolicy | str | None = None,
  options: encode.Options | None = None,
  workers: int = 0,
  **source_fields: Any,
) -> Estimate:
  """Reads a source as `prepare` would, and writes nothing.

  The arguments are those of `prepare`; the videos of a data set are not needed,
  and `flip` is only checked.
  """
  spec = sources.SourceSpec(source=os.fspath(source), **source_fields)
  options = options or encode.Options()
  opened = sources.open_source(spec, need_videos=False)
  listing, rows = opened.listing, opened.listing.rows
  flip = sources.resolve_flip(flip, spec, listing)
  usual_s = Dataset.usual_s
  if spec.kind == 'dataset':
    usual_s = registry.find(spec.source).usual_s
  has_videos = spec.kind == 'own' or spec.videos is not None
  there = [row.path.is_file() for row in rows] if has_videos else []
  found = list(itertools.compress(rows, there))
  costs = _measure_costs(found, options, usual_s)
  by_times = (
    row.seconds if row.end_s is None else row.end_s - row.start_s
    for row in rows
  )
  lengths = [length for length in by_times if length is not None]
  seconds = sum(lengths) + (opened.clips - len(lengths)) * costs.seconds
  frames = round(seconds * costs.fps)
  workers = process_pool.worker_count(workers, opened.clips)
  spread = (min, np.median, max) if lengths else ()
  return Estimate(
    split=spec.split,
    rows=opened.clips,
    classes=len({label for row in rows for label in row.labels})
    if rows
    else len(listing.classes),
    all_classes=len(listing.classes),
    videos=len({row.path for row in rows}) if rows else opened.clips,
    expected=listing.expected,
    limit=spec.limit,
    timed=len(lengths),
    duration_s=tuple(round(float(f(lengths)), 3) for f in spread),
    seconds=round(seconds, 2),
    frames=frames,
    bytes=round(frames * costs.bytes),
    workers=workers,
    hours=round(frames * costs.cpu_s / workers / 3600, 4),
    basis=costs.basis,
    flip=(flip or listing.flip or FlipPolicy()).kind,
    missing=tuple(
      row.video for row, exists in zip(rows, there, strict=False) if not exists
    ),
    notes=(*listing.notes, *_note_missing(spec, rows, found)),
  )


def _note_missing(
  spec: sources.SourceSpec, rows: Sequence[VideoRow], found: Sequence[VideoRow]
) -> list[str]:
  """What to try if not one file of a list is there."""
  if spec.kind != 'own' or found or not rows:
    return []
  root = pathlib.Path(spec.root or pathlib.Path(spec.source).parent)
  path = rows[0].path
  return [f'{short_path(path)} is not there; {find_move(path, root)}']


def _measure_costs(
  rows: Sequence[VideoRow], options: encode.Options, usual_s: float
) -> _Costs:
  """The costs of a few videos, spread evenly; assumed ones without videos."""
  places = np.linspace(0, len(rows) - 1, min(_SAMPLES, len(rows)))
  samples = []
  for i in sorted({round(place) for place in places.tolist()}):
    with contextlib.suppress(BadVideo):
      samples.append(_measure_sample(rows[i], options, usual_s))
  if not samples:
    return _assume_costs(options, usual_s)
  file_s, decoded_s, frames, size, cpu_s = np.sum(samples, 0).tolist()
  return _Costs(
    seconds=file_s / len(samples),
    fps=options.fps or frames / decoded_s,
    bytes=size / frames,
    cpu_s=cpu_s / frames,
    basis=(
      f'{frames:.0f} frames of {len(samples)} of the videos, on this machine'
    ),
  )


def _assume_costs(options: encode.Options, usual_s: float) -> _Costs:
  width, height = decode.shrink_size(_WIDTH, _HEIGHT, options.short_side)
  pixels = width * height
  fps = options.fps or _FPS
  # Every frame of the source is decoded, whatever rate is kept.
  cpu_s = _DECODE_S * _WIDTH * _HEIGHT * max(1.0, _FPS / fps) + _JPEG_S * pixels
  return _Costs(
    seconds=usual_s,
    fps=fps,
    bytes=pixels * float(np.interp(options.quality, _QUALITIES, _JPEG_BYTES)),
    cpu_s=cpu_s,
    basis=(
      f'assumption: H.264 of {_WIDTH}x{_HEIGHT} at {_FPS:g} fps, '
      f'{usual_s:g} s where no length is known, on a core that decodes and '
      f'writes 980 such frames a second; --videos DIR measures a few'
    ),
  )


def _measure_sample(
  row: VideoRow, options: encode.Options, usual_s: float
) -> tuple[float, float, int, int, float]:
  """Decodes the start of a clip; BadVideo if it has no frame.

  Returns the seconds of the file and of what was decoded, the frames and bytes
  kept, and CPU seconds.
  """
  end_s = row.start_s + _SAMPLE_S
  end_s = end_s if row.end_s is None else min(end_s, row.end_s)
  start = dataclasses.replace(row, end_s=end_s, labels=())
  file_s = decode.probe(row.path).duration_s or usual_s
  begin = time.process_time()
  ((_, record, _),) = encode.make_records(row.path, [start], [()], options)
  if isinstance(record, BadVideo):
    raise record
  return (
    file_s,
    (record.end_us - record.start_us) / 1e6,
    len(record.frames),
    sum(map(len, record.frames)),
    time.process_time() - begin,
  )
