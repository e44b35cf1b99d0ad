"""TimeSformer's released weights: their keys and our parameters.

Keys are those of the authors' `VisionTransformer`, to which published files add
the prefix 'model.', or those of the Hugging Face hub. Attention steps and heads
with a hidden layer were never released; they are named like what was.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from vidmodels.models import timesformer, vit
from vidmodels.models.timesformer import StepSpec
from vidmodels.weights.mapping import from_image, identify, key_rules
from vidmodels.weights.mapping.apply import KeyReport
from vidmodels.weights.mapping.identify import Guess, Naming, Pixels, Specs

Publisher = Literal['release', 'hf']

# The hub's word for each of the release's.
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
# Fields that shapes do not tell: orders of time and space have the same
# tensors, and so have both kinds of position in space attention.
AMBIGUOUS = {'divided': ('attention',), 'space': ('positions',)}
RGB = Pixels(mean=(0.45,) * 3, std=(0.225,) * 3)
SSV2 = 174  # classes of Something-Something V2, whose readers gave BGR
NOTE = (
  'released weights for Something-Something V2 were trained on BGR frames, '
  'those for other sets on RGB, scaled by mean .45 and std .225; a file of 174 '
  'classes is taken to be of the former, unless --channels=RGB says otherwise'
)


def rules(
  steps: Sequence[StepSpec], publisher: Publisher = 'release'
) -> key_rules.Rules:
  """The key rules of a model with these attention steps.

  The release calls the step without a second projection plain `attn`, whatever
  it looks at, and puts `temporal_` before the names of the step in time. We put
  `local_`, `width_` and `height_` before those of other steps.
  """
  word = _words(publisher)
  block = word('blocks.{i}')
  return (
    key_rules.rule(word('cls_token'), 'class_token', key_rules.vector(2)),
    key_rules.rule(
      word('pos_embed'), 'class_pos space_pos/table', key_rules.class_and_grid()
    ),
    key_rules.rule(word('time_embed'), 'time_pos/table', key_rules.table()),
    *key_rules.conv(word('patch_embed.proj'), 'patch'),
    *(r for look in steps for r in _step_rules(look, block, word)),
    *key_rules.norm(f'{block}.{word("norm2")}', 'block_{i}/mlp_norm'),
    *key_rules.dense(f'{block}.{word("mlp.fc1")}', 'block_{i}/mlp/up'),
    *key_rules.dense(f'{block}.{word("mlp.fc2")}', 'block_{i}/mlp/down'),
    *key_rules.norm(word('norm'), 'norm'),
    *key_rules.dense(word('head'), 'head'),
    *key_rules.dense(f'{word("head")}.fc1', 'head/up'),
    *key_rules.dense(f'{word("head")}.fc2', 'head/down'),
  )


def _words(publisher: Publisher) -> Callable[[str], str]:
  """From the release's words to a publisher's."""
  return _HF.__getitem__ if publisher == 'hf' else lambda name: name


def _step_rules(
  look: StepSpec, block: str, word: Callable[[str], str]
) -> key_rules.Rules:
  """The rules of one attention step."""
  path = f'block_{{i}}/{look.name}'
  prefix = 'temporal' if look.name == 'time' else look.name
  if not look.fc:
    norm_key, qkv, out = word('norm1'), word('attn.qkv'), word('attn.proj')
  else:
    norm_key = prefix + word('_norm1')
    qkv, out = prefix + word('_attn.qkv'), prefix + word('_attn.proj')
  step = (
    *key_rules.norm(f'{block}.{norm_key}', f'{path}/norm'),
    *key_rules.attention(block, f'{path}/attn', qkv=qkv, out=out),
  )
  if look.fc:
    step += key_rules.dense(f'{block}.{prefix}{word("_fc")}', f'{path}/fc')
  return step


def start_from_image(
  variables: Mapping[str, Any],
  image: vit.Model,
  model: timesformer.Model,
  video: tuple[int, ...],
  report: KeyReport,
) -> dict[str, Any]:
  """Starts a video model from an image ViT (section 4.1 and appendix A).

  Every attention step starts as the image model's attention, its norm
  included. With the projections behind the steps at zero (`fresh='image'`) and
  an image model of exact GELU and an epsilon of 1e-6, a clip that repeats one
  frame then has the class feature of the image

  * in divided attention of any order, and in space attention;
  * in joint attention if the clip is one frame: otherwise each patch counts
    once a frame in the softmax and the class token once;
  * in axial attention without `axial_identity` if frames are one patch across
    along the axis that starts at zero;
  * in local-global attention if there is one patch: the last step's patches
    are all it looks at.

  The head, the table of times and the projections behind steps keep their
  initial values. The table of patches keeps the image's grid; the model resizes
  it at every call. For arguments and results see `identify.ImageSource`.
  """

  def source(path: str) -> str:
    for look in model.steps():
      path = re.sub(rf'^(block_\d+)/{look.name}/attn/', r'\1/attn/', path)
      path = re.sub(rf'^(block_\d+)/{look.name}/norm/', r'\1/attn_norm/', path)
    return path

  from_image.check_starts_at_image(model, 'new layers')
  return from_image.start_from_vit(
    variables, image, model, video, report, source=source
  )


def guess_model(specs: Specs, publisher: Publisher) -> Guess:
  """What a file's keys and shapes tell about its model."""
  # Rules of every scheme: the plain step's keys are in all of them.
  schemes = get_args(timesformer.Scheme)
  steps = [s for name in schemes for s in timesformer.attention_steps(name)]
  steps += timesformer.attention_steps('axial', axial_order='thw')
  shapes = identify.shapes_by_path(
    rules(tuple(dict.fromkeys(steps)), publisher), specs
  )
  width = identify.find_shape(shapes, 'patch/bias')[0]
  kernel = identify.find_shape(shapes, 'patch/kernel')
  C, P = identify.read_patch_kernel(kernel)
  scheme = _guess_scheme(shapes)
  has_time = 'time_pos/table' in shapes
  patches = identify.find_shape(shapes, 'space_pos/table')[1] - 1
  frames = shapes['time_pos/table'][1] if has_time else 1
  fields = identify.vit_fields(shapes, width=width, patch=P)
  hidden = 'head/up/bias' in shapes
  classes = identify.count_classes(
    shapes, 'head/down/bias' if hidden else 'head/bias'
  )
  return Guess(
    model={
      **fields,
      'attention': scheme,
      'head_hidden': shapes['head/up/bias'][0] if hidden else 0,
      'qkv_bias': 'block_0/space/attn/qkv/bias' in shapes,
      'positions': 'space_time' if has_time or scheme == 'space' else 'space',
    },
    assumed=(*identify.assumed_heads(fields), *AMBIGUOUS.get(scheme, ())),
    clip=(frames, *identify.square_frame(patches, P), C),
    patches=patches,
    classes=classes,
    size=identify.vit_size(fields),
    notes=(NOTE,),
    pixels=dataclasses.replace(RGB, order='BGR' if classes == SSV2 else 'RGB'),
  )


def _guess_scheme(shapes: Mapping[str, tuple[int, ...]]) -> str:
  """The attention scheme, by the steps that have a projection behind them."""
  for scheme, step in (
    ('axial', 'width'),
    ('axial', 'height'),
    ('divided', 'time'),
    ('local_global', 'local'),
  ):
    if f'block_0/{step}/fc/kernel' in shapes:
      return scheme
  return 'joint' if 'time_pos/table' in shapes else 'space'


def _naming(publisher: Publisher, **more: Any) -> Naming:
  word = _words(publisher)
  return Naming(
    family='timesformer',
    name=publisher,
    has=(word('cls_token'), word('pos_embed')),
    guess=functools.partial(guess_model, publisher=publisher),
    rules=lambda model: rules(model.steps(), publisher),
    trained={'activation': 'gelu', 'epsilon': 1e-6},
    licence='CC-BY-NC 4.0',
    **more,
  )


SOURCES = {'vit': start_from_image}
NAMINGS = (
  _naming(
    'release',
    lacks=('dist_token', 'pre_logits.fc.weight', identify.T2T_KEY),
    prefix='model.',
    under='model_state',
  ),
  _naming('hf'),
)
