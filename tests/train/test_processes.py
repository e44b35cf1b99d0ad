"""Two real processes of four devices each are one run of eight."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import fake
import pytest
import tiny

from vidmodels.cli import main
from vidmodels.train import distributed, loop
from vidmodels.typing import InputError

REPO = pathlib.Path(__file__).resolve().parents[2]
CHANGES = dict(
  optim__steps=3,
  mix__mixup=0.8,
  mix__cutmix=1.0,
  model__layers=1,
  model__drop_path=0.2,
  log__every=1,
  log__validate=3,
  checkpoint__every=1,
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


def train_together(records: pathlib.Path, workdir: pathlib.Path) -> list[str]:
  """Two processes with one command; returns what each said."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  # The last of two values of a flag holds.
  flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count=4'
  processes = [
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
        *tiny.flags(records, **CHANGES),
      ],
      cwd=REPO,
      env=os.environ | {'XLA_FLAGS': flags},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for number in range(2)
  ]
  said = [process.communicate(timeout=900)[0] for process in processes]
  assert [p.returncode for p in processes] == [0, 0], '\n'.join(said)
  return said


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on_as_one(tmp_path):
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
  argv = ['evaluate', '--workdir', str(tmp_path / 'two')]
  assert main(argv) == 0

  shutil.rmtree(tmp_path / 'two/checkpoints/3')
  said = train_together(records, tmp_path / 'two')
  assert 'resumed from checkpoint 2' in said[0]
  assert losses(tmp_path / 'two') == two


def test_half_of_an_address_is_refused():
  with pytest.raises(InputError, match='number from 0 to count - 1'):
    distributed.connect(coordinator='localhost:1', count=2, number=2)
  with pytest.raises(InputError, match='2 processes and number -1'):
    distributed.connect(count=2)
