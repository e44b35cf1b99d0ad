"""In every family, no gradient of a weight is a sum that was rounded."""

import jax
import jax.numpy as jnp
import pytest

from vidmodels import models
from vidmodels.nn import linear

# What moves numbers, or scales and adds them, after they were summed.
AFTER = {
  *('reshape', 'transpose', 'squeeze', 'broadcast_in_dim', 'copy'),
  *('pad', 'slice', 'concatenate', 'rev', 'dynamic_slice', 'gather'),
  *('add', 'add_any', 'mul', 'sub', 'neg', 'sharding_constraint'),
}


def rounded_sums(jaxpr, outputs, path=()) -> list[str]:
  """The outputs that were bfloat16 after their sum over the batch."""
  makers = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}
  found = []
  for name, output in outputs:
    waiting, seen = [output], set()
    while waiting:
      var = waiting.pop()  # a literal has a value and no maker
      if hasattr(var, 'val') or var in seen or var not in makers:
        continue
      seen.add(var)
      eqn = makers[var]
      kind = eqn.primitive.name
      if kind == 'convert_element_type':
        before = eqn.invars[0].aval.dtype
        if before == jnp.bfloat16:
          found.append(name)
          break
        waiting.append(eqn.invars[0])
      elif kind in ('jit', 'pjit', 'custom_vjp_call', 'remat', 'checkpoint'):
        inner = eqn.params.get('jaxpr')
        inner = getattr(inner, 'jaxpr', inner)
        at = inner.outvars[eqn.outvars.index(var)]
        found += rounded_sums(inner, [(name, at)])
        inputs = dict(zip(inner.invars, eqn.invars, strict=True))
        if at in inputs:
          waiting.append(inputs[at])
      elif kind in AFTER:
        waiting += eqn.invars
  return found


def gradient_of(family: str, fields: dict):
  """The program of the gradient of a family's tiny model, traced only."""
  module = models.find(family)
  model = models.build(
    family, classes=5, dtype='bfloat16', **{**module.TINY, **fields}
  )
  video = jax.ShapeDtypeStruct((2, *module.TINY_CLIP, 3), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)

  def loss(params, rest, video):
    rngs = {s: jax.random.key(1) for s in ('dropout', 'drop_path')}
    logits, _ = model.apply(
      {'params': params, **rest},
      video,
      train=True,
      rngs=rngs,
      mutable=list(rest),
    )
    return jnp.square(logits).sum()

  rest = {name: value for name, value in shapes.items() if name != 'params'}
  made = jax.make_jaxpr(jax.grad(loss))(shapes['params'], rest, video)
  paths = jax.tree_util.tree_leaves_with_path(shapes['params'])
  names = [jax.tree_util.keystr(path) for path, _ in paths]
  return made.jaxpr, list(zip(names, made.jaxpr.outvars, strict=True))


CASES = [
  (family, i, fields)
  for family in models.families()
  for i, fields in enumerate(({}, *models.find(family).VARIANTS))
]


@pytest.mark.parametrize(('family', 'i', 'fields'), CASES)
@pytest.mark.fast_every(40)
@pytest.mark.slow_every(4)
def test_no_gradient_of_a_weight_was_rounded_after_its_sum(family, i, fields):
  assert rounded_sums(*gradient_of(family, fields)) == []


def test_the_other_choice_rounds_them():
  with linear.sums_of_gradients('dtype'):
    found = rounded_sums(*gradient_of('vit', {}))
  assert {name for name in found if 'kernel' in name}
