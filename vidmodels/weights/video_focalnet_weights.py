"""Video-FocalNet's released weights, and its start from image FocalNets.

Keys are those of the authors' `VideoFocalNet`: Microsoft's names with those of
the temporal branch added. Published files keep them under 'model'.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from vidmodels.models import focalnet as image_focalnet
from vidmodels.models import video_focalnet
from vidmodels.typing import InputError
from vidmodels.weights import focalnet_weights
from vidmodels.weights.focalnet_weights import F_TEMPORAL, F, linear_rules
from vidmodels.weights.mapping import apply, key_rules
from vidmodels.weights.mapping.apply import KeyReport
from vidmodels.weights.mapping.identify import IMAGENET, Guess, Naming, Specs

FRAMES = 8  # tokens over time of every published model
# The designs whose parameters the authors' names can tell apart.
NAMED = ('space', 'parallel')
# Fields that a video model shares with the image model that it starts from.
SHARED = (
  'layers',
  'width',
  'levels',
  'windows',
  'patch',
  'overlap',
  'patch_norm',
  'mlp_ratio',
  'post_norm',
  'layer_scale',
  'modulation_norm',
  'normalize',
)
PATCH = 'patch/conv/kernel'
NEW_HEAD = 'the classes of an image model are others'
NO_TIME = 'an image has no time'


def rules(model: video_focalnet.Model) -> key_rules.Rules:
  """The key rules of a model; refuses a design that was never released."""
  if model.design not in NAMED:
    raise InputError(
      f'got design {model.design!r}, which was never released, so a file has '
      f'no names for its parameters; expected one of {NAMED}; try one of them'
    )
  all_rules = focalnet_weights.rules(model.levels, post_norm=model.post_norm)
  if model.design == 'parallel':
    for s, count in enumerate(model.levels):
      all_rules += _temporal_rules(s, count)
  return all_rules


def _temporal_rules(s: int, levels: int) -> key_rules.Rules:
  """The rules of one stage's temporal branches."""
  theirs = f'layers.{s}.blocks.{{i}}.modulation'
  ours = f'stage_{s}_block_{{i}}/mod/time'
  # torch's Conv1d with a group per channel, [D, 1, k], to [k, 1, 1, 1, D].
  depthwise = key_rules.one_to_one(
    load=lambda array, shape: array.T[:, None, None],
    save=lambda array: array[:, 0, 0].T,
  )
  all_rules = [
    *linear_rules(f'{theirs}.f_temporal', f'{ours}/context {ours}/gate'),
    *linear_rules(f'{theirs}.h_temporal', f'{ours}/out', 1),
  ]
  for level in range(levels):
    key = f'{theirs}.focal_layers_temporal.{level}.0.weight'
    all_rules += [
      key_rules.rule(
        key, f'{ours}/time_conv_{level}/kernel', key_rules.convolution()
      ),
      key_rules.rule(key, f'{ours}/time_depthwise_{level}/kernel', depthwise),
    ]
  return tuple(all_rules)


def start_from_image(
  variables: Mapping[str, Any],
  image: image_focalnet.Model,
  model: video_focalnet.Model,
  video: tuple[int, ...],
  report: KeyReport,
) -> dict[str, Any]:
  """Starts a video model from an image FocalNet.

  As released: patches of t frames take the image's kernel t times, divided by
  t; the temporal branch and the head keep their initial values. With
  `time_start` 'neutral' and the image's head the model answers the mean of the
  image model's answers to the frames.

  For arguments and results see `identify.ImageSource`.
  """
  if model.design == 'alternate':
    raise InputError(
      "got design 'alternate', which has blocks without a spatial modulation, "
      'and no block of an image model can start them; expected another design; '
      "try 'pair'"
    )
  if model.fresh != 'image':
    raise InputError(
      f"got fresh={model.fresh!r} with an image model's weights; expected the "
      "start as released, since others change its branches; try fresh='image'"
    )
  shared = {name: getattr(image, name) for name in SHARED}
  focalnet_weights.check_same_as_file(shared, model)
  theirs, ours = apply.flatten_variables(variables), {}
  for path in apply.flatten_variables(apply.variable_shapes(model, video)):
    source = path.replace('/mod/volume/', '/mod/space/')
    if path.startswith('head/'):
      report.random[path] = NEW_HEAD
    elif source in theirs:
      ours[path] = theirs[source]
    else:
      report.random[path] = NO_TIME
  heads = (path for path in theirs if path.startswith('head/'))
  report.dropped.update(dict.fromkeys(heads, NEW_HEAD))
  if (t := model.tubelet) > 1:
    ours[PATCH] = key_rules.repeat_over_frames(np.asarray(ours[PATCH]), t)
    report.changed[PATCH] = f'the image kernel {t} times, divided by {t}'
  return apply.unflatten_variables(ours)


def guess_model(specs: Specs) -> Guess:
  """What keys and shapes tell about a model."""
  guess = focalnet_weights.guess_model(specs, 'microsoft')
  patch = specs['patch_embed.proj.weight'][0]
  tubelet = patch[2] if len(patch) == 5 else 1
  # Files of design 'space' have exactly the keys of an image model.
  modulation = 'layers.0.blocks.0.modulation'
  parallel = f'{modulation}.f_temporal.weight' in specs
  design = 'parallel' if parallel else 'space'
  model = {**guess.model, 'tubelet': tubelet, 'design': design}
  if parallel:
    kernel = specs[f'{modulation}.focal_layers_temporal.0.0.weight'][0]
    one_tap = 'pointwise' if kernel[2] == 1 else 'dense'
    model['temporal_conv'] = 'depthwise' if kernel[1] == 1 else one_tap
  return dataclasses.replace(
    guess,
    model=model,
    clip=(FRAMES * tubelet, *guess.clip[1:]),
    notes=('published models were trained on 8 frames of 224 x 224 pixels',),
  )


SOURCES = {'focalnet': start_from_image}
NAMINGS = (
  Naming(
    family='video_focalnet',
    name='release',
    has=('patch_embed.proj.weight', F, F_TEMPORAL),
    guess=guess_model,
    rules=rules,
    pixels=IMAGENET,
    trained={'activation': 'gelu', 'epsilon': 1e-5},
    adapt=focalnet_weights.check_guess,
    under='model',
  ),
)
