"""Every size and cost that the papers print, beside our count."""

import dataclasses
import pathlib

import pytest

from vidmodels.analysis import model_cost, paper_rows, paper_table
from vidmodels.cli import cost

REPO = pathlib.Path(__file__).resolve().parents[2]
ROWS = {f'{t.name}: {r.name}': (t, r) for t, r in cost.counted_rows()}
# A count takes a second: few always, more in the slow lane, all in the long.
every_row = pytest.mark.parametrize('name', ROWS)


@every_row
@pytest.mark.fast_every(40)
@pytest.mark.slow_every(12)
def test_counts_are_the_printed_figures_or_the_row_says_why_not(name):
  line = cost.compare(*ROWS[name])
  if not line.why:
    assert line.params_agree is not False, line
    off = line.gmacs_off or 0.0
    assert abs(off) <= paper_table.CLOSE, line
  else:
    assert not line.agrees, f'nothing is left to explain: {line.why}'


@every_row
@pytest.mark.fast_every(40)
@pytest.mark.slow_every(12)
def test_counts_are_those_of_the_authors_code(name):
  table, row = ROWS[name]
  counts = [model_cost.count(m) for m in cost.counted_models(table, row)]
  if row.reference_params is not None:
    params = sum(c.total_params(row.params_without) for c in counts)
    assert params == row.reference_params
  if row.reference_gmacs is not None:
    gmacs = sum(c.total_macs() for c in counts) / 1e9
    assert gmacs == pytest.approx(row.reference_gmacs, rel=paper_table.CLOSE)


@pytest.mark.slow
@pytest.mark.long  # counts every row
def test_regular_expressions_of_the_rows_leave_something_out():
  for name, (table, row) in ROWS.items():
    if not row.params_without and not row.macs_without:
      continue
    counts = [model_cost.count(m) for m in cost.counted_models(table, row)]
    for regex, total in (
      (row.params_without, 'total_params'),
      (row.macs_without, 'total_macs'),
    ):
      if regex:
        left = sum(getattr(c, total)(regex) for c in counts)
        assert 0 < left < sum(getattr(c, total)() for c in counts), name


@pytest.mark.slow
@pytest.mark.long  # counts every row
def test_the_page_in_docs_is_what_the_command_prints():
  text = (REPO / 'docs' / 'costs.md').read_text()
  lines = [cost.compare(table, row) for table, row in ROWS.values()]
  assert paper_table.markdown(lines) in text


def test_rows_with_a_size_or_a_cost_are_counted_and_no_others():
  for table, row in paper_rows.all_rows():
    printed = bool(row.params_m) or row.gmacs is not None
    if printed and row.ours:
      assert f'{table.name}: {row.name}' in ROWS
    if not row.ours:
      assert f'{table.name}: {row.name}' not in ROWS


def test_digits_and_distances():
  assert paper_table.same_digits(21_767_360, '21.8')
  assert not paper_table.same_digits(21_740_000, '21.8')
  assert paper_table.same_digits(1_000_000, '1')
  line = paper_table.ComparedRow(
    paper='p',
    table='t',
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
