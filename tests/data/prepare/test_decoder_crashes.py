"""A file that crashes the decoder is lost by name and stops nothing else."""

import os
import pathlib
import subprocess
import sys

import pytest
import videos

from vidmodels.data.prepare import prepare_records, process_pool
from vidmodels.data.records import record_set

REPO = pathlib.Path(prepare_records.__file__).parents[3]

# Decoders do crash; here two files make this one do so at once.
CRASHING = """
import os, pathlib, signal, sys
from vidmodels.data.prepare import clip_reader, prepare_records, shard_job
read_clips = clip_reader.read_clips
def crash(path, *rest):
  if path.name in ('03.mp4', '08.mp4'):
    os.abort()
  if path.name == '05.mp4' and 'killed' in sys.argv:
    os.kill(os.getpid(), signal.SIGKILL)
  return read_clips(path, *rest)
clip_reader.read_clips = crash
def engine(jobs):  # as Beam's workers do, where they share our process
  for job in jobs:
    shard_job.write_shard(job)
if __name__ == '__main__':
  source, out, workers = sys.argv[1:4]
  other = engine if 'engine' in sys.argv else None
  prepare_records.prepare(
    source, out, shards=4, workers=int(workers), engine=other
  )
"""


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp('source')
  for i in range(12):
    path = folder / 'ab'[i % 2] / f'{i:02d}.mp4'
    path.parent.mkdir(exist_ok=True)
    videos.write(path, videos.moving(3, level=20 + 9 * i))
  return folder


def start(tmp_path, source, out, workers, *more):
  script = tmp_path / 'script.py'
  script.write_text(CRASHING)
  return subprocess.run(
    [sys.executable, script, source, out, str(workers), *more],
    env={**os.environ, 'PYTHONPATH': str(REPO)},
    cwd=tmp_path,
    capture_output=True,
    text=True,
    timeout=900,
    check=False,
  )


def content(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_that_crash_the_decoder_are_lost_by_name(source, tmp_path):
  ended = start(tmp_path, source, tmp_path / 'out', 2)
  assert ended.returncode == 0, ended.stderr
  records = record_set.RecordSet.open(tmp_path / 'out', 'train')
  assert records.manifest.lost == (
    ('a/08.mp4', 'crashes the decoder'),
    ('b/03.mp4', 'crashes the decoder'),
  )
  assert len(records) == 10
  assert not (tmp_path / 'out' / 'train.parts').exists()


@pytest.mark.slow
def test_a_single_worker_dies_and_the_next_run_finds_the_file(source, tmp_path):
  """With one worker there is no process to outlive it."""
  for deaths in (1, 2):
    ended = start(tmp_path, source, tmp_path / 'one', 1)
    assert ended.returncode < 0, deaths
  assert start(tmp_path, source, tmp_path / 'one', 1).returncode == 0
  start(tmp_path, source, tmp_path / 'two', 2)
  assert content(tmp_path / 'one') == content(tmp_path / 'two')


@pytest.mark.slow
def test_another_engine_finds_the_file_when_it_starts_again(source, tmp_path):
  """Jobs have absolute paths, also where the source is a relative one."""
  relative = os.path.relpath(source, tmp_path)
  for deaths in (1, 2):
    ended = start(tmp_path, relative, 'out', 1, 'engine')
    assert ended.returncode < 0, deaths
  ended = start(tmp_path, relative, 'out', 1, 'engine')
  assert ended.returncode == 0, ended.stderr
  records = record_set.RecordSet.open(tmp_path / 'out', 'train')
  assert [why for _, why in records.manifest.lost] == [
    'crashes the decoder'
  ] * 2
  assert len(records) == 10


@pytest.mark.slow
def test_a_worker_that_the_system_kills_does_not_blame_its_file(
  source, tmp_path
):
  """As the kernel does when memory runs out."""
  ended = start(tmp_path, source, tmp_path / 'out', 2, 'killed')
  assert ended.returncode == 1
  assert 'a worker process died: out of memory' in ended.stderr
  assert not (tmp_path / 'out' / 'train.manifest.json').exists()


def abort():
  os.abort()


def fail():
  raise ValueError('no')


def leave():
  os._exit(3)


@pytest.mark.parametrize(
  ('function', 'want'), [(abort, False), (fail, True), (leave, False)]
)
def test_a_crash_differs_from_an_exception(function, want):
  assert process_pool.ends_normally(function) == want
