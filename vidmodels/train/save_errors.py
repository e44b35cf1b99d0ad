"""Turns a failed save into one message: what was not saved, and what to do.

  with explain_save_errors('checkpoint 4', completed=checkpoints.steps):
    manager.save(...)

Orbax writes the parts of a checkpoint in its own threads. Each thread logs that
it failed, and tensorstore's threads print that nobody waits for them: 60
tracebacks for one full disk. `hold_back_tracebacks` keeps them back while a
command trains, and shows them after all if the command ends in another way.
"""

import contextlib
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vidmodels import object_store

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# A ValueError of tensorstore: the status, what failed, the system's number.
_STATUS = re.compile(r'[A-Z]+(_[A-Z]+)*: ')
_COLLECTIVE = re.compile(r'\bGloo\b|NCCL')  # another process is gone
_SYSTEM_NUMBER = re.compile(r"os_error_code='(\d+)'")
_LOGGERS = ('absl', 'asyncio')  # of orbax and its event loops


class SaveError(OSError):
  """Something that the run had to save is not on disk; the run has stopped."""


def is_disk_error(error: BaseException | None) -> bool:
  """Whether saving failed for lack of space or rights, or because of the disk.

  A SaveError is not: it has been explained already.
  """
  if error is None or isinstance(error, SaveError):
    return False
  if isinstance(error, OSError | object_store.StoreError):
    return True
  if isinstance(error, object_store.StoreRefusal):  # a ValueError too
    return True
  if isinstance(error, ValueError):
    text = str(error)
    return bool(_STATUS.match(text)) and not _COLLECTIVE.search(text)
  return object_store.find_fault(error) is not None


@contextlib.contextmanager
def explain_save_errors(
  saving: str, completed: Callable[[], Sequence[int]]
) -> Iterator[None]:
  """Raises a SaveError for a disk error in this context; others pass unchanged.

  `saving` says what is saved, e.g. 'checkpoint 4 of runs/first'; `completed`
  returns the steps of the complete checkpoints, rising.
  """
  try:
    yield
  except Exception as error:
    if not is_disk_error(error):
      raise
    raise SaveError(_message(saving, error, completed())) from error


def _message(saving: str, error: Exception, completed: Sequence[int]) -> str:
  number = error.errno if isinstance(error, OSError) else 0
  match = _SYSTEM_NUMBER.search(str(error))
  if match:
    number = int(match[1])
  reason = os.strerror(number) if number else str(error).splitlines()[0][:400]
  if number in _DISK_FULL:
    reason, move = f'the disk is full ({reason})', 'make room'
  else:
    move = 'fix that'
  on_disk, resume = 'there is no complete checkpoint yet', 'starts anew'
  if completed:
    on_disk = f'checkpoint {completed[-1]} is the last complete one'
    resume = 'resumes from there'
  return (
    f'{saving} could not be saved: {reason}; {on_disk}; {move} and give the '
    f'same command again, it {resume}'
  )


@contextlib.contextmanager
def hold_back_tracebacks() -> Iterator[None]:
  """Holds back the log of failed saves, so that a SaveError alone explains.

  After a SaveError, or what a store refused, this lasts until the process ends,
  because threads go on and log later than the command. In any other case,
  everything that was held back is shown at the end. Only disk errors are held
  back, and, from threads outside Python, the errors that say that their event
  loop is closed.
  """
  messages = _HeldMessages()
  try:
    yield
  except (SaveError, object_store.StoreError, object_store.StoreRefusal):
    raise
  except BaseException:
    messages.show()
    raise
  messages.show()


class _HeldMessages(logging.Filter):
  """Holds back messages from now on, and keeps them in order."""

  def __init__(self) -> None:
    super().__init__()
    self._replays: list[Callable[[], object]] = []  # each shows one message
    self._old_hook = sys.unraisablehook
    for name in _LOGGERS:
      logging.getLogger(name).addFilter(self)
    sys.unraisablehook = self._hook

  def filter(self, record: logging.LogRecord) -> bool:
    """Returns False for a failed save, which hides the record."""
    if not (record.exc_info and is_disk_error(record.exc_info[1])):
      return True
    logger = logging.getLogger(record.name)
    self._replays.append(lambda: logger.handle(record))
    return False

  def _hook(self, unraisable: Any) -> None:
    """Takes an error of a thread outside Python."""
    if str(unraisable.exc_value) == 'Event loop is closed':
      self._replays.append(lambda: self._old_hook(unraisable))
    else:
      self._old_hook(unraisable)

  def show(self) -> None:
    """Stops holding back, and shows everything."""
    sys.unraisablehook = self._old_hook
    for name in _LOGGERS:
      logging.getLogger(name).removeFilter(self)
    for replay in self._replays:
      replay()
