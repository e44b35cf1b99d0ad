"""VidTr's start from an image ViT (section 3.3), or from T2T-ViT (Table 5c).

Every frame starts as the image model's image: class tokens and positions are
repeated wherever a scheme has them, everything else is copied. So a model that
has just been started cannot tell the order of frames; that is learned.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vidmodels.models import vidtr, vit
from vidmodels.models.vidtr import AXIS_NAMES
from vidmodels.typing import InputError
from vidmodels.weights import vit_weights
from vidmodels.weights._vidtr_layouts import (
  Cubic,
  bordered,
  every_frame,
  everywhere,
  inflated,
)
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books
from vidmodels.weights.mapping.from_image import IN_TOKEN, LEFT_OUT, VIT, agree
from vidmodels.weights.mapping.layers import attention, dense, norm
from vidmodels.weights.mapping.position_tables import square
from vidmodels.weights.mapping.rules import (
  Arrays,
  Layout,
  Rule,
  Shapes,
  drop,
  plain,
  rule,
  vector,
)
from vidmodels.weights.vidtr_weights import channels, in_proj

RANDOM = (
  ('^head/', 'the classes of the videos are new'),
  ('_norm_after/', 'an image ViT has no norm after a residual'),
  ('/pool/', 'an image ViT does not pool; it starts as the mean of pairs'),
)
NO_BIAS = (('/qkv/bias$', 'T2T-ViT has no such biases; they start at 0'),)
CLASSES = 'the classes of images'


def from_state(
  state: Mapping[str, np.ndarray],
  model: vidtr.Model,
  *,
  frames: int,
  grid: tuple[int, int] | None = None,
  cubic: Cubic = 'mean',
  books: Books | None = None,
) -> dict[str, Any]:
  """A video model's start from an image model's file.

  Tables keep the image model's grid and are fitted to the clip as ever.

  Args:
    state: an image ViT's tensors by timm's key, or by the keys of the file that
      the authors start from (VidTr's own, kernels 5-D, one class token), or
      T2T-ViT's if the model has that stem; each used once, classes left out.
    model: the video model.
    frames: of the clips that it is for.
    grid: rows and columns of the image model's patches; by default as many.
    cubic: how the kernel of a patch of several frames starts: 'mean', the
      image's in each over their number, or 'centre', the image's in the middle
      frame and zeros in the others. The authors' cannot start cubic patches.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model`, but for what stays as it was drawn: the head, norms
    after residuals, a pooling convolution.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  own = 'conv_stem.weight' in state
  pos = 'pos_embedding' if own else 'pos_embed'
  if pos not in state:
    raise InputError(
      f'the file has no {pos}; its keys start {list(state)[:3]}; give an image '
      "ViT's state dict, without prefixes"
    )
  if model.stem == 't2t':
    C = channels(state, 'tokens_to_token.attention1.kqv.weight') // 49
    stem, random = _t2t_rules(), RANDOM + NO_BIAS
  else:
    stem, random = _patch_rules(own, cubic), RANDOM
    C = channels(state, stem[0].keys[0])
  H, W = grid or (square(state[pos].shape[1] - 1, pos),) * 2
  return layers.load(
    (*_token_rules(model, own), *stem, *_layer_rules(model, own)),
    state,
    model,
    video=(frames, H * model.patch, W * model.patch, C),
    random=random,
    books=books,
  )


def from_image(
  variables: Mapping[str, Any],
  image: vit.Model,
  model: vidtr.Model,
  video: tuple[int, ...],
  books: Books,
) -> dict[str, Any]:
  """A video model's start from an image ViT of ours: `from_state` of its file.

  Args:
    variables: of the image model.
    image: the image model.
    model: the video model.
    video: shape (T, H, W, C) of the clips that it is for.
    books: takes what stays random, and what of the image model is left out.

  Returns:
    As `from_state` does.

  Raises:
    InputError: if the sizes of the two differ, or the video model does not cut
      square patches.
  """
  _refuse(image, model)
  inner, ours = Books(), layers.flat(variables)
  made = from_state(
    _as_file(variables, image),
    model,
    frames=video[0],
    grid=ours['space_pos/table'].shape[:2],
    books=inner,
  )
  books.random.update(inner.random)
  if not image.class_position:
    books.changed['tokens/class_pos/table'] = IN_TOKEN
  for path in ours:
    if path.startswith(('head', 'pre_logits', 'distilled')):
      books.dropped[path] = LEFT_OUT
  return made


# What starts the names of what only an image model has.
_IMAGE_ONLY = ('head', 'pre_logits', 'dist_token')


def _as_file(
  variables: Mapping[str, Any], image: vit.Model
) -> dict[str, np.ndarray]:
  """What VidTr takes of an image ViT, by timm's keys: one class token.

  Its row of the table is zeros where the image model has none.
  """
  state = layers.save(vit_weights.rules('timm'), variables)
  grid = state['pos_embed'][:, len(image.tokens) * image.class_position :]
  first = np.zeros_like(grid[:, :1])
  if image.class_position:
    first = state['pos_embed'][:, :1]
  kept = {k: v for k, v in state.items() if not k.startswith(_IMAGE_ONLY)}
  return {**kept, 'pos_embed': np.concatenate([first, grid], axis=1)}


def _refuse(image: vit.Model, model: vidtr.Model) -> None:
  """Raises InputError if the one cannot start from the other."""
  if model.stem != 'patch':
    raise InputError(
      f'stem={model.stem!r} does not start from an image ViT, which cuts '
      "patches; say stem='patch', or give T2T-ViT's file to from_state"
    )
  agree(image, model, [name for name in VIT if name != 'qkv_bias'])
  if not image.qkv_bias:
    raise InputError(
      'the image model has qkv_bias=False and VidTr has such biases; give '
      'weights with them'
    )


def _token_rules(model: vidtr.Model, own: bool) -> tuple[Rule, ...]:
  """Class token and positions, wherever a scheme has them."""
  more, table = '', 'tokens/class_pos/table tokens/patch_pos/table'
  if model.attention == 'separable':
    more = ' tokens/time_class/table tokens/space_class/table'
  if model.attention == 'space':
    table = 'tokens/class_pos/table tokens/space_pos/table'
  layout = every_frame()
  if model.attention == 'axial':
    table, layout = 'tokens/patch_pos/table', bordered()
  cls, pos = ('cls', 'pos_embedding') if own else ('cls_token', 'pos_embed')
  return (
    rule(cls, f'tokens/class_token{more}', everywhere()),
    rule(pos, table, layout),
  )


def _layer_rules(model: vidtr.Model, own: bool) -> tuple[Rule, ...]:
  """Layers, the last norm, and the classes that are left out."""
  if own:
    layer, up, down, last = (
      'encoder.layers.{i}',
      'linear1',
      'linear2',
      'encoder.',
    )
    attn = in_proj(f'{layer}.self_attn', 'layer_{i}/attn')
  else:
    layer, up, down, last = 'blocks.{i}', 'mlp.fc1', 'mlp.fc2', ''
    attn = attention(f'{layer}.attn', 'layer_{i}/attn')
  _, order = vidtr.SCHEMES[model.attention]
  return (
    *(copied(each, order) for each in attn),
    *attn,
    *norm(f'{layer}.norm1', 'layer_{i}/attn_norm'),
    *norm(f'{layer}.norm2', 'layer_{i}/mlp_norm'),
    *dense(f'{layer}.{up}', 'layer_{i}/mlp/up'),
    *dense(f'{layer}.{down}', 'layer_{i}/mlp/down'),
    *norm(f'{last}norm', 'norm'),
    *(
      drop(f'{name}.{kind}', CLASSES)
      for name in ('head', 'fc', 'pre_logits.fc')
      for kind in ('weight', 'bias')
    ),
  )


def _patch_rules(own: bool, cubic: Cubic) -> tuple[Rule, ...]:
  """The kernel of an image's patches for those of a video, and its bias."""
  name = 'conv_stem' if own else 'patch_embed.proj'
  return (
    rule(f'{name}.weight', 'patch/kernel', inflated(cubic, int(own))),
    rule(f'{name}.bias', 'patch/bias', vector()),
  )


def _t2t_rules() -> tuple[Rule, ...]:
  """The soft splits of T2T-ViT, with the random features of its Performer."""
  key, path = 'tokens_to_token.attention{i}', 't2t/mixer_{i}'
  return (
    rule(f'{key}.w', f'batch_stats/{path}/features', plain()),
    *norm(f'{key}.norm1', f'{path}/attn_norm'),
    *dense(f'{key}.kqv', f'{path}/kqv'),
    *dense(f'{key}.proj', f'{path}/out'),
    *norm(f'{key}.norm2', f'{path}/mlp_norm'),
    *dense(f'{key}.mlp.0', f'{path}/up'),
    *dense(f'{key}.mlp.2', f'{path}/down'),
    *dense('tokens_to_token.project', 't2t/fc'),
  )


def copied(each: Rule, order: str) -> Rule:
  """A rule of attention for a layer whose axes have projections of their own.

  Each of them starts as the image's attention; the paper does not say.
  """
  (path,), layout = each.paths, each.layout
  own = [path.replace('/attn/', f'/{AXIS_NAMES[axis]}_attn/') for axis in order]

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    return layout.load(arrays, shapes[:1]) * len(own)

  copy = Layout(load=load, save=lambda arrays: layout.save(arrays[:1]))
  return Rule(each.keys, tuple(own), copy)


SOURCES = {'vit': from_image}
