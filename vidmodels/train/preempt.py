"""SIGTERM: finish the step, save, leave with exit code 42.

With several processes orbax and the coordination service agree on the step at
which all of them stop. A single process gets a flag of our own, because
without `jax.distributed` the signal would kill it unsaved.
"""

import signal
import threading

import jax

from vidmodels.train.checkpoint import Checkpoints


class Preemption:
  """Context in which SIGTERM is noted; ask `reached` after every step."""

  def __init__(self, checkpoints: Checkpoints) -> None:
    self._checkpoints = checkpoints
    self._flag = threading.Event()
    self._before = None

  def __enter__(self) -> 'Preemption':
    ours = threading.current_thread() is threading.main_thread()
    if ours and not jax.distributed.is_initialized():
      self._before = signal.signal(signal.SIGTERM, lambda *_: self._flag.set())
    return self

  def __exit__(self, *_) -> None:
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)

  def reached(self, step: int) -> bool:
    """Whether to save and stop after `step`; every process must ask it."""
    if jax.distributed.is_initialized():
      return self._checkpoints.reached_preemption(step)
    return self._flag.is_set()
