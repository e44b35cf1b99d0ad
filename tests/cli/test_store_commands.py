"""Commands that read and write in an object store do as on a disk."""

import contextlib
import io
import json
import os
import re

import fake
import made_run
import numpy as np
import pytest
import scoring
import stores
import tiny
import videos

from vidmodels import files, local_cache
from vidmodels.cli import main
from vidmodels.data.datasets import registry
from vidmodels.train import hooks

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def server(tmp_path_factory):
  before = os.environ.get(local_cache.FOLDER)
  with stores.start('s3') as store:
    os.environ[local_cache.FOLDER] = str(tmp_path_factory.mktemp('cache'))
    yield store
    os.environ.pop(local_cache.FOLDER)
    if before is not None:
      os.environ[local_cache.FOLDER] = before


@pytest.fixture(scope='module', params=['disk', 'store'])
def root(request, server, tmp_path_factory):
  """A folder of this machine, then one of the store."""
  if request.param == 'store':
    return f'{server.root}/commands'
  return str(tmp_path_factory.mktemp('commands'))


def say(*argv) -> str:
  """What a command prints that must succeed."""
  out = io.StringIO()
  with contextlib.redirect_stdout(out):
    assert main([str(a) for a in argv]) == 0
  return out.getvalue()


def read(root, name) -> bytes:
  return files.place(f'{root}/{name}').read_bytes()


@pytest.fixture(scope='module')
def run(root):
  """A workdir, whose records are there too."""
  made_run.write(files.place(f'{root}/run'), model__layers=1)
  fake.write(files.place(f'{root}/run/records'))
  return f'{root}/run'


@pytest.fixture(scope='module')
def told():
  """What each command said at each place, by name."""
  return {}


def same(told, name, root, text) -> None:
  """Compares with the other place, but for the place's name.

  A joined report is named by a hash of paths; a safetensors file has its
  metadata in any order.
  """
  text = re.sub(r'_ensemble_\w+', '', text.replace(root, 'ROOT'))
  if 'safetensors' in name:
    text = re.sub(r'sha256 \w+', '', text)
  assert told.setdefault(name, text) == text


@pytest.mark.parametrize('kind', ['npz', 'safetensors'])
def test_weights_go_out_are_looked_at_compared_and_come_in(
  root, run, told, kind
):
  file = f'{root}/w.{kind}'
  say('weights', 'export', run, f'--to={kind}', '--out', file)
  same(told, f'inspect {kind}', root, say('weights', 'inspect', file))
  same(told, f'diff {kind}', root, say('weights', 'diff', file, run))
  names = files.place(f'{root}/names.txt')
  names.write_text(''.join(f'{name}\n' for name in fake.CLASSES))
  argv = ['weights', 'import', file, '--classes', names]
  say(*argv, '--out', f'{root}/from-{kind}')
  text = say('weights', 'diff', f'{root}/from-{kind}', run)
  same(told, f'import {kind}', root, text)
  assert main([str(a) for a in (*argv, '--out', run)]) == 2  # it exists


def test_score_files_are_joined_and_submitted(root, told):
  ssv2 = registry.find('ssv2')
  rng = np.random.default_rng(0)
  for name in 'ab':
    scores = scoring.split_scores(
      rng.normal(size=(3, 174)),
      [(), (), ()],
      classes=ssv2.classes(),
      labelled=False,
      videos=('1', '2', '3'),
      dataset='ssv2',
      step=ord(name),
    )
    folder = files.output_folder(f'{root}/{name}')
    scores.save(folder / f'{name}.npz')
  text = say(
    *('evaluate', '--scores', f'{root}/a', f'{root}/b/b.npz'),
    *('--out', f'{root}/joined', '--submission', f'{root}/s/test.csv'),
  )
  same(told, 'joined', root, text)
  same(told, 'csv', root, read(root, 's/test.csv').decode())
  (report,) = files.place(f'{root}/joined').glob('*.json')
  same(told, 'report', root, report.read_text())
  # Over an input nothing is written.
  argv = ['evaluate', '--scores', f'{root}/a/a.npz']
  assert main([*argv, '--submission', f'{root}/a/a.npz']) == 2


def test_records_are_looked_at(root, run, told):
  records = f'{run}/records'
  text = say('inspect', records, '--split', 'train', '--verify')
  same(told, 'inspect', root, text)
  sheet = f'{root}/sheet.png'
  say('inspect', records, '--split', 'train', '--count=3', '--sheet', sheet)
  same(told, 'sheet', root, read(root, 'sheet.png').hex())


def test_videos_are_checked_against_class_lists_of_the_place(
  root, told, tmp_path
):
  source = tmp_path / 'videos'
  for name in ('run', 'walk'):
    (source / name).mkdir(parents=True)
    videos.write(source / name / '0.mp4', videos.moving(4))
  names = files.place(f'{root}/two.txt')
  files.output_folder(root)
  names.write_text('walk\nrun\n')
  text = say('check', source, '--classes', names, '--workers=1')
  same(told, 'check', root, text.replace(str(source), 'SOURCE'))


def test_lines_after_the_step_that_a_run_resumes_at_are_made_anew(root):
  path = files.output_folder(root) / 'spikes.jsonl'
  first = hooks.make_lines_writer(path, start_step=0)
  for step in (1, 2, 3):
    first.write_scalars(step, {'loss': step / 2})
  first.flush()
  again = hooks.make_lines_writer(path, start_step=2)
  again.write_scalars(3, {'loss': 9.0})
  again.flush()
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert [(line['step'], line['loss']) for line in lines] == [
    (1, 0.5), (2, 1.0), (3, 9.0),
  ]  # fmt: skip


@pytest.mark.parametrize('root', ['store'], indirect=True)
def test_a_run_starts_from_a_run_is_traced_and_forked_in_a_store(root, run):
  workdir, records = f'{root}/trained', f'{run}/records'
  changes = dict(model__layers=1, optim__steps=4, init_from=run)
  argv = ['train', '--config=demo', f'--workdir={workdir}']
  argv += tiny.flags(records, **changes, log__every=1)
  say(*argv, '--profile=3:4')
  place = files.place(workdir)
  assert json.loads((place / 'goodput.json').read_text())
  assert list(place.glob('profile/plugins/profile/*/*.xplane.pb'))
  forked = f'{root}/forked'
  said = say(
    'train', f'--fork={workdir}@2', f'--workdir={forked}',
    '--config.optim.steps=5',
  )  # fmt: skip
  assert 'trained to step 5' in said
  config = json.loads(read(forked, 'config.json'))
  assert [entry['step'] for entry in config['history']] == [2]
  lines = read(forked, 'metrics.jsonl').splitlines()
  assert [json.loads(line)['step'] for line in lines] == [3, 4, 5]
