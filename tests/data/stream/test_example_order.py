"""The order of examples and their randomness, as functions of the step."""

import concurrent.futures
import itertools

import numpy as np
import pytest

from vidmodels.data.stream import batch_stream
from vidmodels.data.stream.batch_stream import ExampleOrder


@pytest.mark.parametrize(
  ('examples', 'batch'), [(7, 3), (10, 5), (3, 8), (1, 4)]
)
def test_every_epoch_shows_every_example_once_whatever_the_batch(
  examples, batch
):
  p = ExampleOrder(examples, batch, seed=11)
  stream = [p.example(g) for g in range(5 * examples * batch)]
  for start in range(0, len(stream) - examples + 1, examples):
    assert sorted(stream[start : start + examples]) == list(range(examples))


@pytest.mark.parametrize(
  ('examples', 'batch', 'repeats'), [(7, 4, 2), (5, 6, 3), (3, 8, 8), (1, 4, 2)]
)
def test_repeats_stand_side_by_side_and_none_is_in_the_next_batch(
  examples, batch, repeats
):
  p = ExampleOrder(examples, batch, seed=11, repeats=repeats)
  stream = [
    [p.example(step * batch + row) for row in range(batch)]
    for step in range(6 * examples)
  ]
  for rows in stream:
    groups = np.reshape(rows, (-1, repeats))
    assert (groups == groups[:, :1]).all()
  # An epoch is every example `repeats` times, in the order that it has alone.
  shown = [i for rows in stream for i in rows][::repeats]
  alone = ExampleOrder(examples, 1, seed=11)
  assert shown == [alone.example(g) for g in range(len(shown))]


def test_balanced_classes_come_equally_often_and_use_up_their_examples():
  groups = (np.array([1, 4]), np.array([0, 2, 3, 5, 6]), np.array([7]))
  p = ExampleOrder(8, 4, seed=5, groups=groups)
  turns = np.array([p.example(g) for g in range(3 * 40)]).reshape(-1, 3)
  class_of = {i: k for k, group in enumerate(groups) for i in group}
  classes = np.vectorize(class_of.get)(turns)
  assert (np.sort(classes, axis=1) == [0, 1, 2]).all()
  assert len({tuple(row) for row in classes}) == 6  # in every order
  large = turns[classes == 1]  # in the order of the turns
  for start in range(0, 40, 5):
    assert sorted(large[start : start + 5]) == [0, 2, 3, 5, 6]
  assert len({tuple(large[start : start + 5]) for start in range(0, 40, 5)}) > 4
  # From any clip on, and with repeats, it is the same function of the clip.
  twice = ExampleOrder(8, 4, seed=5, repeats=2, groups=groups)
  assert [twice.example(g) for g in range(60)] == [
    i for i in turns.ravel()[:30] for _ in range(2)
  ]
  other = ExampleOrder(8, 4, seed=6, groups=groups)
  assert [other.example(g) for g in range(30)] != turns.ravel()[:30].tolist()


def test_repeats_draw_apart():
  p = ExampleOrder(5, 4, seed=1, repeats=4)
  draws = {p.rng(2 * 4 + row).random() for row in range(4)}
  assert len(draws) == 4
  # And what a clip draws is its number's, however often examples repeat.
  assert draws == {
    ExampleOrder(5, 4, seed=1).rng(g).random() for g in range(8, 12)
  }


def test_epochs_and_seeds_are_shuffled_differently():
  orders = [
    tuple(batch_stream.permutation(seed, epoch, 50))
    for seed, epoch in itertools.product((0, 1, 2**64 - 1), range(4))
  ]
  assert len(set(orders)) == len(orders)


def test_the_shuffle_puts_every_example_everywhere_equally_often():
  n, epochs = 5, 4000
  seen = np.zeros((n, n))
  for epoch in range(epochs):
    seen[np.arange(n), batch_stream.permutation(0, epoch, n)] += 1
  assert abs(seen - epochs / n).max() < 5 * np.sqrt(epochs / n)


def test_the_stream_is_the_same_as_ever():
  # A change here changes every run that is resumed: it must not happen.
  assert batch_stream.permutation(0, 0, 10).tolist() == [
    0,
    2,
    9,
    1,
    8,
    5,
    4,
    3,
    6,
    7,
  ]
  assert batch_stream.permutation(7, 3, 10).tolist() == [
    2,
    0,
    7,
    3,
    5,
    4,
    8,
    9,
    1,
    6,
  ]
  rng = ExampleOrder(10, 2, seed=7).rng(1234)
  assert rng.integers(1000, size=4).tolist() == [438, 705, 606, 398]
  assert rng.random() == pytest.approx(0.06354195084117042, abs=1e-15)


def test_a_clips_generator_depends_on_nothing_but_seed_and_number():
  draw = lambda p, g: p.rng(g).random(5).tolist()
  ours = ExampleOrder(10, 2, seed=1)
  assert draw(ours, 9) == draw(ours, 9)
  assert draw(ours, 9) == draw(ExampleOrder(99, 7, seed=1), 9)
  assert draw(ours, 9) != draw(ours, 10)
  assert draw(ours, 9) != draw(ExampleOrder(10, 2, seed=2), 9)


def test_no_two_generators_share_a_number():
  p = ExampleOrder(10, 2, seed=3)
  raw = [p.rng(g).bit_generator.random_raw(500) for g in range(40)]
  # The shuffles are other streams still, epoch 5 is not clip 5.
  raw += [
    batch_stream._philox(3, batch_stream._ORDER, e).random_raw(500)
    for e in range(40)
  ]
  assert len(np.unique(np.concatenate(raw))) == 80 * 500


def test_far_positions_cost_no_more_than_near_ones():
  p = ExampleOrder(examples=1000, batch=64, seed=2**64 - 1)
  g = 64 * 10**12 + 63
  assert 0 <= p.example(g) < 1000
  assert 0 <= p.rng(g).random() < 1


def test_threads_shuffle_an_epoch_once():
  batch_stream.permutation.cache_clear()
  p = ExampleOrder(examples=20_000, batch=8, seed=5)
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    found = list(pool.map(p.example, range(2000)))
  assert batch_stream.permutation.cache_info().misses == 1
  assert found == batch_stream.permutation(5, 0, 20_000)[:2000].tolist()


def test_nobody_can_write_into_the_order():
  with pytest.raises(ValueError, match='read-only'):
    batch_stream.permutation(0, 0, 5)[0] = 1


@pytest.mark.parametrize(
  'fields', [(0, 1, 0), (1, 0, 0), (1, 1, -1), (1, 1, 2**64)]
)
def test_an_empty_plan_or_an_impossible_seed_is_refused(fields):
  with pytest.raises(ValueError, match='expected'):
    ExampleOrder(*fields)


@pytest.mark.parametrize('repeats', [0, 3, 8])
def test_repeats_that_do_not_divide_the_batch_are_refused(repeats):
  with pytest.raises(ValueError, match='expected'):
    ExampleOrder(5, 4, 0, repeats=repeats)
