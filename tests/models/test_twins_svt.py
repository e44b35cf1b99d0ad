"""Twins-SVT: frames by themselves, its epsilons, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import models
from vidmodels.models import twins_svt
from vidmodels.typing import InputError

BASE = dict(
  widths=(96, 192, 384, 768), layers=(2, 2, 18, 2), heads=(3, 6, 12, 24)
)
LARGE = dict(
  widths=(128, 256, 512, 1024), layers=(2, 2, 18, 2), heads=(4, 8, 16, 32)
)


def tiny(**more) -> twins_svt.Model:
  fields = {**twins_svt.TINY, 'layers': (2, 2), **more}
  return models.build('twins_svt', classes=5, **fields)


def abstract(model, *clip: int):
  video = jax.ShapeDtypeStruct((2, *clip, 3), jnp.float32)
  return dict(jax.eval_shape(model.init, jax.random.key(0), video))


def drawn(model):
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: np.float32(0.3 * rng.normal(size=x.shape)),
    abstract(model, *twins_svt.TINY_CLIP),
  )


# timm's own counts.
@pytest.mark.parametrize(
  ('fields', 'wanted'),
  [({}, 24_060_776), (BASE, 56_070_952), (LARGE, 99_271_400)],
)
@pytest.mark.slow
def test_full_size_models_have_timms_number_of_parameters(fields, wanted):
  model = models.build('twins_svt', classes=1000, **fields)
  params = abstract(model, 1, 224, 224)['params']
  assert sum(x.size for x in jax.tree.leaves(params)) == wanted


def test_frames_are_scored_alone_and_averaged():
  model, variables = tiny(), drawn(tiny())
  run = jax.jit(model.apply)
  video = np.random.default_rng(1).normal(size=(2, 3, 32, 48, 3))
  video = video.astype(np.float32)
  frames = np.stack([run(variables, video[:, t : t + 1]) for t in range(3)])
  np.testing.assert_allclose(run(variables, video), frames.mean(0), atol=1e-5)
  assert abs(frames[0] - frames[1]).max() > 1e-3


def equations(jaxpr):
  """Every equation of a jaxpr, with the jaxpr it stands in."""
  for eqn in jaxpr.eqns:
    yield eqn, jaxpr
    for value in eqn.params.values():
      if hasattr(value, 'jaxpr'):
        yield from equations(value.jaxpr)


@pytest.mark.slow
def test_full_size_models_use_exact_gelu_and_two_epsilons():
  model = models.build('twins_svt', classes=1000)
  video = jax.ShapeDtypeStruct((1, 1, 224, 224, 3), jnp.float32)
  jaxpr = jax.make_jaxpr(model.apply)(abstract(model, 1, 224, 224), video)
  found = list(equations(jaxpr.jaxpr))
  primitives = [eqn.primitive.name for eqn, _ in found]
  assert primitives.count('erfc') + primitives.count('erf') == 18
  assert 'tanh' not in primitives
  epsilons = []
  for eqn, home in found:
    if eqn.primitive.name == 'rsqrt':
      (made,) = (e for e in home.eqns if eqn.invars[0] in e.outvars)
      epsilons.append(round(float(made.invars[1].val), 9))
  # Two a level and the last; four of patches and seven of pooled tokens.
  assert epsilons.count(1e-6) == 18 * 2 + 1
  assert epsilons.count(1e-5) == 4 + 7
  assert len(epsilons) == 48


def test_levels_are_local_and_global_in_turn():
  params = abstract(tiny(), 1, 32, 48)['params']
  for stage in ('stage_0', 'stage_1'):
    block = params[stage]['block_0']
    assert 'qkv' in block['level_0']['attn']
    assert 'kv' in block['level_1']['attn']
    assert block['peg']['kernel'].shape[:2] == (3, 3)
  pooled = [s for s in params if s.startswith('stage')]
  pooled = [
    'pyramid' in params[s]['block_0']['level_1']['attn'] for s in pooled
  ]
  assert pooled == [True, False]  # a reduction of 1 pools nothing


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    (dict(heads=(1,)), r'heads=\(1,\) with widths'),
    (dict(reductions=(4, 2, 1)), 'reductions='),
    (dict(heads=(3, 2)), 'width 8, which does not divide into 3'),
  ],
)
def test_fields_that_disagree_are_refused(fields, says):
  with pytest.raises(InputError, match=says):
    tiny(**fields)  # before there is a clip
