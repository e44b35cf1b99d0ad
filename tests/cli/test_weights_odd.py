"""The weights command with files and flags that look right and are not."""

import json
import pathlib

import json_edits
import numpy as np
import pytest
from test_weights import FLAGS, state

from vidmodels.cli import main, recipe
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE
from vidmodels.weights import description, export, import_report, load_weights


@pytest.fixture(scope='module')
def release():
  return state('timesformer', 3, 4)


def write(path: pathlib.Path, tensors) -> str:
  return str(export.write(path, tensors, to='npz'))


def refused(capsys, tmp_path, path: str, *more: str) -> str:
  out = tmp_path / 'out'
  argv = ['weights', 'import', path, '--config=timesformer', *FLAGS, *more]
  assert main([*argv, f'--out={out}']) == 2
  assert not out.exists()
  return capsys.readouterr().err


def test_numbers_too_large_for_float32_are_refused_by_name(
  capsys, tmp_path, release
):
  key = next(key for key in release if key.endswith('norm1.weight'))
  path = write(tmp_path / 'w.npz', {**release, key: np.full(16, 1e300)})
  assert f'{key.removeprefix("model.")} holds 16 values' in refused(
    capsys, tmp_path, path
  )


def test_a_key_outside_the_wrapper_is_named(capsys, tmp_path, release):
  path = write(tmp_path / 'w.npz', {**release, 'foo.bar': np.zeros(3)})
  said = refused(capsys, tmp_path, path)
  assert 'would be timesformer (release) without foo.bar' in said


def test_the_head_of_an_image_file_cannot_be_kept(capsys, tmp_path):
  path = write(tmp_path / 'w.npz', state('vit', 10, 1))
  assert 'leave it out' in refused(capsys, tmp_path, path, '--head=keep')


def test_a_file_that_ends_nowhere_is_the_same_as_itself(capsys, tmp_path):
  odd = np.array([np.inf, -np.inf, np.nan, 1])
  a = write(tmp_path / 'a.npz', {'w': odd})
  b = write(tmp_path / 'b.npz', {'w': np.ones(4)})
  strict = lambda: json.loads(
    capsys.readouterr().out,
    parse_constant=lambda name: pytest.fail(f'{name} is no JSON'),
  )
  assert main(['weights', 'diff', a, a, '--json']) == 0
  assert strict() == {'same': 1, 'different': [], 'unread': {}}
  for pair in ((a, b), (b, a)):
    assert main(['weights', 'diff', *pair, '--json']) == 0
    (row,) = strict()['different']
    assert (row['kind'], row['largest']) == ('values', 'inf')


def test_layers_by_the_billion_are_not_counted_out(capsys, tmp_path):
  keys = {'Transformer/encoderblock/x': np.zeros((10**12, 0), np.float32)}
  path = write(tmp_path / 'w.npz', keys)
  assert main(['weights', 'inspect', path]) == 0
  assert 'of no family' in capsys.readouterr().out


@pytest.mark.parametrize(
  'config',
  [
    {'id2label': {'a': 'x'}},
    {'pretrained_cfg': 'text'},
    {'pretrained_cfg': {'mean': ['x', 'y', 'z']}},
    {'label_names': 'abc'},
  ],
)
def test_a_config_beside_a_file_that_is_none_is_named(capsys, tmp_path, config):
  path = write(tmp_path / 'w.npz', state('vit', 10, 1))
  (tmp_path / 'config.json').write_text(
    json.dumps({'model_type': 'vit', **config})
  )
  assert 'move the weights away' in refused(capsys, tmp_path, path)


def test_classes_of_one_name_are_told_apart_by_their_numbers(tmp_path):
  from vidmodels.weights.formats import hub_config

  names = {'0': 'crane', '1': 'kite', '2': 'crane'}
  for config in (
    {'model_type': 'vit', 'id2label': names},
    {'architecture': 'vit_base', 'label_names': list(names.values())},
  ):
    (tmp_path / 'config.json').write_text(json.dumps(config))
    labels = hub_config.read_hub_config(tmp_path / 'w.bin').labels
    assert labels == ('crane (0)', 'kite', 'crane (2)')


@pytest.fixture
def places(tmp_path, release):
  """Paths that name no place: what they are, and the paths."""
  (tmp_path / 'file').write_bytes(b'x')
  (tmp_path / 'link').symlink_to(tmp_path / 'gone')
  write(tmp_path / 'good.npz', release)
  return tmp_path


@pytest.mark.parametrize(
  ('out', 'says'),
  [
    ('file/x', "file/x': not a directory, so nothing can be written"),
    ('link', 'got link, which exists'),
    ('/proc/none/x', 'so nothing can be written there'),
    ('y' * 5000, r'(5000 letters)'),
    ('z' * 250, 'file name too long, so nothing'),
    ('a\0b', 'so nothing can be written there'),
  ],
)
@pytest.mark.parametrize('action', ['import', 'export'])
def test_a_place_that_nothing_can_be_written_to_is_wrong_input(
  capsys, places, monkeypatch, action, out, says
):
  monkeypatch.chdir(places)
  before = sorted(p.name for p in places.iterdir())
  argv = ['weights', action]
  if action == 'import':
    argv += ['good.npz', '--config=timesformer', *FLAGS]
  else:
    argv += ['none', '--to=npz']
  assert main([*argv, f'--out={out}']) == 2
  assert says in capsys.readouterr().err
  assert sorted(p.name for p in places.iterdir()) == before


@pytest.mark.parametrize(
  ('given', 'says'),
  [
    ('link', 'is a link to'),
    ('y' * 5000, '(5000 letters)'),
    ('file/x', 'not a directory'),
    ('/proc/self/mem', 'so it cannot be read'),
    ('a\0b', 'null'),
    ('file', 'begins with'),
  ],
)
def test_what_is_no_file_to_read_is_wrong_input(
  capsys, places, monkeypatch, given, says
):
  monkeypatch.chdir(places)
  for argv in (
    ['inspect', given],
    ['import', given, '--config=timesformer', *FLAGS, '--out=new'],
    ['diff', given, 'good.npz'],
    ['diff', 'good.npz', given],
  ):
    assert main(['weights', *argv]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert 'Errno' not in said
  if given != 'file':
    assert main(['weights', 'export', given, '--to=npz', '--out=new']) == 2
  assert not (places / 'new').exists()


def test_a_file_of_a_very_long_name_is_read(capsys, tmp_path, release):
  # What the hub might keep beside it would have too long a name.
  path = pathlib.Path(write(tmp_path / 'w.npz', release))
  path = path.rename(path.with_name('w' * 250))
  assert main(['weights', 'inspect', str(path), '--json']) == 0
  assert json.loads(capsys.readouterr().out)['likely']


HUB = {
  'config.json': {
    'model_type': 'vit',
    'num_attention_heads': 2,
    'layer_norm_eps': 1e-6,
    'hidden_act': 'gelu',
    'id2label': {str(k): f'c{k}' for k in range(10)},
    'pretrained_cfg': {'mean': [0.5] * 3, 'std': [0.5] * 3},
  },
  'preprocessor_config.json': {'image_mean': [0.5] * 3, 'image_std': [0.5] * 3},
}


@pytest.mark.parametrize('name', HUB)
def test_every_edit_of_what_lies_beside_a_file_is_one_message(tmp_path, name):
  path, read = write(tmp_path / 'w.npz', state('vit', 10, 1)), 0
  for file, document in HUB.items():
    (tmp_path / file).write_text(json.dumps(document))
  assert load_weights.load_path(path, 'vit').labels[9] == 'c9'
  for place, text in json_edits.sample(HUB[name], 50):
    (tmp_path / name).write_text(text)
    with json_edits.one_message(place):
      pixels = load_weights.load_path(path, 'vit').pixels
      assert pixels is None or np.isfinite([*pixels.mean, *pixels.std]).all()
      json.dumps(import_report.inspect(path), allow_nan=False)
      read += 1
  assert 0 < read < 45


def test_every_edit_of_what_a_file_says_of_itself_is_one_message():
  described = description.Description(
    names='release',
    config=recipe.load('demo'),
    classes=ClassList.from_names(['a', 'b']),
    task=SINGLE,
    fps=0.0,
    step=3,
    weights='params',
    version='1',
  )
  document, read = json.loads(described.to_json()), 0
  for place, text in json_edits.sample(document, 300):
    with json_edits.one_message(place):
      description.Description.from_json(text, 'w.npz')
      read += 1
  assert 0 < read < 150
