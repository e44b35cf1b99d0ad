"""Files in object stores: gs:// by gcsfs and s3:// by s3fs, through fsspec.

  data = object_store.read('s3://bucket/records/a.tfrecord', start=0, stop=100)

`files.place` makes a path of an address, whose methods make such requests.

A request that a store cannot answer now (503, 429, a lost connection) is made
again for about a minute, then `StoreError` ends the command with code 1. What
the user can mend (no credentials, no such bucket, no permission) is an
InputError at once. An object appears when it is complete, so nothing that is
written is ever there in part.
"""

import contextlib
import errno
import fnmatch
import functools
import importlib.util
import itertools
import logging
import os
import pathlib
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

from vidmodels.typing import STORES, AnyPath, InputError

PATIENCE_S = 60.0  # how long a request that fails is made again
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 8.0  # between two tries
BLOCK_BYTES = 1 << 24  # of a part of an upload
_TIMEOUT_S = 60.0  # for the next bytes of an answer
# The extra of ours and the package for each kind of address.
_PACKAGES = {'gs': ('gcs', 'gcsfs'), 's3': ('s3', 's3fs')}
_LOG_IN = {
  'gs': '`gcloud auth application-default login`, or the path of a key in '
  'GOOGLE_APPLICATION_CREDENTIALS',
  's3': '`aws configure`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
}
_NEW_BUCKET = {'gs': 'gcloud storage buckets create', 's3': 'aws s3 mb'}
Fault = Literal[
  'missing', 'exists', 'forbidden', 'no credentials', 'no bucket', 'busy'
]
_BUSY_STATUS = frozenset({408, 409, 425, 429, *range(500, 600)})
_BUSY_ERRNO = frozenset(
  {
    *(errno.EBUSY, errno.EREMOTEIO, errno.ETIMEDOUT, errno.ECONNREFUSED),
    *(errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.EHOSTUNREACH),
    *(errno.ENETUNREACH, errno.EAGAIN),
  }
)
# By name, since a command without buckets imports none of their packages.
_BUSY_TYPES = frozenset(
  {
    *('HTTPClientError', 'ConnectionError', 'Timeout', 'ProxyError'),
    *('ChunkedEncodingError', 'ClientConnectionError', 'ClientPayloadError'),
    *('FSTimeoutError', 'TimeoutError', 'IncompleteRead', 'ChecksumError'),
    *('ResponseParserError', 'TransportError'),
  }
)
_CREDENTIAL_TYPES = frozenset(
  {
    *('NoCredentialsError', 'PartialCredentialsError', 'NoAuthTokenError'),
    *('CredentialRetrievalError', 'TokenRetrievalError', 'ProfileNotFound'),
    *('GoogleAuthError', 'UnauthorizedSSOTokenError', 'SSOTokenLoadError'),
  }
)
_CREDENTIAL_CODES = frozenset(
  {
    *('InvalidAccessKeyId', 'SignatureDoesNotMatch', 'ExpiredToken'),
    *('InvalidToken', 'TokenRefreshRequired', 'RequestTimeTooSkewed'),
  }
)
# How errors of TensorStore begin, which writes and reads arrays.
_TENSORSTORE: dict[str, Fault] = {
  # Its word after the last try.
  'ABORTED': 'busy',
  'UNAVAILABLE': 'busy',
  'DEADLINE_EXCEEDED': 'busy',
  'RESOURCE_EXHAUSTED': 'busy',
  'PERMISSION_DENIED': 'forbidden',
  'UNAUTHENTICATED': 'no credentials',
}
_PATTERN = re.compile(r'[*?[]')  # what makes a name a pattern
_Result = TypeVar('_Result')


class StoreError(Exception):
  """An object store did not answer, after all tries.

  Not an OSError, which many callers take for a fault of the file.
  """


class StoreRefusal(InputError):
  """The store refuses an account, or has no such bucket.

  It says nothing of what an object holds.
  """


def in_store(path: AnyPath) -> bool:
  """Whether a path is an address of an object store."""
  return os.fspath(path).startswith(STORES)


def require_package(address: str) -> None:
  """Raises InputError unless the package for an address is installed."""
  extra, package = _PACKAGES[_scheme(address)]
  if importlib.util.find_spec(package) is None:
    raise InputError(
      f'got {address}, and {package}, which reads and writes such addresses, '
      f"is not installed; expected it; try pip install 'vidmodels[{extra}]'"
    )


def filesystem(path: AnyPath) -> Any:
  """The fsspec file system of an address."""
  import fsspec

  _configure()
  return fsspec.filesystem(_scheme(path))


@functools.cache
def _configure() -> None:
  """Sets what fsspec leaves open; a user's own settings win.

  Another process changes what a folder holds, so listings are not kept.
  """
  import fsspec.config

  if emulator():  # or gcsfs asks the real service what kind a bucket is
    os.environ.setdefault('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')
  ours: dict[str, dict[str, Any]] = {
    's3': {
      'use_listings_cache': False,
      'default_block_size': BLOCK_BYTES,
      'config_kwargs': {
        'retries': {'max_attempts': 4, 'mode': 'standard'},
        'connect_timeout': 10,
        'read_timeout': _TIMEOUT_S,
      },
    },
    'gcs': {'use_listings_cache': False, 'session_kwargs': _aiohttp_timeout()},
  }
  for name, defaults in ours.items():
    given = fsspec.config.conf.get(name, {})
    fsspec.config.conf[name] = {**defaults, **given}
  # They print a traceback for each try that fails; the last one is told.
  for name in ('gcsfs', 's3fs', 'aiobotocore', 'botocore'):
    logging.getLogger(name).setLevel(logging.CRITICAL)


def emulator() -> str:
  """The address of an emulator of GCS that stands in for it; '' for none."""
  host = os.environ.get('STORAGE_EMULATOR_HOST', '')
  if host in ('', 'default'):
    return ''
  return host if '://' in host else f'http://{host}'


def _aiohttp_timeout() -> dict[str, Any]:
  try:
    import aiohttp
  except ImportError:  # s3fs and gcsfs bring it along
    return {}
  limit = aiohttp.ClientTimeout(sock_connect=10, sock_read=_TIMEOUT_S)
  return {'timeout': limit}


def request(path: AnyPath, action: Callable[[], _Result]) -> _Result:
  """What `action()` returns; tried again while the store cannot answer.

  Raises FileNotFoundError, FileExistsError, InputError or StoreError, which
  name the address; what is no fault of a store passes unchanged.
  """
  end = time.monotonic() + PATIENCE_S
  for attempt in itertools.count():
    try:
      return action()
    except (InputError, StoreError):
      raise
    except Exception as error:
      fault = find_fault(error)
      if fault is None:
        raise
      if fault != 'busy' or time.monotonic() > end:
        raise explained(error, path) from error
    # Random, so that a thousand hosts do not come back at once.
    time.sleep(_longest_wait(attempt) * random.uniform(0.5, 1))
  raise AssertionError


def _longest_wait(attempt: int) -> float:
  """The most seconds between a try, counted from 0, and the next one."""
  return min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S)


def tensorstore_retries() -> dict[str, Any]:
  """TensorStore's description of as many tries as `request` makes.

  By itself it makes 32, which take a quarter of an hour.
  """
  waits = itertools.accumulate(map(_longest_wait, itertools.count()))
  count = sum(1 for _ in itertools.takewhile(lambda s: s < PATIENCE_S, waits))
  return {
    'max_retries': count + 1,
    'initial_delay': f'{_FIRST_WAIT_S}s',
    'max_delay': f'{_LONGEST_WAIT_S}s',
  }


def find_fault(error: BaseException) -> Fault | None:
  """What an error of fsspec's stores or of TensorStore says; None if nothing.

  The packages raise an OSError, or one of their own, of the answer's status.
  """
  if isinstance(error, ValueError):
    for start, fault in _TENSORSTORE.items():
      if str(error).startswith(f'{start}:'):
        return fault
  chain = list(_causes(error))
  code = next((c for c in map(_code, chain) if c), '')
  status = next((s for s in map(_status, chain) if s), 0)
  types = {cls.__name__ for e in chain for cls in type(e).__mro__}
  if code in _CREDENTIAL_CODES or status == 401 or types & _CREDENTIAL_TYPES:
    return 'no credentials'
  if code == 'NoSuchBucket':
    return 'no bucket'
  if status == 412 or code in (
    'PreconditionFailed',
    'ConditionalRequestConflict',
  ):
    return 'exists'
  if isinstance(error, FileExistsError):
    return 'exists'
  if isinstance(error, FileNotFoundError) or status == 404:
    return 'missing'
  forbidden = str(error).startswith('Forbidden: ')
  if isinstance(error, PermissionError) or status == 403 or forbidden:
    return 'forbidden'
  number = error.errno if isinstance(error, OSError) else None
  if status in _BUSY_STATUS or number in _BUSY_ERRNO or types & _BUSY_TYPES:
    return 'busy'
  return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
  """An error and those that it comes from; a chain may be a circle."""
  seen: list[BaseException] = []
  while error is not None and error not in seen:
    yield error
    seen.append(error)
    error = error.__cause__


def _code(error: BaseException) -> str:
  """The name that S3 gives an error."""
  answer = getattr(error, 'response', None)
  if not isinstance(answer, dict):
    return ''
  return str(answer.get('Error', {}).get('Code', ''))


def _status(error: BaseException) -> int:
  """The HTTP status of an error; 0 if it has none."""
  answer = getattr(error, 'response', None)
  status = None
  if isinstance(answer, dict):
    status = answer.get('ResponseMetadata', {}).get('HTTPStatusCode')
  for name in ('code', 'status'):
    status = status or getattr(error, name, None)
  return int(str(status)) if str(status).isdecimal() else 0


def explained(error: BaseException, path: AnyPath) -> Exception:
  """The error that a user reads for a fault of a store."""
  address, fault = os.fspath(path), find_fault(error)
  scheme, bucket = _scheme(address), bucket_of(address)
  text = ' '.join(str(error).split())[:200] or type(error).__name__
  if fault == 'missing':
    return FileNotFoundError(errno.ENOENT, 'no such object', address)
  if fault == 'exists':
    return FileExistsError(errno.EEXIST, 'the object exists', address)
  if fault == 'no bucket':
    return StoreRefusal(
      f'got {address}, and there is no bucket {bucket}; expected an existing '
      f'one; try to correct its name, or `{_NEW_BUCKET[scheme]} '
      f'{scheme}://{bucket}`'
    )
  if fault == 'no credentials':
    return StoreRefusal(
      f'got no valid credentials for {address} ({text}); expected those of an '
      f'account that may use the bucket; try {_LOG_IN[scheme]}'
    )
  if fault == 'forbidden':
    return StoreRefusal(
      f'got {address}, which these credentials may not use (forbidden: '
      f'{text}); expected permission to list, read and write there; try '
      f'another account ({_LOG_IN[scheme]}), or ask the owner of '
      f'{scheme}://{bucket}'
    )
  return StoreError(
    f'{address}: the store did not answer, also after tries for '
    f'{PATIENCE_S:.0f} s ({text}); expected a store that can be reached; '
    'finished work is kept; try the same command again when it answers'
  )


def _scheme(path: AnyPath) -> str:
  return os.fspath(path)[:2]


def bucket_of(path: AnyPath) -> str:
  """The bucket of an address."""
  return os.fspath(path).split('/')[2]


def read(
  path: AnyPath, *, start: int | None = None, stop: int | None = None
) -> bytes:
  """The bytes of an object, or of a range of it, in one request."""
  store = filesystem(path)
  address = os.fspath(path)
  return request(path, lambda: store.cat_file(address, start=start, end=stop))


def write(path: AnyPath, data: bytes, *, new: bool = False) -> None:
  """Writes an object; with `new`, FileExistsError if there is one already."""
  store, mode = filesystem(path), 'create' if new else 'overwrite'
  request(path, lambda: store.pipe_file(os.fspath(path), data, mode=mode))


def upload(source: pathlib.Path, path: AnyPath) -> None:
  """Copies a file of this machine to an object, in parts if it is large."""
  store = filesystem(path)
  request(path, lambda: store.put_file(os.fspath(source), os.fspath(path)))


def download(path: AnyPath, target: pathlib.Path) -> None:
  """Copies an object to a file of this machine, which may exist."""
  store = filesystem(path)
  request(path, lambda: store.get_file(os.fspath(path), os.fspath(target)))


def describe(path: AnyPath) -> dict[str, Any] | None:
  """What the store says of an object or folder; None if there is none."""
  store = filesystem(path)
  try:
    return request(path, lambda: store.info(os.fspath(path)))
  except FileNotFoundError:
    return None


def entries(folder: AnyPath) -> dict[str, dict[str, Any]]:
  """What a folder holds, by name: objects and folders; {} if there is none.

  One request for each thousand.
  """
  store, address = filesystem(folder), os.fspath(folder)
  try:
    found = request(folder, lambda: store.ls(address, detail=True))
  except FileNotFoundError:
    return {}
  above = address.partition('://')[2]
  named = {
    entry['name'].rstrip('/').removeprefix(f'{above}/'): entry
    for entry in found
  }
  # A store may hold an object for the folder itself.
  return {n: e for n, e in named.items() if n and '/' not in n and n != above}


def glob(folder: AnyPath, pattern: str) -> list[str]:
  """The addresses below a folder that match a pattern, sorted.

  Of the pattern alone: the folder's own name may have stars and brackets, of
  which fsspec would make patterns.
  """
  found = [os.fspath(folder)]
  for part in pattern.split('/'):
    if _PATTERN.search(part):
      found = [
        f'{above}/{name}'
        for above in found
        for name in entries(above)
        if fnmatch.fnmatchcase(name, part)
      ]
    else:
      found = [f'{above}/{part}' for above in found]
  if not _PATTERN.search(pattern.rpartition('/')[2]):
    found = [address for address in found if describe(address) is not None]
  return sorted(found)


def remove(path: AnyPath, *, folder: bool = False) -> None:
  """Deletes an object, or all of a folder; S3 tells of no missing object."""
  store, address = filesystem(path), os.fspath(path)
  if not folder:
    request(path, lambda: store.rm_file(address))
  elif _PATTERN.search(address):  # fsspec would delete what matches it
    for name in request(path, lambda: store.find(address)):
      with contextlib.suppress(FileNotFoundError):
        request(path, functools.partial(store.rm_file, name))
  else:
    request(path, lambda: store.rm(address, recursive=True))


def move(path: AnyPath, target: AnyPath) -> None:
  """Copies an object, or all of a folder, and deletes it at its old place.

  Stores have no rename: after a kill both may be there, in part.
  """
  store = filesystem(path)
  old, new = (os.fspath(p).partition('://')[2] for p in (path, target))
  for name in request(path, lambda: store.find(old)):
    copy = f'{new}{name.removeprefix(old)}'
    request(path, functools.partial(store.cp_file, name, copy))
  remove(path, folder=True)


def check_bucket(path: AnyPath) -> None:
  """Raises InputError unless the bucket of an address can be listed.

  One small request, once for each bucket and process: it tells no credentials,
  no permission and no bucket apart before any work begins.
  """
  _list_one(_scheme(path), bucket_of(path), os.getpid())


@functools.cache
def _list_one(scheme: str, bucket: str, process: int) -> None:
  address = f'{scheme}://{bucket}'
  store = filesystem(address)

  def ask() -> None:
    if scheme == 's3':
      store.call_s3('list_objects_v2', Bucket=bucket, MaxKeys=1)
    else:
      store.call('GET', 'b/{}/o', bucket, maxResults=1, json_out=True)

  try:
    request(address, ask)
  except FileNotFoundError as error:  # GCS answers 404
    raise StoreRefusal(
      f'got {address}, and there is no such bucket; expected an existing one; '
      f'try to correct its name, or `{_NEW_BUCKET[scheme]} {address}`'
    ) from error
