"""Plans in a process of their own, which has the devices of a topology.

  with Planner(topology.parse('v5e:4x4')) as planner:
    plan = planner.make(config, classes=400, examples=240_000)

JAX looks for devices once, when it starts, and libtpu writes to standard error
what does not concern a machine without a TPU. The process reads a request a
line and answers a line; it ends with its standard input.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Self

from vidmodels import config as cfg
from vidmodels.analysis.compiled_program import Traffic
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import step_plan, topology
from vidmodels.train.step_plan import Plan
from vidmodels.train.topology import Topology
from vidmodels.typing import InputError, escape

_SERVE = 'from vidmodels.train import planner; planner.serve({text!r})'
_LAST_LINES = 5  # of a process that ended, for the message


class PlanError(RuntimeError):
  """The compiler failed; the message has its last words."""


class Planner:
  """A context in which recipes are compiled for one topology.

  The devices that are here ('local') need no other process.
  """

  def __init__(self, where: Topology) -> None:
    topology.check_installed(where)
    self.topology = where
    self.compilations = 0  # so far
    self._process: subprocess.Popen | None = None

  def __enter__(self) -> Self:
    if self.topology.is_local:
      return self
    self._log = tempfile.TemporaryFile('w+')
    self._process = subprocess.Popen(
      [sys.executable, '-P', '-c', _SERVE.format(text=self.topology.text)],
      env=topology.environment(self.topology),
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._log,
      text=True,
    )
    return self

  def __exit__(self, *_: Any) -> None:
    if self._process is not None:
      self._process.kill()
      self._process.communicate()
      self._log.close()

  def make(
    self,
    config: cfg.Config,
    *,
    classes: int,
    examples: int,
    task: Task = SINGLE,
  ) -> Plan:
    """`step_plan.make` for the topology's devices.

    Raises InputError as that does, and PlanError if the compiler fails.
    """
    self.compilations += 1
    sizes = {'classes': classes, 'examples': examples}
    if self._process is None:
      devices = topology.devices(self.topology)
      return step_plan.make(config, self.topology, devices, task=task, **sizes)
    request = {
      'config': cfg.as_dict(config),
      'task': dataclasses.asdict(task),
      **sizes,
    }
    answer = self._ask(json.dumps(request))
    if 'wrong_input' in answer:
      raise InputError(answer['wrong_input'])
    if 'error' in answer:
      raise PlanError(
        f'the step could not be compiled for {self.topology.text}: '
        f'{answer["error"]}'
      )
    return _plan_of(answer['plan'])

  def _ask(self, line: str) -> dict[str, Any]:
    process = self._process
    assert process is not None
    assert process.stdin is not None
    assert process.stdout is not None
    try:
      process.stdin.write(line + '\n')
      process.stdin.flush()
      answer = process.stdout.readline()
    except BrokenPipeError:
      answer = ''
    if answer:
      return json.loads(answer)
    code = process.wait()
    self._log.seek(0)
    words = self._log.read().strip().splitlines()[-_LAST_LINES:]
    why = 'it may have run out of memory' if code == -9 else ' '.join(words)
    raise PlanError(
      f'the compiler for {self.topology.text} ended with code {code}: '
      f'{escape(why)}'
    )


def _plan_of(fields: dict[str, Any]) -> Plan:
  """A plan from its JSON."""
  if fields['collectives'] is not None:
    fields['collectives'] = {
      kind: Traffic(**each) for kind, each in fields['collectives'].items()
    }
  return Plan(**{**fields, 'notes': tuple(fields['notes'])})


def serve(text: str) -> None:
  """Answers requests on standard input until it ends."""
  # Whatever libraries print goes to standard error.
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)
  where = topology.parse(text)
  devices: list | None = None
  for line in sys.stdin:
    request = json.loads(line)
    task = request['task']
    heads = tuple((name, size) for name, size in task['heads'])
    answer: dict[str, Any]
    try:
      devices = topology.devices(where) if devices is None else devices
      made = step_plan.make(
        cfg.check(request['config']),
        where,
        devices,
        classes=request['classes'],
        examples=request['examples'],
        task=Task(task['kind'], heads),
      )
      answer = {'plan': dataclasses.asdict(made)}
    except InputError as error:
      answer = {'wrong_input': str(error)}
    except Exception as error:  # whatever a compiler raises
      answer = {'error': ' '.join(f'{type(error).__name__}: {error}'.split())}
    answers.write(json.dumps(answer) + '\n')
    answers.flush()
