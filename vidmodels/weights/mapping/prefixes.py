"""What wrappers did to a model's keys, undone: prefixes, company, one array.

Training code puts a model's tensors under a prefix and other things beside
them, and JAX code that scans over its layers keeps each kind of tensor of all
layers as one array. Here a file is seen as the model's own code would save it;
what lies beside is set aside, each key with a reason.
"""

import collections
import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping

import numpy as np

from vidmodels.weights.formats.tensors import Spec, Tensors
from vidmodels.weights.mapping.apply import Books

Aside = tuple[tuple[str, str], ...]  # (regex of a whole key, reason)
TRAINING: Aside = (
  (r'(opt|opt/state|chrono|extra|state)/.*|step', 'how far training had come'),
)
TOWERS: Aside = ((r'(params/)?(txt/.*|t|b)', 'the tower that reads text'),)
# What stands in front of every key of a model, and what may lie beside it.
PREFIXES: tuple[tuple[str, Aside], ...] = (
  ('', ()),
  ('module.', ()),
  ('model.', ()),
  ('module.model.', ()),
  ('model.module.', ()),
  ('_orig_mod.', ()),
  ('params/', TRAINING),
  ('opt/target/', TRAINING),
  ('params/img/', TRAINING + TOWERS),
  ('img/', TOWERS),
)
SCANNED = re.compile(r'(?P<front>.*/)?(?P<name>encoderblock)/(?P<end>.*)')
DEEPEST = 1000  # layers that one array may be of
KEPT = 3  # whole arrays at once: queries, keys and values are one of ours


@dataclasses.dataclass(frozen=True)
class Unwrapped:
  """A file as the code of the model alone would save it.

  Attributes:
    prefix: that stood in front of every key.
    tensors: by the model's key.
    keys: the file's key, by the model's.
    aside: the reason, by the file's key, of what is no part of the model.
  """

  prefix: str
  tensors: Tensors
  keys: Mapping[str, str]
  aside: Mapping[str, str]

  def in_file(self, books: Books) -> None:
    """Turns the keys of books into the file's own, what is aside included.

    Layers that one array holds are used together: the first ends the others.
    """
    used: dict[str, tuple[str, ...]] = {}
    for key, paths in books.used.items():
      theirs = self.keys[key]
      used[theirs] = (*used.get(theirs, ()), *paths)
    dropped = {self.keys[key]: why for key, why in books.dropped.items()}
    books.used, books.dropped = used, {**dropped, **self.aside}


def unwrap(tensors: Tensors) -> Iterator[Unwrapped]:
  """Every way of seeing a file that leaves no key without a reason."""
  for prefix, beside in PREFIXES:
    own = [key for key in tensors if key.startswith(prefix)]
    aside = {
      key: why
      for key in tensors
      if not key.startswith(prefix)
      and (why := _reason(key, beside)) is not None
    }
    # Text towers of 'params/img/' lie under 'params/' too.
    if own and len(own) + len(aside) == len(tensors):
      yield _plain(tensors, prefix, own, aside)


def _reason(key: str, aside: Aside) -> str | None:
  found = (why for regex, why in aside if re.fullmatch(regex, key))
  return next(found, None)


def _plain(
  tensors: Tensors, prefix: str, own: list[str], aside: Mapping[str, str]
) -> Unwrapped:
  """Without the prefix, and every layer by itself."""
  specs: dict[str, Spec] = {}
  # The model's key: the file's, and which layer of its array.
  where: dict[str, tuple[str, int | None]] = {}
  for key in own:
    shape, dtype = tensors.specs[key]
    name = key.removeprefix(prefix)
    if (match := SCANNED.fullmatch(name)) is None or not (
      shape and shape[0] <= DEEPEST
    ):
      specs[name], where[name] = (shape, dtype), (key, None)
      continue
    front, block, end = match['front'] or '', match['name'], match['end']
    for i in range(shape[0]):
      name = f'{front}{block}_{i}/{end}'
      specs[name], where[name] = (shape[1:], dtype), (key, i)
  whole = functools.partial(_whole, tensors, collections.OrderedDict())

  def read(name: str) -> np.ndarray:
    key, layer = where[name]
    return tensors[key] if layer is None else whole(key)[layer]

  keys = {name: key for name, (key, _) in where.items()}
  return Unwrapped(prefix, Tensors(specs, read), keys, dict(aside))


def _whole(
  tensors: Tensors, kept: collections.OrderedDict, key: str
) -> np.ndarray:
  """An array of all layers, read once while its layers are asked for."""
  if key not in kept:
    kept[key] = tensors[key]
    while len(kept) > KEPT:
      kept.popitem(last=False)
  return kept[key]
