"""What every family refuses in the same words, before anything is computed."""

import functools

import jax
import jax.numpy as jnp
import pytest

from vidmodels import models
from vidmodels.typing import InputError

AXES = ('clips', 'frames', 'rows', 'columns', 'channels')


@functools.cache
def tiny(family: str, **more):
  return models.build(family, classes=5, **models.find(family).TINY, **more)


def init(model, *shape: int):
  video = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), video)


@pytest.mark.parametrize('family', models.families())
@pytest.mark.parametrize('axis', range(5), ids=AXES)
def test_video_with_nothing_along_an_axis_is_refused_with_its_shape(
  family, axis
):
  shape = [2, *models.find(family).TINY_CLIP, 3]
  shape[axis] = 0
  says = rf'shape \({", ".join(map(str, shape))}\), which has 0 {AXES[axis]};'
  with pytest.raises(InputError, match=says):
    init(tiny(family), *shape)


@pytest.mark.parametrize('axis', range(5), ids=AXES)
def test_soft_splits_refuse_the_same(axis):
  model = models.build(
    'vidtr', classes=5, layers=1, width=8, heads=2, stem='t2t'
  )
  shape = [2, 2, 32, 32, 3]
  shape[axis] = 0
  with pytest.raises(InputError, match=f'has 0 {AXES[axis]}; expected'):
    init(model, *shape)


@pytest.mark.parametrize(
  ('family', 'fields', 'says'),
  [
    ('focalnet', {'windows': (4, 3, 3, 3)}, 'has 4; expected odd'),
    ('i3d', {'stem_reach': 4}, 'expected odd numbers'),
    ('dualformer', {'built': (1, 224, 224)}, r'leaves \(0, 56, 56\) tokens'),
    *(
      (family, {'heads': 5}, 'width 768, which does not divide into 5')
      for family in ('timesformer', 'vidtr', 'vit', 'xvit')
    ),
  ],
)
def test_fields_are_refused_before_there_is_a_clip(family, fields, says):
  with pytest.raises(InputError, match=says):
    models.build(family, classes=5, **fields)


@pytest.mark.parametrize('family', models.families())
@pytest.mark.fast_every(3)
def test_other_channels_than_the_weights_have_are_named_with_the_shape(family):
  model, shape = tiny(family), (2, *models.find(family).TINY_CLIP)
  variables = init(model, *shape, 3)
  video = jax.ShapeDtypeStruct((*shape, 4), jnp.float32)
  sizes = ', '.join(map(str, shape))
  says = rf'shape \({sizes}, 4\), whose last axis has 4 channels'
  with pytest.raises(InputError, match=says):
    jax.eval_shape(model.apply, variables, video)
