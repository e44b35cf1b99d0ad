"""Finds the broken videos of a source, before hours depend on them.

  report = check_videos.check('videos/train', out='bad.txt')
  print('\\n'.join(report.lines()))

Every file is decoded to its end by the code that `prepare` uses, so a clip that
is fine here becomes a record there. A fast check only looks for the files.
"""

import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.prepare import (
  clip_reader,
  process_pool,
  shard_job,
  short_clips,
  sources,
)
from vidmodels.data.prepare.split_report import SplitReport
from vidmodels.data.video.container import BadVideo, VideoInfo, check_video_file
from vidmodels.data.video.decode import Picture
from vidmodels.files import check_output_path, write_atomically
from vidmodels.typing import AnyPath, InputError, quote

_FILES_PER_JOB = 16

# A clip's number, the reason why it is bad or '', its frames, its damage and
# how long it lasts, seconds; 0 if it was not decoded.
_ClipCheck = tuple[int, str, int, int, float]


def check(
  source: AnyPath,
  *,
  decode: bool = True,
  out: AnyPath | None = None,
  workers: int = 0,
  progress: process_pool.Progress | None = None,
  **source_fields: Any,
) -> SplitReport:
  """Decodes every clip of a source, or only looks for its files.

  The source is a data set's name, a folder per class, or a list;
  `source_fields` are the other fields of `sources.SourceSpec`. The file `out`
  lists the bad clips, `clip<tab>reason` on each line; it is empty if all are
  fine. 0 workers stand for one a CPU. `progress` is called with clips done,
  clips listed, and the last clip, as 'bad <clip>: <reason>' if it has no frame.
  """
  if out is not None:
    check_output_path(pathlib.Path(out))  # before hours of decoding
  spec = sources.SourceSpec(source=os.fspath(source), **source_fields)
  opened = sources.open_source(spec)
  if spec.kind == 'tfds':
    raise InputError(
      f'got {source}; expected video files: TFDS decodes its sets itself'
    )
  rows = opened.listing.rows
  groups = shard_job.group_by_file(rows)
  checks = process_pool.run_jobs(
    _decode_files if decode else _look_for_files,
    [
      groups[i : i + _FILES_PER_JOB]
      for i in range(0, len(groups), _FILES_PER_JOB)
    ],
    workers=workers if decode else 1,
    total=len(rows),
    progress=progress,
  )
  results = sorted(itertools.chain.from_iterable(checks))
  fine = [result for result in results if not result[1]]
  report = SplitReport.from_listing(
    opened.listing,
    bad=tuple((rows[i].video, reason) for i, reason, *_ in results if reason),
    labels=[label for i, *_ in fine for label in rows[i].labels],
    split=spec.split,
    listed=len(rows),
    limit=spec.limit,
    ok=len(fine),
    damaged=tuple((rows[i].video, n) for i, _, _, n, _ in fine if n),
    short=short_clips.find_short(
      [
        (rows[i].video, short_clips.annotated_seconds(rows[i]), seconds)
        for i, *_, seconds in fine
      ]
    )
    if decode
    else (),
    decoded=decode,
    frames=sum(frames for _, _, frames, *_ in fine),
  )
  if out is not None:
    lines = [f'{quote(video)}\t{reason}\n' for video, reason in report.bad]
    write_atomically(pathlib.Path(out), ''.join(lines).encode())
  return report


class _FrameCounter:
  """A clip of which only the number of frames and the last time are kept."""

  def __init__(self, info: VideoInfo):
    self._size = (info.width, info.height)
    self._frame_s = 1 / info.fps
    self._last_s = 0.0
    self.frames = 0

  @property
  def seconds(self) -> float:
    """How long the clip lasts; the last frame as long as the others."""
    rest = self.frames - 1
    return self._last_s + (self._last_s / rest if rest else self._frame_s)

  def add(self, picture: Picture, time_us: int) -> None:
    """Counts the next frame, which must become RGB, as in `prepare`."""
    picture.rgb(self._size)
    self._last_s = time_us / 1e6
    self.frames += 1


def _decode_files(groups: Sequence[shard_job.FileGroup]) -> list[_ClipCheck]:
  checks: list[_ClipCheck] = []
  for group in groups:
    ranges = [clip_reader.row_range(row) for _, row in group]
    for i, clip, damage in clip_reader.read_clips(
      group[0][1].path, ranges, lambda _, info: _FrameCounter(info)
    ):
      if isinstance(clip, BadVideo):
        checks.append(_note_clip(*group[i], clip.reason, damage=damage))
      else:
        checks.append(
          _note_clip(*group[i], '', clip.frames, damage, clip.seconds)
        )
  return checks


def _look_for_files(groups: Sequence[shard_job.FileGroup]) -> list[_ClipCheck]:
  checks: list[_ClipCheck] = []
  for group in groups:
    reason = ''
    try:
      check_video_file(group[0][1].path)
    except BadVideo as e:
      reason = e.reason
    checks.extend(_note_clip(*entry, reason) for entry in group)
  return checks


def _note_clip(
  number: int,
  row: VideoRow,
  reason: str,
  frames: int = 0,
  damage: int = 0,
  seconds: float = 0.0,
) -> _ClipCheck:
  video = quote(row.video)
  process_pool.tick(f'bad {video}: {reason}' if reason else video)
  return number, reason, frames, damage, seconds
