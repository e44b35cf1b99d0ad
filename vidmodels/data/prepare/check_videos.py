"""What is broken in a source and why, before hours depend on it.

Every file is decoded to its end by the code that `prepare` uses, so what is
fine here is a record there; or files are only looked for, which is fast.
"""

import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from vidmodels.data.prepare import (
  clip_reader,
  process_pool,
  shard_parts,
  sources,
)
from vidmodels.data.prepare.split_report import SplitReport
from vidmodels.data.video.container import BadVideo, look
from vidmodels.data.video.decode import VideoInfo
from vidmodels.data.video.picture import Picture
from vidmodels.files import check_output_path, write_atomically
from vidmodels.typing import InputError

_FILES_A_JOB = 16

# A clip's number, why it is bad or '', its frames and its damage.
_Found = tuple[int, str, int, int]


def check(
  source: str | os.PathLike[str],
  *,
  decode: bool = True,
  out: str | os.PathLike[str] | None = None,
  workers: int = 0,
  progress: process_pool.Progress | None = None,
  **said: Any,
) -> SplitReport:
  """Decodes every clip of a source, or only looks for its files.

  Args:
    source: a data set's name, a folder per class, or a list.
    decode: False to look for the files only.
    out: where to write the bad ones, `clip<tab>reason` on each line; a file
      without a line if all are fine.
    workers: processes; 0 for one a CPU.
    progress: called with clips done, clips listed, and the clip done last, as
      'bad <clip>: <reason>' if it gives no frame.
    **said: what else is said of the source; see `sources.Spec`.

  Raises:
    InputError: if the source cannot be read.
  """
  if out is not None:
    check_output_path(pathlib.Path(out))  # before hours of decoding
  spec = sources.Spec(source=os.fspath(source), **said)
  found = sources.read(spec)
  if isinstance(found, sources.Tfds):
    raise InputError(
      f'{source} came; wanted video files: TFDS decodes its sets itself'
    )
  rows = found.listing.rows
  groups = shard_parts.groups_of(rows)
  some = process_pool.run(
    _decode_files if decode else _look_for_files,
    [groups[i : i + _FILES_A_JOB] for i in range(0, len(groups), _FILES_A_JOB)],
    workers=workers if decode else 1,
    total=len(rows),
    progress=progress,
  )
  results = sorted(itertools.chain.from_iterable(some))
  report = _report(spec, found, results, decoded=decode)
  if out is not None:
    lines = [f'{video}\t{why}\n' for video, why in report.bad]
    write_atomically(pathlib.Path(out), ''.join(lines).encode())
  return report


def _report(
  spec: sources.Spec,
  found: sources.Files,
  results: Sequence[_Found],
  *,
  decoded: bool,
) -> SplitReport:
  rows = found.listing.rows
  fine = [result for result in results if not result[1]]
  return SplitReport.of(
    found.listing,
    bad=tuple((rows[i].video, why) for i, why, _, _ in results if why),
    labels=[label for i, *_ in fine for label in rows[i].labels],
    split=spec.split,
    listed=len(rows),
    limit=spec.limit,
    ok=len(fine),
    damaged=tuple((rows[i].video, n) for i, _, _, n in fine if n),
    decoded=decoded,
    frames=sum(frames for _, _, frames, _ in fine),
  )


class _Counted:
  """A clip of which only the number of frames is kept."""

  def __init__(self, info: VideoInfo):
    self._size = (info.width, info.height)
    self.frames = 0

  def add(self, picture: Picture, time_us: int) -> None:
    """Takes the next frame; it has to become RGB, as in `prepare`."""
    picture.rgb(self._size)
    self.frames += 1


def _decode_files(groups: Sequence[shard_parts.Group]) -> list[_Found]:
  results = []
  for group in groups:
    rows = [row for _, row in group]
    wanted = [clip_reader.of_row(row) for row in rows]
    for i, clip, damage in clip_reader.read(
      rows[0].path, wanted, lambda i, info: _Counted(info)
    ):
      why = clip.reason if isinstance(clip, BadVideo) else ''
      frames = 0 if why else clip.frames
      results.append((group[i][0], why, frames, damage))
      _tick(rows[i].video, why)
  return results


def _look_for_files(groups: Sequence[shard_parts.Group]) -> list[_Found]:
  results = []
  for group in groups:
    why = ''
    try:
      look(group[0][1].path)
    except BadVideo as e:
      why = e.reason
    for number, row in group:
      results.append((number, why, 0, 0))
      _tick(row.video, why)
  return results


def _tick(video: str, why: str) -> None:
  process_pool.tick(f'bad {video}: {why}' if why else video)
