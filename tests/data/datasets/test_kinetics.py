"""Kinetics: ids that look like flags, three habits of naming files."""

import pytest

from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError

HEADER = 'label,youtube_id,time_start,time_end,split,is_cc'
ROWS = (
  ('testifying', '---QUuC4vJs', 84, 94),
  ("massaging person's head", '--3ouPhoy2A', 20, 30),
  ('tying knot (not on a tie)', '_8Vy3dlHg2w', 417, 427),
  ('abseiling', 'a_b-c_d-e_f', 0, 10),
  ('zumba', 'a_b-c_d-e_f', 100, 110),  # another clip of that video
)


def official(folder, rows=ROWS, split='val', word='validate', quoted=True):
  """The csv as Kinetics-400 has it: every field but numbers in quotes."""
  mark = '"' if quoted else ''
  lines = [','.join(f'{mark}{column}{mark}' for column in HEADER.split(','))]
  for label, name, start, end in rows:
    lines.append(
      f'{mark}{label}{mark},{mark}{name}{mark},{start},{end},{word},0'
    )
  path = folder / f'{split}.csv'
  path.write_text('\n'.join(lines) + '\n')
  return path


def read(place, name='k400', split='val', films=None, **more):
  return registry.read(
    name, annotations=place, videos=films, split=split, **more
  )


def touch(folder, *names):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def names_of(listing):
  return [(row.video, listing.classes.names[row.labels[0]]) for row in
          listing.rows]  # fmt: skip


WANTED = [
  ('---QUuC4vJs_000084_000094', 'testifying'),
  ('--3ouPhoy2A_000020_000030', "massaging person's head"),
  ('_8Vy3dlHg2w_000417_000427', 'tying knot (not on a tie)'),
  ('a_b-c_d-e_f_000000_000010', 'abseiling'),
  ('a_b-c_d-e_f_000100_000110', 'zumba'),
]


def test_a_clip_is_a_video_and_its_times(tmp_path):
  listing = read(official(tmp_path))
  assert names_of(listing) == WANTED
  assert listing.labelled
  assert listing.expected == 19_906
  assert listing.flip.kind == 'free'
  assert listing.notes == ()
  assert {row.seconds for row in listing.rows} == {10.0}


@pytest.mark.parametrize(
  'change',
  [
    lambda text: text.replace('\n', '\r\n'),
    lambda text: '\ufeff' + text,
    lambda text: text.replace('"', ''),
    lambda text: text.replace(',84,94,', ',84.0,94.0,'),
    lambda text: text.replace('validate', 'val').replace('"label"', 'Label'),
    lambda text: '\n'.join(
      line.rsplit(',', 1)[0] for line in text.splitlines()
    ),  # Kinetics-600 has no is_cc
    lambda text: text.replace('\n', '\n\n'),
  ],
)
def test_every_shape_of_the_csv_gives_the_same_rows(tmp_path, change):
  path = official(tmp_path)
  path.write_bytes(change(path.read_text()).encode())
  assert names_of(read(path)) == WANTED


@pytest.mark.parametrize(
  'file',
  ['validate.csv', 'VAL.csv', 'kinetics-400_val.csv', 'in/validation.csv'],
)
def test_the_csv_is_found_in_its_folder_by_name(tmp_path, file):
  (tmp_path / file).parent.mkdir(exist_ok=True)
  official(tmp_path).rename(tmp_path / file)
  (tmp_path / 'kinetics-400_train.csv').write_text('not this one')
  assert names_of(read(tmp_path)) == WANTED


def test_two_csvs_of_one_name_are_for_the_user_to_choose(tmp_path):
  for folder in ('a', 'b'):
    (tmp_path / folder).mkdir()
    official(tmp_path / folder)
  with pytest.raises(InputError, match='2 files for the Kinetics-400 val csv'):
    read(tmp_path)
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'empty' / 'kinetics400.tar.gz').touch()
  with pytest.raises(InputError, match=r'unpacking kinetics400\.tar\.gz'):
    read(tmp_path / 'empty')


def test_files_of_other_splits_are_not_outside(tmp_path):
  csv, films = official(tmp_path), tmp_path / 'films'
  official(tmp_path, [('zumba', '01234567890', 5, 15)], 'train', 'train')
  touch(films, 'a_b-c_d-e_f.mp4', 'zumba/01234567890_000005_000015.mp4')
  touch(films, '01234567890.mp4')
  touch(films, 'x.mp4')
  assert read(csv, films=films).outside == ('x.mp4',)
  (tmp_path / 'train.csv').write_text('label,youtube')
  listing = read(csv, films=films)
  assert len(listing.outside) == 3
  assert any('train split count as outside' in note for note in listing.notes)


def test_the_test_split_has_no_labels_until_someone_adds_them(tmp_path):
  path = tmp_path / 'test.csv'
  lines = [f'{n},{a},{b},test' for _, n, a, b in ROWS]
  path.write_text(
    '\n'.join(['youtube_id,time_start,time_end,split', *lines]) + '\n'
  )
  listing = read(tmp_path, split='test')
  assert not listing.labelled
  assert [row.labels for row in listing.rows] == [()] * 5
  assert [row.video for row in listing.rows] == [name for name, _ in WANTED]
  films = tmp_path / 'films'
  touch(films, 'test/a_b-c_d-e_f_000000_000010.mkv', '---QUuC4vJs.mp4')
  rows = read(tmp_path, split='test', films=films).rows
  assert [row.path.is_file() for row in rows] == [
    True,
    False,
    False,
    True,
    False,
  ]
  assert (rows[0].end_s, rows[3].end_s) == (94, None)
  assert listing.notes == ()
  official(tmp_path, split='test', word='test')
  assert names_of(read(tmp_path, split='test')) == WANTED


def test_a_clip_listed_twice_is_kept_once_and_a_clash_is_reported(tmp_path):
  rows = [*ROWS, ROWS[0], ('zumba', *ROWS[1][1:])]
  listing = read(official(tmp_path, rows))
  assert names_of(listing) == WANTED
  assert listing.duplicates == (WANTED[0][0], WANTED[1][0])
  said = [note for note in listing.notes if 'another label' in note]
  assert said[0].startswith('1 listed again')
  assert WANTED[1][0] in said[0]


def test_kinetics_600_spells_one_class_otherwise(tmp_path):
  small = 'passing american football (not in game)'
  large = 'passing American football (not in game)'
  assert small in registry.find('k600').classes().names
  assert large in registry.find('k400').classes().names
  assert large in registry.find('k700').classes().names
  path = official(
    tmp_path, [(large, *ROWS[0][1:]), ('abseiling', *ROWS[1][1:])]
  )
  listing = read(path, 'k600')
  assert names_of(listing)[0][1] == small
  assert f'class {large!r} is taken for {small!r}' in listing.notes
  path = official(tmp_path, [("massaging_person's_head", *ROWS[0][1:])])
  assert names_of(read(path))[0][1] == "massaging person's head"


def test_a_class_list_of_the_user_counts_instead(tmp_path):
  classes = ClassList(tuple(sorted((row[0] for row in ROWS), reverse=True)))
  listing = read(official(tmp_path), classes=classes)
  assert listing.classes == classes
  assert names_of(listing) == WANTED


def test_one_edition_is_not_taken_for_the_other(tmp_path):
  tmp_path = tmp_path / 'in' / 'deep'  # folders that say no year
  tmp_path.mkdir(parents=True)
  path = official(tmp_path).rename(tmp_path / 'kinetics700_2020_val.csv')
  assert names_of(read(path, 'k700_2020')) == WANTED
  assert read(path, 'k700_2020').notes == ()
  with pytest.raises(InputError, match='prepare k700_2020'):
    read(path, 'k700')
  plain = official(tmp_path)
  assert read(plain, 'k700').notes == ()
  (note,) = read(plain, 'k700_2020').notes
  assert note.startswith('neither the name nor the folder of')
  assert note.endswith('prepare k700 instead')
  folder = tmp_path / 'kinetics700_2020'
  folder.mkdir()
  plain.rename(folder / 'val.csv')
  assert read(folder, 'k700_2020').notes == ()
  (note,) = read(folder, 'k700').notes
  assert note.endswith('prepare k700_2020 instead')


@pytest.mark.parametrize(
  ('old', 'new', 'says'),
  [
    (
      '"zumba"',
      '"zumbaa"',
      r"line 6: got label 'zumbaa'.*did you mean 'zumba'",
    ),
    ('"zumba"', '"399"', "line 6: got label '399'; expected the name"),
    ('"zumba"', '"-0"', "line 6: got label '-0'; expected the name"),
    ('"zumba"', '""', 'line 6: .*for all clips or for none'),
    ('84,94', '94,84', 'line 2: got a clip from 94 to 84'),
    ('84,94', '84,84', 'line 2: got a clip from 84 to 84'),
    ('84,94', '-84,94', "line 2: got '-84'"),
    ('84,94', '84.5,94', r"line 2: got '84\.5'"),
    ('84,94', 'nan,94', "line 2: got 'nan'"),
    ('84,94', '84,1000000', 'line 2: got 1000000; expected 0 to 999999'),
    ('---QUuC4vJs', '#NAME?', 'line 2: got youtube_id .*spreadsheet'),
    ('---QUuC4vJs', '../QUuC4vJs', 'line 2: got youtube_id'),
    (',validate,', ',train,', "line 2: got split 'train'; expected only 'val'"),
    (',94,', ',94', 'line 2 has 5 fields'),
    ('"testifying"', '"testifying', 'line 2'),
    ('youtube_id', 'id', 'no column youtube_id; it looks like'),
    (HEADER.split(',')[0], 'youtube_id', 'column youtube_id twice'),
    ('testifying', 'testi\xfcfying', 'line 2'),
  ],
)
def test_a_damaged_csv_is_refused_where_it_is_damaged(tmp_path, old, new, says):
  path = official(tmp_path)
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1 if '\n' not in new else -1))
  with pytest.raises(InputError, match=says):
    read(path)


@pytest.mark.parametrize(
  ('data', 'says'),
  [
    (b'[{"id": "1", "template": "x"}]', 'a Something-Something V2 list'),
    (b'{"a": {"annotations": {}, "subset": "train"}}', 'Kinetics json; give'),
    (b'<html>', 'a web page'),
    (b'PK\x03\x04', 'zip .*unpack it'),
    (b'', 'an empty file'),
    (b'narration_id,participant_id\n', 'an EPIC-KITCHENS-100 csv'),
    (b'Archery/v_Archery_g01_c01.avi 3\n', 'a UCF101 training list'),
    (HEADER.encode(), 'lists no clip'),
    ('label,youtube_id'.encode('utf-16'), 'UTF-16'),
    (b'label\xff,youtube_id\n', 'line 1 is not UTF-8'),
  ],
)
def test_another_file_is_described_by_its_look(tmp_path, data, says):
  path = tmp_path / 'val.csv'
  path.write_bytes(data)
  with pytest.raises(InputError, match=says):
    read(path)


def test_videos_that_are_not_the_listed_ones_are_no_accident(tmp_path):
  csv, films = official(tmp_path), tmp_path / 'films'
  touch(films, 'other.mp4')
  with pytest.raises(InputError, match=r'1 video files.* as other\.mp4'):
    read(csv, films=films)
  (films / 'other.mp4').rename(films / '00001.jpg')
  with pytest.raises(InputError, match='1 images and no video'):
    read(csv, films=films)


def test_counts_of_the_splits():
  splits = {name: dict(registry.find(name).splits) for name in ('k400', 'k600')}
  assert splits == {
    'k400': {'train': 246_534, 'val': 19_906, 'test': 38_685},
    'k600': {'train': 0, 'val': 30_000, 'test': 72_924},
  }
  with pytest.raises(InputError, match=r'no split .validate.*train, val, test'):
    registry.find('k700').check_split('validate')
