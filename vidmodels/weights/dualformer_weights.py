"""DualFormer's released weights: their keys and our parameters.

Keys are those of the release's recognizer: `backbone.`, then `cls_head.`. A
file that was saved while training with token labels holds the token head too,
and the frozen teacher under `teacher.`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vidmodels.models import dualformer
from vidmodels.typing import InputError
from vidmodels.weights.mapping import layers as mapping_layers
from vidmodels.weights.mapping.layers import STATS, attention, dense, norm
from vidmodels.weights.mapping.rules import (
  Rule,
  convolution,
  drop,
  linear,
  rule,
  vector,
)

BACKBONE, HEAD = 'backbone.', 'cls_head.'
TOKEN_HEAD = (
  ('token_linear.0', 'up'),
  ('token_linear.3', 'up_again'),
  ('token_linear.6', 'down'),
)
UNASKED = 'used in training alone'


def rules(model: dualformer.Model) -> tuple[Rule, ...]:
  """The key rules of a model; the release counts a stage's levels through.

  A token head is left out if the model has none, and a teacher always: neither
  is asked when a clip is scored.
  """
  token_head: list[Rule] = []
  for theirs, ours in TOKEN_HEAD:
    token_head += dense(HEAD + theirs, f'token_head/{ours}')
  if not model.token_head:
    token_head = [drop(r.keys[0], UNASKED) for r in token_head]
  return (
    *backbone(model),
    *dense(f'{HEAD}fc_cls', 'head'),
    *token_head,
    *(drop(f'teacher.{key}', UNASKED) for key in _any_keys()),
  )


def _any_keys() -> Iterator[str]:
  """Names of every key that a published model has, whatever its size."""
  key = f'{BACKBONE}blocks.{{i}}.{{j}}'
  known = (
    *level(key, '', 'L'),
    *level(key, '', 'G'),
    *norm(f'{BACKBONE}norm', ''),
    *norm(f'{BACKBONE}patch_embeds.{{i}}.norm', ''),
    *conv(f'{BACKBONE}patch_embeds.{{i}}.proj', ''),
    *conv(f'{BACKBONE}pos_block.{{i}}.proj.0', ''),
    *dense(f'{HEAD}fc_cls', ''),
  )
  return iter(dict.fromkeys(r.keys[0] for r in known))


def backbone(
  model: dualformer.Model, prefix: str = BACKBONE
) -> tuple[Rule, ...]:
  """The rules of everything but the heads.

  Args:
    model: says which level is which.
    prefix: what the file puts in front of these keys.
  """
  found = [*norm(f'{prefix}norm', 'norm')]
  for s in range(len(model.widths)):
    key, path = f'{prefix}patch_embeds.{s}', f'stage_{s}'
    # Ours has no frame axis where one frame makes a patch.
    frames = model.patch_frames if s == 0 else model.rates[s - 1]
    window = convolution(ones=int(frames == 1))
    found += [
      rule(f'{key}.proj.weight', f'{path}/patch/kernel', window),
      rule(f'{key}.proj.bias', f'{path}/patch/bias', vector()),
      *norm(f'{key}.norm', f'{path}/patch_norm'),
      *conv(f'{prefix}pos_block.{s}.proj.0', f'{path}/block_0/peg'),
    ]
  for theirs, ours, kind in levels(model.layers, model.patterns):
    found += level(prefix + theirs, ours, kind)
  return tuple(found)


def levels(
  layers: Sequence[int], patterns: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
  """Every level's key in the file, our path, and its kind."""
  for s, (count, pattern) in enumerate(zip(layers, patterns, strict=True)):
    for j in range(count):
      block, i = divmod(j, len(pattern))
      path = f'stage_{s}/block_{block}/level_{i}'
      yield f'blocks.{s}.{j}', path, pattern[i]


def level(key: str, path: str, kind: str) -> tuple[Rule, ...]:
  """The rules of one level of a kind, 'L' or 'G'."""
  look = attention(f'{key}.attn', f'{path}/attn')
  if kind == 'G':
    look = to_pyramid(f'{key}.attn', f'{path}/attn')
  return (
    *norm(f'{key}.norm1', f'{path}/attn_norm'),
    *look,
    *norm(f'{key}.norm2', f'{path}/mlp_norm'),
    *dense(f'{key}.mlp.fc1', f'{path}/mlp/up'),
    *dense(f'{key}.mlp.fc2', f'{path}/mlp/down'),
  )


def to_pyramid(key: str, path: str) -> tuple[Rule, ...]:
  """The rules of attention to a pyramid, with whichever scales it has."""
  pool = f'{path}/pyramid'
  stats = f'{STATS}{pool}/coarse_norm'
  return (
    *dense(f'{key}.q', f'{path}/q'),
    *dense(f'{key}.kv', f'{path}/kv'),
    rule(f'{key}.proj.weight', f'{path}/out/kernel', linear(inputs=2)),
    rule(f'{key}.proj.bias', f'{path}/out/bias', vector()),
    *conv(f'{key}.sr', f'{pool}/fine'),
    *norm(f'{key}.norm', f'{pool}/norm'),
    *conv(f'{key}.lr.0', f'{pool}/coarse_space'),
    *norm(f'{key}.lr.1', f'{pool}/coarse_norm'),
    rule(f'{key}.lr.1.running_mean', f'{stats}/mean', vector()),
    rule(f'{key}.lr.1.running_var', f'{stats}/var', vector()),
    drop(f'{key}.lr.1.num_batches_tracked', 'the momentum is fixed'),
    *conv(f'{key}.lr.3', f'{pool}/coarse_rest'),
  )


def conv(key: str, path: str) -> tuple[Rule, ...]:
  """A convolution with a bias."""
  return (
    rule(f'{key}.weight', f'{path}/kernel', convolution()),
    rule(f'{key}.bias', f'{path}/bias', vector()),
  )


def load(
  state: Mapping[str, np.ndarray], model: dualformer.Model
) -> dict[str, Any]:
  """Turns the authors' state dict into our variables.

  Args:
    state: tensors by the authors' key, every one of which is used once, or
      left out for a reason (see `rules`).
    model: the model that they are for. Its `built` says the kernels' sizes.

  Returns:
    Variables of `model`, batch statistics among them: numpy arrays, most of
    them views of `state`.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  return mapping_layers.load(
    rules(model), state, model, video=(*model.built, channels(state))
  )


def channels(state: Mapping[str, np.ndarray], prefix: str = BACKBONE) -> int:
  """Channels of a pixel that a file's first patches take.

  Raises:
    InputError: if the file has no patches.
  """
  key = f'{prefix}patch_embeds.0.proj.weight'
  if key not in state:
    raise InputError(
      f'the file has no {key}; its keys start {list(state)[:3]}; give a '
      'DualFormer state dict'
    )
  return state[key].shape[1]


def save(
  variables: Mapping[str, Any], model: dualformer.Model
) -> dict[str, np.ndarray]:
  """Turns our variables into the authors' state dict: `load` undone."""
  return mapping_layers.save(rules(model), variables)
