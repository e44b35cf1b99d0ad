"""The rules engine: every key once, every parameter filled, none scrambled."""

import types

import numpy as np
import pytest

from vidmodels.typing import InputError
from vidmodels.weights.mapping import key_rules as r
from vidmodels.weights.mapping.apply import (
  KeyReport,
  convert,
  save_variables,
  unflatten_variables,
)

RULES = (
  r.rule('layer.{i}.weight', 'layer_{i}/kernel', r.linear()),
  r.rule('layer.{i}.bias', 'layer_{i}/bias', r.vector()),
  r.rule('heads.weight', 'heads/kernel', r.linear(inputs=2)),
  r.rule('stem.weight', 'stem/kernel', r.convolution()),
  r.rule('pos', 'cls_pos grid', r.class_and_grid()),
  r.rule('time', 'time_pos', r.table()),
  r.rule('token', 'token', r.vector(2)),
)
SHAPES = {
  'layer_0/kernel': (4, 3, 2, 5),  # inputs, then three axes of outputs
  'layer_0/bias': (3, 2, 5),
  'layer_11/kernel': (4, 6),
  'layer_11/bias': (6,),
  'heads/kernel': (2, 5, 4),
  'stem/kernel': (7, 8, 3, 4),
  'cls_pos': (4,),
  'grid': (2, 3, 4),
  'time_pos': (5, 4),
  'token': (4,),
}
FILE = {
  'layer.0.weight': (30, 4),
  'layer.0.bias': (30,),
  'layer.11.weight': (6, 4),
  'layer.11.bias': (6,),
  'heads.weight': (4, 10),
  'stem.weight': (4, 3, 7, 8),
  'pos': (1, 7, 4),
  'time': (1, 5, 4),
  'token': (1, 1, 4),
}


def save(rules, params: dict) -> dict[str, np.ndarray]:
  return save_variables(rules, unflatten_variables(params))


def source() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  return {key: rng.normal(size=shape) for key, shape in FILE.items()}


def target(**shapes) -> dict:
  shapes = {**SHAPES, **shapes}
  return {p: types.SimpleNamespace(shape=s) for p, s in shapes.items()}


def test_layouts_put_every_number_where_it_belongs():
  file = source()
  ours = convert(RULES, file, target())
  assert {path: array.shape for path, array in ours.items()} == SHAPES
  weight = file['layer.0.weight'].reshape(3, 2, 5, 4)
  kernel = ours['layer_0/kernel']
  assert kernel[1, 2, 0, 3] == weight[2, 0, 3, 1]
  assert ours['layer_0/bias'][2, 0, 3] == file['layer.0.bias'][23]
  heads = file['heads.weight'].reshape(4, 2, 5)
  assert ours['heads/kernel'][1, 3, 2] == heads[2, 1, 3]
  assert ours['stem/kernel'][6, 5, 2, 1] == file['stem.weight'][1, 2, 6, 5]
  assert (ours['cls_pos'] == file['pos'][0, 0]).all()
  assert (ours['grid'][1, 2] == file['pos'][0, 6]).all()
  assert (ours['grid'][0, 2] == file['pos'][0, 3]).all()


def test_going_back_gives_the_file_again():
  file = source()
  again = save(RULES, convert(RULES, file, target()))
  assert set(again) == set(file)
  for key in file:
    np.testing.assert_array_equal(again[key], file[key])


def test_converting_moves_no_numbers():
  file = source()
  for path, array in convert(RULES, file, target()).items():
    assert any(np.shares_memory(array, x) for x in file.values()), path


def test_leftovers_of_both_sides_are_named():
  file = {**source(), 'layer.0.gamma': np.ones(3)}
  del file['time']
  with pytest.raises(InputError, match=r'layer\.0\.gamma.*not fill: time_pos'):
    convert(RULES, file, target())


def test_a_key_whose_parameter_the_model_lacks_is_left_over():
  lacking = target()
  del lacking['token']
  with pytest.raises(InputError, match=r'no place for: token\b'):
    convert(RULES, source(), lacking)


def test_a_tensor_of_the_right_size_and_another_shape_is_refused():
  file = source()
  file['layer.11.weight'] = file['layer.11.weight'].T
  with pytest.raises(
    InputError, match=r'layer\.11\.weight has shape \[4, 6\].*needs \[6, 4\]'
  ):
    convert(RULES, file, target())


def test_a_name_stands_for_whole_keys_only():
  file = {**source(), 'model.token': np.ones((1, 1, 4))}
  with pytest.raises(InputError, match=r'no place for: model\.token;'):
    convert(RULES, file, target())


def test_a_parameter_without_a_name_in_the_file_is_refused():
  with pytest.raises(InputError, match='stands for extra'):
    save(RULES, {'extra': np.ones(2)})


def test_the_nearest_name_of_the_other_side_is_told():
  file = source()
  file['layer.11.biass'] = file.pop('layer.11.bias')
  with pytest.raises(InputError) as error:
    convert(RULES, file, target())
  said = str(error.value)
  assert 'layer.11.biass, nearest layer.11.bias;' in said
  assert 'layer_11/bias (in a file: layer.11.bias, nearest layer.11.biass)' in (
    said
  )


def test_the_report_says_what_became_of_every_key_and_parameter():
  rules = (*RULES, r.drop('count.{i}', 'a counter'))
  file = {**source(), 'count.3': np.array(7)}
  del file['time']
  report = KeyReport()
  random = [('^time_', 'images have no time'), ('^never$', 'unused')]
  made = convert(rules, file, target(), random=random, report=report)
  assert set(made) == set(SHAPES) - {'time_pos'}
  assert report.random == {'time_pos': 'images have no time'}
  assert report.dropped == {'count.3': 'a counter'}
  assert set(report.used) == set(file) - {'count.3'}
  assert report.used['pos'] == ('cls_pos', 'grid')
  assert 'count.3' not in save(rules, made)


@pytest.mark.parametrize(
  ('value', 'message'),
  [
    (np.nan, 'stem.weight holds 1 values'),
    (np.inf, 'stem.weight holds 1 values'),
    (-np.inf, 'stem.weight holds 1 values'),
  ],
)
def test_a_value_that_is_no_number_is_refused_by_name(value, message):
  file = source()
  file['stem.weight'][1, 2, 3, 1] = value
  with pytest.raises(InputError, match=message):
    convert(RULES, file, target())


def test_whole_numbers_are_no_weights():
  file = {**source(), 'token': np.ones((1, 1, 4), np.int8)}
  with pytest.raises(InputError, match='got int8 for token'):
    convert(RULES, file, target())


def test_a_wrong_shape_is_told_before_the_tensor_is_read():
  class Lazy(dict):
    specs = {k: (v, np.dtype('f4')) for k, v in FILE.items()}  # noqa: RUF012

    def __getitem__(self, key):
      raise AssertionError(f'{key} was read')

  with pytest.raises(InputError, match='token has shape'):
    convert(
      [RULES[-1]], Lazy(token=None), {'token': target(token=(5,))['token']}
    )
