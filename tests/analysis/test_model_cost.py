"""The counter against counts made by hand."""

import json

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from vidmodels import models
from vidmodels.analysis import model_cost
from vidmodels.analysis.model_cost import CountedModel
from vidmodels.cli import main
from vidmodels.typing import InputError


class OnVideo(nn.Module):
  """Runs a function of the video that may use submodules."""

  run: object

  @nn.compact
  def __call__(self, video_BTHWC):
    return self.run(video_BTHWC)


def macs(run, clip=(2, 6, 10)) -> int:
  return model_cost.count_model(OnVideo(run), clip).total_macs()


def test_a_dense_layer_is_rows_by_inputs_by_outputs():
  found = model_cost.count_model(
    OnVideo(lambda v: nn.Dense(7, name='fc')(v)), (2, 6, 10)
  )
  assert found.params == {'fc/kernel': 21, 'fc/bias': 7}
  assert found.macs == {'fc': 2 * 6 * 10 * 3 * 7}


def test_an_einsum_over_several_axes_and_batches_counts_every_term():
  run = lambda v: jnp.einsum('bthwc,bthxc->btwx', v, v)
  assert macs(run) == 2 * 10 * 10 * (6 * 3)


@pytest.mark.parametrize(
  ('groups', 'stride', 'rows'), [(1, 1, 6 * 10), (3, 1, 6 * 10), (3, 2, 3 * 5)]
)
def test_a_convolution_counts_its_filter_at_every_place(groups, stride, rows):
  conv = lambda v: nn.Conv(
    12, (3, 5), strides=stride, feature_group_count=groups
  )(v)
  assert macs(conv) == 2 * rows * 12 * (3 * 5 * 3 // groups)


def test_a_scan_counts_each_of_its_rounds():
  def run(v):
    step = lambda h, w: (h @ w, None)
    return jax.lax.scan(step, v, jnp.ones((4, 3, 3)))[0]

  assert macs(run) == 4 * (2 * 6 * 10) * 9


def test_what_is_inside_jit_remat_and_custom_derivatives_counts_once():
  @jax.custom_jvp
  def square(v):
    return v @ jnp.ones((3, 3))

  square.defjvp(lambda p, t: (square(*p), square(*t)))
  run = lambda v: jax.jit(square)(v) + jax.checkpoint(square)(v)
  assert macs(run) == 2 * (2 * 6 * 10) * 9


def test_products_that_run_nobody_knows_how_often_are_refused():
  def loop(v):
    body = lambda pair: (pair[0] + 1, pair[1] @ jnp.ones((3, 3)))
    return jax.lax.while_loop(lambda pair: pair[0] < 3, body, (0, v))[1]

  def branch(v):
    square = lambda v: v @ jnp.ones((3, 3))
    return jax.lax.cond(v.sum() > 0, square, lambda v: v, v)

  for kind, run in (('while', loop), ('cond', branch)):
    with pytest.raises(InputError, match=f'{kind}.*jax.lax.scan'):
      macs(run)
  # A loop without products costs nothing, however long it is.
  assert macs(lambda v: jax.lax.while_loop(lambda x: x.sum() < 0, abs, v)) == 0


def test_divided_attention_counts_as_by_hand():
  L, D, A, P, K, T, H, W = 3, 32, 4, 8, 5, 4, 2, 3
  N, tokens = H * W, T * H * W
  patch = tokens * P * P * 3 * D
  time = tokens * (3 * D * D + 2 * T * D + D * D + D * D)  # and the fc
  space = T * ((1 + N) * 4 * D * D + 2 * (1 + N) ** 2 * D)
  mlp = (1 + tokens) * 8 * D * D
  part = CountedModel(
    family='timesformer',
    model=dict(layers=L, width=D, heads=A, patch=P),
    clip=(T, H * P, W * P),
    classes=K,
  )
  by_hand = patch + L * (time + space + mlp) + D * K
  assert model_cost.count(part).total_macs() == by_hand
  without = model_cost.count(part).total_macs(without='/time/')
  assert without == by_hand - L * time
  assert model_cost.count(part).macs['head'] == D * K


def looking(attention: str, clip: tuple[int, int, int], **model) -> int:
  """Multiply-adds of one block where queries meet keys and values."""
  fields = dict(attention=attention, layers=1, **model)
  part = CountedModel(family='timesformer', model=fields, clip=clip)
  macs = model_cost.count(part).macs
  return sum(n for path, n in macs.items() if path.endswith('/attn'))


@pytest.mark.parametrize('clip', [(8, 224, 224), (16, 448, 448)])
def test_sparse_attention_costs_what_it_looks_at(clip):
  T, N = clip[0], (clip[1] // 16) ** 2
  divided, sparse, joint = (
    looking(scheme, clip) for scheme in ('divided', 'local_global', 'joint')
  )
  assert joint == 2 * 768 * (1 + T * N) ** 2
  # A window is a quarter of a frame at most, blocks have up to twice as many
  # keys; a group is one of eight. Both are below joint attention together.
  assert (1 / 4 + 1 / 8) * joint < sparse < (1 / 2 + 1 / 8) * joint
  # And it grows with the square of the clip, where divided attention does not.
  assert divided < sparse / 2
  quadrants = looking('local_global', clip, local='quadrant')
  assert quadrants == pytest.approx((1 / 4 + 1 / 8) * joint, rel=0.02)


@pytest.mark.slow
def test_parameters_are_those_that_init_makes():
  family = 'timesformer'
  module = models.find(family)
  part = CountedModel(family=family, model=module.TINY, clip=module.TINY_CLIP)
  model = models.build(family, classes=400, **module.TINY)
  video = jnp.zeros((1, *module.TINY_CLIP, 3))
  params = model.init(jax.random.key(0), video)['params']
  found = model_cost.count(part)
  assert found.total_params() == sum(x.size for x in jax.tree.leaves(params))
  head = params['head']['kernel'].size + params['head']['bias'].size
  assert found.total_params(without='^head/') == found.total_params() - head


@pytest.mark.parametrize('family', models.families())
@pytest.mark.fast_every(3)
def test_every_family_is_counted_layer_by_layer(family):
  module = models.find(family)
  fields = {'scan': True, 'remat': 'block'}
  on = {s: v for s, v in fields.items() if s in models.fields(family)}
  parts = [
    CountedModel(
      family=family, model={**module.TINY, **more}, clip=module.TINY_CLIP
    )
    for more in ({}, on)
  ]
  plain, switched = map(model_cost.count, parts)
  assert plain == switched
  assert all(number > 0 for number in plain.macs.values())
  paths = {path.rpartition('/')[0] for path in plain.params}
  outside = {
    scope
    for scope in plain.macs
    if not any(path.startswith(scope) for path in paths)
  }
  assert not outside, 'products that belong to no module'


def test_the_command_counts_a_recipe_and_says_what_does_not_fit(capsys):
  assert main(['cost', '--config=timesformer', '--json']) == 0
  found = json.loads(capsys.readouterr().out)
  assert found['params'] == 121_566_352
  assert sum(found['by_module'].values()) == found['macs']
  small = ['--config.model.layers=2', '--classes=10']
  assert main(['cost', '--config=timesformer:joint', *small]) == 0
  assert 'joint/attn' in capsys.readouterr().out
  assert main(['cost', '--config=timesformer', '--config.clip.size=223']) == 2
  assert '223' in capsys.readouterr().err
  assert main(['cost', '--paper=none such']) == 2
  assert 'timesformer' in capsys.readouterr().err
  assert main(['cost', '--all', '--classes=3']) == 2
  assert '--config' in capsys.readouterr().err
  assert main(['cost', '--config=timesformer', '--classes=0']) == 2
  with pytest.raises(InputError, match='heads'):
    model_cost.count(CountedModel(family='timesformer', model={'heads': 5}))
