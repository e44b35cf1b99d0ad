"""HMDB51: 153 files, names that shells dislike, clips that nobody takes."""

import pytest

from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError

NAMES = (
  '#437_How_To_Ride_A_Bike_ride_bike_f_cm_np1_le_med_0.avi',
  'A&B;_(x)!_ride_bike_f_cm_np1_ba_med_1.avi',
  'unused_ride_bike_f_cm_np1_ba_med_2.avi',
  "it's_[1]_ride_bike_u_cm_np1_fr_bad_3.avi",
)
FLAGS = (1, 2, 0, 1)


def official(folder, split=1):
  """The 51 files of a split, each line with a space at its end."""
  for name in names():
    lines = [(f'x_{name}_u_cm_np1_fr_med_0.avi', 1)]
    lines += [(f'y_{name}_u_cm_np1_fr_med_1.avi', 2)]
    if name == 'ride_bike':
      lines = list(zip(NAMES, FLAGS, strict=True))
    text = ''.join(f'{file} {flag} \n' for file, flag in lines)
    (folder / f'{name}_test_split{split}.txt').write_text(text)
  return folder / f'ride_bike_test_split{split}.txt'


def names():
  return registry.find('hmdb51').classes().names


def read(place, split='train1', films=None, **more):
  return registry.read(
    'hmdb51', annotations=place, videos=films, split=split, **more
  )


def touch(folder, *files):
  for file in files:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def bikes(listing):
  label = names().index('ride_bike')
  return [r.video for r in listing.rows if r.labels == (label,)]


def test_one_is_to_train_on_two_to_test_on_and_zero_to_leave(tmp_path):
  official(tmp_path)
  listing = read(tmp_path)
  assert bikes(listing) == [f'ride_bike/{NAMES[0]}', f'ride_bike/{NAMES[3]}']
  assert len(listing.rows) == 52
  assert [row.labels[0] for row in listing.rows] == sorted(
    [*range(51), names().index('ride_bike')]
  )
  assert listing.notes == (
    '52 lines are left out: 51 of the other part, 1 of neither',
  )
  assert listing.expected == 3_570
  listing = read(tmp_path, 'test1')
  assert bikes(listing) == [f'ride_bike/{NAMES[1]}']
  assert listing.expected == 1_530
  assert (
    '53 lines are left out: 52 of the other part, 1 of neither' in listing.notes
  )


def test_train_and_test_mean_the_first_of_three_splits(tmp_path):
  official(tmp_path)
  path = official(tmp_path, split=3)
  path.write_text(f'{NAMES[0]} 2 \n')
  assert 'train is taken for train1' in ' '.join(read(tmp_path, 'train').notes)
  assert bikes(read(tmp_path, 'test')) == [f'ride_bike/{NAMES[1]}']
  assert bikes(read(tmp_path, 'test3')) == [f'ride_bike/{NAMES[0]}']
  with pytest.raises(InputError, match='has 0 files <class>_test_split2'):
    read(tmp_path, 'test2')
  splits = registry.find('hmdb51').splits
  assert {splits[f'train{i}'] for i in ('', 1, 2, 3)} == {3_570}
  assert {splits[f'test{i}'] for i in ('', 1, 2, 3)} == {1_530}
  assert len(splits) == 8


def test_names_that_shells_dislike_are_found(tmp_path):
  official(tmp_path)
  films = tmp_path / 'films'
  touch(films, *(f'ride_bike/{name}' for name in NAMES))
  touch(films, 'b/x_wave_u_cm_np1_fr_med_0.mkv', 'ride_bike/stranger.avi')
  # The same name in two class folders is two videos.
  touch(films, f'a/{NAMES[0]}', 'catch/x_wave_u_cm_np1_fr_med_0.avi')
  listing = read(tmp_path, films=films)
  found = {r.video: r.path for r in listing.rows if r.path.is_file()}
  assert {v: p.relative_to(films).as_posix() for v, p in found.items()} == {
    f'ride_bike/{NAMES[0]}': f'ride_bike/{NAMES[0]}',
    f'ride_bike/{NAMES[3]}': f'ride_bike/{NAMES[3]}',
    'wave/x_wave_u_cm_np1_fr_med_0.avi': 'b/x_wave_u_cm_np1_fr_med_0.mkv',
  }
  # Clips to test on or to leave alone are known, a stranger is not.
  assert listing.outside == (f'a/{NAMES[0]}', 'ride_bike/stranger.avi')
  assert listing.notes[-1].startswith('1 in several places')


def test_one_file_is_not_taken_for_two_clips(tmp_path):
  official(tmp_path)
  films = tmp_path / 'films'
  for name in ('run', 'walk'):
    (tmp_path / f'{name}_test_split1.txt').write_text('x.avi 1 \nz.avi 1\n')
  touch(films, 'x.avi')
  with pytest.raises(
    InputError, match=r'x\.avi .*run/x\.avi and .*walk/x\.avi'
  ):
    read(tmp_path, films=films)
  # A file for each is fine, and so are two that are missing.
  touch(films, 'run/x.avi', 'walk/x.avi')
  assert (
    sum(row.path.is_file() for row in read(tmp_path, films=films).rows) == 2
  )


def test_the_files_may_lie_a_folder_deeper(tmp_path):
  deeper = tmp_path / 'testTrainMulti_7030_splits'
  deeper.mkdir()
  official(deeper)
  assert len(read(tmp_path).rows) == 52
  (tmp_path / 'copy').mkdir()
  official(tmp_path / 'copy')
  with pytest.raises(InputError, match=r'has 102 files .* for 51 classes'):
    read(tmp_path)


def test_a_class_without_its_file_is_reported(tmp_path):
  path = official(tmp_path)
  path.rename(tmp_path / 'ride_bikes_test_split1.txt')
  with pytest.raises(InputError, match='also ride_bike_test_split1'):
    read(tmp_path)
  official(tmp_path)
  with pytest.raises(InputError, match=r'ride_bikes.* is of no class'):
    read(tmp_path)
  with pytest.raises(InputError, match='is one file; expected the folder'):
    read(path)


def test_a_class_list_of_the_user_counts_instead(tmp_path):
  official(tmp_path)
  listing = read(tmp_path, classes=ClassList(names()[::-1]))
  assert listing.rows[0].labels == (0,)
  assert listing.rows[0].video.startswith('wave/')


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    (f'{NAMES[0]} 1 \n{NAMES[0]} 2 \n', r'line 2: .*got .* with 1 and 2'),
    (f'{NAMES[0]} 1 \n{NAMES[0]} 0 \n', r'line 2: .*got .* with 1 and 0'),
    (f'{NAMES[0]} 3 \n', r'line 1: .*expected `<file>\.avi` and 0, 1 or 2'),
    (f'{NAMES[0]}\n', 'line 1: '),
    (f'\n{NAMES[0]} -1\n', 'line 2: '),
    ('../x.avi 1\n', 'line 1: .*a plain name'),
    ('ride_bike/x.avi 1\n', 'line 1: .*a plain name'),
    ('a/v_a_g01_c01.avi 11\n', 'looks like a UCF101 training list'),
    ('\n \n', 'is empty; expected the clips of its class'),
  ],
)
def test_a_damaged_file_is_refused_where_it_is_damaged(tmp_path, text, says):
  official(tmp_path).write_text(text)
  with pytest.raises(InputError, match=rf'ride_bike_test_split1\.txt.*{says}'):
    read(tmp_path)


def test_a_line_that_comes_twice_is_counted(tmp_path):
  official(tmp_path).write_text(f'{NAMES[0]} 1 \n' * 2 + f'{NAMES[1]} 0 \n' * 2)
  listing = read(tmp_path)
  assert listing.duplicates == (f'ride_bike/{NAMES[0]}',)
  assert '52 lines are left out' in listing.notes[0]
