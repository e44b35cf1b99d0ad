"""X-ViT's released weights: their keys and our parameters.

Keys are those of the authors' `XVIT`: `base_model` is the image ViT,
`consensus` the temporal head, and `new_fc` the linear classifier, which answers
only where frames are averaged. A model that is built without dropout has its
linear classifier in `base_model.head` instead.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from vidmodels.models import vit, xvit
from vidmodels.weights.mapping import from_image, identify, key_rules
from vidmodels.weights.mapping.apply import KeyReport
from vidmodels.weights.mapping.identify import HALF, Guess, Naming, Specs

HEAD = r'^head(_\d+)?/'
FRAMES = 16  # every published model takes so many, whatever its table has
UNUSED = 'a linear classifier that temporal attention replaces'
NOTE = (
  'how channels are mixed is in no tensor: the release has mix_share .25 and '
  'segments of 8 frames for Kinetics, .5 and one of 16 for Something-Something'
)


def rules(model: xvit.Model) -> key_rules.Rules:
  """The key rules of a model's kind of head; the release has one of them."""
  # One row per frame, for all its tokens: [1, T, 1, D] to our [T, D].
  time_table = key_rules.one_to_one(
    load=lambda array, shape: array[0, :, 0],
    save=lambda array: array[None, :, None],
  )
  base = 'base_model'
  return (
    key_rules.rule(f'{base}.cls_token', 'class_token', key_rules.vector(2)),
    key_rules.rule(
      f'{base}.pos_embed',
      'class_pos space_pos/table',
      key_rules.class_and_grid(),
    ),
    key_rules.rule(f'{base}.temp_embed', 'time_pos/table', time_table),
    *key_rules.conv(f'{base}.patch_embed.proj', 'patch'),
    *key_rules.attention_block(f'{base}.blocks.{{i}}', 'block_{i}'),
    *key_rules.norm(f'{base}.norm', 'norm'),
    *(_temporal_rules() if model.ta_layers else _linear_rules(model)),
  )


def _temporal_rules() -> key_rules.Rules:
  """Temporal attention and its MLP, whose layers have numbers."""
  return (
    key_rules.rule(
      'consensus.cls_token', 'temporal/class_token', key_rules.vector(2)
    ),
    *key_rules.attention_block(
      'consensus.temporal_encoder.{i}', 'temporal/block_{i}'
    ),
    *key_rules.norm('consensus.mlp_head.0', 'head/norm'),
    *key_rules.dense('consensus.mlp_head.1', 'head/up'),
    *key_rules.dense('consensus.mlp_head.4', 'head/linear'),
    *(key_rules.drop(f'new_fc.{name}', UNUSED) for name in ('weight', 'bias')),
  )


def _linear_rules(model: xvit.Model) -> key_rules.Rules:
  """The linear classifier under either name; it is saved under the first."""
  keys = ['new_fc', 'base_model.head']
  if model.dropout == 0:
    keys.reverse()
  return tuple(r for key in keys for r in key_rules.dense(key, 'head'))


def add_unread_tensors(
  model: xvit.Model, state: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """The `new_fc` that files with temporal attention have: zeros, never read."""
  del state
  if not model.ta_layers:
    return {}
  shape = (model.classes, model.width)
  return {
    'new_fc.weight': np.zeros(shape, np.float32),
    'new_fc.bias': np.zeros(shape[:1], np.float32),
  }


def start_from_image(
  variables: Mapping[str, Any],
  image: vit.Model,
  model: xvit.Model,
  video: tuple[int, ...],
  report: KeyReport,
) -> dict[str, Any]:
  """Starts a video model from an image ViT (section 4.1).

  The ViT is the backbone, key for key, with its last norm. If the table of
  frames is zero (`fresh='image'`), the image model has exact GELU and an
  epsilon of 1e-6, and nothing is mixed, then every frame has the class feature
  of an image.

  The temporal head and the table of frames keep their initial values. For
  arguments and results see `identify.ImageSource`.
  """
  from_image.check_starts_at_image(model, 'the table of frames')
  return from_image.start_from_vit(variables, image, model, video, report)


def guess_model(specs: Specs) -> Guess:
  """What a file's keys and shapes tell about its model."""
  # A model that averages frames has other names for its head.
  heads = [xvit.Model(classes=1), xvit.Model(classes=1, ta_layers=0)]
  shapes = identify.shapes_by_path([r for m in heads for r in rules(m)], specs)
  width = identify.find_shape(shapes, 'patch/bias')[0]
  _, C, _, P = identify.find_shape(shapes, 'patch/kernel')
  patches = identify.find_shape(shapes, 'space_pos/table')[1] - 1
  ta_layers = identify.count_layers(shapes, 'temporal/block_{i}/')
  fields = {
    **identify.vit_fields(shapes, width=width, patch=P),
    'time_rows': identify.find_shape(shapes, 'time_pos/table')[1],
    'ta_layers': ta_layers,
    'qkv_bias': 'block_0/attn/qkv/bias' in shapes,
  }
  if shapes.get('head/up/bias', (width,))[0] != width:
    fields['ta_hidden'] = shapes['head/up/bias'][0]
  return Guess(
    model=fields,
    assumed=identify.assumed_heads(fields),
    # The file's rows are kept as they are, whatever the recipe starts with.
    free=('time_rows',),
    clip=(FRAMES, *identify.square_frame(patches, P), C),
    patches=patches,
    classes=identify.count_classes(
      shapes, 'head/linear/bias' if ta_layers else 'head/bias'
    ),
    size=identify.vit_size(fields),
    notes=(NOTE,),
  )


SOURCES = {'vit': start_from_image}
NAMINGS = (
  Naming(
    family='xvit',
    name='release',
    has=('base_model.temp_embed', 'base_model.pos_embed'),
    guess=guess_model,
    rules=rules,
    pixels=HALF,
    trained={'activation': 'gelu', 'epsilon': 1e-6},
    # As many rows of frame positions as the file has.
    adapt=lambda model, guess: dataclasses.replace(
      model, time_rows=guess.model['time_rows']
    ),
    extras=add_unread_tensors,
    under='model_state',
  ),
)
