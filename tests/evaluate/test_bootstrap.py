"""Intervals: the middle 95 % of what drawn videos give, the same every time."""

import numpy as np
import pytest
import scoring
from scoring import MULTI, VERB_NOUN

from vidmodels.evaluate import averaging, bootstrap, metrics
from vidmodels.evaluate.bootstrap import Bootstrap


def intervals(answers, bootstrap=None):
  return (bootstrap or Bootstrap()).intervals(
    metrics.prepare_metrics(answers), len(answers.videos)
  )


def share(right, member=None, name='top1') -> metrics.Metric:
  metric = metrics.Metric(name=name, right_R=right)
  return metric if member is None else metric.restricted('few', member)


def test_the_interval_of_a_share_is_that_of_coins():
  """Of 400 videos, 0.7 right: 0.7 +- 1.96 sqrt(0.7 * 0.3 / 400) = 0.045."""
  right = np.arange(400) < 280
  low, high = Bootstrap().intervals([share(right)], 400)['top1']
  assert low == pytest.approx(0.7 - 0.0449, abs=0.008)
  assert high == pytest.approx(0.7 + 0.0449, abs=0.008)
  half = Bootstrap(level=0.5).intervals([share(right)], 400)['top1']
  assert half == pytest.approx((0.7 - 0.0155, 0.7 + 0.0155), abs=0.006)


def test_a_seed_gives_the_same_interval_and_another_one_another(monkeypatch):
  answers = averaging.average_views(
    scoring.random_scores(np.random.default_rng(0), 60, 7, MULTI)
  )
  first = intervals(answers)
  monkeypatch.setattr(bootstrap, '_BLOCK', 1000)  # 20 draws at once
  assert intervals(answers) == first
  other = intervals(answers, Bootstrap(seed=1))
  assert other.keys() == first.keys()
  assert other != first


def test_small_subsets_have_a_wide_interval():
  right = np.arange(400) % 2
  few = np.arange(400) < 10
  found = Bootstrap().intervals(
    [share(right, name='all'), share(right, few)], 400
  )
  assert found['all'][1] - found['all'][0] < 0.11
  assert found['few/top1'][1] - found['few/top1'][0] > 0.4


@pytest.mark.parametrize(('classes', 'each'), [(2, 2), (4, 1), (3, 20)])
def test_certain_answers_of_classes_are_as_uncertain_as_few_videos(
  classes, each
):
  """A mean of equal classes has the interval of all its videos together."""
  labels = [(k,) for k in range(classes)] * each
  scores = np.eye(classes)[[k for (k,) in labels]]
  found = intervals(scoring.video_scores(scores, labels))
  assert found['mean_class'] == pytest.approx(found['top1'])
  assert found['mean_class'][0] < 0.95 < found['mean_class'][1] == 1.0


@pytest.mark.parametrize(
  ('classes', 'each'), [(2, 2), (5, 3), (20, 1), (20, 5), (50, None)]
)
def test_an_interval_of_a_mean_over_classes_holds_the_true_mean(classes, each):
  """In at least 93 of 100 sets; None: classes of 1 to dozens of videos."""
  rng, held = np.random.default_rng(classes), 0
  for _ in range(600):
    true_K = rng.uniform(0.3, 0.95, classes)
    counts_K = rng.geometric(0.1, classes)
    if each:
      counts_K = np.full(classes, each)
    shares_K = rng.binomial(counts_K, true_K) / counts_K
    low, high = bootstrap.mean_interval(shares_K, counts_K, 0.95)
    held += low <= true_K.mean() <= high
  assert held >= 0.93 * 600


def test_few_videos_and_draws_that_agree_have_no_interval():
  rng = np.random.default_rng(0)
  few = averaging.average_views(scoring.random_scores(rng, 12, 7, MULTI))
  assert intervals(few) == {'map': None}
  right = [(0,), (1,), (2,)] * 30
  perfect = scoring.video_scores(np.eye(3)[[0, 1, 2] * 30], right, MULTI)
  assert intervals(perfect) == {'map': None}
  some = averaging.average_views(scoring.random_scores(rng, 60, 7, MULTI))
  assert intervals(some)['map'] is not None


def test_a_share_has_wilsons_interval_whatever_the_number_of_videos():
  """Against the table of Newcombe (1998), and 4 of 4: 1 / (1 + z^2 / 4)."""
  for right, videos, wanted in (
    (81, 263, (0.2553, 0.3662)),
    (15, 148, (0.0624, 0.1605)),
    (0, 20, (0.0, 0.1611)),
    (1, 29, (0.0061, 0.1718)),
    (4, 4, (1 / (1 + 1.959964**2 / 4), 1.0)),
  ):
    found = Bootstrap().intervals([share(np.arange(videos) < right)], videos)
    assert found['top1'] == pytest.approx(wanted, abs=5e-5)


def test_the_interval_of_a_subset_is_that_of_its_own_videos():
  right, few = np.arange(400) % 2, np.arange(400) < 10
  found = Bootstrap().intervals([share(right, few)], 400)
  alone = Bootstrap().intervals([share(right[:10])], 10)
  assert found['few/top1'] == alone['top1']


def test_draws_without_a_video_of_the_subset_do_not_count():
  # The mean of a number from 1 to 5, of the sixty videos that it is about.
  number_R = np.arange(400) % 5 + 1.0
  function = lambda count_xR, member_R: np.divide(
    count_xR @ (number_R * member_R),
    count_xR @ member_R,
    out=np.full(count_xR.shape[:-1], np.nan),
    where=count_xR.sum(-1) > 0,
  )
  metric = metrics.Metric(name='one', function=function)
  found = Bootstrap().intervals(
    [metric.restricted('few', np.arange(400) < 60)], 400
  )
  assert found['few/one'] == pytest.approx((2.64, 3.36), abs=0.1)


@pytest.mark.parametrize('classes', [3, 20, 200])
def test_classes_that_a_draw_lacks_do_not_move_the_mean_over_classes(classes):
  """Of 200 classes with a video each, a third is absent from every draw."""
  rng = np.random.default_rng(classes)
  label_R = np.concatenate([np.arange(classes), rng.integers(classes, size=9)])
  right_R = label_R < classes // 20 + 1
  score_RK = np.where(
    np.arange(classes)
    == np.where(right_R, label_R, (label_R + 1) % classes)[:, None],
    1.0,
    0.0,
  )
  answers = scoring.video_scores(score_RK, [(k,) for k in label_R.tolist()])
  (metric,) = (
    m for m in metrics.prepare_metrics(answers) if m.name == 'mean_class'
  )
  value = float(metric(np.ones(len(label_R))))
  low, high = intervals(answers)['mean_class']
  assert low <= value <= high
  counts = np.stack(
    [bootstrap._draw_counts(rng, len(label_R)) for _ in range(2000)]
  )
  assert metric(counts).mean() == pytest.approx(value, abs=0.01)


def test_average_precision_lies_in_its_interval_though_copies_raise_it():
  rng = np.random.default_rng(1)
  answers = averaging.average_views(scoring.random_scores(rng, 120, 30, MULTI))
  (metric,) = metrics.prepare_metrics(answers)
  value = float(metric(np.ones(120)))
  counts = np.stack([bootstrap._draw_counts(rng, 120) for _ in range(300)])
  # Plain percentiles would be off by this much.
  assert metric(counts).mean() - value > 0.02
  low, high = intervals(answers)['map']
  assert low < value < high
  assert (low + high) / 2 == pytest.approx(value, abs=0.01)
  plain = np.percentile(metric(counts), [2.5, 97.5])
  assert high - low == pytest.approx(plain[1] - plain[0], rel=0.25)


def test_every_measure_has_an_interval():
  answers = averaging.average_views(
    scoring.random_scores(np.random.default_rng(2), 60, 7, VERB_NOUN)
  )
  values = metrics.metric_values(metrics.prepare_metrics(answers), 60)
  found = intervals(answers)
  assert found.keys() == values.keys()
  for name, (low, high) in found.items():
    assert 0 <= low <= values[name] <= high <= 1, name
