"""Every wrong input ends with code 2 and one message that helps."""

import argparse
import dataclasses
import json
import pathlib
import re
import typing

import fake
import pytest
import tiny

from vidmodels.cli import main, make_parser
from vidmodels.config import Config
from vidmodels.data.records.record_set import RecordSet
from vidmodels.train import loop
from vidmodels.typing import UserPath


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  folder = fake.write(tmp_path_factory.mktemp('records'))
  return fake.write(folder, 'test', videos=4)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, records):
  folder = tmp_path_factory.mktemp('run')
  changes = tiny.SHORT
  loop.train(tiny.config(records, **changes), folder)
  return folder


def says(capsys, argv: list, *parts: str) -> None:
  """Runs a command that must fail with code 2 and say all of `parts`."""
  argv = [str(a) for a in argv]
  assert main(argv) == 2
  error = capsys.readouterr().err
  for part in parts:
    assert part in error, error
  assert 'Traceback' not in error


def train(records, workdir, **changes) -> list[str]:
  return [
    'train',
    '--config=demo',
    f'--workdir={workdir}',
    *tiny.flags(records, **changes),
  ]


@pytest.mark.parametrize(
  ('changes', 'parts'),
  [
    ({'optim__stepz': 3}, ["unknown field 'optim.stepz'", "'optim.steps'"]),
    ({'model__widht': 3}, ["unknown field 'model.widht'", "'model.width'"]),
    ({'model__attention': 'divide'}, ["'divide'", "'divided'"]),
    ({'batch': 12}, ['batch of 12', 'multiple of 8']),
    ({'mesh__data': 3}, ['3 devices', '8 are here']),
    ({'clip__size': 40}, ['(16, 18)', 'crop is larger than the frame']),
    ({'clip__size': 20, 'augment__short_side': (20, 20)}, ['20', 'patch']),
    ({'model__heads': 3}, ['width 16', '3 heads']),
    ({'augment__flip': 1.5}, ['got 1.5 for augment.flip', 'from 0 to 1']),
    ({'data__train': 'tarin'}, ["no split 'tarin'", 'test, train']),
    ({'data__dir': '/nowhere'}, ['/nowhere', 'vidmodels prepare']),
    ({'log__tensorboard': 'perhaps'}, ['tensorboard']),
  ],
)
def test_a_recipe_that_cannot_run(capsys, tmp_path, records, changes, parts):
  says(capsys, train(records, tmp_path / 'run', **changes), *parts)


def test_the_workdir_of_another_recipe(capsys, records, workdir):
  said = ['batch: 8 -> 16', 'another --workdir']
  changes = dict(optim__steps=1, optim__warmup=0.0, model__layers=1, batch=16)
  says(capsys, train(records, workdir, **changes), *said)


def test_a_corrupt_record_is_named_by_shard_and_offset(capsys, tmp_path):
  records = fake.write(tmp_path / 'records')
  opened = RecordSet.open(records, 'train')
  shard, offset = opened.where(9)
  path = records / shard
  data = bytearray(path.read_bytes())
  data[offset + 100] ^= 255
  path.write_bytes(data)
  argv = train(records, tmp_path / 'run', model__layers=1)
  says(capsys, argv, shard, f'offset {offset}', 'checksum')


def test_an_empty_split(capsys, tmp_path):
  records = fake.write(tmp_path / 'records', videos=0)
  says(capsys, train(records, tmp_path / 'run'), "split 'train'", 'empty')


def test_classes_that_are_not_the_checkpoints(capsys, tmp_path, workdir):
  fake.write(tmp_path, 'test', classes=('red', 'blue', 'green'))
  argv = ['evaluate', '--workdir', workdir, '--data', tmp_path]
  says(capsys, argv, "class 1 is 'green' here and 'blue' there")


@pytest.mark.parametrize(
  ('flags', 'parts'),
  [
    (['--step', '7'], ['no checkpoint of step 7', '1']),
    (['--weights', 'ema'], ['has no ema']),
    (['--views', '3'], ['--views 3', 'TxS']),
    (['--views', '1x2'], ['1x2', '4x3']),
    (['--batch', '0'], ['--batch 0', 'at least 1']),
    (['--split', 'val'], ["no split 'val'"]),
  ],
)
def test_an_evaluation_that_cannot_be(capsys, workdir, flags, parts):
  says(capsys, ['evaluate', '--workdir', workdir, *flags], *parts)


def test_a_workdir_that_is_none(capsys, tmp_path):
  says(capsys, ['evaluate', '--workdir', tmp_path], 'does not exist')
  (tmp_path / 'checkpoints').mkdir()
  says(capsys, ['evaluate', '--workdir', tmp_path], 'no complete checkpoint')


def test_predict_answers_the_good_files_and_names_the_bad(
  capsys, tmp_path, workdir
):
  good = fake.video(tmp_path / 'good.mp4', frames=6)
  argv = ['predict', str(good), 'gone.mp4', '--workdir', str(workdir), '--json']
  assert main(argv) == 2
  streams = capsys.readouterr()
  found = json.loads(streams.out)
  assert [a['file'] for a in found['answers']] == [str(good)]
  assert [e['file'] for e in found['errors']] == ['gone.mp4']
  assert 'gone.mp4' in streams.err


@pytest.mark.parametrize(
  ('line', 'parts'),
  [
    ('a.mp4 purple', ["'purple'"]),
    ('a.mp4 3', ['label 3', '0 to 2']),
    ('a.mp4 gren', ["'green'"]),
    ('a.mp4', ['label']),
  ],
)
def test_a_list_that_does_not_fit_its_classes(
  capsys, tmp_path, line: str, parts
):
  (tmp_path / 'classes.txt').write_text('red\ngreen\nblue\n')
  (tmp_path / 'a.mp4').write_bytes(b'x')
  source = tmp_path / 'list.txt'
  source.write_text(line + '\n')
  argv = ['prepare', source, '--out', tmp_path / 'out']
  says(capsys, argv, *parts)
  assert not (tmp_path / 'out').exists()


def test_errors_are_json_where_json_was_asked_for(capsys, tmp_path):
  assert main(['inspect', str(tmp_path), '--json']) == 2
  found = json.loads(capsys.readouterr().out)
  assert found['exit_code'] == 2
  assert str(tmp_path) in found['error']


def test_flags_nobody_knows(capsys):
  with pytest.raises(SystemExit) as stopped:
    main(['inspect', 'x', '--shet', 'y'])
  assert stopped.value.code == 2
  assert '--shet' in capsys.readouterr().err


def test_help_names_every_command(capsys):
  with pytest.raises(SystemExit):
    main(['--help'])
  said = capsys.readouterr().out
  for name in ('prepare', 'check', 'train', 'evaluate', 'predict', 'demo'):
    assert f'    {name} ' in said
  assert 'Exit codes' in said


def test_a_failed_prepare_leaves_no_half_written_split(capsys, tmp_path):
  folder = tmp_path / 'videos' / 'red'
  folder.mkdir(parents=True)
  (folder / 'page.mp4').write_text('<html>')
  argv = ['prepare', tmp_path / 'videos', '--out', tmp_path / 'out']
  says(capsys, argv, '1 of 1 videos are lost', 'page.mp4')
  assert not list(pathlib.Path(tmp_path / 'out').glob('*.manifest.json'))


ADDRESS = 'hdfs://host/runs'


@pytest.mark.parametrize(
  'argv',
  [
    ['train', '--config=demo', f'--workdir={ADDRESS}'],
    ['evaluate', '--workdir', ADDRESS],
    ['evaluate', '--workdir', 'runs', '--out', ADDRESS],
    ['evaluate', '--scores', 'az://bucket/a.npz'],
    ['predict', 'https://host/a.mp4', '--workdir', 'runs'],
    ['predict', 'file:/a.mp4', '--workdir', 'runs'],
    ['predict', 'gs://bucket/a.mp4', '--workdir', 'runs'],
    ['prepare', 's3://bucket/videos', '--out', 'records'],
    ['prepare', ADDRESS, '--out', 'records'],
    ['prepare', 'videos', '--out', ADDRESS],
    ['check', 'videos', '--bad', ADDRESS],
    ['inspect', ADDRESS],
    ['weights', 'inspect', ADDRESS],
    ['weights', 'export', 'runs', '--to=npz', f'--out={ADDRESS}'],
    ['demo', '--out', ADDRESS],
  ],
  ids=' '.join,
)
def test_an_address_is_no_path_of_this_machine(
  capsys, monkeypatch, tmp_path, argv
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(SystemExit) as stop:
    main(argv)
  assert stop.value.code == 2
  assert 'which is an address' in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


FILES = re.compile('FILE|DIR|FOLDER|PATH|SOURCE|CSV|NPZ|PNG|WORKDIR|^[AB]$')
NAMES = {'workdir', 'out', 'data', 'root', 'bad', 'scores', 'classes', 'source'}


def all_arguments(parser, words=()):
  """Every command's words, and each argument that takes a value."""
  for action in parser._actions:
    if isinstance(action, argparse._SubParsersAction):
      for name, sub in action.choices.items():
        yield from all_arguments(sub, (*words, name))
    elif action.nargs != 0:
      yield words, action


def test_every_argument_that_names_a_file_refuses_addresses_of_other_kinds(
  capsys, monkeypatch, tmp_path
):
  monkeypatch.chdir(tmp_path)
  checked, parser = set(), make_parser()
  for words, action in all_arguments(parser):
    looks = FILES.search(action.metavar or '') or action.dest in NAMES
    if action.type not in ('path', 'place'):
      # A number of classes; recipes are looked up by their own rules.
      assert not looks or action.type is int, (words, action.dest)
      continue
    checked.add(action.dest)
    bad = [
      'https://host/a',
      'az://b/a',
      'file:/a',
      's3:/b/a',
      'gs://',
      'S3://b',
    ]
    if action.type == 'path':
      bad = [*bad[:3], 'gs://b/a', 's3://b/a']
    for address in bad:
      with pytest.raises(SystemExit) as stop:
        parser.parse_args([*words, *action.option_strings[:1], address])
      error = capsys.readouterr().err
      assert stop.value.code == 2
      assert address in error, (words, action.dest, address)
      assert 'expected' in error
  assert {'workdir', 'fork', 'files', 'compilation_cache', 'b'} <= checked
  assert not list(tmp_path.iterdir())


def fields_with_places(cls, above=''):
  """The names of a dataclass's fields whose text is a path."""
  hints = typing.get_type_hints(cls, include_extras=True)
  for name, hint in hints.items():
    if dataclasses.is_dataclass(hint):
      yield from fields_with_places(hint, f'{above}{name}__')
    elif hint == UserPath:
      yield f'{above}{name}'


@pytest.mark.parametrize('field', sorted(fields_with_places(Config)))
def test_an_address_is_no_path_of_a_recipe(capsys, tmp_path, field):
  argv = train(tmp_path / 'records', tmp_path / 'run', **{field: ADDRESS})
  says(capsys, argv, ADDRESS, 'which is an address')
  assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_folder(capsys, monkeypatch, tmp_path, records):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'records').symlink_to(records)
  changes = tiny.SHORT
  assert main(train('~/records', '~/run', **changes)) == 0
  assert main(['evaluate', '--workdir', '~/run', '--views', '1x1']) == 0
  assert (tmp_path / 'run/evaluation').is_dir()
  assert not (tmp_path / '~').exists()
