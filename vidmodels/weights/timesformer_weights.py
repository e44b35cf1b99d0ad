"""TimeSformer's released weights: their keys and our parameters.

Keys are those of the authors' `VisionTransformer`, without the 'model.' that
published files put in front, or those of the Hugging Face hub. Steps that were
never released are named as the released ones are.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from vidmodels.models import timesformer, vit
from vidmodels.models.timesformer import StepSpec
from vidmodels.typing import InputError
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books
from vidmodels.weights.mapping.from_image import from_vit, starts_at_image
from vidmodels.weights.mapping.layers import attention, dense, norm
from vidmodels.weights.mapping.rules import (
  Rule,
  class_and_grid,
  convolution,
  rule,
  table,
  vector,
)

Naming = Literal['release', 'hf']

# What comes before the numbers of blocks, and the parts of one.
_HF = {
  'cls_token': 'timesformer.embeddings.cls_token',
  'pos_embed': 'timesformer.embeddings.position_embeddings',
  'time_embed': 'timesformer.embeddings.time_embeddings',
  'patch_embed.proj': 'timesformer.embeddings.patch_embeddings.projection',
  'blocks.{i}': 'timesformer.encoder.layer.{i}',
  'norm1': 'layernorm_before',
  'norm2': 'layernorm_after',
  'attn.qkv': 'attention.attention.qkv',
  'attn.proj': 'attention.output.dense',
  '_norm1': '_layernorm',
  '_attn.qkv': '_attention.attention.qkv',
  '_attn.proj': '_attention.output.dense',
  '_fc': '_dense',
  'mlp.fc1': 'intermediate.dense',
  'mlp.fc2': 'output.dense',
  'norm': 'timesformer.layernorm',
  'head': 'classifier',
}


def rules(
  steps: Sequence[StepSpec], naming: Naming = 'release'
) -> tuple[Rule, ...]:
  """The key rules of a model with these attention steps.

  The release calls the step without a second projection plain `attn`, whatever
  it looks at, and puts `temporal_` before the names of the step in time; we put
  `local_`, `width_` and `height_` before those of others.
  """
  say = (lambda name: name) if naming == 'release' else _HF.__getitem__
  block = say('blocks.{i}')
  return (
    rule(say('cls_token'), 'class_token', vector(2)),
    rule(say('pos_embed'), 'class_pos space_pos/table', class_and_grid()),
    rule(say('time_embed'), 'time_pos/table', table()),
    rule(f'{say("patch_embed.proj")}.weight', 'patch/kernel', convolution()),
    rule(f'{say("patch_embed.proj")}.bias', 'patch/bias', vector()),
    *(r for look in steps for r in _step(look, block, say)),
    *norm(f'{block}.{say("norm2")}', 'block_{i}/mlp_norm'),
    *dense(f'{block}.{say("mlp.fc1")}', 'block_{i}/mlp/up'),
    *dense(f'{block}.{say("mlp.fc2")}', 'block_{i}/mlp/down'),
    *norm(say('norm'), 'norm'),
    *dense(say('head'), 'head'),
  )


def _step(
  look: StepSpec, block: str, say: Callable[[str], str]
) -> tuple[Rule, ...]:
  """The rules of one attention step."""
  path = f'block_{{i}}/{look.name}'
  if not look.fc:
    qkv, out, key = say('attn.qkv'), say('attn.proj'), say('norm1')
    return (
      *norm(f'{block}.{key}', f'{path}/norm'),
      *attention(block, f'{path}/attn', qkv=qkv, out=out),
    )
  prefix = 'temporal' if look.name == 'time' else look.name
  qkv, out = prefix + say('_attn.qkv'), prefix + say('_attn.proj')
  return (
    *norm(f'{block}.{prefix}{say("_norm1")}', f'{path}/norm'),
    *attention(block, f'{path}/attn', qkv=qkv, out=out),
    *dense(f'{block}.{prefix}{say("_fc")}', f'{path}/fc'),
  )


def naming_of(state: Mapping[str, Any]) -> Naming:
  """Whose names a file's keys are."""
  return 'hf' if _HF['cls_token'] in state else 'release'


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
  say = (lambda name: name) if naming_of(state) == 'release' else _HF.get
  if say('pos_embed') not in state:
    raise InputError(
      f'the file has no pos_embed; its keys start {list(state)[:3]}; give a '
      'TimeSformer state dict, without prefixes'
    )
  patches = state[say('pos_embed')].shape[1] - 1
  side = math.isqrt(max(patches, 0))
  if side < 1 or side**2 != patches:
    raise InputError(
      f'the file has positions for {patches} patches, which is no square; '
      'say which clip it was made for'
    )
  time = state.get(say('time_embed'))
  frames = 1 if time is None else time.shape[1]
  return frames, side * patch, side * patch


def load(
  state: Mapping[str, np.ndarray],
  model: timesformer.Model,
  *,
  clip: tuple[int, int, int] | None = None,
) -> dict[str, Any]:
  """Turns the authors' state dict, or the hub's, into our variables.

  Args:
    state: tensors by key, every one of which is used once.
    model: the model that they are for.
    clip: frames, height and width in pixels of the clip that the position
      tables are for; by default `clip_of` reads it from the file.

  Returns:
    Variables of `model`: numpy arrays, most of them views of `state`.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  naming = naming_of(state)
  if clip is None and model.positions == 'none':
    clip = (1, model.patch, model.patch)  # there is no table to fit
  pixels = clip or clip_of(state, model.patch)
  name = _HF['patch_embed.proj'] if naming == 'hf' else 'patch_embed.proj'
  if f'{name}.weight' not in state:
    raise InputError(f'the file has no {name}.weight; is it a model?')
  channels = state[f'{name}.weight'].shape[1]
  return layers.load(
    rules(model.steps(), naming), state, model, video=(*pixels, channels)
  )


def save(
  variables: Mapping[str, Any],
  model: timesformer.Model,
  naming: Naming = 'release',
) -> dict[str, np.ndarray]:
  """Turns our variables into a file's tensors: `load` undone."""
  return layers.save(rules(model.steps(), naming), variables)


def from_image(
  variables: Mapping[str, Any],
  image: vit.Model,
  model: timesformer.Model,
  video: tuple[int, ...],
  books: Books,
) -> dict[str, Any]:
  """A video model's start from an image ViT (section 4.1 and appendix A).

  Every attention step starts as the image model's attention, its norm
  included. With the projections behind the steps at zero (`fresh='image'`) and
  an image model of exact GELU and an epsilon of 1e-6, a clip of one frame over
  and over then has the class feature of the image

  * in divided attention of any order, and in space attention;
  * in joint attention if the clip is one frame: otherwise each patch counts
    once a frame in the softmax and the class token once;
  * in axial attention without `axial_identity` if frames are one patch across
    along the axis that starts at zero;
  * in local-global attention if there is one patch: the last step's patches
    are all it looks at.

  Args:
    variables: of the image model.
    image: the image model.
    model: the video model.
    video: shape (T, H, W, C) of the clips that it is for.
    books: takes what stays random, and what of the image model is left out.

  Returns:
    Variables of `model` but for the head, the table of times and the
    projections behind steps, which stay as they were drawn. The table of places
    keeps the image's grid; the model fits it as ever.

  Raises:
    InputError: if the sizes of the two differ, or the video model's projections
      would not start at zero.
  """
  starts_at_image(model, 'new layers')
  return from_vit(
    variables,
    image,
    model,
    video,
    books,
    source=functools.partial(_source, steps=model.steps()),
  )


def _source(path: str, *, steps: Sequence[StepSpec]) -> str:
  """The image model's path of what starts a parameter of the video model."""
  for look in steps:
    path = re.sub(rf'^(block_\d+)/{look.name}/attn/', r'\1/attn/', path)
    path = re.sub(rf'^(block_\d+)/{look.name}/norm/', r'\1/attn_norm/', path)
  return path


SOURCES = {'vit': from_image}
