"""A row a class: how many videos, how well, and what it is taken for."""

import csv
import dataclasses
import io
import pathlib

import numpy as np

from vidmodels import files
from vidmodels.evaluate import ranks
from vidmodels.evaluate.averaging import Answers
from vidmodels.evaluate.score_file import About
from vidmodels.files import write_atomically
from vidmodels.train import average_precision
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True)
class ClassRow:
  """What is known of one class.

  Attributes:
    number: in the class list.
    name: of the class.
    videos: that have it.
    top1: share of them whose best answer (of the class's head) it is, and no
      other as much; None without videos, and for labels that are not one class.
    average_precision: of the class, for labels that are not one class.
    taken_for: the wrong class that most of its videos were answered with.
    times: how many of them.
  """

  number: int
  name: str
  videos: int
  top1: float | None = None
  average_precision: float | None = None
  taken_for: str = ''
  times: int = 0


def check(about: About) -> None:
  """Raises InputError if the labels are not published."""
  if not about.labelled:
    raise InputError(
      f'split {about.split} has no labels, so nothing is known of its classes; '
      'leave out --per-class'
    )


def table(answers: Answers) -> list[ClassRow]:
  """A row for every class, in the list's order.

  Raises:
    InputError: if the labels are not published.
  """
  about = answers.about
  check(about)
  if about.task.kind != 'single':
    return _ranked(answers)
  label_Rx = answers.label_Rx.reshape(len(answers.videos), -1)
  parts = about.task.parts(len(about.classes)).values()
  rows = []
  for i, part in enumerate(parts):
    score_RK, label_R = answers.score_RK[:, part], label_Rx[:, i]
    right_R = ranks.rank(score_RK, label_R - part.start) < 1
    answer_R = part.start + score_RK.argmax(-1)
    rows += [
      _row(k, label_R == k, right_R, answer_R, about.classes.names)
      for k in range(part.start, part.stop)
    ]
  return rows


def confused(rows: list[ClassRow], most: int = 5) -> list[str]:
  """Which classes were most often taken for another, a line each."""
  worst = sorted(rows, key=lambda row: -row.times)[:most]
  return [
    f'{row.name} taken for {row.taken_for}: {row.times} of {row.videos} videos'
    for row in worst
    if row.times
  ]


def write(rows: list[ClassRow], path: str | pathlib.Path) -> None:
  """Writes the rows as csv with a header; whole or not at all.

  Raises:
    InputError: if no file can be there.
  """
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerow([field.name for field in dataclasses.fields(ClassRow)])
  writer.writerows(dataclasses.astuple(row) for row in rows)
  write_atomically(files.output_file(path), buffer.getvalue().encode())


def _row(
  k: int,
  own_R: np.ndarray,
  right_R: np.ndarray,
  answer_R: np.ndarray,
  names: tuple[str, ...],
) -> ClassRow:
  given_R = answer_R[own_R]
  if not len(given_R):
    return ClassRow(number=k, name=names[k], videos=0)
  others, times = np.unique(given_R[given_R != k], return_counts=True)
  worst = int(times.argmax()) if len(times) else None
  return ClassRow(
    number=k,
    name=names[k],
    videos=len(given_R),
    top1=float(right_R[own_R].mean()),
    taken_for='' if worst is None else names[others[worst]],
    times=0 if worst is None else int(times[worst]),
  )


def _ranked(answers: Answers) -> list[ClassRow]:
  found = average_precision.mean_ap(answers.across(), answers.label_Rx)
  videos_K = (answers.label_Rx > 0).sum(0)
  return [
    ClassRow(
      number=k,
      name=name,
      videos=int(videos_K[k]),
      average_precision=float(found.class_K[k]) if videos_K[k] else None,
    )
    for k, name in enumerate(answers.about.classes.names)
  ]
