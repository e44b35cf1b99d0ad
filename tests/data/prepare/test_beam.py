"""Beam: the same bytes as local processes; a clear error without Beam."""

import sys

import pytest
import videos

from vidmodels.cli import main
from vidmodels.data.prepare import beam, prepare_records, shard_job
from vidmodels.typing import InputError


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp('source')
  for i in range(8):
    path = folder / 'ab'[i % 2] / f'{i}.mp4'
    path.parent.mkdir(exist_ok=True)
    videos.write(path, videos.moving(4, level=20 + 9 * i))
  (folder / 'a' / 'bad.mp4').write_bytes(b'')
  return folder


def content(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_bytes_are_those_of_the_local_engine(source, tmp_path, monkeypatch):
  pytest.importorskip('apache_beam')
  monkeypatch.chdir(tmp_path)
  prepare_records.prepare(source, 'local', shards=3, workers=1)
  engine = beam.make_engine(runner='DirectRunner')
  manifest = prepare_records.prepare(source, 'beam', shards=3, engine=engine)
  assert len(manifest.lost) == 1
  assert content(tmp_path / 'local') == content(tmp_path / 'beam')


def test_beam_continues_a_run_that_was_started_locally(source, tmp_path):
  pytest.importorskip('apache_beam')

  class Killed(BaseException):
    pass

  def kill(done, total, note):
    if done == 5:
      raise Killed

  prepare_records.prepare(source, tmp_path / 'whole', shards=3, workers=1)
  out = tmp_path / 'out'
  with pytest.raises(Killed):
    prepare_records.prepare(source, out, shards=3, workers=1, progress=kill)
  shard = out / 'train-00000-of-00003.tfrecord'
  before = shard.stat().st_mtime_ns
  prepare_records.prepare(source, out, shards=3, engine=beam.make_engine())
  assert shard.stat().st_mtime_ns == before
  assert content(out) == content(tmp_path / 'whole')


@pytest.mark.parametrize(
  ('options', 'runner', 'says'),
  [
    (['direct_num_workers=2'], None, 'expected --name=value'),
    ([], 'NoSuchRunner', 'NoSuchRunner'),
  ],
)
def test_invalid_options_are_refused(options, runner, says):
  pytest.importorskip('apache_beam')
  with pytest.raises(InputError, match=says):
    beam.make_engine(options, runner=runner)


def test_without_beam_the_error_says_what_to_install(
  source, tmp_path, monkeypatch, capsys
):
  monkeypatch.setitem(sys.modules, 'apache_beam', None)
  out = str(tmp_path / 'out')
  assert main(['prepare', str(source), '--out', out, '--engine=beam']) == 2
  assert 'pip install "vidmodels[beam]"' in capsys.readouterr().err
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  'flags',
  [
    ['--beam-runner=DirectRunner'],
    ['--beam-options=--x=1'],
    ['--engine=beam', '--workers=2'],
  ],
)
def test_flags_of_another_engine_are_refused(source, tmp_path, flags, capsys):
  out = str(tmp_path / 'out')
  assert main(['prepare', str(source), '--out', out, *flags]) == 2
  assert flags[-1].split('=')[0] in capsys.readouterr().err


def test_jobs_have_absolute_paths(source, tmp_path, monkeypatch):
  """Workers on other machines are not started in our folder."""
  monkeypatch.chdir(source)
  written = []

  def engine(jobs):
    written.extend(jobs)
    for job in jobs:
      shard_job.write_shard(job)

  prepare_records.prepare('.', '../out', shards=2, engine=engine)
  assert len(written) == 2
  for job in written:
    for path in (job.shard, job.note, job.marker):
      assert path.is_absolute()
    assert all(row.path.is_absolute() for g in job.part.groups for _, row in g)
