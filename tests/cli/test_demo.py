"""The demo from nothing to its table, at a size that takes seconds."""

import json

import pytest

from vidmodels.cli import main


@pytest.mark.slow
def test_the_demo_runs_the_main_job_and_prints_its_results(capsys, tmp_path):
  argv = ['demo', '--out', str(tmp_path / 'demo'), '--steps', '12']
  argv += ['--train-clips', '48', '--test-clips', '16']
  assert main([*argv, '--json']) == 0
  streams = capsys.readouterr()
  result = json.loads(streams.out)
  assert result['chance'] == 1 / 8
  assert 0.5 < result['bound_without_order'] < 1
  for name in ('divided', 'space'):
    model = result['models'][name]
    assert (model['videos'], model['listed']) == (16, 16)
    assert 0 <= model['test_2x3/top1'] <= model['test_2x3/top5'] <= 1
    assert model['step'] == 12
    assert model['config']['model']['attention'] == name
  assert result['predicted']['file'].endswith('.mp4')
  assert 'train divided: step 12/12' in streams.err

  # Again: everything is there already, and the table says the same.
  assert main(argv) == 0
  table = capsys.readouterr().out
  top1 = result['models']['divided']['test_2x3/top1']
  assert f'{top1:.1%}' in table
  assert 'blind to order, at most' in table


def test_make_data_writes_the_videos_only(capsys, tmp_path):
  argv = ['demo', '--make-data', str(tmp_path / 'v'), '--seed', '3']
  argv += ['--train-clips', '8', '--test-clips', '8', '--json']
  assert main(argv) == 0
  assert json.loads(capsys.readouterr().out)['train'] == 8
  assert len(list((tmp_path / 'v').glob('*/*/*.mp4'))) == 16
  assert len({p.parent.name for p in (tmp_path / 'v').glob('*/*/*.mp4')}) == 8
