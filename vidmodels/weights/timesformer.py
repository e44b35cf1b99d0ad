"""TimeSformer's released weights: their keys and our parameters.

Keys are those of the authors' `VisionTransformer`, without the 'model.' that
published files put in front.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vidmodels.models import timesformer
from vidmodels.typing import InputError
from vidmodels.weights import parts
from vidmodels.weights.parts import attention, dense, norm
from vidmodels.weights.rules import (
  Rule,
  class_and_grid,
  convolution,
  rule,
  table,
  vector,
)


def rules(scheme: str = 'divided') -> tuple[Rule, ...]:
  """The key rules of one attention scheme.

  The release calls a block's last attention step plain `attn`, whatever it
  looks at, and puts `temporal_` before the names of the step in time.
  """
  last = timesformer.BLOCKS[scheme][-1]
  return (
    rule('cls_token', 'class_token', vector(2)),
    rule('pos_embed', 'class_pos space_pos/table', class_and_grid()),
    rule('time_embed', 'time_pos/table', table()),
    rule('patch_embed.proj.weight', 'patch/kernel', convolution()),
    rule('patch_embed.proj.bias', 'patch/bias', vector()),
    *norm('blocks.{i}.norm1', f'block_{{i}}/{last}/norm'),
    *attention('blocks.{i}.attn', f'block_{{i}}/{last}/attn'),
    *norm('blocks.{i}.temporal_norm1', 'block_{i}/time/norm'),
    *attention('blocks.{i}.temporal_attn', 'block_{i}/time/attn'),
    *dense('blocks.{i}.temporal_fc', 'block_{i}/time/fc'),
    *norm('blocks.{i}.norm2', 'block_{i}/mlp_norm'),
    *dense('blocks.{i}.mlp.fc1', 'block_{i}/mlp/up'),
    *dense('blocks.{i}.mlp.fc2', 'block_{i}/mlp/down'),
    *norm('norm', 'norm'),
    *dense('head', 'head'),
  )


def clip_of(
  state: Mapping[str, np.ndarray], patch: int
) -> tuple[int, int, int]:
  """The clip that a file's position tables are for.

  Args:
    state: the file's tensors by key.
    patch: edge of a patch in pixels.

  Returns:
    Frames, height and width in pixels. Frames are 1 without a time table. The
    table of patches does not say its shape: it is taken as a square, as the
    release does.

  Raises:
    InputError: if the file has no table of patches, or one that is not square.
  """
  if 'pos_embed' not in state:
    raise InputError(
      f'the file has no pos_embed; its keys start {list(state)[:3]}; give a '
      'TimeSformer state dict, without prefixes'
    )
  patches = state['pos_embed'].shape[1] - 1
  side = math.isqrt(max(patches, 0))
  if side < 1 or side**2 != patches:
    raise InputError(
      f'the file has positions for {patches} patches, which is no square; '
      'say which clip it was made for'
    )
  frames = state['time_embed'].shape[1] if 'time_embed' in state else 1
  return frames, side * patch, side * patch


def load(
  state: Mapping[str, np.ndarray],
  model: timesformer.Model,
  *,
  clip: tuple[int, int, int] | None = None,
) -> dict[str, Any]:
  """Turns the authors' state dict into our variables.

  Args:
    state: tensors by the authors' key, every one of which is used once.
    model: the model that they are for.
    clip: frames, height and width in pixels of the clip that the position
      tables are for; by default `clip_of` reads it from the file.

  Returns:
    Variables of `model`: numpy arrays, most of them views of `state`.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  pixels = clip or clip_of(state, model.patch)
  if 'patch_embed.proj.weight' not in state:
    raise InputError('the file has no patch_embed.proj.weight; is it a model?')
  channels = state['patch_embed.proj.weight'].shape[1]
  return parts.load(
    rules(model.attention), state, model, video=(*pixels, channels)
  )


def save(
  variables: Mapping[str, Any], model: timesformer.Model
) -> dict[str, np.ndarray]:
  """Turns our variables into the authors' state dict: `load` undone."""
  return parts.save(rules(model.attention), variables)
