"""UCF101: numbers from 1, an order that knows no case, groups kept apart."""

import pytest

from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError

TRAIN = (
  ('ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi', 1),
  ('Hammering/v_Hammering_g08_c01.avi', 35),
  ('HammerThrow/v_HammerThrow_g09_c02.avi', 36),
  ('HandstandPushups/v_HandStandPushups_g25_c07.avi', 37),
  ('JumpingJack/v_JumpingJack_g08_c01.avi', 47),
  ('JumpRope/v_JumpRope_g08_c01.avi', 48),
  ('YoYo/v_YoYo_g25_c05.avi', 101),
)
TEST = (
  'HammerThrow/v_HammerThrow_g01_c01.avi',
  'HandstandPushups/v_HandStandPushups_g01_c01.avi',
)


def official(folder, train=TRAIN, test=TEST, split=1, end='\r\n'):
  """The files of UCF101TrainTestSplits-RecognitionTask.zip."""
  lines = [f'{path} {label}' for path, label in train]
  write(folder / f'trainlist0{split}.txt', lines, end)
  write(folder / f'testlist0{split}.txt', test, end)
  lines = [f'{i} {name}' for i, name in enumerate(names(), 1)]
  write(folder / 'classInd.txt', lines, end)
  return folder / f'trainlist0{split}.txt'


def write(path, lines, end):
  path.write_bytes(''.join(f'{line}{end}' for line in lines).encode())


def names():
  return registry.find('ucf101').classes().names


def read(place, split='train1', films=None, **more):
  return registry.read(
    'ucf101', annotations=place, videos=films, split=split, **more
  )


def touch(folder, *files):
  for file in files:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize('end', ['\n', '\r\n', ' \n', '\n\n'])
def test_a_training_list_counts_from_one(tmp_path, end):
  official(tmp_path, end=end)
  listing = read(tmp_path)
  assert [(row.video, row.labels) for row in listing.rows] == [
    (path, (label - 1,)) for path, label in TRAIN
  ]
  assert listing.expected == 9_537
  assert listing.flip.kind == 'free'


def test_a_test_list_has_no_labels_but_folders(tmp_path):
  official(tmp_path)
  listing = read(tmp_path, 'test1')
  assert [row.labels for row in listing.rows] == [(35,), (36,)]
  assert listing.expected == 3_783
  (tmp_path / 'testlist01.txt').write_text(f'{TEST[0]} 36\n')
  assert read(tmp_path, 'test1').rows[0].labels == (35,)


def test_train_and_test_mean_the_first_of_three_splits(tmp_path):
  for split in (1, 2, 3):
    official(tmp_path, TRAIN[:split], split=split)
  for split, count in (('train', 1), ('train1', 1), ('train2', 2),
                       ('train3', 3)):  # fmt: skip
    listing = read(tmp_path, split)
    assert len(listing.rows) == count
    said = 'train is taken for train1' in ' '.join(listing.notes)
    assert said == (split == 'train')
  assert 'test is taken for test1' in read(tmp_path, 'test').notes[0]
  assert dict(registry.find('ucf101').splits) == {
    'train': 9_537,
    'test': 3_783,
    'train1': 9_537,
    'test1': 3_783,
    'train2': 9_586,
    'test2': 3_734,
    'train3': 9_624,
    'test3': 3_696,
  }


def test_a_truncated_list_is_reported(tmp_path):
  official(tmp_path)
  listing = read(tmp_path)
  assert (listing.expected, len(listing.rows)) == (9_537, 7)


def test_files_are_found_however_handstand_is_spelt(tmp_path):
  official(tmp_path)
  films = tmp_path / 'UCF-101'
  touch(films, *(path for path, _ in TRAIN[:3]))
  touch(films, 'HandstandPushups/v_HandstandPushups_g25_c07.avi')
  touch(films, 'v_YoYo_g25_c05.mp4', TEST[0], 'YoYo/v_YoYo_g99_c01.avi')
  listing = read(tmp_path, films=films)
  there = [row.path.is_file() for row in listing.rows]
  assert there == [True, True, True, True, False, False, True]
  assert listing.rows[4].path == films / TRAIN[4][0]
  # Those of the test list are known.
  assert listing.outside == ('YoYo/v_YoYo_g99_c01.avi',)
  official(
    tmp_path,
    [('HandstandPushups/v_HandstandPushups_g08_c01.avi', 37)],
    test=(),
  )
  touch(films, 'HandstandPushups/v_HandStandPushups_g08_c01.avi')
  assert read(tmp_path, films=films).rows[0].path.is_file()


def test_the_class_index_is_compared_with_the_class_list(tmp_path):
  path = official(tmp_path)
  index = tmp_path / 'classInd.txt'
  whole = index.read_text()
  for old, new, says in (
    ('35 Hammering', '35 HammerThrow', 'got class .HammerThrow. twice'),
    ('1 ApplyEye', '0 ApplyEye', 'line 1 is .*expected `1 Class`'),
    ('\n7 ', '\n8 ', 'line 7 is'),
    ('101 YoYo', '', '100 classes here and 101'),
    ('3 Archery', '3', "line 3 is '3'"),
  ):
    index.write_text(whole.replace(old, new, 1))
    with pytest.raises(InputError, match=says):
      read(path)
  ascii_sorted = sorted(names())
  lines = [f'{i} {name}\n' for i, name in enumerate(ascii_sorted, 1)]
  index.write_text(''.join(lines))
  with pytest.raises(InputError, match="class 34 is 'HammerThrow' here"):
    read(path)
  index.unlink()
  assert len(read(path).rows) == 7


def test_lists_that_share_a_clip_are_not_official(tmp_path):
  official(tmp_path, test=(*TEST, TRAIN[0][0]))
  for split in ('train1', 'test1'):
    with pytest.raises(InputError, match='both have 1 clips, as ApplyEye'):
      read(tmp_path, split)


def test_lists_that_share_a_source_video_are_reported(tmp_path):
  shared = 'ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c04.avi'
  official(tmp_path, test=(*TEST, shared))
  assert '1 clips share their source video' in read(tmp_path).notes[0]
  assert shared in read(tmp_path, 'test1').notes[0]


def test_a_class_list_of_the_user_counts_instead(tmp_path):
  official(tmp_path, [(path, 1 + i) for i, (path, _) in enumerate(TRAIN)])
  classes = ClassList(tuple(path.split('/')[0] for path, _ in TRAIN))
  rows = read(tmp_path, classes=classes).rows
  assert [row.labels for row in rows] == [(i,) for i in range(7)]


@pytest.mark.parametrize(
  ('old', 'new', 'says'),
  [
    ('.avi 35', '.avi 34', 'line 2: got label 34 for Hammering; expected 35'),
    ('.avi 35', '.avi 36', 'line 2: got label 36 for Hammering; expected 35'),
    ('.avi 35', '.avi', 'line 2: .*has no label'),
    ('.avi 35', '.avi x', 'line 2: got label x'),
    ('.avi 35', '.mp4 35', 'line 2: .*expected `Class/v_Class'),
    ('Hammering/', '', 'line 2: .*expected `Class/v_Class'),
    ('g08_c01.avi 35', 'g08_\x13.avi 35', 'line 2: .*a plain name'),
    ('Hammering/', '../', 'line 2: '),
    ('Hammering/', 'Hamering/', "line 2: .*did you mean 'Hammering'"),
    ('Hammering/', '34/', "line 2: got label '34'; expected the name"),
    ('Hammering/v', 'Hammering\\v', 'line 2: '),
  ],
)
def test_a_damaged_list_is_refused_where_it_is_damaged(
  tmp_path, old, new, says
):
  path = official(tmp_path)
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1))
  with pytest.raises(InputError, match=says):
    read(path)


def test_another_file_is_described_by_its_look(tmp_path):
  path = official(tmp_path)
  with pytest.raises(InputError, match='is a test list by its name'):
    read(tmp_path / 'testlist01.txt')
  with pytest.raises(InputError, match='is a train list by its name'):
    read(path, 'test1')
  with pytest.raises(InputError, match='the class list of UCF101'):
    read(tmp_path / 'classInd.txt')
  path.write_text('a_brush_hair_0.avi 1 \n')
  with pytest.raises(InputError, match='an HMDB51 split'):
    read(path)
  path.unlink()
  with pytest.raises(InputError, match=r'expected trainlist01\.txt'):
    read(tmp_path)
  with pytest.raises(InputError, match="no split 'train4'"):
    read(tmp_path, 'train4')
