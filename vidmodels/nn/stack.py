"""Runs layers one after the other, or as one scan over their parameters.

A scan compiles one layer instead of all of them. Parameters keep their names
and shapes (`block_0/...`, `block_1/...`), so checkpoints, sharding rules and
imported weights do not depend on it: a scan stacks the parameters when it
starts, which costs a copy of them.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Carry = Any  # the input and output of a layer: an array, or a tuple of arrays


def run(
  layers: Sequence[nn.Module], carry: Carry, *, train: bool, scan: bool
) -> Carry:
  """Sends `carry` through the layers.

  Neighbours that differ only in their drop path rate are scanned; layers that
  differ otherwise (one that pools, one with positions) run one by one. So do
  all layers where intermediates are requested, or where variables are
  initialised or written. While training, a scan draws other drop path masks
  than the plain loop does; rates and answers are the same.

  Layers are bound submodules, called as `layer(*carry, train)`, that return the
  next carry, of the same shapes where layers are alike.
  """
  if not scan or _writes(layers):
    for layer in layers:
      carry = layer(*_args(carry), train)
    return carry
  for group in _alike(layers):
    if len(group) == 1:
      carry = group[0](*_args(carry), train)
    else:
      carry = _scan(group, carry, train)
  return carry


def remat(layer: Any, on: bool, train_at: int = 2) -> Any:
  """The class of a layer; if `on`, one that is recomputed backwards.

  `train_at` is the place of the argument `train`, counted from self.
  """
  return nn.remat(layer, static_argnums=(train_at,)) if on else layer


def _args(carry: Carry) -> tuple:
  return carry if isinstance(carry, tuple) else (carry,)


def _writes(layers: Sequence[nn.Module]) -> bool:
  """Whether a call would initialise or change variables."""
  return any(
    layer.is_initializing()
    or layer.is_mutable_collection('intermediates')
    or (
      layer.is_mutable_collection('batch_stats')
      and 'batch_stats' in layer.variables
    )
    for layer in layers
  )


def _alike(layers: Sequence[nn.Module]) -> list[list[nn.Module]]:
  """Groups neighbours that have the same fields and parameter shapes."""
  groups: list[list[nn.Module]] = []
  last: Any = None
  for layer in layers:
    shapes = jax.tree.map(jnp.shape, layer.variables)
    kind = (_plain(layer), jax.tree.structure(shapes), jax.tree.leaves(shapes))
    if kind != last:
      groups.append([])
    groups[-1].append(layer)
    last = kind
  return groups


def _plain(layer: nn.Module) -> nn.Module:
  """A copy of a layer without its parent, its name and its drop path rate."""
  fixed = {}
  if hasattr(layer, 'drop_path'):
    fixed['drop_path'] = jax.tree.map(lambda rate: 0.0, layer.drop_path)
  return layer.clone(parent=None, name=None, **fixed)


def _rate(layer: nn.Module) -> float | tuple[float, ...]:
  """A layer's drop path rate, or one for each of its parts."""
  return getattr(layer, 'drop_path', 0.0)


def _scan(layers: Sequence[nn.Module], carry: Carry, train: bool) -> Carry:
  """Runs layers that are alike as one scan."""
  like, first = _plain(layers[0]), layers[0]
  variables = jax.tree.map(
    lambda *rows: jnp.stack(rows), *(layer.variables for layer in layers)
  )
  rates = jnp.asarray([_rate(layer) for layer in layers])
  streams = [s for s in ('drop_path', 'dropout') if first.has_rng(s)]
  keys = {s: jax.random.split(first.make_rng(s), len(layers)) for s in streams}

  def body(carry: Carry, row) -> tuple[Carry, None]:
    variables, rate, rngs = row
    drops = train and any_drop
    layer = like.clone(drop_path=rate) if drops else like
    return layer.apply(variables, *_args(carry), train, rngs=rngs), None

  any_drop = any(
    rate for layer in layers for rate in jax.tree.leaves(_rate(layer))
  )
  return jax.lax.scan(body, carry, (variables, rates, keys))[0]
