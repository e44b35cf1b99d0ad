"""Image weights into DualFormer: two-dimensional kernels become video ones.

Kernels are repeated over their frames and divided by them, position encodings
included, so that a clip of one frame over and over is answered as the image
was, but for two things: the first and last frames of the position encoding,
which have a neighbour of zeros on one side, and the coarse scale, whose second
convolution the image model has not.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vidmodels.models import dualformer
from vidmodels.typing import InputError
from vidmodels.weights.dualformer_weights import backbone, channels, levels
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books
from vidmodels.weights.mapping.layers import dense
from vidmodels.weights.mapping.rules import (
  Arrays,
  Layout,
  Rule,
  Shapes,
  convolution,
  drop,
  rule,
)

State = dict[str, np.ndarray]
Sources = Mapping[str, np.ndarray]
Coarse = Literal['released', 'mean']
# Every tap of the coarse scale's second kernel, by stage, as the release has
# it: a mean over (4, 2, 2) and (4, 1, 1) tokens, whatever the kernel is.
RELEASED_TAPS = (1 / 16, 1 / 4)
IMAGE_HEAD = 'head.'
RANDOM = (
  ('^(token_)?head/', 'the classes of the videos are new'),
  ('/(space_pos|time_pos|relative)/', 'the image model has no such positions'),
)


def inflate(
  source: Sources, model: dualformer.Model, *, coarse: Coarse = 'released'
) -> State:
  """An image model's state dict as that of a video backbone.

  Args:
    source: tensors by the authors' key, without a prefix. The image head
      (`head.`) is left out: its classes are not those of videos.
    model: says how many frames each kernel has.
    coarse: taps of the second coarse kernels, which are always made anew:
      'released' by the release's constants, which are means for its own sizes
      alone, 'mean' one over their number.

  Returns:
    Tensors by the authors' key, without the prefix `backbone.`.

  Raises:
    InputError: if the release has no constant for a stage.
  """
  state = {k: v for k, v in source.items() if not k.startswith(IMAGE_HEAD)}
  frames = (model.patch_frames, *model.rates)
  for s, plan in enumerate(model.plans()):
    _repeat(state, f'patch_embeds.{s}.proj.weight', frames[s])
    _repeat(state, f'pos_block.{s}.proj.0.weight', dualformer.PEG[0])
    for key, _, _ in levels(model.layers, model.patterns):
      if not key.startswith(f'blocks.{s}.'):
        continue
      if plan.kernels.fine:
        _repeat(state, f'{key}.attn.sr.weight', plan.kernels.fine[0])
      first = f'{key}.attn.lr.0.weight'
      if plan.kernels.coarse and first in state:
        _repeat(state, first, 1)
        state |= _second(key, len(state[first]), s, plan.kernels.coarse, coarse)
  return state


def _repeat(state: State, key: str, frames: int) -> None:
  """[out, in, h, w] to [out, in, frames, h, w], of the same sum."""
  if key in state:
    flat = state[key]
    state[key] = np.repeat(flat[:, :, None], frames, axis=2) / flat.dtype.type(
      frames
    )


def _second(
  key: str, width: int, s: int, kernels: tuple, coarse: Coarse
) -> State:
  """The second convolution of a coarse scale: the same tap everywhere."""
  if coarse == 'released' and s >= len(RELEASED_TAPS):
    raise InputError(
      f'the release has no coarse scale in stage {s} and so no constant for '
      "it; choose coarse='mean'"
    )
  tap = RELEASED_TAPS[s] if coarse == 'released' else 1 / np.prod(kernels[1])
  shape = (width, 1, *kernels[1])
  return {
    f'{key}.attn.lr.3.weight': np.full(shape, tap, np.float32),
    f'{key}.attn.lr.3.bias': np.zeros(width, np.float32),
  }


def from_image(
  source: Sources,
  model: dualformer.Model,
  *,
  coarse: Coarse = 'released',
  books: Books | None = None,
) -> dict[str, Any]:
  """A video model's start from an image model of the authors' layout.

  Args:
    source: see `inflate`.
    model: the video model.
    coarse: see `inflate`.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model`, without those that stay random: the heads, and
    positions that no image model of this layout has.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  classes = [key for key in source if key.startswith(IMAGE_HEAD)]
  state = inflate(source, model, coarse=coarse)
  state |= {key: source[key] for key in classes}
  drops = (drop(key, 'the classes of images') for key in classes)
  return layers.load(
    (*drops, *backbone(model, '')),
    state,
    model,
    video=(*model.built, channels(state, '')),
    random=RANDOM,
    books=books,
  )


def rules(model: dualformer.Model) -> tuple[Rule, ...]:
  """Key rules of an image file, which inflate as they are read.

  They stand before the backbone's own, so they go first. No file has the second
  coarse convolution: it comes with the bias of the first.
  """
  found = []
  for s in range(len(model.widths)):
    path = f'stage_{s}'
    found += [
      rule(f'patch_embeds.{s}.proj.weight', f'{path}/patch/kernel', inflated()),
      rule(
        f'pos_block.{s}.proj.0.weight',
        f'{path}/block_0/peg/kernel',
        inflated(),
      ),
    ]
  for key, path, _ in levels(model.layers, model.patterns):
    pool, s = f'{path}/attn/pyramid', int(key.split('.')[1])
    second = f'{pool}/coarse_rest/kernel {pool}/coarse_rest/bias'
    found += [
      rule(f'{key}.attn.sr.weight', f'{pool}/fine/kernel', inflated()),
      rule(
        f'{key}.attn.lr.0.weight', f'{pool}/coarse_space/kernel', inflated()
      ),
      rule(
        f'{key}.attn.lr.0.bias',
        f'{pool}/coarse_space/bias {second}',
        with_second(RELEASED_TAPS[s] if s < len(RELEASED_TAPS) else None),
      ),
    ]
  return (*found, *backbone(model, ''), *dense('head', 'head'))


def inflated() -> Layout:
  """torch's [out, in, h, w] to our [t, h, w, in, out], of the same sum."""
  flat = convolution()

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    (image,) = flat.load(arrays, shapes)
    if len(shapes[0]) == image.ndim:
      return (image,)
    frames = shapes[0][0]
    return (np.repeat(image[None], frames, axis=0) / image.dtype.type(frames),)

  def save(arrays: Arrays) -> Arrays:
    image = arrays[0].sum(0) if arrays[0].ndim == 5 else arrays[0]
    return flat.save((image,))

  return Layout(load, save)


def with_second(tap: float | None) -> Layout:
  """A bias, and beside it a second convolution: `tap` everywhere, or a mean."""

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    _, kernel, bias = shapes
    value = 1 / np.prod(kernel[:-1]) if tap is None else tap
    second = np.full(kernel, value, np.float32)
    return arrays[0], second, np.zeros(bias, np.float32)

  return Layout(load, save=lambda arrays: arrays[:1])
