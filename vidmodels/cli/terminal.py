"""Progress: a bar on a terminal, plain lines elsewhere, all on stderr."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeRemainingColumn,
)

QUIET_SECONDS = 10.0  # between plain lines that only count


class Reporter:
  """A context whose instances are called with (done, total, line).

  A line that is not empty is printed; counting alone moves the bar, or prints
  a line every ten seconds where there is no terminal.
  """

  def __init__(self, title: str) -> None:
    self._title = title
    self._console = Console(stderr=True, highlight=False, soft_wrap=True)
    self._bar: Progress | None = None
    self._last = time.monotonic()

  def __enter__(self) -> 'Reporter':
    if self._console.is_terminal:
      self._bar = Progress(
        TextColumn(self._title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=self._console,
        transient=True,
      )
      self._task = self._bar.add_task(self._title, total=None)
      self._bar.start()
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    if self._bar:
      self._bar.stop()

  def __call__(self, done: int, total: int, line: str = '') -> None:
    """Reports that `done` of `total` are done; total 0 means unknown."""
    if self._bar:
      self._bar.update(self._task, completed=done, total=total or None)
      if line:
        self._bar.print(line, markup=False)
      return
    if line:
      print(f'{self._title}: {line}', file=sys.stderr, flush=True)
    elif time.monotonic() - self._last > QUIET_SECONDS:
      print(f'{self._title}: {done}/{total}', file=sys.stderr, flush=True)
    else:
      return
    self._last = time.monotonic()


def only_lines(report: Reporter, prefix: str):
  """A progress call that prints the notes that start so and counts the rest.

  Data commands name every video they are at; only what went wrong is worth a
  line.
  """

  def progress(done: int, total: int, note: str) -> None:
    report(done, total, note if note.startswith(prefix) else '')

  return progress
