"""Runs jobs in the order that they need each other, some at a time.

  failed = schedule.run_all(todo, report, parallel=2)

With `parallel` above 1 every job is a process of its own, which gets an equal
share of this machine's CPUs: small models gain more from a core each than from
all cores in turn.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from . import jobs
from .jobs import Job, Progress


def in_order(todo: Iterable[Job]) -> list[Job]:
  """The jobs and all that they need, each once, what is needed first."""
  ordered: dict[str, Job] = {}
  for job in todo:
    for each in _with_needs(job):
      ordered.setdefault(each.name, each)
  return list(ordered.values())


def _with_needs(job: Job) -> Iterator[Job]:
  for other in job.needs():
    yield from _with_needs(other)
  yield job


def run_all(
  todo: Sequence[Job], progress: Progress, *, parallel: int = 1
) -> list[str]:
  """Runs what is not finished; returns the names of jobs that failed.

  A job that needs a failed one is not begun.
  """
  ordered = in_order(todo)
  waiting = [job for job in ordered if job.result() is None]
  for name in sorted({job.set for job in waiting if job.set}):
    jobs.make_records(waiting[0].workdir, name, progress)
  if parallel == 1:
    for i, job in enumerate(waiting):
      progress(i, len(waiting), '')
      job.run(progress)
    return []
  return _run_processes(waiting, progress, parallel)


def _run_processes(
  waiting: list[Job], progress: Progress, parallel: int
) -> list[str]:
  total, done = len(waiting), 0
  failed: list[str] = []
  running: dict[str, tuple[Job, subprocess.Popen, list[int]]] = {}
  free = _cpu_shares(parallel)
  before = signal.signal(signal.SIGTERM, _stop)
  try:
    while waiting or running:
      unmet = {job.name for job in waiting} | set(running) | set(failed)
      for job in list(waiting):
        needs = {other.name for other in job.needs()}
        if needs & set(failed):
          waiting.remove(job)
          failed.append(job.name)
        elif free and not needs & unmet:
          waiting.remove(job)
          cpus = free.pop()
          running[job.name] = (job, _start(job, cpus), cpus)
          progress(done, total, f'{job.name} begins')
      for name, (job, process, cpus) in list(running.items()):
        try:
          code = process.wait(timeout=1.0 / len(running))
        except subprocess.TimeoutExpired:
          continue
        del running[name]
        free.append(cpus)
        done += 1
        if code:
          failed.append(name)
          log = job.folder / 'log.txt'
          progress(done, total, f'{name} ended with code {code}, see {log}')
        else:
          progress(done, total, f'{name}: {in_words(job.result())}')
  finally:
    for _, process, _ in running.values():
      process.terminate()  # saves, and the same command goes on
    for _, process, _ in running.values():
      process.wait()
    signal.signal(signal.SIGTERM, before)
  return failed


def _stop(*_: Any) -> NoReturn:
  raise jobs.PreemptedError('a signal to end')


def _cpu_shares(parallel: int) -> list[list[int]]:
  """This process' CPUs in equal shares; empty shares where that is unknown."""
  if not hasattr(os, 'sched_getaffinity'):
    return [[] for _ in range(parallel)]
  cpus = sorted(os.sched_getaffinity(0))
  return [cpus[i::parallel] or cpus for i in range(parallel)]


def _start(job: Job, cpus: list[int]) -> subprocess.Popen:
  """Starts a job as a process that writes to its folder's log.txt."""
  argv = [
    *(sys.executable, '-m', f'{__package__}.run', job.table.name),
    *('--row', job.row.name, f'--scale={job.scale}'),
    *(f'--first-seed={job.seed}', f'--workdir={job.workdir}'),
    *(f'--steps={job.steps}', f'--records={job.records}'),
    *(f'--start={kind}={file}' for kind, file in job.starts.items()),
  ]
  if job.set:
    argv.append(f'--set={job.set}')
  job.folder.mkdir(parents=True, exist_ok=True)

  def share_cpus() -> None:
    if cpus:
      os.sched_setaffinity(0, cpus)

  with (job.folder / 'log.txt').open('ab') as log:
    log.write(f'{shlex.join(argv)}\n'.encode())
    log.flush()
    return subprocess.Popen(argv, stdout=log, stderr=log, preexec_fn=share_cpus)


def in_words(result: Mapping[str, Any] | None) -> str:
  """A result's figures on one line, and the paper's beside them."""
  if result is None:
    return 'not run'
  printed = result['printed']
  parts = [
    f'{name} {value:.1f}'
    + (f' (paper {printed[name]:g})' if name in printed else '')
    for name, value in result['metrics'].items()
  ]
  where = ' at tiny scale' if result['scale'] == 'tiny' else ''
  return (
    f'{", ".join(parts)} of {result["videos"]} of {result["listed"]} '
    f'videos{where}, {result["seconds"]:.0f} s'
  )
