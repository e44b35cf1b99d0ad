"""Recipes: from a ConfigDict to the checked `Config` that the rest takes.

  c = config.skeleton(family='timesformer', attention='joint')
  c.data.update(config.dataset_fields('k400'))
  c.optim.epochs = 15.0
  checked = config.check(c)  # a frozen Config, or an InputError

A recipe file starts from `skeleton`, a locked ConfigDict with every field of
`fields.py`, and changes what its paper says. `check` turns it into the frozen
`Config`, or says which field is wrong.
"""

import dataclasses
import json
import typing
from collections.abc import Collection, Mapping, Sequence
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
from vidmodels.typing import (
  InputError,
  Positive,
  Seed,
  UserPath,
  check_value,
  expected_one_of,
  remat_policy,
)
from vidmodels.usual_names import next_move


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """A whole recipe, checked."""

  family: str
  model: dict[str, Any]  # the fields of the family's module
  # weight file or run that a new run starts from, also in a store
  init_from: UserPath = ''
  # Whether the file also gives the classifier: 'auto' takes it if it has as
  # many classes, 'keep' refuses a file that has not, 'new' never takes it.
  init_head: Literal['auto', 'keep', 'new'] = 'auto'
  # How its position tables are resized; '': the family's own way.
  init_positions: str = ''
  # The weights that the recipe is meant to start from, such as 'imagenet-21k';
  # '' for none. A run without init_from says so, and names init_files.
  init_expects: str = ''
  init_files: str = ''
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
  dtype: Literal['float32', 'bfloat16'] = 'bfloat16'  # the computation's
  seed: Seed = 0

  def check(self) -> None:
    """Refuses sections that contradict each other."""
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
    if self.checkpoint.best and not self.log.validate:
      raise InputError(
        f'got checkpoint.best={self.checkpoint.best} and log.validate=0: '
        f'{self.checkpoint.metric!r} is never measured; expected a validation '
        'now and then; try --config.log.validate=1000'
      )
    size = self.views.size or clip.size
    if self.views.short_side and self.views.short_side < size:
      raise InputError(
        f'got views.short_side={self.views.short_side}, which is under the '
        f'crop of {size} pixels; expected at least that; try 0 for the '
        'crop itself'
      )


def skeleton(family: str, **model: Any) -> Any:
  """A locked ConfigDict with every field of a recipe at its default.

  `model` are fields of the family's module. A misspelt field fails on its own
  line.
  """
  import ml_collections  # here, so that models and steps import without it

  fields = plugins('models').fields(family)
  for name in model:
    if name not in fields:
      raise InputError(
        unknown_field(f'model.{name}', [f'model.{f}' for f in fields])
      )
  tree = dataclasses.asdict(Config(family=family, model={**fields, **model}))

  class ModelSection(ml_collections.ConfigDict):
    """The model's fields; remat may be set to True or False, its old values."""

    def __setattr__(self, key: str, value: Any) -> None:
      value = remat_policy(value) if key == 'remat' else value
      super().__setattr__(key, value)

    def __setitem__(self, key: str, value: Any) -> None:
      value = remat_policy(value) if key == 'remat' else value
      super().__setitem__(key, value)

  tree['model'] = ModelSection(tree['model'])
  return ml_collections.ConfigDict(tree).lock()


def dataset_fields(name: str) -> dict[str, str]:
  """The fields of `data` for a data set of `vidmodels prepare`, e.g. 'k400'.

  `records/NAME`, its training split, and the one that papers report on.
  """
  dataset = plugins('data.datasets.registry').find(name)
  test = dataset.reported_split
  return {'dir': f'records/{name}', 'train': 'train', 'test': test}


# The word of a recipe that says whose it is: what the released code and its
# configurations run, or what the paper prints.
WORDS = ('released', 'paper')


def choose(arg: str, /, **kinds: Collection[str]) -> tuple[str, ...]:
  """The word of each kind that a recipe's argument names, in any order.

    size, dataset = choose('ssv2,base', size=SIZES, dataset=('k400', 'ssv2'))

  The first word of a kind is its default. Returns one word a kind, in order.
  """
  chosen: dict[str, str] = {}
  for word in filter(None, (part.strip() for part in arg.split(','))):
    kind = next((k for k, words in kinds.items() if word in words), None)
    if kind is None:
      known = [w for words in kinds.values() for w in words if w]
      raise InputError(
        f'got {word!r}; {expected_one_of(word, known)}{_data_set_hint(word)}'
      )
    if kind in chosen:
      raise InputError(
        f'got {chosen[kind]!r} and {word!r}; expected one {kind}; leave one '
        'of them out'
      )
    chosen[kind] = word
  return tuple(
    chosen.get(kind) or next(iter(words)) for kind, words in kinds.items()
  )


def _data_set_hint(word: str) -> str:
  """What to do about a data set that a recipe has no word for."""
  registry = plugins('data.datasets.registry')
  known = registry.all_datasets().values()
  for dataset in known:
    if word.lower() in (dataset.name, *dataset.aliases):
      return (
        f'; {dataset.name} has no settings of its own here, but any recipe '
        f'trains on its records: --config.data.dir=records/{dataset.name}'
      )
  return ''


def unknown_field(
  name: str, known: Sequence[str], everywhere: Sequence[str] = ()
) -> str:
  """The message for a field that does not exist, and what to do instead.

  `known` are the fields of its section, `everywhere` those of all sections.
  Names of other toolboxes are understood ('learning_rate').
  """
  expected = f'expected one of {", ".join(known)}'
  if len(known) > 24:  # name the sections instead
    sections = sorted({k.partition('.')[0] for k in known})
    expected = f'expected one in {", ".join(sections)}'
  move = next_move(name, everywhere or known)
  return '; '.join(
    filter(None, (f'got unknown field {name!r}', expected, move))
  )


def check(recipe: Mapping[str, Any]) -> Config:
  """Turns a ConfigDict, or what `as_dict` made of a Config, into a `Config`.

  An InputError names the first field that is unknown, missing, mistyped, out of
  its range, or contradicts another.
  """
  tree = recipe.to_dict() if hasattr(recipe, 'to_dict') else dict(recipe)
  if 'family' not in tree or 'model' not in tree:
    raise InputError(
      f'got a recipe with {", ".join(tree) or "no field"}; expected family and '
      'model too; try config.skeleton(family=...), which has every field'
    )
  config = fill(Config, tree, path='')
  config.check()
  return config


def as_dict(config: Config) -> dict[str, Any]:
  """The nested dict of plain values that `check` takes back."""
  tree = json.loads(json.dumps(dataclasses.asdict(config)))
  if not tree['augment']['extra']:  # recipes without plug-ins keep their text
    del tree['augment']['extra']
  return tree


def flatten(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Nested dicts as {'section.field': value}."""
  fields: dict[str, Any] = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      fields |= flatten(value, f'{prefix}{name}.')
    else:
      fields[prefix + name] = value
  return fields


def fill(cls: type, tree: Mapping[str, Any], *, path: str) -> Any:
  """Builds a section from `tree`, checking names, types and ranges.

  `path` is the name of the section in errors, such as 'clip'.
  """
  if not isinstance(tree, Mapping):
    raise InputError(
      f'got {type(tree).__name__} {tree!r} for {path}; expected the fields of '
      f'a section; try one of {", ".join(typing.get_type_hints(cls))}'
    )
  hints = typing.get_type_hints(cls, include_extras=True)
  prefix = f'{path}.' if path else ''
  values = {}
  for name, value in tree.items():
    if name not in hints:
      raise InputError(
        unknown_field(prefix + name, [prefix + h for h in hints])
      )
    if dataclasses.is_dataclass(hints[name]):
      values[name] = fill(hints[name], value, path=prefix + name)
    else:
      values[name] = check_value(value, hints[name], path=prefix + name)
  section = cls(**values)
  if path and hasattr(section, 'check'):
    section.check()
  return section
