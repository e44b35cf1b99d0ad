"""Clusters of one machine for tests: Debian's SLURM, and a stand-in for it.

  with slurm.cluster(folder, real=True) as cluster:  # skips without slurmctld
    job = cluster.submit(script, *flags, **variables)
    cluster.terminate(job)  # SIGTERM to every task, as before its time is up
    code = cluster.wait(job)  # of the last start, once nothing is queued
    cluster.log(job)

Both start real processes with the variables of SLURM. The stand-in has what
slurm.sbatch calls, no more: `srun` and `scontrol requeue`.
"""

import abc
import contextlib
import getpass
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

# Of the job, whatever the script asks for; both clusters have two tasks.
OPTIONS = '--ntasks-per-node=2 --gpus-per-node=0 --cpus-per-task=1 --overcommit'
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP OverSubscribe=FORCE:4
"""
# The stand-in for srun: all tasks at once, and the highest of their codes.
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
port=$SLURM_JOB_ID pids=()
for ((i = 0; i < 2; i++)); do
  SLURM_STEP_NODELIST=localhost SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=2 \\
    SLURM_PROCID=$i SLURM_LOCALID=$i "$@" &
  pids+=($!)
done
echo "${pids[@]}" > "$TASKS"
code=0
for pid in "${pids[@]}"; do
  wait "$pid"; ended=$?
  [ "$ended" -gt "$code" ] && code=$ended
done
exit "$code"
"""
SCONTROL = '#!/bin/bash\n[ "$1" = requeue ] && touch "$REQUEUED"\n'


class Cluster(abc.ABC):
  """A queue for jobs; one at a time."""

  def __init__(self, folder: pathlib.Path) -> None:
    self.folder = folder
    folder.mkdir()

  def log(self, job: str) -> str:
    """What a job has said, in all of its starts."""
    path = self.folder / f'{job}.log'
    return path.read_text() if path.exists() else ''

  @abc.abstractmethod
  def submit(self, script: pathlib.Path, *flags: str, **variables: str) -> str:
    """Queues a batch script; returns the job's number."""

  @abc.abstractmethod
  def terminate(self, job: str) -> None:
    """Sends SIGTERM to every task."""

  @abc.abstractmethod
  def wait(self, job: str) -> int:
    """The code of the last start."""


class StandIn(Cluster):
  """Runs a script here, again for as long as it asks to be queued."""

  def __init__(self, folder: pathlib.Path) -> None:
    super().__init__(folder)
    (folder / 'bin').mkdir()
    for name, text in (('srun', SRUN), ('scontrol', SCONTROL)):
      path = folder / 'bin' / name
      path.write_text(text)
      path.chmod(0o755)
    self._process: subprocess.Popen | None = None

  def submit(self, script: pathlib.Path, *flags: str, **variables: str) -> str:
    job = str(random.randint(1, 10**6))  # JAX makes a port of it
    self._environ = os.environ | variables
    self._environ |= {
      'PATH': f'{self.folder / "bin"}:{os.environ["PATH"]}',
      'SLURM_JOB_ID': job,
      'SLURM_SUBMIT_DIR': str(self.folder),
      'TASKS': str(self.folder / 'tasks'),
      'REQUEUED': str(self.folder / 'requeued'),
    }
    self._command = ['bash', str(script), *flags]
    self._start(job)
    return job

  def _start(self, job: str) -> None:
    with (self.folder / f'{job}.log').open('a') as log:
      self._process = subprocess.Popen(
        self._command, env=self._environ, stdout=log, stderr=log
      )

  def terminate(self, job: str) -> None:
    for pid in (self.folder / 'tasks').read_text().split():
      os.kill(int(pid), signal.SIGTERM)

  def wait(self, job: str) -> int:
    assert self._process is not None
    while True:
      code = self._process.wait(timeout=600)
      if not (self.folder / 'requeued').exists():
        return code
      (self.folder / 'requeued').unlink()
      self._start(job)

  def close(self) -> None:
    if self._process is not None:
      self._process.kill()


class Real(Cluster):
  """slurmctld and slurmd of this machine, with a configuration of their own."""

  def __init__(self, folder: pathlib.Path) -> None:
    super().__init__(folder)
    for name in ('state', 'spool'):
      (folder / name).mkdir()
    with contextlib.ExitStack() as stack:
      sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
      for one in sockets:
        one.bind(('127.0.0.1', 0))
      ports = [one.getsockname()[1] for one in sockets]
    host = socket.gethostname().partition('.')[0]
    self._conf = folder / 'slurm.conf'
    self._conf.write_text(
      CONF.format(host=host, user=getpass.getuser(), folder=folder, ports=ports)
    )
    self._daemons: list[subprocess.Popen] = []
    for name in ('slurmctld', 'slurmd'):
      with (folder / f'{name}.log').open('w') as log:
        self._daemons.append(
          subprocess.Popen(
            [name, '-D'], env=self._environ(), stdout=log, stderr=log
          )
        )
    for _ in range(150):
      if self._call('sinfo', '--noheader', '--format=%T') == 'idle':
        return
      time.sleep(0.2)
    said = [(folder / f'{n}.log').read_text() for n in ('slurmctld', 'slurmd')]
    self.close()
    pytest.skip(f'SLURM does not run here: {" ".join(said)[-300:]!r}')

  def _environ(self, **variables: str) -> dict[str, str]:
    path = f'{os.environ["PATH"]}:/usr/sbin'
    return (
      os.environ | variables | {'SLURM_CONF': str(self._conf), 'PATH': path}
    )

  def _call(self, *argv: str, **variables: str) -> str:
    made = subprocess.run(
      argv,
      cwd=self.folder,
      env=self._environ(**variables),
      capture_output=True,
      text=True,
      timeout=60,
    )
    return made.stdout.strip() or made.stderr

  def submit(self, script: pathlib.Path, *flags: str, **variables: str) -> str:
    return self._call(
      *('sbatch', '--parsable', '--output=%j.log', *OPTIONS.split()),
      *(str(script), *flags),
      **variables,
    )

  def terminate(self, job: str) -> None:
    self._call('scancel', '--signal=TERM', job)

  def wait(self, job: str) -> int:
    for _ in range(3000):
      text = self._call('scontrol', 'show', 'job', job)
      if 'Reason=BeginTime' in text:  # a job waits two minutes to start again
        self._call('scontrol', 'update', f'jobid={job}', 'StartTime=now')
      state = re.search(r'JobState=(\w+)', text)
      if state and state[1] in ('COMPLETED', 'FAILED', 'CANCELLED'):
        code = re.search(r'ExitCode=(\d+):', text)
        assert code is not None, text
        return int(code[1])
      time.sleep(0.2)
    raise AssertionError(text)

  def close(self) -> None:
    self._call('scancel', '--user', getpass.getuser())
    for daemon in reversed(self._daemons):
      daemon.terminate()
      daemon.wait(timeout=60)


@contextlib.contextmanager
def cluster(folder: pathlib.Path, *, real: bool) -> Iterator[Cluster]:
  """A cluster whose job script finds `vidmodels` of these tests."""
  if real and not (
    shutil.which('sbatch')
    and shutil.which('slurmctld', path=f'{os.environ["PATH"]}:/usr/sbin')
  ):
    pytest.skip('no sbatch or slurmctld; try apt-get install slurm-wlm')
  made = (Real if real else StandIn)(folder)
  try:
    yield made
  finally:
    made.close()


def program(folder: pathlib.Path) -> pathlib.Path:
  """A `vidmodels` command of the Python that runs the tests."""
  path = folder / 'vidmodels'
  path.write_text(f'#!/bin/bash\nexec {sys.executable} -m vidmodels "$@"\n')
  path.chmod(0o755)
  return path
