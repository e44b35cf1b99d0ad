"""Starts the processes of one run on this machine, and starts them again.

  launcher = Launcher(['train', '--config=demo', '--workdir=runs/first'],
                      count=2, restarts=3, say=print)
  exit_code = launcher.run()

Every process is the same command with the address of process 0, the count and
its number. A process that dies ends the others (`rendezvous.py` sees to it);
then all of them start again, and the run goes on from its last checkpoint. This
file uses no JAX, which would take devices away from the processes.
"""

import contextlib
import ctypes
import dataclasses
import os
import pathlib
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vidmodels.typing import InputError, escape

# The exit codes of the command line that `cli/__init__.py` defines.
DONE, WRONG_INPUT, PREEMPTED, INTERRUPTED = 0, 2, 42, 130
PEER_LOST = 43
# What decides the code of an attempt: the first of these that a process has.
FINAL = (WRONG_INPUT, INTERRUPTED, PREEMPTED)

FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 60.0  # before a restart; doubled each time
# After the first death; the others learn of it in a second, and of a machine
# that was cut off in 60 s.
LAST_WORDS_S = 90.0
_POLL_S = 0.1
_LONGEST_LINE = 1 << 16  # bytes
_NOISE = '[Gloo] Rank '  # of C++, for each group of devices that is connected
_SAME_LINE_S = 60.0  # in which a line of two processes is shown once


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
  """What CUDA_VISIBLE_DEVICES would name, for the GPUs of this machine."""
  platforms = environ.get('JAX_PLATFORMS', '')
  if platforms and not {'cuda', 'gpu'} & set(platforms.split(',')):
    return []
  named = environ.get('CUDA_VISIBLE_DEVICES')
  if named is not None:
    return [name.strip() for name in named.split(',') if name.strip()]
  names = [path.name for path in pathlib.Path('/dev').glob('nvidia[0-9]*')]
  numbers = [name.removeprefix('nvidia') for name in names]
  return sorted((n for n in numbers if n.isdecimal()), key=int)


def device_variables(
  count: int, devices: int, environ: Mapping[str, str]
) -> list[dict[str, str | None]]:
  """The environment variables that give each process its own devices.

  On GPUs: `devices` GPUs each (0: an equal share of all), by
  CUDA_VISIBLE_DEVICES. JAX itself takes one process a GPU as the rule under
  SLURM and Open MPI. On CPUs: so many devices each (0: as the environment
  says). None stands for a variable to take away. Raises InputError if there are
  not enough GPUs.
  """
  gpus = visible_gpus(environ)
  if not gpus:
    if not devices:
      return [{} for _ in range(count)]
    # XLA takes the last of two values, JAX refuses two different variables.
    flags = environ.get('XLA_FLAGS', '')
    flags += f' --xla_force_host_platform_device_count={devices}'
    return [{'XLA_FLAGS': flags.strip(), 'JAX_NUM_CPU_DEVICES': None}] * count
  each = devices or max(len(gpus) // count, 1)
  if each * count > len(gpus):
    raise InputError(
      f'got {count} processes with {each} GPUs each; expected at most '
      f'{len(gpus)} GPUs in all, which are here; try --processes {len(gpus)}, '
      'or JAX_PLATFORMS=cpu'
    )
  shares = [gpus[each * i : each * (i + 1)] for i in range(count)]
  return [{'CUDA_VISIBLE_DEVICES': ','.join(share)} for share in shares]


def free_port() -> int:
  """A port of this machine that nobody listens at now."""
  with socket.socket() as probe:
    probe.bind(('localhost', 0))
    return int(probe.getsockname()[1])


def shell_code(returncode: int) -> int:
  """A process's code as a shell has it: 137 if it was killed by signal 9."""
  return 128 - returncode if returncode < 0 else returncode


def how_it_ended(returncode: int) -> str:
  """'ended with code 1', or 'was killed by SIGKILL'."""
  if returncode >= 0:
    return f'ended with code {returncode}'
  try:
    return f'was killed by {signal.Signals(-returncode).name}'
  except ValueError:
    return f'was killed by signal {-returncode}'


def outcome(returncodes: Sequence[int]) -> int:
  """The exit code of an attempt, from those of its processes.

  `returncodes` stand in the order in which the processes ended: the first that
  failed is the cause, and the others' 43 its consequence.
  """
  codes = [shell_code(code) for code in returncodes]
  for final in FINAL:
    if final in codes:
      return final
  failed = [code for code in codes if code != DONE]
  causes = [code for code in failed if code != PEER_LOST]
  return (causes or failed or [DONE])[0]


class Lines:
  """Shows the lines of several processes, each line once.

  A line that another process has said in the last minute is not repeated; one
  that a process says twice is shown twice. Standard output of process 0 is kept
  as it is, so that a program can read its JSON.
  """

  def __init__(self, say: Callable[[str], None]):
    self._say = say
    self.stdout: list[str] = []  # of process 0
    # line -> how often each process has said it, and when it was last shown
    self._said: dict[str, tuple[dict[int, int], float]] = {}

  def add(self, number: int, line: str, *, stdout: bool) -> None:
    """Takes a line of a process."""
    if line.startswith(_NOISE):
      return
    now = time.monotonic()
    counts, shown = self._said.get(line, ({}, now))
    if now - shown > _SAME_LINE_S:
      counts = {}
    new = counts.get(number, 0) + 1
    repeated = new <= max(counts.values(), default=0)
    counts[number] = new
    self._said.pop(line, None)
    self._said[line] = (counts, now)
    while len(self._said) > 1000:  # the oldest go
      self._said.pop(next(iter(self._said)))
    if number == 0 and stdout:
      self.stdout.append(line)
    elif not repeated and line.strip():
      self._say(f'[{number}] {line}')


@dataclasses.dataclass
class Worker:
  """A process, and what it has said since its last whole line."""

  number: int  # from 0
  process: subprocess.Popen  # in a session of its own
  stdout: int  # file descriptor
  unread: dict[int, bytes]  # file descriptor -> the beginning of a line
  ended: bool = False  # whether its code is known

  def kill(self, number: int) -> None:
    """Sends a signal to it and to what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
      os.killpg(self.process.pid, number)


@dataclasses.dataclass
class Launcher:
  """Runs a command in several processes; see the module."""

  program: Sequence[str]  # a vidmodels command with its flags
  count: int  # processes
  devices: int = 0  # of each process; see `device_variables`
  restarts: int = 0  # at most, after a process has died
  say: Callable[[str], None] = print  # gets the lines for standard error
  # out: gets process 0's standard output, of the last attempt alone
  out: Callable[[str], None] = print
  first_wait_s: float = FIRST_WAIT_S  # before the first restart

  def __post_init__(self) -> None:
    self._signals: list[int] = []
    self._passed = 0  # signals that were handed on
    self._workers: list[Worker] = []
    self._lines = Lines(self.say)

  def run(self) -> int:
    """Starts the processes until they end for good; returns the exit code."""
    with self._noted_signals():
      code = self._run()
    for line in self._lines.stdout:
      self.out(line)
    return code

  def _run(self) -> int:
    variables = device_variables(self.count, self.devices, os.environ)
    for attempt in range(self.restarts + 1):
      code = self._attempt(variables)
      if len(self._signals) > 1:
        return INTERRUPTED
      if self._signals:
        # What was stopped before its first step has lost nothing.
        unborn = code in (PEER_LOST, 128 + signal.SIGTERM)
        return PREEMPTED if unborn else code
      if code in (DONE, *FINAL) or attempt == self.restarts:
        break
      self._lines.stdout.clear()
      wait_s = min(self.first_wait_s * 2**attempt, LONGEST_WAIT_S)
      self._tell(
        f'starting again in {wait_s:g} s, from the last checkpoint (restart '
        f'{attempt + 1} of {self.restarts})'
      )
      if self._stopped_within(wait_s):
        return PREEMPTED
    if code not in (DONE, *FINAL) and self.restarts:
      self._tell(f'gave up after {self.restarts} restarts')
    return code

  def _tell(self, line: str) -> None:
    self.say(f'launch: {line}')

  @contextlib.contextmanager
  def _noted_signals(self) -> Iterator[None]:
    """SIGTERM, SIGUSR1 and Ctrl-C are noted, and handed on by the loop."""

    def note(number: int, _: Any) -> None:
      self._signals.append(number)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
      yield
    finally:
      for worker in self._workers:
        worker.kill(signal.SIGKILL)
      for number, handler in before.items():
        signal.signal(number, handler)

  def _stopped_within(self, seconds: float) -> bool:
    """Waits before a restart; whether a signal has come."""
    deadline = time.monotonic() + seconds
    while not self._signals and time.monotonic() < deadline:
      time.sleep(_POLL_S)
    return bool(self._signals)

  def _attempt(self, variables: Sequence[Mapping[str, str | None]]) -> int:
    """Starts all processes and waits for all; returns the attempt's code."""
    address = f'localhost:{free_port()}' if self.count > 1 else ''
    codes: list[int] = []
    deadline, self._workers, self._passed = float('inf'), [], 0
    with contextlib.ExitStack() as stack:
      selector = stack.enter_context(selectors.DefaultSelector())
      for number in range(self.count):
        worker = self._start(number, address, variables[number])
        self._workers.append(worker)
        for stream in (worker.process.stdout, worker.process.stderr):
          if stream is not None:
            stack.enter_context(stream)
            selector.register(stream, selectors.EVENT_READ, worker)
      while True:
        self._hand_on_signals()
        events = selector.select(_POLL_S)
        for key, _ in events:
          if not self._read(key.data, key.fd):
            selector.unregister(key.fileobj)
        # What a process has started may hold its output open for longer.
        if len(codes) == self.count and not events:
          return outcome(codes)
        codes += [w.process.returncode for w in self._newly_ended()]
        if any(code not in (DONE, PREEMPTED) for code in codes):
          deadline = min(deadline, time.monotonic() + LAST_WORDS_S)
        if time.monotonic() > deadline:
          self._kill_the_rest()

  def _start(
    self, number: int, address: str, variables: Mapping[str, str | None]
  ) -> Worker:
    command = [sys.executable, '-m', 'vidmodels', *self.program]
    if address:
      command += [
        f'--coordinator={address}',
        f'--processes={self.count}',
        f'--process={number}',
      ]
    environ = {**os.environ, 'PYTHONUNBUFFERED': '1', **variables}
    parent = os.getpid()
    process = subprocess.Popen(
      command,
      env={name: value for name, value in environ.items() if value is not None},
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      # A terminal sends Ctrl-C to a whole session: these get it from here.
      start_new_session=True,
      preexec_fn=lambda: die_with(parent),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    fds = process.stdout.fileno(), process.stderr.fileno()
    for fd in fds:
      os.set_blocking(fd, False)
    return Worker(number, process, fds[0], dict.fromkeys(fds, b''))

  def _read(self, worker: Worker, fd: int) -> bool:
    """Takes in what a process has said; False at the end of its output."""
    try:
      data = os.read(fd, _LONGEST_LINE)
    except BlockingIOError:
      return True
    *whole, rest = (worker.unread[fd] + data).split(b'\n')
    if rest and (not data or len(rest) > _LONGEST_LINE):
      whole, rest = [*whole, rest], b''
    worker.unread[fd] = rest
    for line in whole:
      text = escape(line.decode(errors='replace'), keep='\t')
      self._lines.add(worker.number, text, stdout=fd == worker.stdout)
    return bool(data)

  def _newly_ended(self) -> list[Worker]:
    """The processes that have ended since the last call; says how."""
    ended = []
    for worker in self._workers:
      if worker.ended or worker.process.poll() is None:
        continue
      worker.ended = True
      ended.append(worker)
      code = worker.process.returncode
      if code not in (DONE, PREEMPTED, PEER_LOST):
        self._tell(
          f'process {worker.number} of {self.count} {how_it_ended(code)}'
        )
    return ended

  def _hand_on_signals(self) -> None:
    """The first signal saves in all processes; the second ends them at once."""
    if len(self._signals) == self._passed:
      return
    self._passed = len(self._signals)
    if self._passed > 1:
      self._tell('stopped at once; the last checkpoint is whole')
      for worker in self._workers:
        worker.kill(signal.SIGKILL)
      return
    name = signal.Signals(self._signals[0]).name
    self._tell(
      f'{name}: every process will save after this step and stop; a second '
      'signal stops them at once, without saving'
    )
    for worker in self._workers:
      with contextlib.suppress(ProcessLookupError):
        worker.process.send_signal(signal.SIGTERM)

  def _kill_the_rest(self) -> None:
    for worker in self._workers:
      if not worker.ended:
        self._tell(
          f'process {worker.number} of {self.count} has not ended '
          f'{LAST_WORDS_S:g} s after another one died: it was killed'
        )
        worker.kill(signal.SIGKILL)


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
  """Lets the kernel kill this process when its parent is gone (Linux).

  Called between fork and exec. It is SIGKILL, since a process that saves, or
  that hangs, would be left behind; the last checkpoint is whole.
  """
  if sys.platform != 'linux':
    return
  _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
  if os.getppid() != parent:  # it went before
    os._exit(128 + signal.SIGKILL)


_JOINS = re.compile(r'--(distributed|coordinator|processes|process)(=|$)')


def check_program(program: Sequence[str], commands: Sequence[str]) -> None:
  """Refuses a command that several processes cannot run together."""
  expected = f'expected a command of {", ".join(commands)} after --'
  example = 'try vidmodels launch --processes 2 -- train --config=demo ...'
  if not program:
    raise InputError(f'got no command to launch; {expected}; {example}')
  if program[0] not in commands:
    raise InputError(
      f'got {program[0]!r:.120} to launch; {expected}; {example}'
    )
  for flag in program[1:]:
    if _JOINS.match(flag):
      raise InputError(
        f'got {flag!r:.120} in the launched command; expected none, since '
        '`launch` gives every process its number; try to leave it out'
      )
