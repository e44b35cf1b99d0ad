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
    ('timesfromer', "try 'timesformer'"),
    ('zzz', 'expected one of .*timesformer'),
    ('__init__', "'__init__' for the family"),
    ('../nn', "'../nn' for the family"),
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
    ({'layer': 2}, "unknown field 'layer' for timesformer; .*; try 'layers'"),
    ({'parent': None}, "unknown field 'parent' for timesformer"),
    ({'layers': '2'}, "got str '2' for .*layers; expected an int"),
    ({'layers': 2.0}, r'got float 2\.0 for .*layers; expected an int'),
    ({'layers': True}, 'got bool True for .*layers; expected an int'),
    ({'heads': 0}, 'got 0 for .*heads; expected at least 1'),
    ({'drop_path': -0.1}, r'got -0\.1 for .*drop_path; expected from 0 to 1'),
    (
      {'attention': 'dividing'},
      r"'dividing' .* of divided, .*try 'divided'",
    ),
    ({'remat': 1}, 'got 1 for .*remat; expected one of none, block, dots'),
    ({'remat': 'blok'}, "got 'blok' for .*remat; .*try 'block'"),
    ({'classes': 0}, 'got 0 for classes'),
    ({'classes': 'ten'}, "got 'ten' for classes"),
    ({'dtype': 'float16'}, "'float16' for dtype; expected one of .*bfloat16"),
  ],
)
def test_a_wrong_field_is_refused_by_name(fields, says):
  with pytest.raises(InputError, match=says):
    models.build('timesformer', **{'classes': 3, **fields})
