"""Finds a recipe, runs it, and applies the command line's overrides.

  config = recipe.load('timesformer:long,ssv2', ['--config.batch=32'])

`--config=PATH[:ARG]` or `--config=NAME[:ARG]`: a path wins; a bare name is
looked up among the recipes that come with the package. ARG goes to the
recipe's `get_config`, as with ml_collections.
"""

import contextlib
import dataclasses
import importlib.util
import pathlib
import re
import traceback
import types
from collections.abc import Iterator, Sequence
from typing import Any

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.analysis.paper_rows import Row
from vidmodels.cli.overrides import apply, change
from vidmodels.data.datasets import registry
from vidmodels.typing import InputError, expected_one_of, local_path
from vidmodels.usual_names import next_move

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


def in_both_words(name: str) -> list[str]:
  """The published variants, each as released and as its paper prints it.

  A recipe of a paper names in SOURCES what differs; of others there is one.
  """
  where = published(name)
  if not sources(name):
    return where
  in_paper = [_in_word(each, 'paper') for each in where]
  return list(dict.fromkeys(where + in_paper))


def sources(where: str) -> dict[str, tuple[str, str]]:
  """The fields in which a recipe's two words differ.

  {field: (where the paper says its value, what of the release has the other)};
  empty for a recipe without the words.
  """
  module = _import_recipe(find(where.partition(':')[0]))
  return dict(getattr(module, 'SOURCES', {}))


def word(where: str) -> str:
  """Whose a recipe is: 'released', 'paper', or '' for one without the words."""
  name, _, arg = where.partition(':')
  if not sources(name):
    return ''
  words = {each.strip() for each in arg.split(',')}
  return 'paper' if 'paper' in words else 'released'


def in_other_word(where: str) -> str:
  """The recipe that has the other word, and is else the same."""
  other = 'paper' if word(where) == 'released' else ''
  return _in_word(where, other)


def _in_word(where: str, wanted: str) -> str:
  """A recipe in the word `wanted`; '' is the default."""
  name, _, arg = where.partition(':')
  words = [each.strip() for each in arg.split(',')]
  words = [each for each in words if each and each not in cfg.WORDS]
  words += [wanted] if wanted else []
  return f'{name}:{",".join(words)}' if words else name


def differences(where: str) -> dict[str, tuple[Any, Any]]:
  """Fields that differ in the recipe's other word: {field: (here, there)}."""
  if not word(where):
    return {}
  here, there = (
    cfg.flatten(cfg.as_dict(load(each)))
    for each in (where, in_other_word(where))
  )
  return {k: (here[k], there[k]) for k in here if here[k] != there[k]}


def text(where: str) -> str:
  """What a recipe says of itself."""
  return (_import_recipe(find(where.partition(':')[0])).__doc__ or '').strip()


def dataset(where: str) -> str:
  """The published data set that a recipe is made for; '' if it names none.

  It is that of the recipe itself: overrides say where the records are.
  """
  name, colon, arg = where.partition(':')
  recipe = _run(find(name), [arg] if colon else [])
  _, _, folder = recipe.data.dir.partition('records/')
  return folder if folder in registry.all_datasets() else ''


def load(where: str, overrides: Sequence[str] = ()) -> cfg.Config:
  """Runs a recipe and checks it, its model section too.

  `where` is 'configs/timesformer.py:base', or 'timesformer:base'; overrides are
  '--config.batch=64' and the like.
  """
  name, colon, arg = where.partition(':')
  recipe = _run(find(name), [arg] if colon else [])
  apply(recipe, overrides)
  config = cfg.check(recipe)
  models.build(config.family, classes=1, **config.model)
  return config


def of_row(row: Row) -> cfg.Config:
  """The recipe of a row of a paper's table, with what the row changes in it.

  A row that starts from the weights of a name expects those.
  """
  if not row.recipe:
    raise InputError(
      f'got the row {row.name!r}, which has no recipe; expected one of a model '
      'of ours; try another row'
    )
  name, colon, arg = row.recipe.partition(':')
  recipe = _run(find(name), [arg] if colon else [])
  change(recipe, row.overrides)
  if row.start and ':' not in row.start:
    recipe.init_expects = '' if row.start == 'scratch' else row.start
  config = cfg.check(recipe)
  models.build(config.family, classes=1, **config.model)
  return config


def classes_of(row: Row) -> int:
  """Answers of a row's head: the classes of its data set, if it has no own."""
  if row.classes:
    return row.classes
  name = dataset(row.recipe)
  if not name:
    raise InputError(
      f'got the row {row.name!r}, whose recipe {row.recipe!r} names no data '
      'set; expected the number of its classes; try classes=400 in the row'
    )
  return len(registry.find(name).classes())


def of_run(config: cfg.Config, overrides: Sequence[str] = ()) -> cfg.Config:
  """The recipe of a run, with overrides."""
  from ml_collections import ConfigDict

  recipe = ConfigDict(dataclasses.asdict(config)).lock()
  apply(recipe, overrides)
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


def _every_field() -> dict[str, Any]:
  """Every field of a recipe but those of its model."""
  return dataclasses.asdict(cfg.Config(family='', model={}))


def _locate(path: pathlib.Path, error: Exception) -> str:
  """An error inside a recipe: file, line, kind and message."""
  frames = traceback.extract_tb(error.__traceback__)
  lines = [f.lineno for f in frames if f.filename == str(path)]
  if isinstance(error, SyntaxError):
    lines = [error.lineno]
  line = f' line {lines[-1]}' if lines else ''
  message = ' '.join(str(error).split())
  # ml_collections' own words for a field that does not exist.
  if isinstance(error, (AttributeError, KeyError)) and (
    unknown := re.search(r'Key "(\w+)" does not exist', message)
  ):
    move = next_move(unknown[1], list(cfg.flatten(_every_field())))
    message += f'; {move}' if move else ''
  return f'recipe {path}{line}: {type(error).__name__}: {message}'
