"""Sources: folders and lists of many habits become the same rows."""

import json
import os
import pathlib

import pytest

from vidmodels.data.listing.read_source import read_source
from vidmodels.data.records.class_list import ClassList
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
    '"a.mp4",run\n"b c.mp4",walk\n',
    'label,video_path,caption\n0,a.mp4,"one, two"\n1,b c.mp4,\n',
    'video_path\tlabel\tfps\na.mp4\trun\t3\nb c.mp4\twalk\t\n',
  ],
)
def test_every_kind_of_list_gives_the_same_rows(tmp_path, text):
  touch(tmp_path, 'a.mp4', 'b c.mp4')
  rows, classes = listed(tmp_path, text, CLASSES)
  assert pairs(rows) == [('a.mp4', 0), ('b c.mp4', 1)]
  assert rows[1].path == tmp_path / 'b c.mp4'
  assert classes == CLASSES


@pytest.mark.parametrize(
  'name',
  [
    'a b/c d.mp4',
    'Füße, größer.webm',
    'x (1) [2], #3 & 4; 5!.avi',
    '-dash.mp4',
    "it's.mkv",
    'a.mp4 b.mp4',
    '10.MOV',
  ],
)
@pytest.mark.parametrize('separator', [' ', ',', '\t', ' , '])
def test_paths_hold_what_file_systems_allow(tmp_path, name, separator):
  touch(tmp_path, name)
  path = name
  if ',' in separator and ',' in name:
    path, separator = f'"{name}"', separator.lstrip()
  text = f'{path}{separator}walk\nother.mp4{separator}run\n'
  rows, _ = listed(tmp_path, text)
  assert pairs(rows) == [(name, 1), ('other.mp4', 0)]
  rows, _ = listed(tmp_path, f'{path}{separator}1\nother.mp4{separator}0\n')
  assert pairs(rows) == [(name, 1), ('other.mp4', 0)]


def test_names_with_spaces_and_commas_are_found_if_they_are_known(tmp_path):
  touch(tmp_path, 'a, b.mp4')
  for line in (
    'a, b.mp4 sit down, slowly',
    'a, b.mp4\tsit down, slowly',
    '"a, b.mp4","sit down, slowly"',
    'a, b.mp4 2',
  ):
    rows, _ = listed(tmp_path, f'{line}\n', CLASSES)
    assert pairs(rows) == [('a, b.mp4', 2)]
  rows, classes = listed(tmp_path, '"a, b.mp4",jump high\n')
  assert (pairs(rows), classes.names) == ([('a, b.mp4', 0)], ('jump high',))
  with pytest.raises(
    InputError, match=r'a label with spaces or commas .*a tab'
  ):
    listed(tmp_path, 'a, b.mp4 jump high\n')
  with pytest.raises(InputError, match=r'"a, b\.mp4",label'):
    listed(tmp_path, 'a, b.mp4,sit down, slowly\n', CLASSES)


@pytest.mark.parametrize('labels', ['multi', 'any'])
@pytest.mark.parametrize(
  'text',
  [
    'a b.mp4 0 2\nc.mp4 1\n',
    'a b.mp4,0,2\nc.mp4,1\n',
    'a b.mp4\t0\t2\nc.mp4\t1\n',
    'path,label,x\na b.mp4,"run; 2",\nc.mp4,walk,\n',
  ],
)
def test_several_labels_are_read_if_asked_for(tmp_path, text, labels):
  touch(tmp_path, 'a b.mp4')
  path = tmp_path / 'list.txt'
  path.write_text(text)
  listing = read_source(path, CLASSES, labels=labels)
  assert pairs(listing.rows) == [('a b.mp4', 0, 2), ('c.mp4', 1)]
  assert listing.task.kind == labels
  with pytest.raises(InputError, match=r'--labels=multi|run; 2'):
    read_source(path, CLASSES)


def test_no_label_is_an_answer_of_many_and_of_nothing_else(tmp_path):
  touch(tmp_path, 'a.mp4')
  path = tmp_path / 'list.txt'
  path.write_text('a.mp4 1 0\nb.mp4\n')
  listing = read_source(path, labels='multi')
  assert pairs(listing.rows) == [('a.mp4', 1, 0), ('b.mp4',)]
  for labels in ('any', 'single'):
    with pytest.raises(InputError, match=r'line 2|--labels=multi'):
      read_source(path, labels=labels)
  path.write_text('a.mp4\nb.mp4\n')
  with pytest.raises(InputError, match='no label at all'):
    read_source(path, labels='multi')
  path.write_text('a.mp4 1 1\n')
  with pytest.raises(InputError, match=r'line 1: .*each class once'):
    read_source(path, labels='multi')
  with pytest.raises(InputError, match='single, multi or any'):
    read_source(path, labels='many')


def test_a_folder_per_class_may_have_several_labels_too(tmp_path):
  touch(tmp_path, 'run/a.mp4')
  assert read_source(tmp_path, labels='any').task.kind == 'any'


def test_a_csv_with_times_cuts_stretches(tmp_path):
  touch(tmp_path, 'a, b.mp4')
  text = (
    'video_path,start,end,label,caption\n'
    '"a, b.mp4",0,2.5,run,"he said ""go"""\n'
    '"a, b.mp4",200.25,203,walk,\n'
    '"a, b.mp4",7,,walk,\n'
    'c.mp4,,,run,x\n'
    'c.mp4,,,run,x\n'
  )
  path = tmp_path / 'list.csv'
  path.write_text(text)
  listing = read_source(path)
  assert listing.classes.names == ('run', 'walk')
  assert [(row.video, row.start_s, row.end_s) for row in listing.rows] == [
    ('a, b.mp4@0-2.5', 0, 2.5),
    ('a, b.mp4@200.25-203', 200.25, 203),
    ('a, b.mp4@7-', 7, None),
    ('c.mp4', 0, None),
  ]
  assert {row.path for row in listing.rows[:3]} == {tmp_path / 'a, b.mp4'}
  assert listing.duplicates == ('c.mp4',)
  assert listing.notes == ('columns not read: caption',)


@pytest.mark.parametrize(
  'times', ['3,2', '2,2', '-1,2', 'nan,2', '1,nan', 'x,2', '1,inf', 'inf,']
)
def test_a_stretch_that_is_none_is_refused(tmp_path, times):
  touch(tmp_path, 'a.mp4')
  with pytest.raises(InputError, match='line 2: got a clip from'):
    listed(tmp_path, f'video_path,start,end,label\na.mp4,{times},run\n')


def test_a_label_in_quotes_is_one_label(tmp_path):
  touch(tmp_path, 'a.mp4')
  text = 'path,label,n\na.mp4,"sit down, slowly",1\nb.mp4,run,2\n'
  rows, classes = listed(tmp_path, text)
  assert classes.names == ('run', 'sit down, slowly')
  assert pairs(rows) == [('a.mp4', 1), ('b.mp4', 0)]


def items(*rows):
  keys = ('file', 'label', 'youtube_id', 'label_idx')
  return json.dumps([dict(zip(keys, row, strict=False)) for row in rows])


def test_a_json_list_orders_the_classes_by_its_numbers(tmp_path):
  touch(tmp_path, 'v/ü [1].mp4')
  path = tmp_path / 'list.json'
  path.write_text(
    items(('v/ü [1].mp4', 'walk', 'x', 0), ('b.mp4', 'run', 'y', 1))
  )
  rows, classes = read(path)
  assert (pairs(rows), classes.names) == (
    [('v/ü [1].mp4', 0), ('b.mp4', 1)],
    ('walk', 'run'),
  )
  with pytest.raises(InputError, match=r'item 1: .*the same order'):
    read(path, CLASSES)
  # Half of the numbers say nothing of the order.
  path.write_text(items(('v/ü [1].mp4', 'walk', 'x', 1), ('b.mp4', 'run', 'y')))
  rows, classes = read(path)
  assert (pairs(rows), classes.names) == (
    [('v/ü [1].mp4', 1), ('b.mp4', 0)],
    ('run', 'walk'),
  )
  path.write_text(items(('v/ü [1].mp4', 'walk'), ('b.mp4', ['run', 'walk'])))
  rows = read_source(path, labels='multi').rows
  assert pairs(rows) == [('v/ü [1].mp4', 1), ('b.mp4', 0, 1)]


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('[]', 'a list of 0'),
    ('{"file": "a.mp4"}', 'an object with the keys file'),
    ('[{"file": "a.mp4"}]', 'a list of 1'),
    ('[{"id": "1", "template": "x"}]', 'Something-Something'),
    ('[{"vid_name": "a", "label": 0}]', 'a Diving48 list'),
    ('{"database": {}}', 'an ActivityNet json'),
    ('[{"file": "a.mp4", "label": "run"', 'cut off'),
    (items(('a.mp4', 'run', '', 5)), 'numbered 5 to 5 with gaps'),
    (items(('a.mp4', None)), 'item 1: got label'),
    (items(('a.mp4', True)), 'item 1: got label'),
    (items((7, 'run')), 'item 1: got file'),
    (items(('\ud800.mp4', 'run')), 'item 1: got file'),
    (items(('a.mp4', 'run', '', -1)), 'item 1: '),
  ],
)
def test_a_json_that_is_no_list_of_videos_is_refused(tmp_path, text, says):
  touch(tmp_path, 'a.mp4')
  path = tmp_path / 'list.json'
  path.write_text(text)
  with pytest.raises(InputError, match=says):
    read_source(path)


@pytest.mark.parametrize(
  'text',
  [
    'a.mp4 5 run\nb.mp4 2.5 walk\n',
    'a.mp4 151 0\nb.mp4 64 1\n',
    'a.mp4 300 1\n',
    'a.mp4 x run\n',
    'a.mp4 300 run 1\n',
    'a.mp4,300,run\n',
    'a.mp4\t300\trun\n',
  ],
)
@pytest.mark.parametrize('classes', [None, CLASSES])
def test_a_number_between_path_and_label_is_refused(tmp_path, text, classes):
  touch(tmp_path, 'a.mp4')
  with pytest.raises(InputError, match=r'line 1 .*cut other columns away'):
    listed(tmp_path, text, classes)


def test_numbers_without_names_name_the_classes(tmp_path):
  touch(tmp_path, 'a.mp4')
  rows, classes = listed(tmp_path, 'a.mp4 0\nb.mp4 3\nc.mp4 03\n')
  assert classes.names == ('0', '1', '2', '3')
  assert [row.labels for row in rows] == [(0,), (3,), (3,)]


def test_names_without_a_class_list_are_sorted(tmp_path):
  touch(tmp_path, 'a.mp4')
  rows, classes = listed(tmp_path, 'a.mp4 walk\nb.mp4 run\nc.mp4 walk\n')
  assert classes.names == ('run', 'walk')
  assert [row.labels for row in rows] == [(1,), (0,), (1,)]


def test_the_class_list_beside_counts_before_the_default(tmp_path):
  touch(tmp_path, 'a.mp4')
  ClassList(('walk', 'run')).save(tmp_path / 'classes.txt')
  rows, _ = listed(tmp_path, 'a.mp4 walk\n', default=CLASSES)
  assert rows[0].labels == (0,)
  rows, _ = listed(tmp_path, 'a.mp4 walk\n', CLASSES)
  assert rows[0].labels == (1,)
  (tmp_path / 'classes.txt').unlink()
  rows, classes = listed(tmp_path, 'a.mp4 walk\n', default=CLASSES)
  assert (rows[0].labels, classes) == ((1,), CLASSES)


def test_a_first_line_that_may_be_a_video_is_no_header(tmp_path):
  touch(tmp_path, 'a.mp4', 'run')
  for text in ('clip 1\na.mp4 1', 'clip,1\na.mp4,1', 'x.mp4 name\na.mp4 1'):
    rows, _ = listed(tmp_path, text)
    assert len(rows) == 2
  rows, _ = listed(tmp_path, 'path,label\nclip,run\na.mp4,run\n')
  assert pairs(rows) == [('clip', 0), ('a.mp4', 0)]
  rows, _ = listed(tmp_path, 'clip run\nother run\na.mp4 run\n')
  assert len(rows) == 3
  text = 'name,cls\na.mp4,run\n'
  with pytest.raises(InputError, match='looks like a header'):
    listed(tmp_path, text, CLASSES, labels='multi')


def test_a_file_under_two_names_has_one_label(tmp_path):
  touch(tmp_path, 'a.mp4')
  path = tmp_path / 'list.txt'
  path.write_text(f'a.mp4 0\n{tmp_path}/a.mp4 0\nb.mp4 0\nx/../b.mp4 1\n')
  (note,) = read_source(path).notes
  assert note.startswith('1 the same stretch of the same file')
  assert note.endswith(f'{tmp_path}/a.mp4 (as a.mp4)')
  path.write_text(f'a.mp4 0\n{tmp_path}/a.mp4 1\n')
  with pytest.raises(
    InputError, match=r'only file for a\.mp4 and for .*/a\.mp4'
  ):
    read_source(path)


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


def test_a_line_that_comes_twice_is_kept_once_and_counted(tmp_path):
  touch(tmp_path, 'a.mp4')
  path = tmp_path / 'list.txt'
  path.write_text('a.mp4 0\nb.mp4 1\na.mp4 0\n')
  listing = read_source(path)
  assert pairs(listing.rows) == [('a.mp4', 0), ('b.mp4', 1)]
  assert listing.duplicates == ('a.mp4',)


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('a.mp4 0\nb.mp4 1\na.mp4 1\n', r"'a\.mp4' twice, on lines 1 and 3"),
    ('a.mp4 0\nb.mp4\n', r"line 2 has no label after 'b\.mp4'"),
    ('a.mp4,0\n\nb.mp4 1\n', r"line 1 has no label after 'a\.mp4,0'"),
    ('a.mp4 0\nb\n', r"line 2 is 'b'"),
    ('a.mp4,run,,walk\n', 'line 1 is .*between the separators'),
    ('a.mp4 3\n', r'line 1: got label 3.*0 to 2'),
    ('a.mp4 -1\n', r'line 1: got label -1'),
    ('a.mp4 wakl\n', "did you mean 'walk'"),
    ('', 'is empty'),
    ('path label\n', 'is empty'),
    ('path,label,start\n', 'is empty'),
    ('path,start,label\na.mp4,0\n', 'line 2 has 2 fields; expected 3'),
    ('path,start,label\n"a.mp4,0,run\nb.mp4,0,run\n', 'a quote that is lost'),
    ('path start label\na.mp4 0 run\n', 'expected commas or tabs'),
    ('path,start,label\n,0,run\n', 'line 2: got no path'),
    ('path,label,label\na.mp4,0,run\n', 'column label twice'),
    ('a.mp4 1 2\n', '--labels=multi'),
    ('a.mp4 300 7\n', '--labels=multi'),
    ('a.mp4 5 2\nb.mp4 1 2\nc.mp4 0 1\n', '--labels=multi'),
    (
      'original_vido_id video_id frame_id path labels\na 0 0 a/0.jpg ""\n',
      'a list of extracted frames',
    ),
    ('label,youtube_id,time_start,time_end,split\n', 'a Kinetics csv'),
    ('\0a.mp4 1', 'zero bytes'),
    ('name,cls\na.mp4,run\n', 'line 1 looks like a header.*path,label'),
    ('"name","cls"\n"a.mp4","run"\n', 'line 1 looks like a header'),
    ('video\tcls\na.mp4\trun\nb c.mp4\trun\n', 'looks like a header'),
    ('clip cls\na.mp4 0\n', 'looks like a header'),
    ('file,start,end,cls\na.mp4,0,1,run\n', 'looks like a header'),
  ],
)
def test_a_list_that_does_not_say_what_it_means_is_refused(
  tmp_path, text, says
):
  touch(tmp_path, 'a.mp4')
  with pytest.raises(InputError, match=says):
    listed(tmp_path, text, CLASSES)


@pytest.mark.parametrize('line', ['clip 300 1', 'clip 0 300 1', 'clip 1'])
def test_lists_of_extracted_frames_are_refused_with_the_next_move(
  tmp_path, line
):
  touch(tmp_path, 'clip/img_00001.jpg', 'a.mp4')
  for labels in ('single', 'multi'):
    command = r'ffmpeg .* -i clip/img_%05d\.jpg -c copy clip\.mkv'
    with pytest.raises(InputError, match=f'expected video files: .*{command}'):
      listed(tmp_path, f'{line}\na.mp4 1\n', CLASSES, labels=labels)


def test_a_path_with_a_space_is_not_taken_for_a_folder(tmp_path):
  touch(tmp_path, 'my/other', 'my clip')
  rows, _ = listed(tmp_path, 'my clip 1\n', CLASSES)
  assert pairs(rows) == [('my clip', 1)]
  rows, _ = listed(tmp_path, 'my clip\t1\t0\n', CLASSES, labels='multi')
  assert pairs(rows) == [('my clip', 1, 0)]
  touch(tmp_path, 'clip')
  rows, _ = listed(tmp_path, 'clip 1 0\nx\n', CLASSES, labels='multi')
  assert pairs(rows) == [('clip', 1, 0), ('x',)]


def test_a_list_of_ucf101_is_told_that_it_counts_from_one(tmp_path):
  name = 'Archery/v_Archery_g01_c01.avi'
  touch(tmp_path, name)
  path = tmp_path / 'trainlist01.txt'
  path.write_text(f'{name} 3\n')
  assert 'prepare ucf101' in read_source(path).notes[0]
  path.write_text(f'{name} 3\nx.avi 0\n')
  assert read_source(path).notes == ()


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
  (tmp_path / 'binary.txt').write_bytes(b'a.mp4 0\n\xff 1\n')
  with pytest.raises(InputError, match='line 2 is not UTF-8'):
    read_source(tmp_path / 'binary.txt')
  (tmp_path / 'list.txt.gz').write_bytes(b'\x1f\x8b\x08')
  with pytest.raises(InputError, match=r'gzip archive.*unpack it'):
    read_source(tmp_path / 'list.txt.gz')
