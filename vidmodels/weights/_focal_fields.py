"""What a FocalNet's file tells of its model, held to the model it is for."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from vidmodels.typing import InputError
from vidmodels.weights._focal_names import NAMES, Naming

# Shape and kind of a file's tensors.
Specs = Mapping[str, tuple[tuple[int, ...], Any]]

SAID = {
  'layers': 'blocks a stage',
  'levels': 'focal levels',
  'windows': 'taps at the first focal level',
}


def fields_of(naming: Naming, specs: Specs) -> dict[str, Any]:
  """The fields of a model that keys and shapes tell.

  Which includes `post_norm` in timm's names alone, which have other keys then.

  Raises:
    InputError: if the file is incomplete.
  """
  names = NAMES[naming]
  first = shape(specs, f'{names.patch}.weight')
  block = lambda s, i: names.block.format(s=s, i=i)
  conv = lambda s, l: f'{block(s, 0)}.modulation.focal_layers.{l}.0.weight'
  stages = range(_count(specs, lambda s: f'{block(s, 0)}.mlp.fc1.weight'))
  edge = first[-1]  # 2 P - 1 if patches overlap
  layers = [
    _count(specs, lambda i, s=s: f'{block(s, i)}.mlp.fc1.weight')
    for s in stages
  ]
  levels = [_count(specs, lambda l, s=s: conv(s, l)) for s in stages]
  fields = {
    'layers': tuple(layers),
    'width': first[0],
    'levels': tuple(levels),
    'windows': tuple(shape(specs, conv(s, 0))[-1] for s in stages),
    'patch': edge if edge % 2 == 0 else (edge + 1) // 2,
    'overlap': edge % 2 == 1,
    'layer_scale': f'{block(0, 0)}.{names.gammas[0]}' in specs,
    'modulation_norm': (
      f'{block(0, 0)}.modulation.{names.mod_norm}.weight' in specs
    ),
  }
  if names.pre != names.post:
    fields['post_norm'] = f'{block(0, 0)}.{names.post[0]}.weight' in specs
  return fields


def shape(specs: Specs, key: str) -> tuple[int, ...]:
  """The shape of a tensor.

  Raises:
    InputError: if the file has none of the name.
  """
  if key not in specs:
    raise InputError(f'the file has no {key}; it is incomplete')
  return tuple(specs[key][0])


def _count(specs: Specs, key: Callable[[int], str]) -> int:
  """How many numbers from 0 on have a key."""
  return next(i for i in itertools.count() if key(i) not in specs)


def specs_of(state: Mapping[str, np.ndarray]) -> Specs:
  """Shapes and kinds of tensors, without reading them if that can be."""
  if specs := getattr(state, 'specs', None):
    return specs
  return {key: (array.shape, array.dtype) for key, array in state.items()}


def agree(theirs: Mapping[str, Any], model: nn.Module) -> None:
  """Holds the fields that a file has to those of a model.

  Raises:
    InputError: naming every field that differs, with both values.
  """
  wrong = [
    f'{_one(value)} {SAID.get(name, name)}, the model {_one(ours)}'
    for name, value in theirs.items()
    if (ours := getattr(model, name)) != value
  ]
  if wrong:
    raise InputError(
      f'the file has {"; ".join(wrong)}; build the model with the fields of '
      'the file'
    )


def _one(value: Any) -> Any:
  """A tuple of equal values as one of them."""
  return value[0] if isinstance(value, tuple) and len({*value}) == 1 else value
