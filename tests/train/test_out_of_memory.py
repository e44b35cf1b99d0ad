"""What does not fit is refused in a sentence; what runs out says what to do."""

import functools
import json
import os
import pathlib
import re
import subprocess
import sys

import fake
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from vidmodels.cli import main, recipe
from vidmodels.evaluate.predict_videos import Predictor
from vidmodels.train import loop, memory, restore
from vidmodels.train.build import build
from vidmodels.train.mesh import batch_sharding, make_mesh
from vidmodels.train.sharding import shape_on_devices
from vidmodels.typing import InputError

REPO = pathlib.Path(__file__).resolve().parents[2]
# The process may map so much more than it has, and nothing else is different.
SHORT = """
import resource, sys
import vidmodels.cli, vidmodels.train.loop, jax
jax.devices()
pages = int(open('/proc/self/statm').read().split()[0])
most = pages * resource.getpagesize() + int(float(sys.argv.pop(1)) * 1e6)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
vidmodels.cli.run_and_exit()
"""


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  folder = tmp_path_factory.mktemp('records')
  fake.write(folder, 'test', videos=4)
  return fake.write(folder)


@pytest.fixture(scope='module')
def trained(tmp_path_factory, records):
  workdir = tmp_path_factory.mktemp('trained')
  lines: list[str] = []
  config = tiny.config(records, **tiny.SHORT)
  progress = lambda done, total, line: lines.append(line)
  loop.train(config, workdir, progress=progress)
  return workdir, lines


def machine_of(monkeypatch, megabytes: float) -> None:
  """This machine has so much memory, whatever is used of it."""
  room = memory.Room('machine', int(megabytes * 1e6), int(megabytes * 1e6))
  monkeypatch.setattr(memory, 'host_room', lambda: room)


def needs(config) -> tuple[float, str]:
  """The megabytes of a step that is refused, and the whole message."""
  run = build(config, classes=3, examples=13, devices=jax.devices()[:1])
  B, T, H = config.batch, config.clip.frames, config.clip.size
  shape = functools.partial(
    shape_on_devices, placement=batch_sharding(run.mesh)
  )
  batch = {
    'video': shape(np.zeros((B, T, H, H, 3), np.uint8)),
    'label': shape(np.zeros(B, np.int32)),
    'mask': shape(np.zeros(B, np.float32)),
  }
  with (
    pytest.raises(InputError, match='a training step of') as error,
    jax.set_mesh(run.mesh),
  ):
    run.train_step_that_fits()(run.abstract, batch)
  text = str(error.value)
  number, unit = re.search(r'needs ([\d.]+) (kB|MB)', text).groups()
  return float(number) * {'kB': 1e-3, 'MB': 1.0}[unit], text


def test_a_step_that_does_not_fit_is_refused_and_what_is_advised_helps(
  records, monkeypatch
):
  machine_of(monkeypatch, 0.1)
  config = tiny.config(records, model__layers=1)
  before, text = needs(config)
  assert 'at most the 100.0 kB free of 100.0 kB; try ' in text
  moves = re.findall(r'(--config\.\S+=\S+) \(now (\S+)\)', text)
  assert [now for _, now in moves] == ['1', '8', 'none', 'float32']
  flags = tiny.flags(records, model__layers=1)
  for flag, now in moves:
    field = flag.partition('=')[0].removeprefix('--config.')
    value = config
    for part in field.split('.'):
      value = value[part] if isinstance(value, dict) else getattr(value, part)
    assert str(value) == now  # the recipe has what the message says
    changed = recipe.load('demo', [*flags, flag])
    # A CPU undoes the one, and computes in float32 whatever the other says.
    if 'remat' not in flag and 'dtype' not in flag:
      machine_of(monkeypatch, 0.001)
      assert needs(changed)[0] < before


def test_a_state_that_does_not_fit_is_refused_before_anything_is_written(
  records, tmp_path, monkeypatch
):
  monkeypatch.setattr(memory, 'compiled_to_fit', None)
  machine_of(monkeypatch, 0.5)
  config = tiny.config(records, optim__ema=0.9)
  with pytest.raises(InputError, match='of weights, moments and averages') as e:
    loop.train(config, tmp_path / 'run')
  assert '--config.mesh.fsdp=8 (now 1)' in str(e.value)
  assert '--config.optim.ema=0 (now 0.9)' in str(e.value)
  assert not (tmp_path / 'run').exists()


def test_batches_that_are_read_ahead_count(records, tmp_path, monkeypatch):
  machine_of(monkeypatch, 50)
  config = tiny.config(records, batch=80_000)
  with pytest.raises(
    InputError, match=r'[kM]B a batch.*--config\.batch=\d+ \(now'
  ):
    loop.train(config, tmp_path / 'run')


def test_evaluate_and_predict_refuse_too(records, trained, monkeypatch, capsys):
  workdir, _ = trained
  argv = ['evaluate', '--workdir', str(workdir), '--mesh', '1,1,1']
  model = restore.load(workdir, mesh=make_mesh(
    tiny.config(records).mesh, devices=jax.devices()[:1]
  ))  # fmt: skip
  machine_of(monkeypatch, 0.1)
  predictor = Predictor(model, views=model.config.views, top=1)
  video_VTHWC = np.zeros((8, 4, 16, 16, 3), np.uint8)
  with pytest.raises(
    InputError, match=r'a step of up to 8 .*--batch \d .now 8'
  ):
    predictor.run(predictor._step, video_VTHWC)
  machine_of(monkeypatch, 0.01)
  one = jax.devices()[:1]
  monkeypatch.setattr(jax, 'devices', lambda: one)
  assert main(argv) == 2
  assert 'weights of timesformer that needs' in capsys.readouterr().err


def test_a_program_is_compiled_once_and_gives_the_same_bits():
  asked, traced = [], []

  def twice(a_x, b_x):
    traced.append(1)
    return jnp.sin(a_x) @ b_x

  step = memory.compiled_to_fit(jax.jit(twice), asked.append)
  a_x = jnp.arange(64.0 * 64).reshape(64, 64)
  for _ in range(3):
    ours = step(a_x, a_x)
  assert len(traced) == len(asked) == 1
  assert asked[0] >= a_x.nbytes
  np.testing.assert_array_equal(ours, jax.jit(twice)(a_x, a_x))
  step(a_x, a_x[:, :2])
  assert len(asked) == 2


def device_error(text: str) -> Exception:
  return jax.errors.JaxRuntimeError(text)


@pytest.mark.parametrize(
  ('error', 'asked'),
  [
    (device_error('RESOURCE_EXHAUSTED: Out of memory while trying to allocate '
                  '4294967296 bytes.'), '4.3 GB'),
    (device_error('RESOURCE_EXHAUSTED: Out of memory allocating 16384 bytes.'),
     '16.4 kB'),
    (device_error('RESOURCE_EXHAUSTED: Error allocating device buffer: '
                  'Attempting to allocate 1.50G. That was not possible.'),
     '1.6 GB'),
    (device_error('RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran '
                  'out of memory in memory space hbm. Used 20.05G of 15.48G '
                  'hbm.'), '21.5 GB'),
    (device_error('RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total '
                  'memory required for HLO temporaries (29.33G) exceeds '
                  'available HBM (15.75G).'), '31.5 GB'),
    (device_error('INTERNAL: CUDA_ERROR_OUT_OF_MEMORY'), 'more than is left'),
    (np._core._exceptions._ArrayMemoryError((3, 2**30), np.dtype('f4')),
     '12.9 GB'),
    (MemoryError(), 'more than is left'),
    (RuntimeError('std::bad_alloc'), 'more than is left'),
  ],
)  # fmt: skip
def test_every_kind_of_running_out_of_memory_is_recognised(error, asked):
  mesh = make_mesh(tiny.config(REPO).mesh)
  with (
    pytest.raises(
      memory.OutOfMemoryError,
      match=f'out of memory: got a request for {asked} on this machine, which '
      'has .* free of .*; try this',
    ),
    memory.explained(mesh, lambda: 'try this'),
  ):
    raise error


def test_running_out_of_memory_while_training_is_one_message(
  records, tmp_path, monkeypatch, capsys
):
  def fails(**_):
    raise device_error('RESOURCE_EXHAUSTED: Out of memory allocating 2e9 bytes')

  monkeypatch.setattr(loop, 'Loop', fails)
  argv = ['train', '--config=demo', f'--workdir={tmp_path}']
  assert main(argv + tiny.flags(records, model__layers=1, batch=16)) == 1
  error = capsys.readouterr().err
  assert 'Traceback' not in error
  last = error.splitlines()[-1]
  assert last.startswith('vidmodels train: out of memory: got a request for ')
  assert (
    '; try --config.accumulate=2 (now 1), --config.batch=8 (now 16)' in last
  )
  assert 'or a smaller recipe (now timesformer on 4 frames' in last


def test_other_commands_say_it_too(monkeypatch, capsys):
  def fails(*_, **__):
    raise MemoryError

  monkeypatch.setattr('vidmodels.data.prepare.check_videos.check', fails)
  assert main(['check', '.', '--json']) == 1
  out, error = capsys.readouterr()
  assert 'Traceback' not in error
  assert error.startswith('vidmodels check: out of memory: got a request for ')
  assert 'try fewer --workers' in json.loads(out)['error']


def test_other_errors_stay_what_they_are(monkeypatch):
  mesh = make_mesh(tiny.config(REPO).mesh)
  for error in (
    device_error('INVALID_ARGUMENT: a bug'),
    ValueError('RESOURCE_EXHAUSTED: No space left on device'),  # TensorStore
    RuntimeError('a worker died: out of memory?'),
  ):
    with (
      pytest.raises(type(error), match=str(error).replace('?', '.')) as e,
      memory.explained(mesh, lambda: ''),
    ):
      raise error
    assert e.value is error


def test_the_first_line_of_a_run_names_its_devices(trained):
  _, lines = trained
  assert re.fullmatch(
    r'on 8 x cpu, [\d.]+ GB free of [\d.]+ GB on this machine', lines[0]
  )


def test_a_run_says_what_a_step_needs_and_after_the_first_what_it_had(trained):
  _, lines = trained
  needs, had = (
    [i for i, line in enumerate(lines) if line.startswith(words)]
    for words in ('a step needs ', 'measured after a step: ')
  )
  assert len(needs) == len(had) == 1
  assert needs < had
  number = r'[\d.]+ [kMG]B'
  assert re.fullmatch(
    f'a step needs {number} on each device: {number} of weights, moments and '
    f'batch, {number} of activations, gradients and code',
    lines[needs[0]],
  )
  assert re.search(f'{number} at most of this machine', lines[had[0]])


def test_what_a_compiler_refuses_is_refused_in_our_words(monkeypatch):
  """TPU programs are refused while they are compiled."""
  mesh = make_mesh(tiny.config(REPO).mesh)
  machine_of(monkeypatch, 1000)

  class Lowered:
    def compile(self):
      raise device_error(
        'RESOURCE_EXHAUSTED: TPU compile permanent error. Ran out of memory '
        'in memory space hbm. Used 20.05G of 15.48G hbm. Exceeded hbm capacity.'
      )

  class Function:
    lower = staticmethod(lambda *_: Lowered())

  check = lambda needed: memory.check_program(
    needed, mesh, 'a step', lambda factor: f'try {factor:.1f} times less'
  )
  with pytest.raises(InputError, match=r'got a step that needs 172\.2 GB on'):
    memory.compiled_to_fit(Function, check)()


@pytest.mark.parametrize(
  ('said', 'used', 'limit'),
  [
    ('Used 20.05G of 15.48G hbm.', 20.05, 15.48),
    (
      'the total memory required for HLO temporaries (29.33G) exceeds '
      'available HBM (15.75G).',
      *(29.33, 15.75),
    ),
  ],
)
def test_what_a_compiler_says_of_a_step_is_read(said, used, limit):
  error = device_error(f'RESOURCE_EXHAUSTED: Ran out of memory. {said}')
  found = memory.used_and_limit(error)
  assert found == (int(used * 2**30), int(limit * 2**30))


def test_the_limits_of_control_groups_count(tmp_path, monkeypatch):
  before = memory.host_room()
  monkeypatch.setattr(memory, '_CGROUPS', tmp_path)
  for names in memory._CGROUP_FILES:
    limit, use, cache = names
    for folder in (tmp_path, tmp_path / 'memory'):
      folder.mkdir(exist_ok=True)
      (folder / limit).write_text('5000000\n')
      (folder / use).write_text('3000000\n')
      (folder / 'memory.stat').write_text(f'anon 1\n{cache} 1000000\n')
    room = memory.host_room()
    assert (room.total, room.free) == (5_000_000, 3_000_000)
    for folder in (tmp_path, tmp_path / 'memory'):
      (folder / limit).write_text('max\n')
    assert memory.host_room().total == before.total


def run_short(megabytes: float, *argv: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, '-c', SHORT, str(megabytes), *argv],
    cwd=REPO,
    env=os.environ | {'PYTHONPATH': str(REPO)},
    capture_output=True,
    text=True,
  )


@pytest.mark.slow
def test_a_process_that_gets_no_more_says_so_without_a_traceback(
  records, tmp_path
):
  """A real limit, hit wherever it is hit."""
  run = run_short(
    150,
    *('train', '--config=demo', f'--workdir={tmp_path / "run"}'),
    *tiny.flags(records, batch=512, clip__size=64, model__width=64,
                augment__short_side=(64, 64)),
  )  # fmt: skip
  assert run.returncode in (1, 2), run.stderr
  assert 'Traceback' not in run.stderr
  assert 'try ' in run.stderr.splitlines()[-1]
