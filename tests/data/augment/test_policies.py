"""RandAugment and AutoAugment: how often, how much, which way."""

import collections

import chance
import numpy as np
import pytest

from vidmodels.config import Augment
from vidmodels.data.augment import ops, policies
from vidmodels.data.augment.policies import RAND_OPS, V0, amount
from vidmodels.data.augment.training import find_augmentations


def draws(count, **fields):
  rng, recipe = np.random.default_rng(2), Augment(**fields)
  return [policies.draw(rng, recipe, 8, 224) for _ in range(count)]


# Levels 0, 3, 7 and 10, to the right or downwards.
AMOUNTS = {
  'autocontrast': (0, 0, 0, 0),
  'equalize': (0, 0, 0, 0),
  'invert': (0, 0, 0, 0),
  'rotate': (0, 9, 21, 30),
  'shear_x': (0, 0.09, 0.21, 0.3),
  'shear_y': (0, 0.09, 0.21, 0.3),
  'translate_x': (0, 0.135, 0.315, 0.45),
  'translate_y': (0, 0.135, 0.315, 0.45),
  'posterize': (0, 1, 2, 4),
  'solarize': (0, 76, 179, 256),
  'solarize_add': (0, 33, 77, 110),
  'colour': (0.1, 0.64, 1.36, 1.9),
  'contrast': (0.1, 0.64, 1.36, 1.9),
  'brightness': (0.1, 0.64, 1.36, 1.9),
  'sharpness': (0.1, 0.64, 1.36, 1.9),
}
# What changes if more is stronger; the blends get a direction then.
INCREASING = {
  'posterize': (4, 3, 2, 0),
  'solarize': (256, 180, 77, 0),
  'colour': (1, 1.27, 1.63, 1.9),
  'contrast': (1, 1.27, 1.63, 1.9),
  'brightness': (1, 1.27, 1.63, 1.9),
  'sharpness': (1, 1.27, 1.63, 1.9),
}
SIGNED = ('rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y')
BLENDS = ('colour', 'contrast', 'brightness', 'sharpness')


@pytest.mark.parametrize('name', RAND_OPS)
def test_an_operation_takes_what_its_level_says(name):
  for increasing, wanted in (
    (False, AMOUNTS[name]),
    (True, (AMOUNTS | INCREASING)[name]),
  ):
    for level, right in zip((0, 3, 7, 10), wanted, strict=True):
      given = dict(level=level, increasing=increasing)
      assert amount(name, sign=1, **given) == pytest.approx(right)
      left = right
      if name in SIGNED:
        left = -right
      elif name in BLENDS and increasing:
        left = 2 - right
      assert amount(name, sign=-1, **given) == pytest.approx(left)


def test_the_operations_are_the_fifteen_that_there_are():
  assert len(set(RAND_OPS)) == 15 == len(AMOUNTS)
  assert set(RAND_OPS) == set(ops.OPS) - {'hue', 'grey'}


@pytest.mark.parametrize(('n', 'p'), [(1, 1.0), (2, 0.5), (4, 0.3)])
def test_rand_draws_n_operations_each_done_at_its_chance(n, p):
  found = draws(6000, rand_n=n, rand_p=p)
  chance.shares(
    [len(ops) for ops in found],
    {
      k: share
      for k, share in enumerate(binomial(n, p))
      if share  # with p = 1 there is always one
    },
  )
  chance.even([op.name for ops in found for op in ops], RAND_OPS)


def binomial(n, p):
  shares = np.ones(1)
  for _ in range(n):
    shares = np.convolve(shares, [1 - p, p])
  return shares


def test_the_same_operation_may_come_twice():
  found = draws(6000, rand_n=2, rand_p=1.0)
  chance.rate([a.name == b.name for a, b in found], 1 / 15)


def angles(**fields):
  """Levels that were drawn, from the angles that they gave."""
  found = draws(40_000, rand_n=1, rand_p=1.0, **fields)
  angle = np.array([op.amount for (op,) in found if op.name == 'rotate'])
  assert len(angle) > 2000
  chance.rate(angle[angle != 0] > 0, 0.5)
  return abs(angle) / 3


def test_levels_stand_still_without_a_deviation():
  assert angles(rand_m=7.0) == pytest.approx(7)


def test_levels_are_normal_about_m_and_clipped():
  level = angles(rand_m=9.0, rand_mstd=0.5)
  assert abs(level[level < 9]).min() > 6.5
  chance.rate(level == 10, 0.02275)  # two deviations and more
  chance.rate(level < 9, 0.5)
  chance.rate(level < 8.5, 0.158655)
  level = angles(rand_m=0.5, rand_mstd=1.0)
  chance.rate(level == 0, 0.308538)
  assert level.max() < 6


def test_a_deviation_above_100_stands_for_uniform():
  chance.uniform(angles(rand_m=6.0, rand_mstd=101.0), 0, 6)


def test_increasing_turns_the_blends_both_ways():
  found = draws(20_000, rand_n=1, rand_p=1.0, rand_m=10.0, rand_inc=True)
  given = collections.defaultdict(list)
  for (op,) in found:
    given[op.name].append(op.amount)
  for name in BLENDS:
    assert sorted(set(np.round(given[name], 6))) == [0.1, 1.9]
    chance.rate(np.array(given[name]) > 1, 0.5)
  assert set(given['posterize']) == {0}
  assert set(given['solarize']) == {0}


def test_auto_has_the_pairs_of_the_published_policy():
  assert len(V0) == 25
  assert all(len(pair) == 2 for pair in V0)
  count = collections.Counter(name for pair in V0 for name, _, _ in pair)
  assert count == {
    'equalize': 12,
    'colour': 9,
    'solarize': 8,
    'rotate': 7,
    'shear_y': 4,
    'shear_x': 2,
    'solarize_add': 2,
    'autocontrast': 2,
    'posterize': 2,
    'invert': 1,
    'translate_y': 1,
  }
  # Sums that a misprinted chance or level changes, or one of another pair.
  approx = lambda wanted: pytest.approx(wanted, abs=1e-9)
  assert sum(p for pair in V0 for _, p, _ in pair) == approx(29.8)
  assert sum(level for pair in V0 for *_, level in pair) == 240
  assert sum(p * level for pair in V0 for _, p, level in pair) == approx(139.8)
  assert sum(a[1] * b[1] for a, b in V0) == approx(8.52)
  assert sum(a[2] * b[2] for a, b in V0) == 549


def test_auto_draws_pairs_evenly_and_does_them_at_their_chances():
  found, n = draws(25_000, auto='v0'), 25_000
  wanted, count = collections.Counter(), collections.Counter()
  for first, second in V0:
    # What a clip gets: none of the two, one, or both, in this order.
    for a in (first, None):
      for b in (second, None):
        key = tuple(
          (o[0], round(abs(amount(o[0], o[2], sign=1)), 6)) for o in (a, b) if o
        )
        p = (first[1] if a else 1 - first[1]) * (
          second[1] if b else 1 - second[1]
        )
        wanted[key] += p / 25
  for drawn in found:
    count[tuple((op.name, round(abs(op.amount), 6)) for op in drawn)] += 1
  wanted = {key: p for key, p in wanted.items() if p > 1e-12}
  assert set(count) <= set(wanted)
  for key, p in wanted.items():
    chance.rate(np.arange(n) < count[key], p)
  signs = [
    op.amount > 0 for o in found for op in o if op.name in SIGNED and op.amount
  ]
  chance.rate(signs, 0.5)


def test_a_recipe_is_without_a_policy_unless_it_names_one():
  on = lambda **fields: [a.name for a in find_augmentations(Augment(**fields))]
  assert on() == []
  assert on(rand_n=1) == on(auto='v0') == ['policies']
