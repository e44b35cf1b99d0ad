"""Clips that are clearly shorter than they should be are counted and listed."""

import json

import pytest
import videos

from vidmodels import cli
from vidmodels.data.listing import youtube_clips
from vidmodels.data.prepare import check_videos, prepare_records, short_clips
from vidmodels.data.prepare.split_report import SplitReport, report_path
from vidmodels.data.records.record_set import Manifest


@pytest.mark.parametrize(
  ('annotated', 'lasts', 'short'),
  [
    (10.0, 0.4, True),
    (29.0, 9.0, True),
    (10.0, 7.9, True),
    (10.0, 8.1, False),
    (10.0, 30.0, False),
    (0.5, 0.3, False),  # a few frames
    (1.0, 0.7, True),
  ],
)
def test_short_is_under_80_percent_and_a_quarter_of_a_second(
  annotated, lasts, short
):
  assert bool(short_clips.find_short([('a', annotated, lasts)])) == short


def test_without_annotations_short_is_a_fifth_of_the_median():
  clips = [(str(i), None, 10.0) for i in range(8)]
  assert short_clips.find_short([*clips, ('x', None, 1.9)]) == (
    ('x', 1.9, 10.0),
  )
  assert short_clips.find_short([*clips, ('x', None, 2.1)]) == ()
  # A few clips have no usual length, and annotated ones are none of them.
  assert short_clips.find_short([*clips[:6], ('x', None, 0.1)]) == ()
  long = [(str(i), 10.0, 10.0) for i in range(9)]
  assert short_clips.find_short([*long, ('x', None, 0.1)]) == ()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('in')
  for name, frames in (('a', 30), ('b', 4)):
    videos.write(folder / f'{name}.mp4', videos.moving(frames))
  (folder / 'list.csv').write_text(
    'path,label,start,end,length_of_file\n'
    'a.mp4,run,0,3,\na.mp4,run,1,2,\na.mp4,run,1,30,\nb.mp4,run,,3,\n'
    'b.mp4,run,,,\n'
  )
  return folder


WANT = (('a.mp4@1-30', 2.0, 29.0), ('b.mp4@0-3', 0.4, 3.0))


@pytest.mark.parametrize('workers', [1, 2])
def test_check_and_prepare_say_the_same(folder, tmp_path, workers):
  report = check_videos.check(folder / 'list.csv', workers=workers)
  manifest = prepare_records.prepare(
    folder / 'list.csv', tmp_path, workers=workers, shards=2
  )
  assert report.short == manifest.short == WANT
  assert Manifest.load(tmp_path, 'train').short == WANT
  saved = SplitReport.load(report_path(tmp_path, 'train'))
  assert saved.short == WANT
  assert (report.ok, saved.ok) == (5, 5)  # they are kept
  line = '2 short, which is under 80 % of the annotated length, or a fifth of '
  assert [x for x in saved.lines() if x.startswith(line)] == [
    line + 'the usual one: a.mp4@1-30 lasts 2.00 of 29.00 s, b.mp4@0-3 lasts '
    '0.40 of 3.00 s'
  ]
  assert check_videos.check(folder / 'list.csv', decode=False).short == ()


def test_the_commands_list_them(folder, tmp_path, capsys):
  source = str(folder / 'list.csv')
  assert cli.main(['check', source, '--workers', '1']) == 0
  printed = capsys.readouterr().out
  assert 'short    a.mp4@1-30: lasts 2.00 of 29.00 s' in printed
  assert cli.main(['check', source, '--workers', '1', '--json']) == 0
  said = json.loads(capsys.readouterr().out)
  assert [tuple(clip) for clip in said['short']] == list(WANT)


def test_a_clip_of_kinetics_has_the_length_of_its_line(folder, tmp_path):
  name = 'abcdefghijk_000003_000013'
  (tmp_path / f'{name}.mp4').symlink_to(folder / 'b.mp4')
  header = ','.join(('label', *youtube_clips.COLUMNS))
  path = tmp_path / 'train.csv'
  path.write_text(f'{header}\nrun,abcdefghijk,3,13,train\n')
  report = check_videos.check(path, workers=1)
  assert report.short == ((name, 0.4, 10.0),)


def test_a_folder_has_a_usual_length(folder, tmp_path):
  (tmp_path / 'run').mkdir()
  for i in range(8):
    (tmp_path / f'run/{i}.mp4').symlink_to(folder / 'a.mp4')
  (tmp_path / 'run/x.mp4').symlink_to(folder / 'b.mp4')
  report = check_videos.check(tmp_path, workers=1)
  assert report.short == (('run/x.mp4', 0.4, 3.0),)
