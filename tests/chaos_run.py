"""`vidmodels train` that notes the examples of each step, and takes its time.

  python tests/chaos_run.py NOTES SECONDS train --config=demo ...

NOTES gets a line for each batch that a step was given, {"step": 3, "index":
[...]}, of this process, and one as each validation begins. Each step takes
SECONDS more, or a run would have ended before it could be killed.
"""

import json
import pathlib
import sys
import time

from vidmodels import __main__ as command_line
from vidmodels.cli import train


class Noted:
  """Batches that are noted as they are handed out."""

  def __init__(self, batches, start: int, note, seconds: float):
    self._batches, self._step = batches, start
    self._note, self._seconds = note, seconds

  def __iter__(self):
    return self

  def __next__(self):
    batch = next(self._batches)
    self._step += 1
    self._note({'step': self._step, 'index': batch['index'].tolist()})
    time.sleep(self._seconds)
    return batch

  def close(self) -> None:
    self._batches.close()


def watch(notes: pathlib.Path, seconds: float) -> None:
  """Changes the loop, so that it notes what it does."""
  from vidmodels.train import loop

  batches, validate = loop.Loop._batches, loop.Loop._validate

  def note(line: dict) -> None:
    with notes.open('a') as file:
      file.write(json.dumps(line) + '\n')

  def noted_batches(self, start):
    return Noted(batches(self, start), start, note, seconds)

  def noted_validation(self, log, state, step, notice):
    note({'validation': step})
    return validate(self, log, state, step, notice)

  loop.Loop._batches = noted_batches
  loop.Loop._validate = noted_validation


def main() -> None:
  notes, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
  sys.argv[:3] = ['vidmodels']
  run = train._run

  def noted_run(args):
    watch(notes, seconds)  # here, for the command's own handlers are in place
    return run(args)

  train._run = noted_run
  command_line.main()


if __name__ == '__main__':
  main()
