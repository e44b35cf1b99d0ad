"""What a FocalNet's file tells of its model, held to the model it is for."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from vidmodels.typing import InputError
from vidmodels.weights import naming as naming_
from vidmodels.weights._focal_names import NAMES, Naming

# Published sizes by blocks and width.
PUBLISHED = {
  ((2, 2, 6, 2), 96): 'tiny',
  ((2, 2, 18, 2), 96): 'small',
  ((2, 2, 18, 2), 128): 'base',
}
SAID = {
  'layers': 'blocks a stage',
  'levels': 'focal levels',
  'windows': 'taps at the first focal level',
}


def guess(naming: Naming, specs: naming_.Specs) -> naming_.Guess:
  """What keys and shapes tell of a model.

  That norms come last can be told in timm's names alone. In the others it is
  taken from layer scale: published models have both or neither.
  """
  names = NAMES[naming]
  naming_.size(specs, f'{names.patch}.weight', -1)
  first = specs[f'{names.patch}.weight'][0]
  block = lambda s, i: names.block.format(s=s, i=i)
  conv = lambda s, l: f'{block(s, 0)}.modulation.focal_layers.{l}.0.weight'
  stages = range(naming_.count(specs, f'{block("{i}", 0)}.mlp.fc1.weight'))
  edge = first[-1]  # 2 P - 1 if patches overlap
  layer_scale = f'{block(0, 0)}.{names.gammas[0]}' in specs
  told = names.pre != names.post
  post_norm = f'{block(0, 0)}.{names.post[0]}.weight' in specs
  model = {
    'layers': tuple(
      naming_.count(specs, f'{block(s, "{i}")}.mlp.fc1.weight') for s in stages
    ),
    'width': first[0],
    'levels': tuple(naming_.count(specs, conv(s, '{i}')) for s in stages),
    'windows': tuple(naming_.size(specs, conv(s, 0), -1) for s in stages),
    'patch': edge if edge % 2 == 0 else (edge + 1) // 2,
    'overlap': edge % 2 == 1,
    'post_norm': post_norm if told else layer_scale,
    'layer_scale': layer_scale,
    'modulation_norm': (
      f'{block(0, 0)}.modulation.{names.mod_norm}.weight' in specs
    ),
  }
  return naming_.Guess(
    model=model,
    assumed=() if told else ('post_norm',),
    clip=(1, 224, 224, first[1]),
    classes=specs.get(f'{names.head}.bias', ((0,),))[0][0],
    size=PUBLISHED.get((model['layers'], model['width']), ''),
  )


def specs_of(state: Mapping[str, np.ndarray]) -> naming_.Specs:
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


def adapt(model: nn.Module, found: naming_.Guess) -> nn.Module:
  """The model, if the file is for one like it.

  Raises:
    InputError: naming every field that differs.
  """
  known = {k: v for k, v in found.model.items() if k not in found.assumed}
  agree(known, model)
  return model
