"""FocalNet's released weights, in the three namings they are published in.

Microsoft's own, that of the HF hub, and timm's. They differ in names alone, but
for two things: timm keeps linear layers as 1 x 1 convolutions, and puts a
stage's downsampling at its start where the others have it at the end of the
stage before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from vidmodels.typing import InputError
from vidmodels.weights import parts
from vidmodels.weights._focal_names import NAMES, Names, Naming, naming_of
from vidmodels.weights.rules import Layout, Rule, convolution, rule, vector


def stacked(ones: int = 0) -> Layout:
  """A linear weight [out, in, 1...] to one or more of ours, [in, out_i] each.

  Rows of the file are those of the first, then of the second, and so on.

  Args:
    ones: axes of size 1 that the file has at the end.
  """

  def load(arrays, shapes):
    rows = np.cumsum([shape[-1] for shape in shapes])[:-1]
    kernel = arrays[0].reshape(arrays[0].shape[:2]).T
    return tuple(np.split(kernel, rows, axis=1))

  def save(arrays):
    kernel = np.concatenate(arrays, axis=1).T
    return (kernel.reshape(*kernel.shape, *(1,) * ones),)

  return Layout(load, save)


def stacked_vector() -> Layout:
  """The bias of `stacked`."""

  def load(arrays, shapes):
    rows = np.cumsum([shape[0] for shape in shapes])[:-1]
    return tuple(np.split(arrays[0], rows))

  return Layout(load, lambda arrays: (np.concatenate(arrays),))


def linear(key: str, paths: str, ones: int = 0) -> tuple[Rule, ...]:
  """A linear layer of a file to one or more of ours, which spaces separate."""
  kernels, biases = (
    ' '.join(f'{path}/{part}' for path in paths.split())
    for part in ('kernel', 'bias')
  )
  return (
    rule(f'{key}.weight', kernels, stacked(ones)),
    rule(f'{key}.bias', biases, stacked_vector()),
  )


def convolved(key: str, path: str) -> tuple[Rule, ...]:
  """A convolution with a bias."""
  return (
    rule(f'{key}.weight', f'{path}/kernel', convolution()),
    rule(f'{key}.bias', f'{path}/bias', vector()),
  )


def rules(
  levels: Sequence[int],
  *,
  naming: Naming = 'microsoft',
  post_norm: bool = False,
  stream: str = 'space',
) -> tuple[Rule, ...]:
  """The key rules of an image FocalNet.

  Args:
    levels: focal levels of each stage.
    naming: of the file.
    post_norm: whether blocks have their norms last.
    stream: what our modulators in the place of FocalNet's are called.
  """
  names = NAMES[naming]
  stages = [
    part
    for s, count in enumerate(levels)
    for part in _stage(names, s, count, post_norm, stream)
  ]
  return (
    *convolved(names.patch, 'patch/conv'),
    *parts.norm(names.patch_norm, 'patch/norm'),
    *stages,
    *parts.norm(names.norm, 'norm'),
    *linear(names.head, 'head'),
  )


def _stage(names: Names, s: int, levels: int, post_norm: bool, stream: str):
  """The rules of one stage's blocks, and of the downsampling after it."""
  theirs, ours = names.block.replace('{s}', str(s)), f'stage_{s}_block_{{i}}'
  mod, at = f'{theirs}.modulation', f'{ours}/mod/{stream}'
  at_f = f'{ours}/mod/query {at}/context {at}/gate'
  norms = names.post if post_norm else names.pre
  down = names.down.format(s=s, n=s + 1)
  down_norm = names.down_norm.format(s=s, n=s + 1)
  return (
    *parts.norm(f'{theirs}.{norms[0]}', f'{ours}/mod_norm'),
    *linear(f'{mod}.{names.f}', at_f, names.ones),
    *linear(f'{mod}.{names.h}', f'{at}/out', 2),
    *linear(f'{mod}.{names.out}', f'{ours}/mod/out', names.ones),
    *parts.norm(f'{mod}.{names.mod_norm}', f'{ours}/mod/norm'),
    *(
      rule(
        f'{mod}.focal_layers.{level}.0.weight',
        f'{at}/depthwise_{level}/kernel',
        convolution(),
      )
      for level in range(levels)
    ),
    *parts.norm(f'{theirs}.{norms[1]}', f'{ours}/mlp_norm'),
    *linear(f'{theirs}.mlp.fc1', f'{ours}/mlp/up', names.ones),
    *linear(f'{theirs}.mlp.fc2', f'{ours}/mlp/down', names.ones),
    rule(f'{theirs}.{names.gammas[0]}', f'{ours}/mod_gamma', vector()),
    rule(f'{theirs}.{names.gammas[1]}', f'{ours}/mlp_gamma', vector()),
    *convolved(down, f'down_{s}/conv'),
    *parts.norm(down_norm, f'down_{s}/norm'),
  )


def fields_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """The fields of a model that a file's keys and shapes tell.

  Post-norm can be told in timm's naming alone, and is left out.

  Returns:
    layers, width, levels, windows, patch, tubelet, overlap, layer_scale,
    modulation_norm and classes.

  Raises:
    InputError: if the file is no FocalNet.
  """
  names = NAMES[naming_of(state)]
  patch = _shape(state, f'{names.patch}.weight')
  key = lambda s, i: names.block.format(s=s, i=i)
  conv = lambda s, l: f'{key(s, 0)}.modulation.focal_layers.{l}.0.weight'
  stages = _count(lambda s: conv(s, 0) in state)
  edge = patch[-1]  # 2 P - 1 if patches overlap
  return {
    'layers': tuple(
      _count(lambda i, s=s: f'{key(s, i)}.mlp.fc1.weight' in state)
      for s in range(stages)
    ),
    'width': patch[0],
    'levels': tuple(
      _count(lambda l, s=s: conv(s, l) in state) for s in range(stages)
    ),
    'windows': tuple(_shape(state, conv(s, 0))[-1] for s in range(stages)),
    'patch': edge if edge % 2 == 0 else (edge + 1) // 2,
    'tubelet': patch[2] if len(patch) == 5 else 1,
    'overlap': edge % 2 == 1,
    'layer_scale': f'{key(0, 0)}.{names.gammas[0]}' in state,
    'modulation_norm': (
      f'{key(0, 0)}.modulation.{names.mod_norm}.weight' in state
    ),
    'classes': _shape(state, f'{names.head}.bias')[0],
  }


def _shape(state: Mapping[str, np.ndarray], key: str) -> tuple[int, ...]:
  """A tensor's shape, read without the tensor where the file allows it."""
  if key not in state:
    raise InputError(f'the file has no {key}; is all of it there?')
  specs = getattr(state, 'specs', None)
  return tuple(specs[key][0] if specs else state[key].shape)


def _count(there) -> int:
  """How many numbers from 0 on are there."""
  number = 0
  while there(number):
    number += 1
  return number


SAID = {
  'layers': 'blocks a stage',
  'levels': 'focal levels',
  'windows': 'taps at the first focal level',
  'classes': 'classes',
}


def agree(
  state: Mapping[str, np.ndarray], model: nn.Module, skip: Sequence[str] = ()
) -> None:
  """Holds what a file tells of its model to a model.

  Args:
    state: the file's tensors by key.
    model: of ours; a field that it lacks is as the file has it.
    skip: fields that may differ.

  Raises:
    InputError: naming every field that differs, with both values.
  """
  wrong = []
  for name, theirs in fields_of(state).items():
    ours = getattr(model, name, theirs)
    if name in skip or ours == theirs:
      continue
    said = SAID.get(name, name)
    wrong.append(f'{_one(theirs)} {said}, the model {_one(ours)}')
  if wrong:
    raise InputError(
      f'the file has {"; ".join(wrong)}; build the model with the fields of '
      'the file'
    )


def _one(value: Any) -> Any:
  """A tuple of equal values as one of them."""
  return value[0] if isinstance(value, tuple) and len({*value}) == 1 else value


def load(state: Mapping[str, np.ndarray], model: nn.Module) -> dict[str, Any]:
  """Turns a file of any of the three namings into variables.

  Args:
    state: tensors by the file's key, every one of which is used once.
    model: an image FocalNet.

  Returns:
    Variables of `model`: numpy arrays, most of them views of `state`.

  Raises:
    InputError: if the file is for another model, a key is left over, or a
      parameter is not filled.
  """
  agree(state, model)
  found = rules(
    model.levels, naming=naming_of(state), post_norm=model.post_norm
  )
  return parts.load(found, state, model, video=smallest(state, model))


def save(
  variables: Mapping[str, Any],
  model: nn.Module,
  *,
  naming: Naming = 'microsoft',
) -> dict[str, np.ndarray]:
  """Turns our variables into a file's tensors: `load` undone."""
  found = rules(model.levels, naming=naming, post_norm=model.post_norm)
  return parts.save(found, variables)


def smallest(
  state: Mapping[str, np.ndarray], model: nn.Module
) -> tuple[int, int, int, int]:
  """Frames, height, width and channels of a clip that the model can take."""
  names = NAMES[naming_of(state)]
  size = model.patch << (len(model.layers) - 1)
  channels = _shape(state, f'{names.patch}.weight')[1]
  return getattr(model, 'tubelet', 1), size, size, channels
