"""I3D-R50's released weights, and those of an image ResNet-50 it starts from.

Keys are those of mmaction2's recogniser (`backbone.`, `cls_head.`), of
SlowFast's model in PyTorch (`s1.pathway0_stem.` ...; the model zoo's Caffe2
file has other names), or of torchvision's ResNet.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vidmodels.models import i3d
from vidmodels.typing import InputError
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books
from vidmodels.weights.mapping.rules import (
  Layout,
  Rule,
  convolution,
  drop,
  rule,
  vector,
)

Release = Literal['mmaction2', 'slowfast']

# Our layers of a block, in the order of the releases' a, b, c or 1, 2, 3.
LAYERS = ('reduce', 'space', 'expand')
STATS = (('running_mean', 'mean'), ('running_var', 'var'))
STEMS = {'mmaction2': 'backbone.conv1', 'slowfast': 's1.pathway0_stem'}
HEADS = {'mmaction2': 'cls_head.fc_cls', 'slowfast': 'head.projection'}
COUNTED = 'batches seen: nothing reads it, since the momentum is fixed'


def layer(
  conv: str, norm: str, path: str, kernel: Layout | None = None
) -> tuple[Rule, ...]:
  """A convolution and its batch norm.

  Args:
    conv: key of the convolution in the file.
    norm: key of the norm.
    path: our `ConvNorm`.
    kernel: between the kernels; by default they differ in their axes alone.
  """
  return (
    rule(f'{conv}.weight', f'{path}/conv/kernel', kernel or convolution()),
    rule(f'{norm}.weight', f'{path}/norm/scale', vector()),
    rule(f'{norm}.bias', f'{path}/norm/bias', vector()),
    *(
      rule(f'{norm}.{theirs}', f'{layers.STATS}{path}/norm/{ours}', vector())
      for theirs, ours in STATS
    ),
    drop(f'{norm}.num_batches_tracked', COUNTED),
  )


def rules(release: Release, stages: int = 4) -> tuple[Rule, ...]:
  """The key rules of a release of the video model."""
  stem, head = STEMS[release], HEADS[release]
  found = layer(f'{stem}.conv', f'{stem}.bn', 'stem')
  for s in range(1, stages + 1):
    ours = f'stage{s}_block{{i}}'
    for number, letter, name in zip('123', 'abc', LAYERS, strict=True):
      if release == 'mmaction2':
        key = f'backbone.layer{s}.{{i}}.conv{number}'
        found += layer(f'{key}.conv', f'{key}.bn', f'{ours}/{name}')
      else:
        key = f's{s + 1}.pathway0_res{{i}}.branch2.{letter}'
        found += layer(key, f'{key}_bn', f'{ours}/{name}')
    if release == 'mmaction2':
      key = f'backbone.layer{s}.{{i}}.downsample'
      found += layer(f'{key}.conv', f'{key}.bn', f'{ours}/project')
    else:
      key = f's{s + 1}.pathway0_res{{i}}.branch1'
      found += layer(key, f'{key}_bn', f'{ours}/project')
  return (*found, *layers.dense(head, 'head'))


def image_rules(stages: int = 4) -> tuple[Rule, ...]:
  """The key rules of torchvision's ResNet: kernels get a time axis."""
  grow = repeated()
  found = layer('conv1', 'bn1', 'stem', grow)
  for s in range(1, stages + 1):
    key, ours = f'layer{s}.{{i}}', f'stage{s}_block{{i}}'
    for number, name in zip('123', LAYERS, strict=True):
      names = f'{key}.conv{number}', f'{key}.bn{number}'
      found += layer(*names, f'{ours}/{name}', grow)
    names = f'{key}.downsample.0', f'{key}.downsample.1'
    found += layer(*names, f'{ours}/project', grow)
  why = 'the image classes: a video model has its own'
  return (*found, drop('fc.weight', why), drop('fc.bias', why))


def repeated() -> Layout:
  """torch's image kernel [out, in, H, W] to our [T, H, W, in, out].

  Every frame gets the kernel divided by the number of frames, so that a clip
  of one frame over and over is answered as the image is. Back, frames add up.
  """
  flat = convolution()

  def load(arrays, shapes):
    (kernel,) = flat.load(arrays, shapes)
    T = shapes[0][0]
    return (np.repeat(kernel[None] / np.float32(T), T, axis=0),)

  def save(arrays):
    return flat.save((arrays[0].sum(0),))

  return Layout(load, save)


def release_of(state: Mapping[str, np.ndarray]) -> Release:
  """Whose names a file's keys are.

  Raises:
    InputError: for keys of neither release.
  """
  for release, stem in STEMS.items():
    if f'{stem}.conv.weight' in state:
      return release
  raise InputError(
    f'the file has neither backbone.conv1.conv.weight nor '
    f's1.pathway0_stem.conv.weight; its keys start {list(state)[:3]}; give an '
    "I3D's state dict of mmaction2 or SlowFast, without prefixes"
  )


def load(
  state: Mapping[str, np.ndarray],
  model: i3d.Model,
  *,
  books: Books | None = None,
) -> dict[str, Any]:
  """Turns a released state dict into our variables.

  Args:
    state: tensors by mmaction2's or SlowFast's key, each used once.
    model: the model that they are for.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model`, {'params', 'batch_stats'}: numpy arrays, most of them
    views of `state`.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  release = release_of(state)
  channels = state[f'{STEMS[release]}.conv.weight'].shape[1]
  return layers.load(
    rules(release, len(model.reach)),
    state,
    model,
    video=(*_clip(model), channels),
    books=books,
  )


def save(
  variables: Mapping[str, Any],
  model: i3d.Model,
  release: Release = 'mmaction2',
) -> dict[str, np.ndarray]:
  """Turns our variables into a release's state dict: `load` undone.

  The counts of batches that torch keeps beside its statistics are not made up.
  """
  return layers.save(rules(release, len(model.reach)), variables)


def inflate(
  state: Mapping[str, np.ndarray],
  model: i3d.Model,
  *,
  books: Books | None = None,
) -> dict[str, Any]:
  """A video model's start from an image ResNet.

  Args:
    state: torchvision's ResNet-50, each tensor used once; its classes are left
      out.
    model: the video model.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model` but for the head, which stays as it was drawn.

  Raises:
    InputError: if a key is left over, or a shape is not the model's.
  """
  if 'conv1.weight' not in state:
    raise InputError(
      f'the file has no conv1.weight; its keys start {list(state)[:3]}; give '
      "torchvision's ResNet, without prefixes"
    )
  return layers.load(
    image_rules(len(model.reach)),
    state,
    model,
    video=(*_clip(model), state['conv1.weight'].shape[1]),
    random=(('^head/', 'the classes of the videos are new'),),
    books=books,
  )


def _clip(model: i3d.Model) -> tuple[int, int, int]:
  """Some clip that the model takes: no parameter depends on its size."""
  return 2 * model.stem_stride * model.pool_stride, i3d.STEM, i3d.STEM
