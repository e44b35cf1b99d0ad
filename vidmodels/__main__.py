"""`vidmodels`, and `python -m vidmodels`."""

import os
import signal
import sys
from typing import Any, NoReturn


def main() -> NoReturn:
  """Runs a command as the whole of a process.

  Ctrl-C is handled before the imports, which take a second, and twenty on a
  slow disk. So are the notices of an early end that `train` answers with 42,
  which tells a cluster to start it again.
  """
  signal.signal(signal.SIGINT, _stop)
  if sys.argv[1:2] == ['train']:
    for number in (signal.SIGTERM, signal.SIGUSR1):
      signal.signal(number, _stop_unborn)
  from vidmodels.cli import run_and_exit

  run_and_exit()


def _stop(*_: Any) -> NoReturn:
  os.write(2, b'vidmodels: stopped by the keyboard\n')
  os._exit(130)


def _stop_unborn(*_: Any) -> NoReturn:
  os.write(
    2, b'vidmodels train: preempted before its first step; nothing is lost\n'
  )
  os._exit(42)


if __name__ == '__main__':
  main()
