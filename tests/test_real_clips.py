"""Real videos through the whole job: prepare, train, evaluate, predict."""

import json

import pytest
import tiny

from vidmodels.cli import main

FRAMES = {
  'arm_wrestling.mp4': 280,
  'basketball.mp4': 300,
  'eye_makeup_bframes.avi': 164,
  'pool_cleaning.mp4': 300,
}


@pytest.fixture
def clips(shared):
  folder = shared / 'clips'
  if not folder.is_dir():
    pytest.skip(f'no clips at {folder}')
  return folder


def run(capsys, *argv) -> dict:
  assert main([*map(str, argv), '--json']) == 0
  return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_real_clips_go_through_the_whole_job(capsys, tmp_path, clips):
  lines = [f'{name}\t{name.split(".")[0]}\n' for name in FRAMES]
  source, records = tmp_path / 'list.txt', tmp_path / 'records'
  source.write_text(''.join(lines))
  checked = run(capsys, 'check', source, '--root', clips)
  assert (checked['ok'], checked['frames']) == (4, sum(FRAMES.values()))
  for split in ('train', 'test'):
    made = run(
      capsys, 'prepare', source, '--root', clips, '--out', records,
      '--split', split, '--short-side', 48,
    )  # fmt: skip
    assert (made['count'], made['lost']) == (4, [])
  found = run(capsys, 'inspect', records)
  assert found['splits']['test']['example']['frames'] == 280
  flags = tiny.flags(
    records,
    clip__size=32,
    augment__short_side=(32, 40),
    clip__stride=0.2,
    clip__unit='second',
    optim__steps=2,
    optim__warmup=0.0,
  )
  workdir = tmp_path / 'run'
  run(capsys, 'train', '--config=demo', f'--workdir={workdir}', *flags)
  report = run(capsys, 'evaluate', '--workdir', workdir, '--views', '2x3')
  assert (report['videos'], report['listed']) == (4, 4)
  videos = [clips / name for name in FRAMES]
  said = run(capsys, 'predict', *videos, '--workdir', workdir)
  assert [a['frames'] for a in said['answers']] == list(FRAMES.values())
  windows = run(
    capsys, 'predict', videos[0], '--workdir', workdir, '--window', 2
  )
  assert [round(a['start_s']) for a in windows['answers']] == [0, 2, 4, 6, 8]
