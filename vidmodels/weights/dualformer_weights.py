"""DualFormer's released weights, and its start from image models.

Keys are those of the release's recognizer: `backbone.`, then `cls_head.`. A
file that was saved while training with token labels also holds the token head,
and the frozen teacher under `teacher.`.

Two kinds of image model can start a video model:

* One of the authors' layout (never published). Kernels are repeated over their
  frames and divided by them, position encodings included. A clip that repeats
  one frame then has the image's answer, except for two things: the first and
  last frames of the position encoding, which have a neighbour of zeros on one
  side, and the coarse scale, whose second convolution the image model lacks.
* A public Twins-SVT, which has the same widths, layers, heads and names. The
  authors did not start from it. The dense convolution that pools the fine scale
  becomes a depthwise one. The coarse scale, which Twins-SVT lacks, starts as a
  mean (behind a batch norm that changes nothing and a ReLU, so it is not the
  mean of negative values).
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from vidmodels.models import dualformer, twins_svt
from vidmodels.typing import InputError
from vidmodels.weights.mapping import apply, from_image
from vidmodels.weights.mapping.apply import KeyReport
from vidmodels.weights.mapping.identify import IMAGENET, Guess, Naming, Specs
from vidmodels.weights.mapping.key_rules import (
  Arrays,
  Layout,
  Rule,
  Rules,
  Shapes,
  attention_block,
  batch_norm,
  conv,
  convolution,
  dense,
  drop,
  inflated_convolution,
  norm,
  repeat_over_frames,
  rule,
)

BACKBONE, CLASS_HEAD = 'backbone.', 'cls_head.'
HEAD = '^(token_)?head/'
TOKEN_HEAD = (
  ('token_linear.0', 'up'),
  ('token_linear.3', 'up_again'),
  ('token_linear.6', 'down'),
)
TRAINING_ONLY = 'used in training alone'

# --- The release


def rules(model: dualformer.Model) -> Rules:
  """The key rules of a model; what only training uses is dropped."""
  token_head: list[Rule] = []
  for theirs, ours in TOKEN_HEAD:
    token_head += dense(CLASS_HEAD + theirs, f'token_head/{ours}')
  if not model.token_head:
    token_head = [drop(r.keys[0], TRAINING_ONLY) for r in token_head]
  return (
    *backbone_rules(model),
    *dense(f'{CLASS_HEAD}fc_cls', 'head'),
    *token_head,
    *(drop(f'teacher.{key}', TRAINING_ONLY) for key in _list_all_keys()),
  )


def _list_all_keys() -> list[str]:
  """Every key that a published model has, whatever its size."""
  block = f'{BACKBONE}blocks.{{i}}.{{j}}'
  all_rules = [
    *level_rules(block, '', 'L'),
    *level_rules(block, '', 'G'),
    *dense(f'{CLASS_HEAD}fc_cls', ''),
  ]
  for key in (
    'norm',
    'patch_embeds.{i}.norm',
    'patch_embeds.{i}.proj',
    'pos_block.{i}.proj.0',
  ):
    all_rules += dense(BACKBONE + key, '')
  return list(dict.fromkeys(r.keys[0] for r in all_rules))


def backbone_rules(model: dualformer.Model, prefix: str = BACKBONE) -> Rules:
  """The rules of everything except the heads."""
  all_rules = [*norm(f'{prefix}norm', 'norm')]
  for s in range(len(model.widths)):
    key, path = f'{prefix}patch_embeds.{s}', f'stage_{s}'
    # Our kernel has no frame axis if one frame makes a patch.
    frames = model.patch_frames if s == 0 else model.rates[s - 1]
    all_rules += [
      *conv(f'{key}.proj', f'{path}/patch', convolution(int(frames == 1))),
      *norm(f'{key}.norm', f'{path}/patch_norm'),
      *conv(f'{prefix}pos_block.{s}.proj.0', f'{path}/block_0/peg'),
    ]
  for theirs, ours, kind in list_levels(model.layers, model.patterns):
    all_rules += level_rules(prefix + theirs, ours, kind)
  return tuple(all_rules)


def list_levels(
  layers: Sequence[int], patterns: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
  """Yields every level's key in the file, our path, and its kind."""
  for s, (count, pattern) in enumerate(zip(layers, patterns, strict=True)):
    for j in range(count):
      block, i = divmod(j, len(pattern))
      path = f'stage_{s}/block_{block}/level_{i}'
      yield f'blocks.{s}.{j}', path, pattern[i]


def level_rules(key: str, path: str, kind: str) -> Rules:
  """The rules of one level: 'L', local, or 'G', global (over a pyramid)."""
  if kind == 'L':
    return attention_block(key, path)
  attn, pool = f'{path}/attn', f'{path}/attn/pyramid'
  to_pyramid = (
    *dense(f'{key}.attn.q', f'{attn}/q'),
    *dense(f'{key}.attn.kv', f'{attn}/kv'),
    *dense(f'{key}.attn.proj', f'{attn}/out', inputs=2),
    *conv(f'{key}.attn.sr', f'{pool}/fine'),
    *norm(f'{key}.attn.norm', f'{pool}/norm'),
    *conv(f'{key}.attn.lr.0', f'{pool}/coarse_space'),
    *batch_norm(f'{key}.attn.lr.1', f'{pool}/coarse_norm'),
    *conv(f'{key}.attn.lr.3', f'{pool}/coarse_rest'),
  )
  return attention_block(key, path, to_pyramid)


# --- From an image model of the authors' layout

# Every tap of the coarse scale's second kernel, by stage, as the release has
# it: a mean over (4, 2, 2) and (4, 1, 1) tokens, whatever the kernel is.
RELEASED_TAPS = (1 / 16, 1 / 4)


def image_rules(model: dualformer.Model) -> Rules:
  """The key rules of an image file; they inflate kernels as they read them.

  They come before the backbone's own rules, so they win. No file has the second
  coarse convolution: it is made together with the bias of the first.
  """
  inflate = inflated_convolution()
  all_rules = []
  for s in range(len(model.widths)):
    peg = f'stage_{s}/block_0/peg/kernel'
    patch = f'stage_{s}/patch/kernel'
    all_rules += [
      rule(f'patch_embeds.{s}.proj.weight', patch, inflate),
      rule(f'pos_block.{s}.proj.0.weight', peg, inflate),
    ]
  for key, path, _ in list_levels(model.layers, model.patterns):
    pool, s = f'{path}/attn/pyramid', int(key.split('.')[1])
    coarse = f'{pool}/coarse_space/bias'
    second = f'{pool}/coarse_rest/kernel {pool}/coarse_rest/bias'
    tap = RELEASED_TAPS[s] if s < len(RELEASED_TAPS) else None
    all_rules += [
      rule(f'{key}.attn.sr.weight', f'{pool}/fine/kernel', inflate),
      rule(f'{key}.attn.lr.0.weight', f'{pool}/coarse_space/kernel', inflate),
      rule(f'{key}.attn.lr.0.bias', f'{coarse} {second}', _add_second(tap)),
    ]
  return (*all_rules, *backbone_rules(model, ''), *dense('head', 'head'))


def _add_second(tap: float | None) -> Layout:
  """A bias, and with it a second convolution: `tap` everywhere, or a mean."""

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    _, kernel, bias = shapes
    value = 1 / np.prod(kernel[:-1]) if tap is None else tap
    second = np.full(kernel, value, np.float32)
    return arrays[0], second, np.zeros(bias, np.float32)

  return Layout(load, save=lambda arrays: arrays[:1])


# --- From a public Twins-SVT

FineKernel = Literal['mean', 'diagonal']
# Heads, and positions that replace those of the depthwise convolution.
NOT_IN_TWINS = re.compile('^(token_)?head/|/(space_pos|time_pos|relative)/')


def start_from_twins(
  variables: Mapping[str, Any],
  image: twins_svt.Model,
  model: dualformer.Model,
  video: tuple[int, ...],
  report: KeyReport,
  *,
  fine: FineKernel = 'mean',
) -> dict[str, Any]:
  """Starts a video model from Twins-SVT: small, base, large for T, S, B.

  The heads, and positions that Twins-SVT lacks, keep their initial values.
  Depthwise kernels of the fine scale start as `fine`: 'mean', one over their
  taps and no bias, or 'diagonal', what each channel had from itself. For other
  arguments and results see `identify.ImageSource`.
  """
  fields = ('widths', 'layers', 'heads', 'patch', 'qkv_bias')
  from_image.check_same_fields(image, model, fields)
  theirs = apply.flatten_variables(variables)
  shapes = apply.flatten_variables(apply.variable_shapes(model, video))
  ours: dict[str, np.ndarray] = {}
  for path, leaf in shapes.items():
    if NOT_IN_TWINS.search(path):
      report.random[path] = from_image.NOT_IN_IMAGE
    elif re.search(r'/(coarse|coarser|fine)_', path):
      ours[path] = _make_coarse(path, leaf.shape)
      report.changed[path] = 'a mean: Twins-SVT has no such convolution'
    else:
      ours[path] = _fit_shape(path, theirs, leaf.shape, fine, report)
  if model.pooling == 'depthwise' and fine == 'mean':
    for path in (path for path in ours if path.endswith('/fine/bias')):
      ours[path] = np.zeros_like(ours[path])
      report.changed[path] = 'zeros: its kernel is a mean'
  for path in sorted(set(theirs) - set(ours)):
    report.dropped[path] = from_image.LEFT_OUT
  return apply.unflatten_variables(ours)


def _make_coarse(path: str, shape: tuple[int, ...]) -> np.ndarray:
  """Kernels that are means, and a batch norm that changes nothing."""
  if path.endswith('/kernel'):
    return np.full(shape, 1 / np.prod(shape[:-1]), np.float32)
  value = 1.0 if path.endswith(('/scale', '/var')) else 0.0
  return np.full(shape, value, np.float32)


def _fit_shape(
  path: str,
  theirs: Mapping[str, Any],
  shape: tuple[int, ...],
  fine: FineKernel,
  report: KeyReport,
) -> np.ndarray:
  """The image model's tensor in the video model's shape."""
  if path not in theirs:
    raise InputError(
      f'the image model has no {path}; expected a video model with the same '
      "levels; try patterns of 'LG' and fine scales as in the image model"
    )
  array = np.asarray(theirs[path])
  if path.endswith('/fine/kernel'):
    array = array[0]
    if shape[-2] == 1 < array.shape[-2]:
      array = _make_depthwise(array, fine)
      report.changed[path] = f'a dense kernel made depthwise: {fine}'
  if array.ndim == len(shape) - 1:
    array = repeat_over_frames(array, shape[0])
  if array.shape != shape:
    raise InputError(
      f'{path} of the image model comes to shape {list(array.shape)}; expected '
      f"{list(shape)}, the video model's; try frames of the size that the "
      'image model is built for'
    )
  return array


def _make_depthwise(dense: np.ndarray, fine: FineKernel) -> np.ndarray:
  """A dense kernel [k, k, D, D] as a depthwise one [k, k, 1, D]."""
  if fine == 'diagonal':
    return np.diagonal(dense, axis1=2, axis2=3)[:, :, None]
  k, _, _, D = dense.shape
  return np.full((k, k, 1, D), 1 / k**2, np.float32)


# --- How files are recognised

FRAME = 224  # pixels of every published model's frames
FINE_FRAMES = 8  # frames of tokens that the fine scale is pooled to
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


def guess_model(specs: Specs) -> Guess:
  """What keys and shapes tell about a model."""
  shapes = {key.removeprefix(BACKBONE): spec[0] for key, spec in specs.items()}
  patches = list_shapes(shapes, 'patch_embeds.{}.proj.weight')
  widths = tuple(shape[0] for shape in patches)
  stages = range(len(widths))
  kinds = [_read_kinds(shapes, s) for s in stages]
  hidden = [shapes[f'blocks.{s}.0.mlp.fc1.weight'][0] for s in stages]
  _, C, time, _, edge = patches[0]
  pool = shapes.get('blocks.0.1.attn.sr.weight', (1, 1, 2))
  frames = pool[2] * FINE_FRAMES * time
  layers = tuple(map(len, kinds))
  size = SIZES.get((widths[0], sum(layers)), '')
  heads = () if size else ('heads',)
  return Guess(
    model={
      'widths': widths,
      'layers': layers,
      'heads': guess_heads(widths),
      'mlp_ratios': tuple(n / D for n, D in zip(hidden, widths, strict=True)),
      'patterns': tuple(map(_find_pattern, kinds)),
      'pooling': 'dense' if pool[1] > 1 else 'depthwise',
      'built': (frames, FRAME, FRAME),
      'patch': edge,
      'patch_frames': time,
      'rates': tuple(shape[2] for shape in patches[1:]),
      'token_head': f'{CLASS_HEAD}token_linear.0.weight' in specs,
      'qkv_bias': 'blocks.0.0.attn.qkv.bias' in shapes,
    },
    assumed=(*heads, 'built'),
    free=('token_head',),
    clip=(frames, FRAME, FRAME, C),
    classes=specs[f'{CLASS_HEAD}fc_cls.weight'][0][0],
    size=size,
    notes=(NOTE,),
  )


def check_frames(model: dualformer.Model, guess: Guess) -> dualformer.Model:
  """The model, if its pooling kernels are for as many frames as the file's.

  A clip of any length goes through either; what differs is the kernels. The
  frames that a file is for are only known if the fine scale is the published.
  """
  theirs = tuple(guess.model['built'])
  told = model.fine[0][:1] == (FINE_FRAMES,) and model.patterns[0][:2] == 'LG'
  if not told or theirs[0] == model.built[0]:
    return model
  raise InputError(
    f'got model.built={model.built} for a file whose pooling kernels are for '
    f'clips of {theirs[0]} frames; expected the same; try '
    f"--config.model.built='{(theirs[0], *model.built[1:])}'"
  )


def guess_from_image(specs: Specs) -> Guess:
  """What an image file tells about the video model that it starts."""
  shapes = {key: spec[0] for key, spec in specs.items()}
  # A video model with patches of two frames, built for 32, has these tensors.
  for key, shape in shapes.items():
    if len(shape) == 4:
      frames = 2 if '.sr.' in key or key.startswith('patch_embeds.0') else 1
      shapes[key] = (*shape[:2], frames, *shape[2:])
  float32 = np.dtype(np.float32)
  head = shapes.get('head.weight', (0,))
  video = {f'{BACKBONE}{k}': (v, float32) for k, v in shapes.items()}
  guess = guess_model({**video, f'{CLASS_HEAD}fc_cls.weight': (head, float32)})
  assumed = (*guess.assumed, 'patch_frames', 'rates')
  return dataclasses.replace(guess, assumed=assumed, notes=(NOTE, IMAGE_NOTE))


def guess_heads(widths: Sequence[int]) -> tuple[int, ...]:
  """Heads of every stage: every published head is 32 wide."""
  return tuple(max(width // HEAD_WIDTH, 1) for width in widths)


def list_shapes(
  shapes: Mapping[str, tuple[int, ...]], key: str
) -> list[tuple[int, ...]]:
  """The shapes of a key with the numbers 0, 1, 2, ..., up to the first gap."""
  numbered: list[tuple[int, ...]] = []
  while (name := key.format(len(numbered))) in shapes:
    numbered.append(tuple(shapes[name]))
  return numbered


def _read_kinds(shapes: Mapping[str, tuple[int, ...]], s: int) -> str:
  """The levels of a stage: 'G' for global ones, which have a query layer."""
  blocks = list_shapes(shapes, f'blocks.{s}.{{}}.norm1.weight')
  return ''.join(
    'G' if f'blocks.{s}.{j}.attn.q.weight' in shapes else 'L'
    for j, _ in enumerate(blocks)
  )


def _find_pattern(kinds: str) -> str:
  """The shortest pattern that gives a stage its levels, of two if possible."""
  lengths = [n for n in (2, *range(1, len(kinds) + 1)) if n <= len(kinds)]
  fits = (n for n in lengths if (kinds[:n] * len(kinds)).startswith(kinds))
  return kinds[: next(fits)]


def _naming(name: str, has: tuple[str, ...], **more: Any) -> Naming:
  return Naming(
    family='dualformer',
    name=name,
    has=has,
    pixels=IMAGENET,
    trained={'activation': 'gelu', 'epsilon': 1e-5},
    adapt=check_frames,
    extras=apply.batch_counters,
    **more,
  )


SOURCES = {'twins_svt': start_from_twins}
NAMINGS = (
  _naming(
    'release',
    ('backbone.patch_embeds.0.proj.weight', 'cls_head.fc_cls.weight'),
    guess=guess_model,
    rules=rules,
    under='state_dict',
  ),
  _naming(
    'image',
    ('patch_embeds.0.proj.weight', 'blocks.0.1.attn.lr.0.weight'),
    guess=guess_from_image,
    rules=image_rules,
  ),
)
