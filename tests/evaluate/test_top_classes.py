"""The best classes are told by name, those of several heads together."""

import numpy as np
import pytest
import scoring
from scoring import MULTI, VERB_NOUN

from vidmodels.evaluate.top_classes import best


def test_classes_come_best_first_and_equals_in_the_lists_order():
  prob = np.array([0.1, 0.3, 0.3, 0.2, 0.1])
  found = best(prob, scoring.SINGLE, scoring.names(5), 3)
  assert found.classes == ('c1', 'c2', 'c3')
  assert found.probabilities == (0.3, 0.3, 0.2)
  assert found.heads == {}
  assert len(best(prob, MULTI, scoring.names(5), 99).classes) == 5


def test_heads_are_told_alone_and_by_their_products():
  prob = np.array([0.5, 0.3, 0.2, 0.05, 0.6, 0.15, 0.2])
  found = best(prob, VERB_NOUN, scoring.names(7, VERB_NOUN), 3)
  assert found.classes == ('c0 c1', 'c1 c1', 'c2 c1')
  assert found.probabilities == pytest.approx((0.3, 0.18, 0.12))
  assert found.heads == {
    'verb': (('c0', 0.5), ('c1', 0.3), ('c2', 0.2)),
    'noun': (('c1', 0.6), ('c3', 0.2), ('c2', 0.15)),
  }


def test_no_better_product_is_left_out():
  rng = np.random.default_rng(0)
  for _ in range(50):
    prob = rng.random(7)
    every = np.sort(np.outer(prob[:3], prob[3:]).ravel())[::-1]
    for top in (1, 2, 3, 5, 12):
      found = best(prob, VERB_NOUN, scoring.names(7, VERB_NOUN), top)
      np.testing.assert_allclose(found.probabilities, every[:top])
