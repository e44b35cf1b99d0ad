"""The table has a row for every class, and says what it is taken for."""

import ast
import csv

import numpy as np
import pytest
import scoring
from scoring import MULTI, VERB_NOUN

from vidmodels.data.records.class_list import ClassList
from vidmodels.evaluate import averaging, metrics, side_files
from vidmodels.typing import InputError


def test_every_class_has_its_share_and_its_worst_confusion(tmp_path):
  # Videos of class 0 are answered 0, 1, 2, 2; those of class 1: 1.
  answers = scoring.video_scores(
    np.eye(4)[[0, 1, 2, 2, 1]], [(0,)] * 4 + [(1,)],
    classes=ClassList.from_names(['a, "b"', 'c', 'd e', 'ü']),
  )  # fmt: skip
  rows = side_files.class_table(answers)
  assert [(r.videos, r.top1, r.taken_for, r.times) for r in rows] == [
    (4, 0.25, 'd e', 2), (1, 1.0, '', 0), (0, None, '', 0), (0, None, '', 0)
  ]  # fmt: skip
  path = tmp_path / 'new' / 'classes.csv'
  side_files.write_class_table(rows, path)
  assert [p.name for p in path.parent.iterdir()] == ['classes.csv']
  with open(path, newline='', encoding='utf-8') as file:
    found = list(csv.DictReader(file))
  assert found[0] == {
    'number': '0', 'name': 'a, "b"', 'videos': '4', 'top1': '0.25',
    'average_precision': '', 'taken_for': 'd e', 'times': '2',
  }  # fmt: skip
  assert found[3]['name'] == 'ü'
  assert found[3]['top1'] == ''
  assert side_files.worst_confusions(rows) == [
    'a, "b" taken for d e: 2 of 4 videos'
  ]


def test_only_the_worst_confusions_are_told_worst_first():
  times = [1, 3, 2, 5, 1, 4, 1]
  scores, labels = [], []
  for k, count in enumerate(times):
    scores += [np.eye(8)[7]] * count
    labels += [(k,)] * count
  rows = side_files.class_table(scoring.video_scores(scores, labels))
  assert [line.split()[0] for line in side_files.worst_confusions(rows)] == [
    'c3', 'c5', 'c1', 'c2', 'c0'
  ]  # fmt: skip


def test_a_head_is_confused_within_itself():
  answers = scoring.video_scores(
    [[0, 9, 0, 20, 0, 0, 30]] * 2, [(0, 6), (1, 3)], VERB_NOUN
  )
  rows = {row.name: row for row in side_files.class_table(answers)}
  assert list(rows) == list(scoring.names(7, VERB_NOUN).names)
  assert rows['verb/c0'].taken_for == 'verb/c1'
  assert rows['verb/c1'].top1 == rows['noun/c3'].top1 == 1
  assert rows['noun/c0'].taken_for == 'noun/c3'


def test_classes_of_their_own_have_an_average_precision():
  answers = scoring.video_scores(
    [[9, 1, 1], [8, 2, 1], [7, 3, 1]], [(0,), (1,), (0,)], MULTI
  )
  first, second, third = side_files.class_table(answers)
  assert first.average_precision == pytest.approx((1 + 2 / 3) / 2)
  assert (second.videos, second.average_precision) == (1, 0.5)
  assert (third.videos, third.average_precision, third.top1) == (0, None, None)


def test_without_labels_there_is_no_table():
  answers = scoring.video_scores(np.eye(2), [(), ()], labelled=False)
  with pytest.raises(InputError, match='split test has no labels'):
    side_files.class_table(answers)


def test_ties_count_as_they_do_for_the_whole():
  """A constant answer is right about none, and is not taken for itself."""
  answers = scoring.video_scores(np.zeros((4, 2)), [(0,), (0,), (0,), (1,)])
  rows = side_files.class_table(answers)
  assert [(r.top1, r.taken_for, r.times) for r in rows] == [
    (0.0, '', 0), (0.0, 'c0', 1)
  ]  # fmt: skip
  rng = np.random.default_rng(0)
  scored = scoring.random_scores(rng, 60, 7, VERB_NOUN)
  scored.logits_RVK[:] = scored.logits_RVK.round()
  answers = averaging.average_views(scored)
  whole = metrics.metric_values(metrics.prepare_metrics(answers), 60)
  rows = side_files.class_table(answers)
  for head in ('verb', 'noun'):
    own = [r for r in rows if r.name.startswith(head) and r.videos]
    mean = np.average([r.top1 for r in own], weights=[r.videos for r in own])
    assert mean == pytest.approx(whole[f'{head}_top1'])


def test_odd_class_names_come_back_from_the_table(tmp_path):
  names = ('\x1b[2Jwalk', 'run\tfast', '=1+1', "'quoted'", 'a, "b"', 'plain é')
  rows = [
    side_files.ClassRow(k, name, 3, 0.5, taken_for=names[k - 1], times=1)
    for k, name in enumerate(names)
  ]
  side_files.write_class_table(rows, tmp_path / 'classes.csv')
  text = (tmp_path / 'classes.csv').read_text()
  assert all(line.isprintable() for line in text.split('\n'))
  assert all(line.isprintable() for line in side_files.worst_confusions(rows))
  found = list(csv.DictReader(text.splitlines()))
  assert not any(row['name'].startswith('=') for row in found)
  read = lambda cell: ast.literal_eval(cell) if cell[0] in '\'"' else cell
  assert tuple(read(row['name']) for row in found) == names
  assert read(found[0]['taken_for']) == names[-1]
