"""Names of strangers neither forge lines nor command the terminal."""

import ast

import fake
import pytest
import tiny
import videos

from vidmodels.cli import main, terminal
from vidmodels.train import loop
from vidmodels.typing import escape, quote

CODE = '\x1b[31mred\x1b[0m'
NAMES = (
  f'{CODE}.mp4',
  'two\nlines.mp4',
  'two\tparts.mp4',
  'bell\x07.mp4',
  'right\u202eleft.mp4',
  ' space.mp4',
  "'quoted'.mp4",
)


@pytest.mark.parametrize('name', [*NAMES, '', 'not utf-8 \udce9'])
def test_an_odd_name_is_quoted_and_can_be_read_back(name):
  quoted = quote(name)
  assert quoted.isprintable()
  assert ast.literal_eval(quoted) == name


@pytest.mark.parametrize(
  'name', ['a b', 'naïve 歩く', "it's", 'a/b-c_d.mp4', '7']
)
def test_other_names_stay_as_they_are(name):
  assert quote(name) == escape(name) == name


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp('source')
  (folder / f'walk{CODE}').mkdir()
  for name in NAMES:
    (folder / f'walk{CODE}' / name).write_bytes(b'\0' * 20)
  videos.write(folder / f'walk{CODE}' / 'fine.mp4', videos.moving())
  return folder


def parse(path) -> dict[str, str]:
  """The names and reasons of a list of bad or lost files."""
  pairs = [line.split('\t') for line in path.read_text().splitlines()]
  return {
    ast.literal_eval(name) if name[0] in '\'"' else name: reason
    for name, reason in pairs
  }


def printable(capsys) -> str:
  out, err = capsys.readouterr()
  for line in (out + err).split('\n'):
    assert line.isprintable(), repr(line)
  return out + err


def test_check_and_prepare_list_them_a_line_each(source, tmp_path, capsys):
  bad = tmp_path / 'bad.txt'
  assert main(['check', str(source), '--bad', str(bad)]) == 1
  found = parse(bad)
  assert {name.split('/')[1] for name in found} == set(NAMES)
  assert set(found.values()) == {'not a video that FFmpeg knows'}
  printable(capsys)
  argv = ['prepare', str(source), '--out', str(tmp_path / 'records')]
  assert main([*argv, '--max-lost=0.99']) == 0
  assert parse(tmp_path / 'records' / 'train.lost.txt') == found
  printable(capsys)
  assert main(['inspect', str(tmp_path / 'records')]) == 0
  assert repr(CODE)[1:-1] in printable(capsys)


@pytest.mark.slow
def test_predictions_name_classes_of_a_stranger(tmp_path, capsys):
  names = ['\x1b[2Jwalk', 'run\tfast', 'sit']
  records = fake.write(tmp_path / 'records', classes=names)
  changes = dict(optim__steps=1, optim__warmup=0.0, model__layers=1)
  loop.train(tiny.config(records, **changes), tmp_path / 'run')
  film = videos.write(tmp_path / 'a\x1b.mp4', videos.moving())
  assert main(['predict', str(film), '--workdir', str(tmp_path / 'run')]) == 0
  text = printable(capsys)
  assert all(quote(name) in text for name in names)
  assert main(['predict', '/no\x1b/a', '--workdir', str(tmp_path / 'run')]) == 2
  printable(capsys)


def test_a_name_without_end_is_a_short_line(capsys):
  with terminal.Reporter('prepare', only='lost') as report:
    report(1, 2, f'lost {"a" * 10**6}.mp4: no frame decodes')
  line = capsys.readouterr().err
  assert len(line) < 500
  assert line.startswith('prepare: lost aaa')
  assert line.endswith('no frame decodes\n')
