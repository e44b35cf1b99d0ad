"""Evaluation counts what it says, at any batch size, and predicts the same."""

import dataclasses
import json

import fake
import numpy as np
import pytest
import tiny

from vidmodels.data.augment import decode
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.sampling import rules
from vidmodels.data.stream import batch_stream
from vidmodels.evaluate import predict_videos, score_split
from vidmodels.evaluate.score_file import ScoreInfo
from vidmodels.train import loop, restore
from vidmodels.train.view_scores import ViewScores
from vidmodels.typing import InputError


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  folder = fake.write(tmp_path_factory.mktemp('records'))
  return fake.write(folder, 'test', videos=5, frames=20, width=40, listed=6)


@pytest.fixture(scope='module')
def model(tmp_path_factory, records):
  """A model after a few steps."""
  workdir = tmp_path_factory.mktemp('run')
  loop.train(
    tiny.config(records, optim__steps=2, optim__ema=0.5, model__layers=1),
    workdir,
  )
  return restore.load(workdir)


def views_of(model, temporal, spatial, batch):
  return dataclasses.replace(
    model.config.views, temporal=temporal, spatial=spatial, batch=batch
  )


@pytest.mark.slow
def test_any_batch_size_gives_the_same_scores(tmp_path, model, records):
  logits = []
  for batch in (1, 7, 64):
    report = score_split.evaluate(
      model,
      dir=records,
      split='test',
      views=views_of(model, 2, 3, batch),
      out=tmp_path / str(batch),
    )
    logits.append(np.load(report.scores)['logits'])
  assert logits[0].shape == (5, 6, 3)
  np.testing.assert_allclose(logits[1], logits[0], atol=1e-5)
  np.testing.assert_allclose(logits[2], logits[0], atol=1e-5)


def test_the_report_says_what_was_measured_and_what_was_lost(
  tmp_path, model, records
):
  report = score_split.evaluate(
    model,
    dir=records,
    split='test',
    views=views_of(model, 2, 3, 8),
    out=tmp_path,
  )
  assert '5 of 6 videos, 6 views' in report.line()
  (written,) = tmp_path.glob('*.json')
  assert written.name.startswith('test_2x3_step2_ema_logits_')
  saved = json.loads(written.read_text())
  assert saved == json.loads(json.dumps(report.as_json()))
  scores = np.load(report.scores)
  right = scores['logits'].mean(1).argmax(-1) == scores['label']
  assert saved['test_2x3/top1'] == pytest.approx(right.mean())
  assert saved['weights'] == 'ema'
  assert scores['video'].tolist() == [
    RecordSet.open(records, 'test').record(i).video for i in range(5)
  ]


def test_classes_that_differ_from_the_checkpoints_are_refused(tmp_path, model):
  fake.write(tmp_path, 'test', classes=('red', 'blue', 'green'))
  with pytest.raises(InputError, match="class 1 is 'green' here and 'blue'"):
    score_split.evaluate(
      model, dir=tmp_path, split='test', views=views_of(model, 1, 1, 8)
    )


def test_results_of_other_weights_and_averages_stand_side_by_side(
  tmp_path, model, records
):
  views = views_of(model, 1, 1, 8)
  other = dataclasses.replace(views, average='probs')
  for chosen in (views, other):
    score_split.evaluate(
      model, dir=records, split='test', views=chosen, out=tmp_path
    )
  assert len(list(tmp_path.glob('*.json'))) == 2


def test_records_of_another_rate_are_refused_where_frames_count(
  tmp_path, model
):
  fake.write(tmp_path, 'test', videos=3, fps=5.0)
  with pytest.raises(InputError, match=r'--fps 5; expected --fps 0 as'):
    score_split.evaluate(
      model, dir=tmp_path, split='test', views=views_of(model, 1, 1, 8)
    )


def test_a_view_that_is_missing_or_doubled_is_an_error(records):
  opened = RecordSet.open(records, 'test')
  info = ScoreInfo.of_records(
    opened.manifest, opened.classes, temporal=2, spatial=1, average='logits',
    step=1, weights='params',
  )  # fmt: skip
  order = np.random.default_rng(0).permutation(10)
  good = ViewScores(
    index_R=order // 2,
    view_R=order % 2,
    label_Rx=order // 2 % 3,
    logits_RK=np.stack([order, -order, order * 0], -1).astype(np.float32),
  )
  scored = score_split.group_by_video(good, records=opened, info=info, file='')
  assert scored.label_Rx.tolist() == [0, 1, 2, 0, 1]
  np.testing.assert_array_equal(
    scored.logits_RVK[..., 0], np.arange(10).reshape(5, 2)
  )
  assert scored.videos[3] == opened.record(3).video
  twice = dataclasses.replace(good, view_R=np.zeros(10, int))
  with pytest.raises(ValueError, match='5 different; expected each of 5 x 2'):
    score_split.group_by_video(twice, records=opened, info=info, file='')


@pytest.mark.parametrize('rule', rules.names())
def test_predict_cuts_the_views_that_evaluate_cuts(model, records, rule):
  opened = RecordSet.open(records, 'test')
  views = dataclasses.replace(
    views_of(model, 2, 3, 6), short_side=17, centre='floor'
  )
  fps = 20.0 if 'fps' in rules.find(rule).READS else 0.0
  clip = dataclasses.replace(model.config.clip, sampling=rule, fps=fps)
  config = dataclasses.replace(model.config, clip=clip)
  model = dataclasses.replace(model, config=config)
  predictor = predict_videos.Predictor(model, views=views, top=3)
  batches = batch_stream.eval_batches(
    opened, clip=config.clip, views=views, data=config.data, rows=range(6)
  )
  for i, batch in enumerate(batches):
    record = opened.record(i)
    stretch = predict_videos.Segment(
      start_s=0.0,
      end_s=1.0,
      times_us=record.timestamps_us,
      frames={
        t: predictor.shrink(decode(jpeg))
        for t, jpeg in enumerate(record.frames)
      },
    )
    np.testing.assert_array_equal(predictor.cut_views(stretch), batch['video'])
