"""What is broken in a source and why, before hours depend on it.

Every file is decoded to its end by the code that `prepare` uses, so what is
fine here is a record there.
"""

import dataclasses
import os
import pathlib
from typing import Any

from vidmodels.data import decode, parallel
from vidmodels.data.annotations import Row, read_source
from vidmodels.data.classes import ClassList
from vidmodels.data.tfrecord import check_place, write_atomically

_VIDEOS_A_JOB = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """What `check` found.

  Attributes:
    listed: videos of the source, ok plus bad.
    ok: videos that give frames, damaged ones included.
    frames: of all ok videos.
    bad: (video, reason) of each that gives none, in the order listed.
    damaged: (video, packets and frames that do not decode whole).
  """

  listed: int
  ok: int
  frames: int
  bad: tuple[tuple[str, str], ...]
  damaged: tuple[tuple[str, int], ...]

  def as_json(self) -> dict[str, Any]:
    """For JSON."""
    return dataclasses.asdict(self)


def check(
  source: str | os.PathLike[str],
  *,
  classes: ClassList | None = None,
  root: str | os.PathLike[str] | None = None,
  out: str | os.PathLike[str] | None = None,
  workers: int = 0,
  progress: parallel.Progress | None = None,
) -> Report:
  """Decodes every video of a source.

  Args:
    source: a folder per class, or a list; see `annotations.read_source`.
    classes: what labels refer to.
    root: what the paths of a list are relative to.
    out: where to write the bad ones, `video<tab>reason` on each line; a file
      without a line if all are fine.
    workers: processes; 0 for one a CPU.
    progress: called with videos done, videos listed, and the video done last,
      as 'bad <video>: <reason>' if it gives no frame.

  Raises:
    InputError: if the source cannot be read.
  """
  if out is not None:
    check_place(pathlib.Path(out))  # before hours of decoding
  rows = read_source(source, classes, root=root).rows
  numbered = list(enumerate(rows))
  jobs = [
    numbered[i : i + _VIDEOS_A_JOB] for i in range(0, len(rows), _VIDEOS_A_JOB)
  ]
  found = parallel.run(
    _check_rows, jobs, workers=workers, total=len(rows), progress=progress
  )
  # (number, video, reason or '', frames, damage), in the order listed.
  results = sorted(result for part in found for result in part)
  report = Report(
    listed=len(rows),
    ok=sum(not reason for _, _, reason, _, _ in results),
    frames=sum(frames for _, _, _, frames, _ in results),
    bad=tuple((video, why) for _, video, why, _, _ in results if why),
    damaged=tuple(
      (video, damage)
      for _, video, reason, _, damage in results
      if damage and not reason
    ),
  )
  if out is not None:
    lines = [f'{video}\t{reason}\n' for video, reason in report.bad]
    write_atomically(pathlib.Path(out), ''.join(lines).encode())
  return report


def _check_rows(
  rows: list[tuple[int, Row]],
) -> list[tuple[int, str, str, int, int]]:
  results = []
  for number, row in rows:
    frames, damage, reason = 0, 0, ''
    try:
      with decode.read_video(
        row.path, start_s=row.start_s, end_s=row.end_s
      ) as reading:
        for _ in reading:
          frames += 1
        damage = reading.damage
    except decode.BadVideo as e:
      frames, reason = 0, e.reason
    results.append((number, row.video, reason, frames, damage))
    parallel.tick(f'bad {row.video}: {reason}' if reason else row.video)
  return results
