"""Weight files: published checkpoints to our parameters, and back.

  model, variables = vidmodels.weights.load('timesformer', 'TimeSformer.pyth')

`load_weights` fills a model from a file, `export` writes a model's weights
under the authors' key names, and `diff` compares files and models.
`<family>_weights.py` says what the authors call each tensor, how their files
are recognised, and how a model starts from an image model. `formats/` reads
files, and `mapping/` is the code that all families share.
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
  """Loads a weight file as a model with its variables.

  Args:
    family_or_config: name of a family, whose fields are then read from the
      file; or a recipe (`vidmodels.config.Config`), which defines the model and
      the clip.
    path: of a .pth, .npz or .safetensors; no code in it is run.
    **options: those of `load_weights.load_file` (classes, head, clip, ...), and
      `seed`, for parameters that the file does not fill.

  Returns:
    The module and all its variables, float32. Parameters that the file does not
    fill get initial values. A `UserWarning` names them, and another the fields
    of the model that nothing tells. `load_weights.load_path` returns a report
    of every key instead.
  """
  import jax

  from vidmodels.weights import load_weights

  seed = options.pop('seed', 0)
  if isinstance(family_or_config, str):
    imported = load_weights.load_path(path, family_or_config, **options)
  else:
    imported = load_weights.load_for_recipe(family_or_config, path, **options)
  if imported.assumed:
    fields = ', '.join(f'{k}={v!r}' for k, v in imported.assumed.items())
    warnings.warn(
      f'no tensor of {path} tells these, they were taken to be: {fields}',
      stacklevel=2,
    )
  if names := list(imported.report.random):
    warnings.warn(
      f'{path} does not fill {", ".join(names[:6])}'
      f'{f" and {len(names) - 6} more" if len(names) > 6 else ""}: random',
      stacklevel=2,
    )
  return imported.model, imported.complete(jax.random.key(seed))
