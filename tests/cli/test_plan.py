"""`vidmodels plan` prints what a step needs, or one message and code 2."""

import json

import pytest
import tiny

from vidmodels.cli import main


def plan(capsys, *argv: str, **changes) -> tuple[int, str, str]:
  flags = tiny.flags('nowhere', model__layers=1, **changes)
  flags = [flag for flag in flags if '--config.batch' not in flag]
  code = main(['plan', '--config=demo', *argv, *flags])
  return code, *capsys.readouterr()


@pytest.mark.parametrize(
  ('argv', 'words'),
  [
    (['--topology=v9:4x4'], "got 'v9:4x4' for --topology; expected a TPU"),
    (['--topology=v5e:5x5'], 'which is no slice of v5e'),
    (['--topology=v5e:4x4'], "try pip install 'vidmodels[tpu-plan]'"),
    (['--topology=local', '--batch=12'], 'batch of 12 clips does not divide'),
    (
      ['--topology=local', '--batch=8', '--config.mesh.fsdp=3'],
      'needs 6 devices and 8 are here',
    ),
    (['--topology=local', '--batch=0'], 'got --batch=0; expected more than 0'),
    (['--topology=local', '--price=-1'], 'got --price=-1'),
    (['--topology=local', '--remat=perhaps'], 'remat'),
  ],
)
def test_what_cannot_be_planned_is_one_message(
  argv, words, capsys, monkeypatch
):
  monkeypatch.setenv('TPU_LIBRARY_PATH', '/no/such/libtpu.so')
  code, out, error = plan(capsys, *argv, '--json')
  assert code == 2
  assert words in json.loads(out)['error']
  assert 'Traceback' not in error
  assert error.splitlines()[-1].startswith('vidmodels plan: ')


def test_json_has_the_plan_of_the_recipe_without_records(capsys):
  code, out, _ = plan(
    capsys,
    *('--topology=local', '--batch=8', '--classes=5', '--json', '--price=2'),
  )
  tree = json.loads(out)
  assert code == 0
  assert (tree['chips'], tree['batch'], tree['fits']) == (8, 8, True)
  assert tree['collectives']['all-reduce']['bytes'] >= tree['parameter_bytes']
  assert tree['estimated_step_s'] is tree['cost_usd'] is None
  assert tree['scan'] is True
  notes = ' '.join(tree['notes'])
  assert 'model.scan=True' in notes
  assert 'assumed 5 classes and 240000 clips' in notes


@pytest.mark.slow
def test_the_page_has_memory_collectives_and_no_time_of_a_cpu(capsys):
  code, out, _ = plan(
    capsys,
    *('--topology=local', '--batch=8', '--classes=5', '--examples=80'),
    '--unrolled',
  )
  assert code == 0
  assert 'local: 8 chips (cpu), mesh data 8 x fsdp 1 x tensor 1' in out
  assert 'memory a device' in out
  assert ': fits' in out
  assert 'all-reduce' in out
  assert 'no published figures of cpu: no time is estimated' in out
  assert 'assumed' not in out
  assert 'one scan' not in out


@pytest.mark.slow
def test_a_search_prints_the_cheapest_and_its_largest_batch(
  capsys, monkeypatch
):
  from vidmodels.train import memory

  room = memory.Room('machine', 30_000_000, 30_000_000)
  monkeypatch.setattr(memory, 'host_room', lambda: room)
  argv = ('--topology=local', '--batch=8', '--classes=5', '--search', '--json')
  code, out, log = plan(capsys, *argv)
  tree = json.loads(out)
  assert code == 0
  assert (tree['batch'], tree['fits']) == (8, True)
  assert tree['largest']['batch'] > 8
  assert tree['largest']['fits']
  assert tree['largest']['memory_bytes'] <= tree['hbm_bytes'] == 30_000_000 // 8
  # Every compilation is a line while it goes.
  assert log.count('plan: data 8 x fsdp 1') == len(tree['tried']) <= 6
