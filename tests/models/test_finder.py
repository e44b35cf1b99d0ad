"""Families by name, and their fields by type, choice and range."""

import jax.numpy as jnp
import pytest

from vidmodels import models
from vidmodels.typing import InputError


def test_a_family_is_found_by_its_file_name():
  assert 'timesformer' in models.families()
  assert models.find('timesformer').__name__ == 'vidmodels.models.timesformer'


@pytest.mark.parametrize(
  ('name', 'says'),
  [
    ('timesfromer', "did you mean 'timesformer'"),
    ('zzz', 'known: .*timesformer'),
    ('__init__', 'there is no family'),
    ('../nn', 'there is no family'),
  ],
)
def test_an_unknown_family_is_answered_with_the_nearest(name, says):
  with pytest.raises(InputError, match=says):
    models.find(name)


def test_a_recipe_sets_the_architecture_and_not_the_plumbing():
  fields = models.fields('timesformer')
  assert fields['attention'] == 'divided'
  assert fields['layers'] == 12
  assert not {'classes', 'dtype', 'parent', 'name'} & set(fields)


def test_build_sets_fields_classes_and_dtype():
  model = models.build(
    'timesformer', classes=3, dtype='bfloat16', layers=2, mlp_ratio=3
  )
  assert (model.classes, model.layers, model.mlp_ratio) == (3, 2, 3.0)
  assert isinstance(model.mlp_ratio, float)
  assert model.dtype == jnp.bfloat16


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    ({'layer': 2}, "no field of timesformer 'layer'; did you mean 'layers'"),
    ({'parent': None}, "no field of timesformer 'parent'"),
    ({'layers': '2'}, "layers is '2'; wanted int"),
    ({'layers': 2.0}, r'layers is 2\.0; wanted int'),
    ({'layers': True}, 'layers is True; wanted int'),
    ({'heads': 0}, 'heads is 0; wanted at least 1'),
    ({'drop_path': -0.1}, r'drop_path is -0\.1; wanted from 0 to 1'),
    ({'attention': 'dividing'}, r"'dividing'; wanted one of \('divided'"),
    ({'remat': 1}, 'remat is 1; wanted bool'),
    ({'classes': 0}, 'classes is 0'),
    ({'classes': 'ten'}, "classes is 'ten'"),
    ({'dtype': 'float16'}, "'float16'; wanted one of .*bfloat16"),
  ],
)
def test_a_wrong_field_is_refused_by_name(fields, says):
  with pytest.raises(InputError, match=says):
    models.build('timesformer', **{'classes': 3, **fields})
