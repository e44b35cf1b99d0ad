"""A weight file into a model: what it is, what fits, what stays random.

The model is the recipe's, the weights the file's. A file of the same family
fills all of it; a file of an image model that the family can start from fills
what images have. Position tables are resized to the clip of the recipe.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels import models
from vidmodels.config import Config
from vidmodels.nn import position
from vidmodels.typing import InputError
from vidmodels.weights import choosing
from vidmodels.weights.formats import hub_config
from vidmodels.weights.formats.open_file import File, open_file
from vidmodels.weights.mapping import identify, layers
from vidmodels.weights.mapping.apply import Books
from vidmodels.weights.mapping.identify import Found, Pixels
from vidmodels.weights.mapping.rules import Rule, drop

# 'auto': kept if the file's head has as many answers as the model's.
Head = Literal['auto', 'keep', 'new']
Shape = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
  """What a file gives a model.

  Attributes:
    file: that was read.
    found: its naming and what it says of its own model.
    family: of the model that is filled.
    model: the model.
    variables: from the file, float32, without those that stay random.
    target: all variables of the model, as shapes.
    books: what became of every key and every parameter.
    notes: what the user should know, a sentence each.
    video: shape (T, H, W, C) of the clip that `target` is for.
    labels: what the answers mean, where the head is the file's and its classes
      are named beside it.
    pixels: how frames were scaled that the file was trained on; None if
      nothing says it.
    trained: 'activation' and 'epsilon' of the model that the file is for, as
      far as they are known.
  """

  file: File
  found: Found
  family: str
  model: nn.Module
  variables: Mapping[str, Any]
  target: Mapping[str, Any]
  books: Books
  notes: tuple[str, ...]
  video: Shape
  labels: tuple[str, ...]
  pixels: Pixels | None
  trained: Mapping[str, Any]

  def complete(self, key: jax.Array) -> dict[str, Any]:
    """All variables: the file's, and the rest drawn as a fresh model's are."""
    ours, whole = layers.flat(self.variables), layers.flat(self.target)
    missing = [path for path in whole if path not in ours]
    if missing:
      video = jnp.zeros((1, *self.video), jnp.float32)
      # Only what is missing is kept; the compiler drops the rest.
      draw = jax.jit(
        lambda key: {
          path: leaf
          for path, leaf in layers.flat(
            dict(self.model.init(key, video))
          ).items()
          if path in missing
        }
      )
      ours |= {path: np.asarray(leaf) for path, leaf in draw(key).items()}
    return layers.unflat({path: ours[path] for path in whole})


def read(path: str | pathlib.Path, family: str, **options: Any) -> Imported:
  """Opens a file and takes its weights; `options` are those of `take`."""
  return take(open_file(path), family, **options)


def for_recipe(
  config: Config, path: str | pathlib.Path, **options: Any
) -> Imported:
  """A file's weights in a recipe's model, for the recipe's clip."""
  clip = (config.clip.frames, config.clip.size, config.clip.size)
  given = {'model': config.model, 'clip': clip, 'dtype': config.dtype}
  return read(path, config.family, **{**given, **options})


def take(
  file: File,
  family: str,
  *,
  model: Mapping[str, Any] | None = None,
  classes: int | None = None,
  clip: tuple[int, int, int] | None = None,
  head: Head = 'auto',
  positions: str = '',
  dtype: str = 'float32',
) -> Imported:
  """Takes an opened file's weights into a model of a family.

  Args:
    file: that was opened.
    family: of the model.
    model: its fields; by default what the file says, where it is of the same
      family, and the family's defaults where it is of an image model.
    classes: answers of its head; by default the file's.
    clip: frames, height and width that the model is to be used with; by
      default those the file is for. It tells the grid of a table of places
      that is no square.
    head: whether the layer that answers the classes is taken. That of an image
      model never is.
    positions: the method of nn/position by which position tables are resized
      to `clip`; by default the model's own, which changes no answer: the
      model would do the same at every call.
    dtype: of the model's computation.

  Raises:
    InputError: if the file is none, is of another family, does not fit, or
      leaves anything on either side without a reason.
  """
  if positions:
    position.sources(1, 1, positions)  # refuses a name that it does not know
  found = choosing.choose(file, family, model, clip)
  guess, told = found.guess, choosing.told(file, found)
  K = guess.classes if classes is None else classes
  made = _model(found, told, family, model, classes=K or 1, dtype=dtype)
  video, books = (*(clip or guess.clip[:3]), guess.clip[3]), Books()
  fill = functools.partial(_from_image, identify.sources(family))
  if found.naming.family == family:
    fill = _same
  made, variables, new = fill(file, found, made, video, head, books)
  found.unwrapped.in_file(books)
  target = layers.shapes(made, video)
  lead = functools.partial(identify.lead, family, made)
  method = positions or getattr(made, 'pos_resize', 'bilinear')
  variables = _resized(variables, target, method, lead, books)
  trained = {**found.naming.trained, **told.trained}
  n = len(told.labels)
  notes = hub_config.differences(trained, made, n, guess.classes)
  return Imported(
    file=file,
    found=found,
    family=family,
    model=made,
    variables=jax.tree.map(lambda x: np.asarray(x, np.float32), variables),
    target=target,
    books=books,
    notes=(*file.notes, *guess.notes, *notes),
    video=video,
    labels=told.labels if not new and n == guess.classes else (),
    pixels=choosing.pixels(found, told),
    trained=trained,
  )


def _model(found: Found, told: hub_config.Told, family: str, model, **more):
  """The model that is filled: the caller's fields, or what the file says."""
  if model is None:
    own = models.fields(family)
    beside = {k: v for k, v in told.trained.items() if k in own}
    same = found.naming.family == family
    model = {**found.guess.model, **beside} if same else {}
  return models.build(family, **more, **model)


def _new_head(theirs: int, ours: int, head: Head, file: File) -> str:
  """Why the file's head is not taken; '' if it is."""
  if head == 'keep' and theirs != ours:
    raise InputError(
      f'the head of {file.path} has {theirs} answers and the model {ours}; '
      'use a data set of its classes, or a new head'
    )
  if head == 'new':
    return 'a new head was asked for'
  if not theirs:
    return 'the file has none'
  return '' if theirs == ours else f'the file has {theirs} classes, not {ours}'


def _same(file: File, found: Found, model, video: Shape, head: Head, books):
  """From a file of the model's own family.

  Returns:
    The model (a field may follow the file's tables), its variables, and why
    the file's head is not taken; '' if it is.
  """
  guess, family = found.guess, found.naming.family
  new, random = _new_head(guess.classes, model.classes, head, file), []
  model = found.naming.adapt(model, guess)
  rules = found.naming.rules(model)
  if new:
    ours = identify.head(family)
    rules = [_without_head(rule, ours, new) for rule in rules]
    random = [(ours, new)]
  variables = layers.load(
    rules,
    found.unwrapped.tensors,
    model,
    video=video if found.naming.made_for(guess, video) else guess.clip,
    random=random,
    books=books,
  )
  return model, variables, new


def _without_head(rule: Rule, head: str, why: str) -> Rule:
  """The rule, or one that drops its keys if they are the head's."""
  if rule.paths and re.search(head, rule.paths[0]):
    return drop(rule.keys[0], why)
  return rule


def _from_image(
  sources, file: File, found: Found, model, video: Shape, head: Head, books
):
  """From the file of one of `sources`; returns what `_same` does."""
  if head == 'keep':
    raise InputError(
      f'head=keep came and {file.path} is an image {found.naming.family}, '
      'whose classes are not those of videos; leave it out'
    )
  image = found.naming.family
  guess = found.guess
  # What shapes do not tell of the image model is as in the video model.
  fields = {
    name: getattr(model, name, value) if name in guess.assumed else value
    for name, value in guess.model.items()
  }
  theirs = models.build(image, classes=guess.classes or 1, **fields)
  whole = Books()
  variables = layers.load(
    found.naming.rules(theirs),
    found.unwrapped.tensors,
    theirs,
    video=guess.clip,
    random=[] if guess.classes else [(identify.head(image), 'not in the file')],
    books=whole,
  )
  start = sources[image]
  entered = Books()
  made = start(variables, theirs, model, video, entered)
  books.dropped.update(whole.dropped)
  for key, paths in whole.used.items():
    # The video model has no use for some of what the image model took.
    why = [entered.dropped.get(path) for path in paths]
    if all(why):
      books.dropped[key] = why[0]
    else:
      books.used[key] = paths
  books.random.update(entered.random)
  books.changed.update(entered.changed)
  return model, made, 'the classes of images'


def _resized(variables, target, method: str, lead, books: Books):
  """Variables with every position table in the size that the model has."""
  wanted, ours = layers.flat(target), layers.flat(variables)
  for path, array in ours.items():
    shape = wanted[path].shape
    if array.shape == shape:
      continue
    if not path.endswith('/table') or len(array.shape) != len(shape):
      raise InputError(
        f'{path} of the file has shape {list(array.shape)} and the model '
        f'{list(shape)}; only tables of positions are resized'
      )
    ours[path] = np.asarray(_fit(array, shape, method, lead(path)))
    books.changed[path] = (
      f'{list(array.shape)} resized to {list(shape)} by {method}'
    )
  return layers.unflat(ours)


def _fit(array: np.ndarray, shape: tuple[int, ...], method: str, lead):
  """One table in another size; `lead` rows of each axis stay as they are."""
  table = jnp.asarray(array, jnp.float32)
  if len(shape) == 3 and not lead:
    return position.fit_grid(table, *shape[:2], method)
  lead = lead or (0,) * (len(shape) - 1)
  sizes = tuple(n - first for n, first in zip(shape, lead, strict=False))
  return position.fit_axes(table, sizes, method, lead)
