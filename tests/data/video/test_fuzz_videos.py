"""Video files with seeded damage: each becomes a record or a lost line."""

import json
import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
import videos

from vidmodels.data.prepare import prepare_records
from vidmodels.data.records import record_set
from vidmodels.data.video.container import NO_FILE

REPO = pathlib.Path(prepare_records.__file__).parents[3]
PER_KIND = 26
KINDS = {
  'a.mp4': dict(options={'g': '4', 'bf': '2', 'qp': '10'}),
  'front.mp4': dict(mux={'movflags': '+faststart'}),
  'b.mkv': dict(),
  'c.webm': dict(codec='libvpx-vp9', options={'crf': '20'}),
  'd.avi': dict(codec='mpeg4', options={'bf': '2', 'b': '1M'}),
  'e.ts': dict(),
  'f.h264': dict(format='h264'),
  'g.gif': dict(codec='gif', pix_fmt='rgb8'),
}
LEVELS = (40, 90, 140, 190, 230)


def cut(data, rng):
  return data[: int(len(data) * rng.uniform(0.05, 0.98))]


def flip(data, rng):
  data = bytearray(data)
  for at in rng.integers(0, len(data), int(rng.integers(1, 40))):
    data[at] ^= 1 << int(rng.integers(8))
  return bytes(data)


def head(data, rng):
  """Other bytes where the sizes and kinds of things are said."""
  data = bytearray(data)
  for at in rng.integers(0, min(256, len(data)), int(rng.integers(1, 8))):
    data[at] = int(rng.integers(256))
  return bytes(data)


def wide(data, rng):
  """0, -1 or a huge number in place of four bytes."""
  data, at = bytearray(data), int(rng.integers(0, len(data) - 4))
  data[at : at + 4] = rng.choice([b'\0' * 4, b'\xff' * 4, b'\x7f\xff\xff\xff'])
  return bytes(data)


def moved(data, rng):
  a, b, c = sorted(rng.integers(0, len(data), 3).tolist())
  return data[:a] + data[b:c] + data[a:b] + data[c:]


def doubled(data, rng):
  return data + data[int(rng.integers(len(data))) :]


HARMS = (cut, cut, flip, flip, head, head, wide, wide, moved, doubled)


@pytest.fixture(scope='module')
def harmed(tmp_path_factory):
  """The files, what was done to each, and the grey each had."""
  folder = tmp_path_factory.mktemp('fuzz')
  done = {}
  for kind, more in KINDS.items():
    whole = []
    for level in LEVELS:
      path = videos.write(folder / kind, videos.moving(6, level=level), **more)
      whole.append(path.read_bytes())
      path.unlink()
    for i in range(PER_KIND):
      rng = np.random.default_rng([i, len(kind), ord(kind[0])])
      harm, k = HARMS[i % len(HARMS)], i % len(LEVELS)
      path = folder / 'in' / 'x' / f'{i:02d}{kind}'
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(harm(whole[k], rng))
      done[f'x/{path.name}'] = (harm.__name__, LEVELS[k])
  return folder / 'in', done


@pytest.fixture(scope='module')
def prepared(harmed, tmp_path_factory):
  """In a process of its own: a crash or a hang would show."""
  out = tmp_path_factory.mktemp('out')
  ended = subprocess.run(
    [
      *(sys.executable, '-m', 'vidmodels', 'prepare', harmed[0]),
      *('--out', out, '--workers', '1', '--shards', '4', '--json'),
    ],
    env={**os.environ, 'PYTHONPATH': str(REPO)},
    capture_output=True,
    text=True,
    timeout=900,
    check=False,
  )
  assert ended.returncode == 0, ended.stderr[-2000:]
  return json.loads(ended.stdout), out


def test_every_file_is_a_record_or_a_line(harmed, prepared):
  _, done = harmed
  manifest, out = prepared
  assert len(done) >= 200
  records = record_set.RecordSet.open(out, 'train')
  made = [records.video(i) for i in range(len(records))]
  lost = [video for video, _ in manifest['lost']]
  assert sorted(made + lost) == sorted(done)
  assert manifest['listed'] == len(done)
  # Both kinds of end are common, or the damage would not be one.
  assert 60 <= len(made) <= 190
  reasons = {why for _, why in manifest['lost']}
  assert NO_FILE not in reasons
  assert all(0 < len(why) < 100 for why in reasons), reasons


def test_records_are_complete_and_of_their_own_file(harmed, prepared):
  _, done = harmed
  manifest, out = prepared
  records = record_set.RecordSet.open(out, 'train')
  damaged, of_their_grey = dict(manifest['damaged']), 0
  for i in range(len(records)):
    record = records.record(i)
    harm, level = done[record.video]
    assert record.timestamps_us[0] == 0
    assert (np.diff(record.timestamps_us) > 0).all()
    assert 1 <= len(record.frames) <= 13
    frame_HWC = cv2.imdecode(np.frombuffer(record.frames[0], np.uint8), 1)
    assert frame_HWC.shape[:2] == (record.height, record.width)
    if harm in ('cut', 'doubled') and record.video not in damaged:
      near = 25 if record.video.endswith('.gif') else 6
      assert abs(np.median(frame_HWC) - level) <= near, record.video
      of_their_grey += 1
  assert of_their_grey >= 25
