"""The sharding of each parameter: path rules outside the modules, a report.

  shardings, report = place_parameters(family.SHARDING, params, mesh)

A family's `SHARDING` is a tuple of (regex, axis names); the first rule whose
regex matches a parameter's path says which mesh axis splits which dimension.
Modules do not know the rules, so imported weights need no boxes. (Boxed
DenseGeneral parameters crash under `jax.set_mesh` in flax 0.12.8.)
"""

import dataclasses
import math
import re
from collections.abc import Sequence

import jax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vidmodels.nn import stacked_blocks
from vidmodels.typing import InputError

Rules = Sequence[tuple[str, tuple[str | None, ...]]]


@dataclasses.dataclass(frozen=True)
class ShardingReport:
  """The effect of the rules on one parameter tree and one mesh."""

  unused: tuple[str, ...]  # rules that matched no parameter
  dropped: tuple[str, ...]  # 'path: axis' where the dimension did not divide
  bytes_per_device: int


def parameter_path(key_path: tuple) -> str:
  """A pytree key path as text: 'block_0/time_attn/qkv/kernel'."""
  return jax.tree_util.keystr(key_path, simple=True, separator='/')


def place_parameters(rules: Rules, params, mesh: Mesh):
  """Returns a NamedSharding for every parameter, and the report.

  Raises InputError if a parameter matches no rule, or a rule names more
  dimensions than it has.
  """
  used: set[str] = set()
  dropped: list[str] = []
  sizes = []

  def place_leaf(key_path, leaf):
    path = parameter_path(key_path)
    spec = _stacked_spec(rules, path, leaf.shape, mesh, used, dropped)
    split = math.prod(mesh.shape[a] for a in spec if a is not None)
    sizes.append((leaf.size * leaf.dtype.itemsize, split))
    return NamedSharding(mesh, PartitionSpec(*spec))

  shardings = jax.tree_util.tree_map_with_path(place_leaf, params)
  report = ShardingReport(
    unused=tuple(regex for regex, _ in rules if regex not in used),
    dropped=tuple(dropped),
    bytes_per_device=sum(size // split for size, split in sizes),
  )
  return shardings, report


def _stacked_spec(rules, path, shape, mesh, used, dropped) -> list[str | None]:
  """The axes of a leaf; of stacked blocks, those of one of them, after None."""
  if not stacked_blocks.is_stacked(path):
    return _spec(rules, path, shape, mesh, used, dropped)
  rows = stacked_blocks.row_paths(path)
  specs = [_spec(rules, row, shape[1:], mesh, used, dropped) for row in rows]
  for row, spec in zip(rows, specs, strict=True):
    if spec != specs[0]:
      raise InputError(
        f'got sharding rules that split {rows[0]} as {tuple(specs[0])} and '
        f'{row} as {tuple(spec)}, which are one array where blocks are '
        'scanned; expected one rule for both; fix SHARDING, or try '
        'model.scan=False'
      )
  return [None, *specs[0]]


def _spec(rules, path, shape, mesh, used, dropped) -> list[str | None]:
  """The first matching rule's axes, without those that do not divide."""
  for regex, axes in rules:
    if not re.search(regex, path):
      continue
    used.add(regex)
    if len(axes) > len(shape):
      raise InputError(
        f'sharding rule {regex!r} names {len(axes)} axes and {path} has shape '
        f'{tuple(shape)}; expected at most {len(shape)}; fix SHARDING'
      )
    spec = list(axes)
    for i, axis in enumerate(axes):
      if axis is not None and shape[i] % mesh.shape[axis]:
        dropped.append(f'{path} dim {i} of {shape[i]} over {axis}')
        spec[i] = None
    return spec
  raise InputError(
    f'parameter {path} of shape {tuple(shape)} matches no sharding rule; '
    "expected one; add it to the family's SHARDING, with () to replicate"
  )


def shape_on_devices(leaf, placement) -> jax.ShapeDtypeStruct:
  """The shape and dtype of `leaf`, with a sharding."""
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placement)


def place_optimizer(tx: optax.GradientTransformation, opt_state, params, mesh):
  """Places moments like their parameters; replicates counters.

  `params` is the tree of the parameters' shardings.
  """
  replicated = NamedSharding(mesh, PartitionSpec())
  return optax.tree_utils.tree_map_params(
    tx,
    lambda _, sharding: sharding,
    opt_state,
    params,
    transform_non_params=lambda _: replicated,
  )
