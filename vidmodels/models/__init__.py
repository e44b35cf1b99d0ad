"""The families of video models, one file each, found by file name.

  model = models.build('timesformer', classes=400, attention='joint')
  variables = model.init(jax.random.key(0), video_BTHWC)
  logits_BK = model.apply(variables, video_BTHWC)

A new file in this package is a new family; nothing else has to know of it. It
defines

* `Model`: an `nn.video_model.VideoModel` with the fields of a recipe's `model`
  section, called as `model(video_BTHWC, train=False) -> logits_BK`; its method
  `features` gives what the head sees, [B, D];
* `SHARDING`: (regex, axes) pairs that say how parameters are split over a mesh,
  every one by the first regex found in its path;
* `TINY` and `TINY_CLIP`: fields and (frames, height, width) of a model small
  enough to try things on, for tests of whatever family there is;
* `VARIANTS`, if choices of one field ask for others of another: dicts of fields
  to try, instead of each choice by itself.

A `Model` whose blocks keep every clip's frames on the second axis may have a
method `sizes_to_split(clip) -> {what: size}`: a mesh may then split clips over
its axis 'context' (`nn.linear.keep_rows`), which must divide every one of these
sizes. It raises InputError for fields with which a block needs a clip whole.
"""

import dataclasses
import types
from typing import Any

from vidmodels.fields import modules_with
from vidmodels.typing import (
  InputError,
  brief,
  check_value,
  expected_one_of,
  unknown_name,
)

# Set by `build` and by linen, never by a recipe's model section.
RESERVED = ('parent', 'name', 'classes', 'dtype')
# Bounds on what a recipe of a stranger may ask for, far beyond any model: the
# layers are built one by one, a second for some hundred.
_MOST_LAYERS, _MOST, _MOST_CLASSES = 1000, 1 << 16, 10_000_000
DTYPES = ('float32', 'bfloat16')


def families() -> list[str]:
  """Names of all families, sorted. Imports every model file."""
  return list(modules_with('models', 'Model'))


def find(family: str) -> types.ModuleType:
  """The module of a family, with `Model` and `SHARDING`."""
  known = modules_with('models', 'Model')
  if family not in known:
    raise InputError(unknown_name('the family', family, known))
  return known[family]


def fields(family: str) -> dict[str, Any]:
  """The fields that a recipe's `model` section may set, with their defaults."""
  return {name: field.default for name, field in _fields(family).items()}


def build(
  family: str, *, classes: int, dtype: str = 'float32', **model: Any
) -> Any:
  """Makes the linen module of a family; it has no parameters until `init`.

  The dtype is of the computation, parameters are float32. An InputError names
  an unknown family or field and the nearest, or a value that does not fit.
  """
  import jax.numpy as jnp  # here, so that finding a family stays cheap

  known = _fields(family)
  for name in model:
    if name not in known:
      raise InputError(
        f'got unknown field {name!r} for {family}; '
        f'{expected_one_of(name, known)}'
      )
  if dtype not in DTYPES:
    raise InputError(unknown_name('dtype', dtype, DTYPES))
  if type(classes) is not int or not 1 <= classes <= _MOST_CLASSES:
    raise InputError(
      f'got {brief(classes)} for classes; expected 1 to {_MOST_CLASSES:,}'
    )
  values = {
    name: check_value(value, known[name].type, path=f'{family} field {name}')
    for name, value in model.items()
  }
  for name, value in values.items():
    least, most = _bounds(name)
    _check_size(value, f'{family} field {name}', least=least, most=most)
  module = find(family)
  return module.Model(classes=classes, dtype=jnp.dtype(dtype), **values)


def _bounds(name: str) -> tuple[float, int]:
  """The smallest and the largest number that a field may have."""
  counts_layers = name.endswith(('layers', 'levels'))
  # A perceptron of no units at all is none.
  least = 0.01 if name.endswith(('ratio', 'ratios')) else -float('inf')
  return least, _MOST_LAYERS if counts_layers else _MOST


def _check_size(value: Any, name: str, *, least: float, most: int) -> None:
  """Refuses numbers, alone or in tuples, that no model has."""
  if isinstance(value, tuple):
    for item in value:
      _check_size(item, name, least=least, most=most)
  elif isinstance(value, int | float) and not least <= value <= most:
    bound = f'most {most:,}' if value > most else f'least {least}'
    raise InputError(
      f'got {brief(value)} for {name}; expected at {bound}; try a value of one '
      "of the papers' models"
    )


def _fields(family: str) -> dict[str, dataclasses.Field]:
  """The dataclass fields of a family's module that a recipe may set."""
  fields = dataclasses.fields(find(family).Model)
  return {f.name: f for f in fields if f.init and f.name not in RESERVED}
