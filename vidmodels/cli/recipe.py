"""Finds a recipe, runs it, applies the command line's overrides.

`--config=PATH[:ARG]` or `--config=NAME[:ARG]`: a path wins; a bare name is
looked up among the recipes that come with the package. ARG goes to the
recipe's `get_config`, as with ml_collections.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.typing import InputError

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
  """The recipe file that `name` means.

  Raises:
    InputError: if there is no such file; lists the recipes there are.
  """
  for path in (pathlib.Path(name), FOLDER / f'{name}.py'):
    if path.is_file():
      return path
  raise InputError(
    f'no recipe {name!r}: neither a file nor one of {", ".join(names())}'
  )


def load(where: str, overrides: Sequence[str] = ()) -> cfg.Config:
  """Runs a recipe and checks it, its model section too.

  Args:
    where: 'configs/timesformer.py:base', or 'timesformer:base'.
    overrides: '--config.batch=64' and the like.

  Raises:
    InputError: for an unknown recipe, field or value, with the nearest name.
  """
  name, colon, arg = where.partition(':')
  flag = f'--config={find(name)}{colon}{arg}'
  known = _paths(_run(where, [flag]).to_dict())
  for override in overrides:
    field = override.partition('=')[0].removeprefix('--config.')
    if field not in known:
      raise InputError(cfg.unknown(field, known))
  config = cfg.check(_run(where, [flag, *overrides]))
  models.build(config.family, classes=1, **config.model)
  return config


def _run(where: str, argv: Sequence[str]):
  """The recipe's ConfigDict with the overrides that absl's flags parse."""
  from absl import flags
  from ml_collections import config_flags

  argv, values = ['vidmodels', *argv], flags.FlagValues()
  config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=argv)
  try:
    values(argv)
  except (KeyError, AttributeError, TypeError, ValueError, flags.Error) as e:
    raise InputError(f'{" ".join(argv[1:])}: {_innermost(e)}') from e
  return values.config


def _innermost(error: BaseException) -> str:
  """The message of the first cause: what the recipe itself tripped over."""
  while (cause := error.__cause__ or error.__context__) is not None:
    error = cause
  return ' '.join(str(error).strip('\'"').split())


def _paths(tree: Mapping[str, Any], prefix: str = '') -> list[str]:
  """Every field as 'section.field'."""
  found = []
  for name, value in tree.items():
    if isinstance(value, Mapping):
      found += _paths(value, f'{prefix}{name}.')
    else:
      found.append(prefix + name)
  return found
