"""Undoes what wrappers did to a model's keys, without reading any tensor.

Training code puts a model's tensors under a prefix and saves other things with
them. JAX code that scans over its layers keeps each kind of tensor of all
layers as one array. `unwrap` shows a file as the model's own code would save
it, and sets the other keys aside, each with a reason.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping

import numpy as np

from vidmodels.weights.formats.tensors import Spec, Tensors
from vidmodels.weights.mapping.apply import KeyReport

Asides = tuple[tuple[str, str], ...]  # (regex of a whole key, reason)
TRAINING: Asides = (
  (r'(opt|opt/state|chrono|extra|state)/.*|step', 'the state of the training'),
)
TOWERS: Asides = ((r'(params/)?(txt/.*|t|b)', 'the tower that reads text'),)
# What is in front of every key of a model, and which other keys may be there.
PREFIXES: tuple[tuple[str, Asides], ...] = (
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
SCANNED = re.compile(r'(?P<front>(.*/)?encoderblock)/(?P<end>.*)')
MOST_LAYERS = 1000  # that one array is split into
# Arrays of all layers in memory at once: our qkv needs three of them.
CACHED_ARRAYS = 3


@dataclasses.dataclass(frozen=True)
class Unwrapped:
  """A file as the code of the model alone would save it."""

  prefix: str  # what is in front of every key
  tensors: Tensors  # by the model's key
  keys: Mapping[str, str]  # the file's key by the model's key
  # aside: by the file's key, why a tensor is not part of the model
  aside: Mapping[str, str]

  def restore_file_keys(self, report: KeyReport) -> None:
    """Changes a report's keys to the file's own, and adds those set aside.

    Layers in one array are reported together, under the array's key.
    """
    used: dict[str, tuple[str, ...]] = {}
    for key, paths in report.used.items():
      file_key = self.keys[key]
      used[file_key] = (*used.get(file_key, ()), *paths)
    dropped = {self.keys[key]: why for key, why in report.dropped.items()}
    report.used, report.dropped = used, {**dropped, **self.aside}


def unwrap(tensors: Tensors) -> Iterator[Unwrapped]:
  """Yields the file for every prefix that leaves no key without a reason."""
  for prefix, asides in PREFIXES:
    own = [key for key in tensors if key.startswith(prefix)]
    aside = {
      key: why
      for key in tensors
      for regex, why in reversed(asides)
      if not key.startswith(prefix) and re.fullmatch(regex, key)
    }
    # The text tower of 'params/img/' starts with 'params/' too.
    if own and len(own) + len(aside) == len(tensors):
      yield _remove_prefix(tensors, prefix, own, aside)


def _remove_prefix(
  tensors: Tensors, prefix: str, own: list[str], aside: Mapping[str, str]
) -> Unwrapped:
  """Removes the prefix, and splits arrays of all layers into layers."""
  specs: dict[str, Spec] = {}
  # By the model's key: the file's key, and the layer within its array.
  places: dict[str, tuple[str, int | None]] = {}
  for key in own:
    shape, dtype = tensors.specs[key]
    name = key.removeprefix(prefix)
    match = SCANNED.fullmatch(name)
    if match is None or not (shape and shape[0] <= MOST_LAYERS):
      specs[name], places[name] = (shape, dtype), (key, None)
      continue
    for i in range(shape[0]):
      name = f'{match["front"]}_{i}/{match["end"]}'
      specs[name], places[name] = (shape[1:], dtype), (key, i)
  # An array of all layers is read once while its layers are needed.
  read_array = functools.lru_cache(maxsize=CACHED_ARRAYS)(tensors.__getitem__)

  def read(name: str) -> np.ndarray:
    key, layer = places[name]
    return tensors[key] if layer is None else read_array(key)[layer]

  keys = {name: key for name, (key, _) in places.items()}
  return Unwrapped(prefix, Tensors(specs, read), keys, dict(aside))
