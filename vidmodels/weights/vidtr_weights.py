"""VidTr's released weights, and its start from an image model.

Keys are those of the authors' `VidTr` and `CompactVidTr`. Every attention of
theirs keeps queries, keys and values in one `in_proj_weight`: torch's
`MultiheadAttention` as well as their own. What the release has no names for
(space and axial attention, projections of their own, pooling by convolution)
can still start from an image ViT (section 3.3), or from T2T-ViT (Table 5c).

Every frame starts as the image model's image: class tokens and positions are
repeated wherever a scheme has them, everything else is copied. So a model that
has just been started cannot tell the order of frames; it learns that.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vidmodels.models import vidtr, vit
from vidmodels.models.vidtr import AXIS_NAMES
from vidmodels.nn import t2t
from vidmodels.typing import InputError
from vidmodels.weights import vit_weights
from vidmodels.weights.mapping import apply, from_image, identify
from vidmodels.weights.mapping.apply import KeyReport
from vidmodels.weights.mapping.identify import IMAGENET, Guess, Naming, Specs
from vidmodels.weights.mapping.key_rules import (
  Arrays,
  Layout,
  Rule,
  Rules,
  Shapes,
  attention_block,
  class_and_grid,
  conv,
  convolution,
  dense,
  drop,
  linear,
  norm,
  one_to_one,
  plain,
  rule,
  vector,
)

# --- The release


def rules(model: vidtr.Model) -> Rules:
  """The released key rules of a model; refuses one that was not released."""
  m = model
  if (
    m.attention in ('space', 'axial')
    or m.stem == 't2t'
    or m.pool == 'conv'
    or (m.projections, m.norms) != ('shared', 'before')
  ):
    raise InputError(
      f'got attention={m.attention!r}, stem={m.stem!r}, '
      f'projections={m.projections!r}, norms={m.norms!r} and pool={m.pool!r}; '
      'expected a model that was released, because others have no key names; '
      'try to start it from an image model'
    )
  return (
    *_token_rules(model.attention == 'separable'),
    *conv('conv_stem', 'patch', convolution(int(model.patch_frames == 1))),
    *_layer_rules('layer_{i}'),
    *norm('encoder.norm', 'norm'),
    *dense('fc', 'head'),
  )


def _token_rules(separable: bool) -> Rules:
  """Class tokens and positions, of separable attention or of any other."""
  tables = 'tokens/class_pos/table tokens/patch_pos/table'
  if not separable:
    return (
      rule('cls', 'tokens/class_token', vector(2)),
      rule('pos_embedding', tables, class_and_grid()),
    )
  # Spatial class tokens [T, 1, D] to our [T, D].
  space_classes = one_to_one(
    load=lambda array, shape: array[:, 0], save=lambda array: array[:, None]
  )
  column = 'tokens/class_token tokens/time_class/table'
  return (
    rule('cls_t', column, class_and_grid()),
    rule('cls_s', 'tokens/space_class/table', space_classes),
    rule('pos_embedding', tables, _class_column()),
  )


def _layer_rules(path: str) -> Rules:
  """The rules of all layers by the authors' names."""
  key = 'encoder.layers.{i}'
  return (
    *attention_rules(f'{key}.self_attn', f'{path}/attn'),
    *norm(f'{key}.norm1', f'{path}/attn_norm'),
    *norm(f'{key}.norm2', f'{path}/mlp_norm'),
    *dense(f'{key}.linear1', f'{path}/mlp/up'),
    *dense(f'{key}.linear2', f'{path}/mlp/down'),
  )


def attention_rules(key: str, path: str) -> Rules:
  """Attention by torch's names of `MultiheadAttention`."""
  return (
    rule(f'{key}.in_proj_weight', f'{path}/qkv/kernel', linear()),
    rule(f'{key}.in_proj_bias', f'{path}/qkv/bias', vector()),
    *dense(f'{key}.out_proj', f'{path}/out', inputs=2),
  )


def _class_column() -> Layout:
  """Positions [1, (1 + T)(1 + N), D] to a column [1 + T, D] and the rest."""

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    rows, D = shapes[0]
    grid = arrays[0].reshape(rows, -1, D)
    return grid[:, 0], grid[:, 1:].reshape(shapes[1])

  def save(arrays: Arrays) -> Arrays:
    rows, D = arrays[0].shape
    frames = [array.reshape(rows, -1, D) for array in arrays]
    return (np.concatenate(frames, axis=1).reshape(1, -1, D),)

  return Layout(load, save)


# --- From an image model

CubicKernel = Literal['mean', 'centre']
RANDOM: tuple[tuple[str, str], ...] = (
  ('^head/', from_image.VIDEO_CLASSES),
  ('_norm_after/', 'an image ViT has no norm after a residual'),
  ('/pool/', 'an image ViT does not pool; it starts as the mean of pairs'),
)
NO_BIAS = (('/qkv/bias$', 'T2T-ViT has no such biases; they start at 0'),)
# How the names of parameters start that only an image model has.
_IMAGE_ONLY = ('head', 'pre_logits', 'dist_token')


def start_from_state(
  state: Mapping[str, np.ndarray],
  model: vidtr.Model,
  *,
  frames: int,
  grid: tuple[int, int] | None = None,
  cubic: CubicKernel = 'mean',
  report: KeyReport | None = None,
) -> dict[str, Any]:
  """Starts a video model from the tensors of an image model's file.

  Tables keep the image model's grid; the model resizes them at every call. The
  head, norms after residuals and a pooling convolution keep their initial
  values and are left out of the variables.

  Args:
    state: an image ViT's tensors by timm's key, or by the keys of the file that
      the authors start from (VidTr's own, kernels 5-D, one class token), or
      T2T-ViT's if the model has that stem. Each is used once; classes are
      dropped.
    model: the video model.
    frames: of the clips that it is for.
    grid: rows and columns of the image model's patches; by default a square.
    cubic: how the kernel of a patch of several frames starts: 'mean', the
      image's kernel in each frame over their number, or 'centre', the image's
      kernel in the middle frame and zeros in the others. The authors' code
      cannot start cubic patches.
    report: filled in here.
  """
  own = 'conv_stem.weight' in state
  cls, pos = ('cls', 'pos_embedding') if own else ('cls_token', 'pos_embed')
  name = 'conv_stem' if own else 'patch_embed.proj'
  if model.stem == 't2t':
    name = 'tokens_to_token.attention1.kqv'
  for key in (pos, f'{name}.weight'):
    if key not in state:
      raise InputError(
        f'got a file without {key}, whose keys start {list(state)[:3]}; '
        "expected an image ViT's tensors without prefixes; try another file"
      )
  C = state[f'{name}.weight'].shape[1]
  stem, random = conv(name, 'patch', _inflated_patch(cubic, int(own))), RANDOM
  if model.stem == 't2t':
    # The first soft split unfolds 7 x 7 pixels.
    C, stem, random = C // 49, _t2t_rules(), RANDOM + NO_BIAS
  patches = state[pos].shape[1] - 1
  H, W = grid or (math.isqrt(max(patches, 0)),) * 2
  if patches != H * W or not patches:
    raise InputError(
      f'got {pos} with {patches} patches, which is not a square; expected to '
      'be told the grid; try grid=(rows, columns)'
    )
  tokens = _image_token_rules(model, cls, pos)
  return apply.load_variables(
    (*tokens, *stem, *_image_layer_rules(model, own)),
    state,
    model,
    video=(frames, H * model.patch, W * model.patch, C),
    random=random,
    report=report,
  )


def start_from_image(
  variables: Mapping[str, Any],
  image: vit.Model,
  model: vidtr.Model,
  video: tuple[int, ...],
  report: KeyReport,
) -> dict[str, Any]:
  """As `start_from_state`, from an image ViT of ours; an `ImageSource`."""
  if model.stem != 'patch':
    raise InputError(
      f'got stem={model.stem!r} with an image ViT, which cuts patches; '
      "expected stem='patch'; try that, or the file of a T2T-ViT"
    )
  from_image.check_same_fields(
    image, model, [n for n in from_image.VIT_FIELDS if n != 'qkv_bias']
  )
  if not image.qkv_bias:
    raise InputError(
      'got an image model with qkv_bias=False; expected such biases, which '
      'VidTr has; try weights with them'
    )
  inner, theirs = KeyReport(), apply.flatten_variables(variables)
  ours = start_from_state(
    _as_timm_file(variables, image),
    model,
    frames=video[0],
    grid=theirs['space_pos/table'].shape[:2],
    report=inner,
  )
  report.random.update(inner.random)
  if not image.class_position:
    report.changed['tokens/class_pos/table'] = from_image.IN_CLASS_TOKEN
  for path in theirs:
    if path.startswith(('head', 'pre_logits', 'distilled')):
      report.dropped[path] = from_image.LEFT_OUT
  return ours


def _as_timm_file(
  variables: Mapping[str, Any], image: vit.Model
) -> dict[str, np.ndarray]:
  """What VidTr takes of an image ViT, by timm's keys, with one class token."""
  state = apply.save_variables(vit_weights.rules('timm'), variables)
  rows = state['pos_embed']
  grid = rows[:, len(image.tokens) * image.class_position :]
  first = rows[:, :1] if image.class_position else np.zeros_like(grid[:, :1])
  kept = {k: v for k, v in state.items() if not k.startswith(_IMAGE_ONLY)}
  return {**kept, 'pos_embed': np.concatenate([first, grid], axis=1)}


def _image_token_rules(model: vidtr.Model, cls: str, pos: str) -> Rules:
  """Class token and positions, wherever a scheme has them."""
  token, patches = 'tokens/class_token', 'tokens/patch_pos/table'
  table = rule(pos, f'tokens/class_pos/table {patches}', _repeated_table())
  if model.attention == 'separable':
    token += ' tokens/time_class/table tokens/space_class/table'
  if model.attention == 'space':
    names = 'tokens/class_pos/table tokens/space_pos/table'
    table = rule(pos, names, _repeated_table())
  if model.attention == 'axial':
    table = rule(pos, patches, _bordered_table())
  return rule(cls, token, _repeated_token()), table


def _image_layer_rules(model: vidtr.Model, own: bool) -> Rules:
  """Layers, the last norm, and the classes that are dropped."""
  if own:
    layers, last = _layer_rules('layer_{i}'), norm('encoder.norm', 'norm')
  else:
    layers = attention_block('blocks.{i}', 'layer_{i}')
    last = norm('norm', 'norm')
  _, order = vidtr.SCHEMES[model.attention]
  copies = (_copy_to_axes(r, order) for r in layers if '/attn/' in r.paths[0])
  classes = (
    drop(f'{name}.{kind}', from_image.IMAGE_CLASSES)
    for name in ('head', 'fc', 'pre_logits.fc')
    for kind in ('weight', 'bias')
  )
  return (*copies, *layers, *last, *classes)


def _copy_to_axes(attn: Rule, order: str) -> Rule:
  """A rule that starts the attention of every axis (not said in the paper)."""
  (path,), layout = attn.paths, attn.layout
  own = [path.replace('/attn/', f'/{AXIS_NAMES[axis]}_attn/') for axis in order]

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    return layout.load(arrays, shapes[:1]) * len(own)

  copy = Layout(load=load, save=lambda arrays: layout.save(arrays[:1]))
  return Rule(attn.keys, tuple(own), copy)


def _t2t_rules() -> Rules:
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


# Layouts that repeat an image's tensors over frames. Saving gives back the
# image's tensor, from one of its copies.


def _repeated_token() -> Layout:
  """One class token [1, 1, D] wherever there is a class token."""
  return Layout(
    lambda arrays, shapes: tuple(
      np.broadcast_to(arrays[0][0, 0], shape) for shape in shapes
    ),
    save=lambda arrays: (arrays[0].reshape(1, 1, -1),),
  )


def _repeated_table() -> Layout:
  """An image's table [1, 1 + H W, D] to class rows and grids of frames."""

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    rows = arrays[0][0]
    grid = rows[1:].reshape(shapes[1][-3:])
    return np.broadcast_to(rows[0], shapes[0]), np.broadcast_to(grid, shapes[1])

  def save(arrays: Arrays) -> Arrays:
    *_, H, W, D = arrays[1].shape
    cls, grids = (array.reshape(-1, D) for array in arrays)
    return (np.concatenate([cls[:1], grids[: H * W]])[None],)

  return Layout(load, save)


def _bordered_table() -> Layout:
  """An image's table to [1 + T, 1 + H, 1 + W, D], its class row on borders."""

  def load(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    ours = np.broadcast_to(array[0, 0], shape).copy()
    inner = ours[1:, 1:, 1:]
    inner[:] = array[0, 1:].reshape(inner.shape[1:])
    return ours

  def save(array: np.ndarray) -> np.ndarray:
    grid = array[-1, 1:, 1:].reshape(-1, array.shape[-1])
    return np.concatenate([array[:1, 0, 0], grid])[None]

  return one_to_one(load, save)


def _inflated_patch(cubic: CubicKernel, ones: int) -> Layout:
  """An image's kernel [D, C, P, P] to [(t,) P, P, C, D].

  The file has `ones` axes of size 1 for time; `cubic` as in `start_from_state`.
  """
  square = convolution(ones)

  def load(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    (image,) = square.load((array,), (shape,))
    if len(shape) == image.ndim:
      return image
    t, ours = shape[0], np.zeros(shape, image.dtype)
    ours[slice(None) if cubic == 'mean' else t // 2] = image
    return ours / t if cubic == 'mean' else ours

  def save(array: np.ndarray) -> np.ndarray:
    return square.save((array if array.ndim == 4 else array.sum(0),))[0]

  return one_to_one(load, save)


# --- How files are recognised

FRAME = 224  # pixels of the release's frames, which joint tables do not tell
FRAMES = 8  # of VidTr-S
KEYS = ('conv_stem.weight', 'pos_embedding', 'encoder.layers.{i}.linear1.bias')
# The two C-VidTr that were published, by layers and frames.
COMPACT: dict[tuple[int, int], dict[str, Any]] = {
  (12, 8): {'pool_layers': (1, 3, 5), 'pool_drop': (2, 2, 2), 'joint_from': 6},
  (12, 16): {'pool_layers': (1, 2, 4), 'pool_drop': (8, 4, 2), 'joint_from': 5},
}
NOTE = (
  'C-VidTr and joint attention have the same tensors: a file of 12 layers and '
  '8 or 16 frames is taken for the C-VidTr that was published so, any other '
  'for joint attention'
)


def class_rows(model: vidtr.Model, path: str) -> tuple[int, ...]:
  """Per axis of a table, its rows in front that are class tokens."""
  if path == 'tokens/patch_pos/table':
    return {'separable': (1, 0, 0), 'axial': (1, 1, 1)}.get(model.attention, ())
  return (1,) if path == 'tokens/class_pos/table' else ()


def guess_separable(specs: Specs) -> Guess:
  """What keys and shapes tell about a model of separable attention."""
  shapes, fields, C = _read_shapes(specs, 'separable')
  patches = identify.find_shape(shapes, 'tokens/time_class/table')[1] - 1
  frames = identify.find_shape(shapes, 'tokens/space_class/table')[0]
  H, W = identify.square_frame(patches, fields['patch'])
  # The release adds positions in every layer where there are 16 frames.
  positions = 'every' if frames == 16 else 'first'
  return Guess(
    model={**fields, 'attention': 'separable', 'positions': positions},
    assumed=(*identify.assumed_heads(fields), 'positions'),
    clip=(frames * fields['patch_frames'], H, W, C),
    patches=patches,
    classes=identify.count_classes(shapes),
    size=identify.vit_size(fields),
  )


def guess_joint(specs: Specs) -> Guess:
  """What keys and shapes tell about a C-VidTr, or a model of joint attention.

  One table has the rows of all frames, so it tells neither frames nor size:
  frames of 224 pixels as published, or of whatever square divides the rows.
  """
  shapes, fields, C = _read_shapes(specs, 'joint')
  P, t = fields['patch'], fields['patch_frames']
  rows = identify.find_shape(shapes, 'tokens/patch_pos/table')[1] - 1
  sides = (FRAME // P, *range(math.isqrt(max(rows, 0)), 0, -1))
  side = next((s for s in sides if s and rows % s**2 == 0), 1)
  frames = rows // side**2
  compact = COMPACT.get((fields['layers'], frames), {})
  scheme = {'attention': 'merged', 'pool': 'top_k'} if compact else {}
  return Guess(
    model={**fields, 'attention': 'joint', **scheme, **compact},
    assumed=(
      *identify.assumed_heads(fields),
      *('attention', 'joint_from', 'pool', 'pool_layers', 'pool_drop'),
    ),
    clip=(frames * t, side * P, side * P, C),
    classes=identify.count_classes(shapes),
    size=identify.vit_size(fields),
    notes=(NOTE,),
  )


def _read_shapes(
  specs: Specs, attention: Literal['separable', 'joint']
) -> tuple[dict[str, tuple[int, ...]], dict[str, Any], int]:
  """Shapes by our path, the fields that all schemes share, and channels."""
  like = vidtr.Model(classes=1, attention=attention, patch_frames=2)
  shapes = identify.shapes_by_path(rules(like), specs)
  width, C, t, P, _ = identify.find_shape(shapes, 'patch/kernel')
  fields = identify.vit_fields(shapes, width=width, patch=P, block='layer_{i}/')
  return shapes, {**fields, 'patch_frames': t}, C


def _has_equal_rows(guess: Guess, video: tuple[int, int, int, int]) -> bool:
  """Whether a joint table has the rows of a clip: no shape tells more."""
  P, t = guess.model['patch'], guess.model['patch_frames']

  rows = [T // t * (H // P) * (W // P) for T, H, W, _ in (video, guess.clip)]
  return rows[0] == rows[1]


def image_rules(model: Any = None) -> Rules:
  """An image ViT of ours by VidTr's names; its kernel has an axis of time."""
  del model
  return (
    rule('cls', 'class_token', vector(2)),
    rule('pos_embedding', 'class_pos space_pos/table', class_and_grid()),
    *conv('conv_stem', 'patch', convolution(1)),
    *_layer_rules('block_{i}'),
    *norm('encoder.norm', 'norm'),
  )


def guess_image_vit(specs: Specs) -> Guess:
  """What the image ViT's keys and shapes tell; it has no classes."""
  shapes = identify.shapes_by_path(image_rules(), specs)
  width, C, _, P, _ = identify.find_shape(shapes, 'patch/kernel')
  patches = identify.find_shape(shapes, 'space_pos/table')[1] - 1
  fields = identify.vit_fields(shapes, width=width, patch=P)
  return Guess(
    model=fields,
    assumed=identify.assumed_heads(fields),
    clip=(1, *identify.square_frame(patches, P), C),
    patches=patches,
    classes=0,
    size=identify.vit_size(fields),
  )


T2T_NOTE = (
  'a T2T-ViT: an image model, whose class token and positions are repeated '
  'over the frames of the clip'
)


def guess_t2t(specs: Specs) -> Guess:
  """What a T2T-ViT's keys and shapes tell of the VidTr that starts from it."""
  image = vidtr.Model(classes=1, attention='joint', stem='t2t')
  shapes = identify.shapes_by_path(t2t_rules(image), specs)
  fields = identify.vit_fields(
    shapes,
    width=identify.find_shape(shapes, 't2t/fc/bias')[0],
    patch=t2t.PATCH,
    block='layer_{i}/',
  )
  patches = identify.find_shape(shapes, 'tokens/patch_pos/table')[1] - 1
  pixels = identify.find_shape(shapes, 't2t/mixer_1/kqv/kernel')[1]
  return Guess(
    model={**fields, 'stem': 't2t'},
    assumed=identify.assumed_heads(fields),
    clip=(
      *(FRAMES, *identify.square_frame(patches, t2t.PATCH)),
      pixels // t2t.SPLITS[0][0] ** 2,
    ),
    patches=patches,
    classes=0,
    notes=(T2T_NOTE,),
  )


def t2t_rules(model: vidtr.Model) -> Rules:
  """The key rules by which a T2T-ViT's file starts a model of its stem."""
  return (
    *_image_token_rules(model, 'cls_token', 'pos_embed'),
    *_t2t_rules(),
    *_image_layer_rules(model, own=False),
  )


def check_stem(model: vidtr.Model, guess: Guess) -> vidtr.Model:
  """The model, if a T2T-ViT can start it; refuses other stems and sizes."""
  names = ('stem', 'layers', 'width', 'mlp_ratio', 'patch')
  wrong = {
    n: guess.model[n] for n in names if getattr(model, n) != guess.model[n]
  }
  if wrong:
    ours = ', '.join(f'{n}={getattr(model, n)!r}' for n in wrong)
    theirs = ', '.join(f'{n}={value!r}' for n, value in wrong.items())
    raise InputError(
      f"got {ours} for a T2T-ViT's file; expected {theirs}, the file's; try "
      '--config=vidtr:t2t, or these fields'
    )
  return model


_released = functools.partial(
  Naming,
  family='vidtr',
  rules=rules,
  pixels=IMAGENET,
  trained={'activation': 'relu', 'epsilon': 1e-5},
  under='model',
)
SOURCES = {'vit': start_from_image}
NAMINGS = (
  _released(
    name='release', has=(*KEYS, 'cls_s', 'cls_t'), guess=guess_separable
  ),
  _released(
    name='compact',
    has=(*KEYS, 'cls', 'fc.weight'),
    lacks=('cls_s',),
    guess=guess_joint,
    could_be_for=_has_equal_rows,
  ),
  Naming(
    family='vit',
    name='vidtr',
    has=(*KEYS, 'cls'),
    lacks=('cls_s', 'fc.weight'),
    guess=guess_image_vit,
    rules=image_rules,
  ),
  Naming(
    family='vidtr',
    name='t2t',
    has=(
      identify.T2T_KEY,
      'cls_token',
      'pos_embed',
      'blocks.{i}.attn.qkv.weight',
    ),
    guess=guess_t2t,
    rules=t2t_rules,
    random=(*RANDOM, *NO_BIAS),
    adapt=check_stem,
    could_be_for=lambda guess, video: video[1:] == guess.clip[1:],
    pixels=IMAGENET,
  ),
)
