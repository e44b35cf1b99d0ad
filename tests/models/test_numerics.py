"""Which arithmetic the published recipes ask for, at full size.

An epsilon, a GELU or a variance that is nearly right gives answers that are
nearly right. So every recipe's program is traced (nothing is allocated) and
held to what its release does: a line in FACTS. A family without a line is
skipped by name; what holds for all of them is tested for it too.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shrink
from flax import linen as nn

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.analysis import model_cost
from vidmodels.cli import recipe
from vidmodels.nn.batch_norm import BatchNorm


@dataclasses.dataclass(frozen=True)
class Facts:
  """What a release computes with.

  Attributes:
    epsilon: (regex over a norm's path, its epsilon); the first found holds.
    activation: names of the functions between linear layers: 'erf' is the
      exact GELU, 'tanh' its approximation, and 'relu'.
    statistics: regex of the paths of all norms with running statistics.
  """

  epsilon: tuple[tuple[str, float], ...]
  activation: frozenset[str]
  statistics: str = '(?!)'  # none


def facts(*epsilon, activation: str = 'erf', statistics: str = '(?!)') -> Facts:
  return Facts(epsilon, frozenset(activation.split()), statistics)


# By family, of the fields of a recipe's model.
FACTS: dict[str, Callable[[Mapping[str, Any]], Facts]] = {
  'timesformer': lambda model: facts(('', 1e-6)),
  # Attention over frames is torch's own transformer, with torch's epsilon.
  'xvit': lambda model: facts((r'^(temporal|head\w*)/', 1e-5), ('', 1e-6)),
  # The release's layers fall back to ReLU, the paper says GELU; the token
  # mixers of T2T-ViT have GELU whatever follows them.
  'vidtr': lambda model: facts(
    ('', 1e-5),
    activation={'relu': 'relu', 'gelu': 'erf'}[model['activation']]
    + ' erf' * (model['stem'] == 't2t'),
  ),
  # Two norms over the batch, each followed by ReLU: the coarse pyramids of the
  # first two stages.
  'dualformer': lambda model: facts(
    ('', 1e-5), activation='erf relu', statistics='coarse'
  ),
  'video_focalnet': lambda model: facts(('', 1e-5)),
  'focalnet': lambda model: facts(('', 1e-5)),
  'vit': lambda model: facts(('', 1e-6)),
  'i3d': lambda model: facts(
    ('', 1e-5), activation='relu', statistics='/norm$'
  ),
}


@dataclasses.dataclass(frozen=True)
class Program:
  """A traced model: every equation with its home and its module's path."""

  equations: tuple[tuple[Any, Any, str], ...]
  out: jax.ShapeDtypeStruct
  norms: Mapping[str, tuple[nn.Module, int]]  # with the places they run over

  def named(self, *names: str) -> Iterator[tuple[Any, Any, str]]:
    """Equations whose primitive is one of `names`."""
    return (e for e in self.equations if e[0].primitive.name in names)


def walk(jaxpr, scope: str) -> Iterator[tuple[Any, Any, str]]:
  """Every equation of a program, those of inner programs too.

  Those of a scan come as often as they run.
  """
  for eqn in jaxpr.eqns:
    here = model_cost._join(scope, str(eqn.source_info.name_stack))
    yield eqn, jaxpr, here
    runs = eqn.params['length'] if eqn.primitive.name == 'scan' else 1
    for inner in model_cost._inside(eqn):
      yield from list(walk(inner, here)) * runs


@functools.lru_cache(4)
def model_of(name: str):
  """The recipe's model in bfloat16, its variables and clip as shapes.

  Layers that are alike are traced once, as a scan: in half the time.
  """
  config = recipe.load(name)
  # Two heads answer as many classes as both have; any number does otherwise.
  classes = sum(config.model.get('groups', ())) or 400
  fields = dict(config.model)
  if 'scan' in models.fields(config.family):
    fields['scan'] = True
  model = models.build(
    config.family, classes=classes, dtype='bfloat16', **fields
  )
  T, size = config.clip.frames, config.clip.size
  video = jax.ShapeDtypeStruct((2, T, size, size, 3), jnp.float32)
  variables = dict(jax.eval_shape(model.init, jax.random.key(0), video))
  variables.pop('intermediates', None)
  return model, variables, video


@functools.lru_cache(4)
def traced(name: str, train: bool) -> Program:
  """The recipe's model in bfloat16, at the recipe's clip."""
  model, variables, video = model_of(name)
  norms = {}

  def note(call, args, kwargs, context):
    module = context.module
    norm = isinstance(module, (BatchNorm, nn.BatchNorm))
    if norm and context.method_name == '__call__':
      places = int(np.prod(args[0].shape[:-1]))
      norms['/'.join(module.path)] = (module, places)
    return call(*args, **kwargs)

  def run(variables, video):
    rngs = {s: jax.random.key(1) for s in ('drop_path', 'dropout')}
    mutable = [c for c in variables if c != 'params'] if train else False
    with nn.intercept_methods(note):
      out = model.apply(
        variables, video, train=train, mutable=mutable, rngs=rngs
      )
    return out[0] if train else out

  closed, out = jax.make_jaxpr(run, return_shape=True)(variables, video)
  found = tuple(
    (eqn, home, model_cost._module(scope, type(model).__name__))
    for eqn, home, scope in walk(closed.jaxpr, '')
  )
  return Program(found, out, norms)


def arithmetic(value: Any) -> Any:
  """What of a field decides which operations run: words, and which are 0.

  How many layers, heads or frames there are does not.
  """
  if isinstance(value, (list, tuple)):
    return sorted({repr(arithmetic(v)) for v in value})
  return bool(value) if isinstance(value, (int, float)) else value


def recipes() -> list:
  """Every published recipe whose arithmetic is its own; one a family is fast.

  66 models become 32.
  """
  seen, families, found = set(), set(), []
  for name in shrink.published():
    try:
      config = recipe.load(name)
    except Exception:  # a recipe that is broken fails its own test
      found.append(pytest.param(name))
      continue
    fields = cfg.as_dict(config)['model']
    fields = {name: arithmetic(value) for name, value in fields.items()}
    key = json.dumps([config.family, fields])
    if key in seen:
      continue
    seen.add(key)
    marks = [pytest.mark.slow] if config.family in families else []
    families.add(config.family)
    found.append(pytest.param(name, marks=marks))
  return found


# The scope makes pytest run all tests of a recipe in a row: one trace for all.
every_recipe = pytest.mark.parametrize('name', recipes(), scope='module')


def facts_of(name: str) -> Facts:
  config = recipe.load(name)
  if config.family not in FACTS:
    pytest.skip(
      f'{config.family} is unchecked: FACTS of tests/models/test_numerics.py '
      'has no line for it'
    )
  return FACTS[config.family](config.model)


def added(eqn, home) -> float:
  """The number that is added to what `eqn` takes the root of."""
  (made,) = (e for e in home.eqns if eqn.invars[0] in e.outvars)
  assert made.primitive.name == 'add', made
  (number,) = (v.val for v in made.invars if hasattr(v, 'val'))
  return float(number)


@every_recipe
@pytest.mark.fast_every(9)
def test_every_norm_has_the_epsilon_of_the_release(name):
  wanted, found = facts_of(name).epsilon, 0
  for eqn, home, path in traced(name, False).named('rsqrt'):
    epsilon = next(e for regex, e in wanted if re.search(regex, path))
    assert abs(added(eqn, home) / epsilon - 1) < 1e-6, path
    found += 1
  assert found


@every_recipe
@pytest.mark.slow
def test_activations_are_those_of_the_release(name):
  program, found = traced(name, False), set()
  for eqn, _, _ in program.named('erf', 'erfc', 'tanh', 'max'):
    kind = {'erfc': 'erf', 'max': 'relu'}.get(eqn.primitive.name)
    if kind == 'relu' and not any(is_zero(v) for v in eqn.invars):
      continue  # a softmax, taking off its largest
    found.add(kind or eqn.primitive.name)
  assert found == facts_of(name).activation


def is_zero(var) -> bool:
  return hasattr(var, 'val') and np.ndim(var.val) == 0 and float(var.val) == 0


@every_recipe
@pytest.mark.slow
def test_running_statistics_are_torchs(name):
  wanted = facts_of(name).statistics
  if wanted == '(?!)':
    assert not traced(name, False).norms
    return
  program = traced(name, True)
  for path, (norm, n) in program.norms.items():
    assert re.search(wanted, path), path
    assert type(norm) is BatchNorm, f'{path}: the variance would be biased'
    assert (norm.epsilon, norm.momentum) == (1e-5, 0.1), path
    # What goes into the running variance is n / (n - 1) times what normalises.
    scales = [
      float(var.val)
      for eqn, _, at in program.named('mul')
      if at == path
      for var in eqn.invars
      if hasattr(var, 'val') and np.ndim(var.val) == 0
    ]
    assert any(abs(s - n / (n - 1)) < 1e-7 for s in scales), (path, n, scales)
  # Statistics in evaluation are the same norms'.
  assert set(traced(name, False).norms) == set(program.norms)


@every_recipe
@pytest.mark.parametrize(
  'train', [False, pytest.param(True, marks=pytest.mark.slow)]
)
@pytest.mark.fast_every(9)
def test_bfloat16_leaves_softmax_norms_and_logits_in_float32(name, train):
  program = traced(name, train)
  assert (program.out.ndim, program.out.dtype) == (2, jnp.float32)
  kind = lambda eqn: {v.aval.dtype for v in eqn.invars if hasattr(v, 'aval')}
  full = {jnp.dtype('float32')}
  norms = set()
  for eqn, _, path in program.named('exp', 'rsqrt'):
    assert kind(eqn) == full, (eqn.primitive.name, path)
    if eqn.primitive.name == 'rsqrt':
      norms.add(path)
  for eqn, _, path in program.named('reduce_sum'):
    if path in norms:
      assert kind(eqn) == full, path
  products = list(program.named('dot_general', 'conv_general_dilated'))
  assert kind(products[-1][0]) == full, products[-1][2]  # the logits
  half = [kind(eqn) == {jnp.dtype('bfloat16')} for eqn, _, _ in products]
  assert np.mean(half[:-1]) > 0.9  # and the rest is computed as asked


def test_a_family_without_a_line_is_skipped_by_name(tmp_path, monkeypatch):
  import sixth

  sixth.add(tmp_path, monkeypatch)
  with pytest.raises(pytest.skip.Exception, match='sixth is unchecked'):
    test_every_norm_has_the_epsilon_of_the_release('sixth')
  test_bfloat16_leaves_softmax_norms_and_logits_in_float32('sixth', True)
