"""Counts the parameters and multiply-adds of a model.

Nothing is allocated or run: parameters come from the shapes that `init` would
return, multiply-adds from the program that JAX traces for one view. One
multiply-add counts as one. Products of matrices and convolutions count, at
padded places too; sums, norms, softmax and activations do not.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels import models
from vidmodels.typing import InputError

# Layers are unrolled, so that each is counted by itself. A depthwise
# convolution is a convolution here: as shifted sums it has no product.
COUNTED = {'scan': False, 'remat': 'none', 'depthwise': 'conv'}


@dataclasses.dataclass(frozen=True)
class CountedModel:
  """One model of a configuration, and the clip it is counted on."""

  family: str  # name of a model file
  # its fields; the others keep their defaults
  model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # clip: frames, height and width of one view, in pixels
  clip: tuple[int, int, int] = (8, 224, 224)
  classes: int = 400  # answers of the head


class Count(NamedTuple):
  """The parameters and multiply-adds of one model."""

  # numbers in each parameter, by path ('block_0/mlp/up/kernel')
  params: Mapping[str, int]
  # multiply-adds of one view, by module ('block_0/mlp/up')
  macs: Mapping[str, int]

  def total_params(self, without: str = '') -> int:
    """All parameters, except those whose path the regex `without` matches."""
    return _total(self.params, without)

  def total_macs(self, without: str = '') -> int:
    """All multiply-adds, except in modules whose path `without` matches."""
    return _total(self.macs, without)


def count(part: CountedModel) -> Count:
  """Counts one model on one view."""
  fields = tuple((name, _frozen(v)) for name, v in sorted(part.model.items()))
  return _count(part.family, fields, tuple(part.clip), part.classes)


@functools.lru_cache(maxsize=256)
def _count(family: str, fields: tuple, clip: tuple, classes: int) -> Count:
  """Counts each different model and clip once."""
  known = models.fields(family)
  fixed = {name: v for name, v in COUNTED.items() if name in known}
  model = models.build(family, classes=classes, **{**dict(fields), **fixed})
  return count_model(model, clip)


def count_model(model: nn.Module, clip: tuple[int, int, int]) -> Count:
  """Counts a module on one view of `clip` frames, height and width.

  Products inside a `while` or a `cond`, which may run any number of times, are
  refused.
  """
  video = jax.ShapeDtypeStruct((1, *clip, 3), jnp.float32)
  variables = dict(jax.eval_shape(model.init, jax.random.key(0), video))
  variables.pop('intermediates', None)
  tree = variables.get('params', {})
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  name = functools.partial(jax.tree_util.keystr, simple=True, separator='/')
  params = {name(path): math.prod(leaf.shape) for path, leaf in leaves}
  program = jax.make_jaxpr(model.apply)(variables, video)
  macs: collections.Counter[str] = collections.Counter()
  for scope, number in _walk(program.jaxpr, '', 1):
    macs[_module(scope, type(model).__name__)] += number
  return Count(params, dict(macs))


def by_kind(numbers: Mapping[str, int]) -> dict[str, int]:
  """Sums paths that differ only in a number: block_0, block_1, ..."""
  kinds: collections.Counter[str] = collections.Counter()
  for path, number in numbers.items():
    kinds[re.sub(r'\d+', '*', path)] += number
  return dict(kinds.most_common())


def _frozen(value: Any) -> Any:
  """Turns lists into tuples, which a cache can hash."""
  return (
    tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
  )


def _walk(jaxpr: Any, scope: str, times: int) -> Iterator[tuple[str, int]]:
  """Yields (where, multiply-adds) of every product in a program."""
  for eqn in jaxpr.eqns:
    here = _join(scope, str(eqn.source_info.name_stack))
    kind = eqn.primitive.name
    if kind == 'dot_general':
      yield here, times * _dot(eqn)
    elif kind == 'conv_general_dilated':
      yield here, times * _convolution(eqn)
    elif kind == 'scan':
      body = eqn.params['jaxpr'].jaxpr
      yield from _walk(body, here, times * eqn.params['length'])
    elif kind in ('while', 'cond'):
      inside = [n for sub in _inside(eqn) for _, n in _walk(sub, here, 1)]
      if any(inside):
        raise InputError(
          f'got a {kind} with products in {here or "the model"}, and nothing '
          'says how often it runs; expected a program of known length; try '
          'jax.lax.scan for a loop, and Python or jnp.where for a choice'
        )
    else:
      for sub in _inside(eqn):
        yield from _walk(sub, here, times)


def _inside(eqn: Any) -> Iterator[Any]:
  """The programs that an equation calls: jit, remat, custom derivatives."""
  for value in eqn.params.values():
    for each in value if isinstance(value, (tuple, list)) else (value,):
      if hasattr(each, 'jaxpr'):
        yield each.jaxpr
      elif hasattr(each, 'eqns'):
        yield each


def _dot(eqn: Any) -> int:
  """Multiply-adds of a product: each result is a sum over contracted axes."""
  (contracted, _), _ = eqn.params['dimension_numbers']
  left = eqn.invars[0].aval.shape
  terms = math.prod(left[axis] for axis in contracted)
  return math.prod(eqn.outvars[0].aval.shape) * terms


def _convolution(eqn: Any) -> int:
  """Multiply-adds of a convolution: each result is a sum over one filter."""
  kernel = eqn.invars[1].aval.shape
  filters = kernel[eqn.params['dimension_numbers'].rhs_spec[0]]
  terms = math.prod(kernel) // filters
  return math.prod(eqn.outvars[0].aval.shape) * terms


def _join(outer: str, inner: str) -> str:
  return '/'.join(filter(None, (outer, inner)))


def _module(scope: str, model: str) -> str:
  """A trace's scope as the path of a module, without the name of the model.

  Linen puts the names of methods in, as 'Model.features'; a jitted function is
  'jit(softmax)', an einsum its letters.
  """
  names = [n for n in scope.split('/') if n and not re.search(r'[.(,]', n)]
  return '/'.join(names[1:] if names[:1] == [model] else names)


def _total(numbers: Mapping[str, int], without: str) -> int:
  return sum(
    number
    for path, number in numbers.items()
    if not (without and re.search(without, path))
  )
