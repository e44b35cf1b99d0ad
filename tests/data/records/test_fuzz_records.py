"""Records and shards with seeded damage: refused, or read correctly."""

import shutil

import fake
import numpy as np
import pytest

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
