"""The temporal head: attention over frames, and the perceptron that answers."""

import jax
import numpy as np

from vidmodels.models.xvit import (
  HEAD_EPSILON,
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
