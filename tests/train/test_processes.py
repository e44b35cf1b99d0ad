"""Two real processes of four devices each are one run of eight."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import fake
import pytest
import tiny

from vidmodels.cli import main
from vidmodels.train import distributed, loop, workdir_lock
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.typing import InputError

REPO = pathlib.Path(__file__).resolve().parents[2]
CHANGES = dict(
  optim__steps=3,
  mix__mixup=0.8,
  mix__cutmix=1.0,
  model__layers=1,
  model__heads=8,
  model__drop_path=0.2,
  log__every=1,
  log__validate=3,
  checkpoint__every=1,
  checkpoint__keep=3,
  mesh__fsdp=2,
)


def losses(workdir: pathlib.Path) -> dict[tuple[int, str], float]:
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return {
    (line['step'], name): value
    for line in map(json.loads, lines)
    for name, value in line.items()
    if '_clip/' in name
  }


def start_both(
  records: pathlib.Path, workdir: pathlib.Path, *more: str, **changes
) -> list[subprocess.Popen]:
  """Two processes with one command; `more` are flags beside the recipe's."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  # The last of two values of a flag holds.
  flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count=4'
  return [
    subprocess.Popen(
      [
        sys.executable,
        '-m',
        'vidmodels',
        'train',
        '--config=demo',
        f'--workdir={workdir}',
        f'--coordinator=localhost:{port}',
        '--processes=2',
        f'--process={number}',
        *more,
        *tiny.flags(records, **CHANGES | changes),
      ],
      cwd=REPO,
      env=os.environ | {'XLA_FLAGS': flags},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE if '--json' in more else subprocess.STDOUT,
      text=True,
    )
    for number in range(2)
  ]


def train_together(
  records: pathlib.Path,
  workdir: pathlib.Path,
  *more: str,
  code: int = 0,
  **changes,
) -> list[str]:
  """What two processes with one command said; both end with `code`."""
  processes = start_both(records, workdir, *more, **changes)
  said = [process.communicate(timeout=900)[0] for process in processes]
  assert [p.returncode for p in processes] == [code] * 2, '\n'.join(said)
  return said


@pytest.mark.slow
def test_a_run_goes_from_two_processes_into_one_and_back(tmp_path, capsys):
  """Losses, validations and checkpoints are those of a run of one process.

  At last on a mesh whose tensor axis crosses the processes: each has to read
  every row.
  """
  records = fake.write(tmp_path / 'records')
  fake.write(records, 'test', videos=5)
  loop.train(tiny.config(records, **CHANGES), tmp_path / 'one')
  said = train_together(records, tmp_path / 'two')
  one, two = losses(tmp_path / 'one'), losses(tmp_path / 'two')
  assert (3, 'val_clip/loss') in one
  assert two == pytest.approx(one, abs=2e-6, rel=1e-5)
  # The second process has nothing to say, or every line would come twice.
  assert 'step 3/3' in said[0]
  assert 'step 3/3' not in said[1]
  capsys.readouterr()
  reports = []
  for name in ('one', 'two'):
    argv = ['evaluate', '--json', '--workdir', str(tmp_path / name)]
    assert main(argv) == 0
    report = json.loads(capsys.readouterr().out)
    reports.append({k: v for k, v in report.items() if k.startswith('test_')})
  assert reports[0]
  assert reports[1] == pytest.approx(reports[0], abs=1e-5)

  # One process holds what two have written to its checksums.
  with contextlib.closing(Checkpoints(tmp_path / 'two')) as checkpoints:
    assert checkpoints.is_whole(3)
    sums = checkpoints.read_json(3, 'checksums')
  with contextlib.closing(Checkpoints(tmp_path / 'one')) as checkpoints:
    theirs = checkpoints.read_json(3, 'checksums')
    assert [*sums] == [*theirs]
    assert sums['params'].keys() == theirs['params'].keys()

  # One goes on from what two have written, as if they were killed after step 1.
  for step in (2, 3):
    shutil.rmtree(tmp_path / f'two/checkpoints/{step}')
  loop.train(tiny.config(records, **CHANGES), tmp_path / 'two')
  assert losses(tmp_path / 'two') == pytest.approx(one, abs=2e-6, rel=1e-5)

  # Two hold what one has written to them, and agree on what is damaged.
  flip_bits(tmp_path / 'one/checkpoints/3/params')
  for path in (tmp_path / 'one/checkpoints/2/opt').rglob('d/*'):
    path.write_bytes(path.read_bytes()[:-40])
  across = dict(mesh__data=1, mesh__fsdp=1, mesh__tensor=8)
  said = train_together(records, tmp_path / 'one', **across)
  assert 'mesh data 1 x fsdp 1 x tensor 8' in said[0]
  for step in (3, 2):
    assert f'checkpoint {step} is damaged (' in said[0]
    assert (tmp_path / f'one/damaged/{step}').is_dir()
  assert 'resumed from checkpoint 1' in said[0]
  assert losses(tmp_path / 'one') == pytest.approx(one, abs=2e-6, rel=1e-5)


@pytest.mark.slow
def test_two_processes_fork_and_replay_as_one(tmp_path):
  """The fork changes nothing, so that it ends as its parent did."""
  records = fake.write(tmp_path / 'records')
  changes = dict(log__validate=0, optim__schedule='constant')
  config = tiny.config(records, **CHANGES | changes)
  loop.train(config, tmp_path / 'one')
  one = losses(tmp_path / 'one')
  fork = f'--fork={tmp_path / "one"}@1'
  said = train_together(records, tmp_path / 'new', fork, **changes)
  assert f'forked from checkpoint 1 of {tmp_path / "one"}' in said[0]
  new = losses(tmp_path / 'new')
  assert min(new)[0] == 2
  wanted = {key: value for key, value in one.items() if key[0] > 1}
  assert new == pytest.approx(wanted, abs=2e-6, rel=1e-5)
  replay = ('--replay-step=3', '--json')
  said = train_together(records, tmp_path / 'new', *replay, **changes)
  document = json.loads(said[0])
  assert said[1] == ''  # process 0 says it
  assert document['restored'] == 2
  assert document['loss'] == new[3, 'train_clip/loss']
  clip_losses = [clip['loss'] for clip in document['clips']]
  assert sum(clip_losses) / 8 == pytest.approx(document['loss'], rel=1e-5)


def flip_bits(item: pathlib.Path) -> None:
  """Changes numbers of an item, and nothing that orbax itself would notice."""
  for path in item.rglob('d/*'):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
def test_a_workdir_in_use_is_refused_by_every_process(tmp_path):
  records = fake.write(tmp_path / 'records')
  with workdir_lock.hold(tmp_path / 'run'):
    said = train_together(records, tmp_path / 'run', code=2, log__validate=0)
  for text in said:
    assert 'where another run is at work' in text.splitlines()[-1]
    assert 'Traceback' not in text


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0])  # 1 is in test_rendezvous.py
def test_a_process_that_is_killed_ends_the_others_with_a_code(tmp_path, victim):
  """JAX's own client aborts when process 0, its coordinator, is gone."""
  records = fake.write(tmp_path / 'records')
  changes = dict(optim__steps=100_000, log__validate=0)
  processes = start_both(records, tmp_path / 'run', **changes)
  for _ in range(6000):
    if (tmp_path / 'run/metrics.jsonl').exists():
      break
    assert [process.poll() for process in processes] == [None, None]
    time.sleep(0.1)
  processes[victim].kill()
  began = time.monotonic()
  said = processes[1 - victim].communicate(timeout=60)[0]
  assert time.monotonic() - began < 10
  assert processes[1 - victim].returncode == 43, said
  last = said.strip().splitlines()[-1]
  assert f'process {victim} of 2 ended, or was killed' in last
  assert 'give the same command again on every host' in last
  processes[victim].communicate()


@pytest.mark.slow
def test_a_process_that_stays_alone_says_so_and_ends_with_code_2(tmp_path):
  argv = ['train', '--config=demo', f'--workdir={tmp_path}', '--processes=2']
  argv += ['--coordinator=localhost:9', '--process=1', '--join-timeout=1']
  run = subprocess.run(
    [sys.executable, '-m', 'vidmodels', *argv],
    cwd=REPO,
    capture_output=True,
    text=True,
  )
  assert run.returncode == 2
  first, last = run.stderr.splitlines()
  assert first == 'train: waiting for process 0 of 2 at localhost:9'
  assert 'got no process 0 of 2 at localhost:9 in 1 s' in last


def test_half_of_an_address_is_refused():
  with pytest.raises(InputError, match='number from 0 to count - 1'):
    distributed.connect(coordinator='localhost:1', count=2, number=2)
  with pytest.raises(InputError, match='2 processes and number -1'):
    distributed.connect(count=2)
