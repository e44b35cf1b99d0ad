"""A model of ours and a file under the file's names, to be compared.

Before `compare`; `exporting` makes whole files of the same names.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import choosing
from vidmodels.weights.diff import Arrays
from vidmodels.weights.formats.open_file import File
from vidmodels.weights.formats.tensors import Tensors
from vidmodels.weights.mapping import identify, layers
from vidmodels.weights.mapping.apply import pairs
from vidmodels.weights.mapping.identify import Found


@dataclasses.dataclass(frozen=True)
class SideBySide:
  """A model's weights and a file's under the same names.

  Attributes:
    ours: the model's tensors by the file's key.
    theirs: the file's own.
    unread: the reason by key of what the file has and no such model would
      read; in neither of the others.
  """

  ours: Arrays
  theirs: Arrays
  unread: Mapping[str, str]


def by_names_of(
  file: File, family: str, model: nn.Module, variables: Mapping[str, Any]
) -> SideBySide:
  """A model's weights as a file would have them, and the file's.

  Layers that a file keeps in one array are taken apart on both sides.

  Args:
    file: that was opened.
    family: of the model.
    model: the module.
    variables: its parameters and statistics.

  Raises:
    InputError: if the file is of no or another family, or has no name for
      something the model has.
  """
  found = _reading(file, family, model)
  rules = found.naming.rules(model)
  state, seen = layers.save(rules, variables), found.unwrapped
  drops = [rule for rule in rules if not rule.paths]
  unread = {
    seen.keys[key]: rule.why
    for rule, keys, _ in pairs(drops, seen.tensors)
    for key in keys
    if key not in state
  }
  prefix = found.prefix
  specs = {
    prefix + key: spec
    for key, spec in seen.tensors.specs.items()
    if seen.keys[key] not in unread
  }
  return SideBySide(
    ours={prefix + key: array for key, array in state.items()},
    theirs=Tensors(specs, lambda k: seen.tensors[k.removeprefix(prefix)]),
    unread={**unread, **seen.aside},
  )


def _reading(file: File, family: str, model: nn.Module) -> Found:
  """The reading of a file as the model's family that contradicts it least."""
  found = identify.identify(file.tensors)
  own = [each for each in found if each.naming.family == family]
  if not own:
    known = ', '.join(dict.fromkeys(each.naming.family for each in found))
    said = known or f'of no known family{choosing.odd(file.tensors)}'
    raise InputError(
      f'{file.path} is {said} and the folder holds {family}, which share no '
      'names; import the file into a folder, and compare the two folders'
    )
  fields = {name: getattr(model, name) for name in models.fields(family)}
  return min(own, key=lambda each: len(choosing.contradictions(each, fields)))
