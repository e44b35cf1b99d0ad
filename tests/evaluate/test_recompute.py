"""What a model's evaluation kept gives the same numbers without the model."""

import csv
import dataclasses
import errno
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import fake
import numpy as np
import pytest
import scoring
import tiny

from vidmodels import files
from vidmodels.cli import main
from vidmodels.data.datasets import registry
from vidmodels.data.records.record_set import Manifest
from vidmodels.data.records.task import Task
from vidmodels.evaluate import averaging, score_split
from vidmodels.evaluate.score_file import SplitScores
from vidmodels.train import loop, restore
from vidmodels.typing import InputError


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  folder = fake.write(tmp_path_factory.mktemp('records'))
  return fake.write(folder, 'test', videos=7, frames=20, width=40, listed=8)


@pytest.fixture(scope='module')
def workdirs(tmp_path_factory, records):
  """Two models that saw other things."""
  folders = []
  for seed in (0, 1):
    folder = tmp_path_factory.mktemp(f'run{seed}')
    config = tiny.config(
      records,
      optim__steps=2,
      optim__ema=0.5,
      model__layers=1,
      seed=seed,
      clip__frames=4 - seed,
    )
    loop.train(config, folder)
    folders.append(folder)
  return folders


@pytest.fixture(scope='module')
def evaluated(tmp_path_factory, workdirs):
  """A 4x3 evaluation by the command: (its .npz, its report)."""
  out = tmp_path_factory.mktemp('out')
  argv = ['--workdir', str(workdirs[0]), '--views', '4x3', '--out', str(out)]
  assert main(['evaluate', *argv]) == 0
  (scores,), (report,) = out.glob('*.npz'), out.glob('*.json')
  assert scores.stem == report.stem
  return scores, json.loads(report.read_text())


def said(capsys, *argv) -> dict:
  """The JSON of a command that must succeed."""
  capsys.readouterr()
  assert main(['evaluate', *map(str, argv), '--json']) == 0
  return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_all_views_give_the_very_numbers_of_the_model(capsys, evaluated):
  scores, report = evaluated
  assert said(capsys, '--scores', scores) == report
  assert report['lost'] == 1
  assert report['config']['views']['temporal'] == 4


@pytest.mark.parametrize('average', ['logits', 'probs'])
def test_fewer_views_are_what_the_model_says_of_them(
  capsys, tmp_path, workdirs, evaluated, average
):
  """Of 4 over time the first and last are the two that two views look at."""
  flags = ['--views', '2x1', '--average', average]
  saved = said(capsys, '--scores', evaluated[0], *flags)
  asked = said(capsys, '--workdir', workdirs[0], *flags, '--out', tmp_path)
  assert saved['name'] == 'test_2x1of4x3'
  for metric in ('top1', 'top5', 'mean_class'):
    ours, theirs = f'test_2x1of4x3/{metric}', f'test_2x1/{metric}'
    assert saved[ours] == asked[theirs]
    assert saved['intervals'][ours] == asked['intervals'][theirs]
  kept, alone = (
    SplitScores.load(path)
    for path in (evaluated[0], *tmp_path.glob('test_2x1_*.npz'))
  )
  np.testing.assert_allclose(
    kept.logits_RVK[:, [1, 10]], alone.logits_RVK, atol=1e-6
  )


def test_no_model_no_device_and_no_jax_is_asked(evaluated, tmp_path):
  scores, _ = evaluated
  flags = ['--views', '1x1', '--out', str(tmp_path), '--json']
  code = (
    'import sys; sys.modules.update(jax=None, flax=None, orbax=None)\n'
    'from vidmodels.cli import main; sys.exit(main(sys.argv[1:]))'
  )
  argv = [sys.executable, '-c', code, 'evaluate', '--scores', str(scores)]
  done = subprocess.run(
    [*argv, *flags, '--per-class', str(tmp_path / 'c.csv')],
    capture_output=True, text=True, check=True,
  )  # fmt: skip
  found = json.loads(done.stdout)
  assert found['name'] == 'test_1x1of4x3'
  assert 'test_1x1of4x3: top-1 ' in done.stderr
  assert 'of 7 of 8 videos, 1 views' in done.stderr
  (written,) = tmp_path.glob('*.json')
  assert json.loads(written.read_text()) == found
  with open(tmp_path / 'c.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  assert [row['name'] for row in rows] == list(fake.CLASSES)
  assert sum(int(row['videos']) for row in rows) == 7


def test_models_together_are_their_files_together(capsys, workdirs, tmp_path):
  """Each with its own preprocessing: one takes clips of 4 frames, one of 3."""
  flags = ['--shares', '1,3', '--out', tmp_path]
  together = said(capsys, '--workdir', *workdirs, '--views', '2x1', *flags)
  assert together['name'] == 'test_2x1+2x1'
  files = [member['scores'] for member in together['members']]
  for file, folder in zip(files, workdirs, strict=True):
    assert file.startswith(str(folder / 'evaluation'))
  assert said(capsys, '--scores', *files, *flags) == together
  (written,) = tmp_path.iterdir()
  assert json.loads(written.read_text()) == together
  frames = [m['config']['clip']['frames'] for m in together['members']]
  assert frames == [4, 3]
  other = said(capsys, '--scores', *files[::-1], '--shares', '3,1')
  key = 'test_2x1+2x1/top1'
  assert other[key] == together[key]


@pytest.mark.parametrize(
  ('flags', 'part'),
  [
    (['--split', 'val', '--batch', '3'], 'got --split, --batch with --scores'),
    (['--weights', 'ema'], 'got --weights with --scores'),
    (['--views', '5x3'], 'scores that hold 4x3'),
    (['--views', 'all'], 'got --views all'),
    (['--average', 'max'], 'the average max for single labels'),
    (['--shares', '1,2'], 'got shares 1, 2 for one model'),
    (['--shares', 'half'], 'got --shares half'),
    (['--submission', 's.csv'], 'records of no known data set'),
    (['--submission', 's.csv', '--levels', '1,2'], 'got --levels 1,2'),
  ],
)
def test_flags_that_saved_scores_cannot_answer(capsys, evaluated, flags, part):
  assert main(['evaluate', '--scores', str(evaluated[0]), *flags]) == 2
  assert part in capsys.readouterr().err


def test_scores_or_a_model_must_be_given(capsys, evaluated, workdirs):
  for argv in ([], ['--scores', 'a.npz', '--workdir', 'b']):
    with pytest.raises(SystemExit) as stopped:
      main(['evaluate', *argv])
    assert stopped.value.code == 2
  assert main(['evaluate', '--scores', 'nowhere.npz']) == 2
  assert 'cannot use nowhere.npz' in capsys.readouterr().err


def test_several_files_of_one_model_are_no_ensemble(
  capsys, tmp_path, evaluated
):
  """What `DIR/*.npz` finds after evaluations of other views, or averages."""
  scored = SplitScores.load(evaluated[0])
  averaging.select_views(scored, 2, 1).save(tmp_path / 'a.npz')
  scored.save(tmp_path / 'b.npz')
  files = sorted(map(str, tmp_path.glob('*.npz')))
  assert main(['evaluate', '--scores', *files]) == 2
  said = capsys.readouterr().err
  assert f'{files[0]} and {files[1]} are of one model' in said
  assert 'leave one of them out' in said
  assert main(['evaluate', '--scores', str(tmp_path)]) == 2
  assert 'holds a.npz, b.npz; expected one' in capsys.readouterr().err


PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs/evaluation.md'


def test_the_commands_of_the_page_work(
  capsys, monkeypatch, tmp_path, evaluated, workdirs
):
  """With the page's folders: two models, and scores of two official sets."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'runs').mkdir()
  for name, folder in zip(
    ('first', 'vidtr', 'i3d'), (workdirs[0], *workdirs), strict=True
  ):
    shutil.copytree(folder, tmp_path / 'runs' / name)
    shutil.rmtree(tmp_path / 'runs' / name / 'evaluation', ignore_errors=True)
  for name, official, videos in (
    ('ssv2', 'ssv2', ('1', '2')), ('epic', 'epic100', ('P01_101_0', 'P02_1_7'))
  ):  # fmt: skip
    dataset = registry.find(official)
    scored = scoring.split_scores(
      np.random.default_rng(0).normal(size=(2, 3, len(dataset.classes()))),
      [()] * 2, dataset.task, classes=dataset.classes(), temporal=1, spatial=3,
      labelled=False, dataset=official, videos=videos,
    )  # fmt: skip
    out = tmp_path / 'runs' / name / 'evaluation'
    out.mkdir(parents=True)
    scored.save(out / f'{scored.info.stem}.npz')
  blocks = re.findall(r'```\n(vidmodels.*?)```', PAGE.read_text(), re.S)
  lines = [line for block in blocks for line in block.splitlines()]
  assert len(lines) == 8
  for line in lines:
    assert '*' not in line  # a shell would find more than one file
    assert main(shlex.split(line)[1:]) == 0, line
  said = capsys.readouterr().out
  for part in ('test_4x3: top-1', 'test_2x1of4x3: ', 'test_2x3+2x3: ', ' 2, 1'):
    assert part in said, said
  assert (tmp_path / 'ssv2.csv').read_text().startswith('1;')
  assert (tmp_path / 'epic.zip').exists()


def changed(records, split, **changes):
  """The manifest of a split with other fields."""
  manifest = Manifest.load(records, split)
  dataclasses.replace(manifest, **changes).save(records)


def evaluate(model, folder, out, **views):
  return score_split.evaluate(
    model, dir=folder, split='test', out=out,
    views=tiny.views(model.config, temporal=1, spatial=1, **views),
  )  # fmt: skip


def test_an_average_that_the_labels_do_not_have_is_told_before_the_work(
  tmp_path, records, workdirs
):
  model = restore.load(workdirs[0])
  with pytest.raises(InputError, match='the average max for single labels'):
    score_split.evaluate(
      model, dir=records, split='test', out=tmp_path / 'out',
      views=tiny.views(model.config, average='max'),
      progress=lambda *_: pytest.fail('it was worked'),
    )  # fmt: skip
  assert not list(tmp_path.iterdir())


def test_a_split_without_labels_is_scored_and_not_measured(
  tmp_path, workdirs, capsys
):
  folder = fake.write(tmp_path / 'records', 'test', videos=3)
  changed(folder, 'test', labelled=False, expected=9)
  report = evaluate(restore.load(workdirs[0]), folder, tmp_path / 'out')
  assert report.metrics == {}
  assert '3 of the 9 clips of the official split' in report.notes[0]
  assert SplitScores.load(report.scores).label_Rx.tolist() == [0, 0, 0]
  argv = ['evaluate', '--scores', report.scores]
  assert main([*argv, '--per-class', str(tmp_path / 'c.csv')]) == 2
  assert 'leave out --per-class' in capsys.readouterr().err


def test_labels_of_another_kind_than_the_models_are_refused(tmp_path, workdirs):
  folder = fake.write(tmp_path / 'records', 'test', videos=3)
  changed(folder, 'test', task=Task('any'))
  model = restore.load(workdirs[0])
  assert model.task == Task()
  with pytest.raises(InputError, match=r"kind='single'.*has .*kind='any'"):
    evaluate(model, folder, tmp_path / 'out')
  # Imported weights, of step 0, do not know what they were trained on.
  imported = dataclasses.replace(model, step=0)
  report = evaluate(imported, folder, tmp_path / 'out')
  assert list(report.metrics) == ['hit1', 'hit5', 'map']


def test_a_disk_that_is_full_by_then(capsys, monkeypatch, tmp_path, evaluated):
  """The numbers are said, what was there stays, and nothing half is left."""
  table = tmp_path / 'c.csv'
  table.write_text('before')

  def full(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(files.os, 'fsync', full)
  argv = ['evaluate', '--scores', str(evaluated[0])]
  assert main([*argv, '--per-class', str(table)]) == 1
  said = capsys.readouterr()
  assert 'test_4x3: top-1' in said.out
  assert f'{table} could not be written: No space left on device' in said.err
  assert 'Errno' not in said.err
  assert [p.name for p in tmp_path.iterdir()] == ['c.csv']
  assert table.read_text() == 'before'


@pytest.mark.parametrize('flag', ['--per-class', '--submission'])
@pytest.mark.parametrize('suffix', ['.npz', '.json'])
def test_nothing_is_written_over_what_is_read(
  capsys, tmp_path, monkeypatch, flag, suffix
):
  dataset = registry.find('epic100')
  scored = scoring.split_scores(
    np.zeros((1, len(dataset.classes()))), [(0, 97)], dataset.task,
    classes=dataset.classes(), dataset='epic100',
  )  # fmt: skip
  scored.save(tmp_path / 's.npz')
  (tmp_path / 's.json').write_text('{}')
  (tmp_path / 'link.json').symlink_to(f's{suffix}')
  before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
  monkeypatch.chdir(tmp_path)
  for name in (f's{suffix}', f'{tmp_path}/./s{suffix}', 'link.json'):
    if flag == '--submission' and name.endswith('.npz'):
      continue  # the suffix is refused anyhow
    argv = [flag, name, '--levels', '1,1,1'][: 2 if 'per' in flag else 4]
    assert main(['evaluate', '--scores', 's.npz', *argv]) == 2
    said = capsys.readouterr().err
    assert f'{name} as a file to write, which would replace ' in said
    assert 'try another name' in said
  argv = ['--per-class', 'a.json', '--submission', './a.json']
  argv += ['--levels', '1,1,1']
  assert main(['evaluate', '--scores', 's.npz', *argv]) == 2
  assert 'as two files to write' in capsys.readouterr().err
  assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir()}


def test_a_report_is_not_written_over_the_scores(capsys, tmp_path, evaluated):
  """Scores under the very name that their report gets."""
  scored = SplitScores.load(evaluated[0])
  path = tmp_path / f'{scored.info.stem}.json'
  scored.save(path)
  before = path.read_bytes()
  argv = ['evaluate', '--scores', str(path), '--out', str(tmp_path)]
  assert main(argv) == 2
  assert f'would replace {path}' in capsys.readouterr().err
  assert path.read_bytes() == before
  # Beside them, under the report's own name, it may be written again.
  shutil.copy(evaluated[0], tmp_path / 's')
  path.unlink()
  for _ in range(2):
    argv = ['evaluate', '--scores', str(tmp_path / 's')]
    assert main([*argv, '--out', str(tmp_path)]) == 0


def test_a_pipe_is_no_place_for_a_table(capsys, tmp_path, evaluated):
  os.mkfifo(tmp_path / 'pipe')
  argv = ['evaluate', '--scores', str(evaluated[0]), '--per-class']
  assert main([*argv, str(tmp_path / 'pipe')]) == 2
  said = capsys.readouterr()
  assert (
    'pipe, which is a device or a pipe; expected the name of a file' in said.err
  )
  assert not said.out
  assert (tmp_path / 'pipe').is_fifo()
