"""Whose names the keys of a file are, and what its shapes say of the model.

Every `weights/<family>.py` lists its `NAMINGS`. A file is recognised by keys
that all such files have and others have not, never by its own name; several may
fit, since a space-only TimeSformer is key for key an image ViT.
"""

import dataclasses
import importlib
import pkgutil
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights.convert import Books
from vidmodels.weights.read.tensors import Spec, Tensors
from vidmodels.weights.rules import Rule

Specs = Mapping[str, Spec]
State = Mapping[str, np.ndarray]
# What wrappers put in front of every key of a model.
PREFIXES = (
  '',
  'module.',
  'model.',
  'module.model.',
  'model.module.',
  '_orig_mod.',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
  """How the frames were scaled that a file was trained on.

  Attributes:
    mean: of RGB scaled to 0..1.
    std: likewise.
    order: of the channels that the weights take.
  """

  mean: tuple[float, float, float]
  std: tuple[float, float, float]
  order: str = 'RGB'


HALF = Pixels(mean=(0.5,) * 3, std=(0.5,) * 3)
IMAGENET = Pixels(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guess:
  """What names and shapes say of the model that a file is for.

  Attributes:
    model: fields of the family, as far as shapes tell them.
    assumed: names of fields in `model` that shapes do not tell (heads).
    clip: shape (T, H, W, C) of the clip that the file's tables are for.
    classes: answers of its head; 0 if it has none.
    size: name of the published size, e.g. 'B/16'; '' for another.
    notes: what a user should know, a sentence each.
  """

  model: Mapping[str, Any]
  clip: tuple[int, int, int, int]
  classes: int
  assumed: tuple[str, ...] = ()
  size: str = ''
  notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Naming:
  """One way in which a family's weights are published.

  Attributes:
    family: of the models.
    name: 'release', 'hf', 'timm', 'google', ...
    has: keys that all such files have; '{i}' stands for any whole number.
    lacks: keys that none has.
    guess: from keys and shapes to the model.
    rules: from the model to its key rules.
    pixels: how frames were scaled, where all such files agree.
    adapt: from the model and the guess to the model whose shapes the file
      fills, where a field has to follow the file's tables.
    extras: from the model and a file made of its weights to the keys that
      published files have and nothing of ours fills.
    prefix: that published files put in front of every key.
    under: the name that published files keep their tensors under.
  """

  family: str
  name: str
  has: tuple[str, ...]
  lacks: tuple[str, ...] = ()
  guess: Callable[[Specs], Guess]
  rules: Callable[[Any], Sequence[Rule]]
  pixels: Pixels | None = None
  adapt: Callable[[Any, Guess], Any] = lambda model, guess: model
  extras: Callable[[Any, State], State] = lambda model, state: {}
  prefix: str = ''
  under: str = ''

  def fits(self, keys: Iterable[str]) -> bool:
    """Whether a file with these keys is so named."""
    keys = list(keys)
    return all(_any(name, keys) for name in self.has) and not any(
      _any(name, keys) for name in self.lacks
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """A naming that fits a file.

  Attributes:
    naming: whose names.
    prefix: that stands in front of every key.
    guess: what the file says of the model.
  """

  naming: Naming
  prefix: str
  guess: Guess


# What an image model's variables give a video model; called with (variables,
# image model, video model, video shape (T, H, W, C), books). Returns variables
# of the video model, without those that stay random, which it books.
Source = Callable[[Any, Any, Any, tuple[int, ...], Books], dict[str, Any]]


def modules() -> dict[str, types.ModuleType]:
  """The weights module of every family that has one."""
  package = importlib.import_module('vidmodels.weights')
  names = {m.name for m in pkgutil.iter_modules(package.__path__)}
  return {
    family: importlib.import_module(f'vidmodels.weights.{family}')
    for family in models.families()
    if family in names
  }


def namings() -> tuple[Naming, ...]:
  """All namings of all families."""
  return tuple(
    naming
    for module in modules().values()
    for naming in getattr(module, 'NAMINGS', ())
  )


def sources(family: str) -> dict[str, Source]:
  """The image families that a video family can start from, by name."""
  module = modules().get(family)
  return dict(getattr(module, 'SOURCES', {})) if module else {}


def head(family: str) -> str:
  """A regex of our paths of the layers that answer the classes."""
  return getattr(modules().get(family), 'HEAD', '^head/')


def identify(tensors: Tensors) -> list[Found]:
  """Every naming that fits a file, those with more telling keys first."""
  found = []
  for prefix in PREFIXES:
    if not all(key.startswith(prefix) for key in tensors):
      continue
    specs = {k.removeprefix(prefix): s for k, s in tensors.specs.items()}
    found += [
      Found(naming=each, prefix=prefix, guess=each.guess(specs))
      for each in namings()
      if each.fits(specs)
    ]
  return sorted(found, key=lambda f: -len(f.naming.has) - len(f.naming.lacks))


def without_prefix(tensors: Tensors, prefix: str) -> Tensors:
  """The same tensors, each key without `prefix`."""
  specs = {k.removeprefix(prefix): s for k, s in tensors.specs.items()}
  return Tensors(specs, lambda key: tensors[prefix + key])


def size(specs: Specs, key: str, axis: int) -> int:
  """One side of a tensor.

  Raises:
    InputError: if the file has no such key or it has fewer axes.
  """
  shape = specs[key][0] if key in specs else ()
  if not -len(shape) <= axis < len(shape):
    raise InputError(
      f'the file has no {key} with an axis {axis}; its keys start '
      f'{list(specs)[:3]}'
    )
  return shape[axis]


def count(specs: Specs, key: str) -> int:
  """Layers: the numbers that '{i}' takes in a key, from 0 without a gap.

  Raises:
    InputError: if a number is missing.
  """
  pattern = _pattern(key)
  numbers = sorted(int(m[1]) for k in specs if (m := pattern.fullmatch(k)))
  if numbers != list(range(len(numbers))):
    raise InputError(
      f'{key} has the numbers {numbers}, with gaps; the file is incomplete'
    )
  return len(numbers)


def square(rows: int, what: str) -> int:
  """The side of a table of `rows` patches, taken as a square.

  Raises:
    InputError: if it is none.
  """
  side = int(np.sqrt(max(rows, 0)))
  if side < 1 or side * side != rows:
    raise InputError(
      f'{what} has {rows} places, which is no square; the clip it was made for '
      'must be said'
    )
  return side


def _pattern(name: str) -> re.Pattern:
  return re.compile(re.escape(name).replace(r'\{i\}', r'(\d+)'))


def _any(name: str, keys: Sequence[str]) -> bool:
  if '{i}' not in name:
    return name in keys
  pattern = _pattern(name)
  return any(pattern.fullmatch(key) for key in keys)
