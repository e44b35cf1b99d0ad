"""Whose names the keys of a file are, and what its shapes say of the model.

Every `weights/known/<family>.py` lists the `NAMINGS` of a family, the image
families that it can start from as `SOURCES`, its classifier as `HEAD`, and as
`lead` which of its tables have rows of class tokens. A file is recognised by
keys that all such files have and others have not, never by its own name;
several may fit, since a space-only TimeSformer is key for key an image ViT.
"""

import dataclasses
import importlib
import pkgutil
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vidmodels.typing import InputError
from vidmodels.weights.formats.tensors import Spec, Tensors
from vidmodels.weights.mapping import position_tables
from vidmodels.weights.mapping.apply import Books, pairs
from vidmodels.weights.mapping.prefixes import Unwrapped, unwrap
from vidmodels.weights.mapping.rules import Rule

Specs = Mapping[str, Spec]
State = Mapping[str, np.ndarray]


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
    clip: shape (T, H, W, C) of the clip that the file's tables are for; with
      H = W = 0 from a naming whose table has no square number of places, which
      `identify` settles or refuses.
    classes: answers of its head; 0 if it has none.
    size: name of the published size, e.g. 'B/16'; '' for another.
    notes: what a user should know, a sentence each.
    pixels: how frames were scaled, where the shapes tell it.
    places: rows of the table of patches of a frame; 0 if there is none.
  """

  model: Mapping[str, Any]
  clip: tuple[int, int, int, int]
  classes: int
  assumed: tuple[str, ...] = ()
  size: str = ''
  notes: tuple[str, ...] = ()
  pixels: Pixels | None = None
  places: int = 0


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
    trained: 'activation' and 'epsilon' that all such files were trained with.
    adapt: from the model and the guess to the model whose shapes the file
      fills, where a field has to follow the file's tables.
    made_for: whether the file's tables could be for a clip (T, H, W, C) as
      well as for that of the guess, where shapes leave it open.
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
  trained: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  adapt: Callable[[Any, Guess], Any] = lambda model, guess: model
  made_for: Callable[[Guess, tuple[int, int, int, int]], bool] = (
    lambda guess, video: False
  )
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
    unwrapped: the file's tensors by those names.
    guess: what the file says of the model.
  """

  naming: Naming
  unwrapped: Unwrapped
  guess: Guess

  @property
  def prefix(self) -> str:
    """What stands in front of every key of the model."""
    return self.unwrapped.prefix


# What an image model's variables give a video model; called with (variables,
# image model, video model, video shape (T, H, W, C), books). Returns variables
# of the video model, without those that stay random, which it books.
Source = Callable[[Any, Any, Any, tuple[int, ...], Books], dict[str, Any]]


def modules() -> dict[str, types.ModuleType]:
  """What is known of every family's files, by family."""
  package = importlib.import_module('vidmodels.weights.known')
  return {
    m.name: importlib.import_module(f'{package.__name__}.{m.name}')
    for m in pkgutil.iter_modules(package.__path__)
  }


def namings(family: str = '') -> tuple[Naming, ...]:
  """All namings, or those of a family: first those that its own file lists.

  A video family may know an image model by names of its own.
  """
  found = [
    (name != each.family, each)
    for name, module in modules().items()
    for each in getattr(module, 'NAMINGS', ())
    if family in ('', each.family)
  ]
  return tuple(each for _, each in sorted(found, key=lambda pair: pair[0]))


def sources(family: str) -> dict[str, Source]:
  """The image families that a video family can start from, by name."""
  module = modules().get(family)
  return dict(getattr(module, 'SOURCES', {})) if module else {}


def lead(family: str, model: Any, path: str) -> tuple[int, ...]:
  """Rows in front of a table's axes that are class tokens; () for none."""
  find = getattr(modules().get(family), 'lead', None)
  return find(model, path) if find else ()


def head(family: str) -> str:
  """A regex of our paths of the layers that answer the classes."""
  return getattr(modules().get(family), 'HEAD', '^head/')


def identify(
  tensors: Tensors,
  failed: list[str] | None = None,
  clip: position_tables.Clip | None = None,
) -> list[Found]:
  """Every naming that fits a file, those with more telling keys first.

  Args:
    tensors: of the file.
    failed: takes why a naming that fits by its keys cannot be read; without
      it such a file is an error.
    clip: that the file is wanted for, which tells the sides of a table of
      places that is no square.

  Raises:
    InputError: if a file begins like a known one and lacks what tells its size.
  """
  found = []
  for seen in unwrap(tensors):
    for each in namings():
      if not each.fits(seen.tensors):
        continue
      try:
        guess = position_tables.settled(_guess(each, seen.tensors.specs), clip)
      except InputError as error:
        if failed is None:
          raise
        failed.append(f'{each.family} ({each.name}): {error}')
      else:
        found.append(Found(naming=each, unwrapped=seen, guess=guess))
  return sorted(found, key=lambda f: -len(f.naming.has) - len(f.naming.lacks))


def _guess(naming: Naming, specs: Specs) -> Guess:
  """The naming's guess; shapes that no model has are an error of the file."""
  try:
    return naming.guess(specs)
  except InputError:
    raise
  except (LookupError, ArithmeticError, ValueError, StopIteration) as error:
    said = ' '.join(str(error).split()) or type(error).__name__
    raise InputError(
      f'the file has keys of {naming.family} ({naming.name}) and lacks or '
      f'misshapes others ({said}); it is incomplete'
    ) from error


def by_path(rules: Sequence[Rule], specs: Specs) -> dict[str, tuple[int, ...]]:
  """Shapes as they are in a file, by our path of what they would become.

  Keys that no rule knows are left out; rules of several keys or paths give the
  first key's shape to every path.
  """
  found: dict[str, tuple[int, ...]] = {}
  for each, keys, paths in pairs(rules, specs):
    del each
    for path in paths:
      found.setdefault(path, specs[keys[0]][0])
  return found


def shape(paths: Mapping[str, tuple[int, ...]], path: str) -> tuple[int, ...]:
  """The shape of a path of `by_path`.

  Raises:
    InputError: if the file has no such tensor.
  """
  if path not in paths:
    raise InputError(
      f'the file has nothing that becomes {path}; it is incomplete'
    )
  return paths[path]


def layers(paths: Iterable[str], path: str = 'block_{i}/') -> int:
  """How many numbers '{i}' takes at the start of the paths.

  Raises:
    InputError: if they leave one out.
  """
  pattern = _pattern(path)
  numbers = sorted({int(m[1]) for p in paths if (m := pattern.match(p))})
  if numbers != list(range(len(numbers))):
    raise InputError(
      f'{path} has the numbers {numbers}, with gaps; the file is incomplete'
    )
  return len(numbers)


def _pattern(name: str) -> re.Pattern:
  return re.compile(re.escape(name).replace(r'\{i\}', r'(\d+)'))


def _any(name: str, keys: Sequence[str]) -> bool:
  if '{i}' not in name:
    return name in keys
  pattern = _pattern(name)
  return any(pattern.fullmatch(key) for key in keys)


def heads(width: int) -> int:
  """Heads of a published ViT of a width: 64 wide each. Shapes do not tell."""
  return max(width // 64, 1)


def vit_size(width: int, layers: int, patch: int) -> str:
  """'B/16' and the like; '' if no such ViT was published."""
  letters = {(384, 12): 'S', (768, 12): 'B', (1024, 24): 'L'}
  letter = letters.get((width, layers))
  return f'{letter}/{patch}' if letter else ''
