"""Attention and the sequences it runs on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.models.timesformer import (
  grid_from_sequences,
  lead_with_class,
  sequences_along,
  split_class,
)
from vidmodels.nn.transformer import Attention, attend, attention_weights

# B, T, H, W, D all different, so that swapped axes cannot pass.
GRID = (2, 3, 4, 5, 6)


def normal(seed: int, shape: tuple[int, ...]) -> jax.Array:
  draw = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(draw, jnp.float32)


@pytest.mark.parametrize(
  ('axes', 'einsum', 'shape'),
  [
    ('T', 'bthwd->bhwtd', (2, 4, 5, 3, 6)),
    ('HW', 'bthwd->bthwd', (2, 3, 20, 6)),
    ('THW', 'bthwd->bthwd', (2, 60, 6)),
    ('W', 'bthwd->bthwd', (2, 3, 4, 5, 6)),
    ('H', 'bthwd->btwhd', (2, 3, 5, 4, 6)),
  ],
)
def test_sequences_hold_the_named_axes_and_go_back(axes, einsum, shape):
  h_BTHWD = normal(0, GRID)
  s_xLD = sequences_along(h_BTHWD, axes)
  assert s_xLD.shape == shape
  wanted = jnp.einsum(einsum, h_BTHWD).reshape(shape)
  np.testing.assert_array_equal(s_xLD, wanted)
  np.testing.assert_array_equal(grid_from_sequences(s_xLD, GRID, axes), h_BTHWD)


@pytest.mark.parametrize('axes', ['HW', 'THW', 'W', 'H'])
def test_every_sequence_is_led_by_the_class_token_of_its_clip(axes):
  cls_BTD, h_BTHWD = normal(1, (2, 1, 6)), normal(0, GRID)
  s_xLD = lead_with_class(cls_BTD, h_BTHWD, axes)
  heads = s_xLD[..., 0, :].reshape(2, -1, 6)
  np.testing.assert_array_equal(heads, jnp.broadcast_to(cls_BTD, heads.shape))
  np.testing.assert_array_equal(
    s_xLD[..., 1:, :], sequences_along(h_BTHWD, axes)
  )


def test_a_class_token_a_frame_leads_its_own_frame():
  cls_BTD, h_BTHWD = normal(1, (2, 3, 6)), normal(0, GRID)
  s_BTLD = lead_with_class(cls_BTD, h_BTHWD, 'HW')
  np.testing.assert_array_equal(s_BTLD[:, :, 0], cls_BTD)
  again_BTD, _ = split_class(s_BTLD, cls_BTD, h_BTHWD, 'HW')
  np.testing.assert_array_equal(again_BTD, cls_BTD)


def test_copies_of_a_class_token_are_averaged_over_the_frames_of_their_clip():
  cls_BTD, h_BTHWD = jnp.zeros((2, 1, 6)), normal(0, GRID)
  s_BTLD = normal(2, (2, 3, 21, 6))
  mean_BTD, h_back = split_class(s_BTLD, cls_BTD, h_BTHWD, 'HW')
  np.testing.assert_allclose(mean_BTD[:, 0], s_BTLD[:, :, 0].mean(1), rtol=1e-6)
  np.testing.assert_array_equal(h_back.reshape(2, 3, 20, 6), s_BTLD[:, :, 1:])


def test_attention_is_the_papers_sum_over_heads_and_keys():
  q_QAd, k_SAd, v_SAd = (
    np.asarray(normal(i, (n, 2, 3))) for i, n in enumerate((4, 5, 5))
  )
  got_QAd = attend(q_QAd, k_SAd, v_SAd)
  for q in range(4):
    for a in range(2):
      logits = [q_QAd[q, a] @ k_SAd[s, a] / np.sqrt(3) for s in range(5)]
      shares = np.exp(logits) / np.exp(logits).sum()
      wanted = sum(shares[s] * v_SAd[s, a] for s in range(5))
      np.testing.assert_allclose(got_QAd[q, a], wanted, rtol=1e-5, atol=1e-6)


def test_softmax_is_float32_in_a_bfloat16_computation():
  q, k = (normal(i, (2, 7, 2, 4)).astype(jnp.bfloat16) for i in range(2))
  p_xAQS = attention_weights(q, k)
  assert p_xAQS.dtype == jnp.float32
  # Not rounded to bfloat16 on the way: sums of 7 would be off by 1e-3.
  np.testing.assert_allclose(p_xAQS.sum(-1), 1, atol=1e-6)
  assert attend(q, k, k).dtype == jnp.bfloat16


def test_each_head_reads_its_own_slice_of_query_key_and_value():
  module, s_BLD = Attention(heads=2), normal(0, (1, 5, 6))
  params = module.init(jax.random.key(1), s_BLD)['params']
  assert params['qkv']['kernel'].shape == (6, 3, 2, 3)
  out = module.apply({'params': params}, s_BLD)
  # Without head 1's values, only head 0 is left in the output.
  cut = jax.tree.map(lambda x: x, params)
  cut['qkv']['kernel'] = cut['qkv']['kernel'].at[:, 2, 1].set(0)
  kernel = params['out']['kernel']
  head0 = jax.tree.map(lambda x: x, params)
  head0['out']['kernel'] = kernel.at[1].set(0)
  np.testing.assert_allclose(
    module.apply({'params': cut}, s_BLD),
    module.apply({'params': head0}, s_BLD),
    atol=1e-7,
  )
  assert not np.allclose(module.apply({'params': cut}, s_BLD), out, atol=1e-5)


def test_bias_free_projections_have_no_bias():
  module = Attention(heads=2, qkv_bias=False)
  params = module.init(jax.random.key(0), jnp.ones((1, 5, 6)))['params']
  assert set(params['qkv']) == {'kernel'}
  assert set(params['out']) == {'kernel', 'bias'}


def test_attention_maps_are_kept_on_request_only():
  module, s_BLD = Attention(heads=2), normal(0, (1, 5, 6))
  variables = module.init(jax.random.key(1), s_BLD)
  assert set(variables) == {'params'}
  plain = module.apply(variables, s_BLD)
  out, kept = module.apply(variables, s_BLD, mutable='intermediates')
  np.testing.assert_array_equal(out, plain)
  (p_xAQS,) = kept['intermediates']['weights']
  assert p_xAQS.shape == (1, 2, 5, 5)
  np.testing.assert_allclose(p_xAQS.sum(-1), 1, atol=1e-6)


def test_heads_that_do_not_divide_the_width_are_named():
  with pytest.raises(ValueError, match='width 6, which does not divide into 4'):
    Attention(heads=4).init(jax.random.key(0), jnp.ones((1, 5, 6)))


def test_a_masked_key_is_not_seen_and_the_others_share_its_weight():
  q, k, v = (normal(i, (3, n, 2, 4)) for i, n in enumerate((4, 5, 5)))
  mask_QS = np.random.default_rng(0).random((3, 4, 5)) < 0.6
  mask_QS[..., 0] = True  # a query that may look at nothing has no answer
  p_xAQS = np.asarray(attention_weights(q, k, mask_QS))
  assert p_xAQS.shape == (3, 2, 4, 5)
  full = np.asarray(attention_weights(q, k)) * mask_QS[:, None]
  np.testing.assert_allclose(
    p_xAQS, full / full.sum(-1, keepdims=True), atol=1e-6
  )
  assert (p_xAQS[~np.broadcast_to(mask_QS[:, None], p_xAQS.shape)] == 0).all()
  wanted = jnp.einsum('xaqs,xsad->xqad', p_xAQS, v)
  np.testing.assert_allclose(attend(q, k, v, mask_QS), wanted, atol=1e-6)
  # Gradients too are those of the keys that are left, and finite.
  seen = jax.grad(lambda k: attend(q, k, v, mask_QS)[0, 0].sum())(k)
  assert np.isfinite(seen).all()
  np.testing.assert_array_equal(abs(seen[0]).max((1, 2)) > 0, mask_QS[0, 0])


def test_one_mask_serves_every_sequence_in_front_of_it():
  q, k = (normal(i, (2, 3, 4, 2, 5)) for i in range(2))
  mask_QS = np.tril(np.ones((4, 4), bool))
  p_xAQS = attention_weights(q, k, mask_QS)
  assert p_xAQS.shape == (2, 3, 2, 4, 4)
  np.testing.assert_array_equal(
    p_xAQS > 0, np.broadcast_to(mask_QS, p_xAQS.shape)
  )


@functools.cache
def attention(**fields):
  module = Attention(heads=2, **fields)
  params = module.init(jax.random.key(1), normal(0, (2, 5, 6)))['params']
  rng = np.random.default_rng(5)
  draw = lambda x: np.float32(0.4 * rng.normal(size=x.shape))
  return module, {'params': jax.tree.map(draw, params)}


def test_memory_is_looked_at_as_tokens_are_and_does_not_look():
  module, variables = attention()
  s_BLD, memory_BSD = normal(0, (2, 5, 6)), normal(1, (2, 3, 6))
  out = module.apply(variables, s_BLD, memory_BSD)
  # As tokens of one sequence whose last three are not asked for.
  both = module.apply(variables, jnp.concatenate([s_BLD, memory_BSD], axis=1))
  np.testing.assert_allclose(out, both[:, :5], atol=1e-6)
  alone = module.apply(variables, s_BLD)
  assert abs(out - alone).max() > 1e-2


def test_a_mask_covers_memory_after_the_sequence():
  module, variables = attention()
  s_BLD, memory_BSD = normal(0, (2, 5, 6)), normal(1, (2, 3, 6))
  mask_QS = np.arange(8) < 5
  out = module.apply(variables, s_BLD, memory_BSD, mask_QS[None])
  np.testing.assert_allclose(out, module.apply(variables, s_BLD), atol=1e-6)
  _, kept = module.apply(
    variables, s_BLD, memory_BSD, mask_QS[None], mutable='intermediates'
  )
  (p_BAQS,) = kept['intermediates']['weights']
  assert p_BAQS.shape == (2, 2, 5, 8)
  assert not p_BAQS[..., 5:].any()


def swap_frames(k_xSAd, v_xSAd):
  """Keys of the next sequence, values of the one before."""
  return jnp.roll(k_xSAd, -1, axis=0), jnp.roll(v_xSAd, 1, axis=0)


def test_mix_changes_keys_and_values_and_neither_queries_nor_memory():
  s_BLD, memory_BSD = normal(0, (3, 5, 6)), normal(1, (3, 2, 6))
  module, variables = attention(mix=swap_frames)
  params = variables['params']
  q, k, v = jnp.moveaxis(
    jnp.einsum('bld,dcae->blcae', s_BLD, params['qkv']['kernel'])
    + params['qkv']['bias'],
    2,
    0,
  )
  _, mk, mv = jnp.moveaxis(
    jnp.einsum('bld,dcae->blcae', memory_BSD, params['qkv']['kernel'])
    + params['qkv']['bias'],
    2,
    0,
  )
  k, v = swap_frames(k, v)
  k, v = jnp.concatenate([k, mk], 1), jnp.concatenate([v, mv], 1)
  out = params['out']
  wanted = jnp.einsum('blae,aed->bld', attend(q, k, v), out['kernel'])
  got = module.apply(variables, s_BLD, memory_BSD)
  np.testing.assert_allclose(got, wanted + out['bias'], atol=2e-5)
  plain, _ = attention()
  assert abs(got - plain.apply(variables, s_BLD, memory_BSD)).max() > 1e-2


def test_a_bias_is_added_to_the_scaled_scores_of_each_head():
  q, k = (normal(i, (3, 4, 2, 5)) for i in range(2))
  bias_AQS = 2 * normal(2, (2, 4, 4))
  scores = jnp.einsum('xqad,xsad->xaqs', q, k) / np.sqrt(5) + bias_AQS
  shares = np.exp(scores)
  np.testing.assert_allclose(
    attention_weights(q, k, None, bias_AQS),
    shares / shares.sum(-1, keepdims=True),
    atol=1e-6,
  )
  mask_QS = np.tril(np.ones((4, 4), bool))
  assert not np.asarray(attention_weights(q, k, mask_QS, bias_AQS))[
    ..., ~mask_QS
  ].any()


def test_one_memory_serves_every_sequence_of_its_clip():
  module, variables = attention()
  s_BTLD, memory_BTSD = normal(0, (2, 4, 5, 6)), normal(1, (2, 1, 3, 6))
  each = jnp.repeat(memory_BTSD, 4, axis=1)
  np.testing.assert_allclose(
    module.apply(variables, s_BTLD, memory_BTSD),
    module.apply(variables, s_BTLD, each),
    atol=1e-6,
  )
