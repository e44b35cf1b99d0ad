"""Drop path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.nn.transformer import DropPath


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
