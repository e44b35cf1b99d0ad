"""docs/data.md: the commands for every data set work as they are printed."""

import pathlib
import re
import shlex

import pytest

from tests import official
from vidmodels.cli import main
from vidmodels.data.datasets import registry

PAGE = pathlib.Path(__file__).resolve().parents[3] / 'docs' / 'data.md'


def commands() -> list[list[str]]:
  """What `vidmodels` is given, of every line that is no pattern."""
  blocks = re.findall(r'```\n(.*?)```', PAGE.read_text(), re.S)
  lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
  given = [shlex.split(line)[1:] for line in lines if line[:9] == 'vidmodels']
  return [argv for argv in given if argv[1].islower() and ':' not in argv[1]]


@pytest.mark.parametrize('argv', commands(), ids=lambda argv: argv[1])
def test_a_printed_command_prepares_its_set(tmp_path, monkeypatch, argv):
  monkeypatch.chdir(tmp_path)
  name = argv[1]
  folder = name.removesuffix('_untrimmed')
  official.MAKERS[name](tmp_path / folder, name)
  assert main([*argv, '--workers', '1']) == 0
  assert list((tmp_path / 'records' / name).glob('*.manifest.json'))


def test_every_data_set_is_on_the_page():
  text = PAGE.read_text()
  for name, dataset in registry.all_datasets().items():
    assert f'`{name}`' in text, dataset.title
  assert len(commands()) >= 9
