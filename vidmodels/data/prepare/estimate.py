"""What a split will take, before it is prepared: clips, seconds, disk, time.

The annotations say how many clips there are and often how long; what a frame
takes is measured on a few of the videos, or, without videos, taken from
constants that were measured on other ones. `basis` says which.
"""

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from vidmodels.data.datasets import registry
from vidmodels.data.datasets.dataset import Dataset
from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.prepare import encode, process_pool, sources
from vidmodels.data.prepare.split_report import some
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.video import picture
from vidmodels.data.video.container import BadVideo
from vidmodels.data.video.decode import VideoInfo, read_video

_SAMPLED = 8  # videos
_SAMPLED_S = 2.0  # of each
# Assumed where nothing says: a Kinetics clip as it is mostly kept. Data sets
# of other lengths say theirs.
_FPS, _WIDTH, _HEIGHT = 30.0, 340, 256
# Bytes a pixel by JPEG quality, and CPU seconds a pixel to decode and convert
# H.264 and to write JPEGs of quality 95: four clips of 240 to 256 lines, on one
# core of a 2-core server.
_QUALITIES = (50, 75, 85, 95, 100)
_JPEG_BYTES = (0.097, 0.137, 0.177, 0.308, 0.625)
_DECODE_S, _JPEG_S = 6.7e-9, 4.7e-9


@dataclasses.dataclass(frozen=True)
class _Costs:
  """What clips take on average.

  Attributes:
    seconds: of a clip whose length nobody says.
    fps: of the records.
    bytes: of a frame.
    cpu_s: to make one.
    basis: where these come from.
  """

  seconds: float
  fps: float
  bytes: float
  cpu_s: float
  basis: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
  """What is known of a split before it is made.

  Attributes:
    split: its name.
    rows: clips.
    classes: classes that have a clip.
    all_classes: classes of the list.
    videos: source videos that the clips are of, there or not: different files
      of the folder, or different names in the annotations without one.
    expected: clips that the split officially has; 0 if nobody says.
    limit: how many were asked for at most; 0 for all.
    timed: clips whose length the annotations say, by two times or by itself.
    duration_s: their shortest, median and longest; none if none is timed.
    seconds: of all clips; the untimed ones by `basis`.
    frames: of all records.
    bytes: on disk.
    workers: processes.
    hours: with so many.
    basis: where the numbers of frames, bytes and hours come from.
    flip: what a mirror does to labels.
    notes: what the source's reader has to say.
  """

  split: str
  rows: int
  classes: int
  all_classes: int
  videos: int
  expected: int
  limit: int
  timed: int
  duration_s: tuple[float, ...]
  seconds: float
  frames: int
  bytes: int
  workers: int
  hours: float
  basis: str
  flip: str
  notes: tuple[str, ...]

  def as_json(self) -> dict[str, Any]:
    """For JSON."""
    return dataclasses.asdict(self)

  def lines(self) -> list[str]:
    """For people."""
    expected = f' of {self.expected} expected' if self.expected else ''
    lines = [
      f'{self.split}: {some(self.rows, "clip")}{expected}, {self.classes} of '
      f'{self.all_classes} classes seen, {some(self.videos, "video")}, '
      f'flip {self.flip}'
    ]
    if self.limit:
      lines.append(f'only the first {self.limit} clips were asked for')
    if self.duration_s:
      low, middle, high = self.duration_s
      lines.append(
        f'the length of {some(self.timed, "clip")} is said: {low:.1f} to '
        f'{high:.1f} s, median {middle:.1f} s'
      )
    lines.append(
      f'about {self.seconds / 3600:.2f} h of video, {self.frames} frames, '
      f'{self.bytes / 1e9:.2f} GB, {self.hours:.2f} h with '
      + some(self.workers, 'worker')
    )
    lines.append(f'by {self.basis}')
    return [*lines, *(f'note: {note}' for note in self.notes)]


def estimate(
  source: str | os.PathLike[str],
  *,
  flip: FlipPolicy | str | None = None,
  options: encode.Options | None = None,
  workers: int = 0,
  **said: Any,
) -> Estimate:
  """Reads a source as `prepare` would, and writes nothing.

  Args:
    source: a data set's name, a folder per class, a list, or `tfds:NAME`.
    flip: what a mirror does to the labels, to see whether it fits.
    options: of the records.
    workers: processes; 0 for one a CPU.
    **said: what else is said of the source; see `sources.Spec`. A data set's
      videos are not needed.

  Raises:
    InputError: as `prepare` for its source.
  """
  spec = sources.Spec(source=os.fspath(source), **said)
  options = options or encode.Options()
  found = sources.read(spec, need_videos=False)
  listing, rows = found.listing, found.listing.rows
  policy = sources.flip_of(flip, spec, listing) or listing.flip or FlipPolicy()
  there = spec.kind == 'own' or spec.videos is not None
  usual_s = _usual_s(spec)
  costs = _costs(rows if there else (), options, usual_s)
  lengths = [length for length in map(_length, rows) if length is not None]
  seconds = sum(lengths) + (found.clips - len(lengths)) * costs.seconds
  frames = round(seconds * costs.fps)
  workers = process_pool.count(workers, found.clips)
  return Estimate(
    split=spec.split,
    rows=found.clips,
    classes=len({label for row in rows for label in row.labels})
    if rows
    else len(listing.classes),
    all_classes=len(listing.classes),
    videos=len({row.path for row in rows}) if rows else found.clips,
    expected=listing.expected,
    limit=spec.limit,
    timed=len(lengths),
    duration_s=_spread(lengths),
    seconds=round(seconds, 2),
    frames=frames,
    bytes=round(frames * costs.bytes),
    workers=workers,
    hours=round(frames * costs.cpu_s / workers / 3600, 4),
    basis=costs.basis,
    flip=policy.kind,
    notes=listing.notes,
  )


def _usual_s(spec: sources.Spec) -> float:
  if spec.kind == 'dataset':
    return registry.find(spec.source).usual_s
  return Dataset.usual_s


def _length(row: VideoRow) -> float | None:
  if row.end_s is None:
    return row.seconds
  return row.end_s - row.start_s


def _spread(lengths: Sequence[float]) -> tuple[float, ...]:
  if not lengths:
    return ()
  found = (min(lengths), np.median(lengths), max(lengths))
  return tuple(round(float(length), 3) for length in found)


def _costs(
  rows: Sequence[VideoRow], options: encode.Options, usual_s: float
) -> _Costs:
  there = [row for row in rows if row.path.is_file()]
  places = np.linspace(0, len(there) - 1, min(_SAMPLED, len(there)))
  samples = []
  for i in sorted({round(place) for place in places.tolist()}):
    try:
      samples.append(_sample(there[i], options, usual_s))
    except BadVideo:
      continue
  if samples:
    return _measured(samples, options)
  return _assumed(options, usual_s)


def _assumed(options: encode.Options, usual_s: float) -> _Costs:
  width, height = picture.shrunk(_WIDTH, _HEIGHT, options.short_side)
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
      f'{usual_s:g} s where no length is said, on a core that decodes and '
      f'writes 980 such frames a second; --videos DIR measures a few'
    ),
  )


@dataclasses.dataclass(frozen=True)
class _Sample:
  seconds: float  # of the whole file
  shown_s: float  # of what was decoded
  frames: int  # kept
  bytes: int
  cpu_s: float


def _sample(row: VideoRow, options: encode.Options, usual_s: float) -> _Sample:
  """Decodes the start of a clip.

  Raises:
    BadVideo: if there is nothing.
  """
  end_s = row.start_s + _SAMPLED_S
  end_s = end_s if row.end_s is None else min(end_s, row.end_s)
  cut = dataclasses.replace(row, end_s=end_s, labels=())
  seconds = _duration(row) or usual_s
  begin = time.process_time()
  for _, record, _ in encode.make_records(row.path, [cut], [()], options):
    if isinstance(record, BadVideo):
      raise record
    return _Sample(
      seconds=seconds,
      shown_s=(record.end_us - record.start_us) / 1e6,
      frames=len(record.frames),
      bytes=sum(map(len, record.frames)),
      cpu_s=time.process_time() - begin,
    )
  raise BadVideo('no frame')


def _duration(row: VideoRow) -> float:
  with read_video(row.path) as reading:
    info: VideoInfo = reading.info
  return info.duration_s


def _measured(samples: Sequence[_Sample], options: encode.Options) -> _Costs:
  total = lambda name: sum(getattr(sample, name) for sample in samples)
  frames = total('frames')
  return _Costs(
    seconds=total('seconds') / len(samples),
    fps=options.fps or frames / total('shown_s'),
    bytes=total('bytes') / frames,
    cpu_s=total('cpu_s') / frames,
    basis=f'{frames} frames of {len(samples)} of the videos, on this machine',
  )
