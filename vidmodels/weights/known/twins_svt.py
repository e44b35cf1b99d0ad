"""Twins-SVT's files: timm's."""

from vidmodels.weights import twins_svt_weights
from vidmodels.weights.known.dualformer import HEAD_WIDTH, SIDE, stack
from vidmodels.weights.mapping.identify import IMAGENET, Guess, Naming, Specs

SIZES = {(64, 18): 'S', (96, 24): 'B', (128, 24): 'L'}


def guess(specs: Specs) -> Guess:
  """What keys and shapes tell of a model."""
  shapes = {key: spec[0] for key, spec in specs.items()}
  patches = stack(shapes, 'patch_embeds.{}.proj.weight')
  widths = tuple(shape[0] for shape in patches)
  stages = range(len(widths))
  layers = tuple(
    len(stack(shapes, f'blocks.{s}.{{}}.norm1.weight')) for s in stages
  )
  edges = (shapes.get(f'blocks.{s}.1.attn.sr.weight', (1,)) for s in stages)
  _, C, _, edge = patches[0]
  return Guess(
    model={
      'widths': widths,
      'layers': layers,
      'heads': tuple(max(width // HEAD_WIDTH, 1) for width in widths),
      'mlp_ratio': shapes['blocks.0.0.mlp.fc1.weight'][0] / widths[0],
      'reductions': tuple(shape[-1] for shape in edges),
      'patch': edge,
      'qkv_bias': 'blocks.0.0.attn.qkv.bias' in shapes,
    },
    assumed=('heads',),
    clip=(1, SIDE, SIDE, C),
    classes=shapes['head.weight'][0] if 'head.weight' in shapes else 0,
    size=SIZES.get((widths[0], sum(layers)), ''),
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
    # DualFormer's own image parent has these and is none of ours.
    lacks=('blocks.0.1.attn.lr.0.weight',),
    guess=guess,
    rules=twins_svt_weights.rules,
    pixels=IMAGENET,
    trained={'activation': 'gelu', 'epsilon': 1e-6},
  ),
)
