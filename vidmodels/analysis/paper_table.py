"""The papers' figures beside our own counts."""

import dataclasses
import re
from collections.abc import Iterable, Sequence

from vidmodels.analysis import model_cost
from vidmodels.analysis.model_cost import CountedModel
from vidmodels.analysis.paper_rows import PaperTable, Row

CLOSE = 0.01  # of multiply-adds: papers round, and some tools count norms too


@dataclasses.dataclass(frozen=True)
class ComparedRow:
  """One configuration: our counts beside the printed figures."""

  paper: str  # the paper of the configuration
  table: str  # the table's file, 'table4'
  config: str  # its name
  source: str  # the paper's table
  params: int  # parameters of the whole model
  gmacs: float  # billions of multiply-adds of one view, everything counted
  paper_params_m: str  # millions printed, as text; empty if not printed
  paper_gmacs: float | None  # billions printed; None if not printed
  # compared_params: our count of the parameters that the paper counts.
  # compared_gmacs: our count of the multiply-adds that the paper counts.
  compared_params: int
  compared_gmacs: float
  # whether they round to the printed digits; None if nothing was printed
  params_agree: bool | None
  # (ours - printed) / printed; None if nothing was printed
  gmacs_off: float | None
  why: str  # the reason for a difference

  @property
  def agrees(self) -> bool:
    """Whether our counts agree with all printed figures."""
    close = self.gmacs_off is None or abs(self.gmacs_off) <= CLOSE
    return close and self.params_agree is not False


def compare_row(
  table: PaperTable, row: Row, parts: Sequence[CountedModel]
) -> ComparedRow:
  """Counts a row's models and compares them with the printed figures.

  `parts` is the row's model, or those of an ensemble, whose counts add up.
  """
  counts = [model_cost.count(part) for part in parts]
  params = sum(c.total_params(row.params_without) for c in counts)
  gmacs = sum(c.total_macs(row.macs_without) for c in counts) / 1e9
  return ComparedRow(
    paper=table.name.partition('/')[0],
    table=table.name.partition('/')[2],
    config=row.name,
    source=table.source + (f': {row.gmacs_from}' if row.gmacs_from else ''),
    params=sum(c.total_params() for c in counts),
    gmacs=sum(c.total_macs() for c in counts) / 1e9,
    paper_params_m=row.params_m,
    paper_gmacs=row.gmacs,
    compared_params=params,
    compared_gmacs=gmacs,
    params_agree=same_digits(params, row.params_m) if row.params_m else None,
    gmacs_off=(gmacs - row.gmacs) / row.gmacs if row.gmacs else None,
    why=row.why,
  )


def same_digits(params: int, printed: str) -> bool:
  """Whether a count in millions rounds to the printed digits."""
  digits = len(printed.partition('.')[2])
  return f'{params / 1e6:.{digits}f}' == printed


def markdown(lines: Iterable[ComparedRow]) -> str:
  """One table a paper, and below it the reasons for differences."""
  lines, text = list(lines), []
  for paper in dict.fromkeys(each.paper for each in lines):
    own = [each for each in lines if each.paper == paper]
    notes = list(dict.fromkeys(each.why for each in own if each.why))
    text += [f'## {paper}', '', *_HEAD]
    text += [_row(each, notes) for each in own]
    text += ['', *(f'[{n}] {why}' for n, why in enumerate(notes, 1)), '']
  return re.sub(r'\n{3,}', '\n\n', '\n'.join(text)).rstrip() + '\n'


_HEAD = (
  '| table | row | parameters | paper, M | GMAC a view | paper | off | |',
  '|---|---|---:|---:|---:|---:|---:|---|',
)


def _row(each: ComparedRow, notes: list[str]) -> str:
  """One row of the table; a compared figure that differs is in brackets."""
  gmacs, compared = f'{each.gmacs:.2f}', f'{each.compared_gmacs:.2f}'
  if compared != gmacs:
    gmacs += f' ({compared})'
  params = f'{each.params:,}'
  if each.compared_params != each.params:
    params += f' ({each.compared_params:,})'
  cells = (
    each.table,
    each.config,
    params,
    each.paper_params_m or '-',
    gmacs,
    '-' if each.paper_gmacs is None else f'{each.paper_gmacs:.6g}',
    '-' if each.gmacs_off is None else f'{each.gmacs_off:+.1%}',
    f'[{notes.index(each.why) + 1}]' if each.why else '',
  )
  return f'| {" | ".join(cells)} |'
