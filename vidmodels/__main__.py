"""`vidmodels`, and `python -m vidmodels`."""

import os
import signal
from typing import Any, NoReturn


def main() -> NoReturn:
  """Runs a command as the whole of a process.

  Ctrl-C is handled before the imports, which take a second, and twenty on a
  slow disk.
  """
  signal.signal(signal.SIGINT, _stop)
  from vidmodels.cli import run_and_exit

  run_and_exit()


def _stop(*_: Any) -> NoReturn:
  os.write(2, b'vidmodels: stopped by the keyboard\n')
  os._exit(130)


if __name__ == '__main__':
  main()
