"""prepare at size: two workers are worth two, and memory does not grow."""

import json
import os
import pathlib
import resource
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import videos

from vidmodels.data.prepare import encode, estimate, prepare_records
from vidmodels.data.records import record_set

pytestmark = pytest.mark.slow
REPO = str(pathlib.Path(prepare_records.__file__).parents[3])

# Says the largest memory of this process or of its children, in MB, now and
# then; what a decoder of tiny videos keeps is small beside one leaked video.
SOAK = """
import json, sys
import psutil
from vidmodels.data.prepare import prepare_records
if __name__ == '__main__':
  source, out, workers = sys.argv[1:4]
  process, seen = psutil.Process(), []
  def tell(done, total, note):
    if not seen or done >= seen[-1][0] + 100 or done == total:
      every = [process, *process.children(recursive=True)]
      seen.append((done, max(p.memory_info().rss for p in every) / 1e6))
  prepare_records.prepare(source, out, workers=int(workers), progress=tell)
  print(json.dumps(seen))
"""


def links(folder, files, count):
  """Many names for a few files."""
  for i in range(count):
    path = folder / 'abcd'[i % 4] / f'{i:05d}.mp4'
    path.parent.mkdir(parents=True, exist_ok=True)
    os.link(files[i % len(files)], path)
  return folder


def noisy(path, frames, seed):
  """What is hard to predict takes a decoder its usual time."""
  rng = np.random.default_rng(seed)
  still = rng.integers(0, 256, (60, 80 + frames, 3), np.uint8)
  video_THWC = [
    cv2.resize(still[:, t : t + 80], (320, 240)) for t in range(frames)
  ]
  options = {'crf': '23', 'g': '60'}
  return videos.write(path, np.stack(video_THWC), options=options, fps=30)


def spent():
  """CPU seconds of this process and of its children that have ended."""
  kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  used = [resource.getrusage(kind) for kind in kinds]
  return sum(u.ru_utime + u.ru_stime for u in used)


@pytest.mark.long  # a measurement: a minute of both cores
def test_two_workers_do_almost_twice_the_work(tmp_path):
  """By CPU time, which another program on the machine does not change much.

  If two workers spend no more CPU time in all than one does, and have equal
  shares of it, then two cores halve the time. The clock is printed alone. What
  a busy machine makes look slow is measured once more.
  """
  files = [noisy(tmp_path / f'{k}.mp4', 150, k) for k in range(4)]
  source = links(tmp_path / 'in', files, 96)
  clock, cpu = {1: [], 2: []}, {1: [], 2: []}
  for k in range(2):
    for workers in (1, 2):
      before_s, before_cpu_s = time.monotonic(), spent()
      out = tmp_path / f'out{k}{workers}'
      # One worker is a process too, so that both pay for theirs.
      argv = ['prepare', source, '--out', out, '--shards', 16]
      argv = [*argv, '--workers', workers, '--json']
      done = subprocess.run(
        [sys.executable, '-m', 'vidmodels', *map(str, argv)],
        env={**os.environ, 'PYTHONPATH': REPO},
        check=True,
        capture_output=True,
      )
      assert json.loads(done.stdout)['count'] == 96
      clock[workers].append(time.monotonic() - before_s)
      cpu[workers].append(spent() - before_cpu_s)
    by_clock = np.median(np.divide(clock[1], clock[2]))
    by_cpu = 2 * np.median(np.divide(cpu[1], cpu[2]))
    if by_cpu >= 1.7:
      break
  print(f'2 workers: {by_clock:.2f} x by the clock, {by_cpu:.2f} x by CPU time')
  assert by_cpu >= 1.7


@pytest.mark.parametrize('workers', [1, 2])
def test_memory_stays_flat_over_two_thousand_videos(tmp_path, workers):
  files = [
    videos.write(tmp_path / f'{k}.mp4', videos.moving(8, 64, 64, 40 * k))
    for k in range(4)
  ]
  source = links(tmp_path / 'in', files, 2000)
  script = tmp_path / 'soak.py'
  script.write_text(SOAK)
  done = subprocess.run(
    [sys.executable, script, source, tmp_path / 'out', str(workers)],
    env={**os.environ, 'PYTHONPATH': REPO},
    check=True,
    capture_output=True,
    text=True,
  )
  seen = json.loads(done.stdout)
  assert seen[-1][0] == 2000
  early = max(rss for n, rss in seen if n <= 400)
  late = max(rss for n, rss in seen if n > 400)
  print(f'{workers} workers: {early:.0f} MB until 400, {late:.0f} MB after')
  assert late - early < 12  # a leaked video would be 0.1 MB, 160 MB in all
  assert len(record_set.RecordSet.open(tmp_path / 'out', 'train')) == 2000


def test_an_estimate_of_bytes_is_within_a_third_of_what_is_made(tmp_path):
  files = [noisy(tmp_path / f'{k}.mp4', 100, k) for k in range(4)]
  source = links(tmp_path / 'in', files, 24)
  options = encode.Options(short_side=120)
  before = estimate.estimate(source, options=options, workers=1)
  start = time.process_time()
  made = prepare_records.prepare(
    source, tmp_path / 'out', short_side=120, workers=1
  )
  hours = (time.process_time() - start) / 3600
  size = sum(shard.bytes for shard in made.shards)
  assert before.frames == pytest.approx(2400, rel=0.03)
  assert before.bytes == pytest.approx(size, rel=0.33)
  # The basis is a few frames of each video, the first ones, in CPU time that
  # other programs on the machine lengthen.
  assert hours / 5 < before.hours < hours * 5
