"""Views become a video's scores as the average says, and fewer can be taken."""

import numpy as np
import pytest
import scoring

from vidmodels import config as cfg
from vidmodels.data.sampling import rules, views
from vidmodels.evaluate import averaging
from vidmodels.typing import InputError


def test_one_confident_view_outweighs_two_mild_ones_in_logits_alone():
  logits = np.array([[[8.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
  assert averaging.average_logits(logits, 'logits').tolist() == [[8 / 3, 2 / 3]]
  probs = averaging.average_logits(logits, 'probs')
  assert probs.sum() == pytest.approx(1)
  assert probs[0, 0] == pytest.approx((0.99966465 + 2 * 0.26894142) / 3)


def test_each_head_has_a_softmax_of_its_own():
  logits = np.array([[[0.0, 0, 0, np.log(3), 0, 0, 0]]])
  probs = averaging.average_logits(logits, 'probs', scoring.VERB_NOUN)
  np.testing.assert_allclose(probs, [[1 / 3] * 3 + [1 / 2] + [1 / 6] * 3])


def test_classes_that_are_questions_of_their_own_have_sigmoids_or_a_maximum():
  logits = np.array([[[0.0, -800], [np.log(3), 800]]])
  probs = averaging.average_logits(logits, 'probs', scoring.MULTI)
  np.testing.assert_allclose(probs, [[(0.5 + 0.75) / 2, 0.5]])
  highest = averaging.average_logits(logits, 'max', scoring.MULTI)
  assert highest.tolist() == [[np.log(3), 800]]
  for task in (scoring.ANY, scoring.VERB_NOUN):
    with pytest.raises(InputError, match=r'max for .*expected logits or probs'):
      averaging.average_logits(np.zeros((1, 1, 7)), 'max', task)
  with pytest.raises(InputError, match="average 'mean'; expected"):
    averaging.average_logits(np.zeros((1, 1, 7)), 'mean')


@pytest.mark.parametrize('how', ['logits', 'probs'])
def test_sums_are_exact_enough_for_any_order_of_views_and_any_block(how):
  rng = np.random.default_rng(0)
  # float32 means of these differ by 1e-4 with the order.
  logits = rng.normal(size=(150, 30, 5)).astype(np.float32) * 100 + 1e3
  ours = averaging.average_logits(logits, how)
  turned = averaging.average_logits(logits[:, rng.permutation(30)], how)
  np.testing.assert_allclose(turned, ours, rtol=1e-13, atol=1e-15)
  one = averaging.average_logits(logits[149:], how)
  np.testing.assert_array_equal(one[0], ours[149])
  assert ours.dtype == np.float64


def test_probabilities_and_their_logarithms_survive_extremes():
  scores = [[2000.0, 0, -2000]]
  found = scoring.video_scores(scores, [(0,)])
  np.testing.assert_array_equal(found.probabilities(), [[1, 0, 0]])
  np.testing.assert_array_equal(found.log_probabilities(), [[0, -2000, -4000]])
  sigmoid = scoring.video_scores(scores, [(0,)], scoring.MULTI).probabilities()
  np.testing.assert_array_equal(sigmoid, [[1, 0.5, 0]])


@pytest.mark.parametrize(
  ('count', 'wanted', 'numbers'),
  [
    (4, 4, [0, 1, 2, 3]),
    (4, 3, [0, 2, 3]),
    (4, 2, [0, 3]),
    (4, 1, [1]),
    (3, 1, [1]),
    (10, 4, [0, 3, 6, 9]),
    (10, 5, [0, 2, 5, 7, 9]),
    (1, 1, [0]),
  ],
)
def test_fewer_views_are_evenly_spread(count, wanted, numbers):
  assert averaging.spread_evenly(count, wanted) == numbers


def test_fewer_views_never_repeat_one():
  for count in range(1, 31):
    for wanted in range(1, count + 1):
      found = averaging.spread_evenly(count, wanted)
      assert len(set(found)) == wanted
      assert found == sorted(found)
      assert 0 <= found[0] <= found[-1] < count


@pytest.mark.parametrize(('count', 'wanted'), [(4, 2), (10, 4), (7, 3), (5, 5)])
def test_where_gaps_divide_the_frames_are_those_of_fewer_dense_views(
  count, wanted
):
  clip = cfg.Clip(frames=8, stride=2.0)
  for n in (16, 61, 300):
    times = np.arange(n) * 40_000
    for j, view in enumerate(averaging.spread_evenly(count, wanted)):
      np.testing.assert_array_equal(
        rules.view_indices(times, clip, view, count),
        rules.view_indices(times, clip, j, wanted),
      )


def test_the_views_taken_are_those_of_the_times_and_crops_asked():
  logits = np.arange(12, dtype=float).reshape(1, 12, 1).repeat(2, -1)
  whole = scoring.split_scores(logits, [(0,)], temporal=4, spatial=3)
  every = cfg.Views(temporal=4, spatial=3)
  for wanted, numbers in (
    ((4, 3), range(12)),
    ((4, 1), [1, 4, 7, 10]),
    ((2, 3), [0, 1, 2, 9, 10, 11]),
    ((1, 1), [4]),
  ):
    part = averaging.select_views(whole, *wanted)
    assert part.logits_RVK[0, :, 0].tolist() == list(numbers)
    assert len(numbers) == wanted[0] * wanted[1]
    if wanted[1] == 1:
      assert {views.split(v, every)[1] for v in numbers} == {1}  # the centre
  assert averaging.select_views(whole, 4, 3).info.name == 'test_4x3'
  part = averaging.select_views(whole, 2, 3)
  assert part.info.name == 'test_2x3of4x3'
  # Taken from a part, the name still says of how many at first.
  assert averaging.select_views(part, 1, 1).info.name == 'test_1x1of4x3'


@pytest.mark.parametrize('wanted', [(5, 1), (0, 1), (1, 3), (2, 2)])
def test_views_that_are_not_there_cannot_be_taken(wanted):
  whole = scoring.split_scores(np.zeros((1, 4, 2)), [(0,)])
  with pytest.raises(
    InputError, match=r'scores that hold 4x1; expected at most'
  ):
    averaging.select_views(whole, *wanted)


def test_scores_that_are_no_numbers_are_no_accuracy():
  for value in (np.nan, np.inf):
    broken = scoring.split_scores([[0.0, value]], [(0,)])
    with pytest.raises(InputError, match='not finite: the weights are broken'):
      averaging.average_views(broken)
