"""Lists: quotes, tables, comments and spellings of one path or one class."""

import json

import pytest
from test_read_source import listed, pairs, touch

from vidmodels.data.listing.read_source import read_source
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError


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


def test_a_json_list_with_times_cuts_stretches_as_a_csv_does(tmp_path):
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
    with pytest.raises(InputError, match='item 1: got a clip from'):
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


# 'entrée', 'a jump' and 'école', with one letter for 'é' and with two.
NFC = ('entr\u00e9e', 'a jump', '\u00e9cole, haute')
NFD = ('entre\u0301e', 'a jump', 'e\u0301cole, haute')


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
