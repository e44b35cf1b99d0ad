"""Files beside the report: the table of classes and the submission.

  side = SideFiles(per_class='classes.csv')
  side.check(scores.info, scores.videos)  # before hours of scoring
  for line in side.write(scores): print(line)

The table has a row per class: how many videos, how well, and the class that it
is mistaken for.
"""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vidmodels import files
from vidmodels.evaluate import submission
from vidmodels.evaluate.averaging import VideoScores
from vidmodels.evaluate.metrics import label_rank
from vidmodels.evaluate.score_file import ScoreInfo
from vidmodels.files import write_atomically
from vidmodels.train import average_precision
from vidmodels.typing import InputError, quote

_FORMULA = ('=', '+', '-', '@')  # what a spreadsheet computes


@dataclasses.dataclass(frozen=True, kw_only=True)
class SideFiles:
  """The files that an evaluation writes besides its report."""

  per_class: str | None = None  # csv file with a row per class
  # submission: file for an official test; see `submission.write`
  submission: str | None = None
  # format: format of the submission; default that of the records
  format: str | None = None
  levels: Sequence[int] = ()  # supervision levels of the submission

  def __post_init__(self):
    """Raises InputError for options of a submission without a submission."""
    options = (('--levels', self.levels), ('--submission-format', self.format))
    unread = [flag for flag, value in options if value]
    if unread and self.submission is None:
      raise InputError(
        f'got {", ".join(unread)} without --submission; expected the file that '
        'they are about; add --submission FILE or leave them out'
      )

  def check(
    self,
    info: ScoreInfo,
    videos: Sequence[str],
    inputs: Iterable[str | pathlib.Path] = (),
  ) -> None:
    """Checks that the files can be written; makes their folders.

    The scores that `info` describes need not exist yet. `inputs` are files and
    folders that must not be overwritten.
    """
    if self.per_class is not None:
      check_class_table(info)
    if self.submission is not None:
      submission.check(
        info,
        videos,
        self.submission,
        format=self.format or '',
        levels=self.levels,
      )
    paths = [p for p in (self.per_class, self.submission) if p is not None]
    files.check_no_overwrite(paths, inputs)
    for path in paths:
      files.output_file(path)

  def write(self, scores: VideoScores) -> Iterator[str]:
    """Writes file after file; yields lines that say what each contains."""
    if self.per_class is not None:
      rows = class_table(scores)
      write_class_table(rows, self.per_class)
      yield from worst_confusions(rows)
      yield f'classes: {self.per_class}'
    if self.submission is not None:
      yield submission.write(
        scores,
        self.submission,
        format=self.format or '',
        levels=self.levels,
      )


@dataclasses.dataclass(frozen=True)
class ClassRow:
  """The results of one class."""

  number: int  # position in the class list
  name: str  # of the class
  videos: int  # videos that have it
  # top1: the share of them for which it scores highest (within its head)
  # without a tie; None without videos, and for labels that are not one class
  top1: float | None = None
  # average_precision: of the class, for labels that are not one class
  average_precision: float | None = None
  # taken_for: the wrong class that most of its videos are mistaken for
  taken_for: str = ''
  times: int = 0  # how many of them


def check_class_table(info: ScoreInfo) -> None:
  """Raises InputError if the labels are not published."""
  if not info.labelled:
    raise InputError(
      f'got --per-class and the split {info.split} has no labels; expected a '
      'split whose labels are published; leave out --per-class'
    )


def class_table(scores: VideoScores) -> list[ClassRow]:
  """Returns a row for every class, in the list's order."""
  info = scores.info
  check_class_table(info)
  if info.task.kind != 'single':
    class_K = average_precision.mean_ap(
      scores.comparable_across_videos(), scores.label_Rx
    ).class_K
    videos_K = (scores.label_Rx > 0).sum(0)
    return [
      ClassRow(k, name, int(videos), average_precision=float(value))
      if videos
      else ClassRow(k, name, 0)
      for k, (name, videos, value) in enumerate(
        zip(info.classes.names, videos_K, class_K, strict=True)
      )
    ]
  label_Rx = scores.label_Rx.reshape(len(scores.videos), -1)
  parts = info.task.parts(len(info.classes)).values()
  rows = []
  for i, part in enumerate(parts):
    score_RK, label_R = scores.score_RK[:, part], label_Rx[:, i]
    right_R = label_rank(score_RK, label_R - part.start) < 1
    best_R = part.start + score_RK.argmax(-1)
    rows += [
      _class_row(k, label_R == k, right_R, best_R, info.classes.names)
      for k in range(part.start, part.stop)
    ]
  return rows


def worst_confusions(rows: list[ClassRow], most: int = 5) -> list[str]:
  """The classes that are most often mistaken for another, a line each."""
  worst = sorted(rows, key=lambda row: -row.times)[:most]
  return [
    f'{quote(row.name)} taken for {quote(row.taken_for)}: {row.times} of '
    f'{row.videos} videos'
    for row in worst
    if row.times
  ]


def write_class_table(rows: list[ClassRow], path: str | pathlib.Path) -> None:
  """Writes the rows as csv with a header; whole or not at all.

  A name with codes that a terminal obeys, or that a spreadsheet would take for
  a formula, is in quotes; see `typing.quote`.
  """
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerow([field.name for field in dataclasses.fields(ClassRow)])
  for row in rows:
    quoted = dataclasses.replace(
      row, name=_cell(row.name), taken_for=_cell(row.taken_for)
    )
    writer.writerow(dataclasses.astuple(quoted))
  write_atomically(files.output_file(path), buffer.getvalue().encode())


def _cell(name: str) -> str:
  """A name for a cell, '' for none."""
  return repr(name) if name.startswith(_FORMULA) else name and quote(name)


def _class_row(
  k: int,
  own_R: np.ndarray,
  right_R: np.ndarray,
  best_R: np.ndarray,
  names: tuple[str, ...],
) -> ClassRow:
  own_best = best_R[own_R]
  if not len(own_best):
    return ClassRow(k, names[k], 0)
  row = ClassRow(k, names[k], len(own_best), float(right_R[own_R].mean()))
  others, times = np.unique(own_best[own_best != k], return_counts=True)
  if not len(times):
    return row
  name = names[others[times.argmax()]]
  return dataclasses.replace(row, taken_for=name, times=int(times.max()))
