"""Errors of the machine stop the work; they never say something of a video."""

import errno
import json
import os
import pickle
import resource

import av
import cv2
import numpy as np
import pytest
import videos

from vidmodels import cli, files
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.prepare import check_videos, prepare_records
from vidmodels.data.records import record_set
from vidmodels.data.video import container, decode, video_file
from vidmodels.data.video.container import BadVideo

FRONT = {'movflags': '+faststart'}
OTHERS = ('a/1.mp4', 'a/2.mp4', 'b/3.mp4')


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
  monkeypatch.setattr(files, 'RETRY_WAITS_S', (0.0, 0.0, 0.0))


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """Four videos; the third is the one whose reading fails."""
  folder = tmp_path_factory.mktemp('source') / 'in'
  rng = np.random.default_rng(0)
  for name in (*OTHERS, 'b/x.mkv'):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    noise_THWC = rng.integers(0, 255, (40, 32, 48, 3), np.uint8)
    videos.write(path, noise_THWC, mux=FRONT if path.suffix == '.mp4' else {})
  return folder


class Failing:
  """Reading a file fails after some bytes, a number of times."""

  def __init__(self, monkeypatch, name, number, *, after=0, times=10**9):
    self.left, self.failed = times, 0
    read = os.pread

    def pread(fd, size, offset):
      this = os.readlink(f'/proc/self/fd/{fd}').endswith(name)
      if this and offset + size > after and self.left:
        if offset < after:  # what comes before still arrives
          return read(fd, after - offset, offset)
        self.left -= 1
        self.failed += 1
        raise OSError(number, os.strerror(number))
      return read(fd, size, offset)

    monkeypatch.setattr(os, 'pread', pread)


ERRORS = ('EIO', 'ESTALE', 'ENOMEM', 'ETIMEDOUT', 'ENOTCONN')


@pytest.mark.parametrize('name', ERRORS)
@pytest.mark.parametrize('after', [0, 20_000])
def test_an_error_of_the_disk_stops_check_and_loses_no_video(
  source, tmp_path, monkeypatch, name, after
):
  number = getattr(errno, name)
  failing = Failing(monkeypatch, 'x.mkv', number, after=after)
  with pytest.raises(files.ReadError, match=r'x\.mkv could not be read') as got:
    check_videos.check(source, workers=1, out=tmp_path / 'bad.txt')
  assert got.value.errno == number
  assert failing.failed >= 4  # it was tried again
  assert not (tmp_path / 'bad.txt').exists()


def test_an_error_that_goes_away_changes_nothing(source, monkeypatch):
  before = check_videos.check(source, workers=1)
  failing = Failing(monkeypatch, 'x.mkv', errno.EIO, after=20_000, times=2)
  assert check_videos.check(source, workers=1) == before
  assert before.ok == 4
  assert before.damaged == ()
  assert failing.failed == 2


def test_prepare_stops_with_one_message_and_a_rerun_looks_again(
  source, tmp_path, monkeypatch, capsys
):
  whole, out = tmp_path / 'whole', tmp_path / 'out'
  argv = ['prepare', str(source), '--workers', '1', '--shards', '2', '--out']
  assert cli.main([*argv, str(whole)]) == cli.DONE
  with monkeypatch.context() as patch:
    Failing(patch, 'x.mkv', errno.EIO, after=20_000)
    assert cli.main([*argv, str(out), '--json']) == cli.FAILED
  printed = capsys.readouterr()
  (line,) = [x for x in printed.err.splitlines() if 'could not' in x]
  assert 'neither as lost' in line
  assert 'Traceback' not in printed.err
  left = sorted(path.name for path in out.rglob('*') if path.is_file())
  assert not [name for name in left if name.endswith(('.part', '.lost.txt'))]
  assert 'train.manifest.json' not in left
  assert cli.main([*argv, str(out)]) == cli.DONE
  for shard in record_set.Manifest.load(whole, 'train').shards:
    same = (out / shard.name).read_bytes() == (whole / shard.name).read_bytes()
    assert same


def test_the_error_of_a_worker_comes_home_as_it_was():
  error = files.ReadError(errno.EIO, 'Input/output error', 'a\tb.mkv')
  home = pickle.loads(pickle.dumps(error))
  assert str(home) == str(error)
  assert str(home).startswith("'a\\tb.mkv' could not be read: Input/output")


@pytest.mark.parametrize('name', ['EIO', 'EACCES', 'ESTALE', 'EHOSTDOWN'])
def test_a_path_that_cannot_be_looked_at_is_not_missing(
  source, monkeypatch, name
):
  number = getattr(errno, name)
  stat = type(source).stat

  def fails(path, **more):
    if path.name == 'x.mkv':
      raise OSError(number, os.strerror(number), str(path))
    return stat(path, **more)

  monkeypatch.setattr(type(source), 'stat', fails)
  for decode_all in (False, True):
    with pytest.raises(files.ReadError, match=r'x\.mkv could not be read'):
      check_videos.check(source, workers=1, decode=decode_all)


def test_files_that_cannot_be_opened_for_want_of_handles_are_not_lost(
  source, monkeypatch
):
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  used = max(int(fd) for fd in os.listdir('/proc/self/fd'))
  read, limits = video_file.VideoFile._open, []

  def few(self):  # none is left when the file is opened
    if not limits:
      limits.append(resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard)))
    return read(self)

  monkeypatch.setattr(video_file.VideoFile, '_open', few)
  try:
    with pytest.raises(files.ReadError, match='ulimit -n'):
      check_videos.check(source, workers=1)
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
  assert used < soft


@pytest.mark.parametrize('where', ['rgb', 'jpeg'])
@pytest.mark.parametrize('times', [1, 10**9])
def test_a_clip_is_not_lost_when_memory_runs_out(
  source, tmp_path, monkeypatch, where, times
):
  """By an error of FFmpeg, and by one of OpenCV."""
  left = [times]

  def fail(error):
    left[0] -= 1
    if left[0] >= 0:
      raise error

  encode = cv2.imencode
  full = cv2.error()
  full.code = cv2.Error.StsNoMem
  if where == 'jpeg':
    monkeypatch.setattr(
      decode.cv2, 'imencode', lambda *a: fail(full) or encode(*a)
    )
  else:
    to_rgb = decode.turn_upright
    oom = av.error.MemoryError(errno.ENOMEM, 'Cannot allocate memory')
    monkeypatch.setattr(
      decode, 'turn_upright', lambda *a: fail(oom) or to_rgb(*a)
    )
  run = lambda: prepare_records.prepare(source, tmp_path / 'out', workers=1)
  if times > 1:
    with pytest.raises(files.ReadError, match=r'could not be read.*memory'):
      run()
  else:
    manifest = run()
    assert (manifest.count, manifest.lost, manifest.damaged) == (4, (), ())


def test_damage_is_not_blamed_on_a_file_when_no_memory_is_left(
  source, tmp_path, monkeypatch
):
  """Its H.264 decoder calls frames without room invalid data."""
  good = tmp_path / 'good.mkv'
  good.write_bytes((source / 'b/x.mkv').read_bytes())
  flipped = tmp_path / 'flipped.mkv'
  flipped.write_bytes(good.read_bytes())
  videos.flip_bits(flipped)
  noise = tmp_path / 'noise.mkv'
  noise.write_bytes(np.random.default_rng(1).bytes(5000))
  with decode.VideoReader(flipped) as reader:
    list(reader)
    assert reader.damage
  monkeypatch.setattr(video_file, '_ROOM_BYTES', 1 << 60)
  assert len(list(decode.VideoReader(good))) == 40
  for path in (flipped, noise):
    with pytest.raises(files.ReadError, match=r'could not be read.*memory'):
      list(decode.VideoReader(path))


def test_what_ffmpeg_says_of_a_file_that_is_cut_short_is_not_the_machines(
  source, tmp_path
):
  """Its Matroska reader answers 'Input/output error', as a disk does."""
  data = (source / 'b/x.mkv').read_bytes()
  path = tmp_path / 'cut.mkv'
  path.write_bytes(data[:200])
  with pytest.raises(BadVideo, match='cut short'):
    container.open_video(path, 1)


def test_a_file_that_shrinks_while_it_is_read_is_no_damaged_video(tmp_path):
  path = tmp_path / 'x.mkv'
  noise_THWC = np.random.default_rng(0).integers(0, 255, (30, 96, 128, 3))
  videos.write(path, noise_THWC.astype(np.uint8))
  with decode.VideoReader(path) as reader:
    next(reader)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(files.ReadError, match='while it was read'):
      list(reader)


def test_a_folder_that_cannot_be_listed_is_not_empty(source, monkeypatch):
  scan = os.scandir

  def fails(path):
    if os.fspath(path).endswith('b'):
      raise OSError(errno.EIO, 'Input/output error', str(path))
    return scan(path)

  monkeypatch.setattr(os, 'scandir', fails)
  with pytest.raises(files.ReadError, match='b could not be read'):
    VideoFiles(source)
  with pytest.raises(files.ReadError, match='b could not be read'):
    check_videos.check(source, workers=1)


def test_a_full_disk_leaves_nothing_half_written(
  source, tmp_path, monkeypatch, capsys
):
  sync, calls = os.fsync, []

  def fails(fd):
    name = os.readlink(f'/proc/self/fd/{fd}')
    calls.append(name)
    if '.tfrecord' in name:
      raise OSError(errno.ENOSPC, 'No space left on device')
    return sync(fd)

  monkeypatch.setattr(os, 'fsync', fails)
  out = tmp_path / 'out'
  argv = ['prepare', str(source), '--out', str(out), '--workers', '1', '--json']
  assert cli.main(argv) == cli.FAILED
  printed = capsys.readouterr()
  assert 'No space left' in json.loads(printed.out)['error']
  names = [path.name for path in out.rglob('*') if path.is_file()]
  assert not [n for n in names if n.endswith('.part') or '.tfrecord' in n]


def test_a_record_that_the_disk_does_not_give_is_not_corrupt(
  source, tmp_path, monkeypatch
):
  prepare_records.prepare(source, tmp_path, workers=1)
  records = record_set.RecordSet.open(tmp_path, 'train')
  with monkeypatch.context() as patch:
    failing = Failing(patch, '.tfrecord', errno.EIO, times=2)
    assert records[1]
    assert failing.failed == 2
  Failing(monkeypatch, '.tfrecord', errno.ESTALE)
  with pytest.raises(files.ReadError, match=r'tfrecord could not be read'):
    records[1]
