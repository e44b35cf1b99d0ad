"""The rules engine: every key once, every parameter filled, none scrambled."""

import types

import numpy as np
import pytest

from vidmodels.typing import InputError
from vidmodels.weights import rules as r

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


def source() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  return {key: rng.normal(size=shape) for key, shape in FILE.items()}


def target(**shapes) -> dict:
  shapes = {**SHAPES, **shapes}
  return {p: types.SimpleNamespace(shape=s) for p, s in shapes.items()}


def test_layouts_put_every_number_where_it_belongs():
  file = source()
  ours = r.convert(RULES, file, target())
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
  again = r.revert(RULES, r.convert(RULES, file, target()))
  assert set(again) == set(file)
  for key in file:
    np.testing.assert_array_equal(again[key], file[key])


def test_converting_moves_no_numbers():
  file = source()
  for path, array in r.convert(RULES, file, target()).items():
    assert any(np.shares_memory(array, x) for x in file.values()), path


def test_leftovers_of_both_sides_are_named():
  file = {**source(), 'layer.0.gamma': np.ones(3)}
  del file['time']
  with pytest.raises(InputError, match=r'layer\.0\.gamma.*not fill: time_pos'):
    r.convert(RULES, file, target())


def test_a_key_whose_parameter_the_model_lacks_is_left_over():
  lacking = target()
  del lacking['token']
  with pytest.raises(InputError, match='no place for: token;'):
    r.convert(RULES, source(), lacking)


def test_a_tensor_of_the_right_size_and_another_shape_is_refused():
  file = source()
  file['layer.11.weight'] = file['layer.11.weight'].T
  with pytest.raises(
    InputError, match=r'layer\.11\.weight has shape .*\(4, 6\).*\(6, 4\)'
  ):
    r.convert(RULES, file, target())


def test_a_name_stands_for_whole_keys_only():
  file = {**source(), 'model.token': np.ones((1, 1, 4))}
  with pytest.raises(InputError, match=r'no place for: model\.token;'):
    r.convert(RULES, file, target())


def test_a_parameter_without_a_name_in_the_file_is_refused():
  with pytest.raises(InputError, match='stands for extra'):
    r.revert(RULES, {'extra': np.ones(2)})
