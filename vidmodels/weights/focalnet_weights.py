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

from vidmodels.weights._focal_fields import agree, fields_of, shape, specs_of
from vidmodels.weights._focal_names import NAMES, KeyNames, Naming, naming_of
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books
from vidmodels.weights.mapping.rules import (
  Layout,
  Rule,
  convolution,
  rule,
  vector,
)


def split_linear(ones: int = 0) -> Layout:
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


def split_vector() -> Layout:
  """The bias of `split_linear`."""

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
    rule(f'{key}.weight', kernels, split_linear(ones)),
    rule(f'{key}.bias', biases, split_vector()),
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
    *layers.norm(names.patch_norm, 'patch/norm'),
    *stages,
    *layers.norm(names.norm, 'norm'),
    *linear(names.head, 'head'),
  )


def _stage(names: KeyNames, s: int, levels: int, post_norm: bool, stream: str):
  """The rules of one stage's blocks, and of the downsampling after it."""
  theirs, ours = names.block.replace('{s}', str(s)), f'stage_{s}_block_{{i}}'
  mod, at = f'{theirs}.modulation', f'{ours}/mod/{stream}'
  at_f = f'{ours}/mod/query {at}/context {at}/gate'
  norms = names.post if post_norm else names.pre
  down = names.down.format(s=s, n=s + 1)
  down_norm = names.down_norm.format(s=s, n=s + 1)
  return (
    *layers.norm(f'{theirs}.{norms[0]}', f'{ours}/mod_norm'),
    *linear(f'{mod}.{names.f}', at_f, names.ones),
    *linear(f'{mod}.{names.h}', f'{at}/out', 2),
    *linear(f'{mod}.{names.out}', f'{ours}/mod/out', names.ones),
    *layers.norm(f'{mod}.{names.mod_norm}', f'{ours}/mod/norm'),
    *(
      rule(
        f'{mod}.focal_layers.{level}.0.weight',
        f'{at}/depthwise_{level}/kernel',
        convolution(),
      )
      for level in range(levels)
    ),
    *layers.norm(f'{theirs}.{norms[1]}', f'{ours}/mlp_norm'),
    *linear(f'{theirs}.mlp.fc1', f'{ours}/mlp/up', names.ones),
    *linear(f'{theirs}.mlp.fc2', f'{ours}/mlp/down', names.ones),
    rule(f'{theirs}.{names.gammas[0]}', f'{ours}/mod_gamma', vector()),
    rule(f'{theirs}.{names.gammas[1]}', f'{ours}/mlp_gamma', vector()),
    *convolved(down, f'down_{s}/conv'),
    *layers.norm(down_norm, f'down_{s}/norm'),
  )


def load(
  state: Mapping[str, np.ndarray],
  model: nn.Module,
  *,
  books: Books | None = None,
) -> dict[str, Any]:
  """Turns a file of any of the three namings into variables.

  Args:
    state: tensors by the file's key, every one of which is used once.
    model: an image FocalNet.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model`: numpy arrays, most of them views of `state`.

  Raises:
    InputError: if the file is for another model, a key is left over, or a
      parameter is not filled.
  """
  naming, specs = naming_of(state), specs_of(state)
  agree(fields_of(naming, specs), model)
  channels = shape(specs, f'{NAMES[naming].patch}.weight')[1]
  size = model.patch << len(model.layers)
  found = rules(model.levels, naming=naming, post_norm=model.post_norm)
  return layers.load(
    found, state, model, video=(1, size, size, channels), books=books
  )


def save(
  variables: Mapping[str, Any],
  model: nn.Module,
  *,
  naming: Naming = 'microsoft',
) -> dict[str, np.ndarray]:
  """Turns our variables into a file's tensors: `load` undone."""
  found = rules(model.levels, naming=naming, post_norm=model.post_norm)
  return layers.save(found, variables)
