"""What cannot end well is refused before a model is asked, not hours after."""

import collections
import dataclasses
import json
import pathlib

import fake
import numpy as np
import pytest
import scoring
import tiny

from vidmodels import files
from vidmodels.cli import main
from vidmodels.data.datasets import registry
from vidmodels.data.records.record_set import Manifest
from vidmodels.evaluate import score_split, side_files
from vidmodels.evaluate.side_files import SideFiles
from vidmodels.train import loop, model_file, restore, view_scores
from vidmodels.typing import InputError


def trained_on(tmp_path_factory, records):
  folder = tmp_path_factory.mktemp('run')
  config = tiny.config(records, **tiny.SHORT)
  loop.train(config, folder)
  return folder


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = fake.write(tmp_path_factory.mktemp('records'))
  fake.write(folder, 'test', videos=4)
  fake.write(folder, 'secret', videos=4)
  hidden = Manifest.load(folder, 'secret')
  dataclasses.replace(hidden, labelled=False).save(folder)
  fake.write(folder, 'more', videos=5)
  return trained_on(tmp_path_factory, folder)


@pytest.fixture(scope='module')
def other(tmp_path_factory):
  """A model whose second and third class are the other way round."""
  classes = ('red', 'blue', 'green')
  folder = fake.write(tmp_path_factory.mktemp('records'), classes=classes)
  fake.write(folder, 'test', videos=4, classes=classes)
  return trained_on(tmp_path_factory, folder)


@pytest.fixture
def refused(monkeypatch, capsys):
  """Runs a command that must say all parts without having asked a model."""
  asked = []
  monkeypatch.setattr(
    view_scores, 'ViewScorer', lambda *_, **__: asked.append(1)
  )

  def say(*argv_and_parts, parts):
    argv = ['evaluate', *map(str, argv_and_parts)]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert not asked
    assert 'Errno' not in error
    for part in parts:
      assert part in error, error

  return say


@pytest.mark.parametrize(
  ('flags', 'parts'),
  [
    ('--submission s.csv', ['no known data set', '--submission-format']),
    ('--submission s.csv --submission-format ssv2', ['class 0 is']),
    ('--submission s.zip --levels 2,3', ['got --levels 2,3;', '3 numbers']),
    ('--levels 2,3,3', ['got --levels without --submission', 'leave']),
    ('--submission-format ssv2', ['got --submission-format without']),
    ('--per-class c.csv --split secret', ['leave out --per-class']),
    ('--per-class /proc/x/y.csv', ['/proc/x', 'expected your own folder']),
    ('--per-class .', ['got ., which is a folder; expected the name']),
    ('--out taken', ['got taken as the folder', 'File exists', 'try']),
    ('--out taken/deeper', ['got taken/deeper as', 'Not a directory']),
    ('--shares 1,2', ['got shares 1, 2 for one model']),
    ('--shares nan', ['got --shares nan;', 'finite numbers above 0']),
  ],
)
@pytest.mark.fast_every(3)
def test_flags_that_would_fail_at_the_end(
  monkeypatch, tmp_path, refused, workdir, flags, parts
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'taken').write_text('mine')
  refused('--workdir', workdir, *flags.split(), parts=parts)
  assert [p.name for p in tmp_path.iterdir()] == ['taken']


@pytest.mark.parametrize('shares', ['nan,1', '1,inf', '0,1', '-1,2'])
def test_shares_that_are_no_shares(refused, workdir, shares):
  refused(
    '--workdir', workdir, workdir, f'--shares={shares}',
    parts=[f'got --shares {shares};', 'finite numbers above 0'],
  )  # fmt: skip


@pytest.mark.fast_every(2)
def test_models_that_do_not_belong_together(refused, workdir, other):
  refused(
    '--workdir', workdir, other,
    parts=['disagree about classes', "class 1 is 'green' here and 'blue'"],
  )  # fmt: skip
  records = restore.load(other).config.data.dir
  refused(
    '--workdir', other, workdir, '--data', records,
    parts=['the checkpoint and', "class 1 is 'green' here and 'blue'"],
  )  # fmt: skip
  refused(
    '--workdir', workdir, workdir, '--shares', '1,2,3',
    parts=['got shares 1, 2, 3 for 2 models'],
  )  # fmt: skip


def test_a_model_that_comes_twice(refused, workdir, other):
  refused(
    '--workdir', workdir, f'{workdir}/../{workdir.name}',
    parts=['are of one model', 'step 1', 'expected each model once'],
  )  # fmt: skip


def test_videos_that_one_model_would_lack(
  monkeypatch, refused, workdir, tmp_path
):
  """The recipes name splits of their own."""
  load = restore.load

  def of_more(folder, **options):
    model = load(workdir, **options)
    data = dataclasses.replace(model.config.data, test=folder)
    return dataclasses.replace(
      model, config=dataclasses.replace(model.config, data=data)
    )

  monkeypatch.setattr(model_file, 'load', of_more)
  refused(
    '--workdir', 'test', 'more',
    parts=['more lacks 0 and has 1 other than the 4 videos of test'],
  )  # fmt: skip
  refused('--workdir', 'test', 'secret', parts=['one split has them'])


def test_a_place_of_the_second_model_is_tried_before_the_first_is_asked(
  monkeypatch, refused, workdir, other, tmp_path
):
  records = restore.load(workdir).config.data.dir
  load = restore.load

  def elsewhere(folder, **options):
    model = load(workdir, **options)
    return dataclasses.replace(model, workdir=tmp_path / folder)

  monkeypatch.setattr(model_file, 'load', elsewhere)
  (tmp_path / 'b').mkdir()
  (tmp_path / 'b' / 'evaluation').write_text('mine')
  refused(
    '--workdir', 'a', 'b', '--data', records,
    parts=[f'{tmp_path}/b/evaluation as the folder', 'File exists'],
  )  # fmt: skip


@pytest.mark.parametrize(
  ('official', 'name', 'levels', 'match'),
  [
    ('ssv2', 's.zip', (), 'ends in .csv'),
    ('ssv2', 's.csv', (1, 1, 1), 'leave them out'),
    ('epic100', 's.csv', (2, 3, 3), 'ends in .zip or .json'),
    ('epic100', 's.zip', (), 'levels none; expected'),
    ('epic100', 's.zip', (2, 3, 6), 'levels 2,3,6; expected'),
  ],
)
def test_a_submission_is_checked_without_scores(
  tmp_path, official, name, levels, match
):
  dataset = registry.find(official)
  classes = dataset.classes()
  info = scoring.split_scores(
    np.zeros((1, len(classes))), [()], dataset.task,
    classes=classes, labelled=False, dataset=official,
  ).info  # fmt: skip
  extras = SideFiles(submission=str(tmp_path / 'new' / name), levels=levels)
  with pytest.raises(InputError, match=match):
    extras.check(info, ['1', '2'])
  assert not list(tmp_path.iterdir())
  good = {'ssv2': ('s.csv', ()), 'epic100': ('s.zip', (2, 3, 3))}[official]
  right = SideFiles(submission=str(tmp_path / 'new' / good[0]), levels=good[1])
  right.check(info, ['1', '2'])
  assert [p.name for p in tmp_path.rglob('*')] == ['new']
  with pytest.raises(InputError, match='have one id'):
    right.check(info, ['a/1.webm', 'b/1.webm'])


@pytest.mark.parametrize('json_too', [False, True])
def test_the_number_is_safe_when_a_file_beside_it_fails(
  capsys, monkeypatch, tmp_path, workdir, json_too
):
  """As on a disk that is full by then."""

  def fail(*_):
    raise OSError('no space')

  monkeypatch.setattr(side_files, 'write_class_table', fail)
  out = tmp_path / 'out'
  argv = ['evaluate', '--workdir', str(workdir), '--views', '1x1']
  argv += ['--out', str(out), '--per-class', str(tmp_path / 'c.csv')]
  assert main(argv + ['--json'] * json_too) == 1
  said = capsys.readouterr()
  assert 'no space' in said.out + said.err
  line = said.err if json_too else said.out
  assert 'test_1x1: top-1 ' in line
  assert 'test_1x1/top1: ' in line
  (report,) = out.glob('*.json')
  assert 'test_1x1/top1' in json.loads(report.read_text())
  if json_too:
    assert 'no space' in json.dumps(json.loads(said.out))


def test_an_evaluation_in_python_tries_its_place_first(
  monkeypatch, tmp_path, workdir
):
  monkeypatch.setattr(
    view_scores, 'ViewScorer', lambda *_, **__: pytest.fail('asked')
  )
  (tmp_path / 'taken').write_text('mine')
  model = restore.load(workdir)
  with pytest.raises(InputError, match='taken as the folder'):
    score_split.evaluate(
      model, dir=model.config.data.dir, split='test',
      views=model.config.views, out=tmp_path / 'taken',
    )  # fmt: skip


def test_scores_of_another_model_are_not_written_over(
  tmp_path_factory, tmp_path, workdir, capsys
):
  argv = ['evaluate', '--workdir', str(workdir), '--split', 'test']
  argv += ['--out', str(tmp_path)]
  assert main(argv) == main(argv) == 0  # its own are made anew
  (scores,) = tmp_path.glob('*.npz')
  before = scores.read_bytes()
  config = restore.load(workdir).config
  twin = tmp_path_factory.mktemp('twin')
  loop.train(dataclasses.replace(config, seed=7), twin)
  argv[2] = str(twin)
  assert main(argv) == 2
  assert 'holds the scores of another model' in capsys.readouterr().err
  assert scores.read_bytes() == before
  scores.write_bytes(b'PK damaged')
  assert main(argv) == 0


def test_a_place_is_made_and_left_empty(tmp_path):
  assert files.output_file(tmp_path / 'a' / 'b' / 'c.csv').name == 'c.csv'
  assert [p.name for p in tmp_path.rglob('*')] == ['a', 'b']


def test_a_disk_without_room_for_the_scores(monkeypatch, refused, workdir):
  usage = collections.namedtuple('Usage', 'total used free')
  monkeypatch.setattr(files.shutil, 'disk_usage', lambda _: usage(9, 9, 0))
  refused('--workdir', workdir, parts=['0.00 MB for the scores', 'make room'])
  monkeypatch.setattr(files.shutil, 'disk_usage', lambda _: usage(0, 0, 0))
  files.check_disk_space(workdir, 10**9)  # a file system that does not say


def test_files_of_the_run_and_the_records_are_left_alone(refused, workdir):
  records = pathlib.Path(restore.load(workdir).config.data.dir)
  checkpoint = next((workdir / 'checkpoints').rglob('*metadata*'))
  names = [workdir / 'config.json', checkpoint, workdir / 'checkpoints/c.csv']
  names += [p for p in records.iterdir() if p.name.startswith('test')]
  names += [records / 'classes.txt']
  model = restore.load(workdir)
  plan = score_split.plan_scoring(
    model, dir=records, split='test', views=model.config.views
  )
  names += [workdir / f'evaluation/{plan.info.stem}.npz']
  assert len(names) > 6
  for name in names:
    refused(
      '--workdir', workdir, '--per-class', name,
      parts=[f'{name} as a file to write, which would replace'],
    )  # fmt: skip
  # A table of before may be written again, wherever it is.
  (workdir / 'c.csv').write_text('before')
  extras = SideFiles(per_class=str(workdir / 'c.csv'))
  extras.check(plan.info, plan.videos, plan.inputs)
