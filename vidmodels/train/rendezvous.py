"""The processes of a run find each other, and notice when one is gone.

  peers = rendezvous.join(
    'host0:1234', count=2, number=1, seconds=300, say=print
  )
  peers.watch(lambda text, wrong: ...)  # once, when another process is gone
  peers.close()                         # this process ends as it should

JAX alone is silent while it waits, and ends the process with a C++ stack trace
when a peer is missing, wrong or dead. Here process 0 listens at the address of
the coordinator before JAX does, and every other process calls it. Each side
says whom it waits for. When all are there process 0 frees the port for JAX; the
connections stay, so that the system tells of a process that is killed, and
beats tell of a machine that is cut off.

A message is a line of JSON.
"""

import contextlib
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from vidmodels.typing import InputError

LINE_SECONDS = 10.0  # between two lines about who is missing
BEAT_SECONDS = 5.0
SILENT_SECONDS = 60.0  # without a beat: the process counts as gone
_POLL_S = 0.2
_LONGEST = 10_000  # bytes of a message
_GRACE_S = 5.0  # for the last word of process 0, which knows who is missing

Say = Callable[[str], None]
# What happened, and whether a wrong input is the cause.
Lost = Callable[[str, bool], None]


class _Closed(Exception):
  """The other end is closed, or speaks another language."""


class _Link:
  """Messages to and from another process."""

  def __init__(self, connection: socket.socket) -> None:
    connection.setblocking(False)
    self.socket = connection
    self.heard = time.monotonic()  # the last message
    self.ended = False  # it said goodbye
    self.strange = False  # it is no process of a run that is waiting
    self._unread = b''

  def fileno(self) -> int:
    return self.socket.fileno()

  def send(self, **message: Any) -> None:
    """Sends a message; a closed connection shows when it is read."""
    with contextlib.suppress(OSError):
      self.socket.sendall(
        json.dumps(message, ensure_ascii=False).encode(errors='replace') + b'\n'
      )

  def read(self) -> list[dict[str, Any]]:
    """The messages that have arrived; raises _Closed after the last one."""
    try:
      data = self.socket.recv(_LONGEST)
    except BlockingIOError:
      return []
    except OSError as error:
      raise _Closed from error
    if not data:
      self.strange |= bool(self._unread)
      raise _Closed
    *lines, self._unread = (self._unread + data).split(b'\n')
    try:
      messages = [json.loads(line) for line in lines]
      if len(self._unread) > _LONGEST or not all(
        isinstance(message, dict) for message in messages
      ):
        raise ValueError
    except ValueError as error:
      self.strange = True
      raise _Closed from error
    self.heard = time.monotonic()
    return messages


def split_address(address: str) -> tuple[str, int]:
  """'host:port' or '[::1]:port' in two; raises InputError."""
  host, _, port = address.rpartition(':')
  host = host.removeprefix('[').removesuffix(']')
  if not (host and port.isdecimal() and 0 < int(port) < 2**16):
    raise InputError(
      f'got {address!r:.120} for the coordinator; expected the host and a port '
      'of process 0; try --coordinator host0:1234'
    )
  return host, int(port)


def join(
  address: str, *, count: int, number: int, seconds: float, say: Say
) -> 'Peers':
  """Waits until all processes are there, `seconds` at most.

  Raises InputError that names the missing processes, or what is wrong.
  """
  host, port = split_address(address)
  meeting = _Meeting(f'{host}:{port}', count, number, seconds, say)
  links = meeting.gather(port) if number == 0 else {0: meeting.call(host, port)}
  return Peers(links, count=count, number=number)


class _Meeting:
  """What is known while the processes wait for each other."""

  def __init__(
    self, place: str, count: int, number: int, seconds: float, say: Say
  ) -> None:
    self._place, self._count, self._number = place, count, number
    self._seconds, self._say = seconds, say
    self._deadline = time.monotonic() + seconds
    self._next_line = 0.0

  def names(self, missing: Iterable[int]) -> str:
    """'process 1 of 2', 'processes 1, 3 of 4'."""
    numbers = [str(n) for n in missing]
    noun = 'process' if len(numbers) == 1 else 'processes'
    return f'{noun} {", ".join(numbers)} of {self._count}'

  def wait(self, missing: list[int], *, grace: float = 0.0) -> bool:
    """Says now and then who is missing; raises InputError when time is up.

    Returns whether it said so.
    """
    now = time.monotonic()
    if now > self._deadline + grace:
      raise self.give_up(missing)
    if now < self._next_line:
      return False
    self._next_line = now + LINE_SECONDS
    self._say(f'waiting for {self.names(missing)} at {self._place}')
    return True

  def give_up(self, missing: Iterable[int]) -> InputError:
    """The error when time is up."""
    return InputError(
      f'got no {self.names(missing)} at {self._place} in {self._seconds:g} s; '
      f'expected {self._count} processes, numbered from 0; try the same '
      'command on every host with its own --process, an address that all of '
      'them can reach, or a longer --join-timeout'
    )

  def gather(self, port: int) -> dict[int, _Link]:
    """Process 0: the links to all others."""
    links: dict[int, _Link] = {}
    with (
      selectors.DefaultSelector() as selector,
      self._listen(port) as listener,
    ):
      selector.register(listener, selectors.EVENT_READ)
      while missing := [n for n in range(1, self._count) if n not in links]:
        try:
          if self.wait(missing):
            for link in links.values():
              link.send(missing=missing)
        except InputError as error:
          for link in links.values():
            link.send(error=str(error))
          raise
        for key, _ in selector.select(_POLL_S):
          if key.fileobj is listener:
            link = _Link(listener.accept()[0])
            selector.register(link, selectors.EVENT_READ)
          else:
            self._receive(key.fileobj, links, selector)
    for link in links.values():
      link.send(go=True)
    return links

  def _listen(self, port: int) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    try:
      listener = socket.create_server(
        ('', port),
        family=socket.AF_INET6 if both else socket.AF_INET,
        dualstack_ipv6=both,
      )
    except OSError as error:
      raise InputError(
        f'got {self._place} for the coordinator, and process 0 cannot listen '
        f'at port {port} ({error.strerror}): another program does, or process '
        '0 was started twice; expected a free port; try another one'
      ) from error
    listener.setblocking(False)
    return listener

  def _receive(self, link: Any, links: dict[int, _Link], selector: Any) -> None:
    """Takes in, refuses or drops the process at the other end of a link."""
    known = next((n for n, other in links.items() if other is link), None)
    try:
      for message in link.read():
        number, count = message.get('process'), message.get('processes')
        wrong = ''
        if count != self._count:
          wrong = (
            f'--processes {count}; expected {self._count} as process 0 has'
          )
        elif not isinstance(number, int) or not 0 < number < self._count:
          wrong = f'--process {number}; expected 1 to {self._count - 1}'
        elif number in links:
          wrong = (
            f'--process {number} twice; expected each number once, from 0 to '
            f'{self._count - 1}'
          )
        if wrong:
          link.send(error=f'got {wrong}; try the command of that process again')
          self._say(f'refused a process at {self._place}: got {wrong}')
          raise _Closed
        links[number] = link
        known = number
        link.send(missing=[n for n in range(1, self._count) if n not in links])
    except _Closed:
      selector.unregister(link)
      link.socket.close()
      if known is not None:
        links.pop(known, None)

  def call(self, host: str, port: int) -> _Link:
    """The other processes: the link to process 0, when all are there."""
    missing = [0]
    while True:
      try:
        connection = socket.create_connection((host, port), timeout=2)
      except OSError:  # not there yet, or its name is not known yet
        missing = [0]
        self.wait(missing)
        time.sleep(_POLL_S)
        continue
      link = _Link(connection)
      link.send(process=self._number, processes=self._count)
      with selectors.DefaultSelector() as selector:
        selector.register(link, selectors.EVENT_READ)
        try:
          while True:
            selector.select(_POLL_S)
            for message in link.read():
              if 'error' in message:
                raise InputError(str(message['error'])[:500])
              if message.get('go'):
                return link
              if message.get('missing'):
                missing = [int(n) for n in message['missing']]
            self.wait(missing, grace=_GRACE_S)
        except _Closed:
          connection.close()
          if link.strange:
            raise InputError(
              f'got another program at {self._place}, or a run that has '
              f'started already, when process {self._number} of {self._count} '
              'came; expected process 0, waiting; try another port, and end '
              'what is left of an older run'
            ) from None
          time.sleep(_POLL_S)


class Peers:
  """The other processes of a run, once all have met.

  Process 0 has a link to every other one, and passes on who is gone; the others
  have one to process 0.
  """

  def __init__(
    self, links: dict[int, _Link], *, count: int, number: int
  ) -> None:
    self._links, self._count, self._number = links, count, number
    self._closed = threading.Event()
    self._thread: threading.Thread | None = None

  def watch(self, lost: Lost) -> None:
    """Calls `lost` once, in a thread, when another process is gone."""
    self._thread = threading.Thread(
      target=self._watch, args=(lost,), daemon=True
    )
    self._thread.start()

  def close(self) -> None:
    """Says goodbye: from now on nobody is missed."""
    self._closed.set()
    for link in self._links.values():
      link.send(bye=True)

  def leave(self, reason: str, *, wrong_input: bool) -> None:
    """Tells the others why this process ends: so do they."""
    self._closed.set()
    how = f'stopped: {reason}'
    for link in self._links.values():
      link.send(gone=self._number, how=how[:1500], wrong=wrong_input)

  def _watch(self, lost: Lost) -> None:
    links, next_beat = dict(self._links), 0.0
    with selectors.DefaultSelector() as selector:
      for link in links.values():
        link.heard = time.monotonic()
        selector.register(link, selectors.EVENT_READ)
      while links and not self._closed.is_set():
        if time.monotonic() >= next_beat:
          next_beat = time.monotonic() + BEAT_SECONDS
          for link in links.values():
            link.send(beat=True)
        selector.select(_POLL_S)
        for number, link in list(links.items()):
          if gone := self._news(number, link):
            self._tell(*gone, lost)
            return
          if link.ended:
            selector.unregister(links.pop(number))

  def _news(self, number: int, link: _Link) -> tuple[int, str, bool] | None:
    """(number, how, wrong input) of a process that is gone, by its link."""
    try:
      for message in link.read():
        if message.get('bye'):
          link.ended = True
        if 'gone' in message:
          wrong = message.get('wrong') is True
          return int(message['gone']), str(message.get('how', '')), wrong
    except _Closed:
      return None if link.ended else (number, 'ended, or was killed', False)
    silent = time.monotonic() - link.heard
    if silent > SILENT_SECONDS and not link.ended:
      return number, f'has not answered for {silent:.0f} s', False
    return None

  def _tell(self, number: int, how: str, wrong: bool, lost: Lost) -> None:
    if self._closed.is_set():
      return
    for other, link in self._links.items():
      if other != number:
        link.send(gone=number, how=how, wrong=wrong)
    lost(f'process {number} of {self._count} {how}', wrong)
