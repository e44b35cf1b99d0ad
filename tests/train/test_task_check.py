"""A run is not put together where model or loss do not suit the labels."""

import fake
import pytest
import tiny

from vidmodels import config as cfg
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.models import i3d, xvit
from vidmodels.train import build
from vidmodels.typing import InputError

HEADS = Task(heads=(('verb', 2), ('noun', 3)))
GROUPS = {**xvit.TINY, 'groups': (2, 3)}


def check(family: str, fields: dict, task: Task, *, classes=5, **loss) -> None:
  config = cfg.Config(family=family, model=fields, loss=cfg.Loss(**loss))
  model = build.make_model(config, classes=classes)
  build.check_task(config, model, task, classes=classes)


def test_what_suits_is_let_through():
  check('xvit', GROUPS, HEADS, label_smoothing=0.1)
  check('xvit', xvit.TINY, HEADS)  # one head answers all
  check('xvit', xvit.TINY, Task('multi'))
  check('i3d', i3d.TINY, Task('multi'))
  check('xvit', {**GROUPS, 'ta_layers': 0, 'average': 'probs'}, HEADS)
  check('xvit', xvit.TINY, Task('any'), label_smoothing=0.1)
  check('dualformer', {}, SINGLE, teacher='somewhere')


@pytest.mark.parametrize(
  ('heads', 'message'),
  [
    ((('noun', 3), ('verb', 2)), r'\(2, 3\) and the heads .*noun.*\(3, 2\)'),
    ((('verb', 1), ('noun', 4)), r'set model.groups to \(1, 4\)'),
    ((), r'heads of the data set are none; set model.groups to \(\)'),
    ((('verb', 2), ('noun', 4)), r'with 5 classes; expected 6'),
  ],
)
def test_heads_of_other_sizes_or_in_another_order_are_refused(heads, message):
  with pytest.raises(InputError, match=message):
    check('xvit', GROUPS, Task(heads=heads))


def test_a_head_has_not_the_name_of_all_together():
  with pytest.raises(InputError, match="called 'action'"):
    check('xvit', GROUPS, Task(heads=(('action', 2), ('noun', 3))))


def test_questions_of_their_own_are_not_smoothed_and_no_shares_of_one():
  multi = Task('multi')
  with pytest.raises(InputError, match=r'label_smoothing=0.1 .* set it to 0'):
    check('xvit', xvit.TINY, multi, label_smoothing=0.1)
  shares = {**xvit.TINY, 'ta_layers': 0, 'average': 'probs'}
  for task in (multi, HEADS):
    with pytest.raises(InputError, match=r"model\.average='probs'"):
      check('xvit', shares, task)
    with pytest.raises(InputError, match=r'model\.head_window=2'):
      check('i3d', {**i3d.TINY, 'head_window': 2}, task)
  with pytest.raises(InputError, match=r'model\.head_window=7'):
    check('i3d', {**i3d.TINY, 'head_window': 7}, multi)


@pytest.mark.parametrize('task', [Task('multi'), HEADS])
def test_a_teacher_answers_one_question(task):
  with pytest.raises(InputError, match='more than one question'):
    check('dualformer', {}, task, teacher='somewhere')


def test_a_run_is_checked_as_it_is_built(tmp_path):
  records = fake.write(tmp_path)
  config = tiny.config(records, loss__label_smoothing=0.1)
  made = build.build(config, classes=5, examples=13, task=HEADS)
  assert made.task == HEADS
  with pytest.raises(InputError, match='label_smoothing'):
    build.build(config, classes=5, examples=13, task=Task('multi'))
