"""I3D's files: mmaction2's, SlowFast's, and an image ResNet's."""

import functools
import re

from vidmodels.models import i3d as models
from vidmodels.weights import i3d_weights
from vidmodels.weights.mapping import identify, layers
from vidmodels.weights.mapping.identify import (
  IMAGENET,
  Guess,
  Naming,
  Pixels,
  Specs,
)

PIXELS = Pixels(mean=(0.45,) * 3, std=(0.225,) * 3)  # SlowFast's
TRAINED = {'activation': 'relu', 'epsilon': 1e-5}  # of batch norms
STRIDES = (
  'frames that the stem and the first pool skip are in no tensor: 2 and 2 in '
  "mmaction2's light model, 1 and 1 in its heavy one and in SlowFast's"
)
IMAGE = 'an image model: its kernels are spread over the frames of ours'


def guess(specs: Specs, release: i3d_weights.Release) -> Guess:
  """What a file's keys and shapes say of its model."""
  paths = identify.by_path(
    i3d_weights.rules(release, _stages(specs, release)), specs
  )
  width, C, stem, _, _ = identify.shape(paths, 'stem/conv/kernel')
  reach = tuple(
    tuple(
      identify.shape(paths, f'stage{s}_block{i}/reduce/conv/kernel')[2]
      for i in range(identify.layers(paths, f'stage{s}_block{{i}}/'))
    )
    for s in range(1, _stages(specs, release) + 1)
  )
  light = release == 'mmaction2' and reach != models.HEAVY
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
    classes=paths['head/bias'][0] if 'head/bias' in paths else 0,
    size='R50' if (width, *map(len, reach)) == (64, 3, 4, 6, 3) else '',
    notes=(STRIDES,),
  )


def _stages(specs: Specs, release: i3d_weights.Release) -> int:
  """Stages of blocks, which both releases number, from 1 or from 2."""
  pattern, first = {
    'mmaction2': (r'backbone\.layer(\d+)\.', 1),
    'slowfast': (r's(\d+)\.pathway0_res', 2),
  }[release]
  found = {int(m[1]) for key in specs if (m := re.match(pattern, key))}
  return max(found, default=first - 1) - first + 1


def image_guess(specs: Specs) -> Guess:
  """What an image ResNet's file says of the I3D that grows from it."""
  stages = max(
    (int(m[1]) for key in specs if (m := re.match(r'layer(\d+)\.', key))),
    default=0,
  )
  depths = [
    identify.layers(specs, f'layer{s}.{{i}}.') for s in range(1, stages + 1)
  ]
  width, C, _, _ = identify.shape(
    {k: shape for k, (shape, _) in specs.items()}, 'conv1.weight'
  )
  published = tuple(map(len, models.LIGHT)) == tuple(depths)
  return Guess(
    model={
      'width': width,
      'reach': models.LIGHT if published else tuple((1,) * n for n in depths),
    },
    assumed=('reach',),
    clip=(32, 224, 224, C),
    classes=0,
    size='R50' if published and width == 64 else '',
    notes=(IMAGE,),
  )


def _naming(release: i3d_weights.Release, under: str, pixels: Pixels) -> Naming:
  return Naming(
    family='i3d',
    name=release,
    has=(
      f'{i3d_weights.STEMS[release]}.conv.weight',
      f'{i3d_weights.HEADS[release]}.weight',
    ),
    guess=functools.partial(guess, release=release),
    rules=lambda model: i3d_weights.rules(release, len(model.reach)),
    pixels=pixels,
    trained=TRAINED,
    extras=layers.batch_counters,
    under=under,
  )


NAMINGS = (
  _naming('mmaction2', 'state_dict', IMAGENET),
  _naming('slowfast', 'model_state', PIXELS),
  Naming(
    family='i3d',
    name='torchvision',
    has=('conv1.weight', 'layer1.{i}.conv3.weight', 'bn1.running_var'),
    guess=image_guess,
    rules=lambda model: i3d_weights.image_rules(len(model.reach)),
    pixels=IMAGENET,
    trained=TRAINED,
  ),
)
