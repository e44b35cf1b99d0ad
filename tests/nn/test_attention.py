"""Attention and the sequences it runs on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.nn.attention import Attention, attend, weights
from vidmodels.nn.grid import along, back, join, part

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
  s_xLD = along(h_BTHWD, axes)
  assert s_xLD.shape == shape
  wanted = jnp.einsum(einsum, h_BTHWD).reshape(shape)
  np.testing.assert_array_equal(s_xLD, wanted)
  np.testing.assert_array_equal(back(s_xLD, GRID, axes), h_BTHWD)


@pytest.mark.parametrize('axes', ['HW', 'THW', 'W', 'H'])
def test_every_sequence_is_led_by_the_class_token_of_its_clip(axes):
  cls_BTD, h_BTHWD = normal(1, (2, 1, 6)), normal(0, GRID)
  s_xLD = join(cls_BTD, h_BTHWD, axes)
  heads = s_xLD[..., 0, :].reshape(2, -1, 6)
  np.testing.assert_array_equal(heads, jnp.broadcast_to(cls_BTD, heads.shape))
  np.testing.assert_array_equal(s_xLD[..., 1:, :], along(h_BTHWD, axes))


def test_a_class_token_a_frame_leads_its_own_frame():
  cls_BTD, h_BTHWD = normal(1, (2, 3, 6)), normal(0, GRID)
  s_BTLD = join(cls_BTD, h_BTHWD, 'HW')
  np.testing.assert_array_equal(s_BTLD[:, :, 0], cls_BTD)
  again_BTD, _ = part(s_BTLD, cls_BTD, h_BTHWD, 'HW')
  np.testing.assert_array_equal(again_BTD, cls_BTD)


def test_copies_of_a_class_token_are_averaged_over_the_frames_of_their_clip():
  cls_BTD, h_BTHWD = jnp.zeros((2, 1, 6)), normal(0, GRID)
  s_BTLD = normal(2, (2, 3, 21, 6))
  mean_BTD, h_back = part(s_BTLD, cls_BTD, h_BTHWD, 'HW')
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
  p_xAQS = weights(q, k)
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
  with pytest.raises(ValueError, match='width 6 does not divide into 4 heads'):
    Attention(heads=4).init(jax.random.key(0), jnp.ones((1, 5, 6)))
