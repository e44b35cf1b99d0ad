"""Finds a recipe, runs it, applies the command line's overrides.

  config = recipe.load('timesformer:long,ssv2', ['--config.batch=32'])

`--config=PATH[:ARG]` or `--config=NAME[:ARG]`: a path wins; a bare name is
looked up among the recipes that come with the package. ARG goes to the
recipe's `get_config`, as with ml_collections.
"""

import contextlib
import importlib.util
import pathlib
import traceback
import types
from collections.abc import Iterator, Sequence
from typing import Any

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.typing import InputError, expected_one_of, local_path

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
# In a wheel recipes lie inside the package, in a checkout beside it; not both:
# a `configs` beside an installed package would be somebody else's.
_INSIDE = PACKAGE / 'recipes'
FOLDER = _INSIDE if _INSIDE.is_dir() else PACKAGE.parent / 'configs'


def names() -> list[str]:
  """Recipes that come with the package."""
  stems = (path.stem for path in FOLDER.glob('*.py'))
  return sorted(stem for stem in stems if stem != '__init__')


def find(name: str) -> pathlib.Path:
  """The recipe file that `name` means."""
  for path in (pathlib.Path(local_path(name)), FOLDER / f'{name}.py'):
    if path.is_file():
      return path
  here = pathlib.Path(f'{name}.py')
  hint = f', or {here}' if here.is_file() else ''
  raise InputError(
    f'got {name!r} for the recipe, which is no file; '
    f'{expected_one_of(name, names())}{hint}'
  )


def published(name: str) -> list[str]:
  """The variants that a recipe lists as PUBLISHED, as 'name:arg'."""
  args = getattr(_import_recipe(find(name)), 'PUBLISHED', ('',))
  return [f'{name}:{arg}' if arg else name for arg in args]


def load(where: str, overrides: Sequence[str] = ()) -> cfg.Config:
  """Runs a recipe and checks it, its model section too.

  `where` is 'configs/timesformer.py:base', or 'timesformer:base'; overrides are
  '--config.batch=64' and the like.
  """
  name, colon, arg = where.partition(':')
  recipe = _run(find(name), [arg] if colon else [])
  for override in overrides:
    _apply(recipe, override)
  config = cfg.check(recipe)
  models.build(config.family, classes=1, **config.model)
  return config


def _import_recipe(path: pathlib.Path) -> types.ModuleType:
  """Imports the file as a module."""
  spec = importlib.util.spec_from_file_location('vidmodels_recipe', path)
  if spec is None or spec.loader is None:
    raise InputError(
      f'got {path}, which is no Python file; expected a recipe, NAME.py'
    )
  module = importlib.util.module_from_spec(spec)
  with _errors_name_the_recipe(path):
    spec.loader.exec_module(module)
  return module


def _run(path: pathlib.Path, args: list[str]) -> Any:
  """Calls the file's get_config; returns its ConfigDict."""
  from ml_collections import ConfigDict

  module = _import_recipe(path)
  with _errors_name_the_recipe(path):
    recipe = module.get_config(*args)
  if not isinstance(recipe, ConfigDict):
    raise InputError(
      f'got {type(recipe).__name__} from get_config of {path}; expected the '
      'ConfigDict that config.skeleton() starts; try `return c` at its end'
    )
  return recipe


@contextlib.contextmanager
def _errors_name_the_recipe(path: pathlib.Path) -> Iterator[None]:
  """Turns whatever a recipe raises into an InputError that names it."""
  try:
    yield
  except InputError as error:
    raise InputError(f'recipe {path}: {error}') from error
  except Exception as error:  # a user's file may raise anything
    raise InputError(_locate(path, error)) from error


def _locate(path: pathlib.Path, error: Exception) -> str:
  """An error inside a recipe: file, line, kind and message."""
  frames = traceback.extract_tb(error.__traceback__)
  lines = [f.lineno for f in frames if f.filename == str(path)]
  if isinstance(error, SyntaxError):
    lines = [error.lineno]
  line = f' line {lines[-1]}' if lines else ''
  message = ' '.join(str(error).split())
  return f'recipe {path}{line}: {type(error).__name__}: {message}'


def _apply(recipe: Any, override: str) -> None:
  """Sets one field, parsed by absl's flags according to its type."""
  from absl import flags
  from ml_collections import config_flags

  field = override.removeprefix('--config.').partition('=')[0]
  fields = cfg.flatten(recipe.to_dict())
  if field not in fields:
    sections = sorted({f.partition('.')[0] for f in fields})
    if field in sections:
      inside = [f for f in fields if f.startswith(f'{field}.')]
      raise InputError(
        f'got {override}, but {field} is a section; expected one of its '
        f'fields; try {", ".join(inside)}'
      )
    near = [f for f in fields if f.split('.')[0] == field.split('.')[0]]
    raise InputError(cfg.unknown_field(field, near or list(fields)))
  kind = type(fields[field]).__name__
  argv, values = ['vidmodels', override], flags.FlagValues()
  config_flags.DEFINE_config_dict(
    'config', recipe, flag_values=values, sys_argv=argv
  )
  try:
    values(argv)
  except (TypeError, ValueError, flags.Error) as error:
    raise InputError(
      f'got {override}; expected --config.{field}= and a {kind}, such as '
      f'{fields[field]!r}, which it is now'
    ) from error
