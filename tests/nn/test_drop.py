"""Drop path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.nn.drop import DropPath


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
  with pytest.raises(ValueError, match=r'drop path rate is 1\.0'):
    drop(jnp.ones((2, 2, 2)), rate=1.0)
