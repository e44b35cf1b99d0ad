"""Shows progress on stderr: a bar on a terminal, plain lines elsewhere.

with terminal.Reporter('train') as report: report(3, 100, 'step 3: loss 2.1')
"""

import sys
import time
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeRemainingColumn,
)

from vidmodels.typing import escape, shorten_words

QUIET_SECONDS = 10.0  # between plain lines with counts alone


def say(text: str, file: TextIO | None = None) -> None:
  """Prints a text, with escapes for codes that the terminal would obey."""
  print(escape(text), file=file, flush=True)


class Reporter:
  """A context manager to call with (done, total, line).

  A line that starts with `only` is printed unless it is empty: data commands
  report every video, but only problems are worth a line. Counts alone move the
  bar or, without a terminal, print a line every ten seconds.
  """

  def __init__(self, title: str, *, only: str = '') -> None:
    self._title, self._only = title, only
    self._console = Console(stderr=True, highlight=False, soft_wrap=True)
    self._bar: Progress | None = None
    self._last = time.monotonic()

  def __enter__(self) -> Self:
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

  def __exit__(self, *_: Any) -> None:
    if self._bar:
      self._bar.stop()

  def __call__(self, done: int, total: int, line: str = '') -> None:
    """Reports that `done` of `total` are done; total 0 means unknown."""
    # A name in a list may have any length; the files beside it have it whole.
    line = shorten_words(line) if line.startswith(self._only) else ''
    if self._bar:
      self._bar.update(self._task, completed=done, total=total or None)
      if line:
        self._bar.print(escape(line), markup=False)
      return
    if line:
      say(f'{self._title}: {line}', file=sys.stderr)
    elif time.monotonic() - self._last > QUIET_SECONDS:
      print(f'{self._title}: {done}/{total}', file=sys.stderr, flush=True)
    else:
      return
    self._last = time.monotonic()
