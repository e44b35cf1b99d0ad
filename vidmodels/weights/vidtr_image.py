"""VidTr's start from an image ViT (section 3.3), or from T2T-ViT (Table 5c).

Every frame starts as the image model's image: class tokens and positions are
repeated wherever a scheme has them, everything else is copied. So a model that
has just been started cannot tell the order of frames; that is learned.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vidmodels.models import vidtr
from vidmodels.nn.separable import WORDS
from vidmodels.typing import InputError
from vidmodels.weights import parts
from vidmodels.weights.convert import Books
from vidmodels.weights.naming import square
from vidmodels.weights.parts import attention, dense, norm
from vidmodels.weights.rules import (
  Arrays,
  Layout,
  Rule,
  Shapes,
  drop,
  rule,
  vector,
)
from vidmodels.weights.vidtr import channels, in_proj

Cubic = Literal['mean', 'centre']

RANDOM = (
  ('^head/', 'the classes of the videos are new'),
  ('_norm_after/', 'an image ViT has no norm after a residual'),
  ('/pool/', 'an image ViT does not pool; it starts as the mean of pairs'),
)
NO_BIAS = (('/qkv/bias$', 'T2T-ViT has no such biases; they start at 0'),)
CLASSES = 'the classes of images'


def from_image(
  state: Mapping[str, np.ndarray],
  model: vidtr.Model,
  *,
  frames: int,
  cubic: Cubic = 'mean',
  books: Books | None = None,
) -> dict[str, Any]:
  """A video model's start from an image model.

  Tables keep the image model's grid and are fitted to the clip as ever.

  Args:
    state: an image ViT's tensors by timm's key, or by the keys of the file that
      the authors start from (VidTr's own, kernels 5-D, one class token), or
      T2T-ViT's if the model has that stem; each used once, classes left out.
    model: the video model.
    frames: of the clips that it is for.
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
  t2t, own = model.stem == 't2t', 'conv_stem.weight' in state
  pos = 'pos_embedding' if own else 'pos_embed'
  if pos not in state:
    raise InputError(
      f'the file has no {pos}; its keys start {list(state)[:3]}; give an image '
      "ViT's state dict, without prefixes"
    )
  if t2t:
    C = channels(state, 'tokens_to_token.attention1.kqv.weight') // 49
    stem, random = _t2t_rules(), RANDOM + NO_BIAS
  else:
    name = 'conv_stem' if own else 'patch_embed.proj'
    C, random = channels(state, f'{name}.weight'), RANDOM
    stem = (
      rule(f'{name}.weight', 'patch/kernel', inflated(cubic, int(own))),
      rule(f'{name}.bias', 'patch/bias', vector()),
    )
  side = model.patch * square(state[pos].shape[1] - 1, pos)
  return parts.load(
    (*_token_rules(model, own), *stem, *_layer_rules(model, own)),
    state,
    model,
    video=(frames, side, side, C),
    random=random,
    books=books,
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


def _t2t_rules() -> tuple[Rule, ...]:
  """The soft splits of T2T-ViT, with the random features of its Performer."""
  key, path = 'tokens_to_token.attention{i}', 't2t/mixer_{i}'
  return (
    rule(f'{key}.w', f'batch_stats/{path}/features', same()),
    *norm(f'{key}.norm1', f'{path}/attn_norm'),
    *dense(f'{key}.kqv', f'{path}/kqv'),
    *dense(f'{key}.proj', f'{path}/out'),
    *norm(f'{key}.norm2', f'{path}/mlp_norm'),
    *dense(f'{key}.mlp.0', f'{path}/up'),
    *dense(f'{key}.mlp.2', f'{path}/down'),
    *dense('tokens_to_token.project', 't2t/fc'),
  )


def same() -> Layout:
  """The file's array as it is."""
  return Layout(load=lambda arrays, shapes: arrays, save=lambda arrays: arrays)


def copied(each: Rule, order: str) -> Rule:
  """A rule of attention for a layer whose axes have projections of their own.

  Each of them starts as the image's attention; the paper does not say.
  """
  (path,), layout = each.paths, each.layout
  own = [path.replace('/attn/', f'/{WORDS[axis]}_attn/') for axis in order]

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    return layout.load(arrays, shapes[:1]) * len(own)

  copy = Layout(load=load, save=lambda arrays: layout.save(arrays[:1]))
  return Rule(each.keys, tuple(own), copy)


def everywhere() -> Layout:
  """One class token [1, 1, D] wherever there is a class token."""

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    return tuple(np.broadcast_to(arrays[0][0, 0], shape) for shape in shapes)

  return Layout(load, save=lambda arrays: (arrays[0].reshape(1, 1, -1),))


def every_frame() -> Layout:
  """An image's table [1, 1 + H W, D] to class rows and grids of frames."""

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    rows = arrays[0][0]
    grid = rows[1:].reshape(shapes[1][-3:])
    return np.broadcast_to(rows[0], shapes[0]), np.broadcast_to(grid, shapes[1])

  def save(arrays: Arrays) -> Arrays:
    D = arrays[1].shape[-1]
    cls = arrays[0].reshape(-1, D)[0]
    grid = arrays[1].reshape(-1, *arrays[1].shape[-3:])[0]
    return (np.concatenate([cls[None], grid.reshape(-1, D)])[None],)

  return Layout(load, save)


def bordered() -> Layout:
  """An image's table to [1 + T, 1 + H, 1 + W, D], its class row on borders."""

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    rows, ((T, H, W, D),) = arrays[0][0], shapes
    made = np.broadcast_to(rows[0], (T, H, W, D)).copy()
    made[1:, 1:, 1:] = rows[1:].reshape(H - 1, W - 1, D)
    return (made,)

  def save(arrays: Arrays) -> Arrays:
    D = arrays[0].shape[-1]
    grid = arrays[0][-1, 1:, 1:].reshape(-1, D)
    return (np.concatenate([arrays[0][:1, 0, 0], grid])[None],)

  return Layout(load, save)


def inflated(cubic: Cubic, ones: int) -> Layout:
  """An image's kernel [D, C, P, P] to [(t,) P, P, C, D].

  Args:
    cubic: see `from_image`.
    ones: axes of size 1 that the file has for time.
  """
  front = tuple(range(2, 2 + ones))

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    image = np.moveaxis(arrays[0].squeeze(front), (1, 0), (-2, -1))
    t = shapes[0][0] if len(shapes[0]) > image.ndim else 0
    if not t:
      return (image,)
    made = np.zeros(shapes[0], image.dtype)
    made[slice(None) if cubic == 'mean' else t // 2] = image
    return (made / t if cubic == 'mean' else made,)

  def save(arrays: Arrays) -> Arrays:
    image = arrays[0] if arrays[0].ndim == 4 else arrays[0].sum(0)
    return (np.expand_dims(np.moveaxis(image, (-2, -1), (1, 0)), front),)

  return Layout(load, save)
