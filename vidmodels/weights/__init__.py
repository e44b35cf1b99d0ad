"""Weights from elsewhere into our parameters, with nothing left over.

  model, variables = vidmodels.weights.load('timesformer', 'TimeSformer.pyth')

`rules` is the engine, which knows no model; one file a family says what the
authors call each tensor and how it lies; `known/` how such a file is
recognised; `importing` puts it into a model, and `exporting` back.
"""

import pathlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing the package stays cheap
  from flax import linen as nn

  from vidmodels.config import Config


def load(
  family_or_config: 'str | Config', path: str | pathlib.Path, **options: Any
) -> 'tuple[nn.Module, dict[str, Any]]':
  """A weight file as a model with its variables.

  Args:
    family_or_config: name of a family, whose fields are then those that the
      file tells; or a recipe (`vidmodels.config.Config`), for whose model and
      clip the file is taken.
    path: of a .pth, .npz or .safetensors; no code in it is run.
    **options: those of `importing.take` (classes, head, clip, ...), and `seed`
      of what the file does not fill.

  Returns:
    The module and all its variables, float32. What the file does not fill is
    drawn as a fresh model's, and a `UserWarning` names it; `importing.read`
    gives the books of what became of every key instead.

  Raises:
    InputError: if the file is none, or does not fit.
  """
  import jax

  from vidmodels.weights import load_weights

  seed = options.pop('seed', 0)
  if isinstance(family_or_config, str):
    made = load_weights.read(path, family_or_config, **options)
  else:
    made = load_weights.for_recipe(family_or_config, path, **options)
  if made.books.random:
    names = list(made.books.random)
    warnings.warn(
      f'{path} does not fill {", ".join(names[:6])}'
      f'{f" and {len(names) - 6} more" if len(names) > 6 else ""}: random',
      stacklevel=2,
    )
  return made.model, made.complete(jax.random.key(seed))
