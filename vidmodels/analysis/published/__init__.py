"""What the papers print of size and cost, one file a paper, rows as data.

A file here defines `ROWS`. Every row names a configuration, the models it is
made of, what was printed, and what counting the authors' code gave where that
is known. `analysis/model_cost.py` sets our own counts beside them.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComponentCost:
  """One model of a configuration, and the clip it is counted on.

  Attributes:
    family: name of a model file.
    model: its fields; the others keep their defaults.
    clip: frames, height and width of one view, in pixels.
    classes: answers of the head.
  """

  family: str
  model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  clip: tuple[int, int, int] = (8, 224, 224)
  classes: int = 400


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
    params_without: parameters whose path this regex finds are not in the
      paper's (or the reference's) figure.
    macs_without: multiply-adds of modules whose path this regex finds are not
      in the paper's figure.
    why: what explains a printed figure that differs from ours; empty if they
      agree.
  """

  config: str
  source: str
  parts: tuple[ComponentCost, ...]
  params_m: str = ''
  gmacs: float | None = None
  reference_params: int | None = None
  reference_gmacs: float | None = None
  params_without: str = ''
  macs_without: str = ''
  why: str = ''


def papers() -> list[str]:
  """Names of the files here, which are those of the five families."""
  return sorted(m.name for m in pkgutil.iter_modules(__path__))


def rows(paper: str) -> tuple[PaperRow, ...]:
  """The rows of one paper, in the order of its tables."""
  return importlib.import_module(f'{__name__}.{paper}').ROWS
