"""Video-FocalNet's released weights, and its start from image FocalNets.

Keys are those of the authors' `VideoFocalNet`, which are Microsoft's with the
temporal branch beside: under 'model' in the published files.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vidmodels.models import focalnet as image_focalnet
from vidmodels.models import video_focalnet
from vidmodels.typing import InputError
from vidmodels.weights import focalnet_weights
from vidmodels.weights._focal_fields import Specs, agree, shape, specs_of
from vidmodels.weights._focal_fields import fields_of as image_fields
from vidmodels.weights._focal_names import naming_of
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books
from vidmodels.weights.mapping.rules import Layout, Rule, convolution, rule

# The designs whose parameters the authors' names can tell apart.
NAMED = ('space', 'parallel')

# Fields that a video model has of the image model that it starts from.
SHARED = (
  'layers',
  'width',
  'levels',
  'windows',
  'patch',
  'overlap',
  'mlp_ratio',
  'post_norm',
  'layer_scale',
  'modulation_norm',
  'normalize',
)
PATCH = 'patch/conv/kernel'
_FIRST = 'layers.0.blocks.0.modulation'

NEW_HEAD = 'the classes of an image model are others'
NO_TIME = 'an image has no time'


def rules(model: video_focalnet.Model) -> tuple[Rule, ...]:
  """The key rules of a released model.

  Raises:
    InputError: for a design that was never released.
  """
  if model.design not in NAMED:
    raise InputError(
      f'design {model.design!r} was never released, so its parameters have no '
      f'names in a file; wanted one of {NAMED}'
    )
  temporal = [
    part
    for s, count in enumerate(model.levels)
    for part in _temporal(s, count)
    if model.design == 'parallel'
  ]
  return (
    *focalnet_weights.rules(model.levels, post_norm=model.post_norm),
    *temporal,
  )


def _temporal(s: int, levels: int) -> tuple[Rule, ...]:
  """The rules of one stage's temporal branches."""
  theirs = f'layers.{s}.blocks.{{i}}.modulation'
  ours = f'stage_{s}_block_{{i}}/mod/time'
  convs = [
    part
    for level in range(levels)
    for part in (
      rule(
        f'{theirs}.focal_layers_temporal.{level}.0.weight',
        f'{ours}/time_conv_{level}/kernel',
        convolution(),
      ),
      rule(
        f'{theirs}.focal_layers_temporal.{level}.0.weight',
        f'{ours}/time_depthwise_{level}/kernel',
        _depthwise(),
      ),
    )
  ]
  return (
    *focalnet_weights.linear(
      f'{theirs}.f_temporal', f'{ours}/context {ours}/gate'
    ),
    *focalnet_weights.linear(f'{theirs}.h_temporal', f'{ours}/out', 1),
    *convs,
  )


def _depthwise() -> Layout:
  """torch's Conv1d with a group a channel, [D, 1, k], to [k, 1, 1, 1, D]."""
  return Layout(
    load=lambda arrays, shapes: (arrays[0].T[:, None, None],),
    save=lambda arrays: (arrays[0][:, 0, 0].T,),
  )


def fields_of(specs: Specs) -> dict[str, Any]:
  """The fields of a model that keys and shapes tell."""
  fields = image_fields('microsoft', specs)
  patch = shape(specs, 'patch_embed.proj.weight')
  fields['tubelet'] = patch[2] if len(patch) == 5 else 1
  # Files of design 'space' are key for key those of an image model.
  parallel = f'{_FIRST}.f_temporal.weight' in specs
  fields['design'] = 'parallel' if parallel else 'space'
  if parallel:
    conv = shape(specs, f'{_FIRST}.focal_layers_temporal.0.0.weight')
    fields['temporal_conv'] = 'depthwise' if conv[1] == 1 else 'dense'
  return fields


def load(
  state: Mapping[str, np.ndarray],
  model: video_focalnet.Model,
  *,
  books: Books | None = None,
) -> dict[str, Any]:
  """Turns the authors' state dict into our variables.

  Args:
    state: tensors by the authors' key, every one of which is used once.
    model: the model that they are for.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model`: numpy arrays, most of them views of `state`.

  Raises:
    InputError: if the file is for another model, a key is left over, or a
      parameter is not filled.
  """
  found, specs = rules(model), specs_of(state)
  naming_of(state)  # or an error that says what it is not
  agree(fields_of(specs), model)
  channels = shape(specs, 'patch_embed.proj.weight')[1]
  size = model.patch << len(model.layers)
  video = (model.tubelet, size, size, channels)
  return layers.load(found, state, model, video=video, books=books)


def save(
  variables: Mapping[str, Any], model: video_focalnet.Model
) -> dict[str, np.ndarray]:
  """Turns our variables into the authors' state dict: `load` undone."""
  return layers.save(rules(model), variables)


def from_image(
  variables: Mapping[str, Any],
  image: image_focalnet.Model,
  model: video_focalnet.Model,
  video: tuple[int, ...],
  books: Books,
) -> dict[str, Any]:
  """A video model's start from an image FocalNet.

  As released: patches of t frames take the image's kernel t times, divided by
  t; the temporal branch and the head stay as they were drawn. With
  `time_start` 'neutral' and the image's head the model answers the mean of
  what the image model says to the frames.

  Args:
    variables: of the image model.
    image: the image model.
    model: the video model, of any design but 'alternate'.
    video: shape (T, H, W, C) of the clips that it is for.
    books: takes what stays random, and what of the image model is left out.

  Returns:
    Variables of `model` without those that stay as they were drawn.

  Raises:
    InputError: if the image model's fields are others (3 focal levels for 2,
      say), or the design has no place for its blocks.
  """
  _refuse_image(image, model)
  given, made = layers.flat(variables), {}
  for path in layers.flat(layers.shapes(model, video)):
    source = path.replace('/mod/volume/', '/mod/space/')
    if path.startswith('head/'):
      books.random[path] = NEW_HEAD
    elif source in given:
      made[path] = given[source]
    else:
      books.random[path] = NO_TIME
  heads = (path for path in given if path.startswith('head/'))
  books.dropped.update(dict.fromkeys(heads, NEW_HEAD))
  if (t := model.tubelet) > 1:
    made[PATCH] = _tubelet(made[PATCH], t)
    books.changed[PATCH] = f'the image kernel {t} times, divided by {t}'
  return layers.unflat(made)


def _tubelet(kernel: Any, frames: int) -> np.ndarray:
  """An image's kernel [P, P, C, D] for patches of t frames, of the same sum."""
  each = np.asarray(kernel)[None] / np.float32(frames)
  return np.repeat(each, frames, axis=0)


def _refuse_image(
  image: image_focalnet.Model, model: video_focalnet.Model
) -> None:
  """Raises InputError if the one cannot start from the other."""
  if model.design == 'alternate':
    raise InputError(
      "design 'alternate' has blocks without a spatial modulation, which have "
      "no block in an image model to start from; wanted 'pair' or another"
    )
  agree({name: getattr(image, name) for name in SHARED}, model)


SOURCES = {'focalnet': from_image}
