"""Every figure that the papers print, beside our count."""

import dataclasses
import json
import pathlib

import pytest

from vidmodels.analysis import model_cost, paper_table, published

REPO = pathlib.Path(__file__).resolve().parents[2]
ROWS = {
  f'{paper}: {row.config}': (paper, row)
  for paper in published.papers()
  for row in published.rows(paper)
}
# A count takes a second: one row in six always, the others in the slow lane.
every_row = pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=[pytest.mark.slow] if i % 6 else [])
    for i, name in enumerate(ROWS)
  ],
)


@every_row
@pytest.mark.fast_every(8)
@pytest.mark.slow_every(3)
def test_counts_are_the_printed_figures_or_the_row_says_why_not(name):
  line = paper_table.compare_row(*ROWS[name])
  if not line.why:
    assert line.params_agree is not False, line
    off = line.gmacs_off or 0.0
    assert abs(off) <= paper_table.CLOSE, line
  else:
    assert not line.agrees, f'nothing is left to explain: {line.why}'


@every_row
@pytest.mark.fast_every(4)
@pytest.mark.slow_every(3)
def test_counts_are_those_of_the_authors_code(name):
  _, row = ROWS[name]
  counts = [model_cost.count(part) for part in row.parts]
  if row.reference_params is not None:
    params = sum(c.total_params(row.params_without) for c in counts)
    assert params == row.reference_params
  if row.reference_gmacs is not None:
    gmacs = sum(c.total_macs() for c in counts) / 1e9
    assert gmacs == pytest.approx(row.reference_gmacs, rel=paper_table.CLOSE)


@pytest.mark.slow
@pytest.mark.long  # counts every row
def test_regular_expressions_of_the_rows_leave_something_out():
  for name, (_, row) in ROWS.items():
    counts = [model_cost.count(part) for part in row.parts]
    for regex, total in (
      (row.params_without, 'total_params'),
      (row.macs_without, 'total_macs'),
    ):
      if regex:
        left = sum(getattr(c, total)(regex) for c in counts)
        assert 0 < left < sum(getattr(c, total)() for c in counts), name


def test_every_printed_configuration_has_its_row(shared):
  tables = json.loads((shared / 'papers' / 'tables.json').read_text())
  for paper, printed in tables.items():
    if paper.startswith('_'):
      continue
    rows = published.rows(paper)
    assert [row.config for row in rows] == [p['config'] for p in printed]
    for row, entry in zip(rows, printed, strict=True):
      params = entry.get('params_m')
      assert row.params_m == ('' if params is None else str(params)), row
      # A figure that nothing follows from is not in the tables; it may be in
      # a row, with the reason.
      if 'gflops' in entry or not row.why:
        assert row.gmacs == entry.get('gflops'), row


@pytest.mark.slow  # counts every row
def test_the_page_in_docs_is_what_the_command_prints():
  text = (REPO / 'docs' / 'costs.md').read_text()
  lines = [paper_table.compare_row(paper, row) for paper, row in ROWS.values()]
  assert paper_table.markdown(lines) in text


def test_papers_with_tables_and_papers_with_results_are_told_apart():
  folder = REPO / 'vidmodels' / 'analysis' / 'published'
  for kind, names in (
    ('tables', published.papers()),
    ('results', published.result_files()),
  ):
    files = {p.stem for p in folder.glob(f'*_{kind}.py')}
    assert {f'{name}_{kind}' for name in names} == files


def test_digits_and_distances():
  assert paper_table.same_digits(21_767_360, '21.8')
  assert not paper_table.same_digits(21_740_000, '21.8')
  assert paper_table.same_digits(1_000_000, '1')
  line = paper_table.ComparedRow(
    paper='p',
    config='c',
    source='',
    params=1_000_000,
    gmacs=2.0,
    paper_params_m='1.0',
    paper_gmacs=1.99,
    compared_params=1_000_000,
    compared_gmacs=2.0,
    params_agree=True,
    gmacs_off=0.005,
    why='',
  )
  assert line.agrees
  assert not dataclasses.replace(line, gmacs_off=-0.011).agrees
  assert not dataclasses.replace(line, params_agree=False).agrees
  off = dataclasses.replace(line, compared_gmacs=1.5, why='because')
  assert '| 2.00 (1.50) | 1.99 |' in paper_table.markdown([line, off])
  assert '[1] because' in paper_table.markdown([line, off])
