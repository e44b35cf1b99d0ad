"""What the papers and their code print, as data.

NAME_tables.py defines `ROWS`, the sizes and costs of a paper. Every row names a
configuration, its models, the printed figures, and the counts of the authors'
code where they are known. `analysis/paper_table.py` compares them with our own
counts.

NAME_results.py defines `RUNS`, the accuracies of a paper and of its release.
Every run carries the setting that its figures belong to, and what is said of
its training. `analysis/published_runs.py` compares them with a recipe.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedRun:
  """A run that a paper or its released code describes.

  It has only what is said there: what is not said is not compared. Fields of a
  recipe have their flat names, such as 'clip.frames'.
  """

  origin: Literal['paper', 'release']
  source: str  # the table, or the file of the release
  dataset: str  # as `vidmodels prepare` calls it
  family: str
  # model: fields of the family's module; the others have their defaults
  model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  unsaid: tuple[str, ...] = ()  # fields of the model that are not described
  # setting: the clip, the test views and the weights of the start, which decide
  # to which recipes the figures belong
  setting: Mapping[str, Any]
  # trained: how the run was trained. The figures also belong to a recipe that
  # differs here; it says in what
  trained: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # figures: metric -> percent; empty if the run is only described
  figures: Mapping[str, float] = dataclasses.field(default_factory=dict)


def result_files() -> list[str]:
  """Names of the papers with results, 'vidtr' for `vidtr_results.py`."""
  names = modules_with('analysis.published', 'RUNS')
  return [name.removesuffix('_results') for name in names]


def runs(paper: str) -> tuple[PublishedRun, ...]:
  """The runs of one paper and of its release."""
  return modules_with('analysis.published', 'RUNS')[f'{paper}_results'].RUNS


def top(top1: float, top5: float | None = None) -> dict[str, float]:
  """Figures of accuracy, as most tables print them."""
  return {'top1': top1} if top5 is None else {'top1': top1, 'top5': top5}


def papers() -> list[str]:
  """Names of the papers, 'vidtr' for the file `vidtr_tables.py`."""
  names = modules_with('analysis.published', 'ROWS')
  return [name.removesuffix('_tables') for name in names]


def rows(paper: str) -> tuple[PaperRow, ...]:
  """The rows of one paper, in the order of its tables."""
  return modules_with('analysis.published', 'ROWS')[f'{paper}_tables'].ROWS
