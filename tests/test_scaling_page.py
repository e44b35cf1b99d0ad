"""docs/scaling.md is what its command makes of docs/scaling.json."""

import importlib.util
import json
import pathlib
import shutil

import pytest

REPO = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture
def scaling(tmp_path):
  """The command, with a copy of the page."""
  file = REPO / 'experiments' / 'scaling.py'
  spec = importlib.util.spec_from_file_location('scaling', file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  module.ROWS, module.PAGE = tmp_path / 'rows.json', tmp_path / 'page.md'
  shutil.copy(REPO / 'docs' / 'scaling.md', module.PAGE)
  return module


def test_the_page_has_the_rows_that_are_kept_and_no_others(scaling):
  rows = REPO / 'docs' / 'scaling.json'
  known = json.loads(rows.read_text()) if rows.exists() else {}
  before = scaling.PAGE.read_text()
  scaling.write(known)
  assert scaling.PAGE.read_text() == before
  assert set(known) <= set(scaling.jobs())
  for row in known.values():
    assert set(row['made_by']) == {'commit', 'jax', 'libtpu'}


def test_a_row_that_is_missing_is_said_to_be_missing(scaling):
  scaling.write({})
  page = scaling.PAGE.read_text()
  assert f'Not compiled yet, of {len(scaling.jobs())} rows: ' in page
  assert 'TimeSformer L on v5e:16x16' in page
  assert '| v5e:8x8 | 64 | - | not compiled yet |' in page


def row(memory: int, arguments: int) -> dict:
  made = {'commit': 'abc', 'jax': '0', 'libtpu': '0'}
  return {
    **{'memory_bytes': memory, 'argument_bytes': arguments, 'flops': 1},
    'made_by': made,
  }


def test_what_is_saved_is_compared_with_what_sharding_takes_off(scaling):
  scaling.write(
    {
      'data | VidTr-L | 16 | none': row(5 * 10**9, 11 * 10**8),
      'fsdp | VidTr-L | 16 | none': row(42 * 10**8, 10**8),
    }
  )
  line = '| VidTr-L | 16 | none | 5.00 GB | 4.20 GB | 0.80 GB | 80% |'
  assert line in scaling.PAGE.read_text()


@pytest.mark.parametrize(
  ('published', 'chips', 'expected'),
  [
    (64, 16, (64, 1)),
    (24, 16, (32, 1)),
    (8, 16, (8, 2)),
    (64, 256, (64, 4)),
    (24, 256, (64, 4)),
    (24, 64, (32, 2)),
  ],
)
def test_a_batch_is_the_nearest_that_the_chips_divide(
  scaling, published, chips, expected
):
  assert scaling.fitting_batch(published, chips) == expected
