"""What is said before a run: a random start, small crops, short videos."""

import dataclasses

import fake
import pytest
import tiny

from vidmodels import config as cfg
from vidmodels.cli import recipe
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.sampling import short_videos
from vidmodels.train import build, start_notes


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  """Thirteen videos of 12 frames, .48 s each."""
  return RecordSet.open(fake.write(tmp_path_factory.mktemp('r')), 'train')


def notes(config, records) -> list[str]:
  run = build.build(config, classes=3, examples=len(records))
  return start_notes.start_notes(run, records)


def test_a_run_without_weights_says_that_all_is_random(records):
  config = tiny.config(records.dir)
  (line,) = notes(config, records)
  assert line.startswith('no init_from: all 0.01 M parameters of this')
  assert line.endswith('timesformer start at random')
  meant = dataclasses.replace(
    config, init_expects='imagenet-21k', init_files='B_16.npz'
  )
  (line,) = notes(meant, records)
  assert 'made for a start from imagenet-21k weights' in line
  assert '--config.init_from=FILE, such as B_16.npz' in line
  given = dataclasses.replace(meant, init_from='B_16.npz')
  assert notes(given, records) == []


@pytest.mark.parametrize('name', recipe.names())
def test_recipes_of_papers_name_the_weights_that_they_expect(name):
  for each in recipe.published(name):
    config = recipe.load(each)
    assert bool(config.init_expects) == bool(config.init_files), each
    scratch = each in ('demo', 'small:scratch')
    scratch |= each.startswith('i3d:slowfast')
    if not scratch and not each.startswith('demo:'):
      assert config.init_expects, each


def test_crops_that_show_little_of_the_picture_are_said(records):
  config = tiny.config(records.dir, augment__short_side=(256, 320))
  line = notes(config, records)[1]
  assert line == (
    'training sees 0.31% of a square picture on average: crops of 16 x 16 '
    'pixels from a short side of 256 to 320, while tests see all of it; try '
    "'--config.augment.short_side=(18, 23)'"
  )
  small = dataclasses.replace(
    config, augment=cfg.Augment(crop='area', area=(0.05, 0.1))
  )
  assert 'try a larger augment.area' in start_notes.small_crops(small)
  wide = dataclasses.replace(config.augment, short_side=(16, 30))
  assert not start_notes.small_crops(dataclasses.replace(config, augment=wide))


@pytest.mark.parametrize(
  ('clip', 'says'),
  [
    (cfg.Clip(frames=4, sampling='dense', stride=2.0), ''),
    (cfg.Clip(frames=12, sampling='dense'), ''),
    (
      cfg.Clip(frames=13, sampling='dense'),
      '12 of the 13 frames of its clip differ',
    ),
    (
      cfg.Clip(frames=12, sampling='pyslowfast', stride=32.0, fps=30.0),
      'every 32 frames at 30 a second',
    ),
    (
      cfg.Clip(frames=16, sampling='segment'),
      '12 of the 16 frames of its clip differ; try fewer clip.frames',
    ),
    (
      cfg.Clip(frames=5, sampling='mmaction', stride=5.0),
      'its clip goes on from its beginning; try fewer clip.frames or a smaller',
    ),
    (
      cfg.Clip(frames=8, stride=0.1, unit='second'),
      'every 0.1 seconds): in the median one, of 12 frames (0.4 s), ',
    ),
  ],
)
def test_clips_longer_than_their_videos_are_counted(records, clip, says):
  line = short_videos.describe(records, clip)
  assert (says in line) if says else (line == '')
  if line:
    assert line.startswith('13 of 13 videos of train are too short for a clip')


def test_a_long_split_is_looked_at_here_and_there(records, monkeypatch):
  monkeypatch.setattr(short_videos, 'LOOKED_AT', 4)
  line = short_videos.describe(records, cfg.Clip(frames=40, stride=1.0))
  assert line.startswith('4 of 4 videos looked at (of 13) of train')


def test_long_clips_are_said_where_a_split_is_scored(records, tmp_path):
  from vidmodels.evaluate import score_split
  from vidmodels.train import loop, restore

  config = tiny.config(records.dir, clip__stride=8.0, optim__steps=2)
  lines = []
  loop.train(
    config, tmp_path, progress=lambda done, total, line: lines.append(line)
  )
  assert sum('too short for a clip of 4 frames' in line for line in lines) == 1
  assert sum('start at random' in line for line in lines) == 1
  lines.clear()
  score_split.evaluate(
    restore.load(tmp_path),
    dir=records.dir,
    split='train',
    views=config.views,
    progress=lambda done, total, line: lines.append(line),
  )
  assert sum('too short for a clip of 4 frames' in line for line in lines) == 1
