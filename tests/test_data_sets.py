"""Every data set, from copies of official files to a trained model's numbers.

The traps of each format are tested with its reader (tests/data/datasets). Here
the commands of a user are run once for each data set, from its official files
to the report.
"""

import json
import pathlib

import numpy as np
import official
import pytest
import sixth

from vidmodels import cli
from vidmodels.data.datasets import registry
from vidmodels.data.records.record_set import RecordSet


def run(*words, code=0) -> None:
  assert cli.main([str(word) for word in words]) == code


@pytest.fixture(params=sorted(official.MAKERS))
def prepared(request, tmp_path):
  """A data set's official files, and the records of two splits."""
  name = request.param
  copy = official.MAKERS[name](tmp_path / 'official', name)
  for split in copy.splits:
    run(
      *('prepare', name, '--annotations', copy.annotations),
      *('--videos', copy.videos, '--split', split),
      *('--out', tmp_path / 'records', '--workers', '1'),
    )
  return name, copy, tmp_path


def test_every_data_set_has_files_to_test_with():
  assert set(official.MAKERS) == set(registry.all_datasets())


@pytest.mark.fast_every(13)
@pytest.mark.slow_every(2)
def test_official_files_become_a_model_and_its_accuracy(
  prepared, monkeypatch, capsys
):
  name, copy, folder = prepared
  dataset = registry.find(name)
  trained_on, tested_on = copy.splits
  records = RecordSet.open(folder / 'records', tested_on)
  assert len(RecordSet.open(folder / 'records', trained_on)) == official.TRAIN
  assert len(records.classes) == copy.classes
  labels = {r.video: r.labels for r in map(records.record, range(len(records)))}
  assert labels == copy.labels
  assert records.manifest.task == dataset.task
  assert records.manifest.flip == dataset.flip
  assert records.manifest.listed == copy.listed
  assert records.manifest.expected == dataset.splits[tested_on]

  sixth.add(folder, monkeypatch)
  train(folder, trained_on, tested_on, flip=0.5, code=wrong_flip(dataset))
  train(folder, trained_on, tested_on, flip=0.0, code=0)
  capsys.readouterr()
  run(
    *('evaluate', '--workdir', folder / 'run', '--data', folder / 'records'),
    *('--split', tested_on, '--views', '2x3', '--json'),
  )
  report = json.loads(capsys.readouterr().out)
  check(report, dataset, f'{tested_on}_2x3')


def wrong_flip(dataset) -> int:
  """The exit code of training with mirrors."""
  return 2 if dataset.flip.kind == 'forbid' else 0


def train(folder: pathlib.Path, train: str, test: str, *, flip, code) -> None:
  """Two steps of the smallest model, with a validation after them."""
  config = {
    'data.dir': folder / 'records',
    'data.train': train,
    'data.test': test,
    'augment.flip': flip,
    'clip.frames': 2,
    'clip.size': 8,
    'augment.short_side': (8, 9),
    'log.validate': 2,
    'log.every': 1,
    'views.batch': 8,
  }
  run(
    *('train', '--config=sixth', f'--workdir={folder / "run"}{flip or ""}'),
    *(f'--config.{key}={value}' for key, value in config.items()),
    code=code,
  )


def check(report: dict, dataset, name: str) -> None:
  """Checks that the metrics of the task are there, under their names."""
  metrics = {
    'single': ('top1', 'top5'),
    'multi': ('map',),
    'any': ('hit1', 'hit5', 'map'),
  }[dataset.task.kind]
  if dataset.task.heads:
    metrics = (
      *('verb_top1', 'verb_top5', 'noun_top1', 'noun_top5'),
      *('action_top1', 'action_top5'),
    )
  for metric in metrics:
    assert np.isfinite(report[f'{name}/{metric}']), metric
    assert 0 <= report[f'{name}/{metric}'] <= 1
  assert dataset.metric in {key.rpartition('/')[2] for key in report}
  assert report['videos'] == report['listed'] == official.TEST
