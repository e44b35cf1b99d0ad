"""TimeSformer's released weights: their keys and our parameters.

Keys are those of the authors' `VisionTransformer`, without the 'model.' that
published files put in front.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from vidmodels.models import timesformer
from vidmodels.typing import InputError
from vidmodels.weights.rules import (
  Rule,
  class_and_grid,
  convert,
  convolution,
  linear,
  revert,
  rule,
  table,
  vector,
)


def rules(attention: str = 'divided') -> tuple[Rule, ...]:
  """The key rules of one attention scheme.

  The release calls a block's last attention step plain `attn`, whatever it
  looks at, and puts `temporal_` before the names of the step in time.
  """
  last = timesformer.BLOCKS[attention][-1]
  return (
    rule('cls_token', 'class_token', vector(2)),
    rule('pos_embed', 'class_pos space_pos/table', class_and_grid()),
    rule('time_embed', 'time_pos/table', table()),
    rule('patch_embed.proj.weight', 'patch/kernel', convolution()),
    rule('patch_embed.proj.bias', 'patch/bias', vector()),
    *_norm('blocks.{i}.norm1', f'block_{{i}}/{last}/norm'),
    *_attention('blocks.{i}.attn', f'block_{{i}}/{last}/attn'),
    *_norm('blocks.{i}.temporal_norm1', 'block_{i}/time/norm'),
    *_attention('blocks.{i}.temporal_attn', 'block_{i}/time/attn'),
    *_linear('blocks.{i}.temporal_fc', 'block_{i}/time/fc'),
    *_norm('blocks.{i}.norm2', 'block_{i}/mlp_norm'),
    *_linear('blocks.{i}.mlp.fc1', 'block_{i}/mlp/up'),
    *_linear('blocks.{i}.mlp.fc2', 'block_{i}/mlp/down'),
    *_norm('norm', 'norm'),
    *_linear('head', 'head'),
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
  """Turns the authors' state dict into our parameters.

  Args:
    state: tensors by the authors' key, every one of which is used once.
    model: the model that they are for.
    clip: frames, height and width in pixels of the clip that the position
      tables are for; by default `clip_of` reads it from the file.

  Returns:
    The 'params' tree of `model`: numpy arrays, most of them views of `state`.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  pixels = clip or clip_of(state, model.patch)
  if 'patch_embed.proj.weight' not in state:
    raise InputError('the file has no patch_embed.proj.weight; is it a model?')
  channels = state['patch_embed.proj.weight'].shape[1]
  video = jax.ShapeDtypeStruct((1, *pixels, channels), jnp.float32)
  target = jax.eval_shape(model.init, jax.random.key(0), video)['params']
  flat = flax.traverse_util.flatten_dict(target, sep='/')
  made = convert(rules(model.attention), state, flat)
  return flax.traverse_util.unflatten_dict(made, sep='/')


def save(
  params: Mapping[str, Any], model: timesformer.Model
) -> dict[str, np.ndarray]:
  """Turns our parameters into the authors' state dict: `load` undone."""
  flat = flax.traverse_util.flatten_dict(params, sep='/')
  arrays = {path: np.asarray(array) for path, array in flat.items()}
  return revert(rules(model.attention), arrays)


def _norm(key: str, path: str) -> tuple[Rule, Rule]:
  return (
    rule(f'{key}.weight', f'{path}/scale', vector()),
    rule(f'{key}.bias', f'{path}/bias', vector()),
  )


def _linear(key: str, path: str) -> tuple[Rule, Rule]:
  return (
    rule(f'{key}.weight', f'{path}/kernel', linear()),
    rule(f'{key}.bias', f'{path}/bias', vector()),
  )


def _attention(key: str, path: str) -> tuple[Rule, ...]:
  """qkv rows are q, k, v, each head by head; ours are [D, 3, A, d]."""
  return (
    rule(f'{key}.qkv.weight', f'{path}/qkv/kernel', linear()),
    rule(f'{key}.qkv.bias', f'{path}/qkv/bias', vector()),
    rule(f'{key}.proj.weight', f'{path}/out/kernel', linear(inputs=2)),
    rule(f'{key}.proj.bias', f'{path}/out/bias', vector()),
  )
