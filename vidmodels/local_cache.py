"""A bounded folder on this machine of what was read from object stores.

  data = local_cache.read_range(shard, 0, 4096, version=sha256)
  path = local_cache.local_copy('gs://bucket/vit.safetensors')

VIDMODELS_CACHE names the folder (by default `vidmodels/objects` in the user's
cache), VIDMODELS_CACHE_GB its size in 10^9 bytes (by default 20; 0: none). A
file appears whole, under a name that tells its content, so processes share the
folder; what was not used for the longest time is deleted first. Without room or
right to write, data comes from the store each time.
"""

import atexit
import contextlib
import fcntl
import functools
import hashlib
import os
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Iterator

from vidmodels import files, object_store
from vidmodels.typing import AnyPath, InputError, brief, local_path

FOLDER, GIGABYTES = 'VIDMODELS_CACHE', 'VIDMODELS_CACHE_GB'
_DEFAULT_GB = 20.0
_KEPT = 0.9  # of the bound, after files were deleted
_SHARE = 16  # a process looks each time that it wrote this part of the bound
_LOCK = threading.Lock()
_written: dict[str, int] = {}  # bytes since a look, by folder


def folder() -> pathlib.Path:
  """Where the files are; it may not exist yet."""
  if given := os.environ.get(FOLDER):
    return pathlib.Path(local_path(given))
  base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(base) / 'vidmodels' / 'objects'


def bound() -> int:
  """The most bytes that the folder may hold, but for what is in use."""
  text = os.environ.get(GIGABYTES, str(_DEFAULT_GB))
  try:
    gigabytes = float(text)
  except ValueError:
    gigabytes = -1.0
  if not 0 <= gigabytes < 1e9:
    raise InputError(
      f'got {brief(text)} for {GIGABYTES}; expected 10^9 bytes, such as 20, or '
      '0 for no cache; try another value'
    )
  return int(gigabytes * 1e9)


def read_range(
  path: AnyPath, start: int, stop: int, *, version: str, fresh: bool = False
) -> bytes:
  """Bytes `start` to `stop` of an object, from the cache if they are there.

  `version` tells what the object holds, such as its hash: another one is read
  anew. `fresh` takes nothing from the cache.
  """
  most = bound()
  if stop - start > most:
    return object_store.read(path, start=start, stop=stop)
  name = _digest(os.fspath(path), version, str(start), str(stop))
  kept = folder() / name[:2] / name[2:]
  if not fresh:
    with contextlib.suppress(OSError):
      data = kept.read_bytes()
      if len(data) == stop - start:
        os.utime(kept)  # it was used now
        return data
  data = object_store.read(path, start=start, stop=stop)
  with contextlib.suppress(OSError):  # no room, or no right
    with _appearing(kept) as part:
      part.write_bytes(data)
    _note_written(len(data), most)
  return data


def local_copy(path: AnyPath) -> pathlib.Path:
  """A file of this machine with the content of an object, under its name.

  What is on this machine is given back as it is. FileNotFoundError without the
  object.
  """
  place = files.place(path)
  if not object_store.in_store(place):
    return place
  entry = object_store.describe(place)
  if entry is None:
    raise FileNotFoundError(2, 'no such object', str(place))
  about = [
    str(entry.get(key)) for key in ('ETag', 'etag', 'generation', 'size')
  ]
  name = _digest(str(place), *about)
  most = bound()
  base = folder() if most else _own_folder()
  kept = base / name[:2] / name[2:] / place.name
  with contextlib.suppress(OSError):
    os.utime(kept)
    return kept
  try:
    with _appearing(kept) as part:
      object_store.download(place, part)
  except OSError:  # no room, or no right, in the cache
    kept = _own_folder() / name / place.name
    with _appearing(kept) as part:
      object_store.download(place, part)
  else:
    _note_written(kept.stat().st_size, most, keep=kept)
  return kept


@functools.cache
def _own_folder() -> pathlib.Path:
  """A folder that goes away with this process."""
  own = tempfile.mkdtemp(prefix='vidmodels-')
  atexit.register(shutil.rmtree, own, ignore_errors=True)
  return pathlib.Path(own)


def _digest(*parts: str) -> str:
  return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:40]


@contextlib.contextmanager
def _appearing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A file to write, which becomes `path` when the block succeeds."""
  path.parent.mkdir(parents=True, exist_ok=True)
  # A name of its own: threads and processes may read the same at once.
  handle, name = tempfile.mkstemp(dir=path.parent, prefix='.', suffix='.part')
  os.close(handle)
  part = pathlib.Path(name)
  try:
    yield part
    part.replace(path)
  finally:
    part.unlink(missing_ok=True)


def _note_written(
  size: int, most: int, *, keep: pathlib.Path | None = None
) -> None:
  """Counts what was written, and deletes old files now and then."""
  place = folder()
  with _LOCK:
    # The first look of a process honours a bound that became smaller.
    count = _written.get(str(place), most) + size
    looks = count * _SHARE > most
    _written[str(place)] = 0 if looks else count
  if looks:
    evict(place, most, keep=keep)


def evict(
  place: pathlib.Path, most: int, *, keep: pathlib.Path | None = None
) -> None:
  """Deletes the files that were not used for the longest time.

  Only if they have more than `most` bytes, and down to nine tenths of it. One
  process does so at a time; the others go on.
  """
  with contextlib.suppress(OSError), open(place / 'lock', 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or another is at it
    kept = sorted(_files(place))
    total = sum(size for _, size, _ in kept)
    if total <= most:
      return
    for _, size, path in kept:
      if total <= _KEPT * most:
        return
      if path != str(keep):
        with contextlib.suppress(FileNotFoundError):
          os.unlink(path)
        total -= size


def _files(place: pathlib.Path) -> Iterator[tuple[float, int, str]]:
  """The last use, the size and the path of each file."""
  for root, _, names in os.walk(place):
    for name in names:
      path = os.path.join(root, name)
      with contextlib.suppress(FileNotFoundError):
        status = os.stat(path)
        if name != 'lock':
          yield status.st_mtime, status.st_size, path
