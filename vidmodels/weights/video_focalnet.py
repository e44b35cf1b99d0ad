"""Video-FocalNet's released weights, and its start from image FocalNets.

Keys are those of the authors' `VideoFocalNet`, which are Microsoft's with the
temporal branch beside: under 'model' in the published files.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vidmodels.models import video_focalnet
from vidmodels.nn.modulation import STREAMS
from vidmodels.typing import InputError
from vidmodels.weights import focalnet, parts
from vidmodels.weights.convert import Books
from vidmodels.weights.rules import Layout, Rule, convolution, drop, rule

# The designs whose parameters the authors' names can tell apart.
NAMED = ('space', 'parallel')

HEAD = 'its classes are not those of the model'
NO_TIME = 'an image has no time'


def rules(model: video_focalnet.Model) -> tuple[Rule, ...]:
  """The key rules of a released model.

  Raises:
    InputError: for a design that was never released.
  """
  if model.design not in NAMED:
    raise InputError(
      f'design {model.design!r} was never released, so its parameters have no '
      f'names in a file; wanted one of {NAMED}'
    )
  temporal = [
    part
    for s, count in enumerate(model.levels)
    for part in _temporal(s, count)
    if model.design == 'parallel'
  ]
  return (
    *focalnet.rules(model.levels, post_norm=model.post_norm),
    *temporal,
  )


def _temporal(s: int, levels: int) -> tuple[Rule, ...]:
  """The rules of one stage's temporal branches."""
  theirs = f'layers.{s}.blocks.{{i}}.modulation'
  ours = f'stage_{s}_block_{{i}}/mod/time'
  convs = [
    part
    for level in range(levels)
    for part in (
      rule(
        f'{theirs}.focal_layers_temporal.{level}.0.weight',
        f'{ours}/time_conv_{level}/kernel',
        convolution(),
      ),
      rule(
        f'{theirs}.focal_layers_temporal.{level}.0.weight',
        f'{ours}/time_depthwise_{level}/kernel',
        _depthwise(),
      ),
    )
  ]
  return (
    *focalnet.linear(f'{theirs}.f_temporal', f'{ours}/context {ours}/gate'),
    *focalnet.linear(f'{theirs}.h_temporal', f'{ours}/out', 1),
    *convs,
  )


def _depthwise() -> Layout:
  """torch's Conv1d with a group a channel, [D, 1, k], to [k, 1, 1, 1, D]."""
  return Layout(
    load=lambda arrays, shapes: (arrays[0].T[:, None, None],),
    save=lambda arrays: (arrays[0][:, 0, 0].T,),
  )


def load(
  state: Mapping[str, np.ndarray],
  model: video_focalnet.Model,
  *,
  head: bool = True,
  books: Books | None = None,
) -> dict[str, Any]:
  """Turns the authors' state dict into our variables.

  Args:
    state: tensors by the authors' key, every one of which is used once.
    model: the model that they are for.
    head: False to leave the file's classifier out, and the model's as it was
      drawn: to go on with another data set.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model`: numpy arrays, most of them views of `state`.

  Raises:
    InputError: if the file is for another model, a key is left over, or a
      parameter is not filled.
  """
  focalnet.agree(state, model, skip=() if head else ('classes',))
  return parts.load(
    _headless(rules(model), head, 'microsoft'),
    state,
    model,
    video=focalnet.smallest(state, model),
    random=() if head else ((r'^head/', HEAD),),
    books=books,
  )


def save(
  variables: Mapping[str, Any], model: video_focalnet.Model
) -> dict[str, np.ndarray]:
  """Turns our variables into the authors' state dict: `load` undone."""
  return parts.save(rules(model), variables)


def from_image(
  state: Mapping[str, np.ndarray],
  model: video_focalnet.Model,
  *,
  head: bool = False,
  books: Books | None = None,
) -> dict[str, Any]:
  """Turns an image FocalNet into the spatial part of a video model.

  As released: patches of t frames take the image's kernel t times, divided by
  t; the temporal branch and the head stay as they were drawn. With
  `time_start` 'neutral' and the image's head the model then answers the mean
  of what the image model says to the frames.

  Args:
    state: of an image FocalNet, in Microsoft's, the HF hub's or timm's naming.
    model: of any design but 'alternate'.
    head: whether the file's classifier is taken too.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model` without those that stay as they were drawn.

  Raises:
    InputError: if the file is for another model (as one with 3 focal levels is
      for one with 2), or the design has no place for the blocks of an image.
  """
  if model.design == 'alternate':
    raise InputError(
      "design 'alternate' has blocks without a spatial modulation, which have "
      "no block in an image model to start from; wanted 'pair' or another"
    )
  skip = ('tubelet',) if head else ('tubelet', 'classes')
  focalnet.agree(state, model, skip=skip)
  naming = focalnet.naming_of(state)
  first = focalnet.NAMES[naming].patch
  if state[f'{first}.weight'].ndim != 4:
    raise InputError(
      f'{first}.weight has patches of several frames, so the file is no image '
      'model; load it as a video model'
    )
  found = focalnet.rules(
    model.levels,
    naming=naming,
    post_norm=model.post_norm,
    stream=STREAMS['THW' if model.design == 'volume' else 'HW'],
  )
  if model.tubelet > 1:
    at = 'patch/conv/kernel'
    inflate = rule(f'{first}.weight', at, _inflated(model.tubelet))
    found = (inflate, *found)
    if books is not None:
      t = model.tubelet
      books.changed[at] = f'the image kernel {t} times, divided by {t}'
  random = [(r'/time_|/time/|^time_|/fuse/', NO_TIME)]
  if not head:
    random.append((r'^head/', HEAD))
  return parts.load(
    _headless(found, head, naming),
    state,
    model,
    video=focalnet.smallest(state, model),
    random=random,
    books=books,
  )


def _inflated(frames: int) -> Layout:
  """An image's kernel for patches of several frames, whose mean they see."""
  plain = convolution()

  def load(arrays, shapes):
    (kernel,) = plain.load(arrays, shapes)
    return (np.repeat(kernel[None] / np.float32(frames), frames, axis=0),)

  return Layout(load, lambda arrays: plain.save((arrays[0].sum(0),)))


def _headless(
  found: tuple[Rule, ...], head: bool, naming: focalnet.Naming
) -> tuple[Rule, ...]:
  """The rules, unless `head` with the file's classifier dropped."""
  if head:
    return found
  name = focalnet.NAMES[naming].head
  return (
    *(drop(f'{name}.{part}', HEAD) for part in ('weight', 'bias')),
    *found,
  )
