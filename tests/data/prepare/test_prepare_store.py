"""Records written into an object store, and a kill in the middle of it."""

import signal
import subprocess
import sys

import pytest
import videos

from vidmodels import files
from vidmodels.cli import main


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp('source')
  for i in range(6):
    path = folder / ('run', 'walk')[i % 2] / f'{i}.mp4'
    path.parent.mkdir(exist_ok=True)
    videos.write(path, videos.moving(4, level=20 + 3 * i))
  return folder


def command(source, out):
  argv = ['prepare', str(source), '--out', str(out), '--split', 'train']
  return [*argv, '--flip=free', '--shards=3', '--workers=1']


@pytest.fixture(scope='module')
def unbroken(source, tmp_path_factory):
  """The files that nobody interrupts, by name."""
  folder = tmp_path_factory.mktemp('unbroken')
  assert main(command(source, folder)) == 0
  return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_a_kill_in_an_upload_leaves_no_part_and_the_rest_is_bit_equal(
  server, source, unbroken
):
  out = files.place(f'{server.root}/killed')
  process = subprocess.Popen(
    [sys.executable, '-m', 'vidmodels', *command(source, out)],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  second = next(name for name in unbroken if '00001-of' in name)
  server.proxy.cut(second, process.kill)
  assert process.wait(120) == -signal.SIGKILL
  left = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
  assert second not in left
  assert left.items() <= unbroken.items()
  assert any('tfrecord' in name for name in left)
  assert not any('manifest' in name for name in left)
  assert main(command(source, out)) == 0
  assert {p.name: p.read_bytes() for p in out.iterdir()} == unbroken
