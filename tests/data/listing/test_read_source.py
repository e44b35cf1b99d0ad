"""Sources: a folder per class becomes rows; what is neither is refused."""

import os
import pathlib

import pytest

from vidmodels.data.listing.read_source import read_source
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError

CLASSES = ClassList(('run', 'walk', 'sit down, slowly'))
# 'entrée', 'a jump' and 'école', with one letter for 'é' and with two.
NFC = ('entr\u00e9e', 'a jump', '\u00e9cole, haute')
NFD = ('entre\u0301e', 'a jump', 'e\u0301cole, haute')


def touch(folder, *names):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


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


def test_a_name_that_is_not_utf8_is_escaped(tmp_path):
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


def test_a_folder_per_class_may_have_several_labels_too(tmp_path):
  touch(tmp_path, 'run/a.mp4')
  assert read_source(tmp_path, labels='any').task.kind == 'any'


def test_a_source_that_is_neither_is_refused(tmp_path):
  with pytest.raises(InputError, match='does not exist'):
    read_source(tmp_path / 'none')
  touch(tmp_path, 'v.mp4')
  with pytest.raises(InputError, match='is a video'):
    read_source(tmp_path / 'v.mp4')
  with pytest.raises(InputError, match='a root'):
    read_source(tmp_path, root=pathlib.Path('/'))
  (tmp_path / 'binary.txt').write_bytes(b'a.mp4 0\n\xff 1\n')
  with pytest.raises(InputError, match='line 2 is not UTF-8'):
    read_source(tmp_path / 'binary.txt')
  (tmp_path / 'list.txt.gz').write_bytes(b'\x1f\x8b\x08')
  with pytest.raises(InputError, match=r'gzip archive.*unpack it'):
    read_source(tmp_path / 'list.txt.gz')


def test_class_folders_that_look_the_same_are_one_class(tmp_path):
  touch(tmp_path, f'{NFD[0]}/1.mp4', f'{NFC[0]}/1.mp4', 'z/2.mp4')
  listing = read_source(tmp_path)
  assert listing.classes.names == (NFC[0], 'z')
  assert sorted(row.labels for row in listing.rows) == [(0,), (0,), (1,)]
  assert len({row.video for row in listing.rows}) == 3
  assert listing.notes[0].startswith('1 class names come in two Unicode')
  for name in (NFC[0], NFD[0]):
    names = read_source(tmp_path, ClassList(('z', name))).classes.names
    assert names == ('z', name)
