"""I3D's released weights, and those of an image ResNet that it starts from.

Keys are those of mmaction2's recogniser (`backbone.`, `cls_head.`), of
SlowFast's model in PyTorch (`s1.pathway0_stem.` ...; the model zoo's Caffe2
file has other names), or of torchvision's ResNet.
"""

import functools
import re
from typing import Any, Literal

from vidmodels.models import i3d
from vidmodels.weights.mapping import apply, identify, key_rules
from vidmodels.weights.mapping.identify import IMAGENET, Guess, Naming, Specs

Publisher = Literal['mmaction2', 'slowfast']

# Our layers of a block, in the order of the releases' a, b, c or 1, 2, 3.
LAYERS = ('reduce', 'space', 'expand')
STEMS = {'mmaction2': 'backbone.conv1', 'slowfast': 's1.pathway0_stem'}
HEADS = {'mmaction2': 'cls_head.fc_cls', 'slowfast': 'head.projection'}
SLOWFAST_PIXELS = identify.Pixels(mean=(0.45,) * 3, std=(0.225,) * 3)
STRIDES = (
  'frames that the stem and the first pool skip are in no tensor: 2 and 2 in '
  "mmaction2's light model, 1 and 1 in its heavy one and in SlowFast's"
)
# Width, and the number of blocks in each stage.
SIZES: dict[tuple[int, ...], str] = {
  (64, 3, 4, 6, 3): 'R50',
  (64, 3, 4, 23, 3): 'R101',
}
IMAGE = 'an image model: its kernels are spread over the frames of ours'


def _conv_norm_rules(
  conv: str, norm_key: str, path: str, kernel: key_rules.Layout | None = None
) -> key_rules.Rules:
  """The rules of our `ConvNorm`: no bias, and `kernel` is `convolution()`."""
  return (
    key_rules.rule(
      f'{conv}.weight', f'{path}/conv/kernel', kernel or key_rules.convolution()
    ),
    *key_rules.batch_norm(norm_key, f'{path}/norm'),
  )


def rules(publisher: Publisher, stages: int = 4) -> key_rules.Rules:
  """The key rules of a release of the video model."""
  stem, mmaction = STEMS[publisher], publisher == 'mmaction2'
  all_rules = _conv_norm_rules(f'{stem}.conv', f'{stem}.bn', 'stem')
  for s in range(1, stages + 1):
    ours = f'stage{s}_block{{i}}'
    if mmaction:
      block = f'backbone.layer{s}.{{i}}'
      keys = [f'{block}.conv{n}' for n in '123'] + [f'{block}.downsample']
    else:
      block = f's{s + 1}.pathway0_res{{i}}'
      keys = [f'{block}.branch2.{a}' for a in 'abc'] + [f'{block}.branch1']
    for key, name in zip(keys, (*LAYERS, 'project'), strict=True):
      pair = (f'{key}.conv', f'{key}.bn') if mmaction else (key, f'{key}_bn')
      all_rules += _conv_norm_rules(*pair, f'{ours}/{name}')
  return (*all_rules, *key_rules.dense(HEADS[publisher], 'head'))


def image_rules(stages: int = 4) -> key_rules.Rules:
  """The key rules of torchvision's ResNet; its kernels get a time axis."""
  inflate = key_rules.inflated_convolution()
  all_rules = _conv_norm_rules('conv1', 'bn1', 'stem', inflate)
  for s in range(1, stages + 1):
    key, ours = f'layer{s}.{{i}}', f'stage{s}_block{{i}}'
    pairs = [(f'{key}.conv{n}', f'{key}.bn{n}') for n in '123']
    pairs.append((f'{key}.downsample.0', f'{key}.downsample.1'))
    for pair, name in zip(pairs, (*LAYERS, 'project'), strict=True):
      all_rules += _conv_norm_rules(*pair, f'{ours}/{name}', inflate)
  why = 'the image classes: a video model has its own'
  return (
    *all_rules,
    key_rules.drop('fc.weight', why),
    key_rules.drop('fc.bias', why),
  )


def guess_model(specs: Specs, publisher: Publisher) -> Guess:
  """What a file's keys and shapes tell about its model."""
  # Both releases number the stages of blocks, from 1 or from 2.
  pattern, first = {
    'mmaction2': (r'backbone\.layer(\d+)\.', 1),
    'slowfast': (r's(\d+)\.pathway0_res', 2),
  }[publisher]
  stages = _highest_number(pattern, specs, first - 1) - first + 1
  shapes = identify.shapes_by_path(rules(publisher, stages), specs)
  width, C, stem, _, _ = identify.find_shape(shapes, 'stem/conv/kernel')
  reach = tuple(
    tuple(
      identify.find_shape(shapes, f'stage{s}_block{i}/reduce/conv/kernel')[2]
      for i in range(identify.count_layers(shapes, f'stage{s}_block{{i}}/'))
    )
    for s in range(1, stages + 1)
  )
  # In mmaction2's heavy model every block sees three frames.
  light = publisher == 'mmaction2' and any(1 in stage for stage in reach)
  stride = 2 if light else 1
  return Guess(
    model={
      'width': width,
      'reach': reach,
      'stem_reach': stem,
      'stem_stride': stride,
      'pool_stride': stride,
    },
    assumed=('stem_stride', 'pool_stride'),
    clip=(32, 224, 224, C),
    classes=identify.count_classes(shapes),
    size=SIZES.get((width, *map(len, reach)), ''),
    notes=(STRIDES,),
  )


def guess_from_image(specs: Specs) -> Guess:
  """What an image ResNet's file tells about the I3D that starts from it."""
  stages = _highest_number(r'layer(\d+)\.', specs, 0)
  blocks = [f'layer{s}.{{i}}.' for s in range(1, stages + 1)]
  depths = [identify.count_layers(specs, block) for block in blocks]
  shapes = {key: shape for key, (shape, _) in specs.items()}
  width, C, _, _ = identify.find_shape(shapes, 'conv1.weight')
  known = {tuple(map(len, r)): r for r in (i3d.LIGHT, i3d.LIGHT_101)}
  reach = known.get(tuple(depths), tuple((1,) * n for n in depths))
  return Guess(
    model={'width': width, 'reach': reach},
    assumed=('reach',),
    clip=(32, 224, 224, C),
    classes=0,
    size=SIZES.get((width, *depths), ''),
    notes=(IMAGE,),
  )


def _highest_number(pattern: str, specs: Specs, default: int) -> int:
  """The highest number that a pattern finds at the start of a key."""
  matches = (re.match(pattern, key) for key in specs)
  return max((int(m[1]) for m in matches if m), default=default)


_i3d = functools.partial(
  Naming, family='i3d', trained={'activation': 'relu', 'epsilon': 1e-5}
)


def _released(publisher: Publisher, **more: Any) -> Naming:
  return _i3d(
    name=publisher,
    has=(f'{STEMS[publisher]}.conv.weight', f'{HEADS[publisher]}.weight'),
    guess=functools.partial(guess_model, publisher=publisher),
    rules=lambda model: rules(publisher, len(model.reach)),
    extras=apply.batch_counters,
    **more,
  )


NAMINGS = (
  _released('mmaction2', under='state_dict', pixels=IMAGENET),
  _released('slowfast', under='model_state', pixels=SLOWFAST_PIXELS),
  _i3d(
    name='torchvision',
    has=('conv1.weight', 'layer1.{i}.conv3.weight', 'bn1.running_var'),
    guess=guess_from_image,
    rules=lambda model: image_rules(len(model.reach)),
    pixels=IMAGENET,
  ),
)
