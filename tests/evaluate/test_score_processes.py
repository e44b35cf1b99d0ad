"""Several processes evaluate and predict as one: the same numbers, once."""

import json
import pathlib
import subprocess
import sys

import fake
import numpy as np
import pytest
import tiny

from vidmodels.cli import main
from vidmodels.evaluate.score_file import SplitScores
from vidmodels.train import loop

REPO = pathlib.Path(__file__).resolve().parents[2]


def launch(*argv: str, devices: int = 2) -> subprocess.CompletedProcess:
  return subprocess.run(
    [
      *(sys.executable, '-m', 'vidmodels', 'launch', '--processes=2'),
      *(f'--devices-per-process={devices}', '--', *argv),
    ],
    cwd=REPO,
    capture_output=True,
    text=True,
    timeout=600,
  )


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> pathlib.Path:
  """A trained run and its records: 13 videos, and 5 of the test split."""
  place = tmp_path_factory.mktemp('run')
  records = fake.write(place / 'records')
  fake.write(records, 'test', videos=5)
  config = tiny.config(records, **tiny.SHORT)
  loop.train(config, place / 'run')
  return place / 'run'


@pytest.mark.slow
@pytest.mark.parametrize(
  ('mesh', 'knn'), [('-1,1,1', []), ('1,1,4', []), ('-1,1,1', ['--knn'])]
)
def test_two_processes_score_as_one(run, tmp_path, mesh, knn, capsys):
  """30 views in batches of 8: the last one is padded, in one process alone.

  On the second mesh the tensor axis crosses both: each needs every row.
  """
  flags = ['evaluate', '--workdir', str(run), '--views', '2x3', '--json']
  flags += knn
  assert main([*flags, '--batch=8', '--out', str(tmp_path / 'one')]) == 0
  one = json.loads(capsys.readouterr().out)
  made = launch(
    *flags, '--batch=8', f'--mesh={mesh}', '--out', str(tmp_path / 'two')
  )
  assert made.returncode == 0, made.stderr
  two = json.loads(made.stdout)  # one document, whatever C++ prints
  assert two.keys() == one.keys()
  (ours,) = (tmp_path / 'one').glob('*.npz')
  (theirs,) = (tmp_path / 'two').glob('*.npz')
  ours, theirs = SplitScores.load(ours), SplitScores.load(theirs)
  assert theirs.videos == ours.videos
  assert theirs.logits_RVK.shape == (5, 6, 3)
  # Neighbours answer in logarithms of votes; votes are what is compared.
  read = np.exp if knn else np.asarray
  np.testing.assert_allclose(
    read(theirs.logits_RVK), read(ours.logits_RVK), atol=1e-6
  )
  np.testing.assert_array_equal(theirs.label_Rx, ours.label_Rx)
  # Process 1 has nothing to say.
  assert '[1] evaluate: 1/' not in made.stderr


@pytest.mark.slow
def test_a_video_that_does_not_decode_ends_both_with_its_place(run, tmp_path):
  records = run.parent / 'records'
  broken = tmp_path / 'broken'
  broken.mkdir()
  for path in records.iterdir():
    (broken / path.name).write_bytes(path.read_bytes())
  shard = sorted(broken.glob('test-*'))[-1]
  data = bytearray(shard.read_bytes())
  data[len(data) // 2] ^= 255
  shard.write_bytes(data)
  made = launch(
    *('evaluate', '--workdir', str(run), '--views=1x1', '--data', str(broken)),
    *('--out', str(tmp_path / 'out')),
  )
  assert made.returncode == 2, made.stderr
  assert shard.name in made.stderr
  assert 'Traceback' not in made.stderr
  assert not list((tmp_path / 'out').glob('*.npz'))


@pytest.mark.slow
def test_two_processes_predict_every_other_file_each(run, tmp_path, capsys):
  videos = [fake.video(tmp_path / f'{n}.mp4', frames=8 + n) for n in range(3)]
  (tmp_path / 'bad.mp4').write_bytes(b'no video')
  files = [str(videos[0]), str(tmp_path / 'bad.mp4'), *map(str, videos[1:])]
  flags = ['predict', *files, '--workdir', str(run), '--json']
  assert main(flags) == 2
  one = json.loads(capsys.readouterr().out)
  made = launch(*flags)
  assert made.returncode == 2, made.stderr
  two = json.loads(made.stdout)
  assert two['errors'] == one['errors']
  assert [a['file'] for a in two['answers']] == list(map(str, videos))
  for ours, theirs in zip(one['answers'], two['answers'], strict=True):
    assert theirs['classes'] == ours['classes']
    assert theirs['probabilities'] == pytest.approx(
      ours['probabilities'], abs=1e-6
    )


def test_saved_scores_need_no_second_process(run, capsys):
  argv = ['evaluate', '--scores', str(run), '--coordinator=localhost:1']
  assert main([*argv, '--processes=2', '--process=0']) == 2
  assert 'got --scores and several processes' in capsys.readouterr().err
