"""Which answers count as right, for every kind of label."""

import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import metrics

HEADS = Task(heads=(('verb', 2), ('noun', 6)))
SCORES = jnp.array(
  [
    [0.9, 0.1, 5, 4, 3, 2, 1, 0],
    [0.9, 0.1, 5, 4, 3, 2, 1, 0],
    [0.9, 0.1, 5, 4, 3, 2, 1, 0],
    [0.9, 0.1, 5, 4, 3, 2, 1, 0],
  ]
)
#                    both    verb    noun    neither, and noun the sixth best
LABELS = jnp.array([[0, 2], [0, 5], [1, 2], [1, 7]])


def test_an_action_is_right_where_all_its_heads_are():
  found = metrics.accuracies(SCORES, LABELS, HEADS)
  wanted = {
    'verb_top1': [1, 1, 0, 0],
    'noun_top1': [1, 0, 1, 0],
    'noun_top5': [1, 1, 1, 0],
    'action_top1': [1, 0, 0, 0],
  }
  assert list(found) == list(wanted)
  for name, right in wanted.items():
    np.testing.assert_array_equal(found[name], right, err_msg=name)


def test_a_verb_is_no_rival_of_a_noun():
  scores = SCORES.at[:, 0].set(100)  # above every noun
  found = metrics.accuracies(scores, LABELS, HEADS)
  np.testing.assert_array_equal(found['noun_top1'], [1, 0, 1, 0])


@pytest.mark.parametrize(
  ('right', 'hits'),
  [
    ([0, 1, 0, 0], {1: 1, 2: 1, 3: 1}),  # the best
    ([0, 1, 0, 1], {1: 1, 2: 1, 3: 1}),  # the best and the worst
    ([0, 0, 1, 1], {1: 0, 2: 1, 3: 1}),  # the second and the worst
    ([0, 0, 0, 1], {1: 0, 2: 0, 3: 0}),
    ([0, 0, 0, 0], {1: 0, 2: 0, 3: 0, 4: 0}),  # a video without a class
  ],
)
def test_a_hit_is_any_right_class_among_the_best(right, hits):
  scores = jnp.array([[0.2, 0.9, 0.5, 0.1]])
  for k, wanted in hits.items():
    assert metrics.hit(scores, jnp.array([right]), k)[0] == wanted, k


def test_a_tie_or_a_broken_answer_is_no_hit():
  right = jnp.array([[1.0, 0, 0, 0]])
  assert metrics.hit(jnp.full((1, 4), 2.0), right, 1)[0] == 0
  assert metrics.hit(jnp.full((1, 4), jnp.nan), right, 1)[0] == 0
  # Right classes that tie with each other do not stand in each other's way.
  two = jnp.array([[1.0, 1, 0, 0]])
  assert metrics.hit(jnp.array([[3.0, 3, 1, 1]]), two, 1)[0] == 1


def test_one_right_class_makes_a_hit_what_top_k_is():
  draw = np.random.default_rng(0)
  scores = jnp.asarray(draw.normal(size=(50, 7)))
  label = jnp.asarray(draw.integers(0, 7, 50))
  for k in (1, 5):
    np.testing.assert_array_equal(
      metrics.hit(scores, jnp.eye(7)[label], k), metrics.top_k(scores, label, k)
    )


def test_each_task_has_its_own_names_and_loss_is_always_there():
  loss, mask = jnp.array([1.0, 2, 3, 40]), jnp.array([1.0, 1, 1, 0])
  ones = jnp.zeros((4, 8)).at[:, 2].set(1)
  for task, label, names in (
    (SINGLE, LABELS[:, 1], ['top1', 'top5']),
    (Task('any'), ones, ['hit1', 'hit5']),
    (Task('multi'), ones, []),
  ):
    found = metrics.clip_metrics(
      SCORES, label, loss, mask, task=task, prefix='mixed_'
    )
    assert list(found) == ['loss', *(f'mixed_{name}' for name in names)]
    values = metrics.divide(found)
    assert values['loss'] == 2  # the padded row is not there
    if task == SINGLE:
      assert values['mixed_top1'] == pytest.approx(2 / 3)
      assert values['mixed_top5'] == 1


def test_the_best_five_of_five_classes_are_not_measured():
  for task in (SINGLE, Task('any')):
    for classes, names in ((5, 1), (6, 2)):
      label = jnp.zeros((3, classes)).at[:, 1].set(1)
      if task == SINGLE:
        label = jnp.array([0, 1, 2])
      assert len(metrics.accuracies(jnp.eye(3, classes), label, task)) == names


@pytest.mark.parametrize(
  ('names', 'wanted'),
  [
    (['loss', 'top5', 'top1', 'grad_norm'], 'top1'),
    (['verb_top1', 'noun_top1', 'action_top1'], 'action_top1'),
    (['mixed_hit5', 'mixed_hit1'], 'mixed_hit1'),
    (['loss', 'grad_norm'], None),
  ],
)
def test_a_log_line_shows_the_accuracy_of_the_whole_answer(names, wanted):
  assert metrics.headline(dict.fromkeys(names, 0.0)) == wanted
