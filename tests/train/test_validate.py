"""Validation measures single clips with the averaged weights."""

import dataclasses
import json

import fake
import jax.nn
import numpy as np
import pytest
import tiny

from vidmodels.data.records import record_set
from vidmodels.data.records.task import Task
from vidmodels.evaluate import score_split
from vidmodels.train import build, loop, restore, validate, view_scores
from vidmodels.typing import InputError


@pytest.mark.slow
def test_validation_is_what_evaluation_says_of_one_view(tmp_path):
  records = fake.write(tmp_path / 'records')
  fake.write(records, 'test', videos=5)
  workdir = tmp_path / 'run'
  config = tiny.config(
    records,
    log__validate=2,
    clip__sampling='pyslowfast',
    clip__fps=30.0,
    views__short_side=19,
    log__validate_scale=1.25,  # its own, and not the 19 pixels
    views__centre='floor',
    optim__steps=2,
    optim__ema=0.5,
    views__batch=3,
    model__layers=1,
  )
  loop.train(config, workdir)
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  found = [line for line in map(json.loads, lines) if 'val_clip/top1' in line]
  assert [line['step'] for line in found] == [2]

  losses = {}
  for weights in ('ema', 'params'):
    model = restore.load(workdir, weights=weights)
    report = score_split.evaluate(
      model,
      dir=records,
      split='test',
      views=tiny.views(config, temporal=1, spatial=1, centre_scale=1.25),
      out=tmp_path / weights,
    )
    scores = np.load(report.scores)
    log_p = jax.nn.log_softmax(scores['logits'][:, 0])
    losses[weights] = -np.mean(
      [p[k] for p, k in zip(log_p, scores['label'], strict=True)]
    )
    if weights == 'ema':
      assert found[0]['val_clip/top1'] == pytest.approx(report.metrics['top1'])
  assert found[0]['val_clip/loss'] == pytest.approx(losses['ema'], abs=1e-5)
  assert abs(losses['ema'] - losses['params']) > 1e-3


def views(logits, label) -> view_scores.ViewScores:
  """One view of each video."""
  numbers = np.arange(len(logits))
  return view_scores.ViewScores(
    index_R=numbers,
    view_R=0 * numbers,
    label_Rx=np.array(label),
    logits_RK=np.array(logits, np.float32),
  )


LOGITS = [[3.0, 1, 2], [0, 2, 1], [1, 0, 2]]
# Second of three, first of three, third: but the last class is nobody's.
RIGHT = np.array([[0, 1, 0], [0, 1, 0], [1, 0, 0]], np.float32)


def test_questions_of_their_own_are_validated_by_their_ranking():
  found = validate.validation_metrics(views(LOGITS, RIGHT), Task('multi'))
  assert set(found) == {'val_clip/loss', 'val_clip/map'}
  # Class 0: the right one is the second; class 1: the first two of three.
  assert found['val_clip/map'] == pytest.approx((1 / 2 + 1) / 2)
  p = 1 / (1 + np.exp(-np.array(LOGITS)))
  loss = -(RIGHT * np.log(p) + (1 - RIGHT) * np.log(1 - p)).mean()
  assert found['val_clip/loss'] == pytest.approx(loss, rel=1e-5)


def test_several_right_classes_are_validated_by_hits_and_ranking():
  found = validate.validation_metrics(views(LOGITS, RIGHT), Task('any'))
  assert found['val_clip/hit1'] == pytest.approx(1 / 3)
  assert 'val_clip/hit5' not in found  # of three classes
  # A constant on all logits of a clip changes no probability, and no rank.
  moved = np.array(LOGITS) + np.array([[40.0], [0.0], [-40.0]])
  again = validate.validation_metrics(views(moved, RIGHT), Task('any'))
  assert again['val_clip/map'] == pytest.approx(found['val_clip/map'])


def test_heads_are_validated_apart_and_together():
  task = Task(heads=(('verb', 2), ('noun', 1)))
  found = validate.validation_metrics(
    views(LOGITS, [[0, 2], [0, 2], [1, 2]]), task
  )
  assert found['val_clip/verb_top1'] == pytest.approx(1 / 3)
  assert found['val_clip/noun_top1'] == 1
  assert found['val_clip/action_top1'] == pytest.approx(1 / 3)
  verbs = np.log(1 + np.exp([-2.0, 2.0, 1.0])).mean()
  assert found['val_clip/loss'] == pytest.approx(verbs, rel=1e-5)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'labelled': False}, "labels of the split 'test' are not published"),
    ({'task': Task('any')}, "are {'kind': 'any'"),
  ],
)
def test_a_split_of_other_labels_or_none_is_no_test(tmp_path, change, message):
  records = fake.write(tmp_path / 'records')
  fake.write(records, 'test', videos=5)
  manifest = record_set.RecordSet.open(records, 'test').manifest
  dataclasses.replace(manifest, **change).save(records)
  config = tiny.config(records, log__validate=2)
  opened = record_set.RecordSet.open(records, 'train')
  made = build.build(config, classes=3, examples=len(opened))
  with pytest.raises(InputError, match=message):
    validate.make_validation(made, opened)
