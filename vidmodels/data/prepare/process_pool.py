"""Jobs over processes: progress, one CPU each, an end when the parent ends.

Processes are spawned, not forked: a fork of a program whose libraries have
threads can hang. So a script that calls this needs the usual
`if __name__ == '__main__':`.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, TypeVar

import cv2

from vidmodels.typing import InputError

# Called with units done, units in all, and what was done last.
Progress = Callable[[int, int, str], None]
_Job, _Result = TypeVar('_Job'), TypeVar('_Result')

_POLL_S = 0.1  # how often the parent looks at what its workers did
_tick: Callable[[str], None] = lambda note: None


class WorkerDied(RuntimeError):
  """A worker process ended in the middle of a job."""


class _Stopped(Exception):
  """Ends a job of a run that was given up."""


def tick(note: str) -> None:
  """Says, from inside a job, that one more unit of work is done."""
  _tick(note)


def count(workers: int, jobs: int) -> int:
  """Processes to use: one a CPU that we may use if `workers` is 0.

  Raises:
    InputError: if `workers` is negative.
  """
  if workers < 0:
    raise InputError(
      f'{workers} workers came; wanted 1 or more, 0 for one a CPU'
    )
  if not workers and hasattr(os, 'sched_getaffinity'):
    workers = len(os.sched_getaffinity(0))
  return max(1, min(workers or os.cpu_count() or 1, jobs))


def run(
  function: Callable[[_Job], _Result],
  jobs: Sequence[_Job],
  *,
  workers: int = 0,
  done: int = 0,
  total: int,
  progress: Progress | None = None,
) -> Iterator[_Result]:
  """Yields the jobs' results as they end, in any order.

  Args:
    function: importable by name; calls `tick` once a unit.
    jobs: what it is called with.
    workers: processes; 0 for one a CPU; with 1 all runs in this process.
    done: units that were done before.
    total: units in all, for `progress`.
    progress: called in this process, after every unit or a few.

  Raises:
    WorkerDied: if a worker dies (out of memory, a crash in a decoder).
  """
  progress = progress or (lambda done, total, note: None)
  workers = count(workers, len(jobs))
  if workers == 1:
    return _run_here(function, jobs, done, total, progress)
  return _run_there(function, jobs, workers, done, total, progress)


def _run_here(
  function: Callable[[_Job], _Result],
  jobs: Sequence[_Job],
  done: int,
  total: int,
  progress: Progress,
) -> Iterator[_Result]:
  global _tick

  def tick_here(note: str) -> None:
    nonlocal done
    done += 1
    progress(done, total, note)

  for job in jobs:
    before, _tick = _tick, tick_here
    try:
      result = function(job)
    finally:
      _tick = before
    yield result


def _run_there(
  function: Callable[[_Job], _Result],
  jobs: Sequence[_Job],
  workers: int,
  done: int,
  total: int,
  progress: Progress,
) -> Iterator[_Result]:
  context = multiprocessing.get_context('spawn')
  ticks, stop = context.SimpleQueue(), context.Event()
  pool = concurrent.futures.ProcessPoolExecutor(
    workers, mp_context=context, initializer=_start, initargs=(ticks, stop)
  )
  try:
    waiting = {pool.submit(function, job) for job in jobs}
    while waiting:
      ended, waiting = concurrent.futures.wait(
        waiting, _POLL_S, concurrent.futures.FIRST_COMPLETED
      )
      note = None
      while not ticks.empty():
        note, done = ticks.get(), done + 1
      if note is not None:
        progress(done, total, note)
      for future in ended:
        yield future.result()
  except BrokenProcessPool as e:
    raise WorkerDied(
      'a worker process died: out of memory, a crash in a library, or a '
      "script without `if __name__ == '__main__':`; run again with fewer "
      'workers (finished work is kept)'
    ) from e
  finally:
    stop.set()
    pool.shutdown(wait=True, cancel_futures=True)
    ticks.close()


def survives(function: Callable[..., Any], *args: Any) -> bool:
  """Whether a call in a process of its own ends, rather than crashes.

  An exception is an end. So is a process that the system killed, which says
  nothing of the call: it may have been the largest when memory ran out.
  """
  context = multiprocessing.get_context('spawn')
  process = context.Process(target=_quietly, args=(function, *args))
  process.start()
  process.join()
  return process.exitcode in (0, -signal.SIGKILL)


def _quietly(function: Callable[..., Any], *args: Any) -> None:
  threading.Thread(target=_leave_with_parent, daemon=True).start()
  with contextlib.suppress(Exception):
    function(*args)


def _start(ticks: Any, stop: Any) -> None:
  """Makes a fresh process a worker."""
  global _tick

  def tick_there(note: str) -> None:
    if stop.is_set():
      raise _Stopped
    ticks.put(note)

  _tick = tick_there
  cv2.setNumThreads(1)  # the processes already fill the CPUs
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
  threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
  # Else workers of a killed run go on, beside those of the run that follows.
  connection.wait([multiprocessing.parent_process().sentinel])
  os._exit(1)
