"""Nearest neighbours: votes by hand, and the command from end to end."""

import json
import pathlib

import fake
import made_run
import numpy as np
import pytest

from vidmodels.cli import main
from vidmodels.data.records.task import Task
from vidmodels.evaluate import nearest_neighbours
from vidmodels.evaluate.score_file import SplitScores


def test_the_nearest_features_vote_with_the_exponential_of_their_cosine():
  rng = np.random.default_rng(0)
  bank_ND, feature_RD = rng.normal(size=(300, 8)), rng.normal(size=(270, 8))
  label_N = rng.integers(0, 5, 300)
  logits_RK = nearest_neighbours.vote(feature_RD, bank_ND, label_N, classes=5)
  assert logits_RK.shape == (270, 5)
  for r in (0, 100, 269):  # in two parts of rows
    cosine_N = bank_ND @ feature_RD[r] / np.linalg.norm(bank_ND, axis=1)
    cosine_N = cosine_N / np.linalg.norm(feature_RD[r])
    share_K = np.zeros(5)
    for n in np.argsort(-cosine_N)[:20]:
      share_K[label_N[n]] += np.exp(cosine_N[n] / 0.07)
    share_K /= share_K.sum()
    assert np.allclose(np.exp(logits_RK[r]), share_K, atol=1e-5)


def test_a_small_bank_votes_as_a_whole_and_zeros_are_no_error():
  bank_ND = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
  label_N = np.array([0, 1, 1])
  logits_RK = nearest_neighbours.vote(
    np.array([[3.0, 0.0], [0.0, 0.0]]), bank_ND, label_N, classes=3
  )
  odds = np.exp(1 / 0.07)
  wanted = [[odds / (odds + 2), 2 / (odds + 2), 1e-8], [1 / 3, 2 / 3, 1e-8]]
  assert np.allclose(np.exp(logits_RK), wanted, rtol=1e-4)


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> pathlib.Path:
  """Drawn weights: colours, which the labels are, get through to features."""
  folder = made_run.write(tmp_path_factory.mktemp('run'), dtype='float32')
  fake.write(folder / 'records', videos=40)
  fake.write(folder / 'records', 'test', videos=9, frames=11)
  return folder


def test_one_flag_measures_the_features(run, capsys, tmp_path):
  flags = ['evaluate', '--workdir', str(run), '--views=1x1', '--json']
  flags += ['--out', str(tmp_path)]
  assert main([*flags, '--knn']) == 0
  streams = capsys.readouterr()
  report = json.loads(streams.out)
  assert report['name'] == 'test_1x1_knn20'
  assert report['test_1x1_knn20/top1'] == 1.0
  assert 'top-1 100.00% of 9 of 9 videos, 1 views (20 nearest' in streams.err
  (path,) = tmp_path.glob('*.npz')
  scores = SplitScores.load(path)
  assert scores.info.knn == 20
  assert np.allclose(np.exp(scores.logits_RVK).sum(-1), 1, atol=1e-5)
  assert main(flags) == 0  # the head's scores go beside it, not over it
  assert len([*tmp_path.glob('*.npz')]) == 2


@pytest.mark.parametrize(
  ('flags', 'says'),
  [
    (['--average=max'], 'got --average=max with --knn'),
    (['--split=train'], 'each would find itself'),
  ],
)
def test_neighbours_that_cannot_vote_are_refused(run, capsys, flags, says):
  assert main(['evaluate', '--workdir', str(run), '--knn', *flags]) == 2
  assert says in capsys.readouterr().err


def test_videos_of_several_classes_have_no_neighbours(run, capsys, tmp_path):
  for split in ('train', 'test'):
    labels = [(0,), (1, 2), (2,)]
    task = Task('multi')
    fake.write(tmp_path, split, videos=3, labels=labels, task=task)
  workdir = made_run.write(tmp_path / 'run', steps=(0,))
  flags = ['evaluate', '--workdir', str(workdir), '--knn']
  assert main([*flags, f'--data={tmp_path}']) == 2
  assert (
    "got --knn with training labels of kind 'multi'" in capsys.readouterr().err
  )
