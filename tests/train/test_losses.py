"""Targets, losses and metrics against numbers worked out by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import losses, metrics, mixup

HEADS = Task(heads=(('verb', 2), ('noun', 3)))
MULTI, ANY = Task('multi'), Task('any')
LABELS = {
  SINGLE: np.array([4, 1], np.int32),
  HEADS: np.array([[1, 2], [0, 4]], np.int32),
  MULTI: np.array([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0]], np.float32),
  ANY: np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 1]], np.float32),
}
TASKS = [pytest.param(task, id=task.kind + '2' * bool(task.heads))
         for task in LABELS]  # fmt: skip

TWO_LOGITS = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]))
TWO_LABELS = jnp.array([0, 1])


def normal(*shape: int, seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def smoothing(task: Task) -> float:
  return 0.0 if task == MULTI else 0.1


def paired(task: Task, share: float):
  """Two clips that are each other's partner, and the task's loss."""
  draw = mixup.Draw(jnp.int32(1), jnp.ones((1, 1)), jnp.float32(share))
  part = {'label': jnp.asarray(LABELS[task]), 'video': jnp.zeros(2)}
  part['mask'] = jnp.ones(2)
  of = functools.partial(
    losses.loss_per_clip, task=task, smoothing=smoothing(task)
  )
  return draw, mixup.add_partners(part, draw.distance), of


def nll(logits: np.ndarray) -> np.ndarray:
  """-log softmax of a row, by hand."""
  logits = logits.astype(np.float64)
  return np.log(np.exp(logits).sum()) - logits


@pytest.mark.parametrize(
  ('task', 'smoothing', 'expected'),
  [
    (SINGLE, 0.0, [[0, 0, 0, 0, 1], [0, 1, 0, 0, 0]]),
    (SINGLE, 0.5, [[0.1, 0.1, 0.1, 0.1, 0.6], [0.1, 0.6, 0.1, 0.1, 0.1]]),
    (HEADS, 0.0, [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]),
    (HEADS, 0.3, [[0.15, 0.85, 0.8, 0.1, 0.1], [0.85, 0.15, 0.1, 0.1, 0.8]]),
    (MULTI, 0.0, LABELS[MULTI]),
    (ANY, 0.0, [[1 / 3, 0, 1 / 3, 1 / 3, 0], [0, 0, 0, 0, 1]]),
    (ANY, 0.5, [[0.8 / 3, 0.1, 0.8 / 3, 0.8 / 3, 0.1], [0.1] * 4 + [0.6]]),
  ],
)
def test_targets_are_what_the_rule_says(task, smoothing, expected):
  got = losses.soft_targets(
    jnp.asarray(LABELS[task]), task=task, classes=5, smoothing=smoothing
  )
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_padded_row_without_a_class_has_a_target_of_zeros():
  got = losses.soft_targets(jnp.zeros((1, 4)), task=ANY, classes=4)
  np.testing.assert_array_equal(got, np.zeros((1, 4)))


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_one_class_without_heads_is_the_integer_loss_bit_for_bit(smoothing):
  logits, label = normal(2, 5), LABELS[SINGLE]
  np.testing.assert_array_equal(
    losses.loss_per_clip(logits, label, smoothing=smoothing),
    losses.cross_entropy(logits, label, smoothing=smoothing),
  )


@pytest.mark.parametrize('smoothing', [0.0, 0.3])
def test_class_weights_multiply_each_class_s_part_of_the_loss(smoothing):
  """-sum_k w_k t_k log p_k, as torch's cross entropy before its mean."""
  w_K, p_BK = np.array([0.5, 2.0, 3.0]), np.exp(TWO_LOGITS)
  target_BK = (1 - smoothing) * np.eye(3)[TWO_LABELS] + smoothing / 3
  wanted_B = -(w_K * target_BK * np.log(p_BK)).sum(-1)
  loss_B = losses.loss_per_clip(
    TWO_LOGITS, TWO_LABELS, smoothing=smoothing, class_weights=tuple(w_K)
  )
  assert np.allclose(loss_B, wanted_B, atol=1e-6)
  even_B = losses.loss_per_clip(
    TWO_LOGITS, TWO_LABELS, smoothing=smoothing, class_weights=(1.0, 1.0, 1.0)
  )
  plain_B = losses.loss_per_clip(TWO_LOGITS, TWO_LABELS, smoothing=smoothing)
  assert np.allclose(even_B, plain_B, atol=1e-6)


def test_heads_are_answered_apart_and_their_losses_added():
  logits, label = 3 * normal(2, 5), LABELS[HEADS]
  for s in (0.0, 0.2):
    expected = []
    for row, (verb, noun) in zip(logits, label, strict=True):
      verbs, nouns = nll(row[:2]), nll(row[2:])
      hard = verbs[verb] + nouns[noun - 2]
      expected.append((1 - s) * hard + s * (verbs.mean() + nouns.mean()))
    got = losses.loss_per_clip(logits, label, task=HEADS, smoothing=s)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
  # A head's scores are its own affair: the same added to all changes nothing.
  moved = logits + np.array([7, 7, 0, 0, 0], np.float32)
  np.testing.assert_allclose(
    losses.loss_per_clip(moved, label, task=HEADS),
    losses.loss_per_clip(logits, label, task=HEADS),
    rtol=1e-5,
  )


def test_several_right_classes_share_one_softmax():
  logits, label = normal(2, 5), LABELS[ANY]
  expected = [
    nll(row)[right > 0].mean() for row, right in zip(logits, label, strict=True)
  ]
  got = losses.loss_per_clip(logits, label, task=ANY)
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_questions_of_their_own_cost_their_mean_over_classes():
  logits, label = normal(2, 5), LABELS[MULTI]
  p = 1 / (1 + np.exp(-logits.astype(np.float64)))
  expected = -(label * np.log(p) + (1 - label) * np.log(1 - p)).mean(-1)
  got = losses.loss_per_clip(logits, label, task=MULTI)
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  slope = jax.grad(lambda x: losses.loss_per_clip(x, label, task=MULTI).sum())(
    logits
  )
  np.testing.assert_allclose(slope, (p - label) / 5, atol=1e-6)


def test_large_scores_cost_what_they_should_and_not_infinity():
  logits = np.array([[1e4, -1e4, 1e4, -1e4, 0]], np.float32)
  right = np.array([[1, 0, 1, 0, 0]], np.float32)
  at = lambda label: losses.loss_per_clip(logits, label, task=MULTI)
  np.testing.assert_allclose(at(right), [np.log(2) / 5], rtol=1e-5)
  np.testing.assert_allclose(at(1 - right), [(4e4 + np.log(2)) / 5], rtol=1e-5)


@pytest.mark.parametrize('task', TASKS)
def test_losses_are_computed_in_float32_of_any_scores(task):
  got = losses.loss_per_clip(
    normal(2, 5).astype(jnp.bfloat16), LABELS[task], task=task
  )
  assert got.dtype == jnp.float32
  assert got.shape == (2,)


@pytest.mark.parametrize('task', TASKS)
def test_gradients_are_those_of_the_loss(task):
  draw, part, loss = paired(task, 0.3)
  mixed = lambda logits: mixup.mixed_loss(
    lambda label: loss(logits, label), part, draw
  )
  check_grads(mixed, (normal(2, 5),), order=1, modes=['rev'], rtol=2e-3)


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('share', [0.0, 0.3, 1.0])
def test_the_mixed_loss_is_the_loss_against_mixed_targets(task, share):
  logits, label = normal(2, 5), jnp.asarray(LABELS[task])
  draw, part, loss = paired(task, share)
  got = mixup.mixed_loss(lambda label: loss(logits, label), part, draw)
  s = smoothing(task)
  own = losses.soft_targets(label, task=task, classes=5, smoothing=s)
  target = (1 - share) * own + share * own[::-1]
  expected = (
    losses.binary_cross_entropy(logits, target)
    if task == MULTI
    else losses.soft_cross_entropy(logits, target, task.parts(5).values())
  )
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_cross_entropy_is_minus_log_of_the_labels_probability():
  loss = losses.cross_entropy(TWO_LOGITS, TWO_LABELS)
  np.testing.assert_allclose(loss, -np.log([0.7, 0.1]), rtol=1e-6)


def test_smoothing_spreads_over_all_classes_the_label_included():
  smooth = losses.cross_entropy(TWO_LOGITS, TWO_LABELS, smoothing=0.3)
  target = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
  np.testing.assert_allclose(
    smooth, -(target * np.asarray(TWO_LOGITS)).sum(-1), rtol=1e-6
  )


def test_padded_rows_count_in_no_metric():
  mask = jnp.array([1.0, 0.0])
  loss = losses.cross_entropy(TWO_LOGITS, TWO_LABELS)
  means = metrics.divide(
    metrics.clip_metrics(TWO_LOGITS, TWO_LABELS, loss, mask)
  )
  assert means['top1'] == 1
  assert means['loss'] == pytest.approx(-np.log(0.7))


@pytest.mark.parametrize(('k', 'right'), [(1, 0), (2, 1), (3, 1)])
def test_top_k_counts_classes_above_the_label(k, right):
  scores = jnp.array([[0.1, 0.5, 0.3]])
  assert metrics.top_k(scores, jnp.array([2]), k)[0] == right


@pytest.mark.parametrize('value', [1.0, np.nan])
def test_a_constant_or_broken_answer_is_never_right(value):
  scores = jnp.full((1, 4), value)
  assert metrics.top_k(scores, jnp.array([2]), 1)[0] == 0


def test_adding_batches_is_the_same_as_one_large_batch():
  loss = losses.cross_entropy(TWO_LOGITS, TWO_LABELS)
  ones = jnp.ones(2)
  whole = metrics.clip_metrics(TWO_LOGITS, TWO_LABELS, loss, ones)
  parts = [
    metrics.clip_metrics(
      TWO_LOGITS[i : i + 1], TWO_LABELS[i : i + 1], loss[i], ones[i]
    )
    for i in range(2)
  ]
  added = metrics.divide(jax.tree.map(jnp.add, *parts))
  assert added == pytest.approx(metrics.divide(whole))
