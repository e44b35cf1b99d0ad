"""Object stores on this machine's loopback: S3 by moto, GCS by its emulator.

  store = stores.start('s3')  # or 'gs'; skips with the reason if it cannot
  store.root                  # 's3://tests', a bucket that exists
  store.proxy.requests        # what was asked, (method, path, range)
  store.proxy.fail(503, 4)    # the next four answers

A proxy stands before each server. It counts, and it answers for the store when
it is told to, as a store that is overloaded or closed does.
"""

import collections
import contextlib
import http.client
import http.server
import importlib.util
import os
import threading
import time
from collections.abc import Iterator

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
# Of a store's packages: a real account is never asked.
_ENV = {
  'AWS_ACCESS_KEY_ID': 'test',
  'AWS_SECRET_ACCESS_KEY': 'test',
  'AWS_REGION': 'us-east-1',
  'AWS_DEFAULT_REGION': 'us-east-1',
  'AWS_EC2_METADATA_DISABLED': 'true',
  'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'test',
  'GOOGLE_CLOUD_PROJECT': 'test',
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
    proxy = Proxy(scheme, serve(ending))
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


def _serve_s3(ending: contextlib.ExitStack) -> int:
  from moto.server import ThreadedMotoServer

  server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
  server.start()
  ending.callback(server.stop)
  _, port = server.get_host_and_port()
  _ask(port, 'PUT', f'/{BUCKET}')
  return port


def _serve_gcs(ending: contextlib.ExitStack) -> int:
  from gcp_storage_emulator.server import create_server

  server = create_server('127.0.0.1', 0, in_memory=True, default_bucket=BUCKET)
  server.start()
  ending.callback(server.stop)
  while server._api._httpd is None:  # its thread makes it
    time.sleep(0.01)
  return server._api._httpd.server_port


def _ask(port: int, method: str, path: str) -> None:
  connection = http.client.HTTPConnection('127.0.0.1', port)
  connection.request(method, path)
  assert connection.getresponse().status == 200
  connection.close()


class Proxy(http.server.ThreadingHTTPServer):
  """Passes requests on, counts them, or answers in the store's place."""

  daemon_threads = True
  request_queue_size = 128  # stores are asked by many threads at once

  def __init__(self, scheme: str, port: int):
    super().__init__(('127.0.0.1', 0), _Handler)
    self.scheme, self.port = scheme, port
    self.requests: list[tuple[str, str, str]] = []
    self._faults: collections.deque[int] = collections.deque()
    self._always = 0

  def fail(self, status: int, times: int | None = None) -> None:
    """Answers `status`, so many times or until `work`."""
    if times is None:
      self._always = status
    else:
      self._faults.extend([status] * times)

  def work(self) -> None:
    """Passes everything on again, and forgets what was asked."""
    self._always = 0
    self._faults.clear()
    self.requests.clear()

  def fault(self) -> int:
    """The status to answer now; 0 for the store's own."""
    with contextlib.suppress(IndexError):
      return self._faults.popleft()
    return self._always


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  server: Proxy

  def do_GET(self) -> None:
    body = self._body()
    span = self.headers.get('Range', '')
    self.server.requests.append((self.command, self.path, span))
    if fault := self.server.fault():
      code = _CODES[fault] if self.server.scheme == 's3' else fault
      text = _BODIES[self.server.scheme].format(code, 'said by the test')
      self._answer(fault, [], text.encode())
      return
    connection = http.client.HTTPConnection('127.0.0.1', self.server.port)
    headers = {
      k: v
      for k, v in self.headers.items()
      if k.lower() not in ('transfer-encoding', 'connection', 'content-length')
    }
    connection.request(self.command, self.path, body, headers)
    answer = connection.getresponse()
    self._answer(answer.status, answer.getheaders(), answer.read())
    connection.close()

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
