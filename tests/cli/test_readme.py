"""The README's commands work as they stand, at a size that takes seconds."""

import pathlib
import re
import shlex

import official
import pytest
import tiny

from vidmodels.cli import main

README = pathlib.Path(__file__).resolve().parents[2] / 'README.md'
# What makes a recipe for a pod fit a test; nothing else is changed.
SMALL = {k: v for k, v in tiny.SMALL.items() if k not in ('optim.warmup',)}
SMALL |= {
  'optim.steps': 2,
  'optim.epochs': 0.0,
  'optim.milestones': (1.0,),
  'optim.factors': (0.1,),
  'dtype': 'float32',
}


# The recipe's schedule is a cosine, without steps of its own.
SSV2_KEEPS = ('optim.milestones', 'optim.factors')


def commands(title: str) -> list[list[str]]:
  """The `vidmodels ...` lines of a section."""
  section = README.read_text().split(f'## {title}')[1].split('## ')[0]
  block = re.search(r'```\n(.*?)```', section, re.S)[1].replace('\\\n', ' ')
  lines = map(shlex.split, block.splitlines())
  return [line[1:] for line in lines if line[:1] == ['vidmodels']]


def test_the_commands_for_ones_own_videos_work(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  flags = ['--train-clips', '16', '--test-clips', '8']
  assert main(['demo', '--make-data', 'videos', *flags]) == 0
  (tmp_path / 'videos/test').rename(tmp_path / 'videos/val')
  clips = sorted((tmp_path / 'videos/val').glob('*/*.mp4'))
  clips[0].rename(tmp_path / 'clip.mp4')
  clips[1].rename(tmp_path / 'long.mkv')
  ran = []
  for argv in commands('Your own videos'):
    if argv[0] == 'train':
      argv += [f'--config.{name}={value}' for name, value in SMALL.items()]
    assert main(argv) == 0, argv
    ran.append(argv[0])
  assert ran == [
    'check', 'prepare', 'prepare', 'inspect', 'train', 'evaluate', 'predict'
  ]  # fmt: skip


@pytest.mark.slow
def test_the_commands_for_the_papers_data_sets_work(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  official.ssv2(tmp_path / 'labels', 'ssv2')
  (tmp_path / 'labels/videos').rename(tmp_path / 'webm')
  changed = {n: v for n, v in SMALL.items() if n not in SSV2_KEEPS}
  changed['optim.warmup'] = 1.0
  ran = []
  for argv in commands("The papers' data sets"):
    if argv[0] == 'train':
      argv += [f'--config.{name}={value}' for name, value in changed.items()]
    assert '*' not in ' '.join(argv)  # a shell would find more than one file
    assert main(argv) == 0, argv
    ran.append(argv[0])
  assert ran == [
    *('prepare', 'check', 'prepare', 'prepare'),
    *('train', 'evaluate', 'evaluate'),
  ]
  results = sorted(p.name for p in pathlib.Path('runs/ssv2').glob('eval*/*'))
  assert len(results) == 2


@pytest.mark.parametrize(
  'name',
  [
    *('data', 'stream', 'training', 'evaluation'),
    *('demo', 'models', 'costs', 'weights'),
  ],
)
def test_the_pages_that_the_readme_names_are_there(name):
  assert f'docs/{name}.md' in README.read_text()
  assert (README.parent / f'docs/{name}.md').exists()
