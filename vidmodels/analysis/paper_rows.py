"""Finds what the papers and their code print, as rows of data.

  table = paper_rows.find('timesformer/table1')
  table.rows[0].figures  # {'top1': 76.9}

A table or figure of a paper is one file, `experiments/FAMILY/NAME.py`, which
defines `TABLE`. Its rows name a recipe, what they change in it, what they
start from, and the printed figures. `vidmodels cost` counts them,
`vidmodels recipes` shows the figures that belong to a recipe, and
`python -m experiments.run` trains and evaluates them.

A new file is a new table; nothing else has to know.
"""

import dataclasses
import functools
import importlib
import importlib.util
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from vidmodels.typing import InputError, unknown_name

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
# In a wheel the folder lies inside the package, in a checkout beside it.
_INSIDE = PACKAGE / 'experiments'
FOLDER = _INSIDE if _INSIDE.is_dir() else PACKAGE.parent / 'experiments'
MODULE = 'vidmodels.experiments'  # the name under which the files are imported


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One printed configuration on one data set: one run.

  A reference to another row is 'ROW' in the same table, 'TABLE:ROW' in the same
  folder, or 'FOLDER/TABLE:ROW'.
  """

  name: str  # as the paper has it; unique in its table
  # The recipe with its words, 'timesformer:base,ssv2,paper'; '' for a system
  # that is not one of ours, or for an ensemble.
  recipe: str = ''
  # Fields that the row changes, by flat name: {'model.patch': 32}.
  overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # What the run starts from: '' for what the recipe expects, 'scratch' for
  # random weights, the name of weights ('imagenet-1k'), or the row whose run it
  # continues, as a reference with a colon ('table5:base, K400').
  start: str = ''
  # The row whose trained model is evaluated with this row's views and clips: a
  # reference. Nothing is trained.
  trained_as: str = ''
  teacher: str = ''  # reference to the row that labels this row's tokens
  # References to the rows whose scores are averaged; such a row has no recipe.
  parts: tuple[str, ...] = ()

  # Printed accuracies, in percent, by the names of our metrics: 'top1', 'top5',
  # 'map', 'hit1', 'verb_top1'. Of the recipe's data set.
  figures: Mapping[str, float] = dataclasses.field(default_factory=dict)
  # How the figures follow from what is printed, where they are not printed
  # themselves ('78.0 less "about 5%"'); so no recipe shows them.
  figures_from: str = ''
  # Millions of parameters as printed ('121.4'), '' if not: a count agrees if it
  # rounds to the same digits.
  params_m: str = ''
  # Billions of multiply-adds a view as printed, or as derived from what was
  # printed; `gmacs_from` says how ('590 / 3').
  gmacs: float | None = None
  gmacs_from: str = ''
  # What the authors' code has, where it is known; its multiply-adds as counted
  # by the tool that the printed figure comes from.
  reference_params: int | None = None
  reference_gmacs: float | None = None
  # Regexes: parameters that are not in the paper's (or the reference's) figure,
  # and modules whose multiply-adds are not in the paper's.
  params_without: str = ''
  macs_without: str = ''
  why: str = ''  # the reason why a printed size or cost differs from ours
  classes: int = 0  # answers of the counted head; 0: those of the data set

  # The row that this one is compared with, a reference, and the only fields of
  # the whole recipe in which the two may and do differ.
  differs_from: str = ''
  differs_in: tuple[str, ...] = ()
  # Fields of the recipe that the source does not describe; recipes that differ
  # there may still show the row's figures.
  unsaid: tuple[str, ...] = ()
  # Fields in which the recipe is as near to the source as it can say; so the
  # figures are not shown as those of this recipe.
  approximate: tuple[str, ...] = ()
  # What cannot be had, so that the printed figure cannot be reached as it is:
  # weights that were not published, videos that are gone. '' if nothing.
  missing: str = ''
  # Of a figure: the row's place on the horizontal axis, and its curve.
  x: float | None = None
  series: str = ''
  # Made-up sets that a run at tiny scale needs to tell what the row is about.
  tiny_set: Literal['motion', 'textures', 'mixed'] = 'mixed'

  @property
  def ours(self) -> bool:
    """Whether this library has the row's model, or those of its ensemble."""
    return bool(self.recipe or self.parts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperTable:
  """A table or figure of a paper, or the list of a release's weights."""

  source: str  # 'TimeSformer, Table 1'
  title: str  # what it shows, one line
  rows: tuple[Row, ...]
  origin: Literal['paper', 'release'] = 'paper'
  # What an axis of a figure is, with its unit; '' for a table.
  x_label: str = ''
  y_metric: str = 'top1'  # of the vertical axis: a metric, or 'gmacs'
  # notes: what was chosen where the paper is silent or contradicts itself
  notes: str = ''
  name: str = ''  # 'timesformer/table1'; the finder sets it

  def row(self, name: str) -> Row:
    """The row of a name."""
    by_name = {row.name: row for row in self.rows}
    if name not in by_name:
      raise InputError(unknown_name(f'row of {self.name}', name, by_name))
    return by_name[name]


def top(top1: float, top5: float | None = None) -> dict[str, float]:
  """Figures of accuracy, as most tables print them."""
  return {'top1': top1} if top5 is None else {'top1': top1, 'top5': top5}


@functools.cache
def all_tables() -> dict[str, PaperTable]:
  """Every table by its name, 'timesformer/table1', in natural order."""
  tables = {}
  for path in sorted(FOLDER.glob('*/*.py'), key=_natural_order):
    if not re.search(r'^TABLE\b', path.read_text(), re.MULTILINE):
      continue
    name = f'{path.parent.name}/{path.stem}'
    tables[name] = _load(name, path)
  return tables


def find(name: str) -> PaperTable:
  """The table of a name, 'timesformer/table1'."""
  tables = all_tables()
  if name not in tables:
    raise InputError(unknown_name('the table', name, tables))
  return tables[name]


def find_row(reference: str, table: PaperTable) -> tuple[PaperTable, Row]:
  """The row that a reference in `table` means, and its table."""
  where, colon, name = reference.rpartition(':')
  if not colon:
    return table, table.row(reference)
  folder = table.name.partition('/')[0]
  there = find(where if '/' in where else f'{folder}/{where}')
  return there, there.row(name)


def all_rows() -> Iterator[tuple[PaperTable, Row]]:
  """Every row of every table."""
  for table in all_tables().values():
    for row in table.rows:
      yield table, row


def _load(name: str, path: pathlib.Path) -> PaperTable:
  """Imports a table's file and checks what can be checked in it alone."""
  _import_folder()
  module = importlib.import_module(f'{MODULE}.{name.replace("/", ".")}')
  table = module.TABLE
  if not isinstance(table, PaperTable):
    raise InputError(
      f'got TABLE = {table!r} in {path}; expected a PaperTable; try '
      'TABLE = PaperTable(source=..., title=..., rows=(...))'
    )
  names = [row.name for row in table.rows]
  twice = sorted({n for n in names if names.count(n) > 1})
  if twice:
    raise InputError(
      f'got {len(twice)} names twice in {path}: {", ".join(twice)}; expected '
      'one row a name; try adding what differs to the name'
    )
  return dataclasses.replace(table, name=name)


def _import_folder() -> None:
  """Makes the folder importable, wherever it lies."""
  if MODULE in sys.modules:
    return
  spec = importlib.util.spec_from_file_location(
    MODULE, FOLDER / '__init__.py', submodule_search_locations=[str(FOLDER)]
  )
  assert spec is not None  # the file's ending is .py
  assert spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  sys.modules[MODULE] = module
  spec.loader.exec_module(module)


def _natural_order(path: pathlib.Path) -> tuple[str, list[tuple[str, int]]]:
  """table2 before table10; tables before figures and sections by their name."""
  parts = re.findall(r'(\D+)(\d*)', path.stem)
  return path.parent.name, [(text, int(n or 0)) for text, n in parts]
