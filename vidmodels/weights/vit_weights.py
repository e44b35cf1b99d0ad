"""Image ViT weights under the names of those who publish them, both ways.

Four sets of names: timm's and DeiT's; Hugging Face's ('hf'); Google's npz files
of the ViT paper and of AugReg ('google', which numbers the sub-modules of a
block over all kinds of layer); and those of big_vision (which numbers them per
kind). big_vision adds the position of the class token to the token. Nothing can
tell the two apart again, so the model has no such position
(`class_position=False`).
"""

import functools
from typing import Any, Literal

from vidmodels.models import vit
from vidmodels.typing import InputError
from vidmodels.weights.mapping import identify, key_rules
from vidmodels.weights.mapping.identify import HALF, Guess, Naming, Specs

Publisher = Literal['timm', 'hf', 'google', 'big_vision']

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


def rules(publisher: Publisher = 'timm') -> key_rules.Rules:
  """The key rules of a publisher, for models with any choice of fields."""
  if publisher == 'timm':
    return _timm_rules()
  if publisher == 'hf':
    # Files of ViTModel, which has no head, have no `vit.` in front.
    return (
      *_hf_rules('vit.'),
      *_hf_rules(''),
      *key_rules.dense('classifier', 'head'),
    )
  return _jax_rules(publisher)


def _table_rules(key: str) -> key_rules.Rules:
  """Positions with rows for two tokens, for one, and for patches alone."""
  both = 'class_pos distilled_pos space_pos/table'
  return (
    key_rules.rule(key, both, key_rules.class_and_grid(2)),
    key_rules.rule(
      key, 'class_pos space_pos/table', key_rules.class_and_grid()
    ),
    key_rules.rule(key, 'space_pos/table', key_rules.class_and_grid(0)),
  )


def _timm_rules() -> key_rules.Rules:
  return (
    *_table_rules('pos_embed'),
    key_rules.rule('cls_token', 'class_token', key_rules.vector(2)),
    key_rules.rule('dist_token', 'distilled_token', key_rules.vector(2)),
    *key_rules.conv('patch_embed.proj', 'patch', _flat_or_square_kernel()),
    *key_rules.attention_block('blocks.{i}', 'block_{i}'),
    *key_rules.norm('norm', 'norm'),
    *key_rules.dense('pre_logits.fc', 'pre_logits'),
    *key_rules.dense('head', 'head'),
    *key_rules.dense('head_dist', 'head_distilled'),
  )


def _flat_or_square_kernel() -> key_rules.Layout:
  """The patches' kernel [D, C, P, P], in timm's oldest files [D, C P P]."""
  square = key_rules.convolution()

  def load(
    arrays: key_rules.Arrays, shapes: key_rules.Shapes
  ) -> key_rules.Arrays:
    ((*window, C, D),) = shapes
    return square.load((arrays[0].reshape(D, C, *window),), shapes)

  return key_rules.Layout(load, square.save, merged=True)


def _hf_rules(prefix: str) -> key_rules.Rules:
  """Hugging Face's names; files keep those that modules had before 5.0."""
  embeddings = f'{prefix}embeddings'
  pooled = f'{prefix}pooler.dense'
  why = 'the pooled feature, for which the model has no layer'
  return (
    *_table_rules(f'{embeddings}.position_embeddings'),
    key_rules.rule(
      f'{embeddings}.cls_token', 'class_token', key_rules.vector(2)
    ),
    *key_rules.conv(f'{embeddings}.patch_embeddings.projection', 'patch'),
    *_hf_block_rules(
      f'{prefix}encoder.layer.{{i}}',
      qkv='attention.attention.query attention.attention.key '
      'attention.attention.value',
      out='attention.output.dense',
      up='intermediate.dense',
      down='output.dense',
    ),
    *_hf_block_rules(
      f'{prefix}layers.{{i}}',
      qkv='attention.q_proj attention.k_proj attention.v_proj',
      out='attention.o_proj',
      up='mlp.fc1',
      down='mlp.fc2',
    ),
    *key_rules.norm(f'{prefix}layernorm', 'norm'),
    *key_rules.dense(pooled, 'pre_logits'),
    key_rules.drop(f'{pooled}.weight', why),
    key_rules.drop(f'{pooled}.bias', why),
  )


def _hf_block_rules(
  block: str, *, qkv: str, out: str, up: str, down: str
) -> key_rules.Rules:
  """One block, in one of the two spellings."""
  path = 'block_{i}'
  keys = [f'{block}.{name}' for name in qkv.split()]
  weights, biases = (
    ' '.join(f'{key}.{part}' for key in keys) for part in ('weight', 'bias')
  )
  return (
    *key_rules.norm(f'{block}.layernorm_before', f'{path}/attn_norm'),
    key_rules.rule(
      weights,
      f'{path}/attn/qkv/kernel',
      key_rules.stacked(key_rules.linear(), 1),
    ),
    key_rules.rule(
      biases, f'{path}/attn/qkv/bias', key_rules.stacked(key_rules.vector(), 0)
    ),
    *key_rules.dense(f'{block}.{out}', f'{path}/attn/out', inputs=2),
    *key_rules.norm(f'{block}.layernorm_after', f'{path}/mlp_norm'),
    *key_rules.dense(f'{block}.{up}', f'{path}/mlp/up'),
    *key_rules.dense(f'{block}.{down}', f'{path}/mlp/down'),
  )


def _jax_rules(publisher: Publisher) -> key_rules.Rules:
  """Google's names; kernels have our axes, except queries, keys and values."""
  # Flax once numbered the sub-modules of a block over all kinds, later by kind.
  numbers = (0, 1, 2, 3) if publisher == 'google' else (0, 0, 1, 0)
  block, path = 'Transformer/encoderblock_{i}', 'block_{i}'
  norm1, attn, norm2, mlp = (
    f'{block}/{name}_{number}'
    for name, number in zip(
      ('LayerNorm', 'MultiHeadDotProductAttention', 'LayerNorm', 'MlpBlock'),
      numbers,
      strict=True,
    )
  )

  def same(key: str, ours: str, weight: str = 'kernel') -> key_rules.Rules:
    return tuple(
      key_rules.rule(f'{key}/{name}', f'{ours}/{name}', key_rules.plain())
      for name in (weight, 'bias')
    )

  def stack_qkv(name: str, axis: int) -> key_rules.Rule:
    keys = (f'{attn}/{part}/{name}' for part in ('query', 'key', 'value'))
    ours = f'{path}/attn/qkv/{name}'
    return key_rules.rule(
      ' '.join(keys), ours, key_rules.stacked(key_rules.plain(), axis)
    )

  front = 'Transformer/posembed_input/' if publisher == 'google' else ''
  return (
    *_table_rules(f'{front}pos_embedding'),
    key_rules.rule('cls', 'class_token', key_rules.vector(2)),
    *same('embedding', 'patch'),
    *same(norm1, f'{path}/attn_norm', 'scale'),
    stack_qkv('kernel', 1),
    stack_qkv('bias', 0),
    *same(f'{attn}/out', f'{path}/attn/out'),
    *same(norm2, f'{path}/mlp_norm', 'scale'),
    *same(f'{mlp}/Dense_0', f'{path}/mlp/up'),
    *same(f'{mlp}/Dense_1', f'{path}/mlp/down'),
    *same('Transformer/encoder_norm', 'norm', 'scale'),
    *same('pre_logits', 'pre_logits'),
    *same('head', 'head'),
  )


def guess_model(specs: Specs, publisher: Publisher) -> Guess:
  """What a file's keys and shapes tell about its model."""
  shapes = identify.shapes_by_path(rules(publisher), specs)
  in_jax = publisher in ('google', 'big_vision')
  width = identify.find_shape(shapes, 'patch/bias')[0]
  kernel = identify.find_shape(shapes, 'patch/kernel')
  if in_jax:
    P, _, C, _ = kernel
  else:
    C, P = identify.read_patch_kernel(kernel)
  fields = identify.vit_fields(shapes, width=width, patch=P)
  if in_jax:  # whose kernels are [D, A, d]; the others do not tell
    fields['heads'] = identify.find_shape(shapes, 'block_0/attn/qkv/kernel')[1]
  distilled = 'distilled_token' in shapes
  tokens = 0 if publisher == 'big_vision' else 1 + distilled
  patches = identify.find_shape(shapes, 'space_pos/table')[1] - tokens
  return Guess(
    model={
      **fields,
      'distilled': distilled,
      # The hub's pooler is not a layer of the classifier.
      'pre_logits': publisher != 'hf' and 'pre_logits/kernel' in shapes,
      'class_position': tokens > 0,
      'qkv_bias': 'block_0/attn/qkv/bias' in shapes,
    },
    assumed=() if in_jax else identify.assumed_heads(fields),
    clip=(1, *identify.square_frame(patches, P), C),
    patches=patches,
    classes=identify.count_classes(shapes),
    size=identify.vit_size(fields),
    notes=NOTES.get(publisher, ()) if not distilled else (),
    pixels=identify.IMAGENET if distilled else None,
  )


def _naming(publisher: Publisher, **more: Any) -> Naming:
  return Naming(
    family='vit',
    name=publisher,
    guess=functools.partial(guess_model, publisher=publisher),
    rules=functools.partial(_rules_for_model, publisher=publisher),
    **more,
  )


def _rules_for_model(model: vit.Model, publisher: Publisher) -> key_rules.Rules:
  """The key rules; refuses a model that such a file cannot hold."""
  fits = (publisher != 'big_vision') == model.class_position
  if publisher != 'timm' and not fits:
    has = 'a' if model.class_position else 'no'
    raise InputError(
      f'got a model whose class token has {has} position, which {publisher} '
      'files cannot hold; expected the opposite; try the names of timm'
    )
  return rules(publisher)


EXACT = {'activation': 'gelu', 'epsilon': 1e-6}
TANH = {'activation': 'gelu_tanh', 'epsilon': 1e-6}
# The hub's default; a config.json beside the file replaces it.
HUB = {'activation': 'gelu', 'epsilon': 1e-12}
PATCHES = 'vit.embeddings.patch_embeddings.projection.weight'
NAMINGS = (
  _naming(
    'timm',
    has=('cls_token', 'pos_embed', 'blocks.{i}.attn.qkv.weight'),
    lacks=(
      *('time_embed', 'blocks.{i}.temporal_attn.qkv.weight'),
      identify.T2T_KEY,
    ),
    trained=EXACT,
  ),
  _naming('hf', has=(PATCHES,), pixels=HALF, trained=HUB),
  _naming('hf', has=(PATCHES.removeprefix('vit.'),), pixels=HALF, trained=HUB),
  _naming(
    'google',
    has=('cls', 'embedding/kernel', 'Transformer/posembed_input/pos_embedding'),
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
