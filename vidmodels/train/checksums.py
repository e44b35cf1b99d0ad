"""A checksum of each array of a state, whatever devices hold it.

  saved = checksums.of_tree(params)               # {'head/bias': 2873...}
  checksums.differing(restored_params, saved)     # the paths that differ

The bits of each element, as an unsigned word w_i, count as often as an odd
number that depends on its place: sum_i w_i (2654435761 i | 1) modulo 2^32. One
flipped bit always changes it. The order of the sum does not, so an array split
over a mesh of several hosts has the checksum of a whole one: each device sums
what it has.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vidmodels.train.sharding import parameter_path

_MULTIPLIER = 2654435761  # Knuth's, 2^32 over the golden ratio
_BLOCK = 2**20  # words at once


def of_tree(tree: Any) -> dict[str, int]:
  """The checksum of every array, by its path; every process must call it."""
  return {path: checksum(leaf) for path, leaf in _leaves(tree)}


def differing(tree: Any, saved: Mapping[str, int]) -> list[str]:
  """The paths of arrays that are not those whose checksums were saved."""
  return [
    path
    for path, leaf in _leaves(tree)
    if path in saved and checksum(leaf) != saved[path]
  ]


def checksum(array: Any) -> int:
  """The checksum of one array, 0 to 2^32 - 1."""
  if isinstance(array, jax.Array) and not array.is_fully_addressable:
    return int(_device_checksum(array))
  words = _host_words(np.asarray(array))
  total = np.uint32(0)
  for first in range(0, len(words), _BLOCK):
    part = words[first : first + _BLOCK].astype(np.uint32)
    place = np.arange(first, first + len(part), dtype=np.uint32)
    total += (part * _odd(place)).sum(dtype=np.uint32)
  return int(total)


def _host_words(array: np.ndarray) -> np.ndarray:
  """The bits of an array as unsigned words of 1, 2 or 4 bytes, [words]."""
  flat = np.ascontiguousarray(array).reshape(-1)
  return flat.view(f'u{min(flat.dtype.itemsize, 4)}')


@jax.jit
def _device_checksum(array: jax.Array) -> jax.Array:
  """`checksum` of an array of several hosts, where its parts are."""
  if array.dtype == bool:
    array = array.astype(jnp.uint8)
  kind = jnp.dtype(f'u{array.dtype.itemsize}')
  words = jax.lax.bitcast_convert_type(array, kind).astype(jnp.uint32)
  place, stride = jnp.zeros(array.shape, jnp.uint32), 1
  for axis in reversed(range(array.ndim)):
    step = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    place += step * np.uint32(stride % 2**32)
    stride *= array.shape[axis]
  return (words * _odd(place)).sum(dtype=jnp.uint32)


def _odd(place: Any) -> Any:
  return place * np.uint32(_MULTIPLIER) | np.uint32(1)


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    yield parameter_path(path), leaf
