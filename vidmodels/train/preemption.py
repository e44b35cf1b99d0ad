"""Notices that a run has to end soon, and how its loop learns of them.

  with Preemption(say) as preemption:
    for step in steps:
      ...
      if preemption.reached(step): save and stop

A notice is SIGTERM, Ctrl-C, SIGUSR1 (SLURM's early signal, `--signal=USR1@120`)
or, on a Google Cloud machine, its metadata server: Compute Engine announces
there that it will take a spot machine, or stop one for maintenance, as it does
with all TPU machines. The loop then saves within a step, and the command exits
with code 42.
"""

import itertools
import os
import pathlib
import signal
import threading
import urllib.request
from collections.abc import Callable
from typing import Any, Self

import jax
from jax.experimental import multihost_utils

# Google's libraries read the same variable.
_METADATA_HOST = 'GCE_METADATA_HOST'
_PRODUCT = pathlib.Path('/sys/class/dmi/id/product_name')
_NOTICES = ('preempted', 'maintenance-event')
_NO_NOTICES = ('', 'NONE', 'FALSE')
_POLL_SECONDS = 5.0  # a spot machine has 30 s from its notice on
_asked = itertools.count(1)  # how often, since the start of the process


class Preemption:
  """A context that takes notices; the loop asks `reached` after each step.

  A second Ctrl-C ends the process at once, with code 130, even while XLA
  compiles: a thread of its own sees it. What is on disk stays whole.

  With several processes the coordination service of JAX agrees on the step at
  which all of them stop, after a notice to any of them: it counts how often
  each has asked. A single process sets a flag here, because without
  `jax.distributed` the signal would kill it before it saves.
  """

  def __init__(self, say: Callable[[str], None]) -> None:
    self._say = say  # tells the user
    self._flag = threading.Event()
    self._handlers: dict[int, Any] = {}  # those that were there before
    self._left = threading.Event()

  def __enter__(self) -> Self:
    if threading.current_thread() is not threading.main_thread():
      return self
    set_flag: Any = lambda *_: self._flag.set()
    stop_all: Any = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    handlers = dict.fromkeys((signal.SIGINT, signal.SIGUSR1), stop_all)
    if not jax.distributed.is_initialized():
      numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
      handlers = dict.fromkeys(numbers, set_flag)
    self._handlers = {s: signal.signal(s, h) for s, h in handlers.items()}
    self._read_fd, self._write_fd = os.pipe()
    os.set_blocking(self._write_fd, False)
    self._old_fd = signal.set_wakeup_fd(
      self._write_fd, warn_on_full_buffer=False
    )
    self._watcher = threading.Thread(target=self._watch, daemon=True)
    self._watcher.start()
    if address := metadata_address():
      threading.Thread(
        target=self._ask_machine, args=(address,), daemon=True
      ).start()
    return self

  def __exit__(self, *_) -> None:
    self._left.set()
    if not self._handlers:
      return
    signal.set_wakeup_fd(self._old_fd)
    for number, handler in self._handlers.items():
      signal.signal(number, handler)
    os.close(self._write_fd)  # ends the watcher
    self._watcher.join()
    os.close(self._read_fd)

  def _watch(self) -> None:
    """Reads the number of each signal that arrives, until the pipe is closed.

    Python runs handlers between two lines of Python alone; this runs at once.
    """
    pressed = False
    while numbers := os.read(self._read_fd, 1):
      if numbers[0] != signal.SIGINT:
        continue
      if pressed:
        self._say('stopped at once; the last checkpoint is whole')
        os._exit(128 + signal.SIGINT)
      pressed = True
      self._say(
        'Ctrl-C: the run will save after this step and stop; press it again to '
        'stop at once, without saving'
      )

  def _ask_machine(self, address: str) -> None:
    """Asks the metadata server every few seconds; a notice is a SIGTERM."""
    while not self._left.wait(_POLL_SECONDS):
      if notice := machine_notice(address):
        self._say(f'the machine announces {notice}: saving after this step')
        os.kill(os.getpid(), signal.SIGTERM)
        return

  def reached(self, step: int) -> bool:
    """Whether to save `step` and stop; every process must ask equally often.

    The loop asks after each step, and after each batch of a validation.
    """
    # JAX stops all at the number after the highest that any has given. Steps
    # would not do: of a run that goes on at step 500 with a notice before its
    # first step, that number is 1, and never comes.
    del step
    if not jax.distributed.is_initialized():
      return self._flag.is_set()
    try:
      return multihost_utils.reached_preemption_sync_point(next(_asked))
    except RuntimeError:  # the user has switched JAX's service off
      return False


def metadata_address() -> str:
  """The metadata server of a Google Cloud machine; '' on another machine."""
  if host := os.environ.get(_METADATA_HOST, ''):
    return host
  try:
    product = _PRODUCT.read_text()
  except OSError:
    return ''
  return 'metadata.google.internal' if 'Google' in product else ''


def machine_notice(address: str) -> str:
  """What the machine announces, such as 'preempted TRUE'; '' for nothing.

  A server that does not answer announces nothing.
  """
  for name in _NOTICES:
    request = urllib.request.Request(
      f'http://{address}/computeMetadata/v1/instance/{name}',
      headers={'Metadata-Flavor': 'Google'},
    )
    try:
      with urllib.request.urlopen(request, timeout=_POLL_SECONDS) as answer:
        value = answer.read(100).decode(errors='replace').strip()
    except OSError:
      continue
    if value not in _NO_NOTICES:
      return f'{name} {value}'
  return ''
