"""Several models are one: the mean of their probabilities, matched by name."""

import dataclasses

import numpy as np
import pytest
import scoring
from scoring import ANY, MULTI, VERB_NOUN

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE
from vidmodels.evaluate import (
  accuracy_report,
  averaging,
  ensemble,
  side_files,
)
from vidmodels.evaluate.bootstrap import Bootstrap
from vidmodels.typing import InputError

FEW = Bootstrap(draws=20)


def together(*scored, **options):
  return accuracy_report.evaluate_scores(scored, bootstrap=FEW, **options)


def permuted(scored, order):
  return dataclasses.replace(
    scored,
    logits_RVK=scored.logits_RVK[order],
    label_Rx=scored.label_Rx[order],
    videos=tuple(scored.videos[i] for i in order),
    file='there.npz',
  )


def test_probabilities_are_averaged_and_not_logits():
  sure = scoring.split_scores([[50.0, 0]], [(1,)])
  mild = scoring.split_scores([[0.0, 2]], [(1,)])
  found = together(sure, mild, mild).scores
  p = 1 / (1 + np.exp(-2))
  np.testing.assert_allclose(
    found.score_RK, [[(1 + 2 * (1 - p)) / 3, 2 * p / 3]]
  )
  assert together(sure, mild, mild).report.metrics['top1'] == 1
  shared = together(sure, mild, shares=(3, 1)).scores.score_RK
  np.testing.assert_allclose(shared, [[(3 + 1 - p) / 4, p / 4]])


@pytest.mark.parametrize(
  'task', [SINGLE, VERB_NOUN, ANY, MULTI], ids=['single', 'heads', 'any', 'map']
)
def test_videos_are_matched_by_name_in_any_order(task):
  rng = np.random.default_rng(0)
  one = scoring.random_scores(rng, 30, 7, task, views=2, temporal=2)
  other = dataclasses.replace(
    one, logits_RVK=rng.normal(size=(30, 2, 7)).astype(np.float32)
  )
  straight = together(one, other)
  crossed = together(one, permuted(other, rng.permutation(30)))
  np.testing.assert_array_equal(
    crossed.scores.score_RK, straight.scores.score_RK
  )
  assert crossed.report.metrics == straight.report.metrics
  assert crossed.report.intervals == straight.report.intervals
  wrong = averaging.average_views(other).probabilities()
  assert not np.allclose(straight.scores.score_RK, wrong)


def test_a_model_with_itself_answers_as_before():
  one = scoring.random_scores(
    np.random.default_rng(1), 30, 7, VERB_NOUN, views=3
  )
  alone, twice = together(one), together(one, one)
  assert twice.report.metrics == pytest.approx(alone.report.metrics)
  assert twice.report.line() != alone.report.line()


def test_the_name_and_the_report_tell_of_every_model(tmp_path):
  rng = np.random.default_rng(2)
  one = scoring.random_scores(
    rng, 8, 4, views=6, temporal=2, spatial=3, file='a.npz'
  )
  other = dataclasses.replace(
    scoring.split_scores(
      one.logits_RVK[:, :1], [(0,)] * 8, average='probs', step=9
    ),
    label_Rx=one.label_Rx,
    file='b.npz',
  )
  found = together(one, other, shares=(1, 3))
  report = found.report
  assert report.name == 'test_2x3+1x1'
  assert 'test_2x3+1x1/top1' in report.as_json()
  assert 'probabilities of 2 models with shares 1, 3' in report.line()
  assert report.scores == 'a.npz + b.npz'
  tree = report.as_json()
  assert (tree['step'], tree['weights'], tree['config']) == (None, '', {})
  assert [m['step'] for m in report.members] == [7, 9]
  assert [m['average'] for m in report.members] == ['logits', 'probs']
  assert [m['share'] for m in report.members] == [1, 3]
  equal = together(one, other)
  names = {r.write(tmp_path).name for r in (found, equal)}
  assert len(names) == len(list(tmp_path.iterdir())) == 2
  assert all(name.startswith('test_2x3+1x1_ensemble_') for name in names)


@pytest.mark.parametrize(
  ('change', 'same'),
  [
    ({}, True),
    ({'average': 'probs'}, True),
    ({'config': {'clip': {'frames': 4}, 'views': {'batch': 9}}}, True),
    ({'config': {'clip': {'frames': 8}}}, False),
    ({'step': 9}, False),
    ({'weights': 'params'}, False),
    ({'fingerprint': 'e' * 64}, False),
  ],
)
def test_a_model_is_known_again(change, same):
  """By all that its file says of it but the views, and by its scores."""
  rng = np.random.default_rng(7)
  config = {'clip': {'frames': 4}, 'views': {'batch': 8}}
  one = scoring.random_scores(
    rng, 9, 4, views=6, temporal=2, spatial=3, file='a.npz', config=config
  )
  info = dataclasses.replace(one.info, **change)
  again = dataclasses.replace(one, info=info, file='b.npz')
  rounded = dataclasses.replace(again, logits_RVK=one.logits_RVK * 1.005)
  for other in (again, rounded, averaging.select_views(again, 1, 1)):
    assert one.same_model(other) == other.same_model(one) == same
  # Two imports of other weights: nothing but what they say differs.
  elsewhere = rng.normal(size=one.logits_RVK.shape).astype(np.float32)
  stranger = dataclasses.replace(again, logits_RVK=elsewhere)
  assert not one.same_model(stranger)
  ensemble.check_distinct_models([one, stranger], ['a.npz', 'b.npz'])
  if same:
    with pytest.raises(InputError, match=r'c.npz and b.npz are of one model'):
      ensemble.check_distinct_models(
        [stranger, one, again], ['a', 'c.npz', 'b.npz']
      )


def refused(one, other, match, **options):
  with pytest.raises(InputError, match=match):
    together(one, other, **options)


def test_what_does_not_belong_together_is_refused():
  rng = np.random.default_rng(3)
  one = scoring.random_scores(rng, 6, 4)
  less = permuted(one, [0, 1, 2, 5])
  refused(
    one, less, r"there.npz lacks 2 and has 0 other .* as 'v3.mp4'; expected"
  )
  refused(less, one, r"here.npz lacks 0 and has 2 other .* as 'v3.mp4'")
  renamed = dataclasses.replace(one, videos=('w', *one.videos[1:]))
  refused(one, renamed, r"lacks 1 and has 1 other .* as 'v0.mp4'")
  other_label = dataclasses.replace(one, label_Rx=one.label_Rx.copy())
  other_label.label_Rx[4] = (one.label_Rx[4] + 1) % 4
  refused(one, other_label, r"labels of 1 videos, as 'v4.mp4'")
  info = dataclasses.replace(one.info, labelled=False)
  blank = dataclasses.replace(one, info=info)
  refused(one, blank, 'disagree about the labels')
  classes = ClassList.from_names(['c0', 'c2', 'c1', 'c3'])
  info = dataclasses.replace(one.info, classes=classes)
  refused(
    one, dataclasses.replace(one, info=info), "class 1 is 'c1' here and 'c2'"
  )
  twice = dataclasses.replace(one, videos=(*one.videos[:5], 'v0.mp4'))
  refused(twice, twice, "'v0.mp4' more than once")
  multi = dataclasses.replace(
    scoring.random_scores(rng, 6, 4, MULTI), videos=one.videos
  )
  refused(one, multi, r"kind='single'.* here and .*kind='multi'")


@pytest.mark.parametrize(
  'shares',
  [(1, 2, 3), (1, 0), (1, -1), (1,), (np.nan, 1), (1, np.inf), (1e308, 1e308)],
)
def test_every_model_has_a_share(shares):
  one = scoring.random_scores(np.random.default_rng(4), 3, 4)
  refused(one, one, r'for 2 models; expected one above 0', shares=shares)


def test_one_model_has_no_shares():
  one = scoring.random_scores(np.random.default_rng(4), 3, 4)
  with pytest.raises(InputError, match='got shares 2 for one model'):
    together(one, shares=(2,))


def test_labels_of_multi_sets_are_compared_class_by_class():
  one = scoring.split_scores(np.zeros((2, 3)), [(0, 1), ()], MULTI)
  other = scoring.split_scores(np.zeros((2, 3)), [(0, 1), (2,)], MULTI)
  with pytest.raises(InputError, match=r"labels of 1 videos, as 'v1.mp4'"):
    ensemble.combine_members(
      [averaging.average_views(one), averaging.average_views(other)], ['a', 'b']
    )


def test_an_offset_of_a_videos_logits_is_nothing_to_a_softmax():
  """Nor does a model beside itself rank videos another way."""
  rng = np.random.default_rng(6)
  one = scoring.random_scores(rng, 40, 6, ANY, views=2)
  offset_R11 = rng.integers(-9, 10, (40, 1, 1)) * np.float32(4)
  moved = dataclasses.replace(one, logits_RVK=one.logits_RVK + offset_R11)
  found = [together(one), together(moved), together(one, one)]
  maps = [result.report.metrics['map'] for result in found]
  assert maps == pytest.approx([maps[0]] * 3)
  assert 0.3 < maps[0] < 0.99
  tables = [
    [row.average_precision for row in side_files.class_table(result.scores)]
    for result in found
  ]
  assert tables[1] == pytest.approx(tables[0])
  assert tables[2] == pytest.approx(tables[0])
  questions = [
    dataclasses.replace(s, info=dataclasses.replace(s.info, task=MULTI))
    for s in (one, moved)
  ]
  ours, theirs = (together(s).report.metrics['map'] for s in questions)
  assert abs(ours - theirs) > 0.01
