"""Schedules at literal steps; SGD's coupled decay against arithmetic."""

import dataclasses
import json

import fake
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import stranger_optim
import tiny

from vidmodels import config as cfg
from vidmodels.nn import stacked_blocks
from vidmodels.train import loop, optim, step
from vidmodels.train import state as train_state
from vidmodels.typing import InputError

# 640 examples in batches of 64: ten steps an epoch.
SIZES = dict(examples=640, batch=64)


def test_step_schedule_drops_by_its_factors_of_the_peak():
  recipe = cfg.Optim(
    lr=0.5,
    epochs=15.0,
    schedule='step',
    milestones=(11.0, 14.0),
    factors=(0.1, 0.01),
  )
  rate = optim.make_schedule(recipe, **SIZES)
  found = [float(rate(s)) for s in (0, 109, 110, 139, 140, 149)]
  assert found == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005, 0.005])
  assert optim.total_steps(recipe, **SIZES) == 150


def test_cosine_does_not_restart_after_the_warm_up():
  recipe = cfg.Optim(lr=1.0, steps=100, warmup=20.0, warmup_lr=0.1)
  rate = optim.make_schedule(recipe, **SIZES)
  joint = 0.5 * (1 + np.cos(np.pi * 0.2))
  assert float(rate(0)) == pytest.approx(0.1)
  assert float(rate(10)) == pytest.approx((0.1 + joint) / 2)
  assert float(rate(20)) == pytest.approx(joint)
  assert float(rate(50)) == pytest.approx(0.5)
  assert float(rate(100)) == pytest.approx(0, abs=1e-7)


def test_a_factor_of_zero_freezes_and_does_not_end_the_run():
  recipe = cfg.Optim(
    lr=0.5, steps=9, schedule='step', milestones=(3.0, 6.0), factors=(0.0, 0.5)
  )
  rate = optim.make_schedule(recipe, **SIZES)
  found = [float(rate(s)) for s in (2, 3, 5, 6)]
  assert found == pytest.approx([0.5, 0, 0, 0.25])


def test_every_rate_scales_with_the_batch():
  recipe = cfg.Optim(
    lr=0.4, lr_batch=256, steps=10, warmup=2.0, warmup_lr=0.04, final_lr=0.08
  )
  rate = optim.make_schedule(recipe, **SIZES)  # a quarter of the batch
  assert float(rate(0)) == pytest.approx(0.01)
  assert float(rate(10)) == pytest.approx(0.02)


def test_the_peak_scales_with_the_batch_only_when_asked():
  assert optim.peak_lr(cfg.Optim(lr=0.1), batch=64) == 0.1
  scaled = cfg.Optim(lr=0.1, lr_batch=256)
  assert optim.peak_lr(scaled, batch=64) == pytest.approx(0.025)


@pytest.mark.parametrize(
  'wrong',
  [
    dict(steps=10, warmup=10.0),
    dict(epochs=5.0, schedule='step', milestones=(5.0,), factors=(0.1,)),
    dict(
      epochs=5.0, schedule='step', milestones=(3.0, 2.0), factors=(0.1,) * 2
    ),
  ],
)
def test_a_schedule_that_does_not_fit_the_run_is_refused(wrong):
  with pytest.raises(InputError, match='run of'):
    optim.make_schedule(cfg.Optim(**wrong), **SIZES)


def test_sgd_couples_decay_to_the_gradient_before_nesterov_momentum():
  recipe = cfg.Optim(name='sgd', steps=9, weight_decay=0.1, momentum=0.9)
  params = {'kernel': jnp.array([2.0])}
  tx = optim.make_optimizer(recipe, lambda step: 0.5, params)
  state, p, m = tx.init(params), 2.0, 0.0
  for gradient in (1.0, -3.0, 0.5):
    updates, state = tx.update({'kernel': jnp.array([gradient])}, state, params)
    params = optax.apply_updates(params, updates)
    g = gradient + 0.1 * p  # torch: d_p = grad + weight_decay * p
    m = 0.9 * m + g  # buf = momentum * buf + d_p
    p -= 0.5 * (g + 0.9 * m)  # nesterov: d_p + momentum * buf
    np.testing.assert_allclose(params['kernel'], [p], rtol=1e-6)


PAIRS = (('dense/.*bias$', 0.0), ('dense', 0.5))


def test_the_first_pair_that_matches_decides_and_an_idle_one_is_refused():
  params = {
    'dense': {'kernel': jnp.ones((2, 2)), 'bias': jnp.ones(2)},
    'norm': {'scale': jnp.ones(2)},
  }
  recipe = cfg.Optim(steps=9, weight_decay=0.1, decays=PAIRS)
  assert optim.decay_factors(recipe, params) == {
    'dense': {'kernel': 0.5, 'bias': 0.0},
    'norm': {'scale': 1.0},
  }
  for wrong in ((('baise', 0.0),), (*PAIRS, ('dense/bias', 2.0))):
    with pytest.raises(InputError, match=r'decays, which .* .dense/bias'):
      optim.decay_factors(dataclasses.replace(recipe, decays=wrong), params)
  words = {'all': [1, 1, 1], 'no_norm_bias': [0, 1, 0]}
  for word, wanted in words.items():
    recipe = cfg.Optim(steps=9, weight_decay=0.1, decay=word)
    assert jax.tree.leaves(optim.decay_factors(recipe, params)) == wanted


@pytest.mark.parametrize('name', ['sgd', 'adamw', 'adam'])
def test_each_parameter_has_its_own_rate_and_decay(name):
  rng = np.random.default_rng(0)
  draw = lambda: {k: jnp.asarray(rng.normal(size=3)) for k in ('body', 'head')}
  params, grads = draw(), [draw(), draw()]
  recipe = cfg.Optim(
    name=name,
    steps=9,
    weight_decay=0.4,
    rates=(('body', 0.1),),
    decays=(('head', 0.0), ('body', 0.5)),
  )
  tx = optim.make_optimizer(recipe, lambda step: 0.1, params)
  state, found = tx.init(params), params
  for g in grads:
    updates, state = tx.update(g, state, found)
    found = optax.apply_updates(found, updates)
  # Each alone, by an optimiser of its own.
  for key, rate, decay in (('body', 0.01, 0.2), ('head', 0.1, 0.0)):
    alone = dataclasses.replace(recipe, weight_decay=decay, rates=(), decays=())
    tx = optim.make_optimizer(alone, lambda step, rate=rate: rate, params[key])
    state, wanted = tx.init(params[key]), params[key]
    for g in grads:
      updates, state = tx.update(g[key], state, wanted)
      wanted = optax.apply_updates(wanted, updates)
    np.testing.assert_allclose(found[key], wanted, rtol=1e-6)


def literal(**fields) -> list[float]:
  """The rates of all steps: four clips an epoch, two a step."""
  recipe = cfg.Optim(**fields)
  rate = optim.make_schedule(recipe, examples=4, batch=2)
  total = optim.total_steps(recipe, examples=4, batch=2)
  return [float(rate(n)) for n in range(total)]


C = [(1 + np.cos(np.pi * e / 4)) / 2 for e in range(9)]


def test_mmcvs_warm_up_multiplies_the_cosine_of_the_current_epoch():
  rates = literal(
    lr=2.0, epochs=4.0, rate_by='epoch', final_lr=0.2,
    warmup=1.5, warmup_lr=0.2, warmup_to='scaled',
  )  # fmt: skip
  c = [0.2 + 1.8 * v for v in C[:4]]
  assert rates == pytest.approx(
    [c[0] * 0.1, c[0] * 0.4, c[1] * 0.7, c[1], c[2], c[2], c[3], c[3]]
  )


def test_mmcvs_warm_up_that_ends_between_steps_holds_until_the_next_epoch():
  rates = literal(
    lr=1.0, epochs=4.0, rate_by='epoch',
    warmup=1.25, warmup_lr=0.5, warmup_to='scaled',
  )  # fmt: skip
  assert rates[:4] == pytest.approx([0.5, 0.7, C[1] * 0.9, C[1] * 0.9])
  assert rates[4] == pytest.approx(C[2])


def test_timms_warm_up_leads_to_the_peak_and_comes_an_update_late():
  rates = literal(
    lr=1.0, epochs=4.0, warmup=1.0, warmup_lr=0.2, warmup_to='peak', late=1.0
  )
  f = [0.2, 0.6, *((1 + np.cos(np.pi * t / 8)) / 2 for t in range(2, 8))]
  assert rates == pytest.approx([f[0], *f[:7]])


def test_a_rate_by_epoch_needs_epochs():
  recipe = cfg.Optim(steps=9, rate_by='epoch')
  with pytest.raises(InputError, match=r'try --config.optim.rate_by=update'):
    optim.check(recipe)


@pytest.mark.parametrize('name', ['sgd', 'adamw'])
@pytest.mark.parametrize('skip', ['^block_1/', 'bias', 'block_[13]/up'])
def test_stacked_blocks_decay_as_the_single_ones_that_the_regex_names(
  name, skip
):
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  params = {f'block_{i}': {'up': draw(2, 3), 'bias': draw(3)} for i in range(4)}
  grads = jax.tree.map(lambda p: draw(*p.shape), params)
  stack = lambda tree: stacked_blocks.stack_blocks(tree, ['block_[0:4]'])
  read = {'sgd': {'momentum': 0.5}, 'adamw': {'b2': 0.9}}[name]
  recipe = cfg.Optim(
    name=name,
    steps=9,
    weight_decay=0.3,
    decays=((skip, 0.0),),
    rates=((skip, 0.5),),
    **read,
  )

  def updates(params, grads):
    tx = optim.make_optimizer(recipe, lambda step: 0.1, params)
    state = tx.init(params)
    for _ in range(2):
      found, state = tx.update(grads, state, params)
    return found

  wanted = updates(params, grads)
  found = updates(stack(params), stack(grads))
  assert list(found) == ['block_[0:4]']
  jax.tree.map(
    np.testing.assert_array_equal, stacked_blocks.unstack_blocks(found), wanted
  )
  with pytest.raises(InputError, match=r"such as 'block_0/bias'"):
    optim.rate_factors(cfg.Optim(rates=(('baise', 0.0),)), stack(params))


def test_gradients_are_clipped_by_their_global_norm():
  recipe = cfg.Optim(name='sgd', steps=9, momentum=0.0, nesterov=False)
  recipe = dataclasses.replace(recipe, clip_norm=1.0)
  params = {'a': jnp.zeros(1), 'b': jnp.zeros(1)}
  tx = optim.make_optimizer(recipe, lambda step: 1.0, params)
  grads = {'a': jnp.array([3.0]), 'b': jnp.array([4.0])}
  updates, _ = tx.update(grads, tx.init(params), params)
  np.testing.assert_allclose([updates['a'][0], updates['b'][0]], [-0.6, -0.8])


def test_the_sum_so_far_is_clipped_after_each_microbatch():
  grads = np.array([[3.0, 4.0], [0.0, 1.0]], np.float32)  # of two microbatches
  recipe = cfg.skeleton(family='timesformer')
  recipe.data.dir, recipe.batch, recipe.accumulate = 'somewhere', 2, 2
  recipe.optim.update(steps=1, clip_norm=1.0, clip_at='microbatch')
  now = train_state.TrainState(0, {}, (), None, {}, None)
  found, _, _ = step._accumulate(
    lambda kept, part, m: (part['g'].sum(0), ({}, kept)),
    jnp.zeros(2),
    now,
    {'g': grads, 'mask': np.ones(2, np.float32)},
    config=cfg.check(recipe),
  )
  # A mean over both: (1.5, 2) of norm 2.5, then plus (0, 0.5).
  after = np.array([0.6, 0.8 + 0.5])
  np.testing.assert_allclose(found / 2, after / np.hypot(*after), rtol=1e-5)


@pytest.mark.fast_every(2)
def test_an_optimizer_and_a_schedule_are_one_file_each(tmp_path, monkeypatch):
  records = fake.write(tmp_path / 'records')
  changes = dict(
    optim__name='heavy_ball', optim__schedule='straight', optim__steps=2,
    optim__warmup=0.0, optim__final_lr=1e-3, optim__lr=0.1,
    optim__weight_decay=0.0, optim__decays=(), optim__b2=0.999,
    optim__momentum=0.5, log__every=1, model__layers=1,
  )  # fmt: skip
  with pytest.raises(
    InputError, match=r"'heavy_ball' for optim.name; expected"
  ):
    tiny.config(records, **changes)
  stranger_optim.add(tmp_path / 'stranger', monkeypatch)
  config = tiny.config(records, **changes)
  assert loop.train(config, tmp_path / 'run').step == 2
  lines = (tmp_path / 'run/metrics.jsonl').read_text().splitlines()
  rates = [json.loads(line)['train/learning_rate'] for line in lines]
  assert rates == pytest.approx([0.1, (0.1 + 1e-3) / 2])
  with pytest.raises(InputError, match=r'optim.name=adam or adamw or sgd; try'):
    tiny.config(records, **changes | {'optim__weight_decay': 0.1})
  with pytest.raises(InputError, match=r'optim.schedule=cosine or straight'):
    tiny.config(records, **changes | {'optim__schedule': 'constant'})
