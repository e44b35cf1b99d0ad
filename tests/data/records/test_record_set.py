"""Shards and manifest: random access, and every damage is detected."""

import concurrent.futures
import dataclasses
import errno
import os
import pathlib
import pickle
import struct
import subprocess
import sys

import google_crc32c
import numpy as np
import pytest
import streams

from vidmodels import files
from vidmodels.data.prepare import shard_job
from vidmodels.data.records import record_set, tfrecord
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

DATA = [b'first', b'', b'x' * 1000, b'last']


@pytest.fixture
def shard(tmp_path):
  with tfrecord.ShardWriter(tmp_path / 'a.tfrecord') as writer:
    for data in DATA:
      writer.write(data)
  return writer


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """A folder with a split of seven records in two shards; not to be changed."""
  folder = tmp_path_factory.mktemp('made')
  items = [streams.record(i, 2, 8, 12) for i in range(7)]
  streams.write(folder, items)
  return folder


@pytest.fixture
def folder(made, tmp_path):
  for path in made.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  return tmp_path


def test_every_record_is_read_at_its_offset(shard):
  for data, offset in zip(DATA, shard.offsets, strict=True):
    assert tfrecord.read_record(shard.path, offset) == data


def test_the_container_is_tfrecord(shard):
  # The CRC itself by its published check value, then the format's mask.
  assert google_crc32c.value(b'123456789') == 0xE3069283

  def masked(data):
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32

  want = b''
  for data in DATA:
    length = struct.pack('<Q', len(data))
    want += length + struct.pack('<I', masked(length))
    want += data + struct.pack('<I', masked(data))
  assert shard.path.read_bytes() == want
  assert shard.bytes == len(want)


def test_scan_finds_the_offsets_that_were_written(shard):
  assert tfrecord.scan_offsets(shard.path).tolist() == shard.offsets
  (shard.path.parent / 'empty').write_bytes(b'')
  assert tfrecord.scan_offsets(shard.path.parent / 'empty').tolist() == []


def test_an_unfinished_shard_leaves_no_file(tmp_path):
  def broken():
    with tfrecord.ShardWriter(tmp_path / 'a.tfrecord') as writer:
      writer.write(b'data')
      raise RuntimeError

  with pytest.raises(RuntimeError):
    broken()
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('at', [0, 7, 9, 11, 12, 500, 1011, 1012, 1015])
def test_a_flipped_byte_names_shard_and_offset(shard, at):
  offset = shard.offsets[2]
  data = bytearray(shard.path.read_bytes())
  data[offset + at] ^= 4
  shard.path.write_bytes(data)
  with pytest.raises(InputError, match=rf'a\.tfrecord at offset {offset}:'):
    tfrecord.read_record(shard.path, offset)
  assert tfrecord.read_record(shard.path, shard.offsets[1]) == DATA[1]


@pytest.mark.parametrize('missing', [1, 4, 10, 900, 1014])
def test_a_shard_cut_short_names_the_record_it_breaks(shard, missing):
  end = shard.offsets[3]
  shard.path.write_bytes(shard.path.read_bytes()[: end - missing])
  for read in (
    lambda: tfrecord.scan_offsets(shard.path),
    lambda: tfrecord.read_record(shard.path, shard.offsets[2]),
  ):
    with pytest.raises(InputError, match=f'offset {shard.offsets[2]}:'):
      read()


def test_a_set_gives_every_record_by_number(made):
  records = record_set.RecordSet.open(made, 'train')
  assert len(records) == 7
  videos = [records.record(i).video for i in range(7)]
  assert videos == [f'{i}.mp4' for i in range(7)]
  assert records.where(0) == ('train-00000-of-00002.tfrecord', 0)
  assert records.where(4)[0] == 'train-00001-of-00002.tfrecord'
  for i in (-1, 7):
    with pytest.raises(IndexError):
      records[i]


def test_threads_share_a_set_and_processes_get_copies(made):
  records = record_set.RecordSet.open(made, 'train')
  want = [records[i] for i in range(7)]
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert list(pool.map(records.__getitem__, list(range(7)) * 20)) == want * 20
  copy = pickle.loads(pickle.dumps(records))
  assert [copy[i] for i in range(7)] == want


def test_reading_keeps_no_file_open(made):
  records = record_set.RecordSet.open(made, 'train')
  before = len(os.listdir('/proc/self/fd'))
  for i in range(7):
    records.record(i)
  assert len(os.listdir('/proc/self/fd')) == before


def test_a_corrupt_record_is_named_by_shard_and_offset(folder):
  records = record_set.RecordSet.open(folder, 'train')
  name, offset = records.where(5)
  data = bytearray((folder / name).read_bytes())
  data[offset + 40] ^= 1
  (folder / name).write_bytes(data)
  with pytest.raises(InputError, match=f'{name} at offset {offset}'):
    record_set.RecordSet.open(folder, 'train').record(5)


def test_a_record_that_cannot_be_parsed_is_named_too(tmp_path):
  with tfrecord.ShardWriter(tmp_path / 'train-00000-of-00001.tfrecord') as w:
    w.write(b'\xff\xff no record')
  streams.CLASSES.save(tmp_path / 'classes.txt')
  shard = record_set.Shard(
    w.path.name, 1, w.bytes, w.sha256, np.array([0]), ('a.mp4',)
  )
  record_set.Manifest(
    split='train',
    shards=(shard,),
    classes_sha256=streams.CLASSES.sha256,
    flip=FlipPolicy(),
    listed=1,
  ).save(tmp_path)
  with pytest.raises(InputError, match=r'00001\.tfrecord at offset 0'):
    record_set.RecordSet.open(tmp_path, 'train').record(0)


def test_another_class_list_is_refused(folder):
  ClassList(('left', 'right', 'still')).save(folder / 'classes.txt')
  with pytest.raises(InputError, match='hash'):
    record_set.RecordSet.open(folder, 'train')


@pytest.mark.parametrize('change', ['missing', 'shorter'])
def test_a_shard_that_is_not_as_the_manifest_says_is_refused(folder, change):
  path = folder / 'train-00001-of-00002.tfrecord'
  data = path.read_bytes()
  path.unlink()
  if change == 'shorter':
    path.write_bytes(data[:-1])
  with pytest.raises(InputError, match='train-00001-of-00002'):
    record_set.RecordSet.open(folder, 'train')


def test_a_missing_split_lists_the_existing_ones(folder):
  with pytest.raises(InputError, match="no split 'test'; its splits: train"):
    record_set.RecordSet.open(folder, 'test')
  with pytest.raises(InputError, match='no folder'):
    record_set.RecordSet.open(folder / 'none', 'test')


def test_shards_without_a_manifest_point_to_the_index(folder):
  (folder / 'train.manifest.json').unlink()
  with pytest.raises(InputError, match='--index --classes'):
    record_set.RecordSet.open(folder, 'train')


def test_an_empty_split_is_refused(folder):
  manifest = record_set.Manifest.load(folder, 'train')
  lost = (('a.mp4', 'empty file'),)
  empty = dataclasses.replace(
    manifest, split='val', shards=(), listed=1, lost=lost
  )
  empty.save(folder)
  with pytest.raises(InputError, match=r'empty \(1 listed, 1 lost\)'):
    record_set.RecordSet.open(folder, 'val')


def test_a_manifest_comes_back_as_it_was_saved(folder):
  manifest = dataclasses.replace(
    record_set.Manifest.load(folder, 'train'),
    split='val',
    lost=(('ü.mp4', 'empty file'),),
    listed=8,
    damaged=(('b.mp4', 3),),
    options={'short_side': 64, 'fps': 0.0},
    labels=(3, 2, 2),
  )
  manifest.save(folder)
  back = record_set.Manifest.load(folder, 'val')
  assert back == manifest
  for one, other in zip(back.shards, manifest.shards, strict=True):
    assert np.array_equal(one.offsets, other.offsets)
    assert one.videos == other.videos
  assert record_set.list_splits(folder) == ('train', 'val')


@pytest.mark.parametrize(
  'damage',
  [
    lambda folder: (folder / 'train.manifest.json').write_text('{"format'),
    lambda folder: (folder / 'train.manifest.json').write_text('{}'),
    lambda folder: (folder / 'train.index.json').write_bytes(b'old'),
    lambda folder: (folder / 'train.index.json').unlink(),
    lambda folder: (folder / 'train.index.json').write_text('{}'),
  ],
)
def test_a_manifest_that_is_damaged_or_not_its_index_is_refused(folder, damage):
  damage(folder)
  with pytest.raises(InputError, match='cannot be used'):
    record_set.RecordSet.open(folder, 'train')


def test_the_fingerprint_changes_with_data_labels_and_flips(made):
  manifest = record_set.Manifest.load(made, 'train')
  first, second = manifest.shards
  others = [
    dataclasses.replace(manifest, shards=(first,)),
    dataclasses.replace(manifest, shards=(second, first)),
    dataclasses.replace(manifest, classes_sha256='0' * 64),
    dataclasses.replace(manifest, flip=FlipPolicy('free')),
  ]
  prints = {m.fingerprint for m in [manifest, *others]}
  assert len(prints) == 5
  same = dataclasses.replace(manifest, options={'source': 'elsewhere'})
  assert same.fingerprint == manifest.fingerprint


def test_shards_are_found_with_and_without_a_suffix(tmp_path):
  for k in range(3):
    (tmp_path / f'val-{k:05d}-of-00003').touch()
    (tmp_path / f'val2-{k:05d}-of-00003.tfrecord').touch()
  (tmp_path / 'val-00000-of-00003.tmp').touch()
  found = tfrecord.find_shards(tmp_path, 'val')
  assert [p.name for p in found] == [f'val-{k:05d}-of-00003' for k in range(3)]
  (tmp_path / 'val-00001-of-00003').unlink()
  with pytest.raises(InputError, match='one whole set, 0 to 2'):
    tfrecord.find_shards(tmp_path, 'val')


def full(*_):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path, monkeypatch):
  path = tmp_path / 'a.json'
  path.write_text('before')
  monkeypatch.setattr(files.os, 'fsync', full)
  with pytest.raises(files.WriteError) as told:
    files.write_atomically(path, b'after')
  for error in (told.value, pickle.loads(pickle.dumps(told.value))):
    message = str(error)
    assert f'{path} could not be written: No space left' in message
    assert 'nothing of it is left' in message
    assert 'make room' in message
    assert error.errno == errno.ENOSPC
  with (
    pytest.raises(files.WriteError, match=r'b.tfrecord could not be'),
    tfrecord.ShardWriter(tmp_path / 'b.tfrecord') as writer,
  ):
    writer.write(b'data')
  assert [p.name for p in tmp_path.iterdir()] == ['a.json']
  assert path.read_text() == 'before'


def test_a_disk_that_fills_up_within_a_shard(tmp_path):
  """Closing the file fails too: what is in its buffer has no room either."""
  script = f"""
import resource, signal
from vidmodels.data.records import tfrecord
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
with tfrecord.ShardWriter({str(tmp_path / 'a.tfrecord')!r}) as writer:
  for _ in range(100):
    writer.write(b'x' * 1000)
"""
  done = subprocess.run([sys.executable, '-c', script], capture_output=True)
  message = done.stderr.decode().splitlines()[-1]  # what is raised in the end
  assert 'a.tfrecord could not be written: File too large; nothing' in message
  assert 'try to fix that' in message
  assert not list(tmp_path.iterdir())


def test_a_device_or_pipe_is_not_replaced_by_a_file(tmp_path):
  pipe, link = tmp_path / 'pipe', tmp_path / 'link'
  os.mkfifo(pipe)
  link.symlink_to(pipe)
  for path in (pipe, link):
    with pytest.raises(
      InputError, match=f'{path}, which is a device or a pipe'
    ):
      files.write_atomically(path, b'data')
  assert pipe.is_fifo()
  assert link.is_symlink()


def test_other_failures_of_a_write_keep_their_kind(tmp_path, monkeypatch):
  def denied(*_):
    raise PermissionError(errno.EACCES, 'no')

  monkeypatch.setattr(files.os, 'fsync', denied)
  with pytest.raises(PermissionError):
    files.write_atomically(tmp_path / 'a', b'')
  assert not list(tmp_path.iterdir())


def test_a_marker_without_disk_space_is_an_error(tmp_path, monkeypatch):
  job = shard_job.ShardJob(
    shard=tmp_path / 's.tfrecord', note=tmp_path / 's.json',
    marker=tmp_path / 's.at', part=Marking(), task=None, options=None,
  )  # fmt: skip
  monkeypatch.setattr(pathlib.Path, 'write_bytes', full)
  with pytest.raises(files.WriteError, match=r's.at could not be written'):
    shard_job.write_shard(job)
  assert not list(tmp_path.iterdir())


class Marking:
  """A part that only marks a file as begun."""

  def make_records(self, _, mark):
    yield mark('a.mp4')
