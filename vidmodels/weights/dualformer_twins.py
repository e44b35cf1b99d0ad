"""DualFormer's start from a public Twins-SVT.

This is not what the authors started from: their image model is not published.
Twins-SVT has the same widths, layers, heads and names; what differs is made up
here. Kernels gain frames as in `dualformer_image`. The dense convolution that
pools the fine scale becomes a depthwise one, and the coarse scale, which
Twins-SVT lacks, starts as a mean (behind a batch norm that changes nothing and
a ReLU, which is why it is no mean of what is negative).
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vidmodels.models import dualformer, twins_svt
from vidmodels.typing import InputError
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books
from vidmodels.weights.mapping.from_image import LEFT_OUT, NOT_THERE, agree

Fine = Literal['mean', 'diagonal']
HEADS = ('head/', 'token_head/')
# Positions that take the place of the depthwise convolution's.
POSITIONS = ('/space_pos/', '/time_pos/', '/relative/')


def from_twins(
  variables: Mapping[str, Any],
  image: twins_svt.Model,
  model: dualformer.Model,
  video: tuple[int, ...],
  books: Books,
  *,
  fine: Fine = 'mean',
) -> dict[str, Any]:
  """A video model's start from Twins-SVT: small, base, large for T, S, B.

  Args:
    variables: of the image model.
    image: the image model.
    model: the video model.
    video: shape (T, H, W, C) of the clips that it is for.
    books: takes what stays random, what was made up, and what of the image
      model is left out.
    fine: depthwise kernels of the fine scale: 'mean', one over their taps and
      no bias, or 'diagonal', what each channel had from itself.

  Returns:
    Variables of `model` but for the heads, and positions that Twins-SVT has
    not.

  Raises:
    InputError: if the sizes of the two differ.
  """
  agree(image, model, ('widths', 'layers', 'heads', 'patch', 'qkv_bias'))
  given, made = layers.flat(variables), {}
  for path, leaf in layers.flat(layers.shapes(model, video)).items():
    if path.startswith(HEADS) or any(name in path for name in POSITIONS):
      books.random[path] = NOT_THERE
    elif '/coarse_' in path:
      made[path] = _coarse(path, leaf.shape)
      books.changed[path] = 'a mean: Twins-SVT has no coarse scale'
    else:
      made[path] = _fit(path, given, leaf.shape, fine, books)
  if model.pooling == 'depthwise' and fine == 'mean':
    for path in (path for path in made if path.endswith('/fine/bias')):
      made[path] = np.zeros_like(made[path])
      books.changed[path] = 'zeros: its kernel is a mean'
  for path in sorted(set(given) - set(made)):
    books.dropped[path] = LEFT_OUT
  return layers.unflat(made)


def _coarse(path: str, shape: tuple[int, ...]) -> np.ndarray:
  """Means over kernels, and a batch norm that changes nothing."""
  if path.endswith('/kernel'):
    return np.full(shape, 1 / np.prod(shape[:-1]), np.float32)
  value = 1.0 if path.endswith(('/scale', '/var')) else 0.0
  return np.full(shape, value, np.float32)


def _fit(
  path: str,
  given: Mapping[str, Any],
  shape: tuple[int, ...],
  fine: Fine,
  books: Books,
) -> np.ndarray:
  """The image model's tensor in the video model's shape.

  Raises:
    InputError: if it has none, or one of another size.
  """
  if path not in given:
    raise InputError(
      f'the image model has no {path}; give the video model the patterns and '
      'the fine scales that it has'
    )
  array = np.asarray(given[path])
  if path.endswith('/fine/kernel'):
    array = array[0]
    if shape[-2] == 1 < array.shape[-2]:
      array = _depthwise(array, fine)
      books.changed[path] = f'a dense kernel made depthwise: {fine}'
  if array.ndim == len(shape) - 1:
    frames = shape[0]
    array = np.repeat(array[None], frames, axis=0) / np.float32(frames)
  if array.shape != shape:
    raise InputError(
      f'{path} of the image model comes to shape {list(array.shape)} and the '
      f'video model has {list(shape)}; build it for frames of the same size'
    )
  return array


def _depthwise(dense: np.ndarray, fine: Fine) -> np.ndarray:
  """A dense kernel [k, k, D, D] as a depthwise one [k, k, 1, D]."""
  if fine == 'diagonal':
    return np.diagonal(dense, axis1=2, axis2=3)[:, :, None]
  k, _, _, D = dense.shape
  return np.full((k, k, 1, D), 1 / k**2, np.float32)
