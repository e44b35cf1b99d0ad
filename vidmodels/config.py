"""Recipes: from a ConfigDict to the checked `Config` that all else takes.

A recipe file starts from `skeleton(family=...)`, a locked ConfigDict with every
field of `fields.py`, and changes what its paper says. `check` turns it into the
frozen `Config`, or says which field is wrong.
"""

import dataclasses
import difflib
import importlib
import json
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from vidmodels.fields import (
  Augment,
  Checkpoint,
  Clip,
  Data,
  Log,
  Loss,
  Mesh,
  Mix,
  Optim,
  Views,
  plugins,
)
from vidmodels.typing import InputError, Positive, Seed, typed

__all__ = [
  'Augment',
  'Checkpoint',
  'Clip',
  'Config',
  'Data',
  'Log',
  'Loss',
  'Mesh',
  'Mix',
  'Optim',
  'Views',
  'as_dict',
  'check',
  'flat',
  'of_data_set',
  'skeleton',
  'unknown',
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """A whole recipe, checked."""

  family: str
  model: dict[str, Any]  # the fields of the family's module
  init_from: str = ''  # weight file that a new run starts from
  # Whether it gives the classifier too: if it has as many classes, if it must.
  init_head: Literal['auto', 'keep', 'new'] = 'auto'
  init_positions: str = ''  # how its tables are resized; the model's own way
  data: Data = Data()
  clip: Clip = Clip()
  augment: Augment = Augment()
  views: Views = Views()
  optim: Optim = Optim()
  loss: Loss = Loss()
  mix: Mix = Mix()
  mesh: Mesh = Mesh()
  checkpoint: Checkpoint = Checkpoint()
  log: Log = Log()
  batch: Positive = 64  # clips a step, over all devices
  accumulate: Positive = 1  # microbatches a step
  dtype: Literal['float32', 'bfloat16'] = 'bfloat16'  # of the computation
  seed: Seed = 0

  def check(self) -> None:
    """Refuses sections that contradict each other.

    Raises:
      InputError: names the fields, their values and what was expected.
    """
    clip, batch = self.clip, self.batch
    plugins('data.sampling.rules').check(clip, self.views.temporal)
    plugins('data.augment').check(self.augment, clip.size)
    if not self.init_from and (self.init_head != 'auto' or self.init_positions):
      raise InputError(
        f'got init_head={self.init_head!r} and init_positions='
        f'{self.init_positions!r} without init_from; expected a file that they '
        'are about; try --config.init_from=FILE, or leave both at their '
        'defaults'
      )
    if batch % self.accumulate:
      raise InputError(
        f'got batch {batch}, which does not divide into accumulate='
        f'{self.accumulate} equal microbatches; expected a multiple of it'
      )
    if batch % self.augment.repeats:
      raise InputError(
        f'got batch {batch}, which does not divide into examples of '
        f'augment.repeats={self.augment.repeats} clips each; expected a '
        'multiple of it'
      )
    if batch == 1 and (self.mix.mixup or self.mix.cutmix):
      raise InputError(
        f'got batch 1 with mix.mixup={self.mix.mixup} and mix.cutmix='
        f'{self.mix.cutmix}: a clip has no other to be mixed with; expected a '
        'batch of at least 2; try 0 for both alphas to mix nothing'
      )
    if self.views.short_side and self.views.short_side < clip.size:
      raise InputError(
        f'got views.short_side={self.views.short_side}, which is under the '
        f'crop of {clip.size} pixels; expected at least that; try 0 for the '
        'crop itself'
      )


def skeleton(family: str, **model: Any):
  """Every field of a recipe at its default, locked and typed.

  Args:
    family: name of a model file, e.g. 'timesformer'.
    **model: fields of that family's module; the others keep its defaults.

  Returns:
    A locked ml_collections.ConfigDict; a misspelt field fails on its own line.

  Raises:
    InputError: for an unknown family or model field, with the nearest name.
  """
  import ml_collections  # here, so that models and steps import without it

  # The one look upwards: families are found by file name, as plugins are.
  fields = importlib.import_module('vidmodels.models').fields(family)
  for name in model:
    if name not in fields:
      raise InputError(unknown(f'model.{name}', [f'model.{f}' for f in fields]))
  tree = dataclasses.asdict(Config(family=family, model={**fields, **model}))
  return ml_collections.ConfigDict(tree).lock()


def of_data_set(name: str) -> dict[str, str]:
  """The fields of `data` that say where a data set's records are.

  Args:
    name: as `vidmodels prepare` knows it, e.g. 'k400'.

  Returns:
    `records/NAME`, its training split, and the one that papers report on.

  Raises:
    InputError: for a data set that nobody added, with the nearest name.
  """
  dataset = plugins('data.datasets.registry').find(name)
  test = dataset.reported_split
  return {'dir': f'records/{name}', 'train': 'train', 'test': test}


def unknown(name: str, known: Sequence[str]) -> str:
  """The message for a field that does not exist, with the nearest that does."""
  near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
  sections = sorted({k.partition('.')[0] for k in known})
  hint = (
    f'did you mean {near[0]!r}?'
    if near
    else f'known: {", ".join(sections if len(known) > 20 else known)}'
  )
  return f'the recipe has no field {name!r}; {hint}'


def check(recipe: Mapping[str, Any]) -> Config:
  """Turns a recipe into a `Config`, naming the first field that is wrong.

  Args:
    recipe: a ConfigDict, or the nested dict that `as_dict` made of a Config.

  Raises:
    InputError: for an unknown, missing or mistyped field, a value out of its
      range, or fields that contradict each other.
  """
  tree = recipe.to_dict() if hasattr(recipe, 'to_dict') else dict(recipe)
  if 'family' not in tree or 'model' not in tree:
    raise InputError('a recipe needs family and model; start from skeleton()')
  config = _fill(Config, tree, path='')
  config.check()
  return config


def as_dict(config: Config) -> dict[str, Any]:
  """The nested dict of plain values that `check` takes back."""
  return json.loads(json.dumps(dataclasses.asdict(config)))


def flat(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Nested dicts as {'section.field': value}."""
  found = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      found |= flat(value, f'{prefix}{name}.')
    else:
      found[prefix + name] = value
  return found


def _fill(cls: type, tree: Mapping[str, Any], *, path: str):
  """Builds dataclass `cls` from `tree`, checking names, types and ranges."""
  if not isinstance(tree, Mapping):
    raise InputError(f'{path} is {tree!r}; wanted the fields of a section')
  hints = typing.get_type_hints(cls, include_extras=True)
  prefix = f'{path}.' if path else ''
  for name in tree:
    if name not in hints:
      raise InputError(unknown(prefix + name, [prefix + h for h in hints]))
  values = {}
  for name, value in tree.items():
    hint = hints[name]
    if dataclasses.is_dataclass(hint):
      values[name] = _fill(hint, value, path=prefix + name)
    else:
      values[name] = typed(value, hint, path=prefix + name)
  section = cls(**values)
  if path and hasattr(section, 'check'):
    section.check()
  return section
