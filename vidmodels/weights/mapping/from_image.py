"""What starts from an image model have in common: the sizes that must agree.

Between `importing`, which reads the image model's file, and the video families'
own files, which say where its weights go; and the whole of that for families
that are an image ViT and more.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from vidmodels.models import vit
from vidmodels.typing import InputError
from vidmodels.weights.mapping import layers
from vidmodels.weights.mapping.apply import Books

# Fields that a video model of an image ViT's blocks has of it.
VIT = ('layers', 'width', 'heads', 'mlp_ratio', 'patch', 'qkv_bias')
LEFT_OUT = 'of the image model, and of no use to a video model'
NOT_THERE = 'an image model has none, or has other classes'
IN_TOKEN = 'zeros: the image model has it in its class token'


def agree(image: nn.Module, model: nn.Module, names: Sequence[str]) -> None:
  """Refuses models that differ in one of these fields.

  Raises:
    InputError: for the first field that does.
  """
  for name in names:
    theirs, ours = getattr(image, name), getattr(model, name)
    if theirs != ours:
      raise InputError(
        f'the image model has {name}={theirs} and the video model {ours}; set '
        f'{name}={theirs}'
      )


def starts_at_image(model: nn.Module, where: str) -> None:
  """Refuses a model whose new parameters would not start at zero.

  Raises:
    InputError: that calls those parameters `where`.
  """
  if model.fresh != 'image':
    raise InputError(
      f"fresh={model.fresh!r} came with an image model's weights, which noise "
      f"in {where} would drown; set fresh='image'"
    )


def from_vit(
  variables: Mapping[str, Any],
  image: vit.Model,
  model: nn.Module,
  video: tuple[int, ...],
  books: Books,
  *,
  source: Callable[[str], str] = lambda path: path,
) -> dict[str, Any]:
  """Everything that an image ViT has of a video model that is built on one.

  Args:
    variables: of the image model.
    image: the image model.
    model: the video model, with the ViT's names but for what `source` says.
    video: shape (T, H, W, C) of the clips that it is for.
    books: takes what stays random, and what of the image model is left out.
    source: from a path of the video model to the image model's path of what
      starts it.

  Returns:
    Variables of `model` but for the heads and what no path of the image model
    starts, which stay as they were drawn. Tables keep the image's grid.

  Raises:
    InputError: if the sizes of the two differ.
  """
  agree(image, model, VIT)
  given, made = layers.flat(variables), {}
  for path in layers.flat(layers.shapes(model, video)):
    if path == 'class_pos' and not image.class_position:
      made[path] = np.zeros(model.width, np.float32)
      books.changed[path] = IN_TOKEN
    elif source(path) in given and not path.startswith('head'):
      made[path] = given[source(path)]
    else:
      books.random[path] = NOT_THERE
  for path in sorted(set(given) - set(map(source, made))):
    books.dropped[path] = LEFT_OUT
  return layers.unflat(made)
