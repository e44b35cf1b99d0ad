"""A report says what was measured and of how many; its names say it too."""

import dataclasses
import json
import re

import fake
import numpy as np
import pytest
import scoring
from scoring import ANY, MULTI, VERB_NOUN

from vidmodels.data.datasets import registry
from vidmodels.data.records.record_set import Manifest
from vidmodels.data.records.task import SINGLE
from vidmodels.evaluate import accuracy_report, averaging
from vidmodels.evaluate.bootstrap import Bootstrap
from vidmodels.evaluate.score_file import ScoreInfo

FEW = Bootstrap(draws=20)


def of(scored, **options):
  return accuracy_report.evaluate_scores(
    [scored], bootstrap=FEW, **options
  ).report


def test_numbers_have_their_full_names_and_intervals():
  found = of(scoring.split_scores(np.eye(3)[[0, 1, 1]], [(0,), (1,), (2,)]))
  tree = json.loads(json.dumps(found.as_json()))
  assert tree['test_1x1/top1'] == pytest.approx(2 / 3)
  assert tree['test_1x1/top5'] == 1
  assert tree['test_1x1/mean_class'] == pytest.approx(2 / 3)
  low, high = tree['intervals']['test_1x1/top1']
  assert low < 2 / 3 < high
  assert tree['bootstrap'] == {
    'draws': 20, 'level': 0.95, 'seed': 0, 'over': 'videos', 'shares': 'Wilson'
  }  # fmt: skip
  assert (tree['videos'], tree['listed'], tree['step']) == (3, 3, 7)
  assert 'metrics' not in tree
  assert not any('val_clip' in key for key in tree)


def test_what_is_missing_is_told():
  scored = scoring.split_scores(
    np.eye(3)[[0, 1]], [(0,), (1,)],
    listed=4, expected=100_000, lost=2, damaged=1, limit=4,
  )  # fmt: skip
  found = of(scored)
  assert found.line() == (
    'test_1x1: top-1 100.00% of 2 of 4 videos (official 100000), 1 views (mean '
    'of logits, step 7, ema)'
  )
  said = '\n'.join(found.details())
  assert 'top5' not in said  # of 3 classes any answer is among the best 5
  for part in (
    'test_1x1/mean_class: 100.00% (34.24% to 100.00%)',
    'test_1x1/top1: 100.00% (34.24% to 100.00%)',
    "95% intervals over videos, Wilson's of shares and of means of them, "
    'else of 20 bootstrap draws, seed 0',
    'the records are the first 4 of the list',
    '2 of the 100000 clips of the official split were evaluated (under 0.01 %)',
    '2 videos were lost; see test.lost.txt',
    '1 records have frames that did not decode',
    '1 of 3 classes have no video: c2',
  ):
    assert part in said, said


@pytest.mark.parametrize(
  ('task', 'classes', 'labels', 'absent', 'present'),
  [
    (SINGLE, 1, [(0,)] * 3, ['top1', 'top5'], []),
    (SINGLE, 5, [(0,), (4,)], ['top5'], ['top1']),
    (SINGLE, 6, [(0,), (5,)], [], ['top1', 'top5']),
    # Three of seven classes are wrong: one of any five is right.
    (ANY, 7, [(0, 1, 2, 3), (3, 4, 5, 6)], ['hit5'], ['hit1', 'map']),
    (ANY, 7, [(0, 1, 2, 3), (6,)], [], ['hit1', 'hit5', 'map']),
    # All videos have all classes that occur: any order of them is right.
    (MULTI, 4, [(0, 2)] * 3, ['map'], []),
    (MULTI, 4, [(0, 2), (2,)], [], ['map']),
  ],
)
def test_what_any_answer_reaches_is_not_printed(
  task, classes, labels, absent, present
):
  rng = np.random.default_rng(0)
  scores = rng.normal(size=(len(labels), classes))
  found = of(scoring.split_scores(scores, labels, task))
  said = '\n'.join([found.line(), *found.details()])
  for name in absent:
    assert f'/{name}:' not in said, said
    assert found.metrics[name] == 1.0
  for name in present:
    assert f'/{name}:' in said, said
  if not present:
    assert 'any answer would be right, scores only' in said


def test_an_interval_that_few_videos_cannot_give_is_null_and_said():
  rng = np.random.default_rng(0)
  found = of(scoring.random_scores(rng, 12, 7, MULTI))
  assert '(no interval: too few videos to say)' in found.details()[0]
  assert json.loads(json.dumps(found.as_json()))['intervals'] == {
    'test_1x1/map': None
  }


def test_less_than_all_is_never_called_100_percent():
  scored = scoring.split_scores(
    np.zeros((1, 2)), [(0,)], expected=100_000, listed=100_000
  )
  almost = scoring.split_scores(
    np.zeros((99_999, 2)), [(0,)] * 99_999, expected=100_000
  )
  assert '(under 0.01 %)' in '\n'.join(of(scored).notes)
  assert '(99.99 %)' in '\n'.join(of(almost).notes)


def test_a_whole_split_needs_no_notes():
  scored = scoring.split_scores(np.eye(2), [(0,), (1,)], expected=2)
  assert of(scored).notes == ()


def test_labels_that_are_not_published_give_no_accuracy():
  scored = scoring.split_scores(np.eye(3), [()] * 3, labelled=False)
  found = of(scored)
  assert found.metrics == found.intervals == {}
  assert 'no labels, scores only of 3 of 3' in found.line()
  assert '%' not in found.line()
  assert found.details() == ['the labels of this split are not published']
  assert not any('/' in key for key in found.as_json())


def test_the_line_leads_with_what_a_task_is_known_for():
  rng = np.random.default_rng(0)
  heads = of(scoring.random_scores(rng, 20, 7, VERB_NOUN))
  assert re.match(
    r'test_1x1: action top-1 \S+, verb top-1 \S+, noun top-1 \S+ of 20 of',
    heads.line(),
  )
  many = of(scoring.random_scores(rng, 20, 7, MULTI))
  assert many.line().startswith('test_1x1: mAP ')
  assert list(many.metrics) == ['map']
  none = [s for s in many.notes if 'no class' in s]
  assert none
  either = of(
    scoring.random_scores(rng, 20, 7, scoring.ANY, views=4, average='probs')
  )
  assert either.line().startswith('test_4x1: hit@1 ')
  assert '4 views (mean of probs, ' in either.line()


def test_a_chosen_average_and_chosen_views_are_in_the_names(tmp_path):
  rng = np.random.default_rng(1)
  scored = scoring.random_scores(rng, 9, 5, MULTI, views=4)
  result = accuracy_report.evaluate_scores(
    [scored], views=(2, 1), average='max', bootstrap=FEW
  )
  assert result.report.name == 'test_2x1of4x1'
  assert '2 views (highest logit, step 7, ema)' in result.report.line()
  assert 'test_2x1of4x1/map' in result.report.as_json()
  path = result.write(tmp_path / 'new' / 'folder')
  assert path.name == 'test_2x1of4x1_step7_ema_max_ffffffff.json'
  assert json.loads(path.read_text()) == json.loads(
    json.dumps(result.report.as_json())
  )
  assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_report_is_of_the_average_that_it_names():
  """Softmaxes and logits rank these classes differently."""
  scored = scoring.split_scores([[[8, 0], [0, 1], [0, 1]]], [(1,)])
  assert of(scored).metrics['top1'] == 0
  other = of(
    scoring.split_scores([[[3, 0], [0, 2], [0, 2]]], [(1,)], average='probs')
  )
  assert other.metrics['top1'] == 1
  assert other.info.average == 'probs'


def test_views_average_to_one_row_a_video():
  scored = scoring.split_scores(
    [[[1, 0], [5, 0]], [[0, 1], [0, 3]]], [(0,), (1,)]
  )
  assert averaging.average_views(scored).score_RK.tolist() == [[3, 0], [0, 2]]


def test_labels_without_any_class_are_no_missing_labels():
  found = of(scoring.split_scores(np.eye(3), [()] * 3, MULTI))
  assert found.metrics == {}
  assert 'no video has any class, scores only of 3 of 3' in found.line()
  tree = found.as_json()
  assert (tree['labelled'], tree['headline']) == (True, '')
  assert '3 videos have no class and count as wrong for all' in found.notes


@pytest.mark.parametrize(
  ('source', 'metric', 'said'),
  [
    ('activitynet_untrimmed', 'map', r'mAP \S+, hit@1 \S+ of'),
    ('charades', 'map', r'mAP \S+ of'),
    ('epic100', 'action_top1', r'action top-1 \S+, verb top-1 \S+, noun'),
    ('k400', 'top1', r'top-1 \S+, top-5 \S+ of'),
    ('my/videos', 'hit1', r'hit@1 \S+, mAP \S+ of'),
  ],
)
def test_the_headline_is_what_the_data_set_is_known_by(source, metric, said):
  """As records say where they come from."""
  tasks = {'charades': MULTI, 'epic100': VERB_NOUN, 'k400': SINGLE}
  task = tasks.get(source, scoring.ANY)
  scored = scoring.random_scores(np.random.default_rng(0), 20, 7, task)
  manifest = Manifest(
    split='test', shards=(), classes_sha256='', flip=fake.FREE, listed=20,
    task=task, options={'source': source},
  )  # fmt: skip
  info = ScoreInfo.of_records(
    manifest, scored.info.classes, temporal=1, spatial=1, average='logits',
    step=7, weights='ema',
  )  # fmt: skip
  found = of(dataclasses.replace(scored, info=info))
  assert found.headline == metric
  assert found.as_json()['headline'] == f'test_1x1/{metric}'
  assert f'test_1x1/{metric}' in found.as_json()
  assert re.match(f'test_1x1: {said}', found.line()), found.line()


def test_a_metric_that_is_not_there_leads_nothing():
  """A data set's name on records of other labels."""
  rng = np.random.default_rng(0)
  found = of(scoring.random_scores(rng, 20, 7, dataset='charades'))
  assert found.headline == 'top1'
  assert found.line().startswith('test_1x1: top-1 ')


@pytest.mark.parametrize(
  'dataset', registry.all_datasets().values(), ids=lambda d: d.name
)
def test_every_data_set_is_known_by_a_metric_of_its_labels(dataset):
  task = VERB_NOUN if dataset.task.heads else dataset.task
  scored = scoring.random_scores(
    np.random.default_rng(0), 20, 7, task, dataset=dataset.name
  )
  assert of(scored).headline == dataset.metric
