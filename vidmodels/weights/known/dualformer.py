"""DualFormer's files: the authors'."""

import dataclasses
from typing import Any

from vidmodels.weights import dualformer_image, dualformer_weights
from vidmodels.weights.dualformer_twins import from_twins
from vidmodels.weights.mapping import layers as mapping_layers
from vidmodels.weights.mapping.identify import IMAGENET, Guess, Naming, Specs

SOURCES = {'twins_svt': from_twins}
HEAD = '^(token_)?head/'
SIDE = 224  # of every published model's frames
FINE = 8  # frames of tokens that fine scales aim at
HEAD_WIDTH = 32
SIZES = {(64, 18): 'T', (96, 24): 'S', (128, 24): 'B'}
NOTE = (
  'windows and heads are the published ones, and pooling kernels are taken to '
  'be for frames of 224 x 224 pixels: no tensor tells'
)
IMAGE_NOTE = (
  "an image model of the authors' layout: kernels are repeated over frames and "
  'divided by them, and the second coarse convolutions start as constants'
)


def guess(specs: Specs) -> Guess:
  """What keys and shapes tell of a model."""
  shapes = {
    key.removeprefix(dualformer_weights.BACKBONE): spec[0]
    for key, spec in specs.items()
  }
  patches = stack(shapes, 'patch_embeds.{}.proj.weight')
  widths = tuple(shape[0] for shape in patches)
  kinds = [_kinds(shapes, s) for s in range(len(widths))]
  first = [
    shapes[f'blocks.{s}.0.mlp.fc1.weight'][0] / width
    for s, width in enumerate(widths)
  ]
  _, C, time, _, edge = patches[0]
  pool = shapes.get('blocks.0.1.attn.sr.weight', (1, 1, 2))
  frames = pool[2] * FINE * time
  layers = tuple(map(len, kinds))
  model: dict[str, Any] = {
    'widths': widths,
    'layers': layers,
    'heads': tuple(max(width // HEAD_WIDTH, 1) for width in widths),
    'mlp_ratios': tuple(first),
    'patterns': tuple(map(pattern, kinds)),
    'pooling': 'dense' if pool[1] > 1 else 'depthwise',
    'built': (frames, SIDE, SIDE),
    'patch': edge,
    'patch_frames': time,
    'rates': tuple(shape[2] for shape in patches[1:]),
    'token_head': f'{dualformer_weights.HEAD}token_linear.0.weight' in specs,
    'qkv_bias': 'blocks.0.0.attn.qkv.bias' in shapes,
  }
  return Guess(
    model=model,
    assumed=('heads', 'built', 'token_head'),
    clip=(frames, SIDE, SIDE, C),
    classes=specs[f'{dualformer_weights.HEAD}fc_cls.weight'][0][0],
    size=SIZES.get((widths[0], sum(layers)), ''),
    notes=(NOTE,),
  )


def _kinds(shapes, s: int) -> str:
  """The levels of a stage: 'G' for global ones, which have queries apart."""
  blocks = stack(shapes, f'blocks.{s}.{{}}.norm1.weight')
  return ''.join(
    'G' if f'blocks.{s}.{j}.attn.q.weight' in shapes else 'L'
    for j, _ in enumerate(blocks)
  )


def guess_image(specs: Specs) -> Guess:
  """What an image file's keys and shapes tell of the video model it starts."""
  shapes = {key: spec[0] for key, spec in specs.items()}
  # The same tensors as a video model's of patches of two frames, built for 32.
  for key, shape in shapes.items():
    if len(shape) == 4:
      frames = 2 if '.sr.' in key or key.startswith('patch_embeds.0') else 1
      shapes[key] = (*shape[:2], frames, *shape[2:])
  video = {
    f'{dualformer_weights.BACKBONE}{k}': (v, None) for k, v in shapes.items()
  }
  head = f'{dualformer_weights.HEAD}fc_cls.weight'
  found = guess(video | {head: (shapes.get('head.weight', (0,)), None)})
  assumed = (*found.assumed, 'patch_frames', 'rates')
  return dataclasses.replace(found, assumed=assumed, notes=(NOTE, IMAGE_NOTE))


def stack(shapes, key: str) -> list[tuple[int, ...]]:
  """The shapes of a key that counts from 0, as long as there are any."""
  found: list[tuple[int, ...]] = []
  while (name := key.format(len(found))) in shapes:
    found.append(tuple(shapes[name]))
  return found


def pattern(kinds: str) -> str:
  """The shortest pattern that gives a stage its levels."""
  sizes = range(1, len(kinds) + 1)
  return next(
    kinds[:n]
    for n in sorted(sizes, key=lambda n: (n != 2, n))
    if (kinds[:n] * len(kinds))[: len(kinds)] == kinds
  )


def _naming(name: str, has: tuple[str, ...], **more: Any) -> Naming:
  return Naming(
    family='dualformer',
    name=name,
    has=has,
    pixels=IMAGENET,
    trained={'activation': 'gelu', 'epsilon': 1e-5},
    extras=mapping_layers.batch_counters,
    **more,
  )


NAMINGS = (
  _naming(
    'release',
    ('backbone.patch_embeds.0.proj.weight', 'cls_head.fc_cls.weight'),
    guess=guess,
    rules=dualformer_weights.rules,
    under='state_dict',
  ),
  _naming(
    'image',
    ('patch_embeds.0.proj.weight', 'blocks.0.1.attn.lr.0.weight'),
    guess=guess_image,
    rules=dualformer_image.rules,
  ),
)
