"""A run that goes on from another one: what it takes, what may change."""

import contextlib
import json
import shutil
import types

import fake
import numpy as np
import pytest
import tiny

from vidmodels.cli import main
from vidmodels.data.records.record_set import RecordSet
from vidmodels.train import fork, loop, spikes
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.typing import InputError

RUN = dict(
  optim__steps=6,
  optim__ema=0.9,
  optim__schedule='constant',
  model__layers=1,
  model__drop_path=0.2,
  checkpoint__every=2,
  checkpoint__keep=3,
)


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  return fake.write(tmp_path_factory.mktemp('records'))


@pytest.fixture(scope='module')
def parent(tmp_path_factory, records):
  workdir = tmp_path_factory.mktemp('parent')
  loop.train(tiny.config(records, **RUN), workdir)
  return workdir


def stored(workdir, step: int) -> dict[str, dict[str, int]]:
  """The checksums of a checkpoint's arrays."""
  with contextlib.closing(Checkpoints(workdir)) as saved:
    return dict(saved.read_json(step, 'checksums'))


def history(workdir) -> list[dict]:
  return json.loads((workdir / 'config.json').read_text())['history']


def go_on(records, source, workdir, progress=loop.no_progress, **changes):
  point = fork.find(source, workdir)
  config = tiny.config(records, **RUN | changes)
  return loop.train(config, workdir, progress=progress, fork=point)


def contents(folder) -> dict[str, tuple[int, int]]:
  return {
    str(path.relative_to(folder)): (s.st_mtime_ns, s.st_size)
    for path in folder.rglob('*')
    for s in [path.stat()]
  }


def test_a_fork_without_changes_ends_with_the_bits_of_its_parent(
  tmp_path, records, parent
):
  before = contents(parent)
  go_on(records, f'{parent}@2', tmp_path / 'new')
  assert stored(tmp_path / 'new', 6) == stored(parent, 6)
  assert contents(parent) == before, 'a fork only reads its parent'
  (entry,) = history(tmp_path / 'new')
  assert entry['workdir'] == str(parent)
  assert (entry['step'], entry['changed']) == (2, [])
  assert len(entry['checksum']) == 64
  assert entry['order'] == 'goes on at clip 16'


@pytest.mark.slow
def test_the_command_forks_a_fork_and_the_same_command_resumes_it(
  tmp_path, records, parent, capsys
):
  argv = ['train', f'--fork={parent}', f'--workdir={tmp_path / "a"}']
  argv += ['--config.optim.steps=10', '--config.optim.lr=0.001']
  argv += ['--config.optim.warmup=1.0', '--config.batch=16']
  argv += ['--config.checkpoint.every=2', '--config.log.validate=0']
  assert main(argv) == 0
  said = capsys.readouterr().err
  assert f'forked from checkpoint 6 of {parent}' in said
  assert 'config.optim.lr: 0.002 -> 0.001' in said
  assert 'the order of examples goes on at clip 48' in said
  shutil.rmtree(tmp_path / 'a/checkpoints/10')  # as if killed before it
  whole = stored(tmp_path / 'a', 8)
  assert main(argv) == 0
  assert 'resumed from checkpoint 8' in capsys.readouterr().err
  assert stored(tmp_path / 'a', 8) == whole
  assert main(argv) == 0  # has ended
  assert 'nothing is left to do' in capsys.readouterr().err
  assert main(['train', f'--workdir={tmp_path / "a"}']) == 0
  argv = ['train', f'--fork={tmp_path / "a"}@8', f'--workdir={tmp_path / "b"}']
  assert main([*argv, '--config.optim.steps=9']) == 0
  first, second = history(tmp_path / 'b')
  assert (first['step'], second['step']) == (6, 8)
  assert second['order'] == 'goes on at clip 80'  # 6 batches of 8, 2 of 16
  capsys.readouterr()
  assert main([*argv[:2], f'--workdir={parent}']) == 2
  assert 'holds another run' in capsys.readouterr().err


def test_every_example_is_seen_as_often_when_the_batch_changes(
  tmp_path, records, parent
):
  """Of 13: two batches of 8, then 23 of one clip are three epochs."""
  point = fork.find(f'{parent}@2', tmp_path / 'new')
  config = tiny.config(records, **RUN | dict(batch=1, optim__steps=25))
  opened = RecordSet.open(records, 'train')

  run = types.SimpleNamespace(config=config)  # all that the order needs
  shift = point.clip_shift(run, opened)
  old = spikes.StepClips(opened, point.config)
  new = spikes.StepClips(opened, config, shift)
  seen = [clip for step in (1, 2) for clip in old(step)]
  seen += [clip for step in range(3, 26) for clip in new(step)]
  assert [clip['clip'] for clip in seen] == list(range(39))
  examples = [clip['example'] for clip in seen]
  assert np.bincount(examples).tolist() == [3] * 13


@pytest.mark.slow
def test_other_records_of_the_same_classes_start_a_new_order(
  tmp_path, records, parent
):
  other = fake.write(tmp_path / 'records', videos=7)
  said = []
  go_on(
    other,
    parent,
    tmp_path / 'new',
    progress=lambda done, total, line: said.append(line),
    optim__steps=8,
    optim__ema=0.0,
  )
  text = '\n'.join(said)
  assert 'starts anew, for another value of the records' in text
  assert 'averaged weights are left behind' in text
  with contextlib.closing(Checkpoints(tmp_path / 'new')) as saved:
    assert saved.read_json(8, 'data')['clip_shift'] == -6 * 8
  (entry,) = history(tmp_path / 'new')
  assert any('data.fingerprint' in line for line in entry['changed'])


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({}, r'forks at step 6.*--config.optim.steps=12'),
    ({'optim__name': 'sgd', 'optim__steps': 9},
     r'opt of checkpoint 6.*--config.init_from=.*@6 without --fork'),
    ({'model__width': 32, 'optim__steps': 9}, r'params of checkpoint 6'),
    ({'batch': 16, 'optim__steps': 0, 'optim__epochs': 9.0},
     r'optim.epochs=9 .*--config.optim.steps=10'),
  ],
)  # fmt: skip
def test_what_a_fork_cannot_take_along_is_refused_with_what_to_do(
  tmp_path, records, parent, changes, says
):
  with pytest.raises(InputError, match=says):
    go_on(records, parent, tmp_path / 'new', **changes)
  assert not (tmp_path / 'new').exists()


def test_other_classes_a_used_folder_and_its_own_are_refused(
  tmp_path, records, parent
):
  other = fake.write(tmp_path / 'records', classes=('red', 'green', 'pink'))
  with pytest.raises(InputError, match='records of other classes'):
    go_on(other, parent, tmp_path / 'new', optim__steps=9)
  with pytest.raises(InputError, match='the same --workdir'):
    fork.find(parent, parent)
  with pytest.raises(InputError, match='expected one of 2, 4, 6'):
    fork.find(f'{parent}@3', tmp_path / 'new')
  shutil.copytree(parent, tmp_path / 'other')
  with pytest.raises(InputError, match='holds another run'):
    fork.find(parent, tmp_path / 'other')
