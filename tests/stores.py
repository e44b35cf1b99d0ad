"""Object stores on this machine's loopback: S3 by moto, GCS by its emulator.

  store = stores.start('s3')  # or 'gs'; skips with the reason if it cannot
  store.root                  # 's3://tests', a bucket that exists
  store.proxy.requests        # what was asked, (method, path, range)
  store.proxy.fail(503, 4)    # the next four answers
  store.proxy.cut('.tfrecord', process.kill)  # in the middle of an upload

A proxy stands before each server. It counts, and it answers for the store when
it is told to, as a store that is overloaded or closed does. For the emulator of
GCS it does what that leaves out: a read tells the object's generation, and a
request that names one is refused if the object has another.
"""

import collections
import contextlib
import http.client
import http.server
import importlib.util
import json
import logging
import os
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator

import fsspec
import pytest

from vidmodels import object_store

BUCKET = 'tests'
_PACKAGES = {
  's3': ('s3fs', 'moto', 'flask', 'flask_cors'),
  'gs': ('gcsfs', 'gcp_storage_emulator'),
}
_BODIES = {
  's3': '<?xml version="1.0"?><Error><Code>{}</Code><Message>{}</Message>'
  '</Error>',
  'gs': '{{"error": {{"code": {}, "message": "{}"}}}}',
}
_CODES = {403: 'AccessDenied', 503: 'SlowDown', 429: 'TooManyRequests'}
# Of GCS's requests: where the name of the object is.
_NAMED_IN_PATH = re.compile(rf'/b/{BUCKET}/o/([^/?]+)')
_NAMED_IN_BODY = re.compile(rb'"name": ?("(?:[^"\\\\]|\\\\.)*")')
# Of a store's packages: a real account is never asked.
_ENV = {
  'AWS_ACCESS_KEY_ID': 'test',
  'AWS_SECRET_ACCESS_KEY': 'test',
  'AWS_REGION': 'us-east-1',
  'AWS_DEFAULT_REGION': 'us-east-1',
  'AWS_EC2_METADATA_DISABLED': 'true',
  'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'test',
  'GOOGLE_CLOUD_PROJECT': 'test',
  # The proxy lets them wait, as a real store does.
  'TENSORSTORE_GCS_REQUEST_CONCURRENCY': '32',
  # It would ask the real service what kind a bucket is.
  'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',
}


class Store:
  """A running server, and what a process needs to use it."""

  def __init__(self, scheme: str, proxy: 'Proxy'):
    self.scheme = scheme
    self.proxy = proxy
    self.root = f'{scheme}://{BUCKET}'
    address = f'http://127.0.0.1:{proxy.server_port}'
    names = {
      's3': ('AWS_ENDPOINT_URL',),
      'gs': ('STORAGE_EMULATOR_HOST', 'TENSORSTORE_GCS_HTTP_URL'),
    }[scheme]
    self.env = _ENV | dict.fromkeys(names, address)


@contextlib.contextmanager
def start(scheme: str) -> Iterator[Store]:
  """Starts the server of a kind of address, with one bucket, and its proxy."""
  missing = [p for p in _PACKAGES[scheme] if not importlib.util.find_spec(p)]
  if missing:
    pytest.skip(f'{", ".join(missing)} not installed; see the test extra')
  with contextlib.ExitStack() as ending:
    serve = {'s3': _serve_s3, 'gs': _serve_gcs}[scheme]
    proxy = Proxy(scheme, *serve(ending))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    ending.callback(proxy.server_close)
    ending.callback(proxy.shutdown)
    store = Store(scheme, proxy)
    before = dict(os.environ)
    os.environ.update(store.env)
    # Those of another server know its address.
    kind = fsspec.get_filesystem_class(scheme)
    kind.clear_instance_cache()
    object_store._list_one.cache_clear()
    try:
      yield store
    finally:
      os.environ.clear()
      os.environ.update(before)


def _serve_s3(ending: contextlib.ExitStack) -> tuple[int]:
  from moto.server import ThreadedMotoServer

  # A line for each request would bury the failure of a test.
  logging.getLogger('werkzeug').setLevel(logging.ERROR)
  server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
  server.start()
  ending.callback(server.stop)
  _, port = server.get_host_and_port()
  _ask(port, 'PUT', f'/{BUCKET}')
  return (port,)


def _serve_gcs(
  ending: contextlib.ExitStack,
) -> tuple[int, Callable[[str], int]]:
  """The port, and what tells an object's generation; 0 if there is none."""
  from gcp_storage_emulator.server import create_server

  server = create_server('127.0.0.1', 0, in_memory=True, default_bucket=BUCKET)
  server.start()
  ending.callback(server.stop)
  while server._api._httpd is None:  # its thread makes it
    time.sleep(0.01)

  def generation(name: str) -> int:
    objects = server._storage.objects.get(BUCKET, {})
    return int(objects.get(name, {}).get('generation', 0))

  return server._api._httpd.server_port, generation


def _ask(port: int, method: str, path: str) -> None:
  connection = http.client.HTTPConnection('127.0.0.1', port)
  connection.request(method, path)
  assert connection.getresponse().status == 200
  connection.close()


class Proxy(http.server.ThreadingHTTPServer):
  """Passes requests on, counts them, or answers in the store's place."""

  daemon_threads = True
  request_queue_size = 128  # stores are asked by many threads at once

  def __init__(
    self,
    scheme: str,
    port: int,
    generation: Callable[[str], int] | None = None,
  ):
    super().__init__(('127.0.0.1', 0), _Handler)
    self.scheme, self.port = scheme, port
    self.generation = generation
    # The emulator of GCS takes one request at a time and lets few wait.
    self.turn = threading.Lock() if generation else contextlib.nullcontext()
    self.requests: list[tuple[str, str, str]] = []
    self._faults: collections.deque[int] = collections.deque()
    self._always, self._only = 0, ''
    self._cut: tuple[str, Callable[[], object]] | None = None

  def cut(self, word: str, act: Callable[[], object]) -> None:
    """Calls `act` in the middle of the next upload whose request has `word`.

    The store gets nothing of it.
    """
    self._cut = word, act

  def cutting(self, asked: bytes) -> Callable[[], object] | None:
    """What to call in the middle of a request that begins like this."""
    if self._cut is None or self._cut[0].encode() not in asked:
      return None
    (_, act), self._cut = self._cut, None
    return act

  def fail(
    self, status: int, times: int | None = None, *, only: str = ''
  ) -> None:
    """Answers `status`, so many times or until `work`.

    With `only`, where the request has that text, until `work`.
    """
    if times is None:
      self._always, self._only = status, only
    else:
      self._faults.extend([status] * times)

  def work(self) -> None:
    """Passes everything on again, and forgets what was asked."""
    self._always, self._cut = 0, None
    self._faults.clear()
    self.requests.clear()

  def fault(self, path: str) -> int:
    """The status to answer now; 0 for the store's own."""
    with contextlib.suppress(IndexError):
      return self._faults.popleft()
    return self._always if self._only in urllib.parse.unquote(path) else 0


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  server: Proxy

  def handle(self) -> None:
    with contextlib.suppress(ConnectionError):  # who asked was killed
      super().handle()

  def do_GET(self) -> None:
    body = self._body()
    if self.command in ('PUT', 'POST') and (
      act := self.server.cutting(self.path.encode() + body[:10_000])
    ):
      act()
      self.close_connection = True
      return
    span = self.headers.get('Range', '')
    self.server.requests.append((self.command, self.path, span))
    if fault := self.server.fault(self.path):
      code = _CODES[fault] if self.server.scheme == 's3' else fault
      text = _BODIES[self.server.scheme].format(code, 'said by the test')
      self._answer(fault, [], text.encode())
      return
    with self.server.turn:
      if self.server.generation:
        status, headers, answer = self._ask_gcs(body)
      else:
        status, headers, answer = self._ask(body)
    self._answer(status, headers, answer)

  def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """The server's own answer."""
    connection = http.client.HTTPConnection('127.0.0.1', self.server.port)
    headers = {
      k: v
      for k, v in self.headers.items()
      if k.lower() not in ('transfer-encoding', 'connection', 'content-length')
    }
    connection.request(self.command, self.path, body, headers)
    answer = connection.getresponse()
    read = answer.status, answer.getheaders(), answer.read()
    connection.close()
    return read

  def _ask_gcs(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """The emulator's answer, or the refusal of a generation."""
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    name = query.get('name', '')
    if match := _NAMED_IN_PATH.search(url.path):
      name = urllib.parse.unquote(match[1])
    elif not name and (found := _NAMED_IN_BODY.search(body[:10_000])):
      name = json.loads(found[1])
    now = self.server.generation(name)
    if int(query.get('ifGenerationMatch', now)) != now:
      return 412, [], b''
    if int(query.get('ifGenerationNotMatch', -1)) == now:
      return 304, [], b''
    status, headers, answer = self._ask(body)
    return status, [*headers, ('x-goog-generation', str(now))], answer

  do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = do_GET

  def _body(self) -> bytes:
    if self.headers.get('Transfer-Encoding', '').lower() == 'chunked':
      parts = []
      while size := int(self.rfile.readline().split(b';')[0], 16):
        parts.append(self.rfile.read(size))
        self.rfile.readline()
      self.rfile.readline()
      return b''.join(parts)
    return self.rfile.read(int(self.headers.get('Content-Length') or 0))

  def _answer(
    self, status: int, headers: list[tuple[str, str]], body: bytes
  ) -> None:
    self.send_response_only(status)
    length = len(body)
    for name, value in headers:
      if name.lower() == 'content-length' and self.command == 'HEAD':
        length = int(value)
      if name.lower() not in (
        *('transfer-encoding', 'connection', 'content-length'),
      ):
        self.send_header(name, value)
    self.send_header('Content-Length', str(length))
    self.end_headers()
    if self.command != 'HEAD':
      with contextlib.suppress(ConnectionError):  # who asked is gone
        self.wfile.write(body)

  def log_message(self, *_: object) -> None:
    """Says nothing."""
