"""A full disk as one message: what was not saved, what is, the next move.

Orbax writes the parts of a checkpoint in threads of its own. Each of them
logs that it failed, and tensorstore's threads print that nobody waits for
them: 60 tracebacks for one full disk. `one_voice` holds these back while a
command trains, and shows them after all if the command ends otherwise.
"""

import contextlib
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence

_FULL = (errno.ENOSPC, errno.EDQUOT)
# A ValueError of tensorstore: the status, what failed, the system's number.
_STATUS = re.compile(r'[A-Z]+(_[A-Z]+)*: ')
_NUMBER = re.compile(r"os_error_code='(\d+)'")
_LOGGERS = ('absl', 'asyncio')  # orbax and its event loops


class SaveError(OSError):
  """What the run had to save is not on disk; the run has stopped."""


def is_disk_error(error: BaseException | None) -> bool:
  """Whether saving failed for want of space, rights or the disk itself."""
  if isinstance(error, SaveError):
    return False  # it was told
  if isinstance(error, ValueError):
    return bool(_STATUS.match(str(error)))
  return isinstance(error, OSError)


@contextlib.contextmanager
def explain_save_errors(
  what: str, whole: Callable[[], Sequence[int]]
) -> Iterator[None]:
  """Tells of a save that fails in this context.

  Args:
    what: is to be saved.
    whole: returns the steps of the checkpoints that are complete, rising.

  Raises:
    SaveError: for an error that is `of_disk`; others pass as they are.
  """
  try:
    yield
  except Exception as error:
    if not is_disk_error(error):
      raise
    raise SaveError(_message(what, error, whole())) from error


def _message(what: str, error: Exception, whole: Sequence[int]) -> str:
  """What was not saved and why, what is on disk, and the next move."""
  number, reason = _reason(error)
  if number in _FULL:
    reason, move = f'the disk is full ({reason})', 'make room'
  else:
    move = 'mend that'
  last, onward = 'there is no whole checkpoint yet', 'starts anew'
  if whole:
    last = f'checkpoint {whole[-1]} is the last whole one'
    onward = 'goes on from there'
  return (
    f'{what} could not be saved: {reason}; {last}; {move} and give the same '
    f'command again, it {onward}'
  )


def _reason(error: Exception) -> tuple[int, str]:
  """The system's number of an error, 0 if unknown, and its words."""
  number = error.errno if isinstance(error, OSError) else 0
  found = _NUMBER.search(str(error))
  if found:
    number = int(found[1])
  if number:
    return number, os.strerror(number)
  return 0, str(error).splitlines()[0][:200]


@contextlib.contextmanager
def hold_back_tracebacks() -> Iterator[None]:
  """Leaves it to a SaveError, should one come, to tell of a failed save.

  After a SaveError it lasts until the process ends, since threads go on and
  speak later than the command. On any other way out all is shown that was
  held back. Only errors `of_disk` are, and of threads outside Python those
  that say that the event loop which they would tell is closed.
  """
  held = _Held()
  held.start()
  try:
    yield
  except SaveError:
    raise
  except BaseException:
    held.show()
    raise
  else:
    held.show()


class _Held(logging.Filter):
  """What was held back, in order."""

  def __init__(self) -> None:
    super().__init__()
    self._said: list[Callable[[], None]] = []  # each says one of them
    self._others = sys.unraisablehook

  def start(self) -> None:
    """From now on."""
    for name in _LOGGERS:
      logging.getLogger(name).addFilter(self)
    sys.unraisablehook = self._hook

  def filter(self, record: logging.LogRecord) -> bool:
    """False for a failed save."""
    if not (record.exc_info and is_disk_error(record.exc_info[1])):
      return True
    logger = logging.getLogger(record.name)
    self._said.append(lambda: logger.handle(record))
    return False

  def _hook(self, unraisable) -> None:
    """What a thread outside Python could raise nowhere."""
    if str(unraisable.exc_value) == 'Event loop is closed':
      self._said.append(lambda: self._others(unraisable))
    else:
      self._others(unraisable)

  def show(self) -> None:
    """Ends it and shows all."""
    sys.unraisablehook = self._others
    for name in _LOGGERS:
      logging.getLogger(name).removeFilter(self)
    for say in self._said:
      say()
