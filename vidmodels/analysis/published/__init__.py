"""The sizes and costs that the papers print, one file a paper, as data.

A file here, NAME_tables.py, defines `ROWS`. Every row names a configuration,
its models, the printed figures, and the counts of the authors' code where they
are known. `analysis/paper_table.py` compares them with our own counts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vidmodels.fields import modules_with


@dataclasses.dataclass(frozen=True)
class CountedModel:
  """One model of a configuration, and the clip it is counted on."""

  family: str  # name of a model file
  # its fields; the others keep their defaults
  model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # clip: frames, height and width of one view, in pixels
  clip: tuple[int, int, int] = (8, 224, 224)
  classes: int = 400  # answers of the head


@dataclasses.dataclass(frozen=True)
class PaperRow:
  """One configuration of a paper."""

  config: str
  source: str  # the paper's table
  parts: tuple[CountedModel, ...]  # several for an ensemble: counts add up
  # Millions of parameters as printed ('121.4'), empty if not: a count agrees if
  # it rounds to the same digits.
  params_m: str = ''
  # Billions of multiply-adds a view as printed, or as derived from what was
  # printed (`source` says how).
  gmacs: float | None = None
  # What the authors' code has, where it is known; its multiply-adds as counted
  # by the tool that the printed figure comes from.
  reference_params: int | None = None
  reference_gmacs: float | None = None
  # Regexes: parameters that are not in the paper's (or the reference's) figure,
  # and modules whose multiply-adds are not in the paper's.
  params_without: str = ''
  macs_without: str = ''
  why: str = ''  # the reason why a printed figure differs from ours


def papers() -> list[str]:
  """Names of the papers, 'vidtr' for the file `vidtr_tables.py`."""
  names = modules_with('analysis.published', 'ROWS')
  return [name.removesuffix('_tables') for name in names]


def rows(paper: str) -> tuple[PaperRow, ...]:
  """The rows of one paper, in the order of its tables."""
  return modules_with('analysis.published', 'ROWS')[f'{paper}_tables'].ROWS
