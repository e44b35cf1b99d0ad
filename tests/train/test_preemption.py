"""Notices of an early end: signals, and the machine's metadata server."""

import contextlib
import http.server
import json
import os
import signal
import threading
import time

import compiling
import fake
import pytest
import tiny

from vidmodels.cli import signals
from vidmodels.train import loop, preemption
from vidmodels.train.checkpoint import Checkpoints


@contextlib.contextmanager
def metadata_server(answers: dict[str, str]):
  """A server as Compute Engine's; yields its address."""

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      name = self.path.rpartition('/')[2]
      right = self.headers['Metadata-Flavor'] == 'Google'
      self.send_response(200 if right and name in answers else 404)
      self.end_headers()
      self.wfile.write(answers.get(name, '').encode())

    def log_message(self, *_):
      pass

  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  threading.Thread(target=server.serve_forever, daemon=True).start()
  try:
    yield f'127.0.0.1:{server.server_port}'
  finally:
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
  ('answers', 'says'),
  [
    ({'preempted': 'FALSE', 'maintenance-event': 'NONE'}, ''),
    ({'preempted': 'TRUE', 'maintenance-event': 'NONE'}, 'preempted TRUE'),
    ({'maintenance-event': 'TERMINATE_ON_HOST_MAINTENANCE'},
     'maintenance-event TERMINATE_ON_HOST_MAINTENANCE'),
    ({}, ''),
  ],
)  # fmt: skip
def test_what_the_machine_announces_is_read(answers, says):
  with metadata_server(answers) as address:
    assert preemption.machine_notice(address) == says


def test_a_server_that_is_not_there_announces_nothing():
  with metadata_server({}) as address:
    pass
  assert preemption.machine_notice(address) == ''


def test_a_machine_elsewhere_is_not_asked(monkeypatch, tmp_path):
  monkeypatch.delenv('GCE_METADATA_HOST', raising=False)
  monkeypatch.setattr(preemption, '_PRODUCT', tmp_path / 'product')
  assert preemption.metadata_address() == ''
  (tmp_path / 'product').write_text('Google Compute Engine\n')
  assert preemption.metadata_address() == 'metadata.google.internal'


@pytest.mark.parametrize('number', ['SIGTERM', 'SIGINT', 'SIGUSR1', ''])
def test_a_notice_is_reached_after_the_step_and_handlers_come_back(
  monkeypatch, number
):
  """Without a signal: the metadata server's."""
  before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)]
  answers = {'preempted': 'FALSE'}
  monkeypatch.setattr(preemption, '_POLL_SECONDS', 0.01)
  with metadata_server(answers) as address:
    monkeypatch.setenv('GCE_METADATA_HOST', address)
    said = []
    with preemption.Preemption(said.append) as notice:
      assert not notice.reached(1)
      if number:
        os.kill(os.getpid(), getattr(signal, number))
      else:
        answers['preempted'] = 'TRUE'
      for _ in range(500):
        if notice.reached(2):
          break
        time.sleep(0.01)
      assert notice.reached(2)
    if not number:
      assert said == ['the machine announces preempted TRUE: saving after this '
                      'step']  # fmt: skip
  after = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)]
  assert before == after


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_a_notice_while_a_run_starts_ends_it(number):
  before = signal.getsignal(number)

  @signals.stops_the_start(42, lambda: None)
  def starts():
    os.kill(os.getpid(), number)
    time.sleep(5)

  with pytest.raises(signals.StoppedEarlyError):
    starts()
  assert signal.getsignal(number) == before
  timers = [t for t in threading.enumerate() if isinstance(t, threading.Timer)]
  for timer in timers:
    timer.join(1)
  assert not any(timer.is_alive() for timer in timers)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_a_notice_waits_until_jax_takes_it(number, monkeypatch):
  """JAX has joined the others, but its handler is not there yet."""
  monkeypatch.setattr(signals, '_has_joined', lambda: True)
  monkeypatch.setattr(signals, '_AGAIN_S', 0.01)
  taken = []
  with signals.stops_the_start(42, lambda: None):
    os.kill(os.getpid(), number)
    time.sleep(0.05)  # comes back a few times
    signal.signal(signal.SIGTERM, lambda *_: taken.append(1))
    for _ in range(500):
      if taken:
        break
      time.sleep(0.01)
    time.sleep(0.05)
  assert taken == [1]


def test_a_later_notice_goes_to_jax_as_the_first_did(monkeypatch):
  """However long ago that was: JAX has taken it."""
  monkeypatch.setattr(signals, '_has_joined', lambda: True)
  monkeypatch.setattr(signals, '_AGAIN_S', 0.01)
  monkeypatch.setattr(signals, '_TAKEN_S', 0.05)
  taken = []
  with signals.stops_the_start(42, lambda: None):
    signal.signal(signal.SIGTERM, lambda *_: taken.append(1))
    for count in (1, 2):
      os.kill(os.getpid(), signal.SIGUSR1)
      for _ in range(500):
        if len(taken) == count:
          break
        time.sleep(0.01)
      time.sleep(0.1)
  assert taken == [1, 1]


def test_a_notice_that_jax_never_takes_ends_the_start(monkeypatch):
  monkeypatch.setattr(signals, '_has_joined', lambda: True)
  monkeypatch.setattr(signals, '_AGAIN_S', 0.01)
  monkeypatch.setattr(signals, '_TAKEN_S', 0.05)

  @signals.stops_the_start(42, lambda: None)
  def starts():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)

  with pytest.raises(signals.StoppedEarlyError):
    starts()


def test_a_notice_in_a_validation_saves_and_the_next_start_validates(
  tmp_path, monkeypatch
):
  records = fake.write(tmp_path / 'records')
  fake.write(records, 'test', videos=20)  # three batches
  config = tiny.config(
    records,
    model__layers=1,
    log__validate=2,
    log__every=1,
    checkpoint__every=100,
    checkpoint__best=3,
    checkpoint__metric='loss',
  )
  compiling.share_programs(monkeypatch)
  asked = []

  def reached(self, step: int) -> bool:
    asked.append(step)
    return asked == [1, 2, 2]  # after the first batch of the validation

  monkeypatch.setattr(loop.Preemption, 'reached', reached)
  outcome = loop.train(config, tmp_path / 'run')
  assert (outcome.step, outcome.preempted) == (2, True)
  with contextlib.closing(Checkpoints(tmp_path / 'run')) as saved:
    assert saved.read_json(2, 'meta')['validation'] == {}
  # As if killed between the line of the validation and its place in the meta.
  with (tmp_path / 'run/metrics.jsonl').open('a') as file:
    file.write('{"step": 2, "val_clip/loss": 99}\n')
  asked.append(0)
  assert loop.train(config, tmp_path / 'run').step == 6
  lines = (tmp_path / 'run/metrics.jsonl').read_text().splitlines()
  measured = {}
  for line in map(json.loads, lines):
    if 'val_clip/loss' in line:
      assert line['step'] not in measured
      measured[line['step']] = line['val_clip/loss']
  assert sorted(measured) == [2, 4, 6]
  with contextlib.closing(Checkpoints(tmp_path / 'run')) as saved:
    assert {
      step: saved.read_json(step, 'meta')['validation']['val_clip/loss']
      for step in saved.steps()
    } == measured
