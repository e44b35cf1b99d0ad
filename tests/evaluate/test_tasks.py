"""Every kind of label goes from its records through a model to its measures."""

import dataclasses
import json

import fake
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoring
import tiny
from scoring import ANY, MULTI, VERB_NOUN

from vidmodels.data.records.record_set import Manifest
from vidmodels.evaluate import predict_videos, score_split
from vidmodels.evaluate.score_file import SplitScores
from vidmodels.train import average_precision, loop, restore
from vidmodels.train.build import make_model
from vidmodels.train.mesh import make_mesh
from vidmodels.typing import InputError

VIDEOS = 9
LABELS = {
  VERB_NOUN: [(i % 3, 3 + i % 4) for i in range(VIDEOS)],
  ANY: [(i % 7, (i + 2) % 7) if i % 2 else (i % 7,) for i in range(VIDEOS)],
  MULTI: [tuple(range(i % 3)) for i in range(VIDEOS)],
}
IDS = {VERB_NOUN: 'heads', ANY: 'any', MULTI: 'multi'}


@pytest.fixture(scope='module', params=LABELS, ids=IDS.get)
def made(request, tmp_path_factory):
  """(records, a model of fresh weights for their task)."""
  task = request.param
  folder = tmp_path_factory.mktemp('records')
  names = scoring.names(7, task)
  fake.write(
    folder, 'test', videos=VIDEOS, width=40, classes=names.names,
    labels=LABELS[task], task=task,
  )  # fmt: skip
  config = tiny.config(folder, views__temporal=2)
  model = make_model(config, classes=7)
  size = config.clip.size
  blank = jnp.zeros((1, config.clip.frames, size, size, 3))
  variables = dict(model.init(jax.random.key(1), blank))
  # A fresh head answers nothing: every class would tie.
  noise = lambda path, leaf: (
    leaf + jax.random.normal(jax.random.key(len(str(path))), leaf.shape)
  )
  params = jax.tree_util.tree_map_with_path(noise, variables.pop('params'))
  return folder, restore.TrainedModel(
    config=config,
    classes=names,
    step=3,
    weights='params',
    workdir=tmp_path_factory.mktemp('run'),
    model=model,
    params=params,
    model_state=variables,
    fps=0.0,
    mesh=make_mesh(config.mesh),
    task=task,
  )


@pytest.mark.slow
def test_measures_are_of_the_records_labels(made):
  folder, model = made
  report = score_split.evaluate(
    model, dir=folder, split='test', views=model.config.views
  )
  scored = SplitScores.load(report.scores)
  assert scored.info.task == model.task
  names = Manifest.load(folder, 'test').shards
  order = [v for shard in names for v in shard.videos]
  assert list(scored.videos) == order
  mean_RK = scored.logits_RVK.astype(float).mean(1)
  own = [LABELS[model.task][int(v[-7:-4])] for v in order]
  if model.task == VERB_NOUN:
    answer = np.stack([mean_RK[:, :3].argmax(1), 3 + mean_RK[:, 3:].argmax(1)])
    right = np.array(own) == answer.T
    assert 0 < right.mean() < 1
    assert report.metrics['verb_top1'] == right[:, 0].mean()
    assert report.metrics['noun_top1'] == right[:, 1].mean()
    assert report.metrics['action_top1'] == right.all(1).mean()
    return
  rows = np.stack([model.task.row(labels, 7) for labels in own])
  if model.task == ANY:
    mean_RK = np.asarray(jax.nn.softmax(mean_RK))
  found = average_precision.mean_ap(mean_RK, rows)
  assert report.metrics['map'] == pytest.approx(found.value)
  if model.task == ANY:
    hits = [
      a in labels for a, labels in zip(mean_RK.argmax(1), own, strict=True)
    ]
    assert report.metrics['hit1'] == np.mean(hits)
  else:
    assert list(report.metrics) == ['map']
    assert '3 videos have no class' in ' '.join(report.notes)
  assert json.loads(json.dumps(report.as_json()))['test_2x3/map']


def test_predictions_are_of_the_task(made, tmp_path):
  _, model = made
  path = fake.video(tmp_path / 'a.mp4', frames=25)
  views = dataclasses.replace(model.config.views, average='probs')
  predictor = predict_videos.Predictor(model, views=views, top=99)
  (answer,) = predictor.predict_file(path)
  chances = np.array(answer.probabilities)
  assert (np.diff(chances) <= 0).all()
  tree = answer.as_json()
  if model.task == VERB_NOUN:
    assert len(chances) == 7
    verbs, nouns = (dict(answer.heads[head]) for head in ('verb', 'noun'))
    assert (len(verbs), len(nouns)) == (3, 4)
    assert sum(verbs.values()) == pytest.approx(1)
    assert sum(nouns.values()) == pytest.approx(1)
    for name, chance in zip(answer.classes, chances, strict=True):
      verb, noun = name.split()
      assert chance == pytest.approx(verbs[verb] * nouns[noun])
    assert tree['heads']['verb'][0] == answer.heads['verb'][0]
    return
  assert sorted(answer.classes) == [f'c{k}' for k in range(7)]
  assert answer.heads == tree['heads'] == {}
  if model.task == ANY:
    assert chances.sum() == pytest.approx(1)
    return
  highest = dataclasses.replace(views, average='max')
  (most,) = predict_videos.Predictor(model, views=highest, top=99).predict_file(
    path
  )
  most = dict(zip(most.classes, most.probabilities, strict=True))
  for name, chance in zip(answer.classes, chances, strict=True):
    assert 0 < chance <= most[name] + 1e-9 < 1
  assert abs(chances.sum() - 1) > 1e-3


def test_the_highest_view_is_for_questions_of_their_own(made):
  _, model = made
  views = dataclasses.replace(model.config.views, average='max')
  if model.task == MULTI:
    predict_videos.Predictor(model, views=views, top=1)
    return
  with pytest.raises(InputError, match='the average max for'):
    predict_videos.Predictor(model, views=views, top=1)


def test_a_checkpoint_knows_its_task(tmp_path):
  names = scoring.names(7, VERB_NOUN)
  for split in ('train', 'test'):
    fake.write(
      tmp_path / 'records', split, videos=VIDEOS, classes=names.names,
      labels=LABELS[VERB_NOUN], task=VERB_NOUN,
    )  # fmt: skip
  config = tiny.config(
    tmp_path / 'records',
    optim__steps=1,
    optim__warmup=0.0,
    model__layers=1,
    views__spatial=1,
  )
  loop.train(config, tmp_path / 'run')
  model = restore.load(tmp_path / 'run')
  assert model.task == VERB_NOUN
  report = score_split.evaluate(
    model, dir=tmp_path / 'records', split='test', views=config.views
  )
  assert 'test_2x1/action_top1' in report.as_json()
  # The first release's checkpoints say nothing of tasks: one class a video.
  path = tmp_path / 'run/checkpoints/1/meta/metadata'
  meta = json.loads(path.read_text())
  del meta['task']
  path.write_text(json.dumps(meta))
  assert restore.load(tmp_path / 'run').task == scoring.SINGLE
