"""The processes of a run find each other or say who is missing; none hangs."""

import concurrent.futures
import contextlib
import queue
import socket
import time

import pytest

from vidmodels.train import rendezvous
from vidmodels.typing import InputError


@pytest.fixture
def port():
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return free.getsockname()[1]


@pytest.fixture
def pool():
  with concurrent.futures.ThreadPoolExecutor(8) as threads:
    yield threads


def start(pool, port, number, *, count=2, seconds=20.0, said=None):
  say = said.append if said is not None else lambda line: None
  address = f'localhost:{port}'
  return pool.submit(
    rendezvous.join,
    address,
    count=count,
    number=number,
    seconds=seconds,
    say=say,
  )


def until(holds) -> None:
  for _ in range(500):
    if holds():
      return
    time.sleep(0.02)
  raise AssertionError('it did not come')


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0)])
def test_all_meet_in_any_order_and_say_who_is_missing(pool, port, order):
  said = {n: [] for n in order}
  joined = []
  for number in order:
    joined.append(start(pool, port, number, count=3, said=said[number]))
    if number != order[-1]:
      until(lambda n=number: said[n])
  for future in joined:
    future.result()
  where = f'at localhost:{port}'
  if order[0] == 0:
    assert said[0] == [f'waiting for processes 1, 2 of 3 {where}']
  else:
    assert said[1] == said[2] == [f'waiting for process 0 of 3 {where}']


def test_the_missing_are_named_again_and_again(pool, port, monkeypatch):
  monkeypatch.setattr(rendezvous, 'LINE_SECONDS', 0.1)
  said = []
  with pytest.raises(InputError):
    start(pool, port, 0, seconds=0.8, said=said).result()
  assert len(said) > 2
  assert set(said) == {f'waiting for process 1 of 2 at localhost:{port}'}


def test_when_time_is_up_all_that_are_there_name_the_missing(pool, port):
  began = time.monotonic()
  first = start(pool, port, 0, count=4, seconds=1.5)
  second = start(pool, port, 1, count=4, seconds=1.5)
  for future in (first, second):
    with pytest.raises(
      InputError, match=r'got no processes 2, 3 of 4 at .* in 1.5 s.*try'
    ):
      future.result()
  assert time.monotonic() - began < 10


def test_without_process_0_the_others_give_up(pool, port, monkeypatch):
  with pytest.raises(InputError, match='got no process 0 of 2 at'):
    start(pool, port, 1, seconds=0.5).result()


@pytest.mark.parametrize(
  ('number', 'count', 'reason'),
  [
    (1, 3, '--process 1 twice; expected each number once'),
    (1, 2, '--processes 2; expected 3 as process 0 has'),
    (2, 4, '--processes 4; expected 3'),
  ],
)
def test_a_wrong_process_is_refused_and_the_right_ones_meet(
  pool, port, number, count, reason
):
  said = []
  joined = [start(pool, port, 0, count=3, said=said)]
  other = []
  joined.append(start(pool, port, 1, count=3, said=other))
  until(lambda: said)
  time.sleep(0.5)  # process 1 is there
  with pytest.raises(InputError, match=f'got {reason}'):
    start(pool, port, number, count=count).result()
  assert f'got {reason}' in said[-1]
  joined.append(start(pool, port, 2, count=3))
  for future in joined:
    future.result()


def test_a_second_process_0_is_refused(pool, port):
  said = []
  first = start(pool, port, 0, said=said)
  until(lambda: said)
  with pytest.raises(InputError, match='process 0 was started twice'):
    start(pool, port, 0).result()
  start(pool, port, 1).result()
  first.result()


def test_one_that_goes_away_while_others_wait_may_come_again(pool, port):
  said = []
  first = start(pool, port, 0, count=3, said=said)
  until(lambda: said)
  with socket.create_connection(('localhost', port)) as gone:
    gone.sendall(b'{"process": 1, "processes": 3}\n')
    gone.recv(100)
  time.sleep(0.5)
  rest = [start(pool, port, n, count=3) for n in (1, 2)]
  for future in (first, *rest):
    future.result()


@pytest.mark.parametrize(
  'words', [b'', b'GET / HTTP/1.1\r\n\r\n', b'x' * 50_000, b'[1]\n', b'\xff\n']
)
def test_strangers_at_the_port_change_nothing(pool, port, words):
  said = []
  first = start(pool, port, 0, said=said)
  until(lambda: said)
  with socket.create_connection(('localhost', port)) as stranger:
    with contextlib.suppress(OSError):
      stranger.sendall(words)
    start(pool, port, 1).result()
    first.result()


@pytest.mark.parametrize(
  'answer', [b'SSH-2.0-OpenSSH\r\n', b'\x00\x00\x12\x04']
)
def test_another_program_at_the_address_is_no_process_0(pool, port, answer):
  with socket.create_server(('localhost', port)) as server:
    future = start(pool, port, 1)
    connection, _ = server.accept()
    with connection:
      connection.sendall(answer)
      connection.shutdown(socket.SHUT_WR)
      with pytest.raises(InputError, match='got another program at'):
        future.result()


def meet(pool, port, count: int) -> list[rendezvous.Peers]:
  futures = [start(pool, port, n, count=count) for n in range(count)]
  return [future.result() for future in futures]


def drop(peers: rendezvous.Peers) -> None:
  """What the system does with the sockets of a process that is killed."""
  for link in peers._links.values():
    with contextlib.suppress(OSError):  # the other end was faster
      link.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize('victim', [0, 1])
def test_all_are_told_of_one_that_is_gone(pool, port, victim):
  everybody = meet(pool, port, 3)
  told = {n: queue.Queue() for n in range(3)}
  for number, peers in enumerate(everybody):
    if number != victim:
      peers.watch(lambda *news, to=told[number]: to.put(news))
  drop(everybody[victim])
  for number in {0, 1, 2} - {victim}:
    said = told[number].get(timeout=5)
    assert said == (f'process {victim} of 3 ended, or was killed', False)


@pytest.mark.parametrize('number', [0, 2])
def test_one_that_stops_says_why_and_all_stop_for_that(pool, port, number):
  everybody, told = meet(pool, port, 3), queue.Queue()
  for peers in everybody:
    peers.watch(lambda *news: told.put(news))
  everybody[number].leave('got a wrong recipe', wrong_input=True)
  drop(everybody[number])
  said = f'process {number} of 3 stopped: got a wrong recipe'
  assert [told.get(timeout=5) for _ in range(2)] == [(said, True)] * 2
  with pytest.raises(queue.Empty):
    told.get(timeout=0.3)


def test_nobody_is_missed_who_said_goodbye(pool, port):
  everybody = meet(pool, port, 3)
  told = []
  for peers in everybody:
    peers.watch(lambda *news: told.append(news))
  for peers in everybody:
    peers.close()
    time.sleep(0.3)
    drop(peers)
  for peers in everybody:
    peers._thread.join(5)
    assert not peers._thread.is_alive()
  assert told == []


def test_one_that_is_cut_off_is_missed_too(pool, port, monkeypatch):
  """A network that fails closes no connection."""
  monkeypatch.setattr(rendezvous, 'SILENT_SECONDS', 0.5)
  first, _ = meet(pool, port, 2)
  told = queue.Queue()
  first.watch(lambda *news: told.put(news))
  said, wrong = told.get(timeout=5)
  assert 'process 1 of 2 has not answered for' in said
  assert not wrong


def test_beats_keep_a_quiet_run_together(pool, port, monkeypatch):
  monkeypatch.setattr(rendezvous, 'SILENT_SECONDS', 1.0)
  monkeypatch.setattr(rendezvous, 'BEAT_SECONDS', 0.2)
  told = []
  everybody = meet(pool, port, 2)
  for peers in everybody:
    peers.watch(lambda *news: told.append(news))
  time.sleep(2)
  assert told == []
  for peers in everybody:
    peers.close()


def test_the_port_is_free_for_jax_while_the_connections_stay(pool, port):
  everybody = meet(pool, port, 2)
  with socket.create_server(('localhost', port)):
    pass
  for peers in everybody:
    peers.close()


@pytest.mark.parametrize(
  'address', ['host', 'host:', ':1234', 'host:0', 'host:99999', 'host:x']
)
def test_half_an_address_is_refused(address):
  with pytest.raises(InputError, match='try --coordinator host0:1234'):
    rendezvous.split_address(address)


def test_addresses_of_both_kinds_are_read():
  assert rendezvous.split_address('[::1]:80') == ('::1', 80)
  assert rendezvous.split_address('10.0.0.1:8476') == ('10.0.0.1', 8476)
