"""Parameters that do not learn: no gradient, no moments, no decay.

  trained, still = freezing.split(config.optim, state.params)
  grads = jax.grad(lambda t: loss(freezing.join(t, still)))(trained)

The state keeps all parameters in one tree. The trained part of it is the same
tree without the leaves that `optim.freeze` or `optim.train` names, and the
optimiser's state is of that part alone.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import traverse_util

from vidmodels import config as cfg
from vidmodels.nn import stacked_blocks
from vidmodels.train.sharding import parameter_path
from vidmodels.typing import InputError

HEAD = '^(token_)?head/'  # the classifier of every family, and its copy


def is_on(optim: cfg.Optim) -> bool:
  """Whether a recipe freezes anything."""
  return bool(optim.freeze) or optim.train != 'all'


def split(optim: cfg.Optim, params: Any) -> tuple[Any, Any]:
  """The parameters that learn, and those that do not; leaves may be anything.

  Raises InputError if a regex freezes nothing or everything, or some blocks of
  an array that has all blocks of a scan.
  """
  if not is_on(optim) or not isinstance(params, Mapping):
    return params, {}  # optax asks with a placeholder for all parameters
  flat = traverse_util.flatten_dict(params)
  frozen = _frozen(optim)
  still = {key for key in flat if _is_still('/'.join(key), frozen)}
  if len(still) in (0, len(flat)):
    path = stacked_blocks.row_paths('/'.join(next(iter(flat))))[0]
    raise InputError(
      f'got optim.freeze={optim.freeze!r} and optim.train={optim.train!r}, '
      f'which freeze {"all" if still else "none"} of the parameters; expected '
      f'some of them, by a regex over paths such as {path!r}'
    )
  pick = lambda keys: traverse_util.unflatten_dict({k: flat[k] for k in keys})
  return pick([k for k in flat if k not in still]), pick(still)


def trained(optim: cfg.Optim, tree: Any) -> Any:
  """The part of a tree shaped as the parameters that learns."""
  return split(optim, tree)[0]


def join(trained: Any, still: Any) -> Any:
  """The whole tree of what `split` gave."""
  if not still:
    return trained
  parts = map(traverse_util.flatten_dict, (trained, still))
  return traverse_util.unflatten_dict(
    {k: v for p in parts for k, v in p.items()}
  )


def keep_statistics(optim: cfg.Optim, params: Any, old: Any, new: Any) -> Any:
  """New batch statistics, but the old ones where no parameter learns.

  `old` and `new` are collections of a module: statistics lie beside the scale
  and the bias of their norm.
  """
  if not is_on(optim):
    return new
  learning, _ = split(optim, params)
  norms = {'/'.join(k[:-1]) for k in traverse_util.flatten_dict(learning)}

  def choose(key_path: tuple, before: jax.Array, after: jax.Array) -> jax.Array:
    _, _, path = parameter_path(key_path).partition('/')  # of the collection
    return after if path.rpartition('/')[0] in norms else before

  return jax.tree_util.tree_map_with_path(choose, old, new)


def _frozen(optim: cfg.Optim) -> Callable[[str], bool]:
  """Whether a parameter of a single block is frozen, by its path."""
  if optim.train == 'head':
    return lambda path: not re.search(HEAD, path)
  return lambda path: bool(re.search(optim.freeze, path))


def _is_still(path: str, frozen: Callable[[str], bool]) -> bool:
  """Whether a leaf is frozen; of stacked blocks all or none must be."""
  rows = stacked_blocks.row_paths(path)
  still = [row for row in rows if frozen(row)]
  if still and len(still) < len(rows):
    learns = next(row for row in rows if row not in still)
    raise InputError(
      f'got optim.freeze, which freezes {still[0]} and not {learns}, with '
      'model.scan: the two are one array; expected all or none of them; try '
      '--config.model.scan=False'
    )
  return bool(still)
