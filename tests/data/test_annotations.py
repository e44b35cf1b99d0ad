"""Sources: folders and lists of many habits become the same rows."""

import os
import pathlib

import pytest

from vidmodels.data.annotations import read_source
from vidmodels.data.classes import ClassList
from vidmodels.typing import InputError

CLASSES = ClassList(('run', 'walk', 'sit down, slowly'))


def touch(folder, *names):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def listed(folder, text, classes=None, **more):
  path = folder / 'list.txt'
  path.write_text(text)
  return read(path, classes, **more)


def read(*args, **options):
  listing = read_source(*args, **options)
  return listing.rows, listing.classes


def pairs(rows):
  return [(row.video, *row.labels) for row in rows]


def test_a_folder_per_class_gives_sorted_classes_and_videos(tmp_path):
  touch(tmp_path, 'walk/b.mp4', 'walk/a.avi', 'run/ü (1).webm', 'run/no_suffix')
  touch(tmp_path, 'run/.hidden', '.git/config', 'README.md')
  rows, classes = read(tmp_path)
  assert classes.names == ('run', 'walk')
  assert pairs(rows) == [
    ('run/no_suffix', 0),
    ('run/ü (1).webm', 0),
    ('walk/a.avi', 1),
    ('walk/b.mp4', 1),
  ]
  assert rows[3].path == tmp_path / 'walk/b.mp4'


def test_folders_follow_a_class_list_that_is_given_or_lies_inside(tmp_path):
  touch(tmp_path, 'walk/a.mp4', '0/b.mp4')
  rows, classes = read(tmp_path, CLASSES)
  assert classes == CLASSES
  assert pairs(rows) == [('0/b.mp4', 0), ('walk/a.mp4', 1)]
  ClassList(('walk', '0', 'other')).save(tmp_path / 'classes.txt')
  rows, classes = read(tmp_path, default=CLASSES)
  assert pairs(rows) == [('0/b.mp4', 1), ('walk/a.mp4', 0)]


def test_a_folder_that_is_named_as_a_video_is_a_row(tmp_path):
  touch(tmp_path, 'run/a.mp4')
  (tmp_path / 'run' / 'b.mp4').mkdir()
  rows, _ = read(tmp_path)
  assert pairs(rows) == [('run/a.mp4', 0), ('run/b.mp4', 0)]


def test_a_name_that_is_no_utf8_is_spelt_out(tmp_path):
  touch(tmp_path, 'run/a.mp4')
  (tmp_path / 'run/a.mp4').rename(tmp_path / os.fsdecode(b'run/\xff.mp4'))
  rows, _ = read(tmp_path)
  assert rows[0].video == 'run/\\xff.mp4'
  assert rows[0].path.exists()


@pytest.mark.parametrize(
  ('names', 'says'),
  [
    ((), 'no folder'),
    (('a.mp4', 'run/b.mp4'), 'the video a.mp4'),
    (('train/run/a.mp4', 'train/walk/b.mp4'), 'the folder run'),
    (('run/.hidden',), 'are empty'),
  ],
)
def test_a_folder_that_is_not_sorted_by_class_is_refused(tmp_path, names, says):
  touch(tmp_path, *names)
  with pytest.raises(InputError, match=says):
    read_source(tmp_path)


def test_a_class_folder_that_the_list_lacks_is_refused(tmp_path):
  touch(tmp_path, 'wakl/a.mp4')
  with pytest.raises(InputError, match=r"wakl: .*did you mean 'walk'"):
    read_source(tmp_path, CLASSES)


@pytest.mark.parametrize(
  'text',
  [
    'a.mp4 0\nb c.mp4 1\n',
    'a.mp4,0\nb c.mp4,1\n',
    'a.mp4, 0\nb c.mp4 , 1\n',
    'a.mp4\t0\nb c.mp4\t1',
    '\ufeffa.mp4\t0\r\n\r\nb c.mp4\t1\r\n',
    'path,label\na.mp4,0\nb c.mp4,1\n',
    'video_path label_index\na.mp4 0\nb c.mp4 1\n',
    'a.mp4 run\nb c.mp4 walk\n',
    'a.mp4,run\nb c.mp4,walk\n',
  ],
)
def test_every_kind_of_list_gives_the_same_rows(tmp_path, text):
  touch(tmp_path, 'a.mp4', 'b c.mp4')
  rows, classes = listed(tmp_path, text, CLASSES)
  assert pairs(rows) == [('a.mp4', 0), ('b c.mp4', 1)]
  assert rows[1].path == tmp_path / 'b c.mp4'
  assert classes == CLASSES


def test_names_with_spaces_and_commas_need_their_separator(tmp_path):
  touch(tmp_path, 'a, b.mp4')
  rows, _ = listed(tmp_path, 'a, b.mp4\tsit down, slowly\n', CLASSES)
  assert pairs(rows) == [('a, b.mp4', 2)]
  rows, _ = listed(tmp_path, 'a, b.mp4 1\n', CLASSES)
  assert pairs(rows) == [('a, b.mp4', 1)]
  rows, classes = listed(tmp_path, 'a, b.mp4,jump high\n')
  assert (pairs(rows), classes.names) == ([('a, b.mp4', 0)], ('jump high',))


def test_numbers_without_names_name_the_classes(tmp_path):
  touch(tmp_path, 'a.mp4')
  rows, classes = listed(tmp_path, 'a.mp4 0\nb.mp4 3\nc.mp4 03\n')
  assert classes.names == ('0', '1', '2', '3')
  assert [row.labels[0] for row in rows] == [0, 3, 3]


def test_names_without_a_class_list_are_sorted(tmp_path):
  touch(tmp_path, 'a.mp4')
  rows, classes = listed(tmp_path, 'a.mp4 walk\nb.mp4 run\nc.mp4 walk\n')
  assert classes.names == ('run', 'walk')
  assert [row.labels[0] for row in rows] == [1, 0, 1]


def test_the_class_list_beside_counts_before_the_default(tmp_path):
  touch(tmp_path, 'a.mp4')
  ClassList(('walk', 'run')).save(tmp_path / 'classes.txt')
  rows, _ = listed(tmp_path, 'a.mp4 walk\n', default=CLASSES)
  assert rows[0].label == 0
  rows, _ = listed(tmp_path, 'a.mp4 walk\n', CLASSES)
  assert rows[0].label == 1
  (tmp_path / 'classes.txt').unlink()
  rows, classes = listed(tmp_path, 'a.mp4 walk\n', default=CLASSES)
  assert (rows[0].label, classes) == (1, CLASSES)


def test_paths_are_relative_to_the_list_or_the_root(tmp_path):
  touch(tmp_path, 'lists/x', 'videos/a.mp4')
  text = f'a.mp4 0\n{tmp_path}/videos/a.mp4 0\n'
  rows, _ = listed(tmp_path / 'lists', text, root=tmp_path / 'videos')
  assert rows[0].path == rows[1].path == tmp_path / 'videos/a.mp4'
  with pytest.raises(InputError, match='--root'):
    listed(tmp_path / 'lists', 'a.mp4 0\n')


def test_a_file_that_is_missing_stays_listed(tmp_path):
  touch(tmp_path, 'b.mp4')
  rows, _ = listed(tmp_path, 'a.mp4 0\nb.mp4 0\n')
  assert [row.path.exists() for row in rows] == [False, True]


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('a.mp4 0\nb.mp4 1\na.mp4 1\n', r"'a\.mp4' twice, on lines 1 and 3"),
    ('a.mp4 0\nb.mp4\n', r"line 2 is 'b\.mp4'"),
    ('a.mp4,0\n\nb.mp4 1\n', r"line 1: label 'a\.mp4,0'|line 1 is"),
    ('a.mp4 3\n', r'line 1: label 3 .*0 to 2'),
    ('a.mp4 -1\n', r'line 1: label -1'),
    ('a.mp4 wakl\n', "did you mean 'walk'"),
    ('', 'is empty'),
    ('path label\n', 'is empty'),
    ('video_path,start,end,label\na.mp4,0,1,2\n', 'start, end'),
    ('a.mp4 1 2\n', 'several labels'),
  ],
)
def test_a_list_that_does_not_say_what_it_means_is_refused(
  tmp_path, text, says
):
  touch(tmp_path, 'a.mp4')
  with pytest.raises(InputError, match=says):
    listed(tmp_path, text, CLASSES)


def test_a_slip_of_a_label_does_not_make_a_million_classes(tmp_path):
  touch(tmp_path, 'a.mp4')
  with pytest.raises(InputError, match='--classes'):
    listed(tmp_path, 'a.mp4 100000000\n')


def test_a_source_that_is_neither_is_refused(tmp_path):
  with pytest.raises(InputError, match='does not exist'):
    read_source(tmp_path / 'none')
  touch(tmp_path, 'v.mp4')
  with pytest.raises(InputError, match='is a video'):
    read_source(tmp_path / 'v.mp4')
  with pytest.raises(InputError, match='a root'):
    read_source(tmp_path, root=pathlib.Path('/'))
  (tmp_path / 'binary.txt').write_bytes(b'\xff\xfe\x00')
  with pytest.raises(InputError, match='cannot be read'):
    read_source(tmp_path / 'binary.txt')
