"""EPIC-KITCHENS-100: cut by seconds, a verb and the first of the nouns."""

import csv

import av
import cv2
import numpy as np
import pytest

from vidmodels.data.datasets import epic100, registry
from vidmodels.data.listing import text_files
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.video import decode
from vidmodels.typing import InputError

TIMES = (
  'narration_id,participant_id,video_id,narration_timestamp,start_timestamp,'
  'stop_timestamp,start_frame,stop_frame'
)
HEADER = (
  f'{TIMES},narration,verb,verb_class,noun,noun_class,all_nouns,'
  'all_noun_classes'
)
# Columns as published: 60 frames a second for two-digit videos, 50 for others.
ROWS = (
  'P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,1,113,take plate,'
  "take,0,plate,2,['plate'],[2]",
  'P01_11_1,P01,P01_11,00:00:01.700,00:03:41.25,00:03:42.45,13275,13347,'
  '"put down plate, knife",put-down,1,plate,2,'
  '"[\'plate\', ""chef\'s knife""]","[2, 4]"',
  # No narration timestamp.
  'P18_01_293,P18,P18_01,,01:02:03.56,01:02:06.75,223413,223605,roll,roll,47,'
  "ball:dough,25,['ball:dough'],[25]",
  'P01_109_7,P01,P01_109,00:00:02.851,00:00:02.86,00:00:03.87,143,193,'
  "put out,put,96,tap,299,['tap'],[299]",
)
TAKE, PLATE = 0, 97 + 2


@pytest.fixture
def folder(tmp_path):
  return official(tmp_path)


def official(folder, rows=ROWS, split='validation'):
  """The annotations as their repository has them."""
  text = '\n'.join([HEADER, *rows]) + '\n'
  (folder / f'EPIC_100_{split}.csv').write_text(text)
  test = [','.join(row.split(',')[:8]) for row in rows]
  (folder / 'EPIC_100_test_timestamps.csv').write_text(
    '\n'.join([TIMES, *test]) + '\n'
  )
  for head, name in (('verb', 'epic100_verbs'), ('noun', 'epic100_nouns')):
    write_classes(folder, head, names(name))
  tables = {
    'unseen_participant_ids_validation': ['participant_id', 'P18', 'P32'],
    'unseen_participant_ids_test': ['participant_id', 'P01'],
    'tail_verbs': ['verb', 47, 96],
    'tail_nouns': ['noun', 25, 299, 298],
  }
  for name, lines in tables.items():
    path = folder / f'EPIC_100_{name}.csv'
    path.write_text('\n'.join(map(str, lines)) + '\n')
  (folder / 'EPIC_100_video_info.csv').write_text(
    'video_id,duration,fps,resolution\n'
    'P01_11,502.134967,59.9400599400599,1920x1080\n'
    'P18_01,3726.0,59.9400599400599,1920x1080\n'
    'P01_109,3.86,50.0,1920x1080\n'
    'P37_103,1652.152817,50.0,1920x1080\n'
  )
  return folder


def names(stem):
  head = {'epic100_verbs': 'verb/', 'epic100_nouns': 'noun/'}[stem]
  every = registry.find('epic100').classes().names
  return [n.removeprefix(head) for n in every if n.startswith(head)]


def write_classes(folder, head, names):
  # As published: \r\n, and none after the last.
  lines = [f"{i},{n},\"['{n}', 'a, b']\",other" for i, n in enumerate(names)]
  text = '\r\n'.join(['id,key,instances,category', *lines])
  (folder / f'EPIC_100_{head}_classes.csv').write_bytes(text.encode())


def read(folder, split='validation', videos=None, **more):
  return registry.read(
    'epic100', annotations=folder, videos=videos, split=split, **more
  )


def edit(folder, old, new, name='EPIC_100_validation.csv'):
  text = (folder / name).read_text()
  assert old in text
  (folder / name).write_text(text.replace(old, new, 1))


def test_clips_are_cut_by_seconds_whatever_the_frame_columns_say(folder):
  cuts = [(r.video, r.start_s, r.end_s) for r in read(folder).rows]
  assert cuts == [
    ('P01_11_0', 0.0, 1.89),
    ('P01_11_1', 221.25, 222.45),
    ('P18_01_293', 3723.56, 3726.75),
    ('P01_109_7', 2.86, 3.87),
  ]
  edit(folder, ',13275,13347,', ',1,2,')
  edit(folder, ',143,193,', ',,,')
  assert [(r.video, r.start_s, r.end_s) for r in read(folder).rows] == cuts


def test_labels_are_a_verb_and_the_first_noun_in_one_list(folder):
  listing = read(folder)
  assert [r.labels for r in listing.rows] == [
    (TAKE, PLATE),
    (1, PLATE),
    (47, 97 + 25),
    (96, 97 + 299),
  ]
  assert listing.task.heads == (('verb', 97), ('noun', 300))
  assert len(listing.classes) == 397
  assert listing.classes.names[TAKE] == 'verb/take'
  assert listing.classes.names[PLATE] == 'noun/plate'
  for r in listing.rows:
    listing.task.check(r.labels, 397)
  assert 'clips with several nouns; the first is the label: 1' in listing.notes


def test_official_counts_are_known(folder):
  official(folder, split='train')
  expected = {s: read(folder, s).expected for s in ('train', 'val', 'test')}
  assert expected == {'train': 67217, 'val': 9668, 'test': 13092}
  assert read(folder, 'val').rows == read(folder).rows


def test_the_test_split_has_no_labels_and_none_becomes_class_0(folder):
  listing = read(folder, 'test')
  assert not listing.labelled
  assert {r.labels for r in listing.rows} == {()}
  assert [r.end_s for r in listing.rows][:2] == [1.89, 222.45]
  assert len(listing.classes) == 397


def test_unseen_participants_and_tail_classes_are_the_official_ones(folder):
  listing = read(folder)
  assert listing.subsets == {'unseen': ('P18_01_293',)}
  assert listing.class_subsets == {
    'tail_verb': (47, 96),
    'tail_noun': (97 + 25, 97 + 299, 97 + 298),
  }
  assert read(folder, 'test').subsets == {
    'unseen': ('P01_11_0', 'P01_11_1', 'P01_109_7')
  }
  official(folder, split='train')
  train = read(folder, 'train')
  assert train.subsets == {}
  assert not any('unseen' in note for note in train.notes)


def test_without_these_files_the_notes_say_what_there_will_be_no_result_of(
  folder,
):
  for name in ('unseen_participant_ids_validation', 'tail_verbs'):
    (folder / f'EPIC_100_{name}.csv').unlink()
  listing = read(folder)
  assert (listing.subsets, set(listing.class_subsets)) == ({}, {'tail_noun'})
  said = '\n'.join(listing.notes)
  assert 'EPIC_100_unseen_participant_ids_validation.csv is not' in said
  assert 'EPIC_100_tail_verbs.csv is not' in said
  assert 'tail_nouns' not in said


def test_a_clip_past_the_end_of_its_video_is_noted(folder):
  # 3726.75 of 3726.0 s is late; 3.87 of 3.86 s is a rounding.
  assert any(
    note.startswith('clips that stop after') and note.endswith(': 1')
    for note in read(folder).notes
  )


def test_videos_are_where_the_download_scripts_put_them_or_anywhere(
  folder, tmp_path
):
  videos = tmp_path / 'EPIC-KITCHENS'
  (videos / 'P01/videos').mkdir(parents=True)
  (videos / 'elsewhere').mkdir()
  (videos / 'P01/videos/P01_11.MP4').touch()
  (videos / 'elsewhere/P01_11.mp4').touch()  # a copy
  (videos / 'elsewhere/P18_01.mkv').touch()
  (videos / 'elsewhere/P37_103.MP4').touch()  # of another split
  (videos / 'elsewhere/P40_01.MP4').touch()
  listing = read(folder, videos=videos)
  assert [r.path.relative_to(videos).as_posix() for r in listing.rows] == [
    'P01/videos/P01_11.MP4',
    'P01/videos/P01_11.MP4',
    'elsewhere/P18_01.mkv',
    'P01/videos/P01_109.MP4',
  ]
  assert not listing.rows[3].path.exists()
  assert 'elsewhere/P40_01.MP4' in listing.outside
  assert 'elsewhere/P37_103.MP4' not in listing.outside


def test_extracted_frames_are_reported_and_how_to_make_videos_of_them(
  folder, tmp_path
):
  frames = tmp_path / 'frames/P01/rgb_frames/P01_11'
  frames.mkdir(parents=True)
  (frames / 'frame_0000000001.jpg').touch()
  with pytest.raises(InputError, match=r'1 images.*-framerate 60 -i P01_11/'):
    read(folder, videos=tmp_path / 'frames')
  official(folder, ROWS[3:])
  with pytest.raises(InputError, match='-framerate 50 -i P01_109/'):
    read(folder, videos=tmp_path / 'frames')
  official(folder, ())
  with pytest.raises(InputError, match='-framerate 60 -i P01_01/'):
    read(folder, videos=tmp_path / 'frames')


@pytest.mark.parametrize(
  ('row', 'times'), [(ROWS[1], 60), (ROWS[2], 60), (ROWS[3], 50)]
)
def test_frame_columns_are_seconds_by_the_rate_of_the_jpegs(row, times):
  fields = next(csv.reader([row]))
  assert epic100.jpegs_per_second(fields[2]) == times
  for clock, frame in ((fields[4], fields[6]), (fields[5], fields[7])):
    assert int(text_files.parse_clock(clock) * times + 1e-6) == int(frame)


def test_frames_made_a_video_are_cut_by_their_numbers(tmp_path):
  """What the message about extracted frames says to do, by PyAV."""
  for n in range(1, 121):
    frame_HWC = np.full((16, 16, 3), 2 * n, np.uint8)
    cv2.imwrite(str(tmp_path / f'frame_{n:010d}.jpg'), frame_HWC)
  target = tmp_path / 'P01_109.mkv'
  with (
    av.open(
      str(tmp_path / 'frame_%010d.jpg'),
      format='image2',
      options={'framerate': '50'},
    ) as old,
    av.open(str(target), 'w') as new,
  ):
    stream = new.add_stream_from_template(old.streams.video[0])
    for packet in old.demux(video=0):
      if packet.dts is not None:
        packet.stream = stream
        new.mux(packet)
  with decode.VideoReader(target, start_s=1.0, end_s=1.5) as reading:
    numbers = [round(frame_HWC.mean() / 2) for frame_HWC, _ in reading]
  assert numbers == list(range(51, 76))  # number 51 is shown at 1 s


@pytest.mark.parametrize(
  ('old', 'new', 'says'),
  [
    ("['plate'],[2]", "['plate'],[3]", 'expected the first of them'),
    ('"[2, 4]"', '"[4, 2]"', 'expected the first of them'),
    ("['plate'],[2]", "['plate'],[]", 'expected the first of them'),
    ("['plate'],[2]", "['plate'],[2.0]", 'expected the first of them'),
    ("['plate'],[2]", "['plate'],[True]", 'expected the first of them'),
    ("['plate'],[2]", "['plate'],2", 'expected a list such as'),
    ("['plate'],[2]", "['plate'],nan", 'expected a list such as'),
    ("['plate'],[2]", "['plate'],__import__('os').getcwd()", 'expected a list'),
    ("['plate'],[2]", f"['plate'],{'[' * 3000}", 'expected a list'),
    ("['plate'],[2]", f"['plate'],[2{' ' * 5000}]", 'expected a list'),
    ('take,0,', 'take,97,', 'got 97; expected 0 to 96'),
    ('take,0,', 'take,-1,', "got '-1'; expected a whole number"),
    ('take,0,', 'take,,', "got ''; expected a whole number"),
    ('plate,2,', 'plate,300,', 'got 300; expected 0 to 299'),
    ('00:00:01.89', '00:00:00.00', 'expected a stop after the start'),
    ('00:00:01.89', '1.89', 'HH:MM:SS.ss'),
    ('00:00:01.89', '', 'HH:MM:SS.ss'),
    ('00:00:01.89', '00:61:01.89', 'HH:MM:SS.ss'),
    ('00:00:01.89', 'nan', 'HH:MM:SS.ss'),
    ('P01_11_0,P01,', 'P01_11_0,../P01,', 'expected a plain name'),
  ],
)
def test_an_odd_line_is_refused_with_its_number(folder, old, new, says):
  edit(folder, old, new)
  with pytest.raises(InputError, match=r'validation\.csv line \d: .*' + says):
    read(folder)


def test_the_noun_list_of_305_is_refused_and_set_aside(folder):
  other = [*names('epic100_nouns'), *('a', 'b', 'c', 'd', 'e')]
  write_classes(folder, 'noun', other)
  with pytest.raises(InputError, match='305 classes here and 300 there'):
    read(folder)
  official(folder)
  path = folder / 'EPIC_100_noun_classes_v2.csv'
  path.write_text('"id","key","instances","category"\n0,"tap","[]","x"\n')
  assert any('noun_classes_v2.csv is not used' in n for n in read(folder).notes)
  with pytest.raises(InputError, match='is not the EPIC-KITCHENS-100'):
    read(path)


def test_class_files_beside_the_csv_must_be_those_of_our_lists(folder):
  verbs = names('epic100_verbs')
  write_classes(folder, 'verb', [verbs[1], verbs[0], *verbs[2:]])
  with pytest.raises(InputError, match="class 0 is 'verb/put' here"):
    read(folder)
  (folder / 'EPIC_100_verb_classes.csv').unlink()
  read(folder)
  edit(folder, '\n1,spoon', '\n2,spoon', 'EPIC_100_noun_classes.csv')
  with pytest.raises(InputError, match='got id 2; expected 1'):
    read(folder)


def test_the_users_classes_must_be_as_many(folder):
  with pytest.raises(InputError, match='got 2 classes; expected 97 verbs'):
    read(folder, classes=ClassList(('a', 'b')))
  mine = ClassList(tuple(f'class {i}' for i in range(397)))
  assert read(folder, classes=mine).classes == mine


def test_the_test_file_does_not_pass_for_a_labelled_one(folder):
  with pytest.raises(InputError, match='no column verb_class'):
    read(folder / 'EPIC_100_test_timestamps.csv', 'validation')


def test_tail_classes_out_of_range_are_refused(folder):
  edit(folder, '47', '97', 'EPIC_100_tail_verbs.csv')
  with pytest.raises(InputError, match=r'tail_verbs\.csv line 2: got 97'):
    read(folder)
