"""Kinetics' files: in class folders, cut from whole videos, named by id."""

import pytest
import videos
from test_kinetics import WANTED, official, read, touch


def test_clips_lie_in_class_folders_with_spaces_or_underscores(tmp_path):
  csv, films = official(tmp_path), tmp_path / 'films'
  touch(
    films,
    'val/testifying/---QUuC4vJs_000084_000094.mp4',
    "massaging_person's_head/--3ouPhoy2A_000020_000030.mkv",
    'tying knot (not on a tie)/_8Vy3dlHg2w_000417_000427.mp4',
    'zumba/a_b-c_d-e_f_000000_000010.mp4',  # a copy in the wrong folder
    'abseiling/a_b-c_d-e_f_000000_000010.mp4',
    'a_b-c_d-e_f_000100_000110.webm',
    'abseiling/nobody.mp4',
    'a/--3ouPhoy2A_000020_000030.mkv',  # another copy
  )
  listing = read(csv, films=films)
  assert [row.path.relative_to(films).as_posix() for row in listing.rows] == [
    'val/testifying/---QUuC4vJs_000084_000094.mp4',
    "massaging_person's_head/--3ouPhoy2A_000020_000030.mkv",
    'tying knot (not on a tie)/_8Vy3dlHg2w_000417_000427.mp4',
    'abseiling/a_b-c_d-e_f_000000_000010.mp4',
    'a_b-c_d-e_f_000100_000110.webm',
  ]
  assert all((row.start_s, row.end_s) == (0, None) for row in listing.rows)
  assert listing.outside == (
    'a/--3ouPhoy2A_000020_000030.mkv',
    'abseiling/nobody.mp4',
    'zumba/a_b-c_d-e_f_000000_000010.mp4',
  )


def test_a_missing_clip_keeps_its_row_and_name(tmp_path):
  csv, films = official(tmp_path), tmp_path / 'films'
  touch(films, 'zumba/a_b-c_d-e_f_000100_000110.mp4')
  rows = read(csv, films=films).rows
  assert [row.path.exists() for row in rows] == [False] * 4 + [True]
  assert rows[0].path.stem == '---QUuC4vJs_000084_000094'


def test_clips_are_cut_out_of_whole_videos(tmp_path):
  csv, films = official(tmp_path), tmp_path / 'films'
  touch(films, '---QUuC4vJs.mp4', 'any/a_b-c_d-e_f.webm')
  touch(films, 'testifying/a_b-c_d-e_f_000100_000110.mp4')
  listing = read(csv, films=films)
  found = {
    row.video: (row.path.name, row.start_s, row.end_s) for row in listing.rows
  }
  assert found[WANTED[0][0]] == ('---QUuC4vJs.mp4', 84, 94)
  assert found[WANTED[3][0]] == ('a_b-c_d-e_f.webm', 0, 10)
  # A file that is the clip goes before the video.
  assert found[WANTED[4][0]] == ('a_b-c_d-e_f_000100_000110.mp4', 0, None)
  assert listing.notes[0] == (
    '2 clips have files named by their id alone; the clips are cut out by time'
  )


@pytest.mark.parametrize(
  ('seconds', 'cut'), [(10.2, False), (24, True), (20, True)]
)
def test_short_files_named_by_id_are_the_clips_themselves(
  tmp_path, seconds, cut
):
  rows = [('zumba', 'abcdefghijk', 14, 24), ('zumba', 'bbcdefghijk', 2, 12)]
  csv, films = official(tmp_path, rows), tmp_path / 'films'
  films.mkdir()
  grey = videos.moving(int(5 * seconds), 16, 16)
  videos.write(films / 'abcdefghijk.mp4', grey, fps=5)
  touch(films, 'bbcdefghijk.mp4')  # broken: says nothing
  listing = read(csv, films=films)
  times = [(row.start_s, row.end_s) for row in listing.rows]
  assert times == ([(14, 24), (2, 12)] if cut else [(0, None)] * 2)
  said = 'the clips are cut out' if cut else 'they are the clips'
  assert said in listing.notes[0]


def test_clips_that_could_be_either_do_not_say_which(tmp_path):
  rows = [('zumba', f'abcdefghij{i}', 0, 10) for i in range(4)]
  rows.append(('zumba', 'bbcdefghijk', 50, 60))
  films = tmp_path / 'films'
  films.mkdir()
  for _, name, *_ in rows:
    videos.write(films / f'{name}.mp4', videos.moving(20, 16, 16), fps=2)
  found = read(official(tmp_path, rows), films=films).rows
  assert [(row.start_s, row.end_s) for row in found] == [(0, None)] * 5
  found = read(official(tmp_path, rows[:4]), films=films).rows
  assert [(row.start_s, row.end_s) for row in found] == [(0, 10)] * 4


def test_a_file_named_by_id_that_may_be_two_clips_is_neither(tmp_path):
  rows = [
    ('zumba', 'abcdefghijk', 50, 60),
    ('abseiling', 'abcdefghijk', 90, 100),
    ('zumba', 'bbcdefghijk', 70, 80),
    ('zumba', 'cbcdefghijk', 70, 80),
    ('abseiling', 'cbcdefghijk', 20, 30),
    ('zumba', 'dbcdefghijk', 70, 80),
    ('abseiling', 'dbcdefghijk', 20, 30),
    ('zumba', 'ebcdefghijk', 20, 30),
    ('abseiling', 'ebcdefghijk', 20, 30),  # the same clip again
  ]
  csv, films = official(tmp_path, rows), tmp_path / 'films'
  files = (
    *('abcdefghijk', 'bbcdefghijk', 'cbcdefghijk_000070_000080'),
    *('cbcdefghijk', 'zumba/dbcdefghijk', 'abseiling/dbcdefghijk'),
    'ebcdefghijk',
  )
  for file in files:
    (films / file).parent.mkdir(parents=True, exist_ok=True)
    videos.write(films / f'{file}.mp4', videos.moving(20, 16, 16), fps=2)
  listing = read(csv, films=films)
  assert [(row.path.name, row.path.is_file()) for row in listing.rows] == [
    ('abcdefghijk_000050_000060', False),
    ('abcdefghijk_000090_000100', False),
    ('bbcdefghijk.mp4', True),
    ('cbcdefghijk_000070_000080.mp4', True),
    ('cbcdefghijk_000020_000030', False),  # or is it the other clip again?
    ('dbcdefghijk.mp4', True),  # of its own class folder
    ('dbcdefghijk.mp4', True),
    ('ebcdefghijk.mp4', True),
  ]
  assert listing.rows[5].path != listing.rows[6].path
  assert listing.notes[0] == (
    '4 clips have files named by their id alone; they are the clips'
  )
  assert listing.notes[1] == (
    '3 clips of 2 videos have no file of their own, only one named by the id, '
    'which may be any of them; they count as missing: '
    'abcdefghijk_000050_000060, abcdefghijk_000090_000100, '
    'cbcdefghijk_000020_000030'
  )
  assert listing.outside == ()
  # Where whole videos are named so, both are cut out.
  long = videos.moving(200, 16, 16)
  videos.write(films / 'abcdefghijk.mp4', long, fps=2)
  rows = read(csv, films=films).rows
  assert rows[0].path == rows[1].path == films / 'abcdefghijk.mp4'
  assert (rows[0].start_s, rows[1].start_s) == (50, 90)


def test_where_no_file_named_by_id_is_taken_no_note_says_so(tmp_path):
  rows = [('zumba', 'abcdefghijk', start, start + 10) for start in (50, 90)]
  rows.append(('zumba', 'bbcdefghijk', 0, 10))
  csv, films = official(tmp_path, rows), tmp_path / 'films'
  touch(films, 'bbcdefghijk_000000_000010.mp4')
  videos.write(films / 'abcdefghijk.mp4', videos.moving(20, 16, 16), fps=2)
  notes = read(csv, films=films).notes
  assert notes[0].startswith('2 clips of 1 videos have no file of their own')
  assert not [note for note in notes if 'they are the clips' in note]
