"""Files that we exported, recognised by what they say about themselves.

  for match in list_matches(open_file('first.safetensors')): ...

Nothing is guessed of such a file. Its tensors have the authors' names, or, for
a model that no author has released, our own: the paths of the parameters, as
in 'block_0/attn/qkv/kernel'.
"""

import dataclasses
import re
import string
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vidmodels import models
from vidmodels.typing import InputError, quote
from vidmodels.weights.description import Description
from vidmodels.weights.formats.open_file import File
from vidmodels.weights.mapping import apply, identify, key_rules
from vidmodels.weights.mapping.identify import Guess, Match, Naming, Specs
from vidmodels.weights.mapping.prefixes import unwrap

OWN = 'vidmodels'  # the name of our own key names


def list_matches(
  file: File,
  failed: list[str] | None = None,
  clip: identify.Clip | None = None,
) -> list[Match]:
  """Every naming that matches a file; as `identify`, for any file."""
  description = describe_file(file)
  if description is None:
    return identify.identify(file.tensors, failed, clip)
  return [_match(file, description)]


def describe_file(file: File) -> Description | None:
  """What a file says about itself; None if it does not."""
  if not file.description:
    return None
  return Description.from_json(file.description, file.path)


def name_own(
  family: str, variables: Mapping[str, Any]
) -> tuple[Naming, dict[str, np.ndarray]]:
  """A model's weights by our own names, whatever the model is."""
  flat = apply.flatten_variables(variables)
  return own_naming(family, flat), {k: np.asarray(x) for k, x in flat.items()}


def own_naming(family: str, paths: Iterable[str]) -> Naming:
  """Our own key names of these parameters."""
  rules = _path_rules(paths)
  released = identify.list_namings(family)
  more: dict[str, Any] = {}
  if released:  # fields that follow tables follow them here too
    more['adapt'] = released[0].adapt
  return Naming(
    family=family,
    name=OWN,
    has=(),
    guess=_refuse_guess,
    rules=lambda model: rules,
    under='model',
    **more,
  )


def _path_rules(paths: Iterable[str]) -> key_rules.Rules:
  """Rules that keep names, one for all paths that differ in numbers alone."""
  patterns: dict[str, None] = {}
  for path in paths:
    letters = iter(string.ascii_letters)
    pattern = re.sub(r'\d+', lambda _: f'{{{next(letters)}}}', path)  # noqa: B023
    patterns[pattern] = None
  return tuple(key_rules.rule(p, p, key_rules.plain()) for p in patterns)


def _refuse_guess(specs: Specs) -> Guess:
  raise InputError(
    'got a file of our own key names, which do not tell the family; expected '
    'one that says what it is; try exporting it again'
  )


def _match(file: File, description: Description) -> Match:
  """The one naming of a file that says whose names it has."""
  config, classes = description.config, len(description.classes)
  # Built first, so that fields are checked and have their types.
  try:
    model = models.build(config.family, classes=classes, **config.model)
  except InputError as error:
    raise InputError(
      f'got {quote(file.path)}, which says that its model is none that can be '
      f'built here: {error}'
    ) from error
  naming = _find_naming(file, description)
  unwrapped = next(
    (u for u in unwrap(file.tensors) if u.prefix == naming.prefix), None
  )
  if unwrapped is None:
    raise InputError(
      f'got {quote(file.path)}, whose keys do not all start with '
      f'{naming.prefix!r}; expected the names of {naming.family} '
      f'({naming.name}), as the file says; try exporting it again'
    )
  clip, data = config.clip, config.data
  guess = Guess(
    model={name: getattr(model, name) for name in models.fields(config.family)},
    clip=(clip.frames, clip.size, clip.size, 3),
    classes=classes,
    pixels=identify.Pixels(
      mean=data.mean,  # type: ignore[arg-type]  # three, as `config` checks
      std=data.std,  # type: ignore[arg-type]
      order=description.channels,
    ),
  )
  return Match(naming=naming, unwrapped=unwrapped, guess=guess)


def _find_naming(file: File, description: Description) -> Naming:
  """The naming that a file says it has, without numbers that it may not have.

  A released file's epsilon and GELU are not those of a model of ours.
  """
  family, name = description.config.family, description.names
  if name == OWN:
    return own_naming(family, file.tensors)
  namings = identify.list_namings(family)
  naming = next((n for n in namings if n.name == name), None)
  if naming is None:
    known = ', '.join([*dict.fromkeys(n.name for n in namings), OWN])
    raise InputError(
      f'got {quote(file.path)} with names of {name!r:.60}; expected one of '
      f'{known} for {family}; try exporting it again'
    )
  return dataclasses.replace(naming, trained={})
