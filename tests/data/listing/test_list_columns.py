"""Columns of users' lists: read by their usual names, or refused by name."""

import json

import pytest
from test_read_source import pairs, touch

from vidmodels import cli
from vidmodels.data.listing.list_columns import parse_time
from vidmodels.data.listing.read_source import read_source
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError


def listing(folder, text, name='list.csv', **options):
  touch(folder, 'a.mp4', 'b c.mp4')
  (folder / name).write_text(text)
  return read_source(folder / name, **options)


def parts(found):
  return [(row.start_s, row.end_s) for row in found.rows]


@pytest.mark.parametrize('path', ['path', 'video', 'video_path', 'filename',
  'file', 'clip', 'name', 'Video Path', 'filePath', 'clip-path', 'file_name',
  'video_name', 'uri', 'video_id'])  # fmt: skip
@pytest.mark.parametrize('label', ['label', 'class', 'category', 'Class Name',
  'action', 'labels', 'class_id', 'target'])  # fmt: skip
def test_path_and_label_have_many_names(tmp_path, path, label):
  text = f'{path},{label},fps\na.mp4,run,25\n"b c.mp4",walk,25\n'
  found = listing(tmp_path, text)
  assert pairs(found.rows) == [('a.mp4', 0), ('b c.mp4', 1)]
  assert found.classes.names == ('run', 'walk')
  rows = [{path: 'a.mp4', label: 'run'}, {path: 'b c.mp4', label: 'walk'}]
  for text in (json.dumps(rows), '\n'.join(map(json.dumps, rows))):
    found = listing(tmp_path, text, 'list.json')
    assert pairs(found.rows) == [('a.mp4', 0), ('b c.mp4', 1)]


@pytest.mark.parametrize(
  ('header', 'values'),
  [
    ('start,end', '1.5,3'),
    ('start_time,end_time', '1.5,3.0'),
    ('Start Time,End Time', '00:00:01.5,00:00:03'),
    ('start_sec,end_sec', '1.5,3'),
    ('t_start,t_end', '1.5,3'),
    ('begin,stop', '0:01.5,0:03'),
    ('start,duration', '1.5,1.5'),
    ('start_time,length', '00:00:01.5,1.5'),
    ('start (s),end (s)', '1.5,3'),
  ],
)
@pytest.mark.parametrize('separator', [',', '\t'])
def test_parts_have_many_names_and_two_forms(
  tmp_path, header, values, separator
):
  lines = [f'path,label,{header}', f'a.mp4,run,{values}', 'a.mp4,run,,']
  text = '\r\n'.join(lines).replace(',', separator)
  found = listing(tmp_path, f'\ufeff{text}\r\n')
  assert parts(found) == [(1.5, 3.0), (0.0, None)]
  assert found.notes == ()


@pytest.mark.parametrize(
  ('text', 'seconds'),
  [
    ('1:02', 62), ('00:01:02.5', 62.5), ('1:00:00', 3600), ('90', 90),
    ('90:00', 5400), ('1e1', 10),
  ],
)  # fmt: skip
def test_times_are_seconds(text, seconds):
  assert parse_time(text) == seconds


@pytest.mark.parametrize('text', ['1:60', '1:75:00', 'x', '1:2:3:4', '12s'])
def test_a_time_that_is_none_is_refused(tmp_path, text):
  with pytest.raises(InputError, match='line 2: got a clip from'):
    listing(tmp_path, f'path,label,start\na.mp4,run,{text}\n')


def test_a_duration_alone_is_the_length_of_the_file(tmp_path):
  found = listing(tmp_path, 'path,label,duration\na.mp4,run,9.5\nx.mp4,run,\n')
  assert parts(found) == [(0.0, None)] * 2
  assert [row.seconds for row in found.rows] == [9.5, None]


@pytest.mark.parametrize(
  'column',
  [
    *('start_frame', 'end_frame', 'frame_start', 'START_FRAME', 'startFrame'),
    *('start_ms', 'clip_end_ms', 'onset', 'segment', 'timestamps', 'frame_id'),
    *('fold', 'bbox', 'crop', 'exclude', 'trim_start', 'from', 'time'),
  ],
)
def test_a_column_that_changes_a_row_and_is_not_read_is_refused(
  tmp_path, column
):
  with pytest.raises(
    InputError, match=rf"'{column}', which changes what a row"
  ):
    listing(tmp_path, f'path,label,{column}\na.mp4,run,7\n')
  row = {'path': 'a.mp4', 'label': 'run', column: 7}
  with pytest.raises(
    InputError, match=rf"'{column}', which changes what a row"
  ):
    listing(tmp_path, json.dumps([row]), 'list.json')


def test_other_columns_are_named(tmp_path):
  header = 'path,label,fps,frame_rate,num_frames,width,gender,weekend,url'
  found = listing(tmp_path, f'{header}\na.mp4,run,1,2,3,4,x,y,z\n')
  assert found.notes == (f'columns not read: {header[11:].replace(",", ", ")}',)


def test_two_columns_with_one_meaning_are_refused(tmp_path):
  for header in ('path,label,class', 'path,label,start,start_time'):
    row = 'a.mp4,1,1,1'[: 4 + 2 * header.count(',') + 1]
    with pytest.raises(InputError, match='either of which may be the'):
      listing(tmp_path, f'{header}\n{row}\n')
  # The better name of a path counts.
  found = listing(tmp_path, 'name,path,label\nfirst,a.mp4,run\n')
  assert pairs(found.rows) == [('a.mp4', 0)]
  assert found.notes == ('columns not read: name',)


def test_a_number_beside_the_name_orders_the_classes(tmp_path):
  text = 'path,label,label_id\na.mp4,walk,0\nb c.mp4,run,1\n'
  assert listing(tmp_path, text).classes.names == ('walk', 'run')
  with pytest.raises(InputError, match=r'numbered from 1 to 2.*subtracting 1'):
    listing(tmp_path, text.replace('1', '2').replace('0', '1'))


SPLITS = (
  'path,label,split\na.mp4,run,Train\nb c.mp4,walk,validation\nx.mp4,run,'
)


def test_rows_of_the_split_that_is_asked_for_are_taken(tmp_path, capsys):
  text = f'{SPLITS}train\n'
  found = listing(tmp_path, text, split='train')
  assert [row.video for row in found.rows] == ['a.mp4', 'x.mp4']
  assert found.notes == (
    '2 clips are of the split train; left out: 1 of validation',
  )
  other = listing(tmp_path, text, split='val')
  assert pairs(other.rows) == [('b c.mp4', 1)]
  # All splits of a list have one class list.
  assert found.classes.names == other.classes.names == ('run', 'walk')
  with pytest.raises(InputError, match=r"split 'test'.*Train, train, valid"):
    listing(tmp_path, text, split='test')
  with pytest.raises(InputError, match='expected one split'):
    listing(tmp_path, text)
  path = str(tmp_path / 'list.csv')
  assert cli.main(['prepare', path, '--split', 'val', '--dry-run']) == 0
  assert 'val: 1 clip,' in capsys.readouterr().out


@pytest.mark.parametrize(
  'text',
  [
    'path;label\na.mp4;run\n',
    'a.mp4;run\nb c.mp4;walk\n',
    'videos/b c.mp4; sit down\na.mp4; run\n',
    'clip1;sit down\nclip2;run\n',
    'a.mp4|run\nb c.mp4|sit down\n',
    'Path;Label;Start\na.mp4;run;1,5\n',
  ],
)
def test_other_separators_are_named(tmp_path, text):
  with pytest.raises(
    InputError, match=r'line 1 .*(semicolons|bars).*a tab, a comma or a space'
  ):
    listing(tmp_path, text)


def test_a_header_without_a_path_is_no_video(tmp_path):
  with pytest.raises(InputError, match='line 1 looks like a header'):
    listing(tmp_path, 'id,label\nabc,run\ndef,walk\n')


def test_json_lines_may_have_any_spaces(tmp_path):
  text = '{ "filename" : "a.mp4" , "class": "run"}\n'
  assert pairs(listing(tmp_path, text, 'list.txt').rows) == [('a.mp4', 0)]
  text = '[\n  {"filename": "a.mp4", "class": 0}\n]\n'
  assert pairs(listing(tmp_path, text, 'list.txt').rows) == [('a.mp4', 0)]


@pytest.mark.parametrize(
  'text',
  [
    'run/clip_1 120 0\nrun/clip_2 64 1\n',
    'run/clip_1\t120\t0\n',
    'run/clip_1,120,0\n',
    'clip_1 0 120 3\nclip_2 0 99 4\n',
    'run/img_00001.jpg 0\nrun/img_00002.jpg 0\n',
  ],
)
def test_lists_of_frames_are_known_without_their_files(tmp_path, text):
  with pytest.raises(InputError, match=r'frames.*try making a video of each'):
    listing(tmp_path, text, need_files=False)


def test_labels_from_1_are_said_and_not_shifted(tmp_path):
  text = 'a.mp4 1\nb c.mp4 2\n'
  found = listing(tmp_path, text)
  assert found.classes.names == ('0', '1', '2')
  assert [row.labels for row in found.rows] == [(1,), (2,)]
  (note,) = found.notes
  assert note.startswith('LABELS BEGIN AT 1: no clip has label 0, which is the')
  names = ClassList(('run', 'walk', 'sit'))
  assert "class 'run'" in listing(tmp_path, text, classes=names).notes[0]
  with pytest.raises(InputError, match=r'labels from 1 to 2.*subtracting 1'):
    listing(tmp_path, text, classes=ClassList(('run', 'walk')))
  # Years and such are names.
  assert listing(tmp_path, text, classes=ClassList(('1', '2'))).notes == ()
  assert listing(tmp_path, 'a.mp4 1\nb c.mp4 0\n').notes == ()


def test_a_dry_run_counts_and_names_files_that_are_not_there(
  tmp_path, capsys, monkeypatch
):
  touch(tmp_path, 'videos/a.mp4')
  path = tmp_path / 'lists/list.csv'
  path.parent.mkdir()
  run = lambda *more: cli.main(['prepare', str(path), '--dry-run', *more])
  path.write_text('a.mp4,run\nx.mp4,walk\ny.mp4,walk\n')
  assert run('--root', str(tmp_path / 'videos')) == 0
  printed = capsys.readouterr().out
  assert 'missing: the files of 2 of 3 clips: x.mp4, y.mp4' in printed
  path.write_text('videos/a.mp4,run\n')
  monkeypatch.chdir(tmp_path)
  assert run() == 0
  printed = capsys.readouterr().out
  assert 'missing: the files of 1 of 1 clip: videos/a.mp4' in printed
  assert f'try --root {tmp_path}, below which videos/a.mp4 is' in printed
  for text, move in (
    ('videos\\a.mp4,run\n', r'try / for each \ in its paths'),
    ('other/a.mp4,run\n', 'try the names of files alone'),
    ('videos/a,run\n', 'try names with their suffix'),
  ):
    path.write_text(text)
    root = tmp_path / ('videos' if 'other' in text else '.')
    monkeypatch.chdir(path.parent)
    with pytest.raises(InputError, match='none of the 1 files') as error:
      read_source(path, root=root)
    assert move in str(error.value)


SYSTEM = (
  *('Thumbs.db', 'desktop.ini', '.DS_Store', '._a.mp4', 'Icon\r'),
  *('@eaDir/a.mp4/thumb.jpg', '__MACOSX/._a.mp4', '.ipynb_checkpoints/a.mp4'),
)


def test_files_of_the_system_are_no_videos_and_no_classes(tmp_path):
  touch(tmp_path, 'run/a.mp4', 'walk/b.mp4', '$RECYCLE.BIN/x.mp4')
  touch(tmp_path, *SYSTEM, *(f'run/{name}' for name in SYSTEM))
  found = read_source(tmp_path)
  assert found.classes.names == ('run', 'walk')
  assert pairs(found.rows) == [('run/a.mp4', 0), ('walk/b.mp4', 1)]


@pytest.mark.parametrize(
  'folder', ['run', 'run/clip 1', 'run/clip 1/deeper', '.']
)
def test_folders_of_frames_give_one_hint(tmp_path, folder):
  names = [f'img_{i:05d}.jpg' for i in range(1, 300)]
  touch(tmp_path, *(f'{folder}/{name}' for name in names), 'Thumbs.db')
  with pytest.raises(InputError, match=r'299 pictures.*ffmpeg.*img_%05d\.jpg'):
    read_source(tmp_path)


def test_a_picture_among_videos_is_reported_later(tmp_path):
  touch(tmp_path, 'run/a.mp4', 'run/b.mp4', 'run/cover.jpg')
  assert len(read_source(tmp_path).rows) == 3
