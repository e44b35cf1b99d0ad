"""One run at a time in a workdir, and none in a folder of something else.

  with workdir_lock.hold(workdir): ...  # InputError if another run is there

Two runs would write their steps between each other's. The system lets go of the
lock when its process ends, however it ends; the file stays, and says who had it
last. On a disk without locks (some network disks) the file itself is the lock;
in an object store, `workdir_lease`.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from vidmodels import files, object_store
from vidmodels.data.listing.rows import VIDEO_SUFFIXES
from vidmodels.data.records.record_set import list_splits
from vidmodels.files import output_folder
from vidmodels.train import run_holder, workdir_lease
from vidmodels.typing import AnyPath, InputError

FILE = 'run.lock'
# What a folder may hold before the first run: notes and the shell's logs.
_NOTES = frozenset(
  {'', '.txt', '.log', '.out', '.err', '.md', '.sh', '.py', '.json', '.yaml'}
)
_OURS = ('checkpoints', 'config.json', 'metrics.jsonl', 'evaluation', FILE)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def hold(
  workdir: AnyPath, say: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
  """Makes the folder and holds its lock.

  `say` is told when the last run was killed, and when the disk has no locks.
  Raises InputError if another run holds it, or the folder is not a workdir.
  """
  folder = files.place(workdir)
  if object_store.in_store(folder):
    object_store.check_bucket(folder)
    check_folder(folder)
    with workdir_lease.hold(output_folder(folder), say):
      yield
    return
  check_folder(folder)
  path = output_folder(folder) / FILE
  # Not 'w': what is in it tells who holds the lock.
  with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), 'r+') as file:
    locked, last = _lock(file, path), _read(file)
    if not locked:
      say(
        f'the disk of {folder} has no locks: {FILE} alone keeps a second run '
        'away, and not one that starts at the same moment'
      )
    if last:
      say(run_holder.describe_death(last))
    _write(file, run_holder.this_process())
    try:
      yield
    finally:
      _write(file, {})


def check_folder(folder: pathlib.Path) -> None:
  """Refuses a folder with records, videos or anything else of others."""
  if not folder.exists() or any((folder / name).exists() for name in _OURS):
    return
  splits = list_splits(folder)
  entries = sorted(folder.iterdir())
  videos = [path for path in entries if path.suffix.lower() in VIDEO_SUFFIXES]
  others = [
    path
    for path in entries
    if not path.name.startswith('.')
    and (path.is_dir() or path.suffix.lower() not in _NOTES)
  ]
  if splits:
    content = f'the records of {", ".join(splits)}'
  elif videos:
    content = f'videos such as {videos[0].name!r}'
  elif others:
    content = f'{others[0].name!r} and no run'
  else:
    return
  raise InputError(
    f'got --workdir {folder}, which holds {content}; expected a new folder, or '
    'that of a run; try a folder of its own, such as runs/first'
  )


def _lock(file: TextIO, path: pathlib.Path) -> bool:
  """Takes the lock, or raises InputError that says who has it.

  Returns whether the disk has locks.
  """
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True
  except OSError as error:
    holder = _read(file)
    advice = 'try another --workdir, or stop that run first'
    if error.errno in _NO_LOCKS:  # the disk has no locks
      if not holder or run_holder.find_state(holder) == 'dead':
        return False
      advice += f'; if that process is gone, delete {path}'
    elif error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
      raise
    raise InputError(
      f'got {path.parent} as the workdir, where another run is at work '
      f'({run_holder.describe(holder)}); expected one run at a time; {advice}'
    ) from error


def _read(file: TextIO) -> dict[str, Any]:
  file.seek(0)
  try:
    value = json.loads(file.read(1000))
  except ValueError:
    return {}
  return value if isinstance(value, dict) else {}


def _write(file: TextIO, value: dict[str, Any]) -> None:
  file.seek(0)
  file.truncate()
  json.dump(value, file)
  file.flush()
