"""Recipes: the fields that exist, their types, and the check that holds them.

A recipe file starts from `skeleton(family=...)`, a locked ConfigDict with every
field below, and changes what its paper says. `load` reads such a file with the
command line's overrides; `check` turns it into the frozen `Config` that the
rest of the library takes. A field that is not here does not exist.
"""

import dataclasses
import difflib
import importlib
import json
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from vidmodels import agreement
from vidmodels.typing import (
  BelowOne,
  Count,
  Fraction,
  InputError,
  NotNegative,
  Positive,
  PositiveFloat,
  Seed,
  typed,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """Where the records are and how they are read."""

  dir: str = ''  # folder that `vidmodels prepare` wrote; required
  train: str = 'train'  # split names
  test: str = 'test'
  mean: tuple[float, ...] = (0.45, 0.45, 0.45)  # of RGB scaled to 0..1
  std: tuple[float, ...] = (0.225, 0.225, 0.225)
  threads: Positive = 4  # clips decoded at once
  prefetch: Positive = 2  # batches made ahead


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """Which frames make a clip, and how large the model sees them."""

  frames: Positive = 8
  sampling: Literal['dense', 'segment'] = 'dense'  # segment: TSN, no stride
  stride: PositiveFloat = 1.0  # between sampled frames, in `unit`
  unit: Literal['frame', 'second'] = 'frame'
  short: Literal['clamp', 'loop'] = 'clamp'  # past the end of a short video
  size: Positive = 224  # height and width of the crop, pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment:
  """What training varies, drawn once a clip."""

  short_side: tuple[int, int] = (256, 320)  # uniform, pixels, both included
  flip: Fraction = 0.5  # chance; the data set's flip policy decides if it may


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
  """The views of a video whose scores are averaged in evaluation."""

  temporal: Positive = 1
  spatial: Literal[1, 3] = 3
  short_side: Count = 0  # pixels; 0: the clip's size
  average: Literal['logits', 'probs'] = 'logits'
  batch: Positive = 8  # views a step, over all devices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optim:
  """Optimiser and schedule. Give `epochs` or `steps`, not both.

  `warmup` and `milestones` count in whichever of the two is given.
  """

  name: Literal['sgd', 'adamw'] = 'sgd'
  lr: PositiveFloat = 0.005  # peak
  lr_batch: Count = 0  # the rates are for this batch; 0: used as they are
  epochs: NotNegative = 0.0
  steps: Count = 0
  schedule: Literal['step', 'cosine', 'constant'] = 'cosine'
  warmup: NotNegative = 0.0
  warmup_lr: NotNegative = 0.0  # where the warm-up starts
  final_lr: NotNegative = 0.0  # where the cosine ends
  milestones: tuple[
    float, ...
  ] = ()  # schedule 'step': lr times factor from here
  factors: tuple[float, ...] = ()  # of the peak, one a milestone
  weight_decay: NotNegative = 0.0
  decay_skip: str = ''  # regex over parameter paths that do not decay
  momentum: BelowOne = 0.9
  nesterov: bool = True
  b1: BelowOne = 0.9
  b2: BelowOne = 0.999
  eps: PositiveFloat = 1e-8
  clip_norm: NotNegative = 0.0  # global gradient norm; 0: off
  ema: BelowOne = 0.0  # decay of the averaged weights a step; 0: off


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
  """The training loss."""

  label_smoothing: Fraction = 0.0
  # Workdir of a trained model whose answer for every token is a label too.
  teacher: str = ''
  token_share: Fraction = 0.5  # of the loss, for the teacher's labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
  """Devices along each axis; one may be -1, which takes what is left."""

  data: int = -1
  fsdp: int = 1
  tensor: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
  """When training state is saved and how much of it stays."""

  every: Positive = 1000  # steps; the last step is always saved
  keep: Positive = 2  # newest ones
  keep_every: Count = 0  # steps whose checkpoints stay for good; 0: none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Log:
  """What a run writes while it goes."""

  every: Positive = 50  # steps
  tensorboard: bool = False  # needs the `tf` extra
  validate: Count = 0  # steps between passes over the test split; 0: none


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
  mesh: Mesh = Mesh()
  checkpoint: Checkpoint = Checkpoint()
  log: Log = Log()
  batch: Positive = 64  # clips a step, over all devices
  accumulate: Positive = 1  # microbatches a step
  dtype: Literal['float32', 'bfloat16'] = 'bfloat16'  # of the computation
  seed: Seed = 0


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
  agreement.check(config)
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
  return cls(**values)
