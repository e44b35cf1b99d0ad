"""Diving48: version 2, never version 1."""

import json

import pytest

from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError

DIVES = (
  ('_8Vy3dlHg2w_00000', 12, 0, 86),
  ('-mmq0PT-u8k_00155', 0, 0, 48),
  ('0Vy3dlHg2w0_00007', 47, 0, 1),
)
KEYS = ('vid_name', 'label', 'start_frame', 'end_frame')


def official(folder, dives=DIVES, split='train'):
  """The json files as they are downloaded, with the vocabulary."""
  entries = [dict(zip(KEYS, dive, strict=True)) for dive in dives]
  path = folder / f'Diving48_V2_{split}.json'
  path.write_text(json.dumps(entries))
  words = [name.split('+') for name in names()]
  (folder / 'Diving48_vocab.json').write_text(json.dumps(words))
  return path


def names():
  return registry.find('diving48').classes().names


def read(place, split='train', films=None, **more):
  return registry.read(
    'diving48', annotations=place, videos=films, split=split, **more
  )


def touch(folder, *files):
  folder.mkdir(exist_ok=True)
  for file in files:
    (folder / file).touch()


def test_a_dive_is_a_file_and_its_number_a_class(tmp_path):
  official(tmp_path)
  listing = read(tmp_path)
  assert [(row.video, row.labels) for row in listing.rows] == [
    (dive[0], (dive[1],)) for dive in DIVES
  ]
  assert all((row.start_s, row.end_s) == (0, None) for row in listing.rows)
  assert listing.expected == 15_027
  assert listing.flip.kind == 'free'
  assert dict(registry.find('diving48').splits) == {
    'train': 15_027,
    'test': 1_970,
  }


def test_names_that_look_like_flags_are_found(tmp_path):
  path, films = official(tmp_path), tmp_path / 'rgb'
  official(tmp_path, [('-tttttttttt_00001', 3, 0, 9)], 'test')
  touch(films, *(f'{dive[0]}.mp4' for dive in DIVES))
  touch(films, '-tttttttttt_00001.mp4', '-other.mp4')
  listing = read(path, films=films)
  assert all(row.path.is_file() for row in listing.rows)
  assert listing.outside == ('-other.mp4',)
  (tmp_path / 'Diving48_V2_test.json').write_text('{}')
  listing = read(path, films=films)
  assert listing.outside == ('-other.mp4', '-tttttttttt_00001.mp4')
  assert 'test split count as outside' in listing.notes[0]


def test_version_1_is_refused_by_its_name_and_by_its_labels(tmp_path):
  path = official(tmp_path)
  first = path.rename(tmp_path / 'Diving48_train.json')
  for place in (tmp_path, first):
    with pytest.raises(InputError, match=r'version 1.*Diving48_V2_train\.json'):
      read(place)
  official(tmp_path)  # both lie there: version 2 is taken
  assert len(read(tmp_path).rows) == 3
  path = official(tmp_path, [*DIVES, ('a', 48, 0, 5)])
  with pytest.raises(InputError, match=r'entry 4: label: got 48; .*version 1'):
    read(path)


def test_the_vocabulary_is_compared_with_the_class_list(tmp_path):
  path = official(tmp_path)
  vocabulary = tmp_path / 'Diving48_vocab.json'
  assert names()[0] == 'Back+15som+05Twis+FREE'
  whole = json.loads(vocabulary.read_text())
  for value, says in (
    ([whole[1], whole[0], *whole[2:]], 'class 0 is'),
    (whole[:-1], '47 classes here and 48'),
    ([['Back', 15], *whole[1:]], 'not a list of dives'),
    ({'Back': 1}, 'class 0 is'),
    (7, 'not a list of dives'),
    ([whole[0], whole[0]], 'not a list of dives'),
  ):
    vocabulary.write_text(json.dumps(value))
    with pytest.raises(InputError, match=says):
      read(path)
  assert len(read(path, classes=ClassList(names())).rows) == 3
  vocabulary.unlink()
  assert len(read(path).rows) == 3


def test_a_dive_that_starts_late_is_reported(tmp_path):
  path = official(tmp_path, [*DIVES, ('a', 1, 5, 9), ('b', 1, '0', '9')])
  assert '1 clips do not start at frame 0' in read(path).notes[0]


@pytest.mark.parametrize(
  ('old', 'new', 'says'),
  [
    ('"label": 12', '"label": 12.5', r"entry 1: label: got '12\.5'"),
    ('"label": 12', '"label": -1', 'entry 1: label: got -1'),
    ('"label": 12', '"label": true', "entry 1: label: got 'True'"),
    ('"label": 12', '"label": null', "entry 1: label: got 'None'"),
    ('"label": 12', '"label": NaN', 'holds NaN, which is no JSON'),
    ('"label": 12', '"label": "Back"', "entry 1: label: got 'Back'"),
    ('"label": 12', '"lable": 12', "no 'label'"),
    ('"end_frame": 48', '"end_frame": -48', 'entry 2: got -48'),
    ('"start_frame": 0, "end_frame": 48', '"start_frame": 9, "end_frame": 4',
     'entry 2: got frames 9 to 4'),
    ('_8Vy3dlHg2w_00000', '../x', 'entry 1: .*expected a plain name'),
    ('_8Vy3dlHg2w_00000', '\\ud800', 'entry 1: .*expected a plain name'),
    ('"_8Vy3dlHg2w_00000"', '8', 'entry 1: .*expected a plain name'),
    ('"_8Vy3dlHg2w_00000"', '""', 'entry 1: .*expected a plain name'),
    ('"vid_name": "-mm', '"video": "-mm', "entry 2 has no 'vid_name'"),
  ],
)  # fmt: skip
def test_a_damaged_json_is_refused_where_it_is_damaged(
  tmp_path, old, new, says
):
  path = official(tmp_path)
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1))
  with pytest.raises(InputError, match=says):
    read(path)


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('[["Back", "15som", "05Twis", "FREE"]]', 'the vocabulary of Diving48'),
    ('{"a": 1}', 'an object with the keys a'),
    ('[{"id": "1", "template": "x"}]', 'a Something-Something V2 list'),
    ('"text"', 'the value text'),
  ],
)
def test_another_file_is_described_by_its_look(tmp_path, text, says):
  path = tmp_path / 'train.json'
  path.write_text(text)
  with pytest.raises(InputError, match=says):
    read(path)
