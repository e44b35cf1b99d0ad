"""Recipes of one's own: errors inside them, overrides that do not fit."""

import json

import pytest

from vidmodels.cli import main, recipe
from vidmodels.typing import InputError

HEAD = 'from vidmodels import config\n'
GOOD = """def get_config(arg='divided'):
  c = config.skeleton(family='timesformer', attention=arg)
  c.data.dir = 'records'
  c.optim.steps = 4
  return c
"""


@pytest.fixture
def write(tmp_path):
  def write(text: str) -> str:
    path = tmp_path / 'mine.py'
    path.write_text(HEAD + text)
    return str(path)

  return write


def test_a_recipe_of_ones_own_takes_arguments_and_overrides(write):
  path = write(GOOD)
  config = recipe.load(
    f'{path}:joint',
    ['--config.optim.nesterov=false', '--config.data.mean=(0.1, 0.2, 0.3)'],
  )
  assert config.model['attention'] == 'joint'
  assert config.optim.nesterov is False
  assert config.data.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('x = nothing\n', r'mine.py line 2: NameError: .*nothing'),
    ('import nothere\n', r'line 2: ModuleNotFoundError: .*nothere'),
    ('def get_config(:\n', r'line 2: SyntaxError'),
    ('def get_config():\n  return 1 / 0\n', r'line 3: ZeroDivisionError'),
    ('def get_config():\n  open("gone")\n', r'line 3: FileNotFoundError'),
    (
      'def get_config():\n  pass\n',
      r'got NoneType from .*; expected the Config',
    ),
    ('', r"AttributeError: .*no attribute 'get_config'"),
    (GOOD.replace('steps', 'stepz'), r'line 5: .*[Ss]tepz.*steps'),
    (
      GOOD.replace("'divided'", "'dividet'"),
      r"'dividet'.*; try 'divided'",
    ),
  ],
)
def test_an_error_inside_a_recipe_names_its_line(write, text, says):
  with pytest.raises(InputError, match=says):
    recipe.load(write(text))


@pytest.mark.parametrize(
  ('override', 'says'),
  [
    ('--config.optim=3', r'optim is a section; .*; try optim.b1, '),
    (
      '--config.foo=1',
      r"field 'foo'; expected one in accumulate, aug",
    ),
    ('--config.optim.foo=1', r"unknown field 'optim.foo'; .*; try 'optim\."),
    ('--config.batch=x', r'got --config.batch=x; expected .* int, such as 64'),
    ('--config.optim.lr=x', r'expected --config.optim.lr= and a float'),
    (
      '--config.optim.lr=inf',
      r'got inf for optim.lr; expected a finite',
    ),
    (
      '--config.mix.mixup=inf',
      r'got inf for mix.mixup; expected a finite',
    ),
    ('--config.log.tensorboard=maybe', r'and a bool, such as False'),
    ('--config.augment.short_side=(240,a)', r'augment.short_side'),
    (
      "--config.optim.decays=(('[', 0.0),)",
      r"'\[' in optim.decays, which is no",
    ),
  ],
)
def test_an_override_that_does_not_fit_names_field_and_type(
  write, override, says
):
  weight = ['--config.optim.weight_decay=0.1']
  with pytest.raises(InputError, match=says):
    recipe.load(write(GOOD), [*weight, override])


@pytest.mark.parametrize(
  ('line', 'says'),
  [
    ('c.optim.learning_rate = 0.1', "try 'optim.lr'"),
    ('c.batch_size = 8', "try 'batch'"),
    ('c.clip.num_frames = 8', "try 'clip.frames'"),
    ('c.optim.frozen = True', "try 'optim.freeze'"),
    ('c.data.update(num_workers=3)', "try 'data.threads'"),
  ],
)
def test_a_usual_name_inside_a_recipe_is_answered_with_ours(write, line, says):
  with pytest.raises(InputError, match=says):
    recipe.load(write(GOOD.replace('c.optim.steps = 4', line)))


def test_a_data_set_without_settings_is_told_where_its_records_go():
  for word in ('ucf101', 'UCF-101'):
    with pytest.raises(InputError, match=r'data\.dir=records/ucf101'):
      recipe.load(f'timesformer:{word}')


def test_a_name_without_py_is_pointed_at_the_file(write, tmp_path, monkeypatch):
  write(GOOD)
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError, match=r', or mine.py'):
    recipe.load('mine')


def test_paths_that_cannot_be_written_are_wrong_input(capsys, tmp_path):
  file = tmp_path / 'file'
  file.write_text('')
  (tmp_path / 'videos/red').mkdir(parents=True)
  (tmp_path / 'videos/red/a.mp4').write_bytes(b'')
  source = str(tmp_path / 'videos')
  for argv, says in (
    (['prepare', source, '--out', str(file)], str(file)),
    (['check', source, '--bad', str(tmp_path / 'no/bad.txt')], 'no folder'),
    (['check', source, '--bad', str(tmp_path)], 'is a folder'),
  ):
    assert main(argv) == 2
    assert says in capsys.readouterr().err


def test_what_nobody_expected_is_still_one_json_document(
  capsys, tmp_path, monkeypatch
):
  from vidmodels.data.records import inspect_records

  def broken(*args):
    raise RuntimeError('our fault')

  monkeypatch.setattr(inspect_records, 'summary', broken)
  assert main(['inspect', str(tmp_path), '--json']) == 1
  streams = capsys.readouterr()
  assert 'our fault' in json.loads(streams.out)['error']
  assert 'Traceback' in streams.err
