"""Layers as one scan: the same answers, gradients and names as one by one."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vidmodels.nn import stack, stacked_blocks
from vidmodels.nn.batch_norm import BatchNorm
from vidmodels.nn.transformer import DropPath

H_BLD = np.random.default_rng(0).normal(size=(64, 3, 4)).astype(np.float32)


class Layer(nn.Module):
  """A residual layer with every field that a family's block may have."""

  drop_path: float = 0.0
  dropout: float = 0.0
  scale: float = 1.0
  activation: Callable[..., jax.Array] = jnp.tanh
  batch_norm: bool = False
  twice: bool = False  # whether the carry is a pair

  @nn.compact
  def __call__(self, h_BLD: jax.Array, *rest: Any):
    *more, train = rest
    h = self.activation(nn.Dense(h_BLD.shape[-1], name='fc')(h_BLD))
    if self.batch_norm:
      h = BatchNorm(name='norm')(h, train)
    h = nn.Dropout(self.dropout, deterministic=not train)(h * self.scale)
    h = h_BLD + DropPath(self.drop_path, name='drop')(h, train)
    self.sow('intermediates', 'after', h)
    return (h, more[0] + h.sum(-1)) if self.twice else h


class Net(nn.Module):
  """Layers given by their fields, and `stack.run` over them."""

  layers: tuple[tuple[tuple[str, Any], ...], ...]
  scan: bool = True
  remat: str = 'none'

  def setup(self):
    # `train` comes last, counted from self.
    static = 2 + any(dict(fields).get('twice') for fields in self.layers)
    kind = stack.remat(Layer, self.remat, train_at=static)
    self.blocks = [
      kind(**dict(fields), name=f'block_{i}')
      for i, fields in enumerate(self.layers)
    ]

  def __call__(self, h_BLD: jax.Array, train: bool = False):
    twice = any(dict(fields).get('twice') for fields in self.layers)
    carry = (h_BLD, h_BLD.sum(-1)) if twice else h_BLD
    return stack.run(
      self.blocks, carry, train=train, scan=self.scan, policy=self.remat
    )


def net(*layers: dict, **fields) -> Net:
  return Net(tuple(tuple(layer.items()) for layer in layers), **fields)


@functools.cache
def variables(model: Net):
  return jax.jit(model.init)(jax.random.key(1), H_BLD)


def in_state(model: Net):
  """The variables as a training state has them: stacked where scanned."""
  given = variables(model.clone(scan=False))
  entries = stack.stacked_entries(model, given, H_BLD)
  return {k: stacked_blocks.stack_blocks(v, entries) for k, v in given.items()}


def scans(model: Net, **more) -> int:
  """How many scans the model's program has."""
  given = variables(model.clone(scan=False))
  run = functools.partial(model.apply, **more)
  return str(jax.make_jaxpr(run)(given, H_BLD)).count(' scan[')


def answers(model: Net, **more):
  """Outputs, and gradients of all parameters and of the input."""
  given = variables(model.clone(scan=False))

  def loss(given, h_BLD):
    out = model.apply(given, h_BLD, **more)
    return sum((o**2).sum() for o in jax.tree.leaves(out)), out

  grad = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
  return jax.device_get(grad(given, H_BLD))


def assert_close(ours, theirs):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    ours,
    theirs,
  )


@pytest.mark.parametrize(
  'layers',
  [
    [{}] * 3,
    [{'twice': True}] * 3,
    [{'drop_path': rate} for rate in (0.0, 0.1, 0.2)],
    [{'batch_norm': True}] * 3,
  ],
  ids=['an array', 'a pair', 'unlike rates', 'statistics'],
)
@pytest.mark.parametrize('remat', ['none', 'block', 'dots', 'save_attention'])
@pytest.mark.fast_every(5)
def test_a_scan_has_the_answers_and_gradients_of_layers_one_by_one(
  layers, remat
):
  model = net(*layers, remat=remat)
  assert scans(model) == 1
  assert scans(model.clone(scan=False)) == 0
  assert_close(answers(model), answers(net(*layers, scan=False)))


def test_remat_is_inside_the_scan():
  model = net({}, {}, {}, remat='block')
  given = variables(model.clone(scan=False))
  body = str(jax.make_jaxpr(model.apply)(given, H_BLD)).split(' scan[')[1]
  assert 'prevent_cse' in body  # a field of the checkpoint's equation alone


def test_parameters_keep_their_names_and_shapes():
  made = jax.eval_shape(net({}, {}).init, jax.random.key(0), H_BLD)['params']
  assert set(made) == {'block_0', 'block_1'}
  assert made['block_1']['fc']['kernel'].shape == (4, 4)
  drawn = variables(net({}, {}))['params']
  assert (
    abs(
      drawn['block_0']['fc']['kernel'] - drawn['block_1']['fc']['kernel']
    ).max()
    > 0.1
  )


def test_unlike_layers_stay_in_their_place_between_scans():
  layers = [{}, {}, {'scale': 3.0}, {}, {}]
  assert scans(net(*layers)) == 2
  assert scans(net({}, {'scale': 2.0}, {})) == 0  # nobody has a neighbour
  assert_close(answers(net(*layers)), answers(net(*layers, scan=False)))
  # Order matters here, so the line above can fail.
  moved = answers(net(*layers[2:], *layers[:2], scan=False))[1]
  assert abs(moved - answers(net(*layers))[1]).max() > 1e-2


def test_layers_of_other_functions_are_not_taken_for_alike():
  layers = [{'activation': jnp.tanh}, {'activation': jnp.sin}] * 2
  assert scans(net(*layers)) == 0
  assert_close(answers(net(*layers)), answers(net(*layers, scan=False)))
  same = [{'activation': jnp.sin}] * 3
  assert scans(net(*same)) == 1
  assert_close(answers(net(*same)), answers(net(*same, scan=False)))


def test_nothing_falls_away_while_training_if_every_rate_is_0():
  rngs = {'drop_path': jax.random.key(3), 'dropout': jax.random.key(4)}
  plain = answers(net({}, {}, {}, scan=False))
  assert_close(answers(net({}, {}, {}), train=True, rngs=rngs), plain)
  assert_close(answers(net({}, {}, {}), train=True), plain)  # needs no key


def closed(rates, *, scan: bool, seed: int = 0, field: str = 'drop_path'):
  """What each layer adds, [layers, B], if all add 1, 10, 100 ... undropped."""
  model = net(
    *({field: rate, 'activation': jnp.exp} for rate in rates), scan=scan
  )
  given = jax.tree.map(jnp.zeros_like, variables(model))
  tens = [float(np.log(10.0**i)) for i in range(len(rates))]
  for i, ten in enumerate(tens):
    given['params'][f'block_{i}']['fc']['bias'] += ten
  rngs = {field: jax.random.key(seed)}
  run = jax.jit(functools.partial(model.apply, train=True))
  out_B = run(given, np.zeros((4000, 1, 4), np.float32), rngs=rngs)[:, 0, 0]
  # Every kept layer adds 10^i / (1 - rate): read from the largest down.
  found = []
  for i in reversed(range(len(rates))):
    size = 10.0**i / (1 - rates[i])
    kept_B = out_B > 0.6 * size
    found.insert(0, kept_B)
    out_B = out_B - np.where(kept_B, size, 0)
  assert abs(out_B).max() < 1e-2  # nothing is left: scales are right as well
  return np.array(found)


@pytest.mark.parametrize('scan', [True, False])
def test_every_layer_is_dropped_at_its_own_rate_and_scaled_by_it(scan):
  rates = (0.0, 0.2, 0.5)
  kept = closed(rates, scan=scan)
  # 4000 draws: the standard deviation of a share is at most .008.
  np.testing.assert_allclose(kept.mean(1), [1, 0.8, 0.5], atol=0.03)
  assert kept[0].all()


def test_layers_draw_apart_and_another_key_draws_anew():
  kept = closed((0.5, 0.5, 0.5), scan=True)
  for a, b in ((0, 1), (0, 2), (1, 2)):
    assert 0.45 < (kept[a] == kept[b]).mean() < 0.55
  again = closed((0.5, 0.5, 0.5), scan=True)
  np.testing.assert_array_equal(kept, again)
  other = closed((0.5, 0.5, 0.5), scan=True, seed=1)
  assert 0.45 < (kept == other).mean() < 0.55


@pytest.mark.parametrize('field', ['drop_path', 'dropout'])
def test_a_scan_draws_what_layers_one_by_one_draw(field):
  layers = [{field: rate} for rate in (0.3, 0.3, 0.3)]
  # One that is alone in between moves the numbers of those behind it.
  layers.insert(1, {field: 0.3, 'scale': 2.0})
  layers.append({field: 0.3})
  more = dict(train=True, rngs={field: jax.random.key(5)})
  model = net(*layers)
  assert scans(model, **more) == 1
  plain = answers(model.clone(scan=False), **more)
  assert_close(answers(model, **more), plain)
  run = functools.partial(model.apply, **more)
  assert_close(run(in_state(model), H_BLD), plain[1])
  still = model.apply(in_state(model), H_BLD)
  assert abs(plain[1] - still).max() > 0.1  # something was drawn


def test_a_state_is_stacked_where_layers_are_scanned():
  model = net({}, {}, {'scale': 3.0}, {}, {}, {})
  given = in_state(model)
  entries = ['block_2', 'block_[0:2]', 'block_[3:6]']
  assert sorted(given['params']) == entries
  assert given['params']['block_[3:6]']['fc']['kernel'].shape == (3, 4, 4)
  plain = variables(model.clone(scan=False))
  assert_close(stacked_blocks.unstack_blocks(given), plain)
  assert in_state(model.clone(scan=False)) is not given
  assert set(in_state(model.clone(scan=False))['params']) == set(
    plain['params']
  )

  def run(model, given):
    def loss(given):
      out = model.apply(given, H_BLD)
      return (out**2).sum(), out

    return jax.jit(jax.grad(loss, has_aux=True))(given)

  wanted = run(model.clone(scan=False), plain)
  # The program reads stacked leaves as they are: nothing is put together.
  program = str(jax.make_jaxpr(model.apply)(given, H_BLD))
  assert ' concatenate' not in program
  assert program.count(' scan[') == 2
  # A model that scans nothing, or other runs, reads rows of the same state.
  others = [model, model.clone(scan=False), net({}, *[{'scale': 3.0}] * 5)]
  for other in others[:2]:
    grads, out = run(other, given)
    assert_close((stacked_blocks.unstack_blocks(grads), out), wanted)
  cut = others[2].apply(given, H_BLD)
  assert_close(cut, others[2].clone(scan=False).apply(plain, H_BLD))


def test_dropout_of_layers_draws_apart_in_a_scan():
  model = net(*[{'dropout': 0.5}] * 2)
  assert scans(model, train=True, rngs={'dropout': jax.random.key(0)}) == 1
  given = jax.tree.map(jnp.zeros_like, variables(model))
  for i in range(2):
    given['params'][f'block_{i}']['fc']['bias'] += 20.0  # tanh is 1
  run = jax.jit(functools.partial(model.apply, train=True))
  out = run(given, 0 * H_BLD, rngs={'dropout': jax.random.key(0)})
  shares = [float(np.isclose(out, v).mean()) for v in (0, 2, 4)]
  np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.06)


def test_where_intermediates_are_asked_for_layers_run_plainly():
  model = net({}, {}, {})
  asked = dict(mutable='intermediates')
  assert scans(model, **asked) == 0
  out, kept = model.apply(variables(model), H_BLD, **asked)
  assert set(kept['intermediates']) == {f'block_{i}' for i in range(3)}
  last = kept['intermediates']['block_2']['after'][0]
  np.testing.assert_array_equal(out, last)


@pytest.mark.parametrize('stacked', [False, True])
def test_a_scan_writes_the_statistics_that_layers_one_by_one_write(stacked):
  model = net({}, *[{'batch_norm': True}] * 3)
  given = variables(model.clone(scan=False))
  train = dict(train=True, mutable=['batch_stats'])
  wanted = model.clone(scan=False).apply(given, H_BLD, **train)
  if stacked:
    given = in_state(model)
    assert set(given['batch_stats']) == {'block_[1:4]'}
  out, kept = model.apply(given, H_BLD, **train)
  assert jax.tree.structure(kept['batch_stats']) == jax.tree.structure(
    given['batch_stats']
  )
  kept = stacked_blocks.unstack_blocks(kept['batch_stats'])
  assert_close((out, kept), (wanted[0], wanted[1]['batch_stats']))
  assert set(kept) == {f'block_{i}' for i in (1, 2, 3)}
  moved = [abs(kept[f'block_{i}']['norm']['mean']).max() for i in (1, 2, 3)]
  assert min(moved) > 1e-4


def test_statistics_that_nobody_has_do_not_stop_a_scan():
  # A trainer may allow a collection that the layers do not use.
  assert scans(net({}, {}), mutable=['batch_stats']) == 1


def test_no_layers_change_nothing():
  np.testing.assert_array_equal(net().apply({}, H_BLD), H_BLD)


class Pair(nn.Module):
  """Two layers as one, each with a rate of its own."""

  drop_path: tuple[float, float]

  @nn.compact
  def __call__(self, h_BLD: jax.Array, train: bool) -> jax.Array:
    for i, name in enumerate(('one', 'other')):
      h_BLD = Layer(drop_path=self.drop_path[i], name=name)(h_BLD, train)
    return h_BLD


class Pairs(nn.Module):
  """Two pairs that differ in their rates alone."""

  scan: bool = True

  def setup(self):
    self.a = Pair((0.0, 0.5))
    self.b = Pair((0.5, 0.0))

  def __call__(self, h_BLD: jax.Array, train: bool = False) -> jax.Array:
    return stack.run(
      [self.a, self.b], h_BLD, train=train, scan=self.scan, policy='none'
    )


def test_a_layer_may_have_several_rates():
  given = Pairs(scan=False).init(jax.random.key(0), H_BLD)
  run = functools.partial(Pairs().apply, given)
  assert str(jax.make_jaxpr(run)(H_BLD)).count(' scan[') == 1
  wanted = Pairs(scan=False).apply(given, H_BLD)
  np.testing.assert_allclose(run(H_BLD), wanted, atol=1e-6)
  # Only 'one' of the first pair and 'other' of the second are always there.
  for pair in given['params'].values():
    for layer in pair.values():
      layer['fc']['kernel'] *= 0
      layer['fc']['bias'] += 20  # tanh is 1
  rngs = {'drop_path': jax.random.key(1)}
  out = jax.jit(functools.partial(run, train=True, rngs=rngs))(0 * H_BLD)
  assert set(np.unique(np.round(out, 4))) == {2.0, 4.0, 6.0}


@pytest.mark.parametrize('scan', [False, True])
def test_a_layer_knows_its_place_in_the_model(scan):
  model, places = net({}, {}, {'scale': 2.0}, scan=scan), []

  def note(run, args, kwargs, context):
    if isinstance(context.module, DropPath):
      places.append('/'.join(context.module.path))
    return run(*args, **kwargs)

  with nn.intercept_methods(note):
    jax.eval_shape(model.apply, variables(model.clone(scan=False)), H_BLD)
  # A scan has one program for all of its layers: the place of the first.
  first = ['block_0'] if scan else ['block_0', 'block_1']
  assert list(dict.fromkeys(places)) == [
    f'{block}/drop' for block in (*first, 'block_2')
  ]
