"""Key rules: which tensor of a file is which parameter of ours, both ways.

  rule('pos_embed', 'class_pos space_pos/table', class_and_grid())
  dense('blocks.{i}.mlp.fc1', 'block_{i}/mlp/up')  # two rules: kernel and bias

A rule names one or more keys of a file, one or more of our parameter paths, and
a `Layout` that converts the arrays between the two. `{i}` in a name stands for
a whole number and is the same number on both sides. `apply.py` applies rules.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

Arrays = tuple[np.ndarray, ...]
Shapes = tuple[tuple[int, ...], ...]
Rules = tuple['Rule', ...]

# Paths of the collection 'batch_stats' start so; others belong to 'params'.
STATS = 'batch_stats/'


@dataclasses.dataclass(frozen=True)
class Layout:
  """How the same numbers are arranged in a file and in our parameters.

  Both directions only move numbers (as views where numpy can), so converting
  to our parameters and back is exact.
  """

  # load: from arrays of the file and the shapes of our parameters to ours
  load: Callable[[Arrays, Shapes], Arrays]
  save: Callable[[Arrays], Arrays]  # from our arrays to those of the file
  # merged: whether a file may also have all axes but the first merged into one
  merged: bool = False


@dataclasses.dataclass(frozen=True)
class Rule:
  """Keys of a file, our paths, and the layout between them."""

  keys: tuple[str, ...]  # names in the file, e.g. 'blocks.{i}.norm1.weight'.
  paths: tuple[str, ...]  # our names, e.g. 'block_{i}/space/norm/scale'.
  layout: Layout  # converts the arrays, which are in the order of the names
  why: str = ''  # the reason for dropping the keys, if there are no paths


def rule(keys: str, paths: str, layout: Layout) -> Rule:
  """Makes a rule from names separated by spaces."""
  return Rule(tuple(keys.split()), tuple(paths.split()), layout)


def drop(key: str, why: str) -> Rule:
  """Makes a rule for a key of the file that has no parameter of ours."""
  nothing = Layout(load=lambda arrays, shapes: (), save=lambda arrays: ())
  return Rule((key,), (), nothing, why)


# --- Layouts


def one_to_one(
  load: Callable[[np.ndarray, tuple[int, ...]], np.ndarray],
  save: Callable[[np.ndarray], np.ndarray],
) -> Layout:
  """Makes a layout of one array on each side."""
  return Layout(
    load=lambda arrays, shapes: (load(arrays[0], shapes[0]),),
    save=lambda arrays: (save(arrays[0]),),
  )


def plain() -> Layout:
  """The same arrays on both sides, as in files of other JAX libraries."""
  return Layout(load=lambda arrays, shapes: arrays, save=lambda arrays: arrays)


def vector(lead: int = 0) -> Layout:
  """A bias, a scale or a token; the file has `lead` axes of size 1 in front."""
  return one_to_one(
    load=lambda array, shape: array.reshape(shape),
    save=lambda array: array.reshape(*(1,) * lead, -1),
  )


def linear(inputs: int = 1) -> Layout:
  """torch's [out, in] to our [inputs..., outputs...], e.g. [D, 3, A, d].

  `inputs` of our axes are inputs; the file merges each group into one axis.
  """

  def save(array: np.ndarray) -> np.ndarray:
    return array.reshape(math.prod(array.shape[:inputs]), -1).T

  return one_to_one(lambda array, shape: array.T.reshape(shape), save)


def convolution(ones: int = 0) -> Layout:
  """torch's [out, in, window...] to our [window..., in, out].

  The file's window starts with `ones` axes of size 1 that ours does not have,
  as where a file writes an image's window as one of a single frame.
  """
  front, last = tuple(range(ones)), (-2, -1)
  return one_to_one(
    lambda array, shape: np.moveaxis(array, (1, 0), last).squeeze(front),
    lambda array: np.moveaxis(np.expand_dims(array, front), last, (1, 0)),
  )


def repeat_over_frames(kernel: np.ndarray, frames: int) -> np.ndarray:
  """Copies an image's kernel [...] to [frames, ...], keeping its sum.

  Every frame gets the kernel divided by the number of frames, so that a clip
  which repeats one frame has the image's answer.
  """
  return np.repeat(kernel[None] / np.float32(frames), frames, axis=0)


def inflated_convolution() -> Layout:
  """torch's image kernel [out, in, h, w] to our [T, h, w, in, out].

  See `repeat_over_frames`. Without a T axis of ours the kernel stays as it is.
  Saving adds up the frames.
  """
  image = convolution()

  def load(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    (kernel,) = image.load((array,), (shape,))
    is_image = len(shape) == kernel.ndim
    return kernel if is_image else repeat_over_frames(kernel, shape[0])

  def save(array: np.ndarray) -> np.ndarray:
    return image.save((array.sum(0) if array.ndim == 5 else array,))[0]

  return one_to_one(load, save)


def table() -> Layout:
  """torch's position table [1, T, D] to our [T, D]."""
  return one_to_one(lambda array, shape: array[0], lambda array: array[None])


def class_and_grid(tokens: int = 1) -> Layout:
  """One table [1, tokens + H W, D] to rows [D] and a grid [H, W, D]."""

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    rows = arrays[0][0]
    return *rows[:tokens], rows[tokens:].reshape(shapes[-1])

  def save(arrays: Arrays) -> Arrays:
    D = arrays[0].shape[-1]
    return (np.concatenate([x.reshape(-1, D) for x in arrays])[None],)

  return Layout(load, save)


def stacked(part: Layout, axis: int) -> Layout:
  """Several tensors of a file, each a `part`, stacked along an axis of ours."""

  def load(arrays: Arrays, shapes: Shapes) -> Arrays:
    shape = (*shapes[0][:axis], *shapes[0][axis + 1 :])
    parts = [part.load((array,), (shape,))[0] for array in arrays]
    return (np.stack(parts, axis),)

  def save(arrays: Arrays) -> Arrays:
    parts = np.moveaxis(arrays[0], axis, 0)
    return tuple(part.save((array,))[0] for array in parts)

  return Layout(load, save)


# --- Rules of the layers that every release is made of: torch's name, our path


def norm(key: str, path: str) -> Rules:
  """The rules of a normalisation: weight and bias to scale and bias."""
  return (
    rule(f'{key}.weight', f'{path}/scale', vector()),
    rule(f'{key}.bias', f'{path}/bias', vector()),
  )


def batch_norm(key: str, path: str) -> Rules:
  """The rules of a batch norm and its statistics."""
  why = 'a count of batches: nothing reads it while the momentum is fixed'
  return (
    *norm(key, path),
    rule(f'{key}.running_mean', f'{STATS}{path}/mean', vector()),
    rule(f'{key}.running_var', f'{STATS}{path}/var', vector()),
    drop(f'{key}.num_batches_tracked', why),
  )


def dense(key: str, path: str, inputs: int = 1) -> Rules:
  """The rules of a linear layer; `inputs` as in `linear`."""
  return (
    rule(f'{key}.weight', f'{path}/kernel', linear(inputs)),
    rule(f'{key}.bias', f'{path}/bias', vector()),
  )


def conv(key: str, path: str, kernel: Layout | None = None) -> Rules:
  """The rules of a convolution with a bias; `kernel` is `convolution()`."""
  return (
    rule(f'{key}.weight', f'{path}/kernel', kernel or convolution()),
    rule(f'{key}.bias', f'{path}/bias', vector()),
  )


def attention(
  key: str, path: str, *, qkv: str = 'qkv', out: str = 'proj'
) -> Rules:
  """The rules of attention; our qkv kernel is [D, 3, A, d].

  The rows of the file's are queries, keys and values, each head after head.
  """
  return (
    *dense(f'{key}.{qkv}', f'{path}/qkv'),
    *dense(f'{key}.{out}', f'{path}/out', inputs=2),
  )


def attention_block(key: str, path: str, attn: Rules | None = None) -> Rules:
  """The rules of a pre-norm block by timm's names; `attn` is `attention`."""
  return (
    *norm(f'{key}.norm1', f'{path}/attn_norm'),
    *(attn or attention(f'{key}.attn', f'{path}/attn')),
    *norm(f'{key}.norm2', f'{path}/mlp_norm'),
    *dense(f'{key}.mlp.fc1', f'{path}/mlp/up'),
    *dense(f'{key}.mlp.fc2', f'{path}/mlp/down'),
  )
