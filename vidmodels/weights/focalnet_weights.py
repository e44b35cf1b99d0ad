"""FocalNet's released weights, under the three publishers' names.

Microsoft's own, that of the HF hub, and timm's. They differ in names alone,
except for two things: timm keeps linear layers as 1 x 1 convolutions, and puts
a stage's downsampling at its start where the others have it at the end of the
stage before.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from flax import linen as nn

from vidmodels.typing import InputError
from vidmodels.weights.mapping import identify, key_rules
from vidmodels.weights.mapping.identify import IMAGENET, Guess, Naming, Specs

Publisher = Literal['microsoft', 'hf', 'timm']


@dataclasses.dataclass(frozen=True)
class KeyNames:
  """What one publisher calls each thing; {s} is a stage, {i} a block of it."""

  patch: str = 'patch_embed.proj'  # the first convolution, and the norm after
  patch_norm: str = 'patch_embed.norm'
  block: str = 'layers.{s}.blocks.{i}'  # a block's prefix
  down: str = 'layers.{s}.downsample.proj'  # after stage {s}; {n} is {s} + 1
  down_norm: str = 'layers.{s}.downsample.norm'
  f: str = 'f'  # projection to query, context and gates, in this order
  h: str = 'h'  # projection of the gathered context
  out: str = 'proj'  # last projection of a modulation, and the norm before it
  mod_norm: str = 'ln'
  pre: tuple[str, str] = ('norm1', 'norm2')  # of a block with norms first
  post: tuple[str, str] = ('norm1', 'norm2')  # of a block with norms last
  gammas: tuple[str, str] = ('gamma_1', 'gamma_2')  # of layer scale
  norm: str = 'norm'  # the last norm
  head: str = 'head'  # the classifier
  ones: int = 0  # axes of size 1 at the end of linear weights


NAMES: dict[Publisher, KeyNames] = {
  'microsoft': KeyNames(),
  'hf': KeyNames(
    patch='focalnet.embeddings.patch_embeddings.projection',
    patch_norm='focalnet.embeddings.norm',
    block='focalnet.encoder.stages.{s}.layers.{i}',
    down='focalnet.encoder.stages.{s}.downsample.projection',
    down_norm='focalnet.encoder.stages.{s}.downsample.norm',
    f='projection_in',
    h='projection_context',
    out='projection_out',
    mod_norm='layernorm',
    norm='focalnet.layernorm',
    head='classifier',
  ),
  'timm': KeyNames(
    patch='stem.proj',
    patch_norm='stem.norm',
    down='layers.{n}.downsample.proj',
    down_norm='layers.{n}.downsample.norm',
    mod_norm='norm',
    post=('norm1_post', 'norm2_post'),
    gammas=('ls1.gamma', 'ls2.gamma'),
    head='head.fc',
    ones=2,
  ),
}

# --- Rules


def linear_rules(key: str, paths: str, ones: int = 0) -> key_rules.Rules:
  """A linear layer of the file to one or more of ours, separated by spaces.

  Rows of the file are those of our first layer, then of the second, and so on.
  Its weight has `ones` axes of size 1 at the end.
  """

  def load(
    arrays: key_rules.Arrays, shapes: key_rules.Shapes
  ) -> key_rules.Arrays:
    columns = np.cumsum([shape[-1] for shape in shapes])[:-1]
    array = arrays[0].reshape(arrays[0].shape[:2]).T
    return tuple(np.split(array, columns, axis=-1))

  def save(arrays: key_rules.Arrays) -> key_rules.Arrays:
    array = np.concatenate(arrays, axis=-1).T
    return (array.reshape(*array.shape, *(1,) * ones * (array.ndim - 1)),)

  layout = key_rules.Layout(load, save)
  kernels, biases = (
    ' '.join(f'{path}/{part}' for path in paths.split())
    for part in ('kernel', 'bias')
  )
  return (
    key_rules.rule(f'{key}.weight', kernels, layout),
    key_rules.rule(f'{key}.bias', biases, layout),
  )


def rules(
  levels: Sequence[int],
  *,
  publisher: Publisher = 'microsoft',
  post_norm: bool = False,
) -> key_rules.Rules:
  """The key rules of an image FocalNet; `levels` are focal levels by stage."""
  names = NAMES[publisher]
  all_rules = [
    *key_rules.conv(names.patch, 'patch/conv'),
    *key_rules.norm(names.patch_norm, 'patch/norm'),
  ]
  for s, count in enumerate(levels):
    all_rules += _stage_rules(names, s, count, post_norm)
  return (
    *all_rules,
    *key_rules.norm(names.norm, 'norm'),
    *linear_rules(names.head, 'head'),
  )


def _stage_rules(
  names: KeyNames, s: int, levels: int, post_norm: bool
) -> key_rules.Rules:
  """The rules of one stage's blocks, and of the downsampling after it."""
  block, ours = names.block.replace('{s}', str(s)), f'stage_{s}_block_{{i}}'
  mod, space = f'{block}.modulation', f'{ours}/mod/space'
  query_context_gate = f'{ours}/mod/query {space}/context {space}/gate'
  norms = names.post if post_norm else names.pre
  kernels = [
    (f'{mod}.focal_layers.{n}.0.weight', f'{space}/depthwise_{n}/kernel')
    for n in range(levels)
  ]
  return (
    *key_rules.norm(f'{block}.{norms[0]}', f'{ours}/mod_norm'),
    *linear_rules(f'{mod}.{names.f}', query_context_gate, names.ones),
    *linear_rules(f'{mod}.{names.h}', f'{space}/out', 2),
    *linear_rules(f'{mod}.{names.out}', f'{ours}/mod/out', names.ones),
    *key_rules.norm(f'{mod}.{names.mod_norm}', f'{ours}/mod/norm'),
    *(
      key_rules.rule(theirs, kernel, key_rules.convolution())
      for theirs, kernel in kernels
    ),
    *key_rules.norm(f'{block}.{norms[1]}', f'{ours}/mlp_norm'),
    *linear_rules(f'{block}.mlp.fc1', f'{ours}/mlp/up', names.ones),
    *linear_rules(f'{block}.mlp.fc2', f'{ours}/mlp/down', names.ones),
    key_rules.rule(
      f'{block}.{names.gammas[0]}', f'{ours}/mod_gamma', key_rules.vector()
    ),
    key_rules.rule(
      f'{block}.{names.gammas[1]}', f'{ours}/mlp_gamma', key_rules.vector()
    ),
    *key_rules.conv(names.down.format(s=s, n=s + 1), f'down_{s}/conv'),
    *key_rules.norm(names.down_norm.format(s=s, n=s + 1), f'down_{s}/norm'),
  )


# --- What a file tells about its model

# Published sizes by blocks and width.
SIZES: dict[tuple[tuple[int, ...], int], str] = {
  ((2, 2, 6, 2), 96): 'tiny',
  ((2, 2, 18, 2), 96): 'small',
  ((2, 2, 18, 2), 128): 'base',
}
F = 'layers.0.blocks.{i}.modulation.f.weight'
F_TEMPORAL = 'layers.0.blocks.{i}.modulation.f_temporal.weight'
# Fields that the keys and shapes of a file tell, of a video model too.
TOLD = (
  *('post_norm', 'layers', 'width', 'levels', 'windows', 'patch', 'overlap'),
  *('layer_scale', 'modulation_norm', 'tubelet', 'design', 'temporal_conv'),
)
# A field in words, for errors.
WORDS = {
  'layers': 'blocks a stage',
  'levels': 'focal levels',
  'windows': 'taps at the first focal level',
}


def guess_model(specs: Specs, publisher: Publisher) -> Guess:
  """What keys and shapes tell about a model.

  Only timm's names tell whether norms come last. In the others it is taken from
  layer scale: published models have both or neither.
  """
  shapes = {key: tuple(shape) for key, (shape, _) in specs.items()}
  names = NAMES[publisher]
  kernel = identify.find_shape(shapes, f'{names.patch}.weight')

  def block(s: int, i: int) -> str:
    return names.block.format(s=s, i=i)

  def focal_conv(s: int, level: int) -> str:
    return f'{block(s, 0)}.modulation.focal_layers.{level}.0.weight'

  def count(key: Callable[[int], str]) -> int:
    return next(i for i in itertools.count() if key(i) not in shapes)

  def each_stage(key: Callable[[int, int], str]) -> tuple[int, ...]:
    """Of every stage, how many numbers from 0 on have a key."""
    return tuple(count(functools.partial(key, s)) for s in range(stages))

  stages = count(lambda s: f'{block(s, 0)}.mlp.fc1.weight')
  layers = each_stage(lambda s, i: f'{block(s, i)}.mlp.fc1.weight')
  edge = kernel[-1]  # 2 P - 1 if patches overlap
  layer_scale = f'{block(0, 0)}.{names.gammas[0]}' in shapes
  model: dict[str, Any] = {
    'post_norm': layer_scale,
    'layers': layers,
    'width': kernel[0],
    'levels': each_stage(focal_conv),
    'windows': tuple(
      identify.find_shape(shapes, focal_conv(s, 0))[-1] for s in range(stages)
    ),
    'patch': edge if edge % 2 == 0 else (edge + 1) // 2,
    'overlap': edge % 2 == 1,
    'patch_norm': f'{names.patch_norm}.weight' in shapes,
    'layer_scale': layer_scale,
    'modulation_norm': (
      f'{block(0, 0)}.modulation.{names.mod_norm}.weight' in shapes
    ),
  }
  told = names.pre != names.post
  if told:
    model['post_norm'] = f'{block(0, 0)}.{names.post[0]}.weight' in shapes
  return Guess(
    model=model,
    assumed=() if told else ('post_norm',),
    clip=(1, 224, 224, kernel[1]),
    classes=shapes.get(f'{names.head}.bias', (0,))[0],
    size=SIZES.get((layers, kernel[0]), ''),
  )


def check_same_as_file(fields: Mapping[str, Any], model: nn.Module) -> None:
  """Refuses a model whose fields are not those of the file."""
  wrong = [
    f'{_shorten(value)} {WORDS.get(name, name)}, the model {_shorten(ours)}'
    for name, value in fields.items()
    if (ours := getattr(model, name)) != value
  ]
  if wrong:
    raise InputError(
      f'the file has {"; ".join(wrong)}; build the model with the fields of '
      'the file'
    )


def _shorten(value: Any) -> Any:
  """A tuple of equal values as one of them."""
  return value[0] if isinstance(value, tuple) and len({*value}) == 1 else value


def check_guess(model: nn.Module, guess: Guess) -> nn.Module:
  """The model, if the file is for one like it."""
  told = {
    name: guess.model[name]
    for name in TOLD
    if name in guess.model and name not in guess.assumed
  }
  check_same_as_file(told, model)
  return model


def _naming(
  publisher: Publisher, *has: str, lacks: tuple[str, ...] = (), under: str = ''
) -> Naming:
  return Naming(
    family='focalnet',
    name=publisher,
    has=(f'{NAMES[publisher].patch}.weight', *has),
    lacks=lacks,
    guess=functools.partial(guess_model, publisher=publisher),
    rules=lambda model: rules(
      model.levels, publisher=publisher, post_norm=model.post_norm
    ),
    pixels=IMAGENET,
    trained={'activation': 'gelu', 'epsilon': 1e-5},
    adapt=check_guess,
    under=under,
  )


NAMINGS = (
  _naming('microsoft', F, lacks=(F_TEMPORAL,), under='model'),
  _naming('hf'),
  _naming('timm', F),
)
