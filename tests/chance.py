"""Whether seeded draws come as often as they should.

The bounds are five standard deviations, or as rare: the draws are the same in
every run, so a test that passes once always does; a rate that is off by a few
per cent is not passed at the counts used here.
"""

import collections

import numpy as np


def rate(hits, wanted):
  """Asserts that a share `wanted` of the booleans is true."""
  bound = 5 * np.sqrt(wanted * (1 - wanted) / len(hits))
  assert abs(np.mean(hits) - wanted) <= bound, (np.mean(hits), wanted, bound)


def shares(values, wanted):
  """Asserts that each key of `wanted` comes at its share, and nothing else."""
  count = collections.Counter(values)
  assert set(count) == set(wanted)
  for key, share in wanted.items():
    rate(np.arange(len(values)) < count[key], share)


def even(values, options):
  """Asserts that all options come equally often, and nothing else."""
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
