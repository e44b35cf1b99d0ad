"""T2T-ViT's front end: soft splits, the mixers between, frames apart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.nn import t2t
from vidmodels.typing import InputError


def normal(seed: int, *shape: int) -> np.ndarray:
  return np.float32(np.random.default_rng(seed).normal(size=shape))


@functools.cache
def stem(width: int = 8):
  """A front end, its variables, and its answer to a clip."""
  module, video = t2t.T2T(width), normal(0, 1, 2, 32, 48, 3)
  return jax.jit(module.apply), drawn(module, video), video


def drawn(module, given):
  """Variables of a module, all of them small and none alike."""
  shapes = jax.eval_shape(module.init, jax.random.key(0), given)
  rng = np.random.default_rng(1)
  draw = lambda x: np.float32(0.2 * rng.normal(size=x.shape))
  return jax.tree.map(draw, shapes)


def test_a_soft_split_is_every_window_channels_outermost():
  h = normal(0, 2, 6, 8, 3)
  out = np.asarray(t2t.unfold(h, 3, 2, 1))
  assert out.shape == (2, 3, 4, 27)
  padded = np.pad(h, [(0, 0), (1, 1), (1, 1), (0, 0)])
  for i, j in np.ndindex(3, 4):
    window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
    wanted = window.transpose(0, 3, 1, 2).reshape(2, 27)
    np.testing.assert_array_equal(out[:, i, j], wanted)


def test_a_token_stands_for_16_by_16_pixels():
  run, variables, video = stem()
  assert run(variables, video).shape == (1, 2, 2, 3, 8)


def test_frames_are_tokenised_apart():
  run, variables, video = stem()
  other = np.array(video)
  other[:, 1] += 1
  one, two = run(variables, video), run(variables, other)
  np.testing.assert_allclose(one[:, 0], two[:, 0], atol=1e-6)
  assert abs(one[:, 1] - two[:, 1]).max() > 1e-3


def test_positive_features_make_softmax_attention_as_they_get_more():
  # Their mean over draws is exp(q k), which is what softmax weighs by.
  q, k = 0.3 * normal(0, 5, 8), 0.3 * normal(1, 6, 8)
  many = normal(2, 200_000, 8)
  got = t2t._features(q, many) @ t2t._features(k, many).T
  np.testing.assert_allclose(got, np.exp(q @ k.T), rtol=0.02)


def test_a_mixer_is_performer_with_a_residual_of_its_values():
  mixer, s = t2t.Mixer(), normal(0, 2, 7, 12)
  variables = drawn(mixer, s)
  p, w = variables['params'], variables['batch_stats']['features']
  out = jax.jit(mixer.apply)(variables, s)

  def norm(x, at):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
    return x * at['scale'] + at['bias']

  dense = lambda x, at: x @ at['kernel'] + at['bias']
  kqv = np.asarray(dense(norm(s, p['attn_norm']), p['kqv']))
  k, q, v = (kqv[..., i : i + 64] for i in (0, 64, 128))
  phi = lambda z: np.exp(z @ w.T - (z * z).sum(-1, keepdims=True) / 2)
  weights = phi(q) @ phi(k).swapaxes(-1, -2)
  y = weights / weights.sum(-1, keepdims=True) @ v
  h = v + dense(y, p['out'])
  more = np.asarray(dense(norm(h, p['mlp_norm']), p['up']))
  wanted = h + dense(
    np.asarray(jax.nn.gelu(more, approximate=False)), p['down']
  )
  np.testing.assert_allclose(out, wanted, atol=1e-4)


def test_random_features_are_orthogonal_and_no_parameters():
  w = np.asarray(t2t._orthogonal(jax.random.key(0), (32, 64)))
  np.testing.assert_allclose(w @ w.T, 32 * np.eye(32), atol=1e-3)
  _, variables, _ = stem()
  assert 'features' not in variables['params']['mixer_1']
  assert variables['batch_stats']['mixer_2']['features'].shape == (32, 64)


def test_training_leaves_the_random_features_as_they_are():
  mixer, s = t2t.Mixer(), normal(0, 1, 4, 12)
  variables = drawn(mixer, s)
  _, after = mixer.apply(variables, s, mutable=['batch_stats'])
  jax.tree.map(
    np.testing.assert_array_equal,
    after['batch_stats'],
    variables['batch_stats'],
  )


def test_t2t_vit_14_has_its_size():
  # The authors' token module and projection: 147 -> 3 x 64, 64 -> 64 three
  # times, two norms; the same from 576; 576 -> 384.
  video = jnp.zeros((1, 1, 32, 32, 3))
  shapes = jax.eval_shape(t2t.T2T(384).init, jax.random.key(0), video)
  mixer = lambda D: D * 192 + 192 + 3 * (64 * 64 + 64) + 2 * D + 2 * 64
  wanted = mixer(147) + mixer(576) + 576 * 384 + 384
  leaves = jax.tree.leaves(shapes['params'])
  assert sum(x.size for x in leaves) == wanted


@pytest.mark.parametrize(
  ('video', 'says'),
  [
    (np.zeros((2, 32, 32, 3), np.float32), 'shape'),
    (np.zeros((1, 2, 32, 32, 3), np.uint8), 'uint8'),
    (np.zeros((1, 2, 32, 40, 3), np.float32), '32 x 40 pixels'),
    (np.zeros((1, 2, 0, 32, 3), np.float32), 'has 0 rows'),
    (np.zeros((1, 2, 32, 32, 1), np.float32), '1 channels'),
  ],
)
def test_video_it_cannot_cut_is_refused(video, says):
  run, variables, _ = stem()
  with pytest.raises(InputError, match=says):
    run(variables, video)
