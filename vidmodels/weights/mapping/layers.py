"""Rules for the layers that every release is made of, and whole models.

Names on the left are torch's, on the right ours; `{i}` is a whole number.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.weights.mapping.apply import Books, convert, revert
from vidmodels.weights.mapping.rules import Rule, linear, rule, vector

# Paths of ours that lie in another collection than 'params' start so.
STATS = 'batch_stats/'


def norm(key: str, path: str) -> tuple[Rule, ...]:
  """A layer norm: weight and bias to scale and bias."""
  return (
    rule(f'{key}.weight', f'{path}/scale', vector()),
    rule(f'{key}.bias', f'{path}/bias', vector()),
  )


def dense(key: str, path: str) -> tuple[Rule, ...]:
  """A linear layer."""
  return (
    rule(f'{key}.weight', f'{path}/kernel', linear()),
    rule(f'{key}.bias', f'{path}/bias', vector()),
  )


def attention(
  key: str, path: str, *, qkv: str = 'qkv', out: str = 'proj'
) -> tuple[Rule, ...]:
  """qkv rows are q, k, v, each head by head; ours are [D, 3, A, d]."""
  return (
    rule(f'{key}.{qkv}.weight', f'{path}/qkv/kernel', linear()),
    rule(f'{key}.{qkv}.bias', f'{path}/qkv/bias', vector()),
    rule(f'{key}.{out}.weight', f'{path}/out/kernel', linear(inputs=2)),
    rule(f'{key}.{out}.bias', f'{path}/out/bias', vector()),
  )


def load(
  rules: Sequence[Rule],
  state: Mapping[str, np.ndarray],
  model: nn.Module,
  *,
  video: tuple[int, ...],
  random: Sequence[tuple[str, str]] = (),
  books: Books | None = None,
) -> dict[str, Any]:
  """Turns a file's tensors into a model's variables.

  Args:
    rules: of the family.
    state: tensors by the file's key, every one of which is used once.
    model: the model that they are for.
    video: shape (T, H, W, C) of the clip that the file's tables are for.
    random: (regex, reason) of parameters that the file need not fill.
    books: takes what became of every key and parameter.

  Returns:
    Variables of `model`, {'params': ..., ...}: numpy arrays, most of them views
    of `state`; without those that stay random.

  Raises:
    InputError: if a key is left over, a parameter is not filled, or a shape is
      not the model's.
  """
  target = flat(shapes(model, video))
  return unflat(convert(rules, state, target, random=random, books=books))


def shapes(model: nn.Module, video: tuple[int, ...]) -> dict[str, Any]:
  """All variables of a model made for clips (T, H, W, C), as shapes."""
  return unflat(_shapes(model, tuple(video)))


@functools.lru_cache(maxsize=16)  # a file's clip is often the recipe's
def _shapes(model: nn.Module, video: tuple[int, ...]) -> dict[str, Any]:
  clip = jax.ShapeDtypeStruct((1, *video), jnp.float32)
  variables = dict(jax.eval_shape(model.init, jax.random.key(0), clip))
  variables.pop('intermediates', None)
  return flat(variables)


def save(
  rules: Sequence[Rule], variables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """Turns a model's variables into a file's tensors: `load` undone."""
  arrays = {path: np.asarray(x) for path, x in flat(variables).items()}
  return revert(rules, arrays)


def batch_counters(
  model: nn.Module, state: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """What torch keeps beside a batch norm's statistics: batches seen, 0 here.

  Nothing reads it while the momentum is fixed, and we do not count.
  """
  del model
  return {
    key.replace('running_mean', 'num_batches_tracked'): np.zeros((), np.int64)
    for key in state
    if key.endswith('running_mean')
  }


def flat(variables: Mapping[str, Any]) -> dict[str, Any]:
  """Variables by path: those of 'params' without its name in front."""
  found = {}
  for collection, tree in variables.items():
    prefix = '' if collection == 'params' else f'{collection}/'
    leaves = flax.traverse_util.flatten_dict(tree, sep='/')
    found |= {prefix + path: leaf for path, leaf in leaves.items()}
  return found


def unflat(arrays: Mapping[str, Any]) -> dict[str, Any]:
  """Undoes `flat`."""
  named = {
    path if path.startswith(STATS) else f'params/{path}': array
    for path, array in arrays.items()
  }
  return flax.traverse_util.unflatten_dict(named, sep='/')
