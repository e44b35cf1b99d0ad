"""Objects of both stores: read, written, and every refusal is one message."""

import pathlib

import pytest

from vidmodels import files, local_cache, object_store
from vidmodels.files import place
from vidmodels.typing import InputError, user_path


@pytest.fixture
def store(server, monkeypatch, tmp_path):
  monkeypatch.setenv(local_cache.FOLDER, str(tmp_path / 'cache'))
  monkeypatch.setattr(object_store, 'PATIENCE_S', 2.0)
  object_store._list_one.cache_clear()
  server.proxy.work()
  yield server
  server.proxy.work()


@pytest.fixture
def folder(store, request):
  return place(f'{store.root}/{request.node.name.partition("[")[0]}')


@pytest.mark.parametrize(
  'path',
  ['http://a/b', 'hdfs://a/b', 'file:/a', 'az://a/b', 'gs:/a/b', 's3a://a/b'],
)
def test_other_addresses_are_refused(path):
  with pytest.raises(InputError, match='gs://BUCKET/PATH or s3://BUCKET/PATH'):
    user_path(path)


@pytest.mark.parametrize(
  'path', ['gs://', 's3:///a', 's3://a//b', 's3://a/../b']
)
def test_an_address_names_a_bucket_and_objects(path):
  with pytest.raises(InputError, match='names no object'):
    user_path(path)


def test_a_path_of_this_machine_stays_a_pathlib_path():
  assert type(place('runs/first')) is type(pathlib.Path('runs/first'))
  assert place('~/x') == pathlib.Path.home() / 'x'


def test_a_missing_package_is_one_message_with_the_pip_line(monkeypatch):
  monkeypatch.setattr(object_store.importlib.util, 'find_spec', lambda _: None)
  with pytest.raises(InputError, match=r"pip install 'vidmodels\[gcs\]'"):
    place('gs://bucket/records')
  with pytest.raises(InputError, match=r"pip install 'vidmodels\[s3\]'"):
    place('s3://bucket/records')


def test_a_place_in_a_store_behaves_as_a_path(folder):
  path = folder / 'sub' / 'a.txt'
  assert not path.exists()
  assert not path.is_file()
  path.write_bytes(b'some text')
  assert path.exists()
  assert path.is_file()
  assert not path.is_dir()
  assert folder.is_dir()
  assert (folder / 'sub').is_dir()
  assert path.stat().st_size == 9
  assert path.read_text() == 'some text'
  assert path.open('rb').read(4) == b'some'
  assert [p.name for p in folder.iterdir()] == ['sub']
  assert list(folder.glob('*/*.txt')) == [path]
  assert path.absolute() == path.resolve() == path
  assert str(path.parent) == f'{folder}/sub'
  moved = path.rename(folder / 'b.txt')
  assert not path.exists()
  assert moved.read_bytes() == b'some text'
  moved.unlink()
  moved.unlink(missing_ok=True)
  with pytest.raises(FileNotFoundError):
    list(folder.iterdir())


def test_a_range_is_one_request(store, folder):
  object_store.write(folder / 'a', bytes(range(100)))
  store.proxy.requests.clear()
  assert object_store.read(folder / 'a', start=10, stop=20) == bytes(
    range(10, 20)
  )
  assert [span for _, _, span in store.proxy.requests] == ['bytes=10-19']


def test_a_folder_moves_with_all_that_it_holds(folder):
  for name in ('1/a', '1/sub/b'):
    object_store.write(folder / name, name.encode())
  (folder / '1').rename(folder / 'damaged' / '1')
  assert not (folder / '1').exists()
  assert (folder / 'damaged/1/sub/b').read_bytes() == b'1/sub/b'


@pytest.mark.fast_every(3)
@pytest.mark.parametrize('odd', ['a[1]', 'a*?', 'a#1 %20ä'])
def test_an_odd_name_is_a_name_and_no_pattern(folder, odd):
  others = [folder / 'a1' / 'x', folder / 'ab', folder / 'a', folder / 'a b']
  for path in others:
    object_store.write(path, b'other')
  path = folder / odd / 'x.txt'
  path.write_bytes(b'text')
  assert path.read_bytes() == b'text'
  assert list((folder / odd).glob('*.txt')) == [path]
  assert list(folder.glob('*/x.txt')) == [path]
  assert (folder / odd).is_dir()
  moved = (folder / odd).rename(folder / f'{odd}-moved')
  assert [p.name for p in moved.iterdir()] == ['x.txt']
  (moved / 'x.txt').unlink()
  assert not (moved / 'x.txt').exists()
  object_store.write(folder / odd / 'sub' / 'y', b'text')
  (folder / odd).rmtree()
  assert not (folder / odd).exists()
  for path in others:
    assert path.read_bytes() == b'other'


def test_another_process_sees_what_was_written(folder):
  # A listing that is kept would miss it.
  object_store.write(folder / 'a', b'')
  assert [p.name for p in folder.iterdir()] == ['a']
  other = object_store.filesystem(folder)
  other.dircache.clear()
  object_store.write(folder / 'b', b'')
  assert [p.name for p in folder.iterdir()] == ['a', 'b']


def test_a_new_object_replaces_none(store, folder):
  object_store.write(folder / 'lock', b'first', new=True)
  with pytest.raises(FileExistsError):
    object_store.write(folder / 'lock', b'second', new=True)
  assert (folder / 'lock').read_bytes() == b'first'


def test_a_store_that_is_busy_for_a_while_is_asked_again(store, folder):
  object_store.write(folder / 'a', b'abc')
  store.proxy.fail(503, 2)
  assert object_store.read(folder / 'a') == b'abc'
  store.proxy.fail(429, 1)
  object_store.write(folder / 'b', b'x')
  assert object_store.read(folder / 'b') == b'x'


@pytest.mark.slow
def test_a_store_that_stays_busy_ends_with_one_message(store, folder):
  store.proxy.fail(503)
  with pytest.raises(object_store.StoreError) as error:
    object_store.read(folder / 'a')
  assert str(folder / 'a') in str(error.value)
  assert 'the store did not answer' in str(error.value)


def test_a_forbidden_bucket_is_an_input_error(store, folder):
  store.proxy.fail(403)
  for act in (
    lambda: object_store.check_bucket(folder),
    lambda: object_store.read(folder / 'a'),
    lambda: object_store.write(folder / 'a', b''),
    lambda: files.output_folder(folder),
    (folder / 'a').exists,
    folder.is_dir,
  ):
    with pytest.raises(InputError, match='may not use'):
      act()


def test_a_missing_bucket_is_an_input_error(store):
  away = place(f'{store.scheme}://away/records')
  with pytest.raises(InputError, match=r'no (such )?bucket'):
    object_store.check_bucket(away)
  with pytest.raises(InputError, match=r'no (such )?bucket'):
    files.output_folder(away)


def test_no_credentials_are_an_input_error(store, folder):
  if store.scheme == 's3':

    class NoCredentialsError(Exception):  # as botocore names it
      pass

    error = NoCredentialsError('Unable to locate credentials')
  else:
    store.proxy.fail(401)
    with pytest.raises(InputError, match='no valid credentials'):
      object_store.read(folder / 'a')
    return
  with pytest.raises(InputError, match='aws configure'):
    raise object_store.explained(error, folder)


def test_a_folder_for_results_is_tried_and_left_empty(folder):
  assert files.output_folder(folder) == folder
  assert not folder.exists()


def test_a_copy_is_read_once_and_anew_when_the_object_changes(store, folder):
  object_store.write(folder / 'w.npz', b'one')
  first = local_cache.local_copy(folder / 'w.npz')
  assert (first.name, first.read_bytes()) == ('w.npz', b'one')
  store.proxy.requests.clear()
  assert local_cache.local_copy(folder / 'w.npz') == first
  assert 'GET' not in [
    method for method, path, _ in store.proxy.requests if 'media' in path
  ]
  object_store.write(folder / 'w.npz', b'three')
  assert local_cache.local_copy(folder / 'w.npz').read_bytes() == b'three'
  with pytest.raises(FileNotFoundError):
    local_cache.local_copy(folder / 'none')
