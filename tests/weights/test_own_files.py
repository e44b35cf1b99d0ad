"""Our exported files say what they are, and every model has key names."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
import tiny

from vidmodels import models
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE
from vidmodels.typing import InputError
from vidmodels.weights import export, load_weights, own_files
from vidmodels.weights.description import Description
from vidmodels.weights.formats.open_file import open_file
from vidmodels.weights.mapping import apply

NAMES = ('ape', 'bee', 'cät', 'a\tb', 'eel')


# Fields that change no parameter: the document is all that holds them.
NO_TENSOR = {
  *('pos_resize', 'activation', 'epsilon', 'drop_path', 'drop_unit', 'fresh'),
  *('mix', 'mix_window', 'mix_boundary', 'mix_share', 'mix_layout', 'segment'),
  *('mix_layers', 'depthwise', 'axial_order', 'local', 'sparse'),
  *('class_copies', 'qk_scale', 'ta_query', 'pool_mean', 'frame_gates'),
}


def every_variant(*, in_tensors: bool) -> list:
  """All families with their variants; or those with parameters of their own."""
  return [
    pytest.param(family, fields, id=f'{family}-{fields}')
    for family in models.families()
    for fields in ({}, *getattr(models.find(family), 'VARIANTS', ()))
    if not in_tensors or not fields or set(fields) - NO_TENSOR
    # Every attention of TimeSformer is in its own tests, under two names.
    if not in_tensors or (family, *fields) != ('timesformer', 'attention')
  ]


def clip_of(family: str) -> tuple[int, int, int]:
  """A square clip, as recipes have: frames, height and width."""
  T, H, W = models.find(family).TINY_CLIP
  return T, max(H, W), max(H, W)


def made(family: str, fields: dict):
  """A tiny model and drawn variables; nothing is compiled."""
  module = models.find(family)
  model = models.build(family, classes=len(NAMES), **{**module.TINY, **fields})
  shapes = apply.variable_shapes(model, (*clip_of(family), 3))
  rng = np.random.default_rng(0)
  draw = lambda x: rng.normal(size=x.shape).astype(np.float32)
  return model, jax.tree.map(draw, shapes)


@functools.cache
def demo():
  return tiny.config('records')


def described(family: str, model, names: str, **changes) -> Description:
  """What a file of a model says of itself, as after a run."""
  fields = {n: getattr(model, n) for n in models.fields(family)}
  config = demo()
  frames, size, _ = clip_of(family)
  config = dataclasses.replace(
    config,
    family=family,
    model=json.loads(json.dumps(fields)),
    clip=dataclasses.replace(config.clip, frames=frames, size=size),
    augment=dataclasses.replace(config.augment, short_side=(size, size)),
    data=dataclasses.replace(
      config.data, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    ),
  )
  return Description(
    names=names,
    config=config,
    classes=ClassList(NAMES),
    task=SINGLE,
    fps=0.0,
    step=7,
    weights='ema',
    version='0.1.0',
    **changes,
  )


def written(tmp_path, family: str, fields: dict, *, to='npz', names=''):
  """A tiny model, its variables, and a file of it that says what it is."""
  model, variables = made(family, fields)
  naming, state = export.name_tensors(family, model, variables, name=names)
  text = described(family, model, naming.name).to_json()
  path = tmp_path / f'file.{to}'
  export.write(path, state, to=to, under=naming.under, description=text)
  return model, variables, path


@pytest.mark.parametrize(('family', 'fields'), every_variant(in_tensors=True))
@pytest.mark.fast_every(8)
def test_every_variant_is_written_and_read_without_a_guess(
  tmp_path, family, fields
):
  model, variables, path = written(tmp_path, family, fields)
  imported = load_weights.load_path(path, family)
  assert imported.report.random == {}
  for name in models.fields(family):
    assert getattr(imported.model, name) == getattr(model, name), name
  jax.tree.map(np.testing.assert_array_equal, imported.variables, variables)
  assert imported.labels == NAMES
  assert imported.assumed == {}
  assert imported.pixels.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(('family', 'fields'), every_variant(in_tensors=False))
def test_a_file_says_every_field_of_its_model(family, fields):
  module = models.find(family)
  model = models.build(family, classes=5, **{**module.TINY, **fields})
  text = described(family, model, 'vidmodels').to_json()
  again = Description.from_json(text, 'file').config
  assert models.build(family, classes=5, **again.model) == model


@pytest.mark.parametrize('to', ['npz', 'safetensors'])
def test_other_code_sees_the_tensors_alone(tmp_path, to):
  from safetensors.numpy import load_file

  model, variables, path = written(tmp_path, 'timesformer', {}, to=to)
  _, state = export.name_tensors('timesformer', model, variables)
  theirs = dict(np.load(path)) if to == 'npz' else load_file(path)
  assert set(theirs) == set(state)
  for key, array in state.items():
    np.testing.assert_array_equal(theirs[key], array)


def test_more_names_than_an_npz_has_room_for_are_refused(tmp_path):
  path = tmp_path / 'f.npz'
  state = {'a': np.zeros(2, np.float32)}
  fits = '{' + ' ' * (export.LONGEST_COMMENT - 1)
  with pytest.raises(InputError, match=r'65535.*to=safetensors'):
    export.write(path, state, to='npz', description=fits + ' ')
  assert not path.exists()
  export.write(path, state, to='npz', description=fits)
  assert open_file(path).description == fits


def test_a_stranger_s_model_that_cannot_be_built_is_named(tmp_path):
  _, _, path = written(tmp_path, 'timesformer', {})
  file = open_file(path)
  said = json.loads(file.description)
  for field, value in (('layers', 10**9), ('heads', 5), ('nope', 1)):
    said['recipe']['model'] = {field: value}
    broken = dataclasses.replace(file, description=json.dumps(said))
    with pytest.raises(InputError, match=r'file\.npz.*cannot|file\.npz.*none'):
      own_files.list_matches(broken)
