"""The report of a split: its counts and its text."""

import pytest

from vidmodels.data.prepare.split_report import (
  SplitReport,
  format_share,
  percent,
)


@pytest.mark.parametrize(
  ('part', 'whole', 'want'),
  [
    (240_435, 240_436, 99.99),
    (240_436, 240_436, 100.0),
    (1, 240_436, 0.0),
    (19, 30, 63.33),
    (29, 100, 29.0),  # which is 28.999... as a float
    (0, 0, 0.0),
  ],
)
def test_less_than_all_is_never_100_percent(part, whole, want):
  assert percent(part, whole) == want


def test_a_split_without_one_clip_of_many_is_not_complete():
  report = SplitReport(
    split='train', expected=240_436, listed=240_436, ok=240_435, bad=()
  )
  assert '240435 of 240436 clips of the split are fine: 99.99 %' in (
    report.lines()
  )


def test_a_share_that_rounds_to_0_is_not_written_as_0():
  assert format_share(1, 240_436) == 'under 0.01 %'
  assert format_share(1, 10_000) == '0.01 %'
  assert format_share(0, 240_436) == '0.00 %'
  assert format_share(19, 30) == '63.33 %'
  report = SplitReport(split='train', expected=240_436, listed=3, ok=3, bad=())
  assert '3 of 240436 clips of the split are fine: under 0.01 %' in (
    report.lines()
  )
