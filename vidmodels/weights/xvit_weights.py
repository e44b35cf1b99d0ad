"""X-ViT's released weights: their keys and our parameters.

Keys are those of the authors' `XVIT`: `base_model` is the image ViT,
`consensus` the temporal head, and `new_fc` the linear classifier, which answers
only where frames are averaged. A model that is built without dropout has its
linear classifier in `base_model.head` instead.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vidmodels.models import vit, xvit
from vidmodels.typing import InputError
from vidmodels.weights.mapping import layers, position_tables
from vidmodels.weights.mapping.apply import Books
from vidmodels.weights.mapping.from_image import from_vit, starts_at_image
from vidmodels.weights.mapping.layers import attention, dense, norm
from vidmodels.weights.mapping.rules import (
  Layout,
  Rule,
  class_and_grid,
  convolution,
  drop,
  rule,
  vector,
)

UNUSED = 'a linear classifier that temporal attention takes the place of'


def time_table() -> Layout:
  """One row a frame, for all its tokens: [1, T, 1, D] to our [T, D]."""
  return Layout(
    load=lambda arrays, shapes: (arrays[0][0, :, 0],),
    save=lambda arrays: (arrays[0][None, :, None],),
  )


def rules(model: xvit.Model) -> tuple[Rule, ...]:
  """The key rules of a model's kind of head; the release has one of them."""
  answer = _temporal if model.ta_layers else _linear
  return (*_backbone(), *answer(model))


def _backbone() -> tuple[Rule, ...]:
  """The image ViT, and its table of frames."""
  return (
    rule('base_model.cls_token', 'class_token', vector(2)),
    rule('base_model.pos_embed', 'class_pos space_pos/table', class_and_grid()),
    rule('base_model.temp_embed', 'time_pos/table', time_table()),
    rule('base_model.patch_embed.proj.weight', 'patch/kernel', convolution()),
    rule('base_model.patch_embed.proj.bias', 'patch/bias', vector()),
    *_block('base_model.blocks.{i}', 'block_{i}'),
    *norm('base_model.norm', 'norm'),
  )


def _block(key: str, path: str) -> tuple[Rule, ...]:
  """A pre-norm block, of the ViT or of the temporal head."""
  return (
    *norm(f'{key}.norm1', f'{path}/attn_norm'),
    *attention(f'{key}.attn', f'{path}/attn'),
    *norm(f'{key}.norm2', f'{path}/mlp_norm'),
    *dense(f'{key}.mlp.fc1', f'{path}/mlp/up'),
    *dense(f'{key}.mlp.fc2', f'{path}/mlp/down'),
  )


def _temporal(model: xvit.Model) -> tuple[Rule, ...]:
  """Temporal attention and its perceptron, whose layers have numbers."""
  del model
  return (
    rule('consensus.cls_token', 'temporal/class_token', vector(2)),
    *_block('consensus.temporal_encoder.{i}', 'temporal/block_{i}'),
    *norm('consensus.mlp_head.0', 'head/norm'),
    *dense('consensus.mlp_head.1', 'head/up'),
    *dense('consensus.mlp_head.4', 'head/linear'),
    *(drop(f'new_fc.{name}', UNUSED) for name in ('weight', 'bias')),
  )


def _linear(model: xvit.Model) -> tuple[Rule, ...]:
  """The linear classifier under either name; it is saved under the first."""
  keys = ['new_fc', 'base_model.head']
  if model.dropout == 0:
    keys.reverse()
  return tuple(each for key in keys for each in dense(key, 'head'))


def load(
  state: Mapping[str, np.ndarray],
  model: xvit.Model,
  *,
  size: tuple[int, int] | None = None,
  books: Books | None = None,
) -> dict[str, Any]:
  """Turns the authors' state dict into our variables.

  Args:
    state: tensors by the authors' key, every one of which is used once, or
      dropped if it is the classifier that nothing reads.
    model: the model that they are for, at whatever clip: the tables keep the
      rows that the file has, 8 or 16 frames of a 224-pixel grid as released.
    size: height and width in pixels of the frames that the table of patches is
      for; by default a square, as in the release.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model`: numpy arrays, most of them views of `state`.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  for key in ('pos_embed', 'temp_embed', 'patch_embed.proj.weight'):
    if f'base_model.{key}' not in state:
      raise InputError(
        f'the file has no base_model.{key}; its keys start {list(state)[:3]}; '
        'give an X-ViT state dict, without other prefixes'
      )
  rows = state['base_model.temp_embed'].shape[1]
  channels = state['base_model.patch_embed.proj.weight'].shape[1]
  if size is None:
    patches = state['base_model.pos_embed'].shape[1] - 1
    size = (
      model.patch * position_tables.square(patches, 'base_model.pos_embed'),
    ) * 2
  # Frames that suit any segment: only the tables' shapes come from the clip.
  video = (max(model.segment, 1), *size, channels)
  like = model.clone(time_rows=rows)
  return layers.load(rules(model), state, like, video=video, books=books)


def save(
  variables: Mapping[str, Any], model: xvit.Model
) -> dict[str, np.ndarray]:
  """Turns our variables into the authors' state dict: `load` undone."""
  state = layers.save(rules(model), variables)
  return {**state, **unread(model, state)}


def unread(
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


def from_image(
  variables: Mapping[str, Any],
  image: vit.Model,
  model: xvit.Model,
  video: tuple[int, ...],
  books: Books,
) -> dict[str, Any]:
  """A video model's start from an image ViT (section 4.1).

  The ViT is the backbone, key for key, its last norm included. With a table of
  frames at zero (`fresh='image'`), an image model of exact GELU and an epsilon
  of 1e-6, and no mixing, every frame then has the class feature of an image.

  Args:
    variables: of the image model.
    image: the image model.
    model: the video model.
    video: shape (T, H, W, C) of the clips that it is for.
    books: takes what stays random, and what of the image model is left out.

  Returns:
    Variables of `model` but for the temporal head and the table of frames,
    which stay as they were drawn. The table of places keeps the image's grid;
    the model fits it as ever.

  Raises:
    InputError: if the sizes of the two differ, or the table of frames would not
      start at zero.
  """
  starts_at_image(model, 'the table of frames')
  return from_vit(variables, image, model, video, books)


SOURCES = {'vit': from_image}
