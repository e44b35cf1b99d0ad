"""Pooling over time: which frames stay, in what order, and how pairs meet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.models import vidtr
from vidmodels.models.vidtr import HalvingConv, TimePool
from vidmodels.typing import InputError


def normal(seed: int, *shape: int) -> np.ndarray:
  return np.float32(np.random.default_rng(seed).normal(size=shape))


def rows(sharp: tuple[float, ...], keys: int = 6) -> np.ndarray:
  """Attention rows, the sharper the larger their number."""
  scores = np.zeros((len(sharp), keys))
  scores[:, 1] = sharp
  p = np.exp(scores)
  return np.float32(p / p.sum(-1, keepdims=True))


def test_rows_that_vary_most_are_kept_in_the_order_of_time():
  p_QS = rows((0.1, 3.0, 0.0, 2.0, 1.0))
  assert vidtr.most_varied(p_QS, 3).tolist() == [1, 3, 4]
  assert vidtr.most_varied(p_QS, 1).tolist() == [1]
  assert vidtr.most_varied(p_QS, 5).tolist() == [0, 1, 2, 3, 4]


def test_every_sequence_of_rows_is_judged_alone():
  p_xQS = np.stack([rows((3.0, 2.0, 0.0)), rows((0.0, 2.0, 3.0))])
  kept = vidtr.most_varied(p_xQS, 2)
  assert kept.tolist() == [[0, 1], [1, 2]]


def test_the_order_is_that_of_the_standard_deviation_of_eq_10():
  rng = np.random.default_rng(0)
  p_xQS = np.float32(rng.dirichlet(np.full(7, 0.3), size=(50, 8)))
  deviation = p_xQS.std(-1, ddof=1)
  wanted = np.sort(np.argsort(-deviation, axis=-1)[:, :3], axis=-1)
  np.testing.assert_array_equal(vidtr.most_varied(p_xQS, 3), wanted)


def test_rows_unlike_the_others_are_kept_by_eq_11_as_printed():
  # Three rows alike and sharp, one that looks at all: it alone is unlike them.
  p_QS = rows((3.0, 3.0, 0.0, 3.0))
  assert vidtr.most_varied(p_QS, 1, 'rows').tolist() == [2]
  assert 2 not in vidtr.most_varied(p_QS, 3, 'row').tolist()
  rng = np.random.default_rng(0)
  p_xQS = np.float32(rng.dirichlet(np.full(7, 0.3), size=(50, 8)))
  # Written out: mu is the mean over rows i, one number for every key.
  mu_xS = sum(p_xQS[:, i] for i in range(8)) / 8
  sigma_xQ = np.sqrt(((p_xQS - mu_xS[:, None]) ** 2).sum(-1))
  wanted = np.sort(np.argsort(-sigma_xQ, axis=-1)[:, :3], axis=-1)
  got = vidtr.most_varied(p_xQS, 3, 'rows')
  np.testing.assert_array_equal(got, wanted)
  assert (got != vidtr.most_varied(p_xQS, 3)).any(-1).mean() > 0.2


def test_a_single_row_of_a_single_key_is_kept():
  with jax.debug_nans(True):
    assert vidtr.most_varied(np.ones((1, 1), np.float32), 1).tolist() == [0]


def test_no_gradient_passes_through_the_choice():
  grad = jax.grad(lambda p: vidtr.most_varied(p, 2).astype(jnp.float32).sum())(
    jnp.asarray(rows((0.1, 3.0, 2.0)))
  )
  assert not grad.any()


def test_heads_and_places_take_frames_of_their_own():
  B, T, N, A, d = 2, 5, 3, 2, 4
  z_BTNAd, rng = normal(0, B, T, N, A, d), np.random.default_rng(1)
  kept_BNAT = np.sort(
    np.argsort(rng.normal(size=(B, N, A, T)), axis=-1)[..., :2], axis=-1
  )
  out = np.asarray(vidtr.take_frames(z_BTNAd, kept_BNAT))
  assert out.shape == (B, 2, N, A, d)
  for b, n, a, t in np.ndindex(B, N, A, 2):
    wanted = z_BTNAd[b, kept_BNAT[b, n, a, t], n, a]
    np.testing.assert_array_equal(out[b, t, n, a], wanted)


@pytest.mark.parametrize('lead', [0, 1])
def test_halving_is_the_mean_of_neighbours_behind_the_class_row(lead):
  z_BTND = normal(0, 2, lead + 4, 3, 5)
  out = np.asarray(vidtr.halve_frames(z_BTND, lead))
  np.testing.assert_array_equal(out[:, :lead], z_BTND[:, :lead])
  frames = z_BTND[:, lead:]
  np.testing.assert_allclose(out[:, lead], (frames[:, 0] + frames[:, 1]) / 2)
  np.testing.assert_allclose(
    out[:, lead + 1], (frames[:, 2] + frames[:, 3]) / 2
  )


@pytest.mark.parametrize('lead', [0, 1])
def test_a_fresh_convolution_is_the_mean_of_pairs(lead):
  z_BTND, conv = normal(0, 2, lead + 6, 3, 5), HalvingConv(lead)
  out, _ = conv.init_with_output(jax.random.key(0), z_BTND)
  np.testing.assert_allclose(out, vidtr.halve_frames(z_BTND, lead), atol=1e-6)


def test_a_convolution_is_window_3_stride_2_padded_in_front():
  z_BTND = normal(0, 1, 4, 1, 2)
  kernel, bias = normal(1, 3, 2, 2), normal(2, 2)
  params = {'kernel': kernel, 'bias': bias}
  out = HalvingConv(0).apply({'params': params}, z_BTND)[0, :, 0]
  z = np.concatenate([np.zeros((1, 2)), z_BTND[0, :, 0]])
  for t in range(2):
    wanted = sum(z[2 * t + r] @ kernel[r] for r in range(3)) + bias
    np.testing.assert_allclose(out[t], wanted, rtol=1e-5)


@pytest.mark.parametrize(
  ('pool', 'frames', 'left'),
  [
    (TimePool('top_k', drop=2), 8, 6),
    (TimePool('top_k', drop=0), 8, 8),
    (TimePool('top_k', keep=2), 8, 2),
    (TimePool('top_k', keep=8), 8, 8),
    (TimePool('average'), 8, 4),
    (TimePool('conv'), 2, 1),
  ],
)
def test_frames_that_leave_a_layer(pool, frames, left):
  assert pool.frames(frames) == left


@pytest.mark.parametrize(
  ('pool', 'frames', 'says'),
  [
    (TimePool('top_k', drop=4), 4, 'got 4 frames .* to drop 4 of them'),
    (TimePool('top_k', keep=5), 4, 'got 4 frames .* to keep 5 of them'),
    (TimePool('average'), 3, 'got 3 frames in a layer'),
    (TimePool('conv'), 1, 'got 1 frames in a layer'),
  ],
)
def test_frames_that_are_not_there_are_refused(pool, frames, says):
  with pytest.raises(InputError, match=says):
    pool.frames(frames)
