"""Submissions are what the official evaluations read, byte for byte."""

import json
import zipfile

import numpy as np
import pytest
import scoring

from vidmodels.data.datasets import registry
from vidmodels.evaluate import averaging, submission
from vidmodels.typing import InputError

SSV2, EPIC = registry.find('ssv2'), registry.find('epic100')


def ssv2(videos=('1420', '20bn/78687.webm'), **info):
  scores = np.zeros((len(videos), 174))
  scores[0, [12, 4, 171, 0, 33]] = [9, 8, 7, 6, 5]
  scores[1, 173] = 1  # the others tie: in the list's order
  return scoring.video_scores(
    scores, [()] * len(videos),
    classes=SSV2.classes(), labelled=False, videos=videos, **info,
  )  # fmt: skip


def epic(how='logits', views=2, **info):
  rng = np.random.default_rng(0)
  scored = scoring.split_scores(
    rng.normal(size=(2, views, 397)), [()] * 2, EPIC.task,
    classes=EPIC.classes(), labelled=False,
    videos=('P01_101_0', 'P37_103_69'), dataset='epic100', **info,
  )  # fmt: skip
  return scored, averaging.average_views(scored, how)


def test_ssv2_is_the_id_and_the_five_best_numbers(tmp_path):
  path = tmp_path / 'new' / 's.csv'
  said = submission.write(ssv2(dataset='ssv2', expected=2), path)
  assert path.read_bytes() == b'1420;12;4;171;0;33\n78687;173;0;1;2;3\n'
  assert said == f'submission for ssv2: {path}, 2 of 2 clips'
  assert [p.name for p in path.parent.iterdir()] == ['s.csv']


def test_epic_is_every_score_of_both_heads(tmp_path):
  path = tmp_path / 's.zip'
  scored, answers = epic(expected=13_092)
  said = submission.write(answers, path, levels=(2, 3, 4))
  assert '2 of 13092 clips; 13090 are missing' in said
  with zipfile.ZipFile(path) as archive:
    assert archive.namelist() == ['test.json']
    found = json.loads(archive.read('test.json'))
  results = found.pop('results')
  assert found == {
    'version': '0.2', 'challenge': 'action_recognition',
    'sls_pt': 2, 'sls_tl': 3, 'sls_td': 4,
  }  # fmt: skip
  assert list(results) == ['P01_101_0', 'P37_103_69']
  second = results['P37_103_69']
  assert list(second) == ['verb', 'noun']
  assert list(second['verb']) == [str(i) for i in range(97)]
  assert list(second['noun']) == [str(i) for i in range(300)]
  mean_K = scored.logits_RVK[1].astype(float).mean(0)
  np.testing.assert_allclose(list(second['verb'].values()), mean_K[:97])
  np.testing.assert_allclose(list(second['noun'].values()), mean_K[97:])
  again = tmp_path / 't.zip'
  submission.write(answers, again, levels=(2, 3, 4))
  assert again.read_bytes() == path.read_bytes()


def test_the_softmax_that_epic_takes_gives_back_mean_probabilities(tmp_path):
  path = tmp_path / 's.json'
  _, answers = epic('probs')
  submission.write(answers, path, levels=(0, 0, 5))
  found = json.loads(path.read_text())['results']['P01_101_0']
  verb = np.exp(list(found['verb'].values()))
  np.testing.assert_allclose(verb / verb.sum(), answers.score_RK[0, :97])


def test_json_has_no_infinity(tmp_path):
  scores = np.zeros((1, 397))
  scores[0, 1] = -5000
  answers = averaging.average_views(
    scoring.split_scores(
      scores, [()], EPIC.task, classes=EPIC.classes(), labelled=False
    ),
    'probs',
  )
  path = tmp_path / 's.json'
  submission.write(answers, path, format='epic100', levels=(0, 0, 0))
  assert 'Infinity' not in path.read_text()
  assert json.loads(path.read_text())['results']['v0']['verb']['1'] == -745


@pytest.mark.parametrize(
  ('answers', 'name', 'options', 'match'),
  [
    (lambda: ssv2(), 's.csv', {}, 'records of no known data set'),
    (lambda: ssv2(dataset='k400'), 's.csv', {}, 'of k400; expected one'),
    (lambda: ssv2(), 's.zip', {'format': 'ssv2'}, r'ends in .csv'),
    (lambda: epic()[1], 's.csv', {'levels': (2, 3, 3)}, r'.zip or .json'),
    (lambda: epic()[1], 's.zip', {}, 'levels none; expected'),
    (lambda: epic()[1], 's.zip', {'levels': (2, 3)}, 'levels 2,3; expected'),
    (lambda: epic()[1], 's.zip', {'levels': (2, 3, 6)}, 'levels 2,3,6;'),
    (lambda: epic()[1], 's.csv', {'format': 'ssv2'}, 'class 0 is'),
    (lambda: ssv2(), 's.csv', {'format': 'ssv2', 'levels': (1, 1, 1)},
     'leave them out'),
    (lambda: ssv2(videos=('a/1.webm', 'b/1.webm')), 's.csv',
     {'format': 'ssv2'}, 'have one id'),
  ],
)  # fmt: skip
def test_what_would_be_misread_is_not_written(
  tmp_path, answers, name, options, match
):
  with pytest.raises(InputError, match=match):
    submission.write(answers(), tmp_path / name, **options)
  assert not list(tmp_path.iterdir())


def test_heads_of_another_kind_are_not_epics(tmp_path):
  answers = scoring.video_scores(
    np.zeros((1, 397)), [(3,)], classes=EPIC.classes()
  )
  with pytest.raises(InputError, match=r"labels of Task\(kind='single', heads"):
    submission.write(
      answers, tmp_path / 's.zip', format='epic100', levels=(0, 0, 0)
    )
