"""How an image model's tensors are repeated over the frames of a video.

Saving gives the image's tensor back, from one of its copies.
"""

from typing import Literal

import numpy as np

from vidmodels.weights.mapping.rules import Arrays, Layout, Shapes

Cubic = Literal['mean', 'centre']


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
    cubic: see `from_state`.
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
