"""The scripts of experiments/launch: what they call, and what they do after it.

Stand-ins for gcloud, srun, scontrol and mpirun on the path write down their
arguments and end as the test says.
"""

import importlib.util
import os
import pathlib
import shutil
import subprocess

import pytest
import yaml

from vidmodels.cli import make_parser

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent / 'experiments/launch'
SHELL = sorted([*SCRIPTS.glob('*.sh'), *SCRIPTS.glob('*.sbatch')])
TRAIN = ['--config=demo', '--workdir=/shared/a run']


@pytest.fixture
def tools(tmp_path, monkeypatch):
  """Makes programs that note their arguments; then runs a script."""
  folder, calls = tmp_path / 'bin', tmp_path / 'calls'
  folder.mkdir()
  monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')

  def run(script: str, *argv: str, tools: dict[str, str], **variables: str):
    for name, text in tools.items():
      path = folder / name
      path.write_text(
        '#!/bin/bash\n'
        f'{{ printf "%s" "{name}"; printf "\\t%s" "$@"; echo; }} >> {calls}\n'
        f'{text}\n'
      )
      path.chmod(0o755)
    made = subprocess.run(
      ['bash', str(SCRIPTS / script), *argv],
      env=os.environ | variables,
      capture_output=True,
      text=True,
      timeout=60,
    )
    lines = calls.read_text().splitlines() if calls.exists() else []
    return made, [line.split('\t') for line in lines]

  return run


@pytest.mark.parametrize('path', SHELL, ids=lambda path: path.name)
def test_shell_scripts_have_no_fault_that_a_shell_or_shellcheck_sees(path):
  subprocess.run(['bash', '-n', str(path)], check=True)
  if shutil.which('shellcheck'):
    subprocess.run(['shellcheck', str(path)], check=True)


def parsed(argv: list[str]):
  """What `vidmodels` reads in a command line of a script."""
  return make_parser().parse_known_args(argv)[0]


@pytest.mark.parametrize(
  ('code', 'queued'),
  [(0, False), (42, True), (43, True), (137, True), (2, False)],
)
def test_slurm_queues_a_saved_run_again(tools, code, queued):
  made, calls = tools(
    'slurm.sbatch',
    *TRAIN,
    tools={'srun': f'exit {code}', 'scontrol': ''},
    SLURM_JOB_ID='17',
  )
  assert made.returncode == code
  (name, *flags), *rest = calls
  assert name == 'srun'
  start = flags.index('vidmodels')
  args = parsed(flags[start + 1 :])
  assert args.command == 'train'
  assert args.distributed
  assert (args.config, args.workdir) == ('demo', '/shared/a run')
  assert rest == ([['scontrol', 'requeue', '17']] if queued else [])


def test_slurm_saves_before_its_time_is_up():
  text = (SCRIPTS / 'slurm.sbatch').read_text()
  options = [s for s in text.splitlines() if s.startswith('#SBATCH ')]
  assert '#SBATCH --signal=TERM@300' in options
  assert '#SBATCH --requeue' in options


def test_mpirun_joins_by_its_environment(tools):
  made, calls = tools('mpirun.sh', 'hosts.txt', *TRAIN, tools={'mpirun': ''})
  assert made.returncode == 0
  ((name, *flags),) = calls
  assert name == 'mpirun'
  assert flags[:2] == ['--hostfile', 'hosts.txt']
  args = parsed(flags[flags.index('vidmodels') + 1 :])
  assert args.distributed
  assert args.workdir == '/shared/a run'


# What a stand-in for gcloud does: `ssh` of the training ends as told.
GCLOUD = """
case "$*" in
  *distributed*)
    n=$(cat "$COUNT" 2>/dev/null || echo 0)
    echo $((n + 1)) > "$COUNT"
    codes=($CODES); exit "${codes[$n]}" ;;
esac
"""


@pytest.mark.parametrize(
  ('codes', 'code', 'starts'),
  [('0', 0, 1), ('255 42 0', 0, 3), ('2', 2, 1), ('255 255 255', 255, 3)],
)
def test_tpu_machines_are_made_again_until_the_run_ends(
  tools, tmp_path, codes, code, starts
):
  variables = dict(NAME='k400', ZONE='z', TYPE='v4-32', RESTARTS='2')
  variables |= dict(WAIT_S='0', CODES=codes, COUNT=str(tmp_path / 'count'))
  made, calls = tools(
    'tpu_vm.sh', *TRAIN, tools={'gcloud': GCLOUD}, **variables
  )
  assert made.returncode == code, made.stderr
  assert all(call[1:4] == ['compute', 'tpus', 'tpu-vm'] for call in calls)
  verbs = [call[4] for call in calls]
  assert verbs == ['create', 'scp', 'ssh', 'ssh', 'delete'] * starts
  assert {call[5] for call in calls} == {'k400'}
  assert all('--zone=z' in call for call in calls)
  create, copy, _, train, delete = calls[:5]
  assert {'--accelerator-type=v4-32', '--spot'} <= set(create)
  assert '--worker=all' in copy
  assert '--worker=all' in train
  assert (
    r'train --distributed --config=demo --workdir=/shared/a\ run' in train[-1]
  )
  assert '--quiet' in delete


@pytest.mark.parametrize('script', ['slurm.sbatch', 'mpirun.sh', 'tpu_vm.sh'])
def test_scripts_without_flags_say_what_they_expect(tools, script):
  variables = dict(NAME='a', ZONE='b', TYPE='c')
  made, calls = tools(
    script, tools={'gcloud': '', 'srun': '', 'mpirun': ''}, **variables
  )
  assert made.returncode == 2
  assert 'expected' in made.stderr
  assert calls == []


def test_the_jobset_trains_on_all_hosts_of_a_slice():
  jobset = yaml.safe_load((SCRIPTS / 'gke_jobset.yaml').read_text())
  assert jobset['kind'] == 'JobSet'
  assert jobset['spec']['failurePolicy']['maxRestarts'] > 0
  (slice_,) = jobset['spec']['replicatedJobs']
  job = slice_['template']['spec']
  assert job['completionMode'] == 'Indexed'  # JAX reads the index
  pod = job['template']['spec']
  (container,) = pod['containers']
  chips = container['resources']['limits']['google.com/tpu']
  rows, columns = pod['nodeSelector'][
    'cloud.google.com/gke-tpu-topology'
  ].split('x')
  assert job['parallelism'] * chips == int(rows) * int(columns)
  assert job['parallelism'] == job['completions']
  (rule,) = job['podFailurePolicy']['rules']
  assert (rule['action'], rule['onExitCodes']['values']) == ('FailJob', [2])
  program, *argv = container['command']
  assert program == 'vidmodels'
  assert parsed(argv).distributed


def test_the_skypilot_task_gives_every_node_its_number(tools, tmp_path):
  task = yaml.safe_load((SCRIPTS / 'skypilot.yaml').read_text())
  assert task['resources']['use_spot']
  script = tmp_path / 'run.sh'
  script.write_text(task['run'])
  made, calls = tools(
    str(script),
    tools={'vidmodels': ''},
    SKYPILOT_NODE_IPS='10.0.0.1\n10.0.0.2',
    SKYPILOT_NUM_NODES='2',
    SKYPILOT_NODE_RANK='1',
    CONFIG='demo',
    WORKDIR='s3://b/run',
    RECORDS='s3://b/records',
  )
  assert made.returncode == 0, made.stderr
  ((_, *argv),) = calls
  args = parsed([a for a in argv if 's3://' not in a] + ['--workdir=x'])
  assert args.coordinator == '10.0.0.1:8476'
  assert (args.processes, args.process) == (2, 1)
  assert '--workdir=s3://b/run' in argv


@pytest.fixture
def submitit_launch():
  spec = importlib.util.spec_from_file_location(
    'submitit_launch', SCRIPTS / 'submitit_launch.py'
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_submitit_gets_a_task_a_gpu_and_a_signal_before_the_end(
  submitit_launch,
):
  args = submitit_launch.parse(
    ['--nodes=2', '--gpus=4', '--logs=logs', '--', *TRAIN]
  )
  assert args.flags == TRAIN
  told = submitit_launch.parameters(args)
  assert (told['nodes'], told['tasks_per_node'], told['gpus_per_node']) == (
    *(2, 4, 4),
  )
  assert told['timeout_min'] == 24 * 60
  assert told['slurm_additional_parameters']['signal'] == 'TERM@300'


@pytest.mark.parametrize('code', [0, 42, 43, 2])
def test_submitit_queues_a_saved_run_again(submitit_launch, monkeypatch, code):
  calls = []
  monkeypatch.setenv('SLURM_JOB_ID', '17')
  monkeypatch.setenv('SLURM_PROCID', '0')
  monkeypatch.setattr(submitit_launch.subprocess, 'call', lambda argv: code)
  monkeypatch.setattr(submitit_launch.subprocess, 'check_call', calls.append)
  train = submitit_launch.Train(TRAIN)
  if code == 2:
    with pytest.raises(RuntimeError, match='ended with code 2'):
      train()
  else:
    assert train() == code
  queued = [['scontrol', 'requeue', '17']]
  assert calls == (queued if code in (42, 43) else [])
