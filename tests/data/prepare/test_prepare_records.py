"""prepare: complete, exact, and the same after any interruption."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import videos

from vidmodels.cli import main
from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.prepare import encode, prepare_records
from vidmodels.data.records import record_set, video_record
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

NAMES = ('run', 'sit', 'walk')
REPO = pathlib.Path(prepare_records.__file__).parents[3]

# A slow disk, so that a kill comes in the middle on any machine.
SLOW = """
import sys, time
from vidmodels.data.prepare import encode, prepare_records
make = encode.make_records
def slow(*args):
  time.sleep(float(sys.argv[5]))
  return make(*args)
encode.make_records = slow
if __name__ == '__main__':
  source, out, shards, workers = sys.argv[1:5]
  prepare_records.prepare(
    source, out, shards=int(shards), workers=int(workers)
  )
"""


def fill(folder, clips=12, frames=6):
  """A folder per class, each video of another grey."""
  for i in range(clips):
    path = folder / NAMES[i % 3] / f'{i:03d}.mp4'
    path.parent.mkdir(parents=True, exist_ok=True)
    videos.write(path, videos.moving(frames, level=20 + 3 * i))
  return folder


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  return fill(tmp_path_factory.mktemp('source'))


def content(folder):
  """Every file of a folder, by its path."""
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob('*')
    if path.is_file()
  }


def all_records(folder, split='train'):
  records = record_set.RecordSet.open(folder, split)
  return [records.record(i) for i in range(len(records))]


def test_every_video_becomes_a_complete_record(source, tmp_path):
  events = []
  manifest = prepare_records.prepare(
    source,
    tmp_path / 'out',
    shards=2,
    workers=1,
    progress=lambda *event: events.append(event),
  )
  made = all_records(tmp_path / 'out')
  assert manifest.count == manifest.listed == len(made) == 12
  assert manifest.labels == (4, 4, 4)
  assert [done for done, _, _ in events] == list(range(1, 13))
  assert {(total, note in {r.video for r in made}) for _, total, note in events}
  for record in made:
    name, file = record.video.split('/')
    assert record.label_texts == (name,) == (NAMES[record.labels[0]],)
    assert len(record.frames) == 6
    assert record.fps == 10
    assert (record.height, record.width) == (32, 48)
    assert (record.start_us, record.end_us) == (0, 600_000)
    assert record.timestamps_us.tolist() == [100_000 * t for t in range(6)]
    frame_HWC = cv2.imdecode(np.frombuffer(record.frames[0], np.uint8), 1)
    grey = 20 + 3 * int(file.removesuffix('.mp4'))
    assert abs(np.median(frame_HWC) - grey) <= 1
    red = frame_HWC[10:14, 2:6].mean((0, 1))  # the square, blue green red
    assert np.allclose(red, (40, 200, 250), atol=12)


def test_rows_go_round_the_shards(source, tmp_path):
  prepare_records.prepare(source, tmp_path, shards=5, workers=1)
  records = record_set.RecordSet.open(tmp_path, 'train')
  assert [shard.count for shard in records.manifest.shards] == [3, 3, 2, 2, 2]
  listed = sorted(f'{p.parent.name}/{p.name}' for p in source.glob('*/*'))
  order = [records.record(i).video for i in range(12)]
  assert order == [listed[i] for k in range(5) for i in range(k, 12, 5)]


def test_workers_change_no_byte(source, tmp_path):
  for name, workers in (('one', 1), ('three', 3)):
    prepare_records.prepare(source, tmp_path / name, shards=4, workers=workers)
  assert content(tmp_path / 'one') == content(tmp_path / 'three')
  names = {*content(tmp_path / 'one')}
  assert names == {
    'classes.txt',
    'train.manifest.json',
    'train.index.json',
    'train.report.json',
    *(f'train-{k:05d}-of-00004.tfrecord' for k in range(4)),
  }


def test_a_killed_run_continues_and_ends_as_an_unbroken_one(tmp_path):
  source = fill(tmp_path / 'source', clips=60, frames=8)
  prepare_records.prepare(source, tmp_path / 'whole', shards=30, workers=1)
  out = tmp_path / 'out'
  run = subprocess.Popen(
    [sys.executable, '-c', SLOW, str(source), str(out), '30', '1', '0.05'],
    cwd=REPO,
  )
  deadline = time.monotonic() + 600
  while len(list(out.glob('train.parts/0*.json'))) < 5:
    assert time.monotonic() < deadline
    assert run.poll() is None
    time.sleep(0.01)
  run.send_signal(signal.SIGKILL)
  run.wait()
  done = sorted(
    out / f'train-{int(note.stem):05d}-of-00030.tfrecord'
    for note in out.glob('train.parts/0*.json')
  )
  assert 5 <= len(done) < 30
  assert not (out / 'train.manifest.json').exists()
  with pytest.raises(InputError, match='not complete'):
    record_set.RecordSet.open(out, 'train')
  stamps = {path: path.stat().st_mtime_ns for path in done}
  (out / 'train-00029-of-00030.tfrecord.1.part').write_bytes(b'half')

  events = []
  prepare_records.prepare(
    source,
    out,
    shards=30,
    workers=1,
    progress=lambda *event: events.append(event[:2]),
  )
  assert {path: path.stat().st_mtime_ns for path in done} == stamps
  assert events[0] == (2 * len(done) + 1, 60)
  assert events[-1] == (60, 60)
  assert content(out) == content(tmp_path / 'whole')


def test_workers_leave_with_a_killed_parent(tmp_path):
  source = fill(tmp_path / 'source', clips=40)
  script = tmp_path / 'script.py'
  script.write_text(SLOW)  # the workers import it and are slow too
  out = tmp_path / 'out'
  run = subprocess.Popen(
    [sys.executable, str(script), str(source), str(out), '20', '2', '0.3'],
    env={**os.environ, 'PYTHONPATH': str(REPO)},
  )
  deadline = time.monotonic() + 600
  while not list(out.glob('train.parts/0*.json')):
    assert time.monotonic() < deadline
    assert run.poll() is None
    time.sleep(0.02)
  run.send_signal(signal.SIGKILL)
  run.wait()
  time.sleep(1.0)  # three videos' time
  before = content(out)
  assert len(list(out.glob('train.parts/0*.json'))) < 19  # 6 s if they go on
  time.sleep(1.0)
  assert content(out) == before


def test_a_shard_that_lost_its_tail_is_written_again(source, tmp_path):
  whole = tmp_path / 'whole'
  prepare_records.prepare(source, whole, shards=3, workers=1)
  out = tmp_path / 'out'

  class Killed(BaseException):
    pass

  def kill(done, total, note):
    if done == 9:
      raise Killed

  with pytest.raises(Killed):
    prepare_records.prepare(source, out, shards=3, workers=1, progress=kill)
  first = out / 'train-00000-of-00003.tfrecord'
  first.write_bytes(first.read_bytes()[:-1])
  prepare_records.prepare(source, out, shards=3, workers=1)
  assert content(out) == content(whole)


def test_a_complete_split_is_left_alone_but_takes_a_flip_policy(
  source, tmp_path
):
  make = lambda **more: prepare_records.prepare(
    source, tmp_path, workers=1, **more
  )
  assert make().flip == FlipPolicy('forbid')
  shard = tmp_path / 'train-00000-of-00001.tfrecord'
  before = shard.stat().st_mtime_ns
  seen = []
  swap = FlipPolicy.parse('swap:run=walk')
  assert make(flip=swap, progress=seen.append).flip == swap
  assert make().flip == swap  # who says nothing changes nothing
  assert record_set.RecordSet.open(tmp_path, 'train').manifest.flip == swap
  assert shard.stat().st_mtime_ns == before
  assert not seen
  with pytest.raises(InputError, match='rnu'):
    make(flip=FlipPolicy.parse('swap:rnu=walk'))


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    ({'short_side': 16}, r'short_side \(then 0, now 16\)'),
    ({'fps': 5.0}, 'fps'),
    ({'quality': 50}, 'quality'),
    ({'shards': 4}, 'shards'),
    ({'classes': ClassList((*NAMES, 'more'))}, 'the class list'),
  ],
)
def test_other_options_do_not_mix_with_an_existing_split(
  source, tmp_path, change, says
):
  prepare_records.prepare(source, tmp_path, workers=1)
  with pytest.raises(InputError, match=says):
    prepare_records.prepare(source, tmp_path, workers=1, **change)
  manifest = prepare_records.prepare(
    source, tmp_path, workers=1, overwrite=True, **change
  )
  assert record_set.RecordSet.open(tmp_path, 'train').manifest == manifest


def test_other_videos_do_not_mix_with_an_existing_split(source, tmp_path):
  text = ''.join(f'{p.parent.name}/{p.name} 0\n' for p in source.glob('*/*'))
  make = lambda: prepare_records.prepare(
    tmp_path / 'list.txt', tmp_path / 'out', root=source, workers=1
  )
  (tmp_path / 'list.txt').write_text(text)
  make()
  (tmp_path / 'list.txt').write_text(text.split('\n', 1)[1])
  with pytest.raises(InputError, match='videos or labels'):
    make()


def test_shards_of_someone_else_are_not_overwritten(source, tmp_path):
  (tmp_path / 'train-00000-of-00001').write_bytes(b'theirs')
  with pytest.raises(InputError, match='did not write'):
    prepare_records.prepare(source, tmp_path, workers=1)
  assert (tmp_path / 'train-00000-of-00001').read_bytes() == b'theirs'


def test_overwriting_leaves_nothing_of_the_old_split(source, tmp_path):
  prepare_records.prepare(source, tmp_path / 'a', shards=5, workers=1)
  prepare_records.prepare(
    source, tmp_path / 'a', shards=2, workers=1, overwrite=True
  )
  prepare_records.prepare(source, tmp_path / 'b', shards=2, workers=1)
  assert content(tmp_path / 'a') == content(tmp_path / 'b')


def test_splits_share_one_class_list(source, tmp_path):
  out = tmp_path / 'out'
  prepare_records.prepare(source, out, workers=1)
  few = tmp_path / 'few'
  for name in ('walk', 'sit'):
    (few / name).mkdir(parents=True)
    videos.write(few / name / 'a.mp4', videos.moving(2))
  test = prepare_records.prepare(few, out, split='test', workers=1)
  assert test.labels == (0, 1, 1)  # of run, sit, walk, as in train
  assert record_set.list_splits(out) == ('test', 'train')
  (few / 'swim').mkdir()
  videos.write(few / 'swim' / 'a.mp4', videos.moving(2))
  with pytest.raises(InputError, match='swim'):
    prepare_records.prepare(few, out, split='val', workers=1)
  other = ClassList(('sit', 'swim', 'walk'))
  with pytest.raises(InputError, match="class 0 is 'sit' here and 'run' there"):
    prepare_records.prepare(few, out, split='val', workers=1, classes=other)


def test_a_class_list_without_a_split_binds_nothing(source, tmp_path):
  ClassList(('other',)).save(tmp_path / 'classes.txt')
  prepare_records.prepare(source, tmp_path, workers=1)
  assert ClassList.load(tmp_path / 'classes.txt').names == NAMES


def test_a_video_listed_with_two_labels_is_refused(source, tmp_path):
  (tmp_path / 'list.txt').write_text('run/000.mp4 0\nrun/000.mp4 1\n')
  with pytest.raises(InputError, match='twice, on lines 1 and 2'):
    prepare_records.prepare(
      tmp_path / 'list.txt', tmp_path / 'out', root=source, workers=1
    )
  assert not (tmp_path / 'out').exists()


def test_lost_clips_are_listed_and_may_be_too_many(source, tmp_path):
  lines = [f'{p.parent.name}/{p.name} 0' for p in sorted(source.glob('*/*'))]
  lines[3:3] = ['gone.mp4 0', 'gone too.mp4 0', 'third.mp4 0']
  (tmp_path / 'list.txt').write_text('\n'.join(lines))
  notes = []

  def make(**more):
    return prepare_records.prepare(
      tmp_path / 'list.txt',
      tmp_path / 'out',
      root=source,
      workers=1,
      shards=2,
      **more,
    )

  with pytest.raises(InputError, match=r'3 of 15 .* at most 10\.0%'):
    make(max_lost=0.1, progress=lambda *event: notes.append(event[2]))
  assert 'lost gone too.mp4: no such file' in notes
  want = ['gone.mp4', 'gone too.mp4', 'third.mp4']
  lost = (tmp_path / 'out' / 'train.lost.txt').read_text().splitlines()
  assert lost == [f'{name}\tno such file' for name in want]
  # What stopped the run is in the report too.
  report = json.loads((tmp_path / 'out' / 'train.report.json').read_text())
  assert report['missing'] == want
  manifest = make(max_lost=0.2)
  assert [video for video, _ in manifest.lost] == want
  assert (manifest.count, manifest.listed) == (12, 15)


def test_lost_files_that_exist_later_are_reported(source, tmp_path, capsys):
  lines = [f'{name} 0' for name in ('a.mp4', 'b.mp4', 'c.mp4', 'd.mp4')]
  (tmp_path / 'list.txt').write_text('\n'.join(lines))
  one = next(source.glob('*/*'))
  shutil.copy(one, tmp_path / 'a.mp4')
  (tmp_path / 'd.mp4').touch()  # lost too, but not for want of a file
  out = tmp_path / 'out'
  argv = ['prepare', str(tmp_path / 'list.txt'), '--out', str(out)]
  argv += ['--workers', '1']
  printed = {}
  for came, name in enumerate(['', 'b.mp4', 'c.mp4']):
    if name:
      shutil.copy(one, tmp_path / name)
    assert main(argv) == 0
    printed[came] = capsys.readouterr().out
    assert len(record_set.RecordSet.open(out, 'train').manifest.lost) == 3
  assert 'now; try --overwrite' not in printed[0]
  assert '1 of the lost clips exists now; try --overwrite' in printed[1]
  assert '2 of the lost clips exist now; try --overwrite' in printed[2]
  assert main([*argv, '--overwrite']) == 0
  printed = capsys.readouterr().out
  assert 'now; try --overwrite' not in printed
  assert f'{out}: 3 records in 1 shard of split train' in printed


@pytest.mark.parametrize('below', ['', 'deeper/still'])
def test_a_file_in_place_of_the_folder_is_an_error(source, tmp_path, below):
  (tmp_path / 'out').write_text('mine')
  with pytest.raises(
    InputError, match=r'/out is no folder; .* try another --out'
  ):
    prepare_records.prepare(source, tmp_path / 'out' / below, workers=1)
  assert (tmp_path / 'out').read_text() == 'mine'


def test_a_source_of_broken_files_only_is_refused(tmp_path):
  (tmp_path / 'in' / 'run').mkdir(parents=True)
  (tmp_path / 'in' / 'run' / 'a.mp4').touch()
  with pytest.raises(
    InputError, match=r'1 of 1 videos are lost, as run/a\.mp4'
  ):
    prepare_records.prepare(tmp_path / 'in', tmp_path / 'out', workers=1)


@pytest.mark.parametrize(
  ('options', 'says'),
  [
    ({'quality': 0}, 'quality 0'),
    ({'quality': 101}, 'quality 101'),
    ({'short_side': -1}, 'short side -1'),
    ({'fps': -1.0}, '-1 fps'),
    ({'fps': float('nan')}, 'nan fps'),
    ({'fps': float('inf')}, 'inf fps'),
    ({'split': '../x'}, r"'\.\./x'"),
    ({'split': ''}, "''"),
    ({'max_lost': 1.5}, r'1\.5'),
    ({'shards': 100_000}, '99999'),
  ],
)
def test_options_out_of_range_are_refused(source, tmp_path, options, says):
  with pytest.raises(InputError, match=says):
    prepare_records.prepare(source, tmp_path / 'out', workers=1, **options)
  assert not (tmp_path / 'out').exists()


def test_size_and_quality_are_applied_and_recorded(source, tmp_path):
  manifest = prepare_records.prepare(
    source, tmp_path / 'a', short_side=16, quality=60, workers=1
  )
  assert manifest.options['short_side'] == 16
  assert manifest.options['quality'] == 60
  assert manifest.options['fps'] == 0
  assert manifest.options['source'] == str(source)
  for record in all_records(tmp_path / 'a'):
    assert (record.height, record.width) == (16, 24)
    frame_HWC = cv2.imdecode(np.frombuffer(record.frames[0], np.uint8), 1)
    assert frame_HWC.shape == (16, 24, 3)


def numbered(times_us):
  """Frames that say which they are, at their times."""
  return [(np.full((1, 1, 3), t), us) for t, us in enumerate(times_us)]


@pytest.mark.parametrize(
  ('source_fps', 'fps', 'want'),
  [
    (30, 10, [0, 3, 6, 9]),
    (30, 15, [0, 2, 4, 6, 8, 10]),
    (30, 30, list(range(12))),
    (30, 12.5, [0, 2, 4, 7, 9]),
    (10, 20, [i // 2 for i in range(24)]),
    (30000 / 1001, 10, [0, 3, 6, 9]),  # 0.1 ms late is in time
  ],
)
@pytest.mark.parametrize('grain_us', [1, 1000])
def test_resampling_gives_the_frame_shown_at_each_time(
  source_fps, fps, want, grain_us
):
  times = np.arange(12) * 1e6 / source_fps
  times_us = (np.round(times / grain_us) * grain_us).astype(int).tolist()
  frames = encode.resample(numbered(times_us), fps=fps, source_fps=source_fps)
  shown = [(int(frame_HWC[0, 0, 0]), us) for frame_HWC, us in frames]
  times_us = [us for _, us in shown]
  assert times_us == [round(k * 1e6 / fps) for k in range(len(shown))]
  assert [frame for frame, _ in shown] == want


def test_resampling_a_gap_repeats_the_frame_before_it():
  times_us = [0, 100_000, 500_000, 600_000]
  frames = encode.resample(numbered(times_us), fps=10, source_fps=10)
  shown = [int(frame_HWC[0, 0, 0]) for frame_HWC, _ in frames]
  assert shown == [0, 1, 1, 1, 1, 2, 3]


def test_a_resampled_record_has_its_rate_and_starts_at_0(tmp_path):
  (tmp_path / 'in' / 'run').mkdir(parents=True)
  path = tmp_path / 'in' / 'run' / 'a.mkv'
  times = [3000 + 40 * t for t in range(50)]
  videos.write(path, videos.moving(50), times=times, fps=25)
  prepare_records.prepare(tmp_path / 'in', tmp_path / 'out', fps=5.0, workers=1)
  (record,) = all_records(tmp_path / 'out')
  assert record.fps == 5
  assert record.timestamps_us.tolist() == [200_000 * k for k in range(10)]
  lefts = []
  for jpeg in record.frames:
    frame_HWC = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1).astype(int)
    bright = (frame_HWC[..., 2] > 150).nonzero()[1]
    lefts.append(bright.min())
  # Every fifth frame of a square that steps 4 pixels and wraps at 40.
  want = [20 * k % 40 for k in range(10)]
  assert np.allclose(lefts, want, atol=1)


def test_the_record_of_a_clip_has_its_start_and_end(tmp_path):
  path = videos.write(tmp_path / 'a.mp4', videos.moving(30))
  row = VideoRow(path=path, video='a', labels=(1,), start_s=1.0, end_s=2.0)
  ((_, record, damage),) = encode.make_records(
    path, [row], [('sit',)], encode.Options()
  )
  assert damage == 0
  assert len(record.frames) == 10
  assert (record.start_us, record.end_us) == (1_000_000, 2_000_000)
  assert record.timestamps_us[0] == 0
  again = video_record.parse(video_record.encode(record))
  assert again.start_us == 1_000_000


def test_no_jax_and_no_tensorflow_are_loaded_to_prepare():
  code = (
    'import sys\n'
    'from vidmodels.data.prepare import check_videos, prepare_records\n'
    'from vidmodels.data.records import inspect_records\n'
    'from vidmodels.data.synthetic import video_sets\n'
    'bad = {"jax", "tensorflow", "torch", "flax", "grain"} & set(sys.modules)\n'
    'sys.exit(str(bad) if bad else 0)\n'
  )
  subprocess.run([sys.executable, '-c', code], check=True, cwd=REPO)


def test_real_clips_become_records(shared, tmp_path):
  counts = {
    'arm_wrestling.mp4': 280,
    'basketball.mp4': 300,
    'eye_makeup_bframes.avi': 164,
    'pool_cleaning.mp4': 300,
  }
  text = ''.join(f'{name} {i}\n' for i, name in enumerate(counts))
  (tmp_path / 'list.txt').write_text(text)
  manifest = prepare_records.prepare(
    tmp_path / 'list.txt',
    tmp_path / 'out',
    root=shared / 'clips',
    short_side=64,
    workers=1,
  )
  assert (manifest.count, manifest.lost, manifest.damaged) == (4, (), ())
  for record in all_records(tmp_path / 'out'):
    assert len(record.frames) == counts[record.video]
    assert min(record.height, record.width) == 64
    period_us = 1e6 / record.fps
    assert record.end_us == pytest.approx(
      len(record.frames) * period_us, abs=period_us
    )


def test_the_index_names_each_records_video(source, tmp_path):
  prepare_records.prepare(source, tmp_path, shards=3, workers=1)
  opened = record_set.RecordSet.open(tmp_path, 'train')
  names = [opened.video(i) for i in range(len(opened))]
  assert names == [opened.record(i).video for i in range(len(opened))]
  assert len(set(names)) == len(names) == 12
