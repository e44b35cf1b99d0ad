"""The weights command with files and flags that look right and are not."""

import json
import pathlib

import numpy as np
import pytest
from test_weights import FLAGS, state

from vidmodels.cli import main
from vidmodels.weights import exporting


@pytest.fixture(scope='module')
def release():
  return state('timesformer', 3, 4)


def write(path: pathlib.Path, tensors) -> str:
  return str(exporting.write(path, tensors, to='npz'))


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
  assert strict() == {'same': 1, 'different': []}
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
  from vidmodels.weights import hub

  names = {'0': 'crane', '1': 'kite', '2': 'crane'}
  for config in (
    {'model_type': 'vit', 'id2label': names},
    {'architecture': 'vit_base', 'label_names': list(names.values())},
  ):
    (tmp_path / 'config.json').write_text(json.dumps(config))
    labels = hub.beside(tmp_path / 'w.bin').labels
    assert labels == ('crane (0)', 'kite', 'crane (2)')
