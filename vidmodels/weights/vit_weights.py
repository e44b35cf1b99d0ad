"""Image ViT weights by the names of those who publish them, both ways.

timm's and DeiT's, Hugging Face's, Google's npz files of the ViT paper and of
AugReg ('google', numbered over all kinds of layer in a block), and those of
big_vision (numbered by kind), which adds the position of the class token to
the token: nothing can tell them apart again, so the model has none
(`class_position=False`).
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vidmodels.models import vit
from vidmodels.typing import InputError
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books
from vidmodels.weights.mapping.layers import attention, dense, norm
from vidmodels.weights.mapping.rules import (
  Rule,
  class_and_grid,
  convolution,
  drop,
  linear,
  plain,
  rule,
  stacked,
  vector,
)

Naming = Literal['timm', 'hf', 'google', 'big_vision']

# The key of the position table, which tells the namings apart, and of the
# patches' kernel, with the axis that counts channels.
TABLES = {
  'timm': 'pos_embed',
  'hf': 'vit.embeddings.position_embeddings',
  'google': 'Transformer/posembed_input/pos_embedding',
  'big_vision': 'pos_embedding',
}
PATCHES = {
  'timm': ('patch_embed.proj.weight', 1),
  'hf': ('vit.embeddings.patch_embeddings.projection.weight', 1),
  'google': ('embedding/kernel', 2),
  'big_vision': ('embedding/kernel', 2),
}


def rules(naming: Naming = 'timm') -> tuple[Rule, ...]:
  """The key rules of a naming, for models with and without any field."""
  if naming == 'timm':
    return _timm()
  if naming == 'hf':
    # Files of ViTModel, which has no head, have no `vit.` in front.
    return (*_hf('vit.'), *_hf(''), *dense('classifier', 'head'))
  return _jax(naming)


def _table(key: str) -> tuple[Rule, ...]:
  """Positions with rows for two tokens, for one, and for patches alone."""
  both = 'class_pos distilled_pos space_pos/table'
  return (
    rule(key, both, class_and_grid(2)),
    rule(key, 'class_pos space_pos/table', class_and_grid()),
    rule(key, 'space_pos/table', class_and_grid(0)),
  )


def _timm() -> tuple[Rule, ...]:
  block = 'blocks.{i}'
  return (
    *_table('pos_embed'),
    rule('cls_token', 'class_token', vector(2)),
    rule('dist_token', 'distilled_token', vector(2)),
    rule('patch_embed.proj.weight', 'patch/kernel', convolution()),
    rule('patch_embed.proj.bias', 'patch/bias', vector()),
    *norm(f'{block}.norm1', 'block_{i}/attn_norm'),
    *attention(f'{block}.attn', 'block_{i}/attn'),
    *norm(f'{block}.norm2', 'block_{i}/mlp_norm'),
    *dense(f'{block}.mlp.fc1', 'block_{i}/mlp/up'),
    *dense(f'{block}.mlp.fc2', 'block_{i}/mlp/down'),
    *norm('norm', 'norm'),
    *dense('pre_logits.fc', 'pre_logits'),
    *dense('head', 'head'),
    *dense('head_dist', 'head_distilled'),
  )


def _hf(prefix: str) -> tuple[Rule, ...]:
  """Hugging Face's names; files keep those that modules had before 5.0."""
  embeddings = f'{prefix}embeddings'
  patches = f'{embeddings}.patch_embeddings.projection'
  pooled = f'{prefix}pooler.dense'
  why = 'the pooled feature, for which the model has no layer'
  return (
    *_table(f'{embeddings}.position_embeddings'),
    rule(f'{embeddings}.cls_token', 'class_token', vector(2)),
    rule(f'{patches}.weight', 'patch/kernel', convolution()),
    rule(f'{patches}.bias', 'patch/bias', vector()),
    *_hf_block(
      f'{prefix}encoder.layer.{{i}}',
      qkv='attention.attention.query attention.attention.key '
      'attention.attention.value',
      out='attention.output.dense',
      up='intermediate.dense',
      down='output.dense',
    ),
    *_hf_block(
      f'{prefix}layers.{{i}}',
      qkv='attention.q_proj attention.k_proj attention.v_proj',
      out='attention.o_proj',
      up='mlp.fc1',
      down='mlp.fc2',
    ),
    *norm(f'{prefix}layernorm', 'norm'),
    *dense(pooled, 'pre_logits'),
    drop(f'{pooled}.weight', why),
    drop(f'{pooled}.bias', why),
  )


def _hf_block(
  block: str, *, qkv: str, out: str, up: str, down: str
) -> tuple[Rule, ...]:
  """One block, by one of the two spellings."""
  path = 'block_{i}'
  keys = [f'{block}.{name}' for name in qkv.split()]
  return (
    *norm(f'{block}.layernorm_before', f'{path}/attn_norm'),
    rule(
      ' '.join(f'{key}.weight' for key in keys),
      f'{path}/attn/qkv/kernel',
      stacked(linear(), 1),
    ),
    rule(
      ' '.join(f'{key}.bias' for key in keys),
      f'{path}/attn/qkv/bias',
      stacked(vector(), 0),
    ),
    rule(f'{block}.{out}.weight', f'{path}/attn/out/kernel', linear(inputs=2)),
    rule(f'{block}.{out}.bias', f'{path}/attn/out/bias', vector()),
    *norm(f'{block}.layernorm_after', f'{path}/mlp_norm'),
    *dense(f'{block}.{up}', f'{path}/mlp/up'),
    *dense(f'{block}.{down}', f'{path}/mlp/down'),
  )


def _jax(naming: Naming) -> tuple[Rule, ...]:
  """Google's names: kernels lie as ours do, but for queries, keys, values."""
  # Flax once counted sub-modules of a block over all kinds, later each kind.
  numbers = (0, 1, 2, 3) if naming == 'google' else (0, 0, 1, 0)
  block, path = 'Transformer/encoderblock_{i}', 'block_{i}'
  norm1, attn, norm2, mlp = (
    f'{block}/{name}_{number}'
    for name, number in zip(
      ('LayerNorm', 'MultiHeadDotProductAttention', 'LayerNorm', 'MlpBlock'),
      numbers,
      strict=True,
    )
  )

  def same(key: str, ours: str, *names: str) -> tuple[Rule, ...]:
    return tuple(
      rule(f'{key}/{name}', f'{ours}/{name}', plain()) for name in names
    )

  def three(name: str, axis: int) -> Rule:
    keys = (f'{attn}/{one}/{name}' for one in ('query', 'key', 'value'))
    ours = f'{path}/attn/qkv/{name}'
    return rule(' '.join(keys), ours, stacked(plain(), axis))

  return (
    *_table(TABLES[naming]),
    rule('cls', 'class_token', vector(2)),
    *same('embedding', 'patch', 'kernel', 'bias'),
    *same(norm1, f'{path}/attn_norm', 'scale', 'bias'),
    three('kernel', 1),
    three('bias', 0),
    *same(f'{attn}/out', f'{path}/attn/out', 'kernel', 'bias'),
    *same(norm2, f'{path}/mlp_norm', 'scale', 'bias'),
    *same(f'{mlp}/Dense_0', f'{path}/mlp/up', 'kernel', 'bias'),
    *same(f'{mlp}/Dense_1', f'{path}/mlp/down', 'kernel', 'bias'),
    *same('Transformer/encoder_norm', 'norm', 'scale', 'bias'),
    *same('pre_logits', 'pre_logits', 'kernel', 'bias'),
    *same('head', 'head', 'kernel', 'bias'),
  )


def naming_of(state: Mapping[str, Any]) -> tuple[Naming, str]:
  """Whose names a file's keys are, and its key of the position table.

  Raises:
    InputError: if it has none of the tables that are known.
  """
  tables = [*TABLES.items(), ('hf', TABLES['hf'].removeprefix('vit.'))]
  for naming, key in tables:
    if key in state:
      return naming, key
  raise InputError(
    f'the file has none of {", ".join(TABLES.values())}; its keys start '
    f'{list(state)[:3]}; give an image ViT, without prefixes'
  )


def image_of(
  state: Mapping[str, np.ndarray], model: vit.Model
) -> tuple[int, int, int]:
  """Height, width and channels of the image that a file is for.

  Raises:
    InputError: if the table's patches are no square, as those of a model with
      other tokens are not.
  """
  naming, key = naming_of(state)
  tokens = len(model.tokens) if model.class_position else 0
  patches = state[key].shape[1] - tokens
  side = math.isqrt(max(patches, 0))
  if side < 1 or side**2 != patches:
    raise InputError(
      f'{key} has shape {list(state[key].shape)}: {patches} patches beside '
      f'{tokens} other tokens, which is no square; check distilled and '
      'class_position, or say the size of the image'
    )
  kernel, axis = PATCHES[naming]
  if not key.startswith('vit.'):
    kernel = kernel.removeprefix('vit.')
  if kernel not in state:
    raise InputError(f'the file has no {kernel}; is it a model?')
  channels = state[kernel].shape[axis] if state[kernel].ndim == 4 else 3
  return side * model.patch, side * model.patch, channels


def load(
  state: Mapping[str, np.ndarray],
  model: vit.Model,
  *,
  image: tuple[int, int, int] | None = None,
  books: Books | None = None,
) -> dict[str, Any]:
  """Turns a file's tensors into our variables.

  Args:
    state: tensors by the publisher's key, every one used once or dropped.
    model: the model that they are for.
    image: height, width and channels of the image that the position table is
      for; by default `image_of` reads it from the file.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model`: numpy arrays, most of them views of `state`.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  naming, _ = naming_of(state)
  size = image or image_of(state, model)
  return layers.load(
    rules(naming),
    square_kernel(state, model, size[-1]),
    model,
    video=(1, *size),
    books=books,
  )


def square_kernel(
  state: Mapping[str, np.ndarray], model: vit.Model, channels: int
) -> Mapping[str, np.ndarray]:
  """The oldest files of timm keep the patches' kernel flat, [D, C P P]."""
  key = PATCHES['timm'][0]
  if key not in state or state[key].ndim != 2:
    return state
  P = model.patch
  return {**state, key: state[key].reshape(-1, channels, P, P)}


def save(
  variables: Mapping[str, Any], model: vit.Model, naming: Naming = 'timm'
) -> dict[str, np.ndarray]:
  """Turns our variables into a file's tensors: `load` undone.

  Raises:
    InputError: if the naming has no name for something the model has.
  """
  if (naming == 'big_vision') == model.class_position:
    had = 'a' if model.class_position else 'no'
    if naming != 'timm':
      raise InputError(
        f'{naming} files cannot hold a class token with {had} position; take '
        'timm'
      )
  return layers.save(rules(naming), variables)
