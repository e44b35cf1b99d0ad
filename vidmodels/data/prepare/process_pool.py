"""Runs jobs in processes, with progress; workers end with their parent.

  for result in process_pool.run_jobs(function, jobs, total=len(jobs)): ...

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

# Called with units done, units in all, and a note on the last unit.
Progress = Callable[[int, int, str], None]
_Job = TypeVar('_Job')
_Result = TypeVar('_Result')

_POLL_S = 0.1  # how often the parent collects the progress of its workers
_tick: Callable[[str], None] = lambda note: None


class WorkerDied(ChildProcessError, RuntimeError):
  """A worker process ended in the middle of a job."""


class _Stopped(Exception):
  """Ends a job whose run was given up."""


def tick(note: str) -> None:
  """Reports, from inside a job, that one more unit of work is done."""
  _tick(note)


def worker_count(workers: int, jobs: int) -> int:
  """Processes to use: one for each CPU available if `workers` is 0."""
  if workers < 0:
    raise InputError(
      f'got {workers} workers; expected 1 or more; try 0 for one a CPU'
    )
  if not workers and hasattr(os, 'sched_getaffinity'):
    workers = len(os.sched_getaffinity(0))
  return max(1, min(workers or os.cpu_count() or 1, jobs))


def run_jobs(
  function: Callable[[_Job], _Result],
  jobs: Sequence[_Job],
  *,
  workers: int = 0,
  done: int = 0,
  total: int,
  progress: Progress | None = None,
) -> Iterator[_Result]:
  """Yields the results of the jobs as they end, in any order.

  `function` is importable by name and calls `tick` once for each unit of work;
  there are `total` units, of which `done` were done before. 1 worker runs
  everything in this process; 0 stands for one a CPU. `progress` is called in
  this process after each unit. Raises WorkerDied if a worker dies (out of
  memory, a crash in a decoder).
  """
  global _tick
  workers = worker_count(workers, len(jobs))

  def report_unit(note: str) -> None:
    nonlocal done
    done += 1
    if progress is not None:
      progress(done, total, note)

  if workers == 1:
    for job in jobs:
      before, _tick = _tick, report_unit
      try:
        result = function(job)
      finally:
        _tick = before
      yield result
    return
  context = multiprocessing.get_context('spawn')
  notes, stop = context.SimpleQueue(), context.Event()
  pool = concurrent.futures.ProcessPoolExecutor(
    workers,
    mp_context=context,
    initializer=_start_worker,
    initargs=(notes, stop),
  )
  try:
    with _blocked_interrupts():  # workers start here, and inherit it
      waiting = {pool.submit(function, job) for job in jobs}
    while waiting:
      ended, waiting = concurrent.futures.wait(
        waiting, _POLL_S, concurrent.futures.FIRST_COMPLETED
      )
      while not notes.empty():
        report_unit(notes.get())
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
    notes.close()


@contextlib.contextmanager
def _blocked_interrupts() -> Iterator[None]:
  """Delays Ctrl-C; processes that start meanwhile never get it.

  The parent stops its workers. One that is interrupted while it still imports
  prints a traceback.
  """
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ends_normally(function: Callable[..., Any], *args: Any) -> bool:
  """Whether a call in its own process ends without a crash of the process.

  An exception is a normal end. So is a process that the system or the user
  killed, which does not blame the call: it may have been the largest when
  memory ran out. Nor does one that could not start, which exits with 1.
  """
  context = multiprocessing.get_context('spawn')
  process = context.Process(target=_call_alone, args=(function, *args))
  process.start()
  process.join()
  killed = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
  return process.exitcode in (0, 1, *(-number for number in killed))


def _call_alone(function: Callable[..., Any], *args: Any) -> None:
  threading.Thread(target=_exit_with_parent, daemon=True).start()
  with contextlib.suppress(Exception):
    function(*args)


def _start_worker(notes: Any, stop: Any) -> None:
  global _tick

  def send_note(note: str) -> None:
    if stop.is_set():
      raise _Stopped
    notes.put(note)

  _tick = send_note
  cv2.setNumThreads(1)  # the processes already fill the CPUs
  threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
  # Otherwise workers of a killed run would go on beside those of the next run.
  parent = multiprocessing.parent_process()
  if parent is not None:
    connection.wait([parent.sentinel])
    os._exit(1)
