"""VidTr's files: the authors', and the image ViT that they start from."""

import functools
import math
from collections.abc import Mapping
from typing import Any

from vidmodels.models import vidtr as models
from vidmodels.weights import vidtr_image, vidtr_weights
from vidmodels.weights.mapping import identify, position_tables
from vidmodels.weights.mapping.identify import IMAGENET, Guess, Naming, Specs
from vidmodels.weights.mapping.layers import dense, norm
from vidmodels.weights.mapping.rules import (
  Rule,
  class_and_grid,
  convolution,
  rule,
  vector,
)

SOURCES = vidtr_image.SOURCES
KEYS = ('conv_stem.weight', 'pos_embedding', 'encoder.layers.{i}.linear1.bias')
# The two C-VidTr that were published, by layers and frames.
COMPACT = {
  (12, 8): {'pool_layers': (1, 3, 5), 'pool_drop': (2, 2, 2), 'joint_from': 6},
  (12, 16): {'pool_layers': (1, 2, 4), 'pool_drop': (8, 4, 2), 'joint_from': 5},
}
NOTE = (
  'C-VidTr and joint attention have the same tensors: a file of 12 layers and '
  '8 or 16 frames is taken for the C-VidTr that was published so, any other '
  'for joint attention'
)


def lead(model: models.Model, path: str) -> tuple[int, ...]:
  """Rows in front of a table's axes that are class tokens, not places."""
  if path == 'tokens/patch_pos/table':
    return {'separable': (1, 0, 0), 'axial': (1, 1, 1)}.get(model.attention, ())
  return (1,) if path == 'tokens/class_pos/table' else ()


def guess(specs: Specs, attention: str) -> Guess:
  """What a file's keys and shapes say of its model."""
  like = models.Model(classes=1, attention=attention, patch_frames=2)
  paths = identify.by_path(vidtr_weights.rules(like), specs)
  width, C, t, P, _ = identify.shape(paths, 'patch/kernel')
  layers = identify.layers(paths, 'layer_{i}/')
  fields: dict[str, Any] = {
    'layers': layers,
    'width': width,
    'heads': identify.heads(width),
    'mlp_ratio': identify.shape(paths, 'layer_0/mlp/up/bias')[0] / width,
    'patch': P,
    'patch_frames': t,
  }
  frames, H, W = _clip(paths, attention, P)
  rows = 0  # of one frame: a table of all frames does not tell them
  if attention == 'separable':
    rows = identify.shape(paths, 'tokens/time_class/table')[1] - 1
    # The release adds positions in every layer where there are 16 frames.
    fields |= {'attention': attention, 'positions': 'first'}
    fields['positions'] = 'every' if frames == 16 else 'first'
    assumed = ('heads', 'positions')
  else:
    pool = COMPACT.get((layers, frames))
    scheme = {'attention': 'merged', 'pool': 'top_k'} if pool else {}
    fields |= {'attention': attention, **scheme, **(pool or {})}
    assumed = ('heads', 'attention', 'joint_from', 'pool')
    assumed += ('pool_layers', 'pool_drop')
  return Guess(
    model=fields,
    assumed=assumed,
    clip=(frames * t, H, W, C),
    places=rows,
    classes=paths['head/bias'][0] if 'head/bias' in paths else 0,
    size=identify.vit_size(width, layers, P),
    notes=() if attention == 'separable' else (NOTE,),
  )


def _clip(
  paths: Mapping[str, tuple[int, ...]], attention: str, patch: int
) -> tuple[int, int, int]:
  """Frames of tokens that tables are for, height and width of their pixels."""
  if attention == 'separable':
    rows = identify.shape(paths, 'tokens/time_class/table')[1]
    frames = identify.shape(paths, 'tokens/space_class/table')[0]
    return frames, *position_tables.size(rows - 1, patch)
  rows = identify.shape(paths, 'tokens/patch_pos/table')[1] - 1
  # Frames of 224 pixels as published, or of whatever square there is.
  sides = (
    vidtr_weights.PIXELS // patch,
    *range(math.isqrt(max(rows, 0)), 0, -1),
  )
  side = next((s for s in sides if s and rows % s**2 == 0), 1)
  return rows // side**2, side * patch, side * patch


def _made_for(guess: Guess, video: tuple[int, int, int, int]) -> bool:
  """Whether one table has as many places as a clip: it tells no more."""
  P, t = guess.model['patch'], guess.model['patch_frames']
  count = lambda T, H, W: (T // t) * (H // P) * (W // P)
  return count(*video[:3]) == count(*guess.clip[:3])


def image_rules(model: Any = None) -> tuple[Rule, ...]:
  """An image ViT of ours by VidTr's names, its kernel with an axis of time."""
  del model
  layer, block = 'encoder.layers.{i}', 'block_{i}'
  return (
    rule('cls', 'class_token', vector(2)),
    rule('pos_embedding', 'class_pos space_pos/table', class_and_grid()),
    rule('conv_stem.weight', 'patch/kernel', convolution(1)),
    rule('conv_stem.bias', 'patch/bias', vector()),
    *vidtr_weights.in_proj(f'{layer}.self_attn', f'{block}/attn'),
    *norm(f'{layer}.norm1', f'{block}/attn_norm'),
    *norm(f'{layer}.norm2', f'{block}/mlp_norm'),
    *dense(f'{layer}.linear1', f'{block}/mlp/up'),
    *dense(f'{layer}.linear2', f'{block}/mlp/down'),
    *norm('encoder.norm', 'norm'),
  )


def guess_image(specs: Specs) -> Guess:
  """What the image ViT's keys and shapes say; it has no classes."""
  paths = identify.by_path(image_rules(), specs)
  width, C, _, P, _ = identify.shape(paths, 'patch/kernel')
  rows = identify.shape(paths, 'space_pos/table')[1]
  layers = identify.layers(paths)
  return Guess(
    model={
      'layers': layers,
      'width': width,
      'heads': identify.heads(width),
      'mlp_ratio': identify.shape(paths, 'block_0/mlp/up/bias')[0] / width,
      'patch': P,
    },
    assumed=('heads',),
    clip=(1, *position_tables.size(rows - 1, P), C),
    places=rows - 1,
    classes=0,
    size=identify.vit_size(width, layers, P),
  )


def _released(name: str, attention: str, *has: str, lacks=()) -> Naming:
  return Naming(
    family='vidtr',
    name=name,
    has=(*KEYS, *has),
    lacks=lacks,
    guess=functools.partial(guess, attention=attention),
    **({'made_for': _made_for} if attention == 'joint' else {}),
    rules=vidtr_weights.rules,
    pixels=IMAGENET,
    trained={'activation': 'relu', 'epsilon': 1e-5},
    under='model',
  )


def leads(model: models.Model) -> dict[str, tuple[int, ...]]:
  """Rows of class tokens in front of the axes of tables."""
  return {
    'separable': {
      'tokens/class_pos/table': (1,),
      'tokens/patch_pos/table': (1, 0, 0),
    },
    'axial': {'tokens/patch_pos/table': (1, 1, 1)},
  }.get(model.attention, {})


NAMINGS = (
  _released('release', 'separable', 'cls_s', 'cls_t'),
  _released('compact', 'joint', 'cls', 'fc.weight', lacks=('cls_s',)),
  Naming(
    family='vit',
    name='vidtr',
    has=(*KEYS, 'cls'),
    lacks=('cls_s', 'fc.weight'),
    guess=guess_image,
    rules=image_rules,
  ),
)
