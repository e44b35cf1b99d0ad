"""What mixup and cutmix draw: rates, shares, boxes, partners."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vidmodels import config as cfg
from vidmodels.analysis import compiled_program
from vidmodels.train import mixup
from vidmodels.train.mesh import batch_sharding, make_mesh
from vidmodels.typing import InputError

N, H, W = 3000, 8, 14


@functools.cache
def draws(**fields) -> mixup.Draw:
  """N independent draws."""
  mix = cfg.Mix(**fields)
  one = lambda key: mixup.draw(key, 6, mix, height=H, width=W)
  found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), N))
  return jax.tree.map(np.asarray, found)


def near(rate: float, wanted: float) -> bool:
  """Within four standard errors of N draws."""
  return abs(rate - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / N)


def is_mixup(found: mixup.Draw) -> np.ndarray:
  weight = found.weight_HW.reshape(N, -1)
  return (weight.min(1) == weight.max(1)) & (found.share > 0)


def covered(share: float, length: int) -> np.ndarray:
  """How often each row is in a box, by all places of the box's middle."""
  half = int(length * np.sqrt(share)) // 2
  i, middle = np.arange(length)[:, None], np.arange(length)
  return ((middle - half <= i) & (i < middle + half)).mean(1)


@pytest.mark.parametrize('alpha', [0.8, 3.0])
@pytest.mark.fast_every(2)
def test_mixups_share_is_beta_and_the_same_everywhere(alpha):
  found = draws(mixup=alpha)
  share = found.share
  assert stats.kstest(share, stats.beta(alpha, alpha).cdf).pvalue > 0.01
  assert share.mean() == pytest.approx(0.5, abs=0.03)
  variance = 1 / (4 * (2 * alpha + 1))
  assert share.var() == pytest.approx(variance, rel=0.08)
  np.testing.assert_array_equal(
    found.weight_HW, np.broadcast_to(share[:, None, None], (N, H, W))
  )


def test_cutmixs_label_follows_the_true_area_of_its_box():
  found = draws(cutmix=1.0)
  weight = found.weight_HW
  assert set(np.unique(weight)) == {0.0, 1.0}
  np.testing.assert_allclose(weight.mean((1, 2)), found.share, atol=1e-6)
  # With alpha 1 any share is as likely; boxes are even and lose their overhang.
  areas = [covered(s, H).mean() * covered(s, W).mean()
           for s in np.linspace(0, 1, 2001)]  # fmt: skip
  error = found.share.std() / np.sqrt(N)
  assert abs(found.share.mean() - np.mean(areas)) < 4 * error
  for axis in (1, 2):  # a rectangle: rows and columns in one piece
    line = weight.max(axis)
    assert (abs(np.diff(line, axis=1, prepend=0, append=0)).sum(1) <= 2).all()
  np.testing.assert_array_equal(
    weight, weight.max(2, keepdims=True) * weight.max(1, keepdims=True)
  )


@pytest.mark.parametrize('share', [0.1, 0.3, 0.9])
def test_a_box_is_as_large_as_its_share_and_anywhere(share):
  one = lambda key: mixup.cutmix_box(key, jnp.float32(share), height=H, width=W)
  keys = jax.random.split(jax.random.key(1), N)
  boxes = np.asarray(jax.jit(jax.vmap(one))(keys))
  for length, line in ((H, boxes.max(2)), (W, boxes.max(1))):
    assert line.sum(1).max() == int(length * np.sqrt(share)) // 2 * 2
    for rate, wanted in zip(line.mean(0), covered(share, length), strict=True):
      assert abs(rate - wanted) < 5 * np.sqrt(0.25 / N)


def test_rows_and_columns_are_drawn_apart():
  one = lambda key: mixup.cutmix_box(
    key, jnp.float32(0.05), height=16, width=16
  )
  keys = jax.random.split(jax.random.key(2), N)
  boxes = np.asarray(jax.jit(jax.vmap(one))(keys))
  top, left = boxes.max(2).argmax(1), boxes.max(1).argmax(1)
  assert abs(np.corrcoef(top, left)[0, 1]) < 0.1


def test_prob_is_the_chance_that_a_batch_is_mixed():
  found = draws(mixup=0.8, prob=0.3)
  assert near((found.share > 0).mean(), 0.3)
  still = found.share == 0
  assert not found.weight_HW[still].any()
  assert (draws(mixup=0.8).share > 0).all()


def test_switch_is_the_chance_of_cutmix_whether_or_not_a_batch_is_mixed():
  found = draws(mixup=0.8, cutmix=8.0, prob=0.7, switch=0.2)
  # Small boxes round to nothing: alpha 8 draws none.
  mixed = found.share > 0
  assert near(mixed.mean(), 0.7)
  rate = is_mixup(found)[mixed].mean()
  assert abs(rate - 0.8) < 4 * np.sqrt(0.16 / mixed.sum())
  # Each with its own alpha: Beta(8, 8) is narrow.
  share = found.share[is_mixup(found)]
  assert stats.kstest(share, stats.beta(0.8, 0.8).cdf).pvalue > 0.01
  # And who is mixed with whom says nothing about how much.
  assert abs(np.corrcoef(found.distance, found.share)[0, 1]) < 0.1


def test_one_alpha_alone_is_always_drawn():
  assert is_mixup(draws(mixup=0.8)).all()
  assert not is_mixup(draws(cutmix=1.0)).any()


def test_every_clip_is_as_likely_a_partner():
  rates = np.bincount(draws(mixup=0.8).distance, minlength=6) / N
  assert len(rates) == 6
  assert all(near(rate, 1 / 6) for rate in rates)


@pytest.mark.parametrize('devices', [1, 2, 8])
def test_partners_are_rows_at_one_distance_on_any_mesh(devices):
  mesh = make_mesh(cfg.Mesh(), devices=jax.devices()[:devices])
  rows = batch_sharding(mesh)
  for batch in (8, 24):
    x = np.random.default_rng(0).integers(0, 256, (batch, 3), np.uint8)
    program = jax.jit(mixup.rotate, out_shardings=rows)
    with jax.set_mesh(mesh):
      for distance in range(batch):
        found = program(jax.device_put(x, rows), jnp.int32(distance))
        np.testing.assert_array_equal(found, np.roll(x, -distance, axis=0))


def test_pixels_go_to_few_devices_and_not_to_all():
  mesh, B = make_mesh(cfg.Mesh(), devices=jax.devices()[:8]), 16
  rows = batch_sharding(mesh)
  x = jax.ShapeDtypeStruct((B, 2, 4, 4, 3), np.uint8, sharding=rows)
  program = jax.jit(mixup.rotate, out_shardings=rows)
  with jax.set_mesh(mesh):
    compiled = program.lower(x, jnp.int32(3)).compile()
  sent = compiled_program.collectives(compiled)
  assert set(sent) == {'collective-permute'}
  # One row by one, then both rows of a device by 1, 2 and 4 devices.
  assert sent['collective-permute'].bytes == (1 + 3 * 2) * x.size // B


def test_padding_is_nobodys_partner():
  part = {
    'video': jnp.arange(6, dtype=jnp.uint8),
    'label': jnp.arange(12).reshape(6, 2),
    'mask': jnp.array([1.0, 0, 1, 1, 0, 1]),
  }
  for distance, wanted in ((1, [0, 2, 3, 3, 5, 0]), (2, [2, 3, 2, 5, 0, 5])):
    found = mixup.add_partners(part, jnp.int32(distance))
    np.testing.assert_array_equal(found['partner_video'], wanted)
    np.testing.assert_array_equal(
      found['partner_label'], part['label'][np.array(wanted)]
    )


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_a_box_holds_the_partners_pixels_in_every_frame():
  x, y = pixels(2, 3, 4, 6, 3), pixels(2, 3, 4, 6, 3, seed=1)
  weight = np.zeros((4, 6), np.float32)
  weight[1:3, 2:5] = 1
  found = np.asarray(mixup.blend(x, y, weight))
  np.testing.assert_array_equal(found[:, :, 1:3, 2:5], y[:, :, 1:3, 2:5])
  outside = np.broadcast_to(weight[..., None] == 0, x.shape)
  np.testing.assert_array_equal(found[outside], x[outside])


def test_blending_is_linear_and_exact_where_nothing_changes():
  x, y = pixels(1, 2, 4, 6, 3), pixels(1, 2, 4, 6, 3, seed=1)
  blend = lambda w: np.asarray(
    mixup.blend(x, y, np.full((4, 6), w, np.float32))
  )
  np.testing.assert_allclose(
    blend(0.3), 0.7 * x.astype(float) + 0.3 * y, atol=1e-4
  )
  np.testing.assert_array_equal(blend(0.0), x)
  np.testing.assert_array_equal(blend(1.0), y)
  same = mixup.blend(x, x, np.full((4, 6), 0.37, np.float32))
  np.testing.assert_array_equal(same, x)


def test_the_label_of_the_greater_share_is_the_one_that_counts():
  part = {
    'video': jnp.zeros((2, 1, 1, 1, 1)),
    'label': jnp.array([[1, 2], [3, 4]]),
    'mask': jnp.ones(2),
  }
  for share, wanted in ((0.4, [[1, 2], [3, 4]]), (0.6, [[3, 4], [1, 2]])):
    draw = mixup.Draw(jnp.int32(1), jnp.ones((1, 1)), jnp.float32(share))
    _, label = mixup.mixed_clips(mixup.add_partners(part, draw.distance), draw)
    np.testing.assert_array_equal(label, wanted)


@pytest.mark.parametrize(
  ('mix', 'batch', 'message'),
  [
    ({'prob': 0.5}, 8, 'nothing reads it without mix.mixup or mix.cutmix'),
    ({'mixup': 1.0, 'switch': 0.3}, 8, 'without both alphas above 0'),
    ({'cutmix': 1.0, 'prob': 0.0}, 8, 'nothing is ever mixed'),
    ({'mixup': 1.0, 'cutmix': 1.0, 'switch': 0.0}, 8, 'one of them is never'),
    ({'mixup': 1.0, 'cutmix': 1.0, 'switch': 1.0}, 8, 'one of them is never'),
    ({'mixup': 1.0}, 1, 'got batch 1 with'),
    ({'mixup': -0.1}, 8, 'got -0.1 for mix.mixup; expected at least 0'),
    ({'prob': 1.5}, 8, 'from 0 to 1'),
  ],
)
def test_mixing_that_does_nothing_is_refused(mix, batch, message):
  recipe = cfg.skeleton(family='timesformer')
  recipe.data.dir = 'somewhere'
  recipe.optim.steps = 1
  recipe.batch = batch
  recipe.mix.update(mix)
  with pytest.raises(InputError, match=message):
    cfg.check(recipe)


def test_mixing_is_off_unless_an_alpha_says_otherwise():
  assert not mixup.is_on(cfg.Mix())
  assert mixup.is_on(cfg.Mix(mixup=0.1))
  assert mixup.is_on(cfg.Mix(cutmix=0.1))
