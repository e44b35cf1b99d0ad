"""Which of the readings of a file is meant, and what is known beside it."""

from collections.abc import Mapping
from typing import Any

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights.formats import hub_config
from vidmodels.weights.formats.open_file import File
from vidmodels.weights.formats.tensors import Tensors
from vidmodels.weights.mapping import identify, prefixes
from vidmodels.weights.mapping.identify import Found, Pixels
from vidmodels.weights.mapping.position_tables import Clip


def told(file: File, found: Found) -> hub_config.Told:
  """What lies beside a file, if it is about the model in it."""
  beside = hub_config.beside(file.path)
  return beside if beside.family == found.naming.family else hub_config.Told()


def pixels(found: Found, beside: hub_config.Told) -> Pixels | None:
  """How frames were scaled: said beside the file, by its shapes or names."""
  if beside.mean and beside.std:
    return Pixels(mean=beside.mean, std=beside.std)
  return found.guess.pixels or found.naming.pixels


def choose(
  file: File,
  family: str,
  model: Mapping[str, Any] | None = None,
  clip: Clip | None = None,
) -> Found:
  """The naming by which a file is read into a family.

  One of the family itself goes before one of an image model, unless what the
  file says contradicts the model's fields: the keys of a space-only
  TimeSformer are those of an image ViT. `clip` is what the file is wanted for.

  Raises:
    InputError: if the file is of nothing that the family can take.
  """
  found = identify.identify(file.tensors, clip=clip)
  own = [f for f in found if f.naming.family == family]
  images = [f for f in found if f.naming.family in identify.sources(family)]
  fields = {} if model is None else {**models.fields(family), **model}
  agreeing = [f for f in own if not contradictions(f, fields)]
  if chosen := [*agreeing, *images, *own]:
    return chosen[0]
  if not found:
    raise InputError(
      f'{file.path} is of no family that is known here{odd(file.tensors)}; '
      f'{family} takes {_takes(family)}; its keys start '
      f'{list(file.tensors)[:3]}'
    )
  said = ', '.join(f'{f.naming.family} ({f.naming.name})' for f in found)
  raise InputError(
    f'{file.path} is {said}; {family} takes {_takes(family)}; its keys start '
    f'{list(file.tensors)[:3]}'
  )


def odd(tensors: Tensors) -> str:
  """What keeps a file from being known, if it is a few keys of no wrapper."""
  for prefix, _ in sorted(prefixes.PREFIXES, key=lambda p: -len(p[0])):
    few = [key for key in tensors if not key.startswith(prefix)]
    if not prefix or not 0 < len(few) < len(tensors) / 2:
      continue
    rest = {k: s for k, s in tensors.specs.items() if k not in few}
    if found := identify.identify(Tensors(rest, tensors.__getitem__)):
      return (
        f', but would be {found[0].naming.family} ({found[0].naming.name}) '
        f'without {", ".join(few[:6])}'
      )
  return ''


def _takes(family: str) -> str:
  return ', '.join([family, *identify.sources(family)])


def contradictions(found: Found, model: Mapping[str, Any]) -> list[str]:
  """'field: the file says ..., the model has ...' where both say something."""
  guess = found.guess
  known = models.fields(found.naming.family)
  return [
    f'{name}: the file says {value!r}, the model has {model[name]!r}'
    for name, value in guess.model.items()
    if name not in guess.assumed
    and name in known
    and name in model
    and model[name] != value
  ]
