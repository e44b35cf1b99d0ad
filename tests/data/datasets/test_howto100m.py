"""HowTo100M: tasks with a hundred videos, a video to the task it fits best."""

import hashlib

import pytest

from vidmodels.data.datasets import registry
from vidmodels.data.datasets.howto100m import split_of
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError

HEADER = 'video_id,category_1,category_2,rank,task_id'
# Task ids are sparse, and not in the order of the file.
TASKS = {52907: 'Change a tyre', 309: 'Make tea, iced', 119814: 'Fold paper'}


def entry(video, rank, task, category='Motorcycles'):
  # An empty category_2 is common; category_1 may have commas.
  return f'{video},"Cars, Other & Vehicles",{category},{rank},{task}'


def videos(task, count=100):
  """Ids as YouTube's, the first beginning with '-'."""
  return [f'{"-_ab"[i % 4]}{task:06d}{i:04d}' for i in range(count)]


def lines(counts=(100, 100, 100)):
  return [
    entry(video, i + 10, task, '' if i % 3 else 'Drinks')
    for task, count in zip(TASKS, counts, strict=True)
    for i, video in enumerate(videos(task, count))
  ]


def official(folder, rows=None, titles=None):
  text = '\n'.join([HEADER, *(lines() if rows is None else rows)]) + '\n'
  (folder / 'HowTo100M_v1.csv').write_text(text)
  titles = TASKS if titles is None else titles
  text = ''.join(f'{task}\t{title}\n' for task, title in titles.items())
  (folder / 'task_ids.csv').write_text(text)
  return folder


@pytest.fixture
def folder(tmp_path):
  return official(tmp_path)


def read(folder, split='train', videos=None, **more):
  return registry.read(
    'howto100m', annotations=folder, videos=videos, split=split, **more
  )


def both(folder):
  """Label of every video, whatever its split."""
  rows = read(folder).rows + read(folder, 'test').rows
  return {row.video: row.labels[0] for row in rows}


def test_classes_are_the_tasks_by_their_id(folder):
  listing = read(folder)
  assert listing.classes.names == (
    'Make tea, iced',
    'Change a tyre',
    'Fold paper',
  )
  labels = both(folder)
  for label, task in enumerate(sorted(TASKS)):
    assert {labels[video] for video in videos(task)} == {label}
  assert listing.task.kind == 'single'
  assert any('3 tasks have 100 videos' in n for n in listing.notes)
  assert any('1,059' in n for n in listing.notes)


def test_a_task_with_99_videos_is_no_class(tmp_path):
  official(tmp_path, lines((100, 99, 101)))
  assert read(tmp_path).classes.names == ('Change a tyre', 'Fold paper')
  assert len(both(tmp_path)) == 201


def test_a_line_that_comes_again_is_counted_and_makes_no_class(tmp_path):
  rows = lines((100, 99, 100))
  official(tmp_path, [*rows, rows[100], rows[100]])
  listing = read(tmp_path)
  assert listing.classes.names == ('Change a tyre', 'Fold paper')
  assert (
    'lines with the video and the task of an earlier one: 2' in listing.notes
  )


def test_a_video_of_several_tasks_is_of_the_best_ranked(tmp_path):
  tyre, fold = videos(52907), videos(119814)
  more = [
    entry(tyre[5], 3, 309),  # rank 15 there
    entry(tyre[6], 99, 309),  # rank 16 there
    entry(tyre[7], 17, 309),  # the same rank: the smaller id
    entry(fold[2], 1, 4711),  # best for a task that is no class
  ]
  official(tmp_path, [*lines(), *more])
  labels = both(tmp_path)
  assert len(labels) == 300
  assert [labels[tyre[i]] for i in (4, 5, 6, 7)] == [1, 0, 1, 0]
  assert labels[fold[2]] == 2
  assert (
    'videos of several tasks; that of the best rank counts: 3'
    in read(tmp_path).notes
  )


def test_the_drawn_split_says_so_and_is_the_same_for_ever(folder):
  train, test = read(folder), read(folder, 'test')
  assert any('the split is ours' in note for note in train.notes)
  names = {row.video for row in train.rows}, {row.video for row in test.rows}
  assert not names[0] & names[1]
  assert len(names[0] | names[1]) == 300
  for row in test.rows:
    digest = hashlib.sha256(f'vidmodels howto100m 0 {row.video}'.encode())
    assert int(digest.hexdigest()[:16], 16) / 2**64 < 35 / 120
  # Another file with some of the videos splits them alike.
  shares = [split_of(f'video{i:06d}') == 'test' for i in range(20_000)]
  assert abs(sum(shares) / 20_000 - 35 / 120) < 0.01


@pytest.mark.parametrize('prefix', ['', 'HowTo100M_'])
def test_the_users_split_is_taken_where_it_is(folder, prefix):
  fold = videos(119814)
  (folder / f'{prefix}train.txt').write_text('\n'.join(fold[:70]) + '\n\n')
  (folder / f'{prefix}test.txt').write_text('\r\n'.join([*fold[70:90], 'gone']))
  train, test = read(folder), read(folder, 'test')
  assert [row.video for row in train.rows] == fold[:70]
  assert [row.video for row in test.rows] == fold[70:90]
  assert {row.labels for row in train.rows} == {(2,)}
  assert any('the split is that of' in note for note in train.notes)
  said = f'ids of {prefix}test.txt in no such task, left out: 1'
  assert said in test.notes
  assert not any('ours' in note for note in train.notes + test.notes)


def test_split_files_that_do_not_split_are_refused(folder):
  tea = videos(309)
  (folder / 'train.txt').write_text('\n'.join(tea[:50]))
  with pytest.raises(InputError, match=r'has no test\.txt'):
    read(folder)
  (folder / 'test.txt').write_text('\n'.join(tea[49:]))
  with pytest.raises(InputError, match=f'1 videos are in .* as {tea[49]}'):
    read(folder)
  (folder / 'test.txt').write_text(f'{tea[60]}\n/x/{tea[61]}.mp4 3\n')
  with pytest.raises(InputError, match=r'test\.txt line 2: .*one video id'):
    read(folder)


def test_videos_are_found_by_id_whatever_their_suffix(folder, tmp_path):
  names = [row.video for row in read(folder).rows[:2]]
  stored = tmp_path / 'videos'
  (stored / 'a').mkdir(parents=True)
  (stored / f'a/{names[0]}.webm').touch()
  (stored / f'{names[1]}.mp4').touch()
  other = read(folder, 'test').rows[0].video
  (stored / f'{other}.mp4').touch()
  (stored / 'stray.mp4').touch()
  listing = read(folder, videos=stored)
  assert listing.rows[0].path == stored / f'a/{names[0]}.webm'
  assert listing.rows[1].path == stored / f'{names[1]}.mp4'
  assert listing.outside == ('stray.mp4',)


def test_titles_that_are_the_same_or_missing_still_name_classes(tmp_path):
  official(tmp_path, titles={52907: 'Fold paper', 119814: 'Fold  paper'})
  listing = read(tmp_path)
  assert listing.classes.names == (
    'task 309',
    'Fold paper (52907)',
    'Fold paper (119814)',
  )
  assert any('without a title' in note for note in listing.notes)


def test_titles_may_follow_a_comma_or_a_header(tmp_path):
  official(tmp_path)
  text = 'task_id,task\n309,"Make tea, iced"\n52907,Change\n119814,Fold\n'
  (tmp_path / 'task_ids.csv').write_text(text)
  names = ('Make tea, iced', 'Change', 'Fold')
  assert read(tmp_path).classes.names == names


@pytest.mark.parametrize(
  ('line', 'says'),
  [
    ('a1,x,y,one,309', "got 'one'; expected a whole number"),
    ('a1,x,y,1,-309', "got '-309'; expected a whole number"),
    ('a1,x,y,1,', "got ''; expected a whole number"),
    (',x,y,1,309', 'expected a plain name'),
    ('../a,x,y,1,309', 'expected a plain name'),
    ('a1,x,1,309', 'has 4 fields'),
  ],
)
def test_an_odd_line_is_refused_with_its_number(tmp_path, line, says):
  official(tmp_path, [*lines(), line])
  with pytest.raises(InputError, match=r'v1\.csv line 302.*' + says):
    read(tmp_path)


def test_files_that_cannot_do_are_reported(folder):
  with pytest.raises(InputError, match='got 2 classes; expected 3'):
    read(folder, classes=ClassList(('a', 'b')))
  (folder / 'task_ids.csv').write_text('309\n')
  with pytest.raises(InputError, match=r'task_ids\.csv line 1.*a title'):
    read(folder)
  (folder / 'task_ids.csv').unlink()
  with pytest.raises(InputError, match=r'no task_ids\.csv'):
    read(folder)
  official(folder, lines((99, 99, 99)))
  with pytest.raises(InputError, match='no task with 100 videos'):
    read(folder)
  (folder / 'HowTo100M_v1.csv').write_text('{"a": {"start": [], "text": []}}')
  with pytest.raises(InputError, match='captions of HowTo100M'):
    read(folder)
