"""One run at a time in a workdir of an object store, which has no locks.

  with workdir_lease.hold(place('gs://bucket/runs/first'), say): ...

`run.lock/000007` is written only if there is none (If-None-Match, or generation
0), so of two runs that start at once one gets it. The holder writes a new beat
into it every 20 s. A run that finds one waits for two minutes: if the beat
changes, another run is at work; if not, it was killed, and this one takes
number 8. A process that is gone from this machine is known at once. A holder
that sees a higher number, or cannot write its beat for two minutes, has lost
the workdir and ends.

The run that lost may go on for the seconds until its next beat; what it saves
in them is of the same run. A store that ignores the condition (an emulator)
tells two runs apart at their next beat only.
"""

import contextlib
import json
import os
import pathlib
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Literal, NoReturn

from vidmodels import object_store
from vidmodels.train import run_holder
from vidmodels.typing import InputError, escape

FOLDER = 'run.lock'
BEAT_S = 20.0
DEAD_S = 120.0  # without a new beat
_LEAVE_S = 10.0  # for a run that ends to say so
_LONG_DEAD_S = 1800.0  # by the clocks, which may differ by minutes
_held: set[str] = set()  # the leases of this process


def end_process(text: str) -> NoReturn:
  """Ends the process: the workdir belongs to another run."""
  print(escape(f'vidmodels train: {text}'), file=sys.stderr, flush=True)
  os._exit(1)


@contextlib.contextmanager
def hold(
  folder: pathlib.Path,
  say: Callable[[str], None] = lambda line: None,
  *,
  lost: Callable[[str], object] = end_process,
) -> Iterator[None]:
  """Takes the lease of a workdir, and beats until the block ends.

  `say` is told of waiting and of a run that was killed; `lost` is called by a
  thread when the lease is lost. Raises InputError if another run has it.
  """
  lease = _Lease(folder / FOLDER)
  _held.add(lease.name)  # before it is written: another thread may read it
  try:
    lease.take(say)
  except BaseException:
    _held.discard(lease.name)
    raise
  stop = threading.Event()
  beating = threading.Thread(target=lease.beat, args=(stop, lost), daemon=True)
  beating.start()
  try:
    yield
  finally:
    stop.set()
    # A store that does not answer holds up neither the end of a run nor what
    # the run says of it.
    leaving = threading.Thread(
      target=lease.release, args=(beating,), daemon=True
    )
    leaving.start()
    leaving.join(_LEAVE_S)
    _held.discard(lease.name)


class _Lease:
  """A numbered object that says who is at work."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    self.name = uuid.uuid4().hex  # of this holder
    self.number = 0
    self._beats = 0

  def take(self, say: Callable[[str], None]) -> None:
    """Writes the next number; InputError while another run is at work."""
    last = max(self._numbers(), default=0)
    holder = self._read(last) if last else {}
    if holder:
      self._wait_until_dead(last, holder, say)
      say(run_holder.describe_death(holder))
    self.number = last + 1
    try:
      self.write(self._content(), new=True)
    except FileExistsError:
      # The answer to our own write may have been lost on its way.
      if not self.is_ours():
        raise self._taken(self._read(self.number)) from None
    if max(self._numbers()) != self.number or not self.is_ours():
      raise self._taken(self._read(max(self._numbers())))
    for number in self._numbers():
      if number < self.number:
        self._path(number).unlink(missing_ok=True)

  def _wait_until_dead(
    self, number: int, holder: dict[str, Any], say: Callable[[str], None]
  ) -> None:
    state = _state(holder)
    if state == 'dead':
      return
    said, start = False, time.monotonic()
    while state == 'unknown' and time.monotonic() - start < DEAD_S:
      if not said:
        say(
          f'another run may be at work here ({run_holder.describe(holder)}); '
          f'waiting for {DEAD_S:.0f} s for a sign of it'
        )
        said = True
      time.sleep(min(BEAT_S / 4, DEAD_S / 4))
      now = self._read(number)
      newest = max(self._numbers(), default=0)
      if now != holder or newest != number:
        raise self._taken(now if newest == number else self._read(newest))
    if state == 'alive':
      raise self._taken(holder)

  def beat(self, stop: threading.Event, lost: Callable[[str], object]) -> None:
    """Writes beats until `stop`; calls `lost` when another run took over."""
    last = time.monotonic()
    while not stop.wait(BEAT_S):
      try:
        if max(self._numbers(), default=0) != self.number or (
          not self.is_ours()
        ):
          lost(
            f'another run took {self.folder.parent} over while this one did '
            'not answer; expected one run at a time; it goes on there'
          )
          return
        self._beats += 1
        self.write(self._content())
        last = time.monotonic()
      except (object_store.StoreError, InputError) as error:
        if time.monotonic() - last > DEAD_S and not stop.is_set():
          lost(f'the workdir cannot be held any more: {error}')
          return

  def release(self, beating: threading.Thread) -> None:
    """Says that the run has ended, once its beats have."""
    beating.join()
    with contextlib.suppress(object_store.StoreError, InputError):
      if self.is_ours():
        self.write({})

  def is_ours(self) -> bool:
    """Whether our number still has our name in it."""
    return self._read(self.number).get('name') == self.name

  def write(self, value: dict[str, Any], *, new: bool = False) -> None:
    """Writes our object; {} says that the run has ended."""
    data = json.dumps(value).encode()
    object_store.write(self._path(self.number), data, new=new)

  def _content(self) -> dict[str, Any]:
    return {
      'name': self.name,
      **run_holder.this_process(),
      'seen': time.strftime('%Y-%m-%d %H:%M:%S'),
      'time': time.time(),
      'beat': self._beats,
    }

  def _numbers(self) -> list[int]:
    names = object_store.entries(self.folder)
    return sorted(int(name) for name in names if name.isdecimal())

  def _path(self, number: int) -> pathlib.Path:
    return self.folder / f'{number:06d}'

  def _read(self, number: int) -> dict[str, Any]:
    """What an object says, of which anybody may have made anything."""
    try:
      value = json.loads(object_store.read(self._path(number))[:1000])
    except (FileNotFoundError, ValueError):
      return {}
    return value if isinstance(value, dict) else {}

  def _taken(self, holder: dict[str, Any]) -> InputError:
    return InputError(
      f'got {self.folder.parent} as the workdir, where another run is at work '
      f'({run_holder.describe(holder)}); expected one run at a time; '
      'try another --workdir, or stop that run first'
    )


def _state(holder: dict[str, Any]) -> Literal['alive', 'dead', 'unknown']:
  """Of a process of another machine 'dead' only after half an hour."""
  if holder.get('name') in _held:
    return 'alive'
  state, seen = run_holder.find_state(holder), holder.get('time')
  if state == 'alive' and holder['process'] == os.getpid():
    return 'dead'  # a lease of ours that we could not end
  old = isinstance(seen, float) and time.time() - seen > _LONG_DEAD_S
  return 'dead' if state == 'unknown' and old else state
