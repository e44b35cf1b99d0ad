"""Batch normalisation: by hand, against torch, and over several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vidmodels.nn.batch_norm import BatchNorm


def normal(seed: int, *shape: int) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def variables(D: int = 3):
  """Parameters and statistics that are all away from their start."""
  positive = lambda seed: np.exp(0.3 * normal(seed, D))
  return {
    'params': {'scale': positive(1), 'bias': normal(2, D)},
    'batch_stats': {'mean': normal(3, D), 'var': positive(4)},
  }


def train(h, given=None, **fields):
  given = variables(h.shape[-1]) if given is None else given
  run = lambda v, h: BatchNorm(**fields).apply(
    v, h, True, mutable=['batch_stats']
  )
  return jax.jit(run)(given, h)


def test_parameters_start_at_one_and_zero_as_do_the_statistics():
  made = BatchNorm().init(jax.random.key(0), 5 + normal(0, 4, 3), True)
  params, stats = made['params'], made['batch_stats']
  np.testing.assert_array_equal(params['scale'], np.ones(3))
  np.testing.assert_array_equal(params['bias'], np.zeros(3))
  np.testing.assert_array_equal(stats['mean'], np.zeros(3))
  np.testing.assert_array_equal(stats['var'], np.ones(3))


def test_training_normalises_by_the_biased_variance_of_the_batch():
  h, v = 3 + 2 * normal(0, 2, 4, 5, 3), variables()
  out, _ = train(h, v)
  flat = h.reshape(-1, 3).astype(np.float64)
  z = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
  wanted = z * v['params']['scale'] + v['params']['bias']
  np.testing.assert_allclose(out.reshape(-1, 3), wanted, atol=3e-6)


def test_running_variance_follows_the_unbiased_variance_by_a_tenth():
  h, v = 3 + 2 * normal(0, 2, 2, 3), variables()  # 4 values: 4/3 is far from 1
  _, made = train(h, v)
  flat, old = h.reshape(-1, 3), v['batch_stats']
  mean = 0.9 * old['mean'] + 0.1 * flat.mean(0)
  var = 0.9 * old['var'] + 0.1 * flat.var(0, ddof=1)
  np.testing.assert_allclose(made['batch_stats']['mean'], mean, rtol=1e-5)
  np.testing.assert_allclose(made['batch_stats']['var'], var, rtol=1e-5)


def test_evaluation_takes_the_running_statistics_and_leaves_them():
  h, v = normal(0, 2, 5, 3), variables()
  out, kept = BatchNorm(epsilon=0.1).apply(v, h, False, mutable=['batch_stats'])
  params, stats = v['params'], v['batch_stats']
  z = (h - stats['mean']) / np.sqrt(stats['var'] + 0.1)
  np.testing.assert_allclose(
    out, z * params['scale'] + params['bias'], atol=2e-6
  )
  jax.tree.map(np.testing.assert_array_equal, kept['batch_stats'], stats)


def test_a_momentum_of_one_forgets_the_past():
  h = normal(0, 6, 3)
  _, made = train(h, momentum=1.0)
  np.testing.assert_allclose(made['batch_stats']['mean'], h.mean(0), atol=1e-6)


def test_statistics_are_float32_in_a_bfloat16_computation():
  # Near 300 bfloat16 counts in steps of 2: a variance taken in it is noise.
  h = jnp.asarray(300 + 8 * normal(0, 64, 3), jnp.bfloat16)
  out, made = train(h, dtype=jnp.bfloat16)
  assert out.dtype == jnp.bfloat16
  assert {x.dtype for x in jax.tree.leaves(made)} == {jnp.dtype('float32')}
  old = variables()['batch_stats']
  exact = np.asarray(h, np.float64)
  var = 0.9 * old['var'] + 0.1 * exact.var(0, ddof=1)
  np.testing.assert_allclose(made['batch_stats']['var'], var, rtol=1e-4)


def test_torch_gives_the_same_outputs_gradients_and_statistics():
  torch = pytest.importorskip('torch')
  h, v, weight = 2 + normal(0, 2, 3, 4, 5), variables(5), normal(9, 2, 3, 4, 5)
  theirs = torch.nn.BatchNorm2d(5)
  channels = lambda x: torch.tensor(np.moveaxis(x, -1, 1).copy())
  with torch.no_grad():
    theirs.weight.copy_(torch.tensor(v['params']['scale']))
    theirs.bias.copy_(torch.tensor(v['params']['bias']))
    theirs.running_mean.copy_(torch.tensor(v['batch_stats']['mean']))
    theirs.running_var.copy_(torch.tensor(v['batch_stats']['var']))
  x = channels(h).requires_grad_()
  out = theirs(x)
  (out * channels(weight)).sum().backward()

  def loss(h, params):
    out, made = BatchNorm().apply(
      {**v, 'params': params}, h, True, mutable=['batch_stats']
    )
    return (out * weight).sum(), (out, made['batch_stats'])

  grads, (ours, stats) = jax.grad(loss, argnums=(0, 1), has_aux=True)(
    h, v['params']
  )
  back = lambda x: np.moveaxis(x.detach().numpy(), 1, -1)
  np.testing.assert_allclose(ours, back(out), atol=2e-6)
  np.testing.assert_allclose(grads[0], back(x.grad), atol=5e-6)
  wanted = {'scale': theirs.weight.grad, 'bias': theirs.bias.grad}
  for name, grad in wanted.items():
    np.testing.assert_allclose(grads[1][name], grad.numpy(), atol=1e-5)
  for name, stat in {
    'mean': theirs.running_mean,
    'var': theirs.running_var,
  }.items():
    np.testing.assert_allclose(stats[name], stat.numpy(), rtol=2e-6)
  theirs.eval()
  again = BatchNorm().apply(
    {'params': v['params'], 'batch_stats': stats}, h, False
  )
  np.testing.assert_allclose(again, back(theirs(x)), atol=2e-6)


def test_statistics_of_a_sharded_batch_are_those_of_the_whole_batch():
  # One row a device, each at a place of its own: a device's own mean would be
  # its place, and everything normalised to nearly nothing.
  h = normal(0, 8, 2, 3) + 10 * np.arange(8, dtype=np.float32)[:, None, None]
  wanted, stats = train(h)
  mesh = Mesh(np.array(jax.devices()), ('data',))
  spread = jax.device_put(h, NamedSharding(mesh, PartitionSpec('data')))
  assert len(spread.addressable_shards) == 8
  out, again = train(spread)
  np.testing.assert_allclose(out, wanted, atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), again, stats
  )


def test_training_by_a_single_value_is_refused_and_writing_asks_for_leave():
  with pytest.raises(ValueError, match=r'\(1, 3\), one value a channel'):
    train(normal(0, 1, 3))
  with pytest.raises(Exception, match='batch_stats'):
    BatchNorm().apply(variables(), normal(0, 4, 3), True)
