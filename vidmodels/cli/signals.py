"""How a command ends when a signal asks it to: Ctrl-C, SIGTERM, SIGUSR1.

  signals.heed_ctrl_c()                   # KeyboardInterrupt, then code 130
  with signals.stops_the_start(42, say):  # SIGTERM: StoppedEarlyError
    ...

A handler of Python may raise wherever Python code runs, also inside a library
that is being imported. One of C++ does not expect that: its import ended with
an ImportError (code 1), or in the middle of its memory (SIGSEGV). So a signal
that comes while anything is imported ends the process at once.

Nothing here imports JAX, so the handlers are there before that begins.
"""

import contextlib
import math
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

INTERRUPTED = 130
_LAST_WORDS_S = 10.0  # for a command to clean up after a signal
# JAX takes SIGTERM a moment after it has joined, or never, if its user has
# switched that off: a notice is given again so often, for so long.
_AGAIN_S, _TAKEN_S = 0.1, 10.0


class StoppedEarlyError(BaseException):
  """A notice came before the first step; not an Exception, as Ctrl-C is not."""


def heed_ctrl_c() -> None:
  """From now on Ctrl-C raises KeyboardInterrupt, and ends the process.

  The command may clean up. Where Python swallows the error, as in a callback
  that JAX has for each collection of garbage, a timer ends the process after
  ten seconds; so does a second Ctrl-C at once.
  """
  signal.signal(signal.SIGINT, _interrupt)


def exit_interrupted(*_: Any) -> NoReturn:
  """Ends the process with code 130, whatever its threads are doing."""
  print('vidmodels: stopped by the keyboard', file=sys.stderr, flush=True)
  os._exit(INTERRUPTED)


def _interrupt(_: int, frame: types.FrameType | None) -> None:
  if is_importing(frame):
    exit_interrupted()
  _exit_later(exit_interrupted)
  signal.signal(signal.SIGINT, exit_interrupted)  # a second time
  raise KeyboardInterrupt


def is_importing(frame: types.FrameType | None) -> bool:
  """Whether what a signal has interrupted is part of an import."""
  while frame is not None:
    if frame.f_globals.get('__name__') == 'importlib._bootstrap':
      return True
    frame = frame.f_back
  return False


@contextlib.contextmanager
def stops_the_start(code: int, say: Callable[[], Any]) -> Iterator[None]:
  """A context in which a notice raises `StoppedEarlyError`: nothing is lost.

  The process ends with `code` if it is busy elsewhere for ten seconds, and at
  once, after `say()`, if it imports something. Inside `Preemption` the loop
  takes over. Once the processes of a run have joined, JAX takes SIGTERM, and
  all of them stop at the same step.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return

  watchdogs: list[threading.Timer] = []
  untaken = math.inf  # since when SIGTERM comes here and not to JAX

  def stop(number: int, frame: types.FrameType | None) -> None:
    nonlocal untaken
    if number == signal.SIGTERM:
      untaken = min(untaken, time.monotonic())
    if _has_joined() and time.monotonic() - untaken < _TAKEN_S:
      # Not at once: if JAX has not taken SIGTERM yet, it comes back here.
      again = lambda: os.kill(os.getpid(), signal.SIGTERM)
      watchdogs.append(_call_later(_AGAIN_S, again))
      return
    if is_importing(frame):
      say()
      sys.stdout.flush()
      os._exit(code)
    watchdogs.append(_exit_later(lambda: os._exit(code)))
    raise StoppedEarlyError

  numbers = (signal.SIGTERM, signal.SIGUSR1)
  before = {number: signal.signal(number, stop) for number in numbers}
  try:
    yield
  finally:
    for watchdog in watchdogs:
      watchdog.cancel()
    for number, handler in before.items():
      signal.signal(number, handler)


def _has_joined() -> bool:
  """Whether JAX has joined the other processes of a run."""
  # It may be half imported.
  distributed = getattr(sys.modules.get('jax'), 'distributed', None)
  return getattr(distributed, 'is_initialized', bool)()


def _exit_later(end: Callable[[], Any]) -> threading.Timer:
  """Starts the timer that ends the process, unless it has ended before."""
  return _call_later(_LAST_WORDS_S, end)


def _call_later(seconds: float, what: Callable[[], Any]) -> threading.Timer:
  timer = threading.Timer(seconds, what)
  timer.daemon = True
  timer.start()
  return timer
