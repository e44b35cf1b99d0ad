"""The pre-norm block: its equation, what it is given, what falls away."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.nn.transformer import DropPath, TransformerBlock

constant = jax.nn.initializers.constant


S_BLD = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)


def drop(h, rate=0.3, seed=0, train=True):
  rngs = {'drop_path': jax.random.key(seed)} if train else {}
  return DropPath(rate).apply({}, h, train, rngs=rngs)


def test_sequences_are_dropped_whole_at_the_rate_and_the_rest_scaled_up():
  out = np.asarray(drop(jnp.ones((40, 50, 3, 2))))
  kept = out[..., 0, 0] != 0
  assert (
    out == np.where(kept, np.float32(1) / np.float32(0.7), 0)[..., None, None]
  ).all()
  # 2000 draws: the standard deviation of the mean is 0.01.
  assert abs(kept.mean() - 0.7) < 0.04
  # Alone on both leading axes, not one draw for a row or a column of them.
  assert kept.any(0).all()
  assert kept.any(1).all()
  assert not kept.all(0).any()
  assert not kept.all(1).any()


def test_the_mean_is_kept():
  assert abs(float(drop(jnp.ones((4000, 1, 1))).mean()) - 1) < 0.05


def test_the_same_key_draws_the_same_and_another_does_not():
  h = jnp.ones((64, 2, 2))
  np.testing.assert_array_equal(drop(h, seed=1), drop(h, seed=1))
  assert (drop(h, seed=1) != drop(h, seed=2)).any()


def test_nothing_is_dropped_or_drawn_in_evaluation_or_at_rate_0():
  h = jnp.arange(8.0).reshape(2, 2, 2)
  np.testing.assert_array_equal(drop(h, train=False), h)
  np.testing.assert_array_equal(DropPath(0.0).apply({}, h, True), h)


def test_a_rate_of_1_is_refused():
  with pytest.raises(ValueError, match=r'drop path rate of 1\.0'):
    drop(jnp.ones((2, 2, 2)), rate=1.0)


@pytest.mark.parametrize('shared', [1, 2, 3, 4])
def test_the_last_axes_share_one_draw_and_the_others_have_their_own(shared):
  h = np.ones((8, 9, 10, 7, 2), np.float32)
  rngs = {'drop_path': jax.random.key(1)}
  run = jax.jit(lambda h: DropPath(0.5, shared).apply({}, h, True, rngs=rngs))
  kept = np.asarray(run(h)) > 0
  rest = tuple(range(5 - shared, 5))
  assert (kept.all(rest) == kept.any(rest)).all()
  drawn = kept.all(rest)  # one draw a clip, a frame, a row ...
  for axis in range(drawn.ndim):
    assert (drawn != np.take(drawn, [0], axis)).any()
  if drawn.ndim > 1:
    assert abs(drawn.mean() - 0.5) < 0.15


def test_a_rate_that_a_scan_gives_is_kept_to_and_may_be_0():
  h = jnp.ones((4000, 1, 1))
  rngs = {'drop_path': jax.random.key(1)}
  run = jax.jit(lambda rate: DropPath(rate).apply({}, h, True, rngs=rngs))
  out = np.asarray(run(jnp.float32(0.25)))
  assert abs((out > 0).mean() - 0.75) < 0.03
  np.testing.assert_allclose(out[out > 0], 4 / 3, rtol=1e-6)
  np.testing.assert_array_equal(run(jnp.float32(0)), h)


def test_bfloat16_stays_bfloat16():
  out = drop(jnp.ones((4, 1, 1), jnp.bfloat16))
  assert out.dtype == jnp.bfloat16


def start(block: TransformerBlock, s_xLD=S_BLD, **more):
  """Parameters away from zero, so that no path is closed."""
  init = functools.partial(block.init, train=False, **more)
  abstract = jax.eval_shape(init, jax.random.key(0), s_xLD)['params']
  rng = np.random.default_rng(3)
  draw = lambda x: np.float32(0.5 * rng.normal(size=x.shape))
  return {'params': jax.tree.map(draw, abstract)}


def run(
  block: TransformerBlock, variables, s_xLD=S_BLD, *, train=False, **more
):
  apply = functools.partial(block.apply, train=train)
  return jax.jit(apply)(variables, s_xLD, **more)


def norm(s_LD, params, epsilon):
  middle = s_LD - s_LD.mean(-1, keepdims=True)
  z_LD = middle / np.sqrt((middle**2).mean(-1, keepdims=True) + epsilon)
  return z_LD * params['scale'] + params['bias']


def attention(q_LD, k_SD, params):
  """Both the projections and the sums over keys, head by head, in float64."""
  qkv, out = params['qkv'], params['out']
  more_LD = np.array(out['bias'], float)[None]
  for a in range(qkv['kernel'].shape[2]):
    q, k, v = (
      s @ qkv['kernel'][:, i, a] + qkv['bias'][i, a]
      for i, s in enumerate((q_LD, k_SD, k_SD))
    )
    p_QS = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
    more_LD = (
      more_LD + p_QS / p_QS.sum(-1, keepdims=True) @ v @ out['kernel'][a]
    )
  return more_LD


def by_hand(s_LD, params, *, epsilon, activation, memory_SD=None):
  s_LD = s_LD.astype(float)
  z_LD = norm(s_LD, params['attn_norm'], epsilon)
  seen_SD = z_LD if memory_SD is None else np.concatenate([z_LD, memory_SD])
  s_LD = s_LD + attention(z_LD, seen_SD, params['attn'])
  up, down = params['mlp']['up'], params['mlp']['down']
  h_LF = norm(s_LD, params['mlp_norm'], epsilon) @ up['kernel'] + up['bias']
  return s_LD + activation(h_LF) @ down['kernel'] + down['bias']


def erf_gelu(x):
  return np.asarray(x * jax.scipy.stats.norm.cdf(x))


@pytest.mark.parametrize(
  ('fields', 'activation'),
  [
    ({}, erf_gelu),
    ({'epsilon': 0.3}, erf_gelu),  # large enough to be seen
    ({'activation': jax.nn.relu}, lambda x: np.maximum(x, 0)),
  ],
  ids=['as a ViT', 'epsilon', 'relu'],
)
def test_a_block_is_its_equation(fields, activation):
  block = TransformerBlock(heads=2, hidden=7, **fields)
  variables = start(block)
  out_BLD = run(block, variables)
  for b in range(2):
    wanted = by_hand(
      S_BLD[b],
      variables['params'],
      epsilon=fields.get('epsilon', 1e-6),
      activation=activation,
    )
    np.testing.assert_allclose(out_BLD[b], wanted, atol=2e-5)


def test_memory_is_looked_at_as_it_comes_and_not_changed():
  # The caller normalises it; it gets no perceptron and no residual.
  block = TransformerBlock(heads=2, hidden=7)
  memory_BSD = 2 * S_BLD[:, :3] + 1
  variables = start(block)
  out_BLD = run(block, variables, memory_xSD=memory_BSD)
  assert out_BLD.shape == S_BLD.shape
  wanted = by_hand(
    S_BLD[0],
    variables['params'],
    epsilon=1e-6,
    activation=erf_gelu,
    memory_SD=memory_BSD[0],
  )
  np.testing.assert_allclose(out_BLD[0], wanted, atol=2e-5)


def test_fields_reach_the_attention():
  def mean_frame(k_xSAd, v_xSAd):
    same = lambda x: jnp.broadcast_to(x.mean(-3, keepdims=True), x.shape)
    return same(k_xSAd), same(v_xSAd)

  block = TransformerBlock(heads=2, hidden=7, mix=mean_frame, qkv_bias=False)
  variables = start(block)
  assert set(variables['params']['attn']['qkv']) == {'kernel'}
  kept = block.apply(variables, S_BLD, False, mutable='intermediates')[1]
  (p_BAQS,) = kept['intermediates']['attn']['weights']
  np.testing.assert_allclose(p_BAQS, 1 / 5, atol=1e-6)  # all keys are the same


def test_weights_and_biases_are_drawn_as_told():
  block = TransformerBlock(
    heads=2,
    hidden=7,
    kernel_init=constant(0.5),
    bias_init=lambda inputs: constant(inputs / 4),
  )
  params = block.init(jax.random.key(0), S_BLD, False)['params']
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    name, of = path[-1].key, path[-2].key
    if not of.endswith('_norm'):
      inputs = {'qkv': 6, 'out': 6, 'up': 6, 'down': 7}[of]
      wanted = {'kernel': 0.5, 'bias': inputs / 4}
      assert (leaf == wanted[name]).all(), path


def test_both_branches_of_a_sequence_are_dropped_alone():
  block = TransformerBlock(heads=2, hidden=7, drop_path=0.5)
  s_BLD = np.repeat(S_BLD[:1], 400, axis=0)
  variables = start(block)
  # A perceptron that adds its bias alone: the four cases are told apart.
  variables['params']['mlp']['down']['kernel'][:] = 0
  out = run(
    block, variables, s_BLD, train=True, rngs={'drop_path': jax.random.key(0)}
  )
  more = np.asarray(out) - s_BLD
  mlp = 2 * variables['params']['mlp']['down']['bias']
  z_LD = norm(S_BLD[0], variables['params']['attn_norm'], 1e-6)
  attn = 2 * attention(z_LD, z_LD, variables['params']['attn'])
  zero = np.zeros_like(attn)
  for case in (zero, zero + mlp, attn, attn + mlp):
    share = np.isclose(more, case, atol=1e-4).all((1, 2)).mean()
    assert 0.17 < share < 0.33


def test_norms_stay_exact_in_bfloat16():
  # Statistics in bfloat16 would be noise: 300 has a neighbour at 302.
  block = TransformerBlock(heads=2, hidden=7, dtype=jnp.bfloat16)
  variables = start(block)
  far = jnp.asarray(300 + S_BLD, jnp.bfloat16)
  _, kept = block.apply(
    variables, far, False, capture_intermediates=True, mutable='intermediates'
  )
  (z_BLD,) = kept['intermediates']['attn_norm']['__call__']
  wanted = norm(np.asarray(far, float), variables['params']['attn_norm'], 1e-6)
  assert z_BLD.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    np.asarray(z_BLD, float), wanted, atol=0.01 * abs(wanted).max()
  )
