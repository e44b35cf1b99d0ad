"""Prints a paper's tables beside what was run: text, Markdown or HTML.

  python -m experiments.tables timesformer/table1
  python -m experiments.tables --scale=tiny --format=html --out=page.html
  python -m experiments.tables vidtr/table5 --workdir=runs/experiments --json

Without a name all tables are printed. Results are read from the workdir of
`python -m experiments.run`; a row without one says "not run". With several
seeds a cell has the mean and the range. At full scale the difference to the
paper stands beside it, and printed sizes and costs stand beside our counts. At
tiny scale they do not: other data, other models. Figures are drawn as curves
(matplotlib) in HTML.
"""

import argparse
import base64
import dataclasses
import functools
import html
import io
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vidmodels import files
from vidmodels.analysis import paper_rows
from vidmodels.analysis.paper_rows import PaperTable, Row
from vidmodels.analysis.paper_table import ComparedRow
from vidmodels.cli import DONE, WRONG_INPUT, cost, terminal
from vidmodels.typing import InputError, escape

from .jobs import RESULT, slug

NOT_RUN = 'not run'
# Words for metrics, in the order of their columns.
METRICS = {
  'top1': 'top-1',
  'top5': 'top-5',
  'map': 'mAP',
  'hit1': 'hit@1',
  'verb_top1': 'verb',
  'noun_top1': 'noun',
  'action_top1': 'action',
  'mean_class': 'per class',
}

_AXES = {**METRICS, 'gmacs': 'GMAC a view'}


@dataclasses.dataclass(frozen=True)
class Measured:
  """The results of one row on one set of records."""

  values: Mapping[str, tuple[float, ...]]  # metric -> percent of each seed
  set: str  # the made-up set; '' at full scale
  macs: int | None = None  # multiply-adds of a view; None of an ensemble

  def cell(self, metric: str) -> str:
    """'78.0', or with several seeds 'mean (lowest to highest of n)'."""
    values = self.values.get(metric, ())
    if not values:
      return ''
    mean = f'{sum(values) / len(values):.1f}'
    if len(values) == 1:
      return mean
    return f'{mean} ({min(values):.1f} to {max(values):.1f} of {len(values)})'


def read(
  workdir: pathlib.Path, table: PaperTable, row: Row, scale: str
) -> list[Measured]:
  """The finished results of a row, one of each set; [] if there is none."""
  folder = workdir / scale / table.name / slug(row.name)
  by_set: dict[str, list[dict[str, Any]]] = {}
  for path in sorted(folder.glob(f'*/{RESULT}')):
    result = json.loads(path.read_text())
    by_set.setdefault(result['set'], []).append(result)
  found = []
  for name, results in sorted(by_set.items()):
    metrics = results[0]['metrics']
    values = {m: tuple(r['metrics'][m] for r in results) for m in metrics}
    found.append(Measured(values, name, results[0]['macs']))
  return found


@dataclasses.dataclass(frozen=True)
class Sheet:
  """A table of cells, ready to be printed."""

  title: str
  columns: tuple[str, ...]
  lines: tuple[tuple[str, ...], ...]
  notes: tuple[str, ...] = ()
  table: PaperTable | None = None


def sheet(table: PaperTable, workdir: pathlib.Path, scale: str) -> Sheet:
  """The paper's columns, ours, and at full scale the difference."""
  metrics = [m for m in METRICS if any(m in r.figures for r in table.rows)]
  measured = {row.name: read(workdir, table, row, scale) for row in table.rows}
  if not metrics and table.y_metric in METRICS:
    metrics = ['top1']  # rows without a printed figure may have been run
  costs = _CostColumns(table, scale)
  columns = ['row', *costs.names]
  columns += ['set'] if scale == 'tiny' else []
  for metric in metrics:
    columns += [f'{METRICS[metric]}, paper', f'{METRICS[metric]}, ours']
    columns += ['difference'] if scale == 'full' else []
  lines = []
  for row in table.rows:
    for each in measured[row.name] or [Measured({}, '')]:
      line = [row.name, *costs.cells(row, each)]
      line += [each.set] if scale == 'tiny' else []
      for metric in metrics:
        line += _cells(row, each, metric, scale)
      lines.append(tuple(line))
  notes = [table.notes] if table.notes else []
  for row in table.rows:
    notes += [f'{row.name}: {text}' for text in (row.figures_from, row.missing)
              if text]  # fmt: skip
  title = f'{table.source}: {table.title}'
  return Sheet(title, tuple(columns), tuple(lines), tuple(notes), table)


class _CostColumns:
  """Sizes and costs: printed beside counted; at tiny scale those of the run."""

  def __init__(self, table: PaperTable, scale: str):
    self.table, self.scale = table, scale
    self.sizes = any(row.params_m for row in table.rows)
    self.costs = table.y_metric == 'gmacs' or any(
      row.gmacs is not None for row in table.rows
    )
    self.names: list[str] = []
    if scale == 'tiny':
      self.names += ['MMAC a view, ours']
      return
    if self.sizes:
      self.names += ['parameters, M, paper', 'parameters, M, ours']
    if self.costs:
      self.names += ['GMAC a view, paper', 'GMAC a view, ours']

  def cells(self, row: Row, each: Measured) -> list[str]:
    """The cells of a row's line."""
    if self.scale == 'tiny':
      return ['-' if each.macs is None else f'{each.macs / 1e6:.1f}']
    ours = (
      counted(self.table.name, row.name) if self.names and row.ours else None
    )
    line = []
    if self.sizes:
      line += [row.params_m or '-']
      line += [f'{ours.compared_params / 1e6:.1f}' if ours else 'not ours']
    if self.costs:
      line += ['-' if row.gmacs is None else f'{row.gmacs:.6g}']
      line += [f'{ours.compared_gmacs:.1f}' if ours else 'not ours']
    return line


@functools.cache
def counted(table: str, row: str) -> ComparedRow:
  """Our counts of a row, of what the paper counts."""
  found = paper_rows.find(table)
  return cost.compare(found, found.row(row))


def _cells(row: Row, each: Measured, metric: str, scale: str) -> list[str]:
  """Paper, ours, and at full scale ours minus the paper's."""
  printed = row.figures.get(metric)
  # With the digits of the paper, and at least one.
  paper = (
    '-' if printed is None else max(f'{printed:.1f}', f'{printed:g}', key=len)
  )
  ours = each.cell(metric) or (NOT_RUN if row.ours else 'not ours')
  if scale == 'tiny':
    return [paper, ours]
  values = each.values.get(metric, ())
  if printed is None or not values:
    return [paper, ours, '']
  return [paper, ours, f'{sum(values) / len(values) - printed:+.1f}']


def as_text(page: Sequence[Sheet]) -> str:
  """Columns for a terminal."""
  from rich import box
  from rich.console import Console
  from rich.table import Table as Grid

  stream = io.StringIO()
  console = Console(file=stream, width=160, highlight=False)
  for each in page:
    grid = Grid(title=each.title, title_justify='left', box=box.SIMPLE)
    for name in each.columns:
      grid.add_column(name, justify='left' if name == 'row' else 'right')
    for line in each.lines:
      grid.add_row(*(escape(cell) for cell in line))
    console.print(grid)
    for note in each.notes:
      console.print(f'  {note}', markup=False)
  return stream.getvalue()


def as_markdown(page: Sequence[Sheet]) -> str:
  """Tables of Markdown."""
  text = []
  for each in page:
    rule = ['---'] + ['---:'] * (len(each.columns) - 1)
    text += [f'### {each.title}', '', _bars(each.columns), _bars(rule)]
    text += [_bars(line) for line in each.lines]
    text += ['', *(f'{note}\n' for note in each.notes)]
  return '\n'.join(text).rstrip() + '\n'


def _bars(cells: Sequence[str]) -> str:
  return f'| {" | ".join(cell.replace("|", "&#124;") for cell in cells)} |'


def as_html(page: Sequence[Sheet], workdir: pathlib.Path, scale: str) -> str:
  """One file without a network; figures as pictures inside it."""
  body = []
  for each in page:
    head = ''.join(f'<th>{html.escape(name)}</th>' for name in each.columns)
    body += [f'<h2>{html.escape(each.title)}</h2>']
    if each.table is not None and each.table.x_label:
      body.append(_picture(each.table, workdir, scale))
    body += ['<div class="wide"><table>', f'<tr>{head}</tr>']
    for line in each.lines:
      cells = ''.join(f'<td>{html.escape(cell)}</td>' for cell in line)
      body.append(f'<tr>{cells}</tr>')
    body.append('</table></div>')
    body += [f'<p>{html.escape(note)}</p>' for note in each.notes]
  return _PAGE.replace('BODY', '\n'.join(body))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The papers' tables, and what was run</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #8886;
  text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; background: #fff; }
</style></head><body>
BODY
</body></html>
"""


def curves(
  table: PaperTable, workdir: pathlib.Path, scale: str
) -> dict[str, list[tuple[float, float]]]:
  """Points of a figure's curves by their name: printed, and measured."""
  points: dict[str, list[tuple[float, float]]] = {}
  metric = table.y_metric
  for row in table.rows:
    if row.x is None:
      continue
    if metric in row.figures:
      name = f'{row.series or table.source}, paper'
      points.setdefault(name, []).append((row.x, row.figures[metric]))
    if metric == 'gmacs':
      if row.gmacs is not None:
        name = f'{row.series}, paper'
        points.setdefault(name, []).append((row.x, row.gmacs))
      if row.ours:
        gmacs = counted(table.name, row.name).compared_gmacs
        points.setdefault(row.series, []).append((row.x, gmacs))
    for each in read(workdir, table, row, scale):
      if values := each.values.get(metric):
        name = f'{row.series or "ours"}, {each.set or "ours"}'
        mean = sum(values) / len(values)
        points.setdefault(name, []).append((row.x, mean))
  return {name: sorted(curve) for name, curve in points.items()}


def _picture(table: PaperTable, workdir: pathlib.Path, scale: str) -> str:
  """The figure as an <img> with its data inside; '' without a point."""
  drawn = curves(table, workdir, scale)
  if not drawn:
    return ''
  try:
    from matplotlib.figure import Figure
  except ImportError as error:
    raise InputError(
      'got no matplotlib, which draws the curves; expected it to be installed; '
      "try pip install 'vidmodels[plots]', or --format=text"
    ) from error
  figure = Figure(figsize=(6.4, 3.8), layout='constrained')
  axes = figure.subplots()
  for name, curve in drawn.items():
    style = '--' if name.endswith(', paper') else '-'
    xs, ys = zip(*curve, strict=True)
    axes.plot(xs, ys, style, marker='o', label=name)
  axes.set_xlabel(table.x_label)
  axes.set_ylabel(_AXES.get(table.y_metric, table.y_metric))
  axes.grid(alpha=0.3)
  axes.legend()
  stream = io.BytesIO()
  figure.savefig(stream, format='png', dpi=120, metadata={'Software': None})
  data = base64.b64encode(stream.getvalue()).decode()
  alt = html.escape(f'{table.source}: {table.title}', quote=True)
  return f'<img alt="{alt}" src="data:image/png;base64,{data}">'


def make_parser() -> argparse.ArgumentParser:
  """The command line."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.tables',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  add = parser.add_argument
  add('table', nargs='*', metavar='TABLE', help='default: all')
  add('--workdir', type=pathlib.Path, default=pathlib.Path('runs/experiments'))
  add('--scale', choices=('full', 'tiny'), default='full')
  add('--format', choices=('text', 'markdown', 'html'), default='text')
  add('--out', type=pathlib.Path, help='file; default standard output')
  add('--json', action='store_true', help='the cells as one JSON document')
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line and returns its exit code."""
  args = make_parser().parse_args(argv)
  try:
    names = args.table or list(paper_rows.all_tables())
    tables = [paper_rows.find(name) for name in names]
    page = [sheet(table, args.workdir, args.scale) for table in tables]
    if args.json:
      tree = [
        {
          'name': table.name,
          'source': table.source,
          'columns': each.columns,
          'rows': each.lines,
          'notes': each.notes,
        }
        for table, each in zip(tables, page, strict=True)
      ]
      text = json.dumps({'tables': tree}) + '\n'
    elif args.format == 'html':
      text = as_html(page, args.workdir, args.scale)
    else:
      text = (as_text if args.format == 'text' else as_markdown)(page)
    if args.out:
      args.out.parent.mkdir(parents=True, exist_ok=True)
      files.write_atomically(args.out, text.encode())
    else:
      terminal.say(text.rstrip('\n'))
  except InputError as error:
    print(escape(f'experiments.tables: {error}', keep=''), file=sys.stderr)
    return WRONG_INPUT
  return DONE


if __name__ == '__main__':
  sys.exit(main())
