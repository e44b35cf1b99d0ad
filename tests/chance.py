"""Checks that seeded draws occur as often as they should.

The bounds are five standard deviations, or equally rare. The draws are the same
in every run, so a test that passes once always passes. At the counts used here,
a rate that is wrong by a few per cent fails.
"""

import collections

import numpy as np


def rate(hits, expected):
  """Asserts that the share `expected` of the booleans is true."""
  bound = 5 * np.sqrt(expected * (1 - expected) / len(hits))
  assert abs(np.mean(hits) - expected) <= bound, (
    np.mean(hits),
    expected,
    bound,
  )


def shares(values, expected):
  """Asserts that each key of `expected` occurs at its share, and no other."""
  count = collections.Counter(values)
  assert set(count) == set(expected)
  for key, share in expected.items():
    rate(np.arange(len(values)) < count[key], share)


def even(values, options):
  """Asserts that all options occur equally often, and nothing else."""
  options = set(options)
  shares(values, {option: 1 / len(options) for option in options})


def uniform(values, low, high):
  """Asserts a uniform distribution, by Kolmogorov's distance (1 in 10**6)."""
  values = np.sort(values)
  assert low <= values[0]
  assert values[-1] <= high
  reached = (values - low) / (high - low)
  n = len(values)
  steps = np.arange(n + 1) / n
  off = max(abs(reached - steps[1:]).max(), abs(reached - steps[:-1]).max())
  assert off < 2.7 / np.sqrt(n), (off, 2.7 / np.sqrt(n))
