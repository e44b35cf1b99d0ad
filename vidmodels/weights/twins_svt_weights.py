"""Twins-SVT's public weights, by timm's keys."""

from vidmodels.models import twins_svt
from vidmodels.weights.dualformer_weights import (
  FRAME,
  guess_heads,
  level_rules,
  list_levels,
  list_shapes,
)
from vidmodels.weights.mapping import identify, key_rules
from vidmodels.weights.mapping.identify import IMAGENET, Guess, Naming, Specs

SIZES = {(64, 18): 'S', (96, 24): 'B', (128, 24): 'L'}


def rules(model: twins_svt.Model) -> key_rules.Rules:
  """The key rules of a model; timm counts a stage's levels through."""
  all_rules = [
    *key_rules.norm('norm', 'norm'),
    *key_rules.dense('head', 'head'),
  ]
  for s in range(len(model.widths)):
    key, path = f'patch_embeds.{s}', f'stage_{s}'
    all_rules += [
      *key_rules.conv(f'{key}.proj', f'{path}/patch'),
      *key_rules.norm(f'{key}.norm', f'{path}/patch_norm'),
      *key_rules.conv(f'pos_block.{s}.proj.0', f'{path}/block_0/peg'),
    ]
  one_frame = key_rules.inflated_convolution()  # our kernel has one frame
  patterns = (twins_svt.PATTERN,) * len(model.widths)
  for key, path, kind in list_levels(model.layers, patterns):
    pool = f'{path}/attn/pyramid/fine/kernel'
    # Before the rule of kernels that have a frame axis: the first rule wins.
    all_rules += [
      key_rules.rule(f'{key}.attn.sr.weight', pool, one_frame),
      *level_rules(key, path, kind),
    ]
  return tuple(all_rules)


def guess_model(specs: Specs) -> Guess:
  """What keys and shapes tell about a model."""
  shapes = {key: spec[0] for key, spec in specs.items()}
  patches = list_shapes(shapes, 'patch_embeds.{}.proj.weight')
  widths = tuple(shape[0] for shape in patches)
  stages = range(len(widths))
  layers = tuple(
    len(list_shapes(shapes, f'blocks.{s}.{{}}.norm1.weight')) for s in stages
  )
  pools = (shapes.get(f'blocks.{s}.1.attn.sr.weight', (1,)) for s in stages)
  _, C, _, edge = patches[0]
  size = SIZES.get((widths[0], sum(layers)), '')
  return Guess(
    model={
      'widths': widths,
      'layers': layers,
      'heads': guess_heads(widths),
      'mlp_ratio': shapes['blocks.0.0.mlp.fc1.weight'][0] / widths[0],
      'reductions': tuple(shape[-1] for shape in pools),
      'patch': edge,
      'qkv_bias': 'blocks.0.0.attn.qkv.bias' in shapes,
    },
    assumed=() if size else ('heads',),
    clip=(1, FRAME, FRAME, C),
    classes=identify.count_classes(shapes, 'head.weight'),
    size=size,
  )


NAMINGS = (
  Naming(
    family='twins_svt',
    name='timm',
    has=(
      'patch_embeds.0.proj.weight',
      'blocks.0.0.attn.qkv.weight',
      'blocks.0.1.attn.kv.weight',
      'head.weight',
    ),
    # DualFormer's own image model has these keys too.
    lacks=('blocks.0.1.attn.lr.0.weight',),
    guess=guess_model,
    rules=rules,
    pixels=IMAGENET,
    trained={'activation': 'gelu', 'epsilon': 1e-6},
  ),
)
