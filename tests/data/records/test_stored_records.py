"""Records in object stores: ranges, a bounded cache, uploads that are whole."""

import concurrent.futures
import contextlib
import os
import pathlib
import pickle
import time

import pytest
import stores
import streams

from vidmodels import local_cache, object_store
from vidmodels.data.records import inspect_records, record_set, tfrecord
from vidmodels.files import place
from vidmodels.typing import InputError


@pytest.fixture(scope='module', params=['s3', 'gs'])
def server(request):
  with stores.start(request.param) as store:
    items = [streams.record(i, 2, 8, 12) for i in range(7)]
    streams.write(place(f'{store.root}/records'), items)
    yield store


@pytest.fixture
def store(server, monkeypatch, tmp_path):
  monkeypatch.setenv(local_cache.FOLDER, str(tmp_path / 'cache'))
  monkeypatch.setenv(local_cache.GIGABYTES, '1')
  server.proxy.work()
  yield server
  server.proxy.work()


@pytest.fixture
def records(store):
  return record_set.RecordSet.open(f'{store.root}/records', 'train')


@pytest.fixture(scope='module')
def local(tmp_path_factory):
  items = [streams.record(i, 2, 8, 12) for i in range(7)]
  return streams.write(tmp_path_factory.mktemp('local'), items)


def test_records_are_those_of_a_local_folder(records, local):
  assert [records[i] for i in range(7)] == [local[i] for i in range(7)]
  assert records.manifest.fingerprint == local.manifest.fingerprint
  assert inspect_records.verify(records.dir, 'train') == 7


def test_opening_reads_manifest_index_and_classes_once(store):
  record_set.RecordSet.open(f'{store.root}/records', 'train')
  asked = [path for method, path, _ in store.proxy.requests if method == 'GET']
  for name in ('manifest.json', 'index.json', 'classes.txt'):
    # The other requests ask for sizes.
    start = '/download' if store.scheme == 'gs' else '/tests/'
    reads = [p for p in asked if name in p and p.startswith(start)]
    assert len(reads) == 1, (name, asked)
  assert not [p for p in asked if '.tfrecord' in p]


def test_a_record_is_one_request_of_its_bytes_and_a_second_read_none(
  store, records
):
  store.proxy.requests.clear()
  first = records[5]
  ((method, path, span),) = store.proxy.requests
  shard, offset = records.where(5)
  begin, end = map(int, span.removeprefix('bytes=').split('-'))
  assert method == 'GET'
  assert shard in path
  assert (begin, end + 1 - begin) == (offset, len(first) + tfrecord.OVERHEAD)
  assert records[5] == first
  assert len(store.proxy.requests) == 1


def test_threads_and_copies_share_a_set(records, local):
  copy = pickle.loads(pickle.dumps(records))
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    read = list(pool.map(lambda i: copy[i % 7], range(28)))
  assert read == [local[i % 7] for i in range(28)]


def test_a_cached_record_that_was_damaged_is_read_again(
  store, records, tmp_path
):
  good = records[2]
  (kept,) = [p for p in (tmp_path / 'cache').rglob('*') if _is_data(p)]
  raw = bytearray(kept.read_bytes())
  raw[len(raw) // 2] ^= 1
  kept.write_bytes(raw)
  assert records[2] == good
  kept.write_bytes(kept.read_bytes()[:-3])
  assert records[2] == good


def test_damage_in_the_store_is_an_error_that_names_the_shard(store, records):
  shard, offset = records.where(6)
  path = records.dir / shard
  whole = path.read_bytes()
  broken = bytearray(whole)
  broken[offset + 40] ^= 1
  object_store.write(path, bytes(broken))
  try:
    with pytest.raises(InputError, match=f'{shard} at offset {offset}'):
      records[6]
    object_store.write(path, whole[:-5])
    with pytest.raises(InputError, match=f'{len(whole) - 5} bytes'):
      record_set.RecordSet.open(records.dir, 'train')
    path.unlink()
    with pytest.raises(InputError, match='is missing'):
      record_set.RecordSet.open(records.dir, 'train')
  finally:
    object_store.write(path, whole)


def test_the_cache_stays_within_its_bound_and_drops_the_oldest(tmp_path):
  folder = tmp_path / 'cache'
  for i in range(10):
    path = folder / f'{i:02d}' / 'x'
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(100))
    os.utime(path, (i, i))
  local_cache.evict(folder, 1000)
  assert len(list(folder.rglob('x'))) == 10
  local_cache.evict(folder, 500)
  left = sorted(p.parent.name for p in folder.rglob('x'))
  assert left == ['06', '07', '08', '09']


def test_a_cache_of_one_record_holds_no_more(records, monkeypatch, tmp_path):
  size = len(records[0]) + tfrecord.OVERHEAD
  monkeypatch.setenv(local_cache.GIGABYTES, str(1.5 * size / 1e9))
  for i in range(7):
    assert records[i]
    used = [p for p in (tmp_path / 'cache').rglob('*') if _is_data(p)]
    assert sum(p.stat().st_size for p in used) <= 1.5 * size


def test_without_a_cache_each_read_is_a_request(store, records, monkeypatch):
  monkeypatch.setenv(local_cache.GIGABYTES, '0')
  store.proxy.requests.clear()
  assert records[1] == records[1]
  assert len(store.proxy.requests) == 2
  monkeypatch.setenv(local_cache.GIGABYTES, 'much')
  with pytest.raises(InputError, match='VIDMODELS_CACHE_GB'):
    records[1]


def test_a_cache_that_cannot_be_written_costs_requests_alone(
  records, local, monkeypatch, tmp_path
):
  (tmp_path / 'file').write_text('no folder')
  monkeypatch.setenv(local_cache.FOLDER, str(tmp_path / 'file'))
  assert records[3] == local[3]


def test_a_shard_is_there_when_its_block_ends_and_not_after_an_error(store):
  path = place(f'{store.root}/written/a-00000-of-00001.tfrecord')
  with contextlib.suppress(RuntimeError), tfrecord.ShardWriter(path) as writer:
    writer.write(b'one')
    raise RuntimeError
  assert not path.exists()
  with tfrecord.ShardWriter(path) as writer:
    writer.write(b'one')
    assert not path.exists()
  assert path.stat().st_size == writer.bytes
  read = tfrecord.read_stored_record(
    path, 0, end=writer.bytes, version=writer.sha256
  )
  assert read == b'one'


def test_a_split_that_is_not_there_says_what_is(store):
  with pytest.raises(InputError, match="no split 'val'; its splits: train"):
    record_set.RecordSet.open(f'{store.root}/records', 'val')
  with pytest.raises(InputError, match='is no folder'):
    record_set.RecordSet.open(f'{store.root}/none', 'train')


def test_a_busy_store_delays_a_record(store, records):
  store.proxy.fail(503, 1)
  start = time.monotonic()
  assert records[4]
  assert time.monotonic() - start < 10


def _is_data(path: pathlib.Path) -> bool:
  return path.is_file() and path.name != 'lock'
