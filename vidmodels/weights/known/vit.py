"""Image ViT files: timm's and DeiT's, the hub's, Google's, big_vision's."""

import functools
from collections.abc import Mapping
from typing import Any

from vidmodels.weights import vit_weights
from vidmodels.weights.mapping import identify, position_tables
from vidmodels.weights.mapping.identify import (
  HALF,
  IMAGENET,
  Guess,
  Naming,
  Specs,
)

HEAD = '^head'
NOTES = {
  'timm': (
    "trained on frames of mean and std .5 if its weights are Google's, of "
    "ImageNet's mean and std if DeiT's; a file does not say which",
  ),
  'google': (
    'Google computes the tanh form of GELU; these fields take the exact one, '
    "as timm and video models do: activation=gelu_tanh gives Google's answers",
  ),
  'big_vision': (
    'the position of the class token is a part of the token here, so a model '
    'that uses the two apart (VidTr) does not start where others do',
  ),
}


def guess(specs: Specs, spelling: vit_weights.Naming) -> Guess:
  """What a file's keys and shapes say of its model."""
  paths = identify.by_path(vit_weights.rules(spelling), specs)
  width = identify.shape(paths, 'patch/bias')[0]
  kernel = identify.shape(paths, 'patch/kernel')
  if spelling in ('google', 'big_vision'):
    P, _, C, _ = kernel
  elif len(kernel) == 2:  # the oldest of timm: [D, C P P]
    C, P = (
      3,
      position_tables.square(kernel[1] // 3, 'the kernel of the patches'),
    )
  else:
    _, C, _, P = kernel
  layers = identify.layers(paths)
  distilled = 'distilled_token' in paths
  tokens = 0 if spelling == 'big_vision' else 1 + distilled
  rows = identify.shape(paths, 'space_pos/table')[1]
  fields = {
    'layers': layers,
    'width': width,
    'heads': _heads(paths, width, spelling),
    'mlp_ratio': identify.shape(paths, 'block_0/mlp/up/bias')[0] / width,
    'patch': P,
    'distilled': distilled,
    'pre_logits': _pre_logits(paths, spelling),
    'class_position': tokens > 0,
    'qkv_bias': 'block_0/attn/qkv/bias' in paths,
  }
  return Guess(
    model=fields,
    assumed=() if spelling in ('google', 'big_vision') else ('heads',),
    clip=(1, *position_tables.size(rows - tokens, P), C),
    places=rows - tokens,
    classes=paths['head/bias'][0] if 'head/bias' in paths else 0,
    size=identify.vit_size(width, layers, P),
    notes=NOTES.get(spelling, ()) if not distilled else (),
    pixels=IMAGENET if distilled else None,
  )


def _heads(
  paths: Mapping[str, Any], width: int, spelling: vit_weights.Naming
) -> int:
  """Google's kernels are [D, A, d]; others do not tell."""
  if spelling in ('google', 'big_vision'):
    return identify.shape(paths, 'block_0/attn/qkv/kernel')[1]
  return identify.heads(width)


def _pre_logits(paths: Mapping[str, Any], spelling: vit_weights.Naming) -> bool:
  """Whether there is such a layer; the hub's pooler belongs to no head."""
  return spelling != 'hf' and 'pre_logits/kernel' in paths


def _naming(spelling: vit_weights.Naming, **more: Any) -> Naming:
  return Naming(
    family='vit',
    name=spelling,
    guess=functools.partial(guess, spelling=spelling),
    rules=lambda model: vit_weights.rules(spelling),
    **more,
  )


EXACT = {'activation': 'gelu', 'epsilon': 1e-6}
TANH = {'activation': 'gelu_tanh', 'epsilon': 1e-6}
# Its default; a file whose config lies beside it is read with what that says.
HUB = {'activation': 'gelu', 'epsilon': 1e-12}
PATCHES = 'vit.embeddings.patch_embeddings.projection.weight'
NAMINGS = (
  _naming(
    'timm',
    has=('cls_token', 'pos_embed', 'blocks.{i}.attn.qkv.weight'),
    lacks=('time_embed', 'blocks.{i}.temporal_attn.qkv.weight'),
    trained=EXACT,
  ),
  _naming('hf', has=(PATCHES,), pixels=HALF, trained=HUB),
  _naming('hf', has=(PATCHES.removeprefix('vit.'),), pixels=HALF, trained=HUB),
  _naming(
    'google',
    has=('cls', 'embedding/kernel', vit_weights.TABLES['google']),
    pixels=HALF,
    trained=TANH,
  ),
  _naming(
    'big_vision',
    has=('cls', 'embedding/kernel', 'pos_embedding'),
    pixels=HALF,
    trained=TANH,
  ),
)
