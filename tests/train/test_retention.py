"""Which checkpoints stay, and which one is the best."""

import contextlib
import json
import pathlib

import fake
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from vidmodels import config as cfg
from vidmodels.cli import main
from vidmodels.data.records.task import Task
from vidmodels.train import loop, validate
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.train.state import TrainState
from vidmodels.train.view_scores import ViewScores
from vidmodels.typing import InputError

STATE = TrainState(
  step=jnp.zeros((), jnp.int32),
  params={'w': jnp.ones(2)},
  opt_state=(),
  ema=None,
  model_state={},
  key=jnp.zeros(2, jnp.uint32),
)
META = {'classes': ['a'], 'fps': 0.0}
# Of each step: what validation measured, None where there was none.
TOP1 = {1: 0.5, 2: None, 3: 0.9, 4: 0.9, 5: float('nan'), 6: 0.1, 7: None}


@contextlib.contextmanager
def opened(folder: pathlib.Path, **options):
  """The checkpoints of a folder, to save with these options."""
  with contextlib.closing(
    Checkpoints(folder, cfg.Checkpoint(**options))
  ) as saved:
    yield saved


def save(saved: Checkpoints, step: int, top1: float | None, **options) -> None:
  validation = None
  if top1 is not None:
    validation = {'val_clip/top1': top1, 'val_clip/loss': 1 - top1}
    validation = {k: v for k, v in validation.items() if v == v}
  meta = META | {'config': {'checkpoint': options}, 'validation': validation}
  saved.save(STATE, step=step, data={'next_step': step}, meta=meta)


def kept(folder: pathlib.Path, **options) -> list[int]:
  """The steps that are there after those of TOP1 were saved, in two runs."""
  for steps in ((1, 2, 3, 4), (5, 6, 7)):  # the second one has to know the best
    with contextlib.closing(
      Checkpoints(folder, cfg.Checkpoint(**options))
    ) as saved:
      for step in steps:
        save(saved, step, TOP1[step], **options)
  with contextlib.closing(Checkpoints(folder)) as saved:
    assert saved.pick('latest') == saved.pick(None) == 7
    return saved.steps()


@pytest.mark.parametrize(
  ('options', 'steps'),
  [
    ({'keep': 2}, [6, 7]),
    ({'keep': 1, 'keep_every': 3}, [3, 6, 7]),
    ({'keep': 1, 'best': 1, 'metric': 'top1'}, [4, 7]),
    ({'keep': 1, 'best': 3, 'metric': 'val_clip/top1'}, [1, 3, 4, 7]),
    ({'keep': 2, 'best': 1, 'metric': 'loss'}, [4, 6, 7]),
    ({'keep': 1, 'best': 1, 'metric': 'top1', 'mode': 'min'}, [6, 7]),
    ({'keep': 1, 'best': 9, 'metric': 'top1', 'keep_every': 2},
     [1, 2, 3, 4, 6, 7]),
  ],
)  # fmt: skip
def test_the_newest_the_regular_and_the_best_stay_and_no_other(
  tmp_path, options, steps
):
  assert kept(tmp_path, **options) == steps


def test_the_best_is_that_of_the_recipe_and_known_by_its_value(tmp_path):
  options = {'keep': 1, 'best': 2, 'metric': 'top1'}
  assert kept(tmp_path, **options) == [3, 4, 7]
  with contextlib.closing(Checkpoints(tmp_path)) as saved:
    assert saved.pick('best') == 4  # the newer of two equal ones
  with contextlib.closing(
    Checkpoints(tmp_path, cfg.Checkpoint(**options))
  ) as saved:
    assert not saved.is_among_best({'val_clip/top1': 0.8})
    assert not saved.is_among_best({'val_clip/loss': 0.0})
    assert saved.is_among_best({'val_clip/top1': 0.95})
    saved.note_validation(7, {'val_clip/top1': 1.0, 'x': float('inf')})
  with contextlib.closing(Checkpoints(tmp_path)) as saved:
    assert saved.pick('best') == 7
    assert saved.read_json(7, 'meta')['validation'] == {'val_clip/top1': 1.0}


def test_a_best_without_a_metric_or_a_value_says_what_is_there(tmp_path):
  kept(tmp_path / 'a')
  with (
    contextlib.closing(Checkpoints(tmp_path / 'a')) as saved,
    pytest.raises(InputError, match=r'by which metric.*try one of the steps 6'),
  ):
    saved.pick('best')
  with contextlib.closing(
    Checkpoints(tmp_path / 'b', cfg.Checkpoint())
  ) as saved:
    save(saved, 1, None, metric='top1')
    saved.wait()
    with pytest.raises(InputError, match="no checkpoint has a value of 'top1'"):
      saved.pick('best')


def test_the_newest_stays_until_its_successor_is_whole(tmp_path, monkeypatch):
  """Whatever fails or is killed in between."""
  options = cfg.Checkpoint(keep=1)
  with contextlib.closing(Checkpoints(tmp_path, options)) as saved:
    save(saved, 1, None)
    saved.wait()
    deleter, seen = saved._manager._checkpoint_deleter, []
    delete = deleter.delete_steps

    def watch(steps):
      with contextlib.closing(Checkpoints(tmp_path)) as another:
        seen.append((list(steps), another.steps(), another.is_whole(2)))
      delete(steps)

    monkeypatch.setattr(deleter, 'delete_steps', watch)
    save(saved, 2, None)
    saved.wait()
    assert saved.steps_on_disk() == [2]
  assert seen == [([1], [1, 2], True)]


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'checkpoint__best': 1}, "checkpoint.metric=''"),
    (
      {'checkpoint__metric': 'top1'},
      'nothing reads it without checkpoint.best',
    ),
    ({'checkpoint__best': 1, 'checkpoint__metric': 'top1'}, 'log.validate=0'),
  ],
)
def test_a_metric_that_nothing_measures_is_refused_with_the_recipe(
  tmp_path, changes, says
):
  with pytest.raises(InputError, match=says):
    tiny.config(tmp_path, log__validate=0, **changes)


def test_a_metric_that_validation_never_logs_is_refused_before_the_start(
  tmp_path,
):
  records = fake.write(tmp_path / 'records')
  fake.write(records, 'test', videos=3)
  best = dict(checkpoint__best=1, model__layers=1)
  for changes, says in (
    (dict(log__validate=2, checkpoint__metric='top5'), 'val_clip/top1'),
    (dict(log__validate=7, checkpoint__metric='top1'), 'never validates'),
  ):
    with pytest.raises(InputError, match=says):
      loop.train(tiny.config(records, **best, **changes), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  'task', [Task(), Task('multi'), Task('any'), Task(heads=(('a', 4), ('b', 7)))]
)
def test_the_names_of_a_validation_are_known_without_scores(task):
  label_Bx = np.stack([task.blank(11)] * 2)
  if task.kind != 'single':
    label_Bx[:, 3] = 1
  scores = ViewScores(
    np.arange(2), np.zeros(2), label_Bx, np.zeros((2, 11), np.float32)
  )
  names = validate.metric_names(task, classes=11)
  assert names == sorted(validate.validation_metrics(scores, task))


@pytest.mark.slow
def test_a_run_ends_when_its_patience_is_over_and_stays_ended(
  tmp_path, monkeypatch
):
  """Equal values count as better; a run that goes on counts as before."""
  top1 = {1: 0.5, 2: 0.6, 3: 0.6, 4: 0.4, 5: 0.3, 6: 0.2}
  made = []

  def scripted(run, records):
    def measure(state, stops):
      made.append(int(state.step))
      return {'val_clip/top1': top1[made[-1]]}

    return measure

  monkeypatch.setattr(validate, 'make_validation', scripted)
  records = fake.write(tmp_path / 'records')
  options = dict(
    model__layers=1,
    log__validate=1,
    log__every=1,
    checkpoint__best=1,
    checkpoint__metric='top1',
  )
  said = []
  say = lambda done, total, line: said.append(line)

  def train(patience):
    config = tiny.config(records, checkpoint__patience=patience, **options)
    outcome = loop.train(config, tmp_path / 'run', progress=say)
    assert not outcome.preempted
    return outcome.step

  assert train(1) == 4
  assert 'ends at step 4 of 6; evaluate it with --step best' in said[-2]
  assert train(2) == 5
  assert train(2) == 5
  assert made == [1, 2, 3, 4, 5]
  with contextlib.closing(Checkpoints(tmp_path / 'run')) as saved:
    assert saved.pick('best') == 3
    assert saved.pick('latest') == 5
  assert train(0) == 6
  with pytest.raises(InputError, match=r'patience=2.*checkpoint.best above 0'):
    cfg.Checkpoint(patience=2).check()


@pytest.mark.slow
def test_a_run_keeps_its_best_and_evaluates_it(tmp_path, capsys):
  """Also where a validation and a save do not fall on one step."""
  records = fake.write(tmp_path / 'records')
  fake.write(records, 'test', videos=5)
  config = tiny.config(
    records,
    model__layers=1,
    log__validate=1,
    log__every=1,
    checkpoint__every=4,
    checkpoint__keep=1,
    checkpoint__best=2,
    checkpoint__metric='loss',
  )
  loop.train(config, tmp_path / 'run')
  lines = (tmp_path / 'run/metrics.jsonl').read_text().splitlines()
  losses = {
    line['step']: line['val_clip/loss']
    for line in map(json.loads, lines)
    if 'val_clip/loss' in line
  }
  assert [*losses] == [1, 2, 3, 4, 5, 6]
  ranked = sorted(losses, key=lambda step: (losses[step], -step))
  with contextlib.closing(Checkpoints(tmp_path / 'run')) as saved:
    assert saved.steps() == sorted({*ranked[:2], 6})
    assert saved.pick('best') == ranked[0]
    meta = saved.read_json(ranked[0], 'meta')
    assert meta['validation']['val_clip/loss'] == losses[ranked[0]]
  flags = ['--workdir', str(tmp_path / 'run'), '--step', 'best', '--views=1x1']
  capsys.readouterr()
  assert main(['evaluate', '--json', *flags]) == 0
  assert json.loads(capsys.readouterr().out)['step'] == ranked[0]
