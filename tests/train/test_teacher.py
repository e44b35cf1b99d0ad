"""A trained model labels the tokens of another one while that trains."""

import dataclasses

import fake
import jax
import numpy as np
import pytest

from vidmodels import config as cfg
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.records.task import Task
from vidmodels.models import dualformer
from vidmodels.train import (
  build,
  feed,
  loop,
  losses,
  restore,
  step,
  teacher,
  token_label,
)
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.train.state import create_state
from vidmodels.typing import InputError

SIZE = dualformer.TINY_CLIP[2]
# One stage of two blocks: a step of TINY takes several times as long to
# compile.
ONE_STAGE = {
  **{'widths': (16,), 'heads': (4,), 'layers': (2,), 'mlp_ratios': (2.0,)},
  **{'patterns': ('LG',), 'windows': ((2, 4, 4),), 'fine': ((2, 2, 2),)},
  **{'coarse': ((1, 1, 1),), 'rates': (), 'built': (4, SIZE, SIZE)},
}


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  folder = tmp_path_factory.mktemp('records')
  return fake.write(
    folder, height=SIZE, width=SIZE, classes=('a', 'b', 'c', 'd', 'e', 'f')
  )


def recipe(records, **model) -> cfg.Config:
  """A tiny DualFormer's recipe, for one device."""
  c = cfg.skeleton(family='dualformer')
  c.model.update({**dualformer.TINY, **ONE_STAGE, **model})
  c.data.update(dir=str(records), threads=1, prefetch=1)
  c.clip.update(frames=dualformer.TINY_CLIP[0], size=SIZE)
  c.augment.update(short_side=(SIZE, SIZE), flip=0.0)
  c.optim.update(steps=2, lr=0.01)
  c.mesh.update(data=1)
  c.update(batch=4, dtype='float32')
  c.checkpoint.every = 1
  return cfg.check(c)


def taught(records, workdir, **changes) -> cfg.Config:
  """The student's recipe."""
  config = recipe(records, token_head=True)
  loss = dataclasses.replace(config.loss, teacher=str(workdir), **changes)
  return dataclasses.replace(config, loss=loss)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, records):
  """A teacher's run."""
  workdir = tmp_path_factory.mktemp('teacher')
  loop.train(recipe(records), workdir, devices=jax.devices()[:1])
  return workdir


@pytest.fixture(scope='module')
def run(records, workdir):
  """The student's run and its teacher."""
  config = taught(records, workdir)
  classes = RecordSet.open(records, 'train').classes
  one = jax.devices()[:1]
  made = build.build(config, classes=6, examples=13, devices=one)
  return made, teacher.load(config, made.model, classes, made.mesh)


@pytest.fixture(scope='module')
def batch():
  draw = np.random.default_rng(0)
  shape = (4, dualformer.TINY_CLIP[0], SIZE, SIZE, 3)
  return {
    'video': draw.integers(0, 256, shape, np.uint8),
    'label': np.array([0, 1, 2, 5], np.int32),
    'mask': np.ones(4, np.float32),
  }


def first(made, taught, batch):
  """Metrics and the state after one step from the first state."""
  (fed,) = feed.Feed(iter([batch]), rows=4, mesh=made.mesh)
  now = create_state(made.init, made.shardings)
  with jax.set_mesh(made.mesh):
    return made.train_step(taught)(now, fed)


@pytest.mark.slow
def test_the_loss_is_of_the_clip_and_of_the_teacher_s_tokens(run, batch):
  made, known = run
  state = create_state(made.init, made.shardings)
  still = made.model.clone(dropout=0.0, drop_path=0.0)
  data = made.config.data
  (logits_BK, tokens_BTHWK), _ = still.apply(
    {'params': state.params, **state.model_state},
    step.normalise(batch['video'], data.mean, data.std),
    train=True,
    mutable=['batch_stats'],
    method='token_logits',
  )
  scores_BTHWK = known.score(known.variables, batch['video'])
  assert scores_BTHWK.shape == tokens_BTHWK.shape
  clip_B = losses.loss_per_clip(logits_BK, batch['label'])
  wanted = token_label.add_token_loss(clip_B, tokens_BTHWK, scores_BTHWK)
  # The very step, without what is drawn.
  quiet = dataclasses.replace(made, model=still)
  _, pairs = first(quiet, known, batch)
  assert float(pairs['loss'][0]) == pytest.approx(float(wanted.sum()), rel=1e-5)
  assert abs(float(wanted.sum() - clip_B.sum())) > 1e-3


@pytest.mark.slow
def test_the_teacher_is_in_evaluation_mode_and_never_learns(run, batch):
  made, known = run
  before = jax.tree.map(np.array, dict(known.variables))
  again = [known.score(known.variables, batch['video']) for _ in range(2)]
  np.testing.assert_array_equal(*again)
  state, _ = first(made, known, batch)
  jax.tree.map(np.testing.assert_array_equal, before, dict(known.variables))
  assert 'teacher' not in str(jax.tree.structure(state.params))
  # The token head is trained by it.
  head = create_state(made.init, made.shardings).params['token_head']
  for name in head:
    moved = head[name]['kernel'] - state.params['token_head'][name]['kernel']
    assert abs(moved).max() > 0, name


def test_its_weights_are_no_part_of_the_program(run, batch):
  made, known = run
  update = step.make_train_step(made.model, made.tx, made.config, known)
  state = create_state(made.init, made.shardings)
  frozen = dict(known.variables)
  program = jax.make_jaxpr(update)(state, batch, frozen)
  largest = max(leaf.size for leaf in jax.tree.leaves(frozen))
  assert all(np.size(const) < largest for const in program.consts)


@pytest.mark.slow
def test_a_student_trains_resumes_and_keeps_to_its_teacher(
  tmp_path, records, workdir
):
  config, one = taught(records, workdir), jax.devices()[:1]
  loop.train(config, tmp_path / 'student', devices=one)
  saved = Checkpoints(tmp_path / 'student')
  position = saved.read_json(2, 'data')
  assert position['teacher'] == {'step': 2, 'weights': 'params'}
  saved.close()
  # Nothing is left to do, and the same teacher is still there.
  loop.train(config, tmp_path / 'student', devices=one)
  (workdir / 'checkpoints' / '2').rename(workdir / 'hidden')
  try:
    with pytest.raises(InputError, match='teacher'):
      loop.train(config, tmp_path / 'student', devices=one)
  finally:
    (workdir / 'hidden').rename(workdir / 'checkpoints' / '2')


def test_what_cannot_teach_or_be_taught_is_refused(tmp_path, records, workdir):
  classes = RecordSet.open(records, 'train').classes
  one = jax.devices()[:1]

  def load(config, names=classes):
    made = build.build(config, classes=6, examples=13, devices=one)
    return teacher.load(config, made.model, names, made.mesh)

  with pytest.raises(InputError, match='nothing trains it'):
    load(recipe(records, token_head=True))
  no_head = taught(records, workdir)
  no_head = dataclasses.replace(no_head, model=recipe(records).model)
  with pytest.raises(InputError, match='no token head'):
    load(no_head)
  with pytest.raises(InputError, match='does not exist'):
    load(taught(records, tmp_path / 'none'))
  others = type(classes).from_names([*classes.names[::-1]])
  with pytest.raises(InputError, match='other classes'):
    load(taught(records, workdir), others)
  assert load(recipe(records)) is None
  tree = cfg.as_dict(recipe(records))
  tree['loss']['token_share'] = 0.3
  with pytest.raises(InputError, match='without loss'):
    cfg.check(tree)


@pytest.mark.parametrize(
  'task', [Task(heads=(('verb', 2), ('noun', 4))), Task('multi')], ids=str
)
@pytest.mark.fast_every(3)
def test_a_teacher_of_several_questions_is_refused(
  records, workdir, run, task, monkeypatch
):
  made, _ = run
  load = restore.load
  of_task = lambda *a, **k: dataclasses.replace(load(*a, **k), task=task)
  monkeypatch.setattr(restore, 'load', of_task)
  classes = RecordSet.open(records, 'train').classes
  with pytest.raises(InputError, match='more than one question'):
    teacher.load(made.config, made.model, classes, made.mesh)
