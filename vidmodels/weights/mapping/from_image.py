"""What all starts from an image model share: checks, and the copy from a ViT.

`load_weights` reads the image model's file. The video families' own files say
where its weights go; `start_from_vit` does all of that for families that are an
image ViT with more layers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from vidmodels.models import vit
from vidmodels.typing import InputError
from vidmodels.weights.mapping.apply import (
  KeyReport,
  flatten_variables,
  unflatten_variables,
  variable_shapes,
)

# Fields that a video model built on an image ViT's blocks shares with it.
VIT_FIELDS = ('layers', 'width', 'heads', 'mlp_ratio', 'patch', 'qkv_bias')
LEFT_OUT = 'of the image model, and of no use to a video model'
NOT_IN_IMAGE = 'an image model has none, or has other classes'
IN_CLASS_TOKEN = 'zeros: the image model has it in its class token'
VIDEO_CLASSES = 'the classes of the videos are new'
IMAGE_CLASSES = 'the classes of images'


def check_same_fields(
  image: nn.Module, model: nn.Module, names: Sequence[str]
) -> None:
  """Refuses an image and a video model that differ in one of these fields."""
  for name in names:
    theirs, ours = getattr(image, name), getattr(model, name)
    if theirs != ours:
      raise InputError(
        f'got {name}={ours} for the video model; expected that of the image '
        f'model, {name}={theirs}; try {name}={theirs}'
      )


def check_starts_at_image(model: Any, where: str) -> None:
  """Refuses a video model whose new parameters would not start at zero."""
  if model.fresh != 'image':
    raise InputError(
      f"got fresh={model.fresh!r} with an image model's weights, which noise "
      f"in {where} would drown; expected zeros there; try fresh='image'"
    )


def start_from_vit(
  variables: Mapping[str, Any],
  image: vit.Model,
  model: Any,
  video: tuple[int, ...],
  report: KeyReport,
  *,
  source: Callable[[str], str] = lambda path: path,
) -> dict[str, Any]:
  """Copies all that an image ViT has of a video model that is built on one.

  The heads, and whatever no path of the image model starts, keep their initial
  values. Tables keep the image's grid. `source` gives the image model's path
  for one of the video model, by default the same. For other arguments and
  results see `identify.ImageSource`.
  """
  check_same_fields(image, model, VIT_FIELDS)
  theirs, ours = flatten_variables(variables), {}
  for path in flatten_variables(variable_shapes(model, video)):
    if path == 'class_pos' and not image.class_position:
      ours[path] = np.zeros(model.width, np.float32)
      report.changed[path] = IN_CLASS_TOKEN
    elif source(path) in theirs and not path.startswith('head'):
      ours[path] = theirs[source(path)]
    else:
      report.random[path] = NOT_IN_IMAGE
  for path in sorted(set(theirs) - set(map(source, ours))):
    report.dropped[path] = LEFT_OUT
  return unflatten_variables(ours)
