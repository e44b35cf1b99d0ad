"""A step that is made again is the step that the run made."""

import contextlib
import json
import shutil

import fake
import numpy as np
import pytest
import tiny

from vidmodels.cli import main
from vidmodels.train import loop, replay
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.typing import InputError

RUN = dict(
  optim__steps=6,
  model__layers=1,
  model__drop_path=0.3,
  mix__mixup=0.8,
  mix__cutmix=1.0,
  batch=16,
  accumulate=2,
  log__every=1,
  checkpoint__every=2,
  checkpoint__keep=9,
)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  records = fake.write(folder / 'records')
  config = tiny.config(records, **RUN)
  loop.train(config, folder / 'run')
  lines = (folder / 'run/metrics.jsonl').read_text().splitlines()
  logged = {line['step']: line for line in map(json.loads, lines)}
  return config, folder / 'run', logged


def contents(folder) -> dict[str, tuple[int, int]]:
  return {
    str(path.relative_to(folder)): (s.st_mtime_ns, s.st_size)
    for path in folder.rglob('*')
    for s in [path.stat()]
  }


@pytest.mark.parametrize(
  ('step', 'restored'),
  [(4, 2), pytest.param(1, 0, marks=pytest.mark.slow)],
)
def test_a_replayed_step_has_the_bits_of_the_run_and_the_losses_of_its_clips(
  run, step, restored
):
  config, workdir, logged = run
  before = contents(workdir)
  again = replay.replay(config, workdir, step)
  assert contents(workdir) == before, 'a replay writes nothing'
  assert again.restored == restored
  for name, value in again.metrics.items():
    assert logged[step][f'train_clip/{name}'] == value, name
  losses = [clip['loss'] for clip in again.clips]
  assert np.mean(losses) == pytest.approx(again.metrics['loss'], rel=1e-5)
  assert np.std(losses) > 0
  clips = [clip['clip'] for clip in again.clips]
  assert clips == list(range(16 * step - 16, 16 * step))


@pytest.mark.slow
def test_the_command_says_which_clips_had_which_loss(run, capsys):
  _, workdir, logged = run
  flags = ['train', '--workdir', str(workdir), '--replay-step', '4']
  assert main([*flags, '--json']) == 0
  said = json.loads(capsys.readouterr().out)
  assert said['loss'] == logged[4]['train_clip/loss']
  assert {clip['video'][-4:] for clip in said['clips']} == {'.mp4'}
  assert main([*flags, '--config.optim.lr=0.5']) == 2
  assert 'config.optim.lr: 0.002 -> 0.5' in capsys.readouterr().err
  assert main([*flags, '--fork', str(workdir)]) == 2
  assert main(['train', '--workdir', str(workdir), '--replay-step=7']) == 2
  assert '1 to 6' in capsys.readouterr().err


def test_without_a_recipe_a_new_run_says_what_it_needs(tmp_path, capsys):
  assert main(['train', f'--workdir={tmp_path}/new']) == 2
  assert 'try --config=small' in capsys.readouterr().err


def test_a_fork_replays_its_own_steps_alone(run, tmp_path):
  config, workdir, _ = run
  meta = workdir / 'checkpoints/6/meta/metadata'
  shutil.copytree(workdir, tmp_path / 'fork')
  document = json.loads(meta.read_text())
  document['history'] = [{'workdir': 'elsewhere', 'step': 2}]
  for step in (2, 4):
    shutil.rmtree(tmp_path / f'fork/checkpoints/{step}')
  (tmp_path / 'fork/checkpoints/6/meta/metadata').write_text(
    json.dumps(document)
  )
  with pytest.raises(InputError, match='forked at step 2 of elsewhere'):
    replay.replay(config, tmp_path / 'fork', 3)
  with contextlib.closing(Checkpoints(tmp_path / 'fork')) as saved:
    assert saved.steps() == [6]
