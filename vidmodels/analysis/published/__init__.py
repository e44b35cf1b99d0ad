"""The sizes and costs that the papers print, one file a paper, as data.

A file here, NAME_tables.py, defines `ROWS`. Every row names a configuration,
its models, the printed figures, and the counts of the authors' code where they
are known. `analysis/paper_table.py` compares them with our own counts.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountedModel:
  """One model of a configuration, and the clip it is counted on."""

  family: str  # name of a model file
  # model: its fields; the others keep their defaults
  model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # clip: frames, height and width of one view, in pixels
  clip: tuple[int, int, int] = (8, 224, 224)
  classes: int = 400  # answers of the head


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperRow:
  """One configuration of a paper.

  Attributes:
    config: its name.
    source: the paper's table.
    parts: one model, or several for an ensemble, whose counts add up.
    params_m: millions of parameters as printed, as text ('121.4'): a count
      agrees if it rounds to the same digits. Empty if not printed.
    gmacs: billions of multiply-adds a view as printed (or as derived from what
      was printed: `source` says how); None if not printed.
    reference_params: parameters that the authors' code counts; None if unknown.
    reference_gmacs: multiply-adds that the authors' code needs, counted by the
      tool that the printed figure comes from; None if unknown.
    params_without: regex; parameters whose path it matches are not in the
      paper's (or the reference's) figure.
    macs_without: regex; multiply-adds of modules whose path it matches are not
      in the paper's figure.
    why: the reason why a printed figure differs from ours; empty if they agree.
  """

  config: str
  source: str
  parts: tuple[CountedModel, ...]
  params_m: str = ''
  gmacs: float | None = None
  reference_params: int | None = None
  reference_gmacs: float | None = None
  params_without: str = ''
  macs_without: str = ''
  why: str = ''


def papers() -> list[str]:
  """Names of the papers, 'vidtr' for the file `vidtr_tables.py`."""
  names = (module.name for module in pkgutil.iter_modules(__path__))
  return sorted(name.removesuffix('_tables') for name in names)


def rows(paper: str) -> tuple[PaperRow, ...]:
  """The rows of one paper, in the order of its tables."""
  return importlib.import_module(f'{__name__}.{paper}_tables').ROWS
