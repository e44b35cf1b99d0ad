"""ActivityNet 1.3: segments cut to their video, videos with all classes."""

import json

import pytest

from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError


def video(subset, duration, *annotations):
  return {
    'duration': duration,
    'subset': subset,
    'resolution': '1280x720',
    'url': 'https://www.youtube.com/watch?v=x',
    'annotations': [
      {'segment': [start, end], 'label': label}
      for start, end, label in annotations
    ],
  }


DATABASE = {
  '-xXkbgS4aDk': video(
    'training',
    100.5,
    (2.5, 20.25, 'BMX'),
    (30, 99.0, 'Baking cookies'),
    (95.0, 103.7, 'BMX'),  # past the end
  ),
  'a_b-c__d_e-': video('training', 30.0, (0.0, 10.0, 'Mooping floor')),
  'odd_odd_odd': video(
    'training',
    10.0,
    (-1.0, 4.0, 'BMX'),  # before the start
    (5.0, 5.0, 'BMX'),  # no length
    (8.0, 6.0, 'BMX'),  # backwards
    (11.0, 12.0, 'Archery'),  # outside
    (1.0, 2.0, 'Playing ten pins'),
    (1.0, 2.0, 'Playing ten pins'),  # again
  ),
  'bareTrain01': video('training', 10.0),
  'val00000000': video('validation', 50.0, (1.0, 50.0, 'Wakeboarding')),
  'test0000000': video('testing', 64.0),
}
TAXONOMY = [
  {'nodeName': 'BMX', 'nodeId': 1, 'parentName': 'Biking', 'parentId': 2},
  {'nodeName': 'Biking', 'nodeId': 2, 'parentName': 'Root', 'parentId': 0},
]
NAME = 'activity_net.v1-3.min.json'


@pytest.fixture
def folder(tmp_path):
  return official(tmp_path)


def official(folder, database=None, version='VERSION 1.3', name=NAME):
  value = {
    'version': version,
    'taxonomy': TAXONOMY,
    'database': DATABASE if database is None else database,
  }
  (folder / name).write_text(json.dumps(value))
  return folder


def read(folder, name='activitynet', split='training', videos=None, **more):
  return registry.read(
    name, annotations=folder, videos=videos, split=split, **more
  )


def number(label):
  return registry.find('activitynet').classes().names.index(label)


def test_each_segment_is_a_clip_of_one_class(folder):
  listing = read(folder)
  names = listing.classes.names
  assert [
    (r.video, names[r.labels[0]], r.start_s, r.end_s) for r in listing.rows
  ] == [
    ('-xXkbgS4aDk_000', 'BMX', 2.5, 20.25),
    ('-xXkbgS4aDk_001', 'Baking cookies', 30.0, 99.0),
    ('-xXkbgS4aDk_002', 'BMX', 95.0, 100.5),
    ('a_b-c__d_e-_000', 'Mooping floor', 0.0, 10.0),
    ('odd_odd_odd_000', 'BMX', 0.0, 4.0),
    ('odd_odd_odd_004', 'Playing ten pins', 1.0, 2.0),
  ]
  assert listing.task.kind == 'single'
  assert listing.flip.kind == 'free'


def test_odd_segments_are_counted(folder):
  notes = read(folder).notes
  for said in (
    'segments that leave their video, cut to it: 3',
    'segments of no length in their video, dropped: 3',
    'segments that their video has already, dropped: 1',
    'videos without a segment, left out: 1',
  ):
    assert said in notes


def test_whole_videos_have_all_their_classes_once(folder):
  listing = read(folder, 'activitynet_untrimmed')
  assert [(r.video, r.labels) for r in listing.rows] == [
    ('-xXkbgS4aDk', tuple(sorted([number('BMX'), number('Baking cookies')]))),
    ('a_b-c__d_e-', (number('Mooping floor'),)),
    (
      'odd_odd_odd',
      tuple(sorted(map(number, ('BMX', 'Archery', 'Playing ten pins')))),
    ),
  ]
  assert all((r.start_s, r.end_s) == (0.0, None) for r in listing.rows)
  assert [r.seconds for r in listing.rows] == [100.5, 30.0, 10.0]
  assert listing.task.kind == 'any'
  assert listing.expected == 10_024
  assert 'videos without a label, left out: 1' in listing.notes
  assert 'videos with several classes: 2' in listing.notes
  for r in listing.rows:
    listing.task.check(r.labels, 200)


def test_classes_keep_the_order_of_published_weights(folder):
  names = read(folder).classes.names
  assert len(names) == 200
  assert names.index('BMX') < names.index('Baking cookies')
  assert names.index('Playing ten pins') < names.index('Braiding hair')
  assert list(names) != sorted(names)


@pytest.mark.parametrize(('split', 'alias'), [('validation', 'val')])
def test_splits_have_a_short_name(folder, split, alias):
  assert [r.video for r in read(folder, split=split).rows] == [
    'val00000000_000'
  ]
  assert read(folder, split=alias).rows == read(folder, split=split).rows
  untrimmed = read(folder, 'activitynet_untrimmed', alias)
  assert untrimmed.expected == 4926


@pytest.mark.parametrize('split', ['testing', 'test'])
def test_testing_videos_have_no_label_and_no_segment(folder, split):
  listing = read(folder, 'activitynet_untrimmed', split)
  assert [(r.video, r.labels) for r in listing.rows] == [('test0000000', ())]
  assert not listing.labelled
  assert listing.expected == 5044
  with pytest.raises(InputError, match='no split'):
    read(folder, split=split)


def test_a_testing_video_may_say_no_duration(tmp_path):
  names = dict.fromkeys(('test0000000', 'test0000001', 'test0000002'))
  database = {name: video('testing', 64.0) for name in names}
  del database['test0000001']['duration']
  database['test0000002']['duration'] = 0
  official(tmp_path, database)
  rows = read(tmp_path, 'activitynet_untrimmed', 'testing').rows
  assert [row.seconds for row in rows] == [64.0, None, None]


def test_one_stretch_of_two_classes_is_two_clips_and_told(tmp_path):
  both = (0.0, 10.0, 'BMX'), (0.0, 10.0, 'Archery')
  official(tmp_path, {'a_b-c__d_e-': video('training', 30.0, *both)})
  (tmp_path / 'v_a_b-c__d_e-.mp4').touch()
  listing = read(tmp_path, videos=tmp_path)
  assert len(listing.rows) == 2
  assert listing.notes[-1] == (
    '1 the same stretch of the same file as another clip: a_b-c__d_e-_001 '
    '(as a_b-c__d_e-_000)'
  )
  # Nobody can say so of files that are not there.
  assert read(tmp_path).notes == ()


def test_labels_of_a_testing_video_are_not_taken(tmp_path):
  database = {'test0000000': video('testing', 64.0, (1.0, 2.0, 'BMX'))}
  official(tmp_path, database)
  listing = read(tmp_path, 'activitynet_untrimmed', 'testing')
  assert listing.rows[0].labels == ()


def test_videos_are_found_with_their_prefix_and_other_subsets_are_known(
  folder, tmp_path
):
  videos = tmp_path / 'videos'
  (videos / 'train').mkdir(parents=True)
  (videos / 'train/v_-xXkbgS4aDk.mp4').touch()
  (videos / 'a_b-c__d_e-.mkv').touch()
  (videos / 'v_val00000000.webm').touch()
  (videos / 'v_stray000000.mp4').touch()
  listing = read(folder, 'activitynet_untrimmed', videos=videos)
  assert [r.path for r in listing.rows] == [
    videos / 'train/v_-xXkbgS4aDk.mp4',
    videos / 'a_b-c__d_e-.mkv',
    videos / 'v_odd_odd_odd.mp4',
  ]
  assert listing.outside == ('v_stray000000.mp4',)


@pytest.mark.parametrize(
  ('version', 'fine'),
  [
    ('VERSION 1.3', True),
    ('1.3', True),
    ('VERSION 1.2', False),
    ('1.31', False),
    ('', False),
    (None, False),
  ],
)
def test_only_version_1_3_is_taken(tmp_path, version, fine):
  official(tmp_path, version=version, name='activitynet.json')
  if fine:
    assert read(tmp_path).rows
  else:
    with pytest.raises(InputError, match=r'expected VERSION 1\.3'):
      read(tmp_path)


@pytest.mark.parametrize(
  ('entry', 'says'),
  [
    (video('training', 9.0, (1, 2, 'Biking')), "got label 'Biking'; expected"),
    (video('training', 9.0, (1, 2, 'Mopping floor')), "mean 'Mooping floor'"),
    (video('training', 9.0, (1, 2, '3')), "got label '3'"),
    (video('training', 9.0, (1, 2, 3)), 'got label .3.'),
    (video('training', 9.0, (1, None, 'BMX')), "got 'None'; expected seconds"),
    (video('training', None, (1, 2, 'BMX')), "got 'None'; expected seconds"),
    (video('training', True, (1, 2, 'BMX')), "got 'True'; expected seconds"),
    (video('train', 9.0, (1, 2, 'BMX')), "got subset 'train'"),
    (video('training', 9.0) | {'annotations': None}, 'annotations'),
    (video('training', 9.0) | {'annotations': [7]}, 'segment'),
    ([], 'subset'),
  ],
)
def test_an_odd_entry_is_reported_with_its_video(tmp_path, entry, says):
  official(tmp_path, DATABASE | {'-bad-': entry})
  for name in ('activitynet', 'activitynet_untrimmed'):
    with pytest.raises(InputError, match=f"video '-bad-': .*{says}"):
      read(tmp_path, name)


def test_an_endless_video_is_no_json(tmp_path):
  official(tmp_path, DATABASE | {'-bad-': video('training', 1e400)})
  with pytest.raises(InputError, match='holds Infinity, which is no JSON'):
    read(tmp_path, 'activitynet')


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('{"results": {}, "version": "VERSION 1.3"}', 'holds results, version'),
    ('[1]', 'holds list'),
    ('{"version": "VERSION 1.3", "database": []}', 'expected the ActivityNet'),
    ('{"version": "VERSION 1.3", "database": {}}', 'no clip'),
    ('{"database": ', 'is not JSON'),
    ('[' * 100_000, 'is not JSON'),
    ('label,youtube_id\n', 'not JSON'),
  ],
)
def test_another_file_is_named_for_what_it_is(tmp_path, text, says):
  (tmp_path / NAME).write_text(text)
  with pytest.raises(InputError, match=says):
    read(tmp_path)


def test_names_may_be_the_users_in_their_order(folder):
  mine = ClassList(
    ('Mooping floor', 'BMX', 'Archery', 'Playing ten pins', 'Baking cookies')
  )
  assert read(folder, classes=mine).rows[0].labels == (1,)
  with pytest.raises(InputError, match="got label 'Mooping floor'"):
    read(folder, classes=ClassList(mine.names[1:]))
