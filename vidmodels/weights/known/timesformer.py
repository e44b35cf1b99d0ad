"""TimeSformer's files: the authors' and those of the Hugging Face hub."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from vidmodels.models import timesformer
from vidmodels.weights import timesformer_weights
from vidmodels.weights.mapping import identify, position_tables
from vidmodels.weights.mapping.identify import Guess, Naming, Pixels, Specs
from vidmodels.weights.mapping.rules import Rule

SOURCES = timesformer_weights.SOURCES
AMBIGUOUS = {'divided': ('attention',), 'space': ('positions',)}
RGB = Pixels(mean=(0.45,) * 3, std=(0.225,) * 3)
SSV2 = 174  # classes of Something-Something V2, whose readers gave BGR
NOTE = (
  'released weights for Something-Something V2 were trained on BGR frames, '
  'those for other sets on RGB, scaled by mean .45 and std .225; a file of 174 '
  'classes is taken to be of the former'
)


def guess(specs: Specs, spelling: timesformer_weights.Naming) -> Guess:
  """What a file's keys and shapes say of its model."""
  paths = identify.by_path(_rules(spelling), specs)
  width = identify.shape(paths, 'patch/bias')[0]
  _, C, _, P = identify.shape(paths, 'patch/kernel')
  layers = identify.layers(paths)
  scheme = _scheme(paths)
  has_time = 'time_pos/table' in paths
  rows = identify.shape(paths, 'space_pos/table')[1]
  frames = paths['time_pos/table'][1] if has_time else 1
  hidden = identify.shape(paths, 'block_0/mlp/up/bias')[0]
  classes = paths['head/bias'][0] if 'head/bias' in paths else 0
  return Guess(
    model={
      'layers': layers,
      'width': width,
      'heads': identify.heads(width),
      'mlp_ratio': hidden / width,
      'patch': P,
      'attention': scheme,
      'qkv_bias': 'block_0/space/attn/qkv/bias' in paths,
      'positions': 'space_time' if has_time or scheme == 'space' else 'space',
    },
    # Orders of time and space look alike, and so do space's positions.
    assumed=('heads', *AMBIGUOUS.get(scheme, ())),
    clip=(frames, *position_tables.size(rows - 1, P), C),
    places=rows - 1,
    classes=classes,
    size=identify.vit_size(width, layers, P),
    notes=(NOTE,),
    pixels=dataclasses.replace(RGB, order='BGR' if classes == SSV2 else 'RGB'),
  )


def _scheme(paths: Mapping[str, tuple[int, ...]]) -> str:
  """The attention scheme, by the steps that have a projection behind them."""
  for scheme, step in (
    ('axial', 'width'),
    ('axial', 'height'),
    ('divided', 'time'),
    ('local_global', 'local'),
  ):
    if f'block_0/{step}/fc/kernel' in paths:
      return scheme
  return 'joint' if 'time_pos/table' in paths else 'space'


def _rules(spelling: timesformer_weights.Naming) -> tuple[Rule, ...]:
  """Rules of every scheme: the plain step's keys are in all of them."""
  schemes = ('divided', 'joint', 'local_global', 'axial')
  steps = dict.fromkeys(
    s for name in schemes for s in timesformer.attention_steps(name)
  )
  steps |= dict.fromkeys(
    timesformer.attention_steps('axial', axial_order='thw')
  )
  return timesformer_weights.rules(tuple(steps), spelling)


def _naming(
  name: str, spelling: timesformer_weights.Naming, **more: Any
) -> Naming:
  """The naming of one spelling; the last key tells it from image models."""
  table = timesformer_weights.rules((), spelling)[1].keys[0]
  token = timesformer_weights.rules((), spelling)[0].keys[0]
  return Naming(
    family='timesformer',
    name=name,
    has=(token, table),
    guess=functools.partial(guess, spelling=spelling),
    rules=lambda model: timesformer_weights.rules(model.steps(), spelling),
    trained={'activation': 'gelu', 'epsilon': 1e-6},
    **more,
  )


NAMINGS = (
  _naming(
    'release',
    'release',
    lacks=('dist_token', 'pre_logits.fc.weight'),
    prefix='model.',
    under='model_state',
  ),
  _naming('hf', 'hf'),
)
