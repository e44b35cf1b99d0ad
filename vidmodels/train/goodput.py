"""Where a run's time goes: `goodput.json`, over all of its restarts.

  clock = Goodput(workdir / 'goodput.json')
  clock.resume(start_step)
  with clock.phase('input'): batch = next(feed)
  clock.write(step)          # now and then: a kill loses what is after it
  clock.summary(step)        # seconds by name; they add up to the wall time

Every second since the run first began belongs to one name:

  steps       updates that count: made once, and still there
  input       waiting for a batch while the devices have nothing to do
  compile     the first call of the step
  checkpoint  what a save holds up; it goes on in the background
  validation  passes over the test split
  start       from the start of the first session to its first step
  restart     the same in later sessions, and the time between sessions
  lost        updates that a restart makes again

Goodput is the share of `steps`. (The name is that of Google's ML Goodput
Measurement, which counts productive steps in the same way.)
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vidmodels import checked_json
from vidmodels.files import write_atomically
from vidmodels.typing import Count, InputError, NotNegative

PHASES = ('steps', 'input', 'compile', 'checkpoint', 'validation', 'start')
NAMES = (*PHASES, 'restart', 'lost')
FILE = 'goodput.json'
_WRITE_SECONDS = 10.0  # between two records; each is flushed to the disk


@dataclasses.dataclass
class Session:
  """A process's time with a run, from its start to its end or last record."""

  began: float  # seconds since 1970
  ended: float  # the same; of the last record
  first: int = 0  # updates that were made before it
  last: int = 0  # updates made when it ended
  seconds: dict[str, float] = dataclasses.field(
    default_factory=lambda: dict.fromkeys(PHASES, 0.0)
  )


def add_up(sessions: list[Session]) -> dict[str, float]:
  """The seconds of each name of NAMES; they add up to the time in between.

  Updates of a session that a later one has begun before are lost, at the
  session's mean time for an update.
  """
  total = dict.fromkeys(NAMES, 0.0)
  for i, session in enumerate(sessions):
    seconds = dict(session.seconds)
    total['restart' if i else 'start'] += seconds.pop('start')
    if i:
      gap = session.began - sessions[i - 1].ended
      total['restart'] += max(gap, 0.0)  # a clock may have been set back
    made = session.last - session.first
    kept = min((s.first for s in sessions[i + 1 :]), default=session.last)
    lost = min(max(session.last - kept, 0), made)
    if lost:
      total['lost'] += seconds['steps'] * lost / made
      seconds['steps'] *= 1 - lost / made
    for name, value in seconds.items():
      total[name] += value
  return total


def summarise(sessions: list[Session]) -> dict[str, float]:
  """Seconds by name, `wall`, their sum, and `goodput`, the share of steps."""
  seconds = add_up(sessions)
  wall = sum(seconds.values())
  share = seconds['steps'] / wall if wall > 0 else 0.0
  return {**seconds, 'wall': wall, 'goodput': share}


def as_line(summary: Mapping[str, float]) -> str:
  """'goodput 91% of 120.0 s: steps 109.0 s, input 5.0 s, ...'."""
  parts = ', '.join(
    f'{name} {summary[name]:.1f} s' for name in NAMES if summary[name]
  )
  return f'goodput {summary["goodput"]:.0%} of {summary["wall"]:.1f} s: {parts}'


class Goodput:
  """A clock that always counts for one phase; process 0 keeps the record."""

  def __init__(
    self,
    path: pathlib.Path | None = None,
    *,
    clock: Callable[[], float] = time.perf_counter,
    now: Callable[[], float] = time.time,
  ) -> None:
    self._path, self._clock = path, clock
    began = now()
    self._sessions = [Session(began, began)]
    self._phase, self._since = 'start', clock()
    self._written = -math.inf

  def resume(self, step: int) -> None:
    """Reads the record of earlier sessions; this one goes on from `step`."""
    own = self._sessions[-1]
    own.first = own.last = step
    if self._path is not None and self._path.exists():
      self._sessions = [*read(self._path), own]

  @contextlib.contextmanager
  def phase(self, name: str) -> Iterator[None]:
    """Counts the time of a block for `name`, then goes on as before."""
    before = self.switch(name)
    try:
      yield
    finally:
      self.switch(before)

  def switch(self, name: str) -> str:
    """Counts for `name` from now on; returns the phase until now."""
    before, now = self._phase, self._clock()
    self._sessions[-1].seconds[before] += now - self._since
    self._phase, self._since = name, now
    return before

  def wait(self, get: Callable[[], Any], busy: Callable[[], bool]) -> Any:
    """`get()`, a wait for input unless the devices are `busy` after it too.

    What they do meanwhile is work on a step, and nobody waits.
    """
    before = self.switch('input')
    try:
      batch = get()
    except BaseException:
      self.switch(before)
      raise
    if busy():  # all of that wait was a step's
      self._phase = 'steps'
    self.switch(before)
    return batch

  def summary(self, step: int) -> dict[str, float]:
    """Seconds by name until now, `wall`, and `goodput`, a share."""
    self.switch(self._phase)
    own = self._sessions[-1]
    own.ended = own.began + sum(own.seconds.values())
    own.last = step
    return summarise(self._sessions)

  def scalars(self, step: int) -> dict[str, float]:
    """The summary for a line of metrics; now and then also recorded."""
    summary = self.summary(step)
    if self._clock() - self._written >= _WRITE_SECONDS:
      self.write(step)
    share = summary.pop('goodput')
    names = {f'goodput/{k}_seconds': v for k, v in summary.items()}
    return {'goodput/share': share, **names}

  def write(self, step: int) -> None:
    """Writes the record, whole or not at all."""
    if self._path is None:
      return
    self._written = self._clock()
    record = {
      'summary': self.summary(step),
      'step': step,
      'sessions': [dataclasses.asdict(s) for s in self._sessions],
    }
    write_atomically(self._path, json.dumps(record, indent=1).encode())

  def line(self, step: int) -> str:
    """'goodput 91% of 120 s: steps 109 s, input 5 s, ...'."""
    return as_line(self.summary(step))


_FIELDS: Mapping[str, Any] = {
  'began': NotNegative,
  'ended': NotNegative,
  'first': Count,
  'last': Count,
  'seconds': dict[str, NotNegative],
}


def read(path: pathlib.Path) -> list[Session]:
  """The sessions of a record; [] for one that is damaged, as after a crash.

  No training depends on it, so it is not worth an error.
  """
  try:
    record = checked_json.parse(path.read_text(), largest=1 << 26)
    sessions = []
    for value in record['sessions']:
      fields = checked_json.fields(value, _FIELDS, name='a session')
      seconds = dict.fromkeys(PHASES, 0.0) | fields.pop('seconds')
      seconds = {name: seconds[name] for name in PHASES}
      sessions.append(Session(**fields, seconds=seconds))
  except (OSError, ValueError, TypeError, LookupError, InputError):
    return []
  return sessions
