"""The scripts of experiments/launch: what they call, and what they do after it.

Stand-ins for gcloud, srun, scontrol and mpirun on the path write down their
arguments and end as the test says. Slow tests start real processes of a small
run, under stand-ins, SLURM itself and Open MPI.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import time

import fake
import pytest
import slurm
import tiny
import yaml

from vidmodels.cli import make_parser

REPO = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = REPO / 'experiments/launch'
SHELL = sorted([*SCRIPTS.glob('*.sh'), *SCRIPTS.glob('*.sbatch')])
TRAIN = ['--config=demo', '--workdir=/shared/a run']


@pytest.fixture
def tools(tmp_path, monkeypatch):
  """Makes programs that note their arguments; then runs a script."""
  folder, calls = tmp_path / 'bin', tmp_path / 'calls'
  folder.mkdir()
  monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')

  def run(
    script: str,
    *argv: str,
    tools: dict[str, str],
    wait: bool = True,
    **variables: str,
  ):
    for name, text in tools.items():
      path = folder / name
      path.write_text(
        '#!/bin/bash\n'
        f'{{ printf "%s" "{name}"; printf "\\t%s" "$@"; echo; }} >> {calls}\n'
        f'{text}\n'
      )
      path.chmod(0o755)
    command = ['bash', str(SCRIPTS / script), *argv]
    if not wait:
      return subprocess.Popen(command, cwd=REPO, env=os.environ | variables)
    made = subprocess.run(
      command,
      cwd=REPO,
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
  [
    *((0, False), (1, False), (2, False), (130, False)),
    *((42, True), (43, True), (137, True), (139, True)),
  ],
)
def test_slurm_queues_a_saved_run_again(tools, tmp_path, code, queued):
  made, calls = tools(
    'slurm.sbatch',
    *TRAIN,
    tools={'srun': f'exit {code}', 'scontrol': ''},
    SLURM_JOB_ID='17',
    SLURM_SUBMIT_DIR=str(tmp_path),
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


@pytest.mark.parametrize(
  ('codes', 'seconds', 'queued'),
  [
    # Three in a row are too many; a new job begins to count anew.
    ('43 137 43 43', '400', [1, 1, 0, 1]),
    ('42 42 42', '10', [1, 1, 0]),  # a time limit too short for any step
    ('43 43 42 43 43 43', '400', [1, 1, 1, 1, 1, 0]),  # saved in between
    ('43 43 1 43 43 43', '400', [1, 1, 0, 1, 1, 0]),
  ],
)
def test_slurm_gives_up_after_so_many_ends_in_a_row(
  tools, tmp_path, codes, seconds, queued
):
  found = []
  for code in codes.split():
    made, calls = tools(
      'slurm.sbatch',
      *TRAIN,
      tools={'srun': f'exit {code}', 'scontrol': ''},
      SLURM_JOB_ID='17',
      SLURM_SUBMIT_DIR=str(tmp_path),
      RESTARTS='2',
      SECONDS=seconds,  # bash counts on from there
    )
    assert made.returncode == int(code)
    found.append(len([c for c in calls if c[0] == 'scontrol']) - sum(found))
    if not found[-1] and code != '1':
      assert 'not queued again after 2 times in a row' in made.stderr
  assert found == queued


@pytest.mark.slow
@pytest.mark.parametrize('real', [False, True])
def test_a_job_that_slurm_ends_early_goes_on_as_one_run(tmp_path, real):
  """Two tasks, SIGTERM in the first compile, the queue, and the rest."""
  records = fake.write(tmp_path / 'records')
  workdir = tmp_path / 'a run'
  flags = tiny.flags(
    records, model__layers=1, optim__steps=4, checkpoint__every=4, log__every=1
  )
  with slurm.cluster(tmp_path / 'slurm', real=real) as cluster:
    job = cluster.submit(
      SCRIPTS / 'slurm.sbatch',
      *('--config=demo', f'--workdir={workdir}', *flags),
      VIDMODELS=str(slurm.program(tmp_path)),
      XLA_FLAGS=one_device(),
    )
    until((workdir / 'config.json').exists)
    cluster.terminate(job)
    assert cluster.wait(job) == 0, cluster.log(job)
    said = cluster.log(job)
  assert '(1 of 20 in a row)' in said
  assert 'preempted at step 1 and saved' in said
  assert 'resumed from checkpoint 1' in said
  assert f'trained to step 4; everything is in {workdir}' in said
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line)['step'] for line in lines] == [1, 2, 3, 4]
  record = json.loads((workdir / 'goodput.json').read_text())
  assert [s['last'] for s in record['sessions']] == [1, 4]


def until(holds, ended=lambda: None) -> None:
  for _ in range(6000):
    assert ended() is None
    if holds():
      return
    time.sleep(0.05)
  raise AssertionError('it did not come')


def one_device() -> str:
  """XLA's flags for a process with one device; the last of two values holds."""
  flags = os.environ['XLA_FLAGS']
  return f'{flags} --xla_force_host_platform_device_count=1'


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


# Ends with the next of CODES at each start.
NEXT_CODE = """
n=$(cat "$COUNT" 2>/dev/null || echo 0)
echo $((n + 1)) > "$COUNT"
codes=($CODES); exit "${codes[$n]}"
"""


@pytest.mark.parametrize(
  ('codes', 'code', 'starts'),
  [('0', 0, 1), ('137 43 0', 0, 3), ('2', 2, 1), ('42', 42, 1),
   ('1 1 1', 1, 3)],
)  # fmt: skip
def test_mpirun_starts_again_after_a_death(
  tools, tmp_path, codes, code, starts
):
  made, calls = tools(
    'mpirun.sh',
    *('hosts.txt', *TRAIN),
    tools={'mpirun': NEXT_CODE},
    **dict(RESTARTS='2', WAIT_S='0'),
    **dict(CODES=codes, COUNT=str(tmp_path / 'count')),
  )
  assert made.returncode == code
  assert len(calls) == starts
  assert ('gave up after 2 restarts' in made.stderr) == (codes == '1 1 1')


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('mpirun'), reason='no mpirun here')
def test_a_run_under_mpirun_saves_at_sigterm_and_goes_on(tmp_path):
  records = fake.write(tmp_path / 'records')
  hosts, workdir = tmp_path / 'hosts', tmp_path / 'a run'
  hosts.write_text('localhost slots=2\n')
  flags = tiny.flags(records, model__layers=1, optim__steps=4, log__every=1)
  variables = dict(
    VIDMODELS=str(slurm.program(tmp_path)),
    XLA_FLAGS=one_device(),
    OMPI_ALLOW_RUN_AS_ROOT='1',
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1',
  )

  def start() -> subprocess.Popen:
    command = ['bash', str(SCRIPTS / 'mpirun.sh'), str(hosts)]
    return subprocess.Popen(
      [*command, '--config=demo', f'--workdir={workdir}', *flags],
      env=os.environ | variables,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  script = start()
  until((workdir / 'config.json').exists, script.poll)
  script.terminate()  # in the first compile
  said = script.communicate(timeout=300)[0]
  assert script.returncode == 42, said
  assert 'preempted at step 1 and saved' in said
  script = start()
  said = script.communicate(timeout=300)[0]
  assert script.returncode == 0, said
  assert 'resumed from checkpoint 1' in said


# What a stand-in for gcloud does: `ssh` of the training ends as told.
GCLOUD = f'case "$*" in *distributed*) {NEXT_CODE} ;; esac'


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
  assert all('--zone=z' in call for call in calls)
  create, copy, install, train, delete = calls[:5]
  assert {call[5] for call in (create, install, train, delete)} == {'k400'}
  assert copy[6] == 'k400:vidmodels.tar.gz'
  assert {'--accelerator-type=v4-32', '--spot'} <= set(create)
  assert '--worker=all' in copy
  assert '--worker=all' in train
  assert (
    r'train --distributed --config=demo --workdir=/shared/a\ run' in train[-1]
  )
  assert '--quiet' in delete


def test_machines_that_were_there_before_are_not_deleted(tools):
  """gcloud refuses to create them: another run may be at work with them."""
  variables = dict(NAME='k400', ZONE='z', TYPE='v4-32')
  made, calls = tools(
    'tpu_vm.sh', *TRAIN, tools={'gcloud': '[ "$4" != create ]'},
    RESTARTS='1', WAIT_S='0', **variables,
  )  # fmt: skip
  assert made.returncode == 1
  assert [call[4] for call in calls] == ['create', 'create']


def test_machines_are_deleted_when_the_script_is_stopped(tools, tmp_path):
  ready = tmp_path / 'ready'
  at_work = f'case "$*" in *distributed*) touch {ready}; sleep 60 ;; esac'
  variables = dict(NAME='k400', ZONE='z', TYPE='v4-32')
  script = tools(
    'tpu_vm.sh', *TRAIN, tools={'gcloud': at_work}, wait=False, **variables
  )
  until(ready.exists, script.poll)
  began = time.monotonic()
  script.terminate()
  assert script.wait(timeout=30) == 130
  assert time.monotonic() - began < 20
  last = (tmp_path / 'calls').read_text().splitlines()[-1].split('\t')
  assert last[4:6] == ['delete', 'k400']


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


@pytest.mark.parametrize(
  ('code', 'queued'),
  [(0, 0), (42, 1), (43, 1), (-9, 1), (2, 0), (1, 0), (130, 0)],
)
def test_submitit_queues_a_saved_run_again(
  submitit_launch, monkeypatch, tmp_path, code, queued
):
  calls = []
  monkeypatch.setenv('SLURM_JOB_ID', '17')
  monkeypatch.setenv('SLURM_PROCID', '0')
  monkeypatch.setattr(submitit_launch.subprocess, 'call', lambda argv: code)
  monkeypatch.setattr(submitit_launch.subprocess, 'check_call', calls.append)
  train = submitit_launch.Train(TRAIN, str(tmp_path), restarts=2)
  if code in (1, 2, 130):
    with pytest.raises(RuntimeError, match=f'ended with code {code}'):
      train()
  else:
    train()
  assert calls == [['scontrol', 'requeue', '17']] * queued
  if queued:
    train()
    with pytest.raises(RuntimeError, match='not queued again after 2 times'):
      train()
    assert len(calls) == 2
    monkeypatch.setattr(submitit_launch, 'LONG_S', -1.0)
  if code == 42:  # it lasted long enough
    train()
    assert len(calls) == 3
  monkeypatch.setenv('SLURM_PROCID', '1')
  if queued:
    before = len(calls)
    train()
    assert len(calls) == before
