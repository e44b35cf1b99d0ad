"""The temporal head: attention over frames, and the perceptron that answers."""

import jax
import numpy as np

from vidmodels.models.xvit import (
  HEAD_EPSILON,
  FinalTokenBlock,
  MlpHead,
  TemporalAttention,
  mean_probabilities,
)
from vidmodels.nn.transformer import TransformerBlock


def normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
  draw = np.random.default_rng(seed).normal(size=shape)
  return draw.astype(np.float32)


def started(head, h) -> dict:
  init = jax.jit(head.init, static_argnums=2)
  return dict(init(jax.random.key(0), h, False)['params'])


def test_temporal_attention_gives_the_first_token_of_plain_blocks():
  frames_BTD = normal(6, (2, 4, 16))
  head = TemporalAttention(layers=1, heads=2)
  params = started(head, frames_BTD)
  params['class_token'] = normal(7, (16,))
  got = jax.jit(head.apply, static_argnums=2)(
    {'params': params}, frames_BTD, False
  )
  token = np.broadcast_to(params['class_token'], (2, 1, 16))
  block = TransformerBlock(2, hidden=64, epsilon=1e-5, qkv_bias=False)
  s_BLD = jax.jit(block.apply, static_argnums=2)(
    {'params': params['block_0']},
    np.concatenate([token, frames_BTD], axis=1),
    False,
  )
  np.testing.assert_allclose(got, s_BLD[:, 0], atol=1e-5)


def numpy_norm(h, p) -> np.ndarray:
  off = h - h.mean(-1, keepdims=True)
  y = off / np.sqrt(h.var(-1, keepdims=True) + HEAD_EPSILON)
  return y * p['scale'] + p['bias']


def test_z_final_alone_looks_at_the_frames_and_not_at_itself():
  # Written out in numpy, with the released block's parameters.
  B, T, D, A = 2, 4, 16, 2
  frames_BTD = normal(6, (B, T, D))
  released = TemporalAttention(layers=1, heads=A)
  head = TemporalAttention(layers=1, heads=A, query='final')
  params = started(head, frames_BTD)
  shapes = jax.tree.map(np.shape, started(released, frames_BTD))
  assert jax.tree.map(np.shape, params) == shapes
  z_D = params['class_token'] = normal(7, (D,))
  got = head.apply({'params': params}, frames_BTD, False)
  p = params['block_0']
  qkv = np.asarray(p['attn']['qkv']['kernel'])  # [D, 3, A, d]
  n_BTD = numpy_norm(frames_BTD, p['attn_norm'])
  q_Ad = np.einsum('D,DAd->Ad', numpy_norm(z_D, p['attn_norm']), qkv[:, 0])
  k, v = np.einsum('BTD,DpAd->pBTAd', n_BTD, qkv[:, 1:])
  scores = np.einsum('Ad,BTAd->BAT', q_Ad, k) / np.sqrt(D // A)
  w = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
  y = np.einsum('BAT,BTAd->BAd', w, v)
  out = np.einsum('BAd,AdD->BD', y, p['attn']['out']['kernel'])
  z_BD = z_D + out + p['attn']['out']['bias']
  n_BD = numpy_norm(z_BD, p['mlp_norm'])
  up = n_BD @ p['mlp']['up']['kernel'] + p['mlp']['up']['bias']
  up = np.asarray(jax.nn.gelu(up, approximate=False))
  wanted = z_BD + up @ p['mlp']['down']['kernel'] + p['mlp']['down']['bias']
  np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_frames_pass_the_layers_of_z_final_unchanged():
  frames_BTD = normal(6, (2, 4, 16))
  head = TemporalAttention(layers=2, heads=2, query='final')
  params = started(head, frames_BTD)
  params['class_token'] = normal(7, (16,))
  z_B1D = np.broadcast_to(params['class_token'], (2, 1, 16))
  block = FinalTokenBlock(2)
  for i in range(2):
    z_B1D = block.apply({'params': params[f'block_{i}']}, z_B1D, frames_BTD)
  got = head.apply({'params': params}, frames_BTD, False)
  np.testing.assert_allclose(got, z_B1D[:, 0], atol=1e-6)


def test_the_perceptron_answers_from_norm_up_gelu_down():
  y_BD = 3 * normal(4, (2, 16)) + 1
  head = MlpHead(classes=5, hidden=8, dropout=0.5)
  p = started(head, y_BD)
  n = (y_BD - y_BD.mean(1, keepdims=True)) / np.sqrt(
    y_BD.var(1, keepdims=True) + HEAD_EPSILON
  )
  up = jax.nn.gelu(n @ p['up']['kernel'] + p['up']['bias'], approximate=False)
  wanted = up @ p['linear']['kernel'] + p['linear']['bias']
  np.testing.assert_allclose(
    head.apply({'params': p}, y_BD, False), wanted, atol=1e-5
  )


def test_dropout_falls_on_the_units_in_the_middle():
  y_BD, rngs = normal(0, (2, 16)), {'dropout': jax.random.key(1)}
  head = MlpHead(classes=5, hidden=512, dropout=0.5)
  variables = {'params': started(head, y_BD)}
  one = head.apply(variables, y_BD, True, rngs=rngs)
  assert abs(one - head.apply(variables, y_BD, False)).max() > 1e-3


def test_probabilities_are_averaged_and_not_logits():
  logits_BTK = 3 * normal(0, (2, 4, 5))
  p_BTK = np.exp(logits_BTK) / np.exp(logits_BTK).sum(-1, keepdims=True)
  got = np.exp(mean_probabilities(logits_BTK))
  np.testing.assert_allclose(got, p_BTK.mean(1), atol=1e-6)
