"""VidTr's released weights: their keys and our parameters.

Keys are those of the authors' `VidTr` and `CompactVidTr`. Every attention of
theirs keeps queries, keys and values in one `in_proj_weight`, torch's
`MultiheadAttention` as well as their own. What the release has no names for
(space and axial attention, projections of their own, pooling by convolution)
can start from an image ViT all the same: `vidtr_image`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vidmodels.models import vidtr
from vidmodels.typing import InputError
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books
from vidmodels.weights.mapping.layers import dense, norm
from vidmodels.weights.mapping.position_tables import square
from vidmodels.weights.mapping.rules import (
  Arrays,
  Layout,
  Rule,
  Shapes,
  class_and_grid,
  convolution,
  linear,
  rule,
  vector,
)

PIXELS = 224  # frames of the release, whose tables do not say their own


def rules(model: vidtr.Model) -> tuple[Rule, ...]:
  """The released key rules of a model.

  Raises:
    InputError: for a model that the release has no names for.
  """
  _refuse_unreleased(model)
  ones = 1 if model.patch_frames == 1 else 0
  return (
    *_tokens(model.attention == 'separable'),
    rule('conv_stem.weight', 'patch/kernel', convolution(ones)),
    rule('conv_stem.bias', 'patch/bias', vector()),
    *in_proj('encoder.layers.{i}.self_attn', 'layer_{i}/attn'),
    *norm('encoder.layers.{i}.norm1', 'layer_{i}/attn_norm'),
    *norm('encoder.layers.{i}.norm2', 'layer_{i}/mlp_norm'),
    *dense('encoder.layers.{i}.linear1', 'layer_{i}/mlp/up'),
    *dense('encoder.layers.{i}.linear2', 'layer_{i}/mlp/down'),
    *norm('encoder.norm', 'norm'),
    *dense('fc', 'head'),
  )


def _refuse_unreleased(m: vidtr.Model) -> None:
  """Raises InputError for a model that the release has no names for."""
  if (m.attention in ('space', 'axial') or m.stem == 't2t') or (
    m.projections,
    m.norms,
    m.pool == 'conv',
  ) != ('shared', 'before', False):
    raise InputError(
      f'there are no released weights for attention={m.attention!r}, '
      f'stem={m.stem!r}, projections={m.projections!r}, norms={m.norms!r} and '
      f'pool={m.pool!r}; start it from an image model, with vidtr_image'
    )


def _tokens(separable: bool) -> tuple[Rule, ...]:
  """Class tokens and positions: of separable attention, or one for all."""
  tables = 'tokens/class_pos/table tokens/patch_pos/table'
  if not separable:
    return (
      rule('cls', 'tokens/class_token', vector(2)),
      rule('pos_embedding', tables, class_and_grid()),
    )
  column = 'tokens/class_token tokens/time_class/table'
  return (
    rule('cls_t', column, class_and_grid()),
    rule('cls_s', 'tokens/space_class/table', _rows()),
    rule('pos_embedding', tables, _class_column()),
  )


def in_proj(key: str, path: str) -> tuple[Rule, ...]:
  """Attention by torch's names of `MultiheadAttention`."""
  return (
    rule(f'{key}.in_proj_weight', f'{path}/qkv/kernel', linear()),
    rule(f'{key}.in_proj_bias', f'{path}/qkv/bias', vector()),
    rule(f'{key}.out_proj.weight', f'{path}/out/kernel', linear(inputs=2)),
    rule(f'{key}.out_proj.bias', f'{path}/out/bias', vector()),
  )


def _rows() -> Layout:
  """Spatial class tokens [T, 1, D] to our [T, D]."""
  return Layout(
    load=lambda arrays, shapes: (arrays[0][:, 0],),
    save=lambda arrays: (arrays[0][:, None],),
  )


def _class_column() -> Layout:
  """Positions [1, (1 + T)(1 + N), D] to a column [1 + T, D] and the rest."""

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    (rows, D), (_, H, W, _) = shapes
    grid = arrays[0].reshape(rows, 1 + H * W, D)
    return grid[:, 0], grid[:, 1:].reshape(shapes[1])

  def save(arrays: Arrays) -> Arrays:
    column, grid = arrays
    rows, D = column.shape
    whole = np.concatenate([column[:, None], grid.reshape(rows, -1, D)], axis=1)
    return (whole.reshape(1, -1, D),)

  return Layout(load, save)


def clip_of(
  state: Mapping[str, np.ndarray], model: vidtr.Model
) -> tuple[int, int, int]:
  """The clip that a file's tables are for, in frames and pixels.

  The table of C-VidTr and of joint attention counts places of all frames in
  one: it is taken to be for frames of 224 pixels, as all that was released.

  Raises:
    InputError: if tables are missing, or for no such clip.
  """
  P, t = model.patch, model.patch_frames
  if 'cls_s' in state and 'cls_t' in state:
    side = square(state['cls_t'].shape[1] - 1, 'cls_t')
    return state['cls_s'].shape[0] * t, side * P, side * P
  if 'pos_embedding' not in state:
    raise InputError(
      f'the file has no pos_embedding; its keys start {list(state)[:3]}; give '
      "VidTr's state dict, without prefixes"
    )
  rows, side = state['pos_embedding'].shape[1] - 1, PIXELS // P
  return frames_of(rows, side) * t, side * P, side * P


def frames_of(places: int, side: int) -> int:
  """Frames of side x side places that a table of all of them is for.

  Raises:
    InputError: if it is for no such frames.
  """
  if places % side**2 or not places:
    raise InputError(
      f'pos_embedding has {places} places, which is no number of frames of '
      f'{side} x {side}; say which clip it was made for'
    )
  return places // side**2


def load(
  state: Mapping[str, np.ndarray],
  model: vidtr.Model,
  *,
  clip: tuple[int, int, int] | None = None,
  books: Books | None = None,
) -> dict[str, Any]:
  """Turns the authors' state dict into our variables.

  Args:
    state: tensors by the authors' key, every one of which is used once.
    model: the model that they are for.
    clip: frames, height and width in pixels of the clip that the tables are
      for; by default `clip_of` reads it from the file.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model`: numpy arrays, most of them views of `state`.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  found = rules(model)
  video = clip or clip_of(state, model)
  video = (*video, channels(state, 'conv_stem.weight'))
  return layers.load(found, state, model, video=video, books=books)


def save(
  variables: Mapping[str, Any], model: vidtr.Model
) -> dict[str, np.ndarray]:
  """Turns our variables into the authors' state dict: `load` undone."""
  return layers.save(rules(model), variables)


def channels(state: Mapping[str, np.ndarray], key: str) -> int:
  """Channels of the pixels that the kernel `key` takes.

  Raises:
    InputError: if there is no such key.
  """
  if key not in state:
    raise InputError(
      f'the file has no {key}; its keys start {list(state)[:3]}; is it a model '
      'of this kind, without prefixes?'
    )
  return state[key].shape[1]
