"""Submits a training run to SLURM through submitit (pip install submitit).

  python experiments/launch/submitit_launch.py --nodes 2 --gpus 8 --hours 24 \\
    --logs /shared/logs -- --config=timesformer:base --workdir=/shared/runs/k400

To fill in: the size of the job, --partition where the cluster wants one, and a
folder for logs and a workdir on a disk that all nodes share.

One task a GPU. The job saves before its time is up and goes back to the queue;
so it does after a node or a process has died, at most --restarts times in a row
without a start that lasted five minutes and saved.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

SAVED, PEER_LOST, INTERRUPTED = 42, 43, 130
LONG_S = (
  300.0  # a start that lasted so long and saved has done work that counts
)


class Train:
  """A task of the job: one process of the run."""

  def __init__(self, flags: list[str], logs: str, restarts: int) -> None:
    self.flags, self.logs, self.restarts = flags, logs, restarts

  def __call__(self) -> int:
    """Runs the command; raises if the run has to be looked at."""
    began = time.monotonic()
    command = [sys.executable, '-m', 'vidmodels', 'train', '--distributed']
    code = subprocess.call([*command, *self.flags])
    code = 128 - code if code < 0 else code  # as a shell has it
    killed = code > 128 and code != INTERRUPTED
    if code not in (0, SAVED, PEER_LOST) and not killed:
      raise RuntimeError(f'vidmodels train ended with code {code}')
    # The others of a task that was killed end with 43, task 0 among them.
    if code and os.environ.get('SLURM_PROCID') == '0':
      counts = code == SAVED and time.monotonic() - began > LONG_S
      self._queue_again(code, counts)
    return code

  def _queue_again(self, code: int, counts: bool) -> None:
    """Gives the job back to the queue, if it may go there again."""
    job = os.environ['SLURM_JOB_ID']
    path = pathlib.Path(self.logs) / f'vidmodels-{job}.restarts'
    number = 1 + (int(path.read_text()) if path.exists() else 0)
    if counts:
      number = 0
    if number > self.restarts:
      raise RuntimeError(
        f'vidmodels train ended with code {code}: not queued again after '
        f'{self.restarts} times in a row; expected a start that lasts five '
        'minutes and saves; try to mend what the log says, then submit again'
      )
    path.write_text(str(number))
    print(f'queued again ({number} of {self.restarts} in a row)', flush=True)
    subprocess.check_call(['scontrol', 'requeue', job])


def parse(argv: list[str]) -> argparse.Namespace:
  """Reads the job's size, and after -- the flags of vidmodels train."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--nodes', type=int, default=1)
  parser.add_argument('--gpus', type=int, default=8, help='of each node')
  parser.add_argument('--hours', type=float, default=24.0)
  parser.add_argument('--partition')
  parser.add_argument('--restarts', type=int, default=20, help='in a row')
  parser.add_argument('--logs', required=True, help='a folder on a shared disk')
  split = argv.index('--') if '--' in argv else len(argv)
  args = parser.parse_args(argv[:split])
  args.flags = argv[split + 1 :]
  if not args.flags:
    parser.error('got no flags of vidmodels train; expected them after --')
  return args


def parameters(args: argparse.Namespace) -> dict[str, Any]:
  """What submitit's executor is told."""
  known = {
    'name': 'vidmodels',
    'nodes': args.nodes,
    'tasks_per_node': args.gpus,
    'gpus_per_node': args.gpus,
    'timeout_min': round(60 * args.hours),
    # SIGTERM to every task 5 minutes before the end, as in slurm.sbatch.
    'slurm_additional_parameters': {'signal': 'TERM@300', 'requeue': True},
    'slurm_srun_args': ['--kill-on-bad-exit=0'],
  }
  return known | ({'slurm_partition': args.partition} if args.partition else {})


def main(argv: list[str]) -> int:
  """Submits the job and prints its number."""
  import submitit

  args = parse(argv)
  executor = submitit.AutoExecutor(folder=args.logs)
  executor.update_parameters(**parameters(args))
  train = Train(args.flags, args.logs, args.restarts)
  print(executor.submit(train).job_id)
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
