"""Charades: prose in quotes, videos without actions, times past the end."""

import csv
import io

import pytest

from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError

HEADER = (
  'id,subject,scene,quality,relevance,verified,script,objects,descriptions,'
  'actions,length'
)
SCRIPT = (
  'A person says ""well, then""; opens the door, and, laughing, walks.\n'
  'Then they sit; that is all.'
)
ROWS = (
  ('46GP8', 'c092 11.90 21.20;c147 0.00 12.60', '24.83'),
  ('N11GT', '', '18.33'),  # nothing happens
  ('0IH69', 'c098 8.90 35.00;c075 31.00 40.00', '30.46'),  # late
  ('-AB12', 'c156 0.00 5.00;c000 1.00 2.00;c156 3.00 4.00', '9.00'),
)


def row(name, actions, length, script=SCRIPT):
  return (
    f'{name},IUXW,"Living room",7,6,Yes,"{script}",box;bag;blanket,'
    f'"He said ""put, it; down"".;Person opens it.",{actions},{length}'
  )


@pytest.fixture
def folder(tmp_path):
  return official(tmp_path)


def official(folder, rows=ROWS, split='test'):
  """The annotations as Charades.zip has them."""
  text = '\n'.join([HEADER, *(row(*entry) for entry in rows)]) + '\n'
  (folder / f'Charades_v1_{split}.csv').write_text(text)
  lines = [f'c{i:03d} Doing thing, no. {i}\n' for i in range(157)]
  (folder / 'Charades_v1_classes.txt').write_text(''.join(lines))
  return folder


def read(folder, split='test', videos=None, **more):
  return registry.read(
    'charades', annotations=folder, videos=videos, split=split, **more
  )


def test_a_video_has_all_classes_of_its_actions_and_none_is_a_set_too(folder):
  listing = read(folder)
  assert [(r.video, r.labels) for r in listing.rows] == [
    ('46GP8', (92, 147)),
    ('N11GT', ()),
    ('0IH69', (75, 98)),
    ('-AB12', (0, 156)),
  ]
  assert all((r.start_s, r.end_s) == (0, None) for r in listing.rows)
  assert [r.seconds for r in listing.rows] == [24.83, 18.33, 30.46, 9.0]
  assert listing.task.kind == 'multi'
  assert listing.task.row((), 157).sum() == 0  # kept, not class 0
  assert listing.classes.names[92] == 'Doing thing, no. 92'
  assert (len(listing.classes), listing.expected) == (157, 1863)
  assert listing.labelled
  assert listing.flip.kind == 'free'


def test_the_row_was_written_as_a_csv_writer_would(folder):
  """The made-up file is what csv means by it, prose and all."""
  text = (folder / 'Charades_v1_test.csv').read_text()
  fields = list(csv.DictReader(io.StringIO(text)))
  assert fields[0]['script'] == SCRIPT.replace('""', '"')
  assert fields[0]['descriptions'] == (
    'He said "put, it; down".;Person opens it.'
  )


def test_odd_actions_are_counted(folder):
  notes = read(folder).notes
  for said in (
    'videos without an action, kept with all classes 0: 1',
    'actions that end after their video: 2',
    'actions that start after it; they count: 1',
    'actions that their video has already: 1',
  ):
    assert said in notes
  assert not any('end before they start' in note for note in notes)


def test_an_action_that_ends_before_it_starts_is_counted(tmp_path):
  official(tmp_path, [('A', 'c001 5.00 2.00', '9.0')])
  listing = read(tmp_path)
  assert listing.rows[0].labels == (1,)
  assert 'actions that end before they start; they count: 1' in listing.notes


def test_videos_are_found_by_id_and_those_of_the_other_split_are_known(folder):
  official(folder, [('TRAIN', 'c001 0 1', '3')], split='train')
  videos = folder / 'Charades_v1_480'
  videos.mkdir()
  for name in ('46GP8.mp4', '-AB12.mp4', 'TRAIN.mp4', 'stray.mp4'):
    (videos / name).touch()
  listing = read(folder, videos=videos)
  paths = [r.path for r in listing.rows]
  assert paths[0] == videos / '46GP8.mp4'
  assert paths[1] == videos / 'N11GT.mp4'
  assert not paths[1].exists()
  assert paths[3] == videos / '-AB12.mp4'
  assert listing.outside == ('stray.mp4',)
  assert [r.video for r in read(folder, 'train').rows] == ['TRAIN']


def test_a_renamed_csv_and_windows_line_ends_are_taken(folder):
  path = folder / 'mine.csv'
  data = (folder / 'Charades_v1_test.csv').read_bytes()
  path.write_bytes(b'\xef\xbb\xbf' + data.replace(b'\n', b'\r\n'))
  assert [r.labels for r in read(path).rows] == [
    r.labels for r in read(folder).rows
  ]


def test_a_video_listed_twice_counts_once(tmp_path):
  official(tmp_path, [ROWS[0], ROWS[1], ROWS[0]])
  listing = read(tmp_path)
  assert len(listing.rows) == 2
  assert listing.duplicates == ('46GP8',)


@pytest.mark.parametrize(
  ('actions', 'says'),
  [
    ('c157 0 1', 'c157 0 1'),
    ('92 0 1', 'from c000 to c156'),
    ('c092 0', 'c092 0'),
    ('c092 0 x', "got 'x'; expected seconds"),
    ('c092 0 nan', 'expected seconds'),
    ('c092 0 1;', "got the action ''"),
  ],
)
def test_a_malformed_action_is_reported_with_its_line(tmp_path, actions, says):
  official(tmp_path, [('A', actions, '9.0')])
  with pytest.raises(InputError, match=r'test.csv line \d: .*' + says):
    read(tmp_path)


def test_a_length_that_is_no_number_is_reported(tmp_path):
  official(tmp_path, [('A', 'c001 0 1', 'long')])
  with pytest.raises(InputError, match="got 'long'"):
    read(tmp_path)


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('original_vido_id video_id frame_id path labels\n', 'extracted frames'),
    ('AO8RW 0.0 6.9##a person opens a door.\n', 'not a Charades csv'),
    ('', 'an empty file'),
    ('<!DOCTYPE html><html>404</html>', 'web page'),
    (f'{HEADER}\n', 'no clip'),
  ],
)
def test_another_file_is_named_for_what_it_is(folder, text, says):
  (folder / 'Charades_v1_test.csv').write_text(text)
  with pytest.raises(InputError, match=says):
    read(folder)


def test_the_class_file_is_needed_whole_and_in_order(folder):
  path = folder / 'Charades_v1_classes.txt'
  text = path.read_text()
  path.write_text(text.replace('c005', 'c050', 1))
  with pytest.raises(InputError, match='line 6 is'):
    read(folder)
  path.write_text(''.join(text.splitlines(keepends=True)[:156]))
  with pytest.raises(InputError, match='156 classes; expected 157'):
    read(folder)
  path.write_text(text.replace('Doing thing, no. 7\n', '\n', 1))
  with pytest.raises(InputError, match='line 8'):
    read(folder)
  path.unlink()
  with pytest.raises(InputError, match=r'has no Charades_v1_classes\.txt'):
    read(folder)


def test_names_may_be_the_users_if_they_are_157(folder):
  (folder / 'Charades_v1_classes.txt').unlink()
  names = ClassList(tuple(f'class {i}' for i in range(157)))
  assert read(folder, classes=names).classes == names
  with pytest.raises(InputError, match='got 2 classes'):
    read(folder, classes=ClassList(('a', 'b')))


def test_an_unknown_split_is_reported(folder):
  with pytest.raises(InputError, match='train, test'):
    read(folder, 'validation')
