"""A path in an object store with the methods of a pathlib.Path.

  path = StorePath('gs://bucket/runs/first') / 'config.json'
  path.exists(), path.read_bytes(), path.stat().st_size

It is an `epath.Path`, so orbax takes it as it is. Epath's own methods ask
fsspec, where a folder that the account may not see counts as missing; these ask
`object_store`, which tries again and explains. Folders exist with what they
hold: `mkdir` does nothing. Everything is absolute.
"""

import io
import os
import stat
from collections.abc import Iterator
from typing import Any, Self

# Before epath looks: with TensorFlow installed it would ask TensorFlow, whose
# wheels have no S3.
os.environ.setdefault('EPATH_USE_TF', 'false')

from etils.epath import gpath

from vidmodels import object_store


class StorePath(gpath.PosixGPath):
  """See the module; every method but those of names makes a request."""

  def exists(self) -> bool:
    """Whether there is an object or a folder of this name."""
    return object_store.describe(self) is not None

  def is_dir(self) -> bool:
    """Whether objects have names that begin with this one and a slash."""
    return _kind(object_store.describe(self)) == 'directory'

  def is_file(self) -> bool:
    """Whether there is an object of this name."""
    return _kind(object_store.describe(self)) == 'file'

  def is_symlink(self) -> bool:
    """False: stores have no links."""
    return False

  def stat(self, **_: Any) -> os.stat_result:
    """Size and kind, as the system would say; the other fields are 0."""
    entry = object_store.describe(self)
    if entry is None:
      raise FileNotFoundError(2, 'no such object', str(self))
    is_file = _kind(entry) == 'file'
    mode = stat.S_IFREG if is_file else stat.S_IFDIR
    size = int(entry.get('size') or 0)
    return os.stat_result((mode, 0, 0, 0, 0, 0, size, 0, 0, 0))

  def open(self, mode: str = 'r', **_: Any) -> Any:
    """The whole object, in memory; one to write appears when it is closed."""
    if mode in ('w', 'wb'):
      upload = _Upload(self)
      return upload if mode == 'wb' else _TextUpload(upload)
    if mode not in ('r', 'rb'):
      raise ValueError(f'got mode {mode!r} for {self}; expected r, rb, w or wb')
    data = self.read_bytes()
    return io.BytesIO(data) if mode == 'rb' else io.StringIO(data.decode())

  def read_bytes(self) -> bytes:
    """The bytes of the object."""
    return object_store.read(self)

  def read_text(
    self, encoding: str | None = None, errors: str | None = None
  ) -> str:
    """The text of the object."""
    return self.read_bytes().decode(encoding or 'utf-8', errors or 'strict')

  def write_bytes(self, data: bytes) -> int:
    """Writes the object; it appears when it is complete."""
    object_store.write(self, bytes(data))
    return len(data)

  def write_text(
    self, data: str, encoding: str | None = None, errors: str | None = None
  ) -> int:
    """Writes the object, as UTF-8."""
    return self.write_bytes(
      data.encode(encoding or 'utf-8', errors or 'strict')
    )

  def iterdir(self) -> Iterator[Self]:
    """What the folder holds; FileNotFoundError if there is none."""
    names = object_store.entries(self)
    if not names:
      raise FileNotFoundError(2, 'no such folder', str(self))
    return iter([self / name for name in sorted(names)])

  def glob(self, pattern: str) -> Iterator[Self]:
    """What matches a pattern below this folder, sorted."""
    found = object_store.glob(self, pattern)
    return iter([self._new(address) for address in found])

  def mkdir(self, *_: Any, **__: Any) -> None:
    """Does nothing: a folder is there with its first object."""

  def unlink(self, missing_ok: bool = False) -> None:
    """Deletes the object."""
    try:
      object_store.remove(self)
    except FileNotFoundError:
      if not missing_ok:
        raise

  def rmtree(self, missing_ok: bool = False) -> None:
    """Deletes all that the folder holds."""
    try:
      object_store.remove(self, folder=True)
    except FileNotFoundError:
      if not missing_ok:
        raise

  def rename(self, target: Any) -> Self:
    """Copies, then deletes: not at one moment, as a disk does."""
    object_store.move(self, target)
    return self._new(target)

  replace = rename

  def absolute(self) -> Self:
    """This path."""
    return self

  def resolve(self, strict: bool = False) -> Self:
    """This path."""
    return self

  def expanduser(self) -> Self:
    """This path."""
    return self

  def is_absolute(self) -> bool:
    """True."""
    return True


class _Upload(io.BytesIO):
  """What becomes an object when it is closed, unless its block raises."""

  def __init__(self, path: StorePath):
    super().__init__()
    self._path = path
    self.is_whole = True

  def close(self) -> None:
    if not self.closed:
      data = self.getvalue()
      super().close()
      if self.is_whole:
        self._path.write_bytes(data)

  def __exit__(self, kind: Any, *_: Any) -> None:
    self.is_whole = kind is None
    self.close()


class _TextUpload(io.TextIOWrapper):
  """As `_Upload`, of text in UTF-8."""

  def __init__(self, upload: _Upload):
    super().__init__(upload, encoding='utf-8', newline='')
    self._upload = upload

  def __exit__(self, kind: Any, *_: Any) -> None:
    self._upload.is_whole = kind is None
    self.close()


def _kind(entry: dict[str, Any] | None) -> str:
  return '' if entry is None else str(entry['type'])
