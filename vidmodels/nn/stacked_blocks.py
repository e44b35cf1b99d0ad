"""Trees in which blocks that are alike are stacked: one leaf for all of them.

  {'block_0': {'up': [D, F]}, 'block_1': {'up': [D, F]}, 'norm': [D]}
  {'block_[0:2]': {'up': [2, D, F]}, 'norm': [D]}

A training state is stacked where its model runs blocks as one scan
(`nn/stack.py`): the scan then reads its parameters as they are, and an
optimiser has one leaf of each kind. Files and messages have the names of single
blocks: `row_paths` gives them, `unstack_blocks` makes such a tree. The entry's
name says which blocks it has, and no module can be called so.
"""

import functools
import itertools
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp

_ENTRY = re.compile(r'(.*)\[(\d+):(\d+)\]')
_BLOCK = re.compile(r'(.*?)(\d+)')


def entry_name(blocks: Sequence[str]) -> str:
  """'block_[2:4]' of block_2 and block_3; '' if they are not in a row."""
  parts = [_BLOCK.fullmatch(block) for block in blocks]
  if not parts or parts[0] is None:
    return ''
  prefix, first = parts[0][1], int(parts[0][2])
  end = first + len(blocks)
  expected = [f'{prefix}{i}' for i in range(first, end)]
  return f'{prefix}[{first}:{end}]' if expected == list(blocks) else ''


def row_names(name: str) -> list[str]:
  """The blocks of an entry, in order; of another name, itself."""
  entry = _ENTRY.fullmatch(name)
  if not entry:
    return [name]
  return [f'{entry[1]}{i}' for i in range(int(entry[2]), int(entry[3]))]


def row_paths(path: str) -> list[str]:
  """The users' names of a leaf: 'block_0/up', 'block_1/up'; or itself alone."""
  rows = map(row_names, path.split('/'))
  return ['/'.join(parts) for parts in itertools.product(*rows)]


def is_stacked(path: str) -> bool:
  """Whether a leaf has a leading axis of blocks, even if of one block."""
  return any(_ENTRY.fullmatch(part) for part in path.split('/'))


def stack_blocks(
  tree: Any,
  entries: Collection[str],
  *,
  join: Callable[[Sequence[Any]], Any] = jnp.stack,
) -> Any:
  """Stacks the blocks of the entries, given by path: 'stage_2/block_[1:9]'.

  The dicts of a tree may be inside of tuples, as the moments of an optax state
  are. An entry whose blocks a dict does not have leaves it as it is. `join`
  makes one leaf of the blocks' leaves.
  """
  return _map_dicts(
    functools.partial(_stack_dict, entries=entries, join=join), tree
  )


def unstack_blocks(
  tree: Any, *, split: Callable[[Any], Sequence[Any]] = list
) -> Any:
  """The inverse of `stack_blocks`; `split` gives the leaves of the blocks."""
  return _map_dicts(functools.partial(_unstack_dict, split=split), tree)


def entries_in(tree: Any) -> set[str]:
  """The entries of a tree, by their path within its outermost dicts."""
  found: set[str] = set()

  def collect(branch: Any, path: tuple[str, ...]) -> None:
    if not isinstance(branch, dict):
      return
    for name, value in branch.items():
      if _ENTRY.fullmatch(str(name)):
        found.add('/'.join((*path, name)))
      else:
        collect(value, (*path, str(name)))

  for branch in jax.tree.leaves(tree, is_leaf=_is_dict):
    collect(branch, ())
  return found


def _is_dict(tree: Any) -> bool:
  return isinstance(tree, dict)


def _map_dicts(change: Callable[[dict], dict], tree: Any) -> Any:
  """Changes the outermost dicts of a tree."""
  return jax.tree.map(
    lambda part: change(part) if _is_dict(part) else part,
    tree,
    is_leaf=_is_dict,
  )


def _stack_dict(
  tree: dict[str, Any],
  entries: Collection[str],
  join: Callable[[Sequence[Any]], Any],
) -> dict[str, Any]:
  result = dict(tree)
  for entry in entries:
    head, _, rest = entry.partition('/')
    if rest and _is_dict(result.get(head)):
      result[head] = _stack_dict(result[head], [rest], join)
    elif not rest and all(name in tree for name in row_names(entry)):
      blocks = [result.pop(name) for name in row_names(entry)]
      result[entry] = jax.tree.map(lambda *leaves: join(leaves), *blocks)
  return result


def _unstack_dict(
  tree: dict[str, Any], split: Callable[[Any], Sequence[Any]]
) -> dict[str, Any]:
  result: dict[str, Any] = {}
  for name, value in tree.items():
    if _ENTRY.fullmatch(str(name)):
      leaves, form = jax.tree.flatten(value)
      rows = zip(*map(split, leaves), strict=True)
      for block, row in zip(row_names(name), rows, strict=True):
        result[block] = jax.tree.unflatten(form, row)
    else:
      result[name] = _unstack_dict(value, split) if _is_dict(value) else value
  return result
