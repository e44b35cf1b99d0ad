"""Two runs never train in one workdir of an object store."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
import stores

from vidmodels import files, object_store
from vidmodels.train import workdir_lease
from vidmodels.typing import InputError


@pytest.fixture(
  scope='module', params=['s3', pytest.param('gs', marks=pytest.mark.slow)]
)
def server(request):
  with stores.start(request.param) as store:
    yield store


@pytest.fixture
def workdir(server, request, monkeypatch):
  monkeypatch.setattr(workdir_lease, 'BEAT_S', 0.2)
  monkeypatch.setattr(workdir_lease, 'DEAD_S', 1.2)
  return files.place(f'{server.root}/{request.node.name}')


def write(workdir, number, **holder):
  path = workdir / workdir_lease.FOLDER / f'{number:06d}'
  object_store.write(path, json.dumps(holder).encode())
  return path


def test_a_second_run_is_refused_and_a_later_one_is_not(workdir):
  with (
    workdir_lease.hold(workdir),
    pytest.raises(InputError, match=f'another run is at work .*{os.getpid()}'),
    workdir_lease.hold(workdir),
  ):
    pass
  said = []
  with workdir_lease.hold(workdir, said.append):
    pass
  assert said == []
  names = [p.name for p in (workdir / workdir_lease.FOLDER).iterdir()]
  assert names == ['000002']


def test_of_many_that_start_at_once_one_gets_it(workdir):
  got, refused, hold = [], [], threading.Event()

  def start():
    try:
      with workdir_lease.hold(workdir):
        got.append(1)
        hold.wait(20)
    except InputError:
      refused.append(1)

  threads = [threading.Thread(target=start) for _ in range(5)]
  for thread in threads:
    thread.start()
  end = time.monotonic() + 20
  while len(got) + len(refused) < 5 and time.monotonic() < end:
    time.sleep(0.05)
  hold.set()
  for thread in threads:
    thread.join()
  assert (len(got), len(refused)) == (1, 4)


def test_a_run_that_was_killed_on_this_machine_is_followed_at_once(workdir):
  code = (
    'import os, sys; from vidmodels import files; '
    'from vidmodels.train import workdir_lease as w; '
    'lease = w.hold(files.place(sys.argv[1])); lease.__enter__(); os._exit(9)'
  )
  ended = subprocess.run([sys.executable, '-c', code, str(workdir)])
  assert ended.returncode == 9
  said, start = [], time.monotonic()
  with workdir_lease.hold(workdir, said.append):
    pass
  assert time.monotonic() - start < 1
  assert 'it was killed' in said[0]


def test_a_silent_run_of_another_machine_is_waited_for_and_then_followed(
  workdir,
):
  write(workdir, 3, name='x', host='other', process=1, time=time.time(), beat=0)
  said = []
  with workdir_lease.hold(workdir, said.append):
    assert (workdir / workdir_lease.FOLDER / '000004').exists()
  assert 'waiting for' in said[0]
  assert 'it was killed' in said[1]


def test_a_sign_of_a_run_of_another_machine_refuses_this_one(workdir):
  about = dict(name='x', host='other', process=1, time=time.time())
  write(workdir, 3, **about, beat=0)
  later = threading.Timer(0.5, lambda: write(workdir, 3, **about, beat=1))
  later.start()
  with (
    pytest.raises(InputError, match='process 1 on other'),
    workdir_lease.hold(workdir),
  ):
    pass
  later.join()


def test_a_run_that_lost_its_workdir_is_told(workdir):
  told = threading.Event()
  with workdir_lease.hold(workdir, lost=lambda line: told.set()):
    write(workdir, 2, name='x', host='other', process=1, beat=0)
    assert told.wait(10)
  # What the other one wrote stays.
  path = workdir / workdir_lease.FOLDER / '000002'
  assert json.loads(path.read_bytes())['name'] == 'x'


def test_a_store_that_does_not_answer_loses_the_workdir(
  server, workdir, monkeypatch
):
  monkeypatch.setattr(object_store, 'PATIENCE_S', 0.0)
  told = []
  heard = threading.Event()
  with workdir_lease.hold(
    workdir, lost=lambda line: (told.append(line), heard.set())
  ):
    server.proxy.fail(403)
    assert heard.wait(20)
    server.proxy.work()
  assert 'cannot be held' in told[0]


def test_a_run_ends_at_once_where_the_store_does_not_answer(
  server, workdir, monkeypatch
):
  monkeypatch.setattr(workdir_lease, '_LEAVE_S', 0.5)
  told = []
  with workdir_lease.hold(workdir, lost=told.append):
    server.proxy.fail(503)
    start = time.monotonic()
  assert time.monotonic() - start < 5
  assert told == []
  server.proxy.work()  # and it says so when it can
  path = workdir / workdir_lease.FOLDER / '000001'
  while path.read_bytes() != b'{}' and time.monotonic() - start < 60:
    time.sleep(0.1)
  assert path.read_bytes() == b'{}'
