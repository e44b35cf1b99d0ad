"""The process that is at work in a workdir, and whether it still is.

  write(run_holder.this_process())       what a lock says of its holder
  run_holder.find_state(read())          'alive', 'dead' or 'unknown'

A number of a process alone does not tell: containers have processes of equal
numbers, the system gives a number again, and one that was killed keeps its
number until its parent looks, which in a container may be never.
"""

import functools
import os
import pathlib
import socket
import time
from typing import Any, Literal

import psutil

from vidmodels.typing import quote

_SAME_START_S = 2.0  # the system says when it was booted in whole seconds


def this_process() -> dict[str, Any]:
  """What others need to know of this process."""
  return {
    'host': socket.gethostname(),
    'machine': _machine(),
    'process': os.getpid(),
    'started': started(psutil.Process()),
    'since': time.strftime('%Y-%m-%d %H:%M:%S'),
  }


def find_state(holder: dict[str, Any]) -> Literal['alive', 'dead', 'unknown']:
  """Whether a process is at work still; of another machine nobody knows.

  `holder` is what a file says, which anybody may have edited.
  """
  if holder.get('machine') != _machine():
    return 'unknown'
  number, since_boot = holder.get('process'), holder.get('started')
  if not isinstance(number, int) or not isinstance(since_boot, float):
    return 'dead'
  try:
    process = psutil.Process(number)
    if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
      return 'dead'
    same = abs(started(process) - since_boot) < _SAME_START_S
  except (psutil.NoSuchProcess, ValueError):
    return 'dead'
  except psutil.AccessDenied:
    return 'unknown'
  return 'alive' if same else 'dead'


def started(process: psutil.Process) -> float:
  """Seconds from the boot to the start: setting the clock moves both."""
  return process.create_time() - psutil.boot_time()


def describe(holder: dict[str, Any]) -> str:
  """'process 7 on host, since ...', or 'last seen ...' if it says when."""
  when, word = ('seen', 'last seen') if 'seen' in holder else ('since', 'since')
  process, host, at = (
    quote(str(holder.get(key, '?'))[:80]) for key in ('process', 'host', when)
  )
  return f'process {process} on {host}, {word} {at}'


def describe_death(holder: dict[str, Any]) -> str:
  """What a run says that finds the mark of one which did not end by itself."""
  return (
    f'the last run here ({describe(holder)}) did not end by itself: it was '
    'killed, or its machine failed; this one takes over'
  )


@functools.cache
def _machine() -> str:
  """A name for whatever numbers its processes once: a boot and a container."""
  try:
    boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    return f'{boot} {os.readlink("/proc/self/ns/pid")}'
  except OSError:  # not Linux
    return f'{socket.gethostname()} {psutil.boot_time():.0f}'
