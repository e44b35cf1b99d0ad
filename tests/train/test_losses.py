"""Loss and metrics against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.train import losses, metrics

LOGITS = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]))
LABELS = jnp.array([0, 1])


def test_cross_entropy_is_minus_log_of_the_labels_probability():
  loss = losses.cross_entropy(LOGITS, LABELS)
  np.testing.assert_allclose(loss, -np.log([0.7, 0.1]), rtol=1e-6)


def test_smoothing_spreads_over_all_classes_the_label_included():
  smooth = losses.cross_entropy(LOGITS, LABELS, smoothing=0.3)
  target = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
  np.testing.assert_allclose(
    smooth, -(target * np.asarray(LOGITS)).sum(-1), rtol=1e-6
  )


def test_padded_rows_count_in_no_metric():
  mask = jnp.array([1.0, 0.0])
  loss = losses.cross_entropy(LOGITS, LABELS)
  means = metrics.divide(metrics.clip_metrics(LOGITS, LABELS, loss, mask))
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
  loss = losses.cross_entropy(LOGITS, LABELS)
  ones = jnp.ones(2)
  whole = metrics.clip_metrics(LOGITS, LABELS, loss, ones)
  parts = [
    metrics.clip_metrics(LOGITS[i : i + 1], LABELS[i : i + 1], loss[i], ones[i])
    for i in range(2)
  ]
  added = metrics.divide(jax.tree.map(jnp.add, *parts))
  assert added == pytest.approx(metrics.divide(whole))
