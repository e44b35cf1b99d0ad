"""A data set is one file: prepare, recipe and report know it by its name."""

import json
import sys

import pytest
import sixth
import stranger_dataset

from vidmodels import cli, config
from vidmodels.data.datasets import registry
from vidmodels.data.records.record_set import RecordSet
from vidmodels.typing import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Where a stranger works, with a data set, a model and a recipe."""
  stranger_dataset.add(tmp_path, monkeypatch)
  sixth.add(tmp_path, monkeypatch)
  (tmp_path / 'configs/gestures.py').write_text(stranger_dataset.RECIPE)
  stranger_dataset.make_files(tmp_path / 'official')
  monkeypatch.chdir(tmp_path)
  registry.all_datasets.cache_clear()
  yield tmp_path
  registry.all_datasets.cache_clear()
  sys.modules.pop('vidmodels.data.datasets.gestures', None)


def run(*words, code=0):
  assert cli.main([str(word) for word in words]) == code


def prepare(split, *more, code=0):
  run(
    *('prepare', 'gestures', '--annotations', 'official', '--workers', '1'),
    *('--videos', 'official/videos', '--split', split, *more),
    code=code,
  )


def test_a_new_data_set_is_prepared_trained_on_and_reported(folder, capsys):
  for split, clips in stranger_dataset.CLIPS.items():
    prepare(split, '--out', 'records/gestures')
    records = RecordSet.open('records/gestures', split)
    assert records.classes.names == ('left', 'right', 'still')
    assert records.manifest.expected == len(clips)
    assert records.manifest.flip.kind == 'forbid'
    texts = {
      record.video: record.label_texts[0]
      for record in map(records.record, range(len(records)))
    }
    assert texts == clips
  assert config.dataset_fields('gestures') == {
    'dir': 'records/gestures',
    'train': 'train',
    'test': 'val',
  }
  run('train', '--config=gestures', '--workdir=run')
  capsys.readouterr()
  run('evaluate', '--workdir', 'run', '--views', '1x1', '--json')
  report = json.loads(capsys.readouterr().out)
  assert 0 <= report['val_1x1/top1'] <= 1
  assert report['videos'] == report['listed'] == 2


def test_a_new_data_set_is_checked_mirrored_and_found_by_alias(folder, capsys):
  run(
    *('check', 'gesture_set', '--annotations', 'official', '--split', 'val'),
    *('--videos', 'official/videos', '--fast', '--json'),
  )
  assert json.loads(capsys.readouterr().out)['found'] == 2
  prepare('train', '--out', 'mirrored', '--flip', 'swap')
  flip = RecordSet.open('mirrored', 'train').manifest.flip
  assert flip.kind == 'swap'
  assert registry.find('gesture_set').classes().names[1] == 'right'
  (folder / 'official/val.csv').write_text('clip,gesture\ne,rihgt\n')
  with pytest.raises(InputError, match=r"val\.csv line 2: .*mean 'right'"):
    registry.read('gestures', annotations='official', videos=None, split='val')


def test_two_data_sets_of_one_name_are_refused(folder):
  text = stranger_dataset.DATASET.replace("'gesture_set'", "'k400'")
  (folder / 'datasets/gestures.py').write_text(text)
  sys.modules.pop('vidmodels.data.datasets.gestures', None)
  registry.all_datasets.cache_clear()
  with pytest.raises(InputError, match=r"got the data set 'k400' from .*kinet"):
    registry.all_datasets()
