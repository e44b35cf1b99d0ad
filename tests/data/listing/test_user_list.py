"""Users' lists: one documented format; whatever else is refused clearly."""

import json

import pytest
from test_read_source import CLASSES, NFC, NFD, pairs, read, touch

from vidmodels.data.listing.read_source import read_source
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError


def listed(folder, text, classes=None, **more):
  path = folder / 'list.txt'
  path.write_text(text)
  return read(path, classes, **more)


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


def test_a_csv_with_times_cuts_clips(tmp_path):
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
def test_a_part_without_a_length_is_refused(tmp_path, times):
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


def test_a_list_of_ucf101_gives_a_note_that_it_counts_from_one(tmp_path):
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


@pytest.mark.parametrize('separator', [',', '\t', ' , '])
@pytest.mark.parametrize('name', ['clip {}.avi', 'clip {}'])
def test_numbers_in_quotes_are_numbers(tmp_path, separator, name):
  names = [name.format(i) for i in range(12)]
  touch(tmp_path, *names)
  every = ''.join(f'{n}{separator}"{i}"\n' for i, n in enumerate(names))
  for text in (every, every.replace('"0"', '0')):
    rows, classes = listed(tmp_path, text)
    assert classes.names == tuple(map(str, range(12)))
    assert pairs(rows) == [(name, i) for i, name in enumerate(names)]


def test_quotes_of_a_line_are_those_of_a_csv(tmp_path):
  touch(tmp_path, 'a.mp4')
  text = (
    'say "hi".mp4,"he said ""go"""\n'
    '"one, two.mp4","sit down, slowly"\n'
    'a.mp4,"as b.mp4, but slow"\n'
    '"a, ""b"".mp4",say "hi"\n'
  )
  rows, classes = listed(tmp_path, text)
  assert [(row.video, classes.names[row.labels[0]]) for row in rows] == [
    ('say "hi".mp4', 'he said "go"'),
    ('one, two.mp4', 'sit down, slowly'),
    ('a.mp4', 'as b.mp4, but slow'),
    ('a, "b".mp4', 'say "hi"'),
  ]
  text = 'a.mp4,"run,walk"\nb.mp4,run;walk\nc.mp4,"run",walk\nd.mp4,""\n'
  rows, classes = listed(tmp_path, text, labels='multi')
  assert classes.names == ('run', 'walk')
  assert [row.labels for row in rows] == [(0, 1)] * 3 + [()]
  for text in ('a.mp4,"run\n', 'a.mp4\t"run\n', 'a.mp4,"run"s\n'):
    with pytest.raises(InputError, match=r'line 1 .*a quote that is lost'):
      listed(tmp_path, text)


@pytest.mark.parametrize(
  'text',
  [
    'path,labels\na.avi,"run,walk"\nb,walk\n',
    'path,labels\na.avi,run;walk\nb,walk\n',
    'labels,path\n"run, walk",a.avi\nwalk,b\n',
    'path\tlabels\na.avi\trun;walk\nb\twalk\n',
    'path,labels,n\na.avi,"run,walk",1\nb,walk,1\n',
  ],
)
def test_two_columns_are_read_as_three_are(tmp_path, text):
  touch(tmp_path, 'a.avi')
  rows, classes = listed(tmp_path, text, labels='multi')
  assert (pairs(rows), classes.names) == (
    [('a.avi', 0, 1), ('b', 1)],
    ('run', 'walk'),
  )


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('path,label\n"a, b.mp4,run\nb.mp4,run\n', 'line 2 .*a quote that is lost'),
    ('path,label\na, b.mp4,run\n', 'line 2 has 3 fields; expected 2'),
    ('path,labels\na.mp4,run,walk\nb,walk\n', 'line 2 has 3 fields; .*quotes'),
    ('a, b.mp4,run\n', r'line 1 .*"a, b\.mp4",label'),
    ('a, b.mp4 run\nc, d.mp4,run\n', r'line 1 .*"a, b\.mp4",label'),
    ('a.mp4;run\nb.mp4;walk\n', 'line 1 .*a tab, a comma or a space'),
    ('path;label\na.mp4;run\n', 'line 1 .*a tab, a comma or a space'),
  ],
)
def test_a_field_that_holds_the_separator_needs_quotes(tmp_path, text, says):
  touch(tmp_path, 'a.mp4', 'a, b.mp4')
  with pytest.raises(InputError, match=says):
    listed(tmp_path, text)


def test_quotes_hold_the_separator_in_a_table(tmp_path):
  touch(tmp_path, 'a, b.mp4')
  rows, classes = listed(tmp_path, 'label,path\n"x, y","a, b.mp4"\nz,c.mp4\n')
  assert classes.names == ('x, y', 'z')
  assert pairs(rows) == [('a, b.mp4', 0), ('c.mp4', 1)]


@pytest.mark.parametrize(
  ('text', 'lines'),
  [
    ('# of the lab\na.mp4 run\n\n#\n# b 1\nb.mp4 walk\n', (1, 4, 5)),
    ('#made by hand\na.mp4 run\nb.mp4 walk\n', (1,)),
    ('a.mp4,run\nb.mp4,walk\n# of the lab, 1\n', (3,)),
    ('\n# by, hand\npath,label\na.mp4,run\nb.mp4,walk\n', (2,)),
    ('# by hand\nlabel,path\nrun,a.mp4\nwalk,b.mp4\n', (1,)),
    ('# by hand\n\npath,label,end\na.mp4,run,\nb.mp4,walk,\n', (1,)),
  ],
)
def test_comments_are_passed_over_and_counted(tmp_path, text, lines):
  touch(tmp_path, 'a.mp4')
  path = tmp_path / 'list.txt'
  path.write_text(text)
  listing = read_source(path)
  assert pairs(listing.rows) == [('a.mp4', 0), ('b.mp4', 1)]
  assert listing.classes.names == ('run', 'walk')
  named = ', '.join(f'line {number}' for number in lines)
  assert listing.notes == (
    f'{len(lines)} comment lines that begin with #, not read: {named}',
  )


def test_a_line_with_a_hash_is_a_path_if_it_names_a_video_file(tmp_path):
  touch(tmp_path, '# 1.mp4', '#2')
  path = tmp_path / 'list.csv'
  path.write_text('label,path\nrun,# 1.mp4\nx,#2\n# y,#2\n')
  listing = read_source(path)
  assert pairs(listing.rows) == [('# 1.mp4', 0), ('#2', 1)]
  assert listing.notes == (
    '1 comment lines that begin with #, not read: line 4',
  )
  rows, _ = listed(tmp_path, '# 1.mp4 run\n#2 run\nclip run\n./#2 run\n')
  assert [row.video for row in rows] == ['# 1.mp4', 'clip', '#2']
  with pytest.raises(InputError, match='is empty'):
    listed(tmp_path, '# nothing\n')


def test_columns_without_a_name_are_named_as_such(tmp_path):
  touch(tmp_path, 'a.mp4')
  path = tmp_path / 'list.csv'
  path.write_text(',path,label,fps\n0,a.mp4,run,25\n')
  assert read_source(path).notes == ('columns not read: (no name), fps',)
  path.write_text(',path,label,\n0,a.mp4,run,25\n')
  with pytest.raises(InputError, match=r'the column \(no name\) twice'):
    read_source(path)


def test_a_json_list_with_times_cuts_clips_as_a_csv_does(tmp_path):
  touch(tmp_path, 'a.mp4')
  path = tmp_path / 'list.json'
  clip = {'file': 'a.mp4', 'label': 'run'}
  clips = [
    {**clip, 'start': 0, 'end': 2.5},
    {**clip, 'start': '200.25', 'end': '203', 'label': 'walk', 'fps': 3},
    {**clip, 'start': 7, 'end': None},
    {**clip, 'label_text': 'x'},
  ]
  path.write_text(json.dumps(clips))
  listing = read_source(path)
  assert [(row.video, row.start_s, row.end_s) for row in listing.rows] == [
    ('a.mp4@0-2.5', 0, 2.5),
    ('a.mp4@200.25-203', 200.25, 203),
    ('a.mp4@7-', 7, None),
    ('a.mp4', 0, None),
  ]
  assert [row.labels for row in listing.rows] == [(0,), (1,), (0,), (0,)]
  assert listing.notes == ('columns not read: fps, label_text',)
  for start, end in ((3, 2), (-1, 2), (True, 2), (0, float('nan')), ([], 1)):
    path.write_text(json.dumps([{**clip, 'start': start, 'end': end}]))
    with pytest.raises(InputError, match=r'item 1: got a clip from|NaN'):
      read_source(path)


def test_one_path_in_other_spellings_is_one_video(tmp_path):
  touch(tmp_path, 'v/a.avi')
  path = tmp_path / 'list.txt'
  path.write_text('./v/a.avi 0\nv//a.avi 0\nv/./a.avi 0\nb.avi 1\n')
  listing = read_source(path)
  assert pairs(listing.rows) == [('v/a.avi', 0), ('b.avi', 1)]
  assert listing.duplicates == ('v/a.avi',) * 2
  assert listing.notes == ()
  # A file that is not there is known by its path, too.
  for name in ('v/a.avi', 'none.avi'):
    path.write_text(f'v/a.avi 0\n./{name} 0\n.//{name} 1\n')
    with pytest.raises(InputError, match=rf"'{name}' twice, on lines \d and 3"):
      read_source(path)


def test_a_path_through_a_folder_above_is_the_file_it_leads_to(tmp_path):
  touch(tmp_path, 'v/a.avi', 'far/w/b.avi', 'far/v/a.avi')
  (tmp_path / 'link').symlink_to(tmp_path / 'far/w')
  path = tmp_path / 'list.txt'
  path.write_text('v/a.avi 0\nlink/../v/a.avi 1\n')  # far/v/a.avi
  assert len(read_source(path).rows) == 2
  path.write_text('v/a.avi 0\nv/../v/a.avi 0\n')
  assert read_source(path).notes[0].endswith('v/../v/a.avi (as v/a.avi)')
  path.write_text('v/a.avi 0\nv/../v/a.avi 1\n')
  with pytest.raises(InputError, match='as the only file for'):
    read_source(path)


def test_class_names_that_look_the_same_are_one_class(tmp_path):
  touch(tmp_path, '1.mp4')
  said = [*NFD, *NFC]
  path = tmp_path / 'spelt.txt'
  path.write_text(''.join(f'{i}.mp4\t{name}\n' for i, name in enumerate(said)))
  listing = read_source(path)
  assert listing.classes.names == ('a jump', 'entr\u00e9e', '\u00e9cole, haute')
  assert [row.labels for row in listing.rows] == [(1,), (0,), (2,)] * 2
  assert listing.notes[0].startswith('2 class names come in two Unicode')
  # Class lists of either spelling, which stay as they are.
  for names in (NFC, NFD):
    for labels in ('single', 'multi'):
      listing = read_source(path, ClassList(names), labels=labels)
      assert listing.classes.names == names
      assert [row.labels for row in listing.rows] == [(0,), (1,), (2,)] * 2
      assert listing.notes == ()
    rows, _ = listed(
      tmp_path, f'1.mp4 {NFD[2]}\n2.mp4 {NFC[2]}\n', ClassList(names)
    )
    assert [row.labels for row in rows] == [(2,), (2,)]
  # What is in a list letter by letter goes before what looks so.
  both = ClassList((*NFD, NFC[0], NFC[2]))
  labels = [row.labels[0] for row in read_source(path, both).rows]
  assert labels == [0, 1, 2, 3, 1, 4]
  with pytest.raises(InputError, match='did you mean'):
    listed(tmp_path, '1.mp4,entreee\n', ClassList(NFC))


def test_numbered_names_are_one_class_in_two_spellings(tmp_path):
  touch(tmp_path, '1.mp4')
  path = tmp_path / 'list.json'
  keys = ('file', 'label', 'label_idx')
  clips = [('1.mp4', NFD[0], 0), ('2.mp4', 'run', 1), ('3.mp4', NFC[0], 0)]
  clips = [dict(zip(keys, clip, strict=True)) for clip in clips]
  path.write_text(json.dumps(clips))
  listing = read_source(path)
  assert listing.classes.names == (NFC[0], 'run')
  assert len(listing.notes) == 1  # all keys are read
  assert [row.labels for row in listing.rows] == [(0,), (1,), (0,)]


KINETICS = 'label,youtube_id,time_start,time_end,split'


def test_the_columns_of_kinetics_find_clips_by_id_and_time(tmp_path):
  touch(
    tmp_path,
    'videos/clap hands/-abcdefghij_000003_000013.mp4',
    'videos/abcdefghijk.webm',  # a whole video, which is cut
  )
  path = tmp_path / 'train.csv'
  path.write_text(
    f'\ufeff{KINETICS}\r\n"clap hands",-abcdefghij,3,13,train\r\n'
    'run,abcdefghijk,417,427,train\r\nrun,missing_one,0,10,train\r\n'
  )
  listing = read_source(path, root=tmp_path / 'videos')
  assert listing.classes.names == ('clap hands', 'run')
  found = [
    (row.video, *row.labels, row.start_s, row.end_s, row.path.is_file())
    for row in listing.rows
  ]
  assert found == [
    ('-abcdefghij_000003_000013', 0, 0, None, True),
    ('abcdefghijk_000417_000427', 1, 417, 427, True),
    ('missing_one_000000_000010', 1, 0, None, False),
  ]
  assert {row.seconds for row in listing.rows} == {10.0}
  assert listing.notes == (
    '1 clips have files named by their id alone; the clips are cut out by time',
  )


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    (f'{KINETICS}\n', 'empty below the header of a Kinetics csv'),
    (f'{KINETICS}\nrun,short,0,10,train\n', 'line 2: got youtube_id'),
    (f'{KINETICS}\nrun,abcdefghijk,9,3,val\n', 'line 2: got a clip from 9'),
    (f'{KINETICS}\nrun,abcdefghijk,0,10\n', 'line 2 has 4 fields; expected 5'),
    (f'{KINETICS}\n,abcdefghijk,0,10,val\n', 'line 2 has no label'),
    (
      f'{KINETICS}\nrun,abcdefghijk,0,10,val\nrun,bbcdefghijk,0,10,train\n',
      'got clips of the splits train, val',
    ),
    (KINETICS.partition(',')[2] + '\na,0,9,val\n', 'looks like a Kinetics csv'),
  ],
)
def test_damaged_kinetics_columns_are_refused(tmp_path, text, says):
  touch(tmp_path, 'abcdefghijk_000000_000010.mp4')
  with pytest.raises(InputError, match=says):
    listed(tmp_path, text)


def test_a_path_column_counts_before_the_columns_of_kinetics(tmp_path):
  touch(tmp_path, 'a.mp4')
  path = tmp_path / 'list.csv'
  path.write_text(f'path,{KINETICS}\na.mp4,run,abcdefghijk,0,10,val\n')
  listing = read_source(path)
  assert [row.video for row in listing.rows] == ['a.mp4']
  assert listing.notes == (
    'columns not read: youtube_id, time_start, time_end, split',
  )


@pytest.mark.parametrize('name', ['list.jsonl', 'list.json', 'list.txt'])
def test_json_lines_are_read_as_a_json_list_is(tmp_path, name):
  touch(tmp_path, 'a b.mp4')
  clips = [
    {'path': 'a b.mp4', 'label': 'run', 'start': 1, 'end': 2.5},
    {'file': 'c.mp4', 'label': 'walk', 'start': None},
    {'path': 'a b.mp4', 'label': 'walk'},
  ]
  path, other = tmp_path / name, tmp_path / 'other.json'
  path.write_text('\n\n'.join(map(json.dumps, clips)) + '\r\n')
  other.write_text(json.dumps(clips))
  listing = read_source(path)
  assert listing == read_source(other)
  assert [(row.video, *row.labels) for row in listing.rows] == [
    ('a b.mp4@1-2.5', 0),
    ('c.mp4', 1),
    ('a b.mp4', 1),
  ]
  assert listing.notes == ()


@pytest.mark.parametrize(
  ('line', 'says'),
  [
    ('{"path": "b.mp4"', 'line 2 is not a JSON object'),
    ('b.mp4 run', 'line 2 is not a JSON object'),
    ('{"path": "b.mp4", "path": "c.mp4", "label": "x"}', "'path' twice"),
    ('{"path": "b.mp4"}', 'expected objects with `path` and `label`'),
    ('["b.mp4", "run"]', 'expected objects with `path` and `label`'),
    ('{"path": "", "label": "x"}', 'line 2: got path'),
    ('{"path": "b.mp4", "label": 0.5}', r"line 2: got label '0\.5'"),
    ('{"path": "a.mp4", "label": "x"}', 'twice, on lines 1 and 2'),
  ],
)
def test_a_damaged_json_line_is_refused(tmp_path, line, says):
  touch(tmp_path, 'a.mp4')
  with pytest.raises(InputError, match=says):
    listed(tmp_path, '{"path": "a.mp4", "label": "run"}\n' + line + '\n')


def test_a_path_may_begin_with_a_bracket(tmp_path):
  touch(tmp_path, '[1] a.mp4', '{x}.mp4')
  rows, _ = listed(tmp_path, '[1] a.mp4 run\n{x}.mp4 walk\n')
  assert pairs(rows) == [('[1] a.mp4', 0), ('{x}.mp4', 1)]
