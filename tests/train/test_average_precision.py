"""Mean average precision against cases worked by hand."""

import itertools

import numpy as np
import pytest

from vidmodels.train.average_precision import average_precision, mean_ap


def ap(scores, right) -> float:
  return average_precision(np.array(scores, float), np.array(right) > 0)


@pytest.mark.parametrize(
  ('scores', 'right', 'wanted'),
  [
    ([4, 3, 2, 1], [1, 1, 0, 0], 1.0),
    ([4, 3, 2, 1], [0, 0, 0, 1], 1 / 4),
    # Right ones at places 1, 3 and 5: precisions 1, 2/3, 3/5.
    ([5, 4, 3, 2, 1], [1, 0, 1, 0, 1], (1 + 2 / 3 + 3 / 5) / 3),
    ([1, 5, 3, 2, 4], [1, 1, 1, 0, 0], (1 + 2 / 3 + 3 / 5) / 3),
    # Ties enter together: both at threshold 2, of three videos two are right.
    ([3, 2, 2, 1], [0, 1, 1, 0], 2 / 3),
    ([3, 2, 2, 1], [1, 0, 1, 1], 1 / 3 + 2 / 3 / 3 + 3 / 4 / 3),
    ([7, 7, 7, 7], [1, 0, 0, 0], 1 / 4),  # a constant answer: the base rate
    ([np.inf, 1, -np.inf, -np.inf], [1, 0, 1, 0], (1 + 2 / 4) / 2),
  ],
)
def test_average_precision_by_hand(scores, right, wanted):
  assert ap(scores, right) == pytest.approx(wanted)


def test_the_order_of_the_file_does_not_count():
  scores, right = [2, 2, 1, 1, 3], [1, 0, 1, 0, 0]
  found = {
    round(ap(np.array(scores)[list(p)], np.array(right)[list(p)]), 12)
    for p in itertools.permutations(range(5))
  }
  assert len(found) == 1


def test_it_is_the_area_under_precision_and_recall_without_interpolation():
  draw = np.random.default_rng(0)
  scores = draw.integers(0, 20, 200)  # many ties
  right = draw.random(200) < 0.2
  area, before = 0.0, 0.0
  for t in sorted(set(scores), reverse=True):
    chosen = scores >= t
    recall = right[chosen].sum() / right.sum()
    area += (recall - before) * right[chosen].mean()
    before = recall
  assert ap(scores, right) == pytest.approx(area)


def test_it_is_scikit_learns():
  sklearn = pytest.importorskip('sklearn.metrics')
  draw = np.random.default_rng(1)
  for ties in (3, 50, 10**6):
    scores, right = draw.integers(0, ties, 300), draw.random(300) < 0.1
    wanted = sklearn.average_precision_score(right, scores)
    assert ap(scores, right) == pytest.approx(wanted)


def test_classes_that_no_video_has_are_named_and_not_averaged():
  scores = np.array([[0.9, 0.1, 0.5], [0.1, 0.8, 0.4], [0.2, 0.3, 0.1]])
  right = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0]])  # the second has none
  found = mean_ap(scores, right)
  np.testing.assert_allclose(found.class_K[:2], [1.0, 1 / 2])
  assert np.isnan(found.class_K[2])
  assert found.missing == (2,)
  assert found.value == pytest.approx(0.75)
  # A video without any class is a wrong answer to every class.
  assert mean_ap(scores[[0, 2]], right[[0, 2]]).value == pytest.approx(1.0)


def test_broken_scores_and_empty_sets_have_no_value():
  right = np.array([[1, 0], [0, 1]])
  broken = mean_ap(np.array([[np.nan, 1], [0, 2]]), right)
  assert np.isnan(broken.value)
  assert broken.missing == ()
  nothing = mean_ap(np.zeros((2, 2)), np.zeros((2, 2)))
  assert np.isnan(nothing.value)
  assert nothing.missing == (0, 1)
  with pytest.raises(ValueError, match=r'\(2, 2\) and labels of shape \(2,\)'):
    mean_ap(np.zeros((2, 2)), np.zeros(2))
