"""Records and shards with seeded damage: refused, or read correctly."""

import hashlib
import json
import os
import pathlib
import shutil
import struct
import tracemalloc
import zlib

import cv2
import fake
import json_edits
import numpy as np
import pytest

from vidmodels.cli import main
from vidmodels.data.augment import crops
from vidmodels.data.records import (
  index_foreign,
  inspect_records,
  record_set,
  tfrecord,
  video_record,
)
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError

MUTANTS = 400


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """A small split, its records, and the bytes of each."""
  folder = fake.write(tmp_path_factory.mktemp('made'), videos=8)
  found = record_set.RecordSet.open(folder, 'train')
  raws = [found[i] for i in range(len(found))]
  return folder, [video_record.parse(raw) for raw in raws], raws


def harm(data, rng):
  """Flips, cuts, moves or doubles bytes, mostly where the keys are."""
  kind, n = int(rng.integers(5)), len(data)
  at = int(rng.integers(0, n if rng.uniform() < 0.5 else min(n, 300)))
  if kind == 0:
    return data[:at]
  if kind == 1:
    return data[:at] + data[at + int(rng.integers(1, 40)) :]
  if kind == 2:
    return data[:at] + rng.bytes(int(rng.integers(1, 30))) + data[at:]
  data = bytearray(data)
  for place in rng.integers(max(0, at - 60), min(n, at + 60), 1 + 3 * kind):
    data[place] = int(rng.integers(256))
  return bytes(data)


def same(one, other):
  return (
    tuple(one.frames) == tuple(other.frames)
    and one.labels == other.labels
    and one.video == other.video
    and np.array_equal(one.timestamps_us, other.timestamps_us)
  )


def test_a_harmed_record_is_parsed_or_refused_and_nothing_else(made):
  _, _, raws = made
  refused = 0
  for seed in range(MUTANTS):
    rng = np.random.default_rng(seed)
    raw = harm(raws[seed % len(raws)], rng)
    try:
      record = video_record.parse(raw)
    except InputError:
      refused += 1
      continue
    # Without its checksum a record may say anything, but it is a whole one.
    assert len(record.frames) == len(record.timestamps_us) >= 1
    assert all(isinstance(label, int) for label in record.labels)
    assert isinstance(record.video, str)
    try:
      keys = video_record.count_keys(raw)
    except InputError:
      pytest.fail('parsed, but has no keys')
    assert video_record.FRAMES in keys
  assert 100 < refused < MUTANTS


def test_a_harmed_shard_gives_the_right_record_or_none(made, tmp_path):
  folder, want, _ = made
  shutil.copytree(folder, tmp_path / 'set')
  records = record_set.RecordSet.open(tmp_path / 'set', 'train')
  shard = tmp_path / 'set' / records.manifest.shards[0].name
  whole, refused, right = shard.read_bytes(), 0, 0
  for seed in range(MUTANTS):
    rng = np.random.default_rng(1000 + seed)
    shard.write_bytes(harm(whole, rng))
    changed = shard.read_bytes() != whole
    for i in range(records.manifest.shards[0].count):
      try:
        record = records.record(i)
      except InputError as e:
        message = str(e)
      else:
        assert same(record, want[i])
        right += 1
        continue
      assert shard.name in message
      assert 'offset' in message
      refused += 1
    if changed:
      with pytest.raises(InputError):
        inspect_records.verify(tmp_path / 'set', 'train')
  assert refused > 100
  assert right > 100


def test_a_harmed_foreign_shard_is_refused_whole(made, tmp_path):
  """Without a manifest the checksums in the file are all there is."""
  folder, _, _ = made
  source = (
    folder / record_set.RecordSet.open(folder, 'train').manifest.shards[0].name
  )
  classes = ClassList.load(folder / 'classes.txt')
  whole = source.read_bytes()
  for seed in range(60):
    rng = np.random.default_rng(2000 + seed)
    out = tmp_path / str(seed)
    out.mkdir()
    data = harm(whole, rng)
    (out / 'x-00000-of-00001').write_bytes(data)
    # Cut between two records it is a shorter shard, and nobody can tell.
    ends = [*tfrecord.scan_offsets(source).tolist(), len(whole)]
    if data == whole[: len(data)] and len(data) in ends:
      continue
    with pytest.raises(InputError):
      index_foreign.index_shards(out, 'x', classes)
    assert not (out / 'x.manifest.json').exists()


@pytest.mark.parametrize('name', ['train.manifest.json', 'train.index.json'])
def test_a_harmed_manifest_is_refused_or_the_same(made, tmp_path, name):
  folder, _, _ = made
  shutil.copytree(folder, tmp_path / 'set')
  path = tmp_path / 'set' / name
  whole = path.read_bytes()
  manifest = record_set.RecordSet.open(tmp_path / 'set', 'train').manifest
  refused = 0
  for seed in range(120):
    path.write_bytes(harm(whole, np.random.default_rng(3000 + seed)))
    try:
      opened = record_set.RecordSet.open(tmp_path / 'set', 'train')
      for i in range(len(opened)):
        opened.record(i)
        opened.video(i)
    except InputError:
      refused += 1
      continue
    if name == 'train.index.json':
      assert opened.manifest == manifest
  assert refused > 60


def rewrite(folder: pathlib.Path, change) -> None:
  """Changes manifest and index as a stranger would: their hash fits again."""
  path, index_path = folder / 'train.manifest.json', folder / 'train.index.json'
  value, index = (
    json.loads(path.read_text()),
    json.loads(index_path.read_text()),
  )
  change(value, index)
  data = json.dumps(index).encode()
  index_path.write_bytes(data)
  value['index_sha256'] = hashlib.sha256(data).hexdigest()
  path.write_text(json.dumps(value))


def say_fewer(value, index, k=0):
  """Leaves out the last records of a shard, and says so everywhere."""
  value['shards'][k]['count'] = 2
  value['count'] = value['listed'] = 2 + value['shards'][1 - k]['count']
  for lists in index.values():
    del lists[k][2:]


def leave_out(value, index):
  """Leaves out a record in the middle."""
  value['shards'][0]['count'] -= 1
  value['count'] = value['listed'] = value['count'] - 1
  for lists in index.values():
    del lists[0][1]


def set_count(value, index):
  value['count'] = value['listed'] = value['shards'][0]['count'] = 3


def set_name(name):
  return lambda value, index: value['shards'][0].update(name=name)


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    (set_count, 'whose index has'),
    (say_fewer, 'has records behind'),
    (lambda value, index: value.update(count=3), 'its count or'),
    (lambda value, index: value.update(listed=3), 'it lists 3 videos'),
    (lambda value, index: value['shards'].pop(), 'shards and its index'),
    (set_name('../other/train-00000-of-00002.tfrecord'), 'beside the manifest'),
    (set_name('/etc/passwd'), 'beside the manifest'),
    (set_name('train-00000-of-00002.tfrecord/'), 'beside the manifest'),
    (set_name('train-00001-of-00002.tfrecord'), 'named twice'),
    (set_name('a\x1b[2J-00000-of-00002.tfrecord'), 'beside the manifest'),
    (lambda value, index: value['shards'][0].update(sha256='0'), '64 hex'),
    (lambda value, index: value['shards'][0].update(sha256='0' * 64),
     'its count or fingerprint'),
    (lambda value, index: index['offsets'][0].reverse(), 'follow each other'),
    (lambda value, index: index['offsets'].__setitem__(0, [-1] * 4), 'follow'),
    (lambda value, index: value.update(labels=[1, 2]), 'counts 2 classes'),
    (lambda value, index: value.update(
      flip={'kind': 'swap', 'pairs': [['red', 'none']]}), 'fingerprint'),
    (lambda value, index: value.update(options={'fps': 'fast'}), 'a float'),
  ],
)  # fmt: skip
def test_a_manifest_of_a_stranger_opens_its_own_files_whole(
  made, tmp_path, capsys, change, says
):
  shutil.copytree(made[0], tmp_path / 'set')
  shutil.copytree(made[0], tmp_path / 'other')
  rewrite(tmp_path / 'set', change)
  assert main(['inspect', str(tmp_path / 'set')]) == 2
  error = capsys.readouterr().err
  assert says in error
  assert len(error.splitlines()) == 1


def test_a_record_that_the_index_leaves_out_is_missed(made, tmp_path):
  shutil.copytree(made[0], tmp_path / 'set')
  manifest = record_set.Manifest.load(made[0], 'train')
  rewrite(tmp_path / 'set', leave_out)
  with pytest.raises(InputError, match='is not followed by a record'):
    record_set.RecordSet.open(tmp_path / 'set', 'train').record(0)
  assert manifest.count == len(made[1])


@pytest.mark.parametrize('kind', ['link', 'pipe', 'folder', 'circle'])
def test_a_shard_is_a_file_of_its_folder(made, tmp_path, kind):
  shutil.copytree(made[0], tmp_path / 'set')
  path = tmp_path / 'set' / 'train-00000-of-00002.tfrecord'
  path.unlink()
  if kind == 'link':
    path.symlink_to(made[0] / path.name)
  elif kind == 'circle':
    path.symlink_to(path.name)
  else:
    os.mkfifo(path) if kind == 'pipe' else path.mkdir()
  for read in (
    lambda: record_set.RecordSet.open(tmp_path / 'set', 'train'),
    lambda: index_foreign.index_shards(tmp_path / 'set', 'train'),
  ):
    if kind == 'link' and 'index_shards' in read.__code__.co_names:
      continue  # whoever indexes shards has chosen them
    with pytest.raises(InputError, match='00000-of-00002'):
      read()


@pytest.mark.parametrize('name', ['manifest', 'index'])
def test_every_edit_of_a_manifest_is_one_message(made, tmp_path, name):
  shutil.copytree(made[0], tmp_path / 'set')
  folder, read = tmp_path / 'set', 0
  whole = record_set.RecordSet.open(folder, 'train').manifest
  path = folder / f'train.{name}.json'
  for place, text in json_edits.sample(json.loads(path.read_text()), 350):
    path.write_text(text)
    if name == 'index':  # a stranger's hash fits
      manifest = json.loads((made[0] / 'train.manifest.json').read_text())
      data = path.read_bytes()
      manifest['index_sha256'] = hashlib.sha256(data).hexdigest()
      (folder / 'train.manifest.json').write_text(json.dumps(manifest))
    with json_edits.one_message(place):
      opened = record_set.RecordSet.open(folder, 'train')
      assert opened.manifest.count == whole.count, place
      inspect_records.summary(folder, 'train')
      read += 1
  assert read < 120


def test_a_record_that_claims_an_exabyte_takes_no_memory(tmp_path):
  path = tmp_path / 'x-00000-of-00001'
  length = struct.pack('<Q', 1 << 60)
  path.write_bytes(length + tfrecord._masked_crc(length) + bytes(100))
  tracemalloc.start()
  for read in (tfrecord.read_record, lambda p, _: tfrecord.scan_offsets(p)):
    with pytest.raises(InputError, match='corrupt record'):
      read(path, 0)
  assert tracemalloc.get_traced_memory()[1] < 1 << 20
  tracemalloc.stop()


def bomb(kind: str, height: int, width: int) -> bytes:
  """A picture of a few hundred bytes that claims other sides."""
  data = bytearray(cv2.imencode(kind, np.zeros((8, 8, 3), np.uint8))[1])
  if kind == '.png':
    data[16:24] = struct.pack('>II', width, height)
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
  else:
    at = data.index(b'\xff\xc0') + 5
    data[at : at + 4] = struct.pack('>HH', height, width)
  return bytes(data)


@pytest.mark.parametrize('kind', ['.jpg', '.png'])
@pytest.mark.parametrize('sides', [(65_500, 65_500), (20_000, 20_000)])
def test_a_picture_that_claims_billions_of_pixels_is_refused(kind, sides):
  with pytest.raises(InputError, match='at most 67 million pixels'):
    crops.decode(bomb(kind, *sides))


def test_a_thin_frame_is_not_made_as_long_as_its_short_side_is_wide():
  with pytest.raises(InputError, match='long side would be 15,'):
    crops.fit_short_side(1, 60_000, 256)
