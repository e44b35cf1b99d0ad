"""Submits a training run to SLURM through submitit (pip install submitit).

  python experiments/launch/submitit_launch.py --nodes 2 --gpus 8 --hours 24 \\
    --logs /shared/logs -- --config=timesformer:base --workdir=/shared/runs/k400

One task a GPU. The job saves before its time is up and goes back to the queue.
"""

import argparse
import os
import subprocess
import sys
from typing import Any

SAVED, PEER_LOST = 42, 43


class Train:
  """A task of the job: one process of the run."""

  def __init__(self, flags: list[str]) -> None:
    self.flags = flags

  def __call__(self) -> int:
    """Runs the command; raises if the run has to be looked at."""
    command = [sys.executable, '-m', 'vidmodels', 'train', '--distributed']
    code = subprocess.call([*command, *self.flags])
    if code in (SAVED, PEER_LOST) and os.environ.get('SLURM_PROCID') == '0':
      requeue = ['scontrol', 'requeue', os.environ['SLURM_JOB_ID']]
      subprocess.check_call(requeue)
    elif code not in (0, SAVED, PEER_LOST):
      raise RuntimeError(f'vidmodels train ended with code {code}')
    return code


def parse(argv: list[str]) -> argparse.Namespace:
  """Reads the job's size, and after -- the flags of vidmodels train."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--nodes', type=int, default=1)
  parser.add_argument('--gpus', type=int, default=8, help='of each node')
  parser.add_argument('--hours', type=float, default=24.0)
  parser.add_argument('--partition')
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
  print(executor.submit(Train(args.flags)).job_id)
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
